"""The page: a `Report` in, one self-contained HTML file out. Pure.

It begins with what an administrator needs first: can the old server go, who keeps it, who is stuck;
then the history, day by day; then everything by kind. It loads no script, font or image: a
Content-Security-Policy allows only this page's own style and script, by their hashes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from eas_redirect.report import page_tables as tables
from eas_redirect.report.groups import FOLLOWED
from eas_redirect.report.handover import NEXT_STEPS, TITLES
from eas_redirect.report.page_tables import SHOWN, Cell, Head, PageTable, count, table, time_cell
from eas_redirect.report.plots import BarPlot, Column, Series, StackedPlot, bars, stacked
from eas_redirect.report.report_values import (
    DAY_MS,
    SHOWN_DAYS,
    STATES,
    Day,
    Device,
    Handover,
    Report,
)
from eas_redirect.report.words import (
    NAMELESS,
    STATE_TITLES,
    VERDICT_TITLES,
    client_title,
    counted,
    day,
    milliseconds,
    moment,
    size,
)
from eas_redirect.telemetry.html_pages import render_page, security_policy
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number

PAGE_POLICY = security_policy("page.css", "report.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A table that the reader can unfold; it is not printed."""

    part: Literal["folded"] = "folded"
    title: str
    table: PageTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A paragraph, or the points of a list."""

    part: Literal["words"] = "words"
    text: str = ""
    points: tuple[str, ...] = ()
    style: str = "aside"


type PagePart = PageTable | StackedPlot | BarPlot | Folded | Paragraph


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSection:
    """A heading, a paragraph that explains it, and what it shows."""

    title: str
    words: str = ""
    parts: tuple[PagePart, ...] = ()
    style: str = ""


def section(title: str, words: str | None, *parts: PagePart | None) -> PageSection:
    return PageSection(
        title=title, words=words or "", parts=tuple(part for part in parts if part is not None)
    )


# What an administrator reads first: can the old server go, who keeps it, who is stuck.

STUCK_CLIENTS = 12


def verdict_section(report: Report) -> PageSection:
    """The answer, then who keeps the old server and what to do about them."""
    arrivals = report.arrivals
    times = ""
    if arrivals.last_s is not None:
        times = f"The last call was {moment(arrivals.last_s)} UTC."
        if arrivals.first_s is not None and arrivals.devices > 1:
            times = (
                f"Their last calls lie between {moment(arrivals.first_s)} and"
                f" {moment(arrivals.last_s)} UTC."
            )
    parts: list[PagePart] = [Paragraph(text=arrivals.verdict, style="answer")]
    parts += [Paragraph(text=times)] if times else []
    if arrivals.still_calling:
        parts.append(tables.still_calling_table(arrivals.still_calling))
    return PageSection(
        title="Can the old server go?",
        parts=tuple(parts),
        style="verdict go" if arrivals.can_go else "verdict",
    )


def tiles(report: Report) -> tuple[tuple[str, int, str, str], ...]:
    """Name, figure, words, colour."""
    totals = report.totals
    stuck = totals.states.get(LedgerState.STUCK, 0)
    returned = totals.states.get(LedgerState.RETURNED, 0)
    followed = sum(totals.states.get(state, 0) for state in FOLLOWED)
    rows: tuple[tuple[str, int, str, str], ...] = (
        ("Devices seen", totals.devices, f"of {counted(totals.users, 'user')}", ""),
        (
            "Redirected",
            totals.devices_redirected,
            f"of {counted(totals.users_redirected, 'user')}, {counted(totals.redirects, 'time')}",
            "redirected",
        ),
        (
            "Followed",
            followed,
            f"of {counted(totals.users_followed, 'user')}, presumed from silence;"
            f" {number(totals.devices_confirmed)} seen at the target",
            "quiet",
        ),
        (
            "Came back",
            returned,
            f"of {counted(totals.users_returned, 'user')}; not often enough to be stuck",
            "returned",
        ),
        ("Stuck", stuck, f"of {counted(totals.users_stuck, 'user')}", "stuck"),
    )
    if totals.would_redirects:
        would = ("Would redirect", totals.would_redirects, "answers, in observe mode", "")
        rows = (*rows, would)
    return rows


def stuck_section(report: Report) -> PageSection:
    found = [device for device in report.devices if device.state is LedgerState.STUCK]
    title = "Who is stuck"
    if not found:
        return section(title, "Nobody.")
    clients = [
        (client_title(group.name), group.stuck, "stuck")
        for group in report.by_family
        if group.stuck
    ]
    clients.sort(key=lambda row: -row[1])
    return section(
        title,
        "Came back three times or more, over at least ten minutes.",
        tables.stuck_table(found),
        bars("Stuck devices by client", clients[:STUCK_CLIENTS]),
    )


def obstacles_section(report: Report) -> PageSection | None:
    if not report.obstacles:
        return None
    return section(
        "What stands in the way",
        "These users have moved, and their devices were left alone all the same.",
        tables.obstacle_table(report.obstacles),
    )


def silence_section(report: Report) -> PageSection | None:
    if not report.silence:
        return None
    return section(
        "What got no answer",
        "Exchanges to which Exchange said nothing. What it answered with 503 itself stands apart:"
        " that is an answer, and its own trouble.",
        tables.silence_table(report.silence),
    )


def anonymous_section(report: Report) -> PageSection | None:
    if not report.anonymous:
        return None
    return section(
        "Who called without a name",
        "Exchange let them in, and no line says who they are: they may be anybody's, and keep the"
        " old server. Their address and client may tell.",
        tables.anonymous_table(report.anonymous, len(report.anonymous) + report.more_anonymous),
    )


# How it came about: states, arrivals and decisions, day by day.

_STATE_SERIES = tuple(Series(title=STATE_TITLES[s], colour=s.value) for s in STATES)
_DAY_S = DAY_MS / 1000


def states_section(report: Report) -> PageSection | None:
    if not report.states_over_time:
        return None
    columns = [
        Column(label=day(point.at_s - 0.001), values=tuple(point.states[s.value] for s in STATES))
        for point in report.states_over_time
    ]
    users = [
        Column(label=column.label, values=tuple(point.users[s.value] for s in STATES))
        for column, point in zip(columns, report.states_over_time, strict=True)
    ]
    title = "Devices by state over time"
    return section(
        title,
        "At the end of each day, UTC. Silence is judged by each device's own usual interval:"
        " whoever is silent for three of them, and an hour at least, is presumed to have followed.",
        stacked(title, _STATE_SERIES, columns),
        _figures(title, _STATE_SERIES, columns),
        _figures("Users, each by the worst of their devices", _STATE_SERIES, users),
    )


def arrivals_section(report: Report) -> PageSection | None:
    if not report.days:
        return None
    series = (Series(title="devices that called the old server", colour="c0"),)
    columns = [
        Column(label=day(one.start_s), values=(one.arriving,)) for one in each_day(report.days)
    ]
    title = "Devices still calling the old server"
    return section(
        title,
        "Distinct devices of each day, UTC, without Exchange's own probes.",
        stacked(title, series, columns),
        _figures(title, series, columns),
    )


def decisions_section(report: Report) -> PageSection | None:
    if not report.days:
        return None
    names = sorted({reason for one in report.days for reason in one.reasons})
    order = {row.reason: index for index, row in enumerate(report.reasons)}
    names.sort(key=lambda name: order.get(name, len(order)))
    series = [Series(title=name, colour=f"c{index}") for index, name in enumerate(names)]
    columns = [
        Column(label=day(one.start_s), values=tuple(one.reasons.get(name, 0) for name in names))
        for one in each_day(report.days)
    ]
    title = "Decisions by reason over time"
    more = ""
    if report.more_reasons:
        more = f"{number(report.more_reasons)} more distinct reasons are not listed."
    return section(
        title,
        "Exchanges of each day, UTC, and why each was redirected or passed.",
        stacked(title, series, columns),
        tables.reason_table(report.reasons),
        Paragraph(text=more) if more else None,
        _figures(title, series, columns),
    )


def _figures(title: str, series: Sequence[Series], columns: Sequence[Column]) -> Folded:
    """A plot's figures as a table, for screen readers and for copying."""
    heads = (Head(title="Day"), *(Head(title=s.title, kind="number") for s in series))
    rows = [[Cell(shown=c.label), *map(tables.count, c.values)] for c in columns]
    return Folded(title=f"The figures: {title}", table=table(title, heads, rows))


