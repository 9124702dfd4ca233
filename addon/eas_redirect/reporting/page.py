"""The page: a `Report` in, one self-contained HTML file out. Pure.

No script, font or image from elsewhere: a Content-Security-Policy lets in this page's own style and
script by their hashes, and nothing else.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from eas_redirect.reporting import page_tables as tables
from eas_redirect.reporting.markup import HTML, Child, tag
from eas_redirect.reporting.plots import Column, Series, bars, legend, stacked
from eas_redirect.reporting.table import Cell, Head, table
from eas_redirect.reporting.values import STATES, Report
from eas_redirect.reporting.words import (
    STATE_TITLES,
    VERDICT_TITLES,
    client_title,
    counted,
    day,
    milliseconds,
    moment,
    number,
    size,
)
from eas_redirect.telemetry.ledger import LedgerState

STUCK_CLIENTS = 12

_STATE_SERIES = tuple(Series(title=STATE_TITLES[s], colour=s.value) for s in STATES)


def render(report: Report) -> str:
    """The whole file."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"Who followed · {_period(report)}"),
        tag("style", HTML(style)),
    )
    body = tag("body", _header(report), _main(report), _footer(report), tag("script", HTML(script)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _main(report: Report) -> HTML:
    return tag(
        "main",
        _verdict(report),
        _tiles(report),
        _states(report),
        _stuck(report),
        _obstacles(report),
        _decisions(report),
        _groups(report),
        _readiness(report),
        _latency(report),
        _arrivals(report),
        _devices(report),
    )


def _header(report: Report) -> HTML:
    return tag(
        "header",
        tag("h1", "Who followed, who did not"),
        tag("p", _period(report), class_="period"),
        [tag("p", note, class_="note") for note in report.notes],
    )


def _verdict(report: Report) -> HTML:
    arrivals = report.arrivals
    times: Child = None
    if arrivals.last_s is not None:
        first = (
            f"The first of them last called {moment(arrivals.first_s)}, "
            if arrivals.first_s
            else ""
        )
        times = tag(
            "p", f"{first}the last call of all was {moment(arrivals.last_s)} UTC.", class_="aside"
        )
    return tag(
        "section",
        tag("h2", "Can the old server go?"),
        tag("p", arrivals.verdict, class_="answer"),
        times,
        class_="verdict go" if arrivals.can_go else "verdict",
    )


def _tiles(report: Report) -> HTML:
    totals = report.totals
    stuck = totals.states.get(LedgerState.STUCK, 0)
    returned = totals.states.get(LedgerState.RETURNED, 0)
    followed = totals.states.get(LedgerState.QUIET, 0)
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
            f"presumed from silence; {number(totals.devices_confirmed)} seen at the target",
            "quiet",
        ),
        ("Came back", returned, "not yet often enough to be stuck", "returned"),
        ("Stuck", stuck, f"of {counted(totals.users_stuck, 'user')}", "stuck"),
    )
    if totals.would_redirects:
        would = ("Would redirect", totals.would_redirects, "answers, in observe mode", "")
        rows = (*rows, would)
    tiles = [
        tag(
            "div",
            tag("dt", title),
            tag("dd", number(value)),
            tag("p", words),
            class_=f"tile {colour}",
        )
        for title, value, words, colour in rows
    ]
    return tag(
        "section", tag("h2", "In figures", class_="hidden"), tag("dl", tiles, class_="tiles")
    )


def _states(report: Report) -> HTML | None:
    if not report.states_over_time:
        return None
    columns = [
        Column(label=day(point.at_s - 0.001), values=tuple(point.states[s.value] for s in STATES))
        for point in report.states_over_time
    ]
    title = "Devices by state over time"
    return _section(
        title,
        "At the end of each day, UTC. Silence is judged by each device's own usual interval:"
        " whoever is silent for three of them, and an hour at least, is presumed to have followed.",
        stacked(title, _STATE_SERIES, columns),
        legend(_STATE_SERIES),
        _figures(title, _STATE_SERIES, columns),
    )


def _stuck(report: Report) -> HTML:
    stuck = [device for device in report.devices if device.state is LedgerState.STUCK]
    title = "Who is stuck"
    if not stuck:
        return _section(title, "Nobody.")
    clients = [
        (client_title(group.name), group.stuck, "stuck")
        for group in report.by_family
        if group.stuck
    ]
    clients.sort(key=lambda row: -row[1])
    return _section(
        title,
        "Came back three times or more, over at least ten minutes.",
        bars("Stuck devices by client", clients[:STUCK_CLIENTS]),
        tables.stuck_table(stuck),
        _cut(len(stuck)),
    )


def _obstacles(report: Report) -> HTML | None:
    if not report.obstacles:
        return None
    return _section(
        "What stands in the way",
        "These users have moved, and their devices were left alone all the same.",
        tables.obstacle_table(report.obstacles),
    )