def each_day(days: Sequence[Day]) -> tuple[Day, ...]:
    """Including days without lines, which a plot must show too; the last `SHOWN_DAYS`."""
    if not days:
        return ()
    known = {one.start_s: one for one in days}
    count = min(SHOWN_DAYS, int((days[-1].start_s - days[0].start_s) / _DAY_S) + 1)
    moments = (days[-1].start_s - n * _DAY_S for n in reversed(range(count)))
    return tuple(
        known.get(at, Day(start_s=at, exchanges=0, arriving=0, reasons={})) for at in moments
    )


# Everything by kind: groups, readiness, look-ups, and the devices one by one.


def groups_section(report: Report) -> PageSection | None:
    if not report.devices:
        return None
    waves = any(group.name != NAMELESS for group in report.by_wave)
    return section(
        "By wave, device type and client" if waves else "By device type and client",
        None,
        tables.group_table("By wave", "Wave", report.by_wave, _unless("no wave"))
        if waves
        else None,
        tables.group_table(
            "By device type", "Device type", report.by_device_type, _unless("not said")
        ),
        tables.group_table("By client", "Client", report.by_family, client_title),
    )


def _unless(nameless: str) -> Callable[[str], str]:
    return lambda name: nameless if name == NAMELESS else name


def readiness_section(report: Report) -> PageSection | None:
    judged = sum(report.readiness.values())
    if not judged:
        return None
    rows = [
        (VERDICT_TITLES[verdict], value, verdict) for verdict, value in report.readiness.items()
    ]
    return section(
        "What awaits them at the target",
        "Exchange Online refuses ActiveSync below 16.1 since March 2026 and passwords since October"
        " 2022. The old server cannot tell what a phone speaks elsewhere: the client and its system"
        " do. Each device below has its rule.",
        bars("Devices by what they are to expect", rows),
    )


def discoveries_section(report: Report) -> PageSection | None:
    asked = report.discoveries
    if not asked.shown:
        return None
    return section(
        "Accounts that were added again",
        f"Autodiscover told {counted(asked.told, 'user')} the new server, and would have told"
        f" {number(asked.would_be_told)} in observe mode.",
        tables.discovery_table(asked.shown),
    )


def waits_section(report: Report) -> PageSection | None:
    ended = report.waits
    if not ended.waves and not ended.would_end:
        return None
    shown = ended.shown
    return section(
        "Waits that were ended",
        "Seconds from when the directory was first seen to say that a user has moved to the 451 of"
        f" the device. In observe mode the wait of {counted(ended.would_end, 'device')} would have"
        f" ended. {counted(ended.unanswered, 'device')} asked and got no 451 yet: Exchange believes"
        " for some minutes that the mailbox is still there.",
        tables.wait_table(ended.waves) if ended.waves else None,
        tables.unanswered_table(shown) if shown else None,
    )


def latency_section(report: Report) -> PageSection | None:
    latency = report.latency
    if not latency.lookups:
        return None
    rows = [
        (f"up to {bound:g} ms" if bound is not None else "longer", count, "c1")
        for bound, count in latency.buckets
        if count
    ]
    told = ", ".join(f"{name} {number(count)}" for name, count in latency.by_cache.items())
    return section(
        "How long look-ups took",
        f"{counted(latency.lookups, 'look-up')}: half within {milliseconds(latency.p50_ms)}, 95 %"
        f" within {milliseconds(latency.p95_ms)}, 99 % within {milliseconds(latency.p99_ms)},"
        f" the longest {milliseconds(latency.max_ms)}. From the cache or not: {told}.",
        bars("Look-ups by length", rows),
    )