def _decisions(report: Report) -> HTML | None:
    if not report.days:
        return None
    names = sorted({reason for one in report.days for reason in one.reasons})
    order = {row.reason: index for index, row in enumerate(report.reasons)}
    names.sort(key=lambda name: order.get(name, len(order)))
    series = [Series(title=name, colour=f"c{index}") for index, name in enumerate(names)]
    columns = [
        Column(label=day(one.start_s), values=tuple(one.reasons.get(name, 0) for name in names))
        for one in report.days
    ]
    title = "Decisions by reason over time"
    more = ""
    if report.more_reasons:
        more = f"{number(report.more_reasons)} more distinct reasons are not listed."
    return _section(
        title,
        "Exchanges of each day, UTC, and why each was redirected or passed.",
        stacked(title, series, columns),
        legend(series),
        tables.reason_table(report.reasons),
        tag("p", more, class_="aside") if more else None,
        _figures(title, series, columns),
    )


def _groups(report: Report) -> HTML | None:
    if not report.devices:
        return None
    return _section(
        "By wave, device type and client",
        None,
        tables.group_table("By wave", "Wave", report.by_wave),
        tables.group_table("By device type", "Device type", report.by_device_type),
        tables.group_table("By client", "Client", report.by_family, titled=True),
    )


def _readiness(report: Report) -> HTML | None:
    judged = sum(report.readiness.values())
    if not judged:
        return None
    rows = [
        (VERDICT_TITLES[verdict], value, verdict) for verdict, value in report.readiness.items()
    ]
    return _section(
        "What awaits them at the target",
        "Exchange Online refuses ActiveSync below 16.1 since March 2026 and passwords since October"
        " 2022. The old server cannot tell what a phone speaks elsewhere: the client and its system"
        " do. Each device below has its rule.",
        bars("Devices by what they are to expect", rows),
    )


def _latency(report: Report) -> HTML | None:
    latency = report.latency
    if not latency.lookups:
        return None
    rows = [
        (f"up to {bound:g} ms" if bound is not None else "longer", count, "c1")
        for bound, count in latency.buckets
        if count
    ]
    told = ", ".join(f"{name} {number(count)}" for name, count in latency.by_cache.items())
    return _section(
        "How long look-ups took",
        f"{counted(latency.lookups, 'look-up')}: half within {milliseconds(latency.p50_ms)}, 95 %"
        f" within {milliseconds(latency.p95_ms)}, 99 % within {milliseconds(latency.p99_ms)},"
        f" the longest {milliseconds(latency.max_ms)}. From the cache or not: {told}.",
        bars("Look-ups by length", rows),
    )


def _arrivals(report: Report) -> HTML | None:
    if not report.days:
        return None
    series = (Series(title="devices that called the old server", colour="c0"),)
    columns = [Column(label=day(one.start_s), values=(one.arriving,)) for one in report.days]
    title = "Devices still calling the old server"
    return _section(
        title,
        "Distinct devices of each day, UTC, without Exchange's own probes.",
        stacked(title, series, columns),
        _figures(title, series, columns),
    )


def _devices(report: Report) -> HTML | None:
    if not report.devices:
        return None
    return _section(
        "Devices",
        None,
        tables.device_table(report.devices),
        _cut(len(report.devices)),
    )


def _footer(report: Report) -> HTML:
    read = report.input
    return tag(
        "footer",
        tag(
            "p",
            f"Made {moment(report.now_s)} UTC from {counted(read.files, 'file')},"
            f" {size(read.bytes)}, {counted(read.lines, 'line')}:"
            f" {counted(read.exchanges, 'exchange')},"
            f" {counted(read.events, 'event')}, {number(read.torn)} torn,"
            f" {number(read.foreign)} foreign, {number(read.untimed)} without a usable time,"
            f" {number(read.future)} dated in the future. All times are UTC.",
        ),
    )


def _section(title: str, words: str | None, *parts: Child) -> HTML:
    return tag(
        "section", tag("h2", title), tag("p", words, class_="aside") if words else None, parts
    )


def _figures(title: str, series: Sequence[Series], columns: Sequence[Column]) -> HTML:
    """A plot's figures for those who cannot see it, and for those who want to copy them."""
    heads = (Head(title="Day"), *(Head(title=s.title, kind="number") for s in series))
    rows = [[Cell(shown=c.label), *map(tables.count, c.values)] for c in columns]
    return tag("details", tag("summary", "The figures"), table(title, heads, rows))


def _cut(total: int) -> HTML | None:
    if total <= tables.SHOWN:
        return None
    return tag(
        "p",
        f"The first {number(tables.SHOWN)} of {number(total)}; --csv and --json have all.",
        class_="aside",
    )


def _period(report: Report) -> str:
    if report.since_s is None or report.until_s is None:
        return "no journal lines"
    return f"{moment(report.since_s)} to {moment(report.until_s)} UTC"


def _asset(name: str) -> str:
    return files("eas_redirect").joinpath(f"data/{name}").read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