def devices_section(report: Report) -> PageSection | None:
    if not report.devices:
        return None
    return section(
        "Devices",
        None,
        tables.device_table(report.devices),
    )


# Who arrived at the target: a count for each verdict, and lists of who needs a person.

_DONE = frozenset({Handover.CONFIRMED, Handover.ELSEWHERE})
_HEADS = (
    *(
        Head(title="User", kind="who"),
        Head(title="Device", kind="who"),
        Head(title="Client", kind="client"),
        Head(title="Why", kind="told"),
    ),
    *(Head(title="Redirected", kind="time"), Head(title="Last call here", kind="time")),
)


def handover_section(report: Report) -> PageSection | None:
    target = report.target
    if target is None:
        return None
    rows = [
        (TITLES[row.handover], count(row.devices), count(row.users), NEXT_STEPS[row.handover])
        for row in target.counts
    ]
    heads = (
        Head(title="Verdict"),
        Head(title="Devices", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="What to do", kind="told"),
    )
    reach = f", and reach to {moment(target.newest_s)} UTC" if target.newest_s is not None else ""
    return section(
        "Who arrived",
        f"By the target's own lists: {counted(target.files, 'file')} of"
        f" {counted(target.rows, 'device')}{reach}.",
        table("Verdicts", heads, rows),
        *(_list(report.devices, verdict) for verdict in Handover if verdict not in _DONE),
    )


def _list(devices: tuple[Device, ...], verdict: Handover) -> PageTable | None:
    found = [one for one in devices if one.arrival and one.arrival.handover is verdict]
    if not found:
        return None
    rows = [
        (
            device.user,
            device.device_id or "",
            client_title(device.family),
            device.arrival.why if device.arrival else "",
            time_cell(device.redirected_s),
            time_cell(device.last_seen_s),
        )
        for device in found[:SHOWN]
    ]
    return table(TITLES[verdict].capitalize(), _HEADS, rows, total=len(found))


def report_page(report: Report) -> str:
    """The whole file."""
    return render_page(
        "report.html",
        {
            "title": f"Who followed · {_period(report)}",
            "heading": "Who followed, who did not",
            "period": _period(report),
            "notes": (*report.notes, *(report.target.notes if report.target else ())),
            "verdict": verdict_section(report),
            "tiles": tiles(report),
            "sections": [one for one in _sections(report) if one is not None],
            "made": _made(report),
            "policy": PAGE_POLICY,
        },
    )


def _sections(report: Report) -> Iterator[PageSection | None]:
    """What to do first, then the history, then everything."""
    yield stuck_section(report)
    yield handover_section(report)
    yield obstacles_section(report)
    yield silence_section(report)
    yield anonymous_section(report)
    yield states_section(report)
    yield arrivals_section(report)
    yield decisions_section(report)
    yield readiness_section(report)
    yield groups_section(report)
    yield discoveries_section(report)
    yield waits_section(report)
    yield latency_section(report)
    yield devices_section(report)


def _made(report: Report) -> str:
    read = report.input
    return (
        f"Made {moment(report.now_s)} UTC from {counted(read.files, 'file')},"
        f" {size(read.bytes)}, {counted(read.lines, 'line')}:"
        f" {counted(read.exchanges, 'exchange')},"
        f" {counted(read.events, 'event')}, {number(read.torn)} torn,"
        f" {number(read.foreign)} foreign, {number(read.untimed)} without a usable time,"
        f" {number(read.future)} dated in the future. All times are UTC."
    )


def _period(report: Report) -> str:
    if report.since_s is None or report.until_s is None:
        return "no journal lines"
    return f"{moment(report.since_s)} to {moment(report.until_s)} UTC"
