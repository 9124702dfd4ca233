"""The tables of the page, each from a part of the `Report`: sortable by its heads, readable without
a script. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from eas_redirect.policy.reasons import title
from eas_redirect.report.markup import HTML, Child, tag
from eas_redirect.report.old_server import why
from eas_redirect.report.report_values import (
    AskedAgain,
    Device,
    Group,
    Obstacle,
    ReasonRow,
    StillCalling,
    Unanswered,
    WaitsOfWave,
)
from eas_redirect.report.words import (
    STATE_TITLES,
    VERDICT_TITLES,
    client_title,
    counted,
    length,
    meaning,
    moment,
    what_to_do,
)
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column: `kind` says how it sorts and where it stands."""

    title: str
    kind: Literal["text", "number", "time"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows, and by which value it sorts when that is another."""

    shown: Child
    sort: str | float | None = None


def table(caption: str, heads: Sequence[Head], rows: Sequence[Sequence[Cell | Child]]) -> HTML:
    """A table with its caption; heads become buttons by the page's script."""
    titles = [tag("th", head.title, scope="col", data_kind=head.kind) for head in heads]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", titles)),
            tag("tbody", [_row(heads, row) for row in rows]),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _row(heads: Sequence[Head], row: Sequence[Cell | Child]) -> HTML:
    return tag("tr", [_cell(head, cell) for head, cell in zip(heads, row, strict=True)])


def _cell(head: Head, cell: Cell | Child) -> HTML:
    whole = cell if isinstance(cell, Cell) else Cell(shown=cell)
    sort = None if whole.sort is None else str(whole.sort)
    return tag("td", whole.shown, class_=None if head.kind == "text" else head.kind, data_sort=sort)


SHOWN = 1000  # rows of a table; a browser and a reader bear no more
_TOLD = {"redirect": "told the new server", "would_redirect": "would be told (observe mode)"}


def count(value: int) -> Cell:
    return Cell(shown=number(value), sort=value)


def time_cell(at_s: float | None) -> Cell:
    date, _, clock = moment(at_s).partition(" ")
    return Cell(shown=[date, tag("small", clock)], sort=at_s or 0)


def badge(title: str, colour: str) -> HTML:
    return tag("span", title, class_=f"badge {colour}")


def _state(device: Device) -> Cell:
    """Of a device that got no redirect: why."""
    title = STATE_TITLES[device.state]
    reason = why(device) if device.state is LedgerState.SEEN else ""
    words = tag("small", meaning(reason)) if reason else None
    return Cell(shown=[badge(title, device.state.value), words], sort=f"{title} {reason}")


def _came_back(device: Device) -> Cell:
    since = tag("small", f"told {moment(device.redirected_s)}")
    return Cell(shown=[number(device.returns), since], sort=device.returns)


def _silence(device: Device) -> Cell:
    usual = device.usual_interval_s
    words = tag("small", f"usually {length(usual)}") if usual is not None else None
    return Cell(shown=[length(device.silent_s), words], sort=device.silent_s)


def _with_users(devices: int, users: int) -> Cell:
    words = tag("small", counted(users, "user")) if users else None
    return Cell(shown=[number(devices), words], sort=devices)


def still_calling_table(rows: Sequence[StillCalling]) -> HTML:
    """Who keeps the old server, and what to do about them."""
    heads = (
        Head(title="Devices", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Why they still call"),
        Head(title="What to do"),
    )
    cells = [(count(r.devices), count(r.users), meaning(r.why), what_to_do(r.why)) for r in rows]
    return table("Who called in the last 7 days", heads, cells)


def stuck_table(devices: Sequence[Device]) -> HTML:
    """Who is stuck, since when, and why that may be."""
    heads = (
        Head(title="User"),
        Head(title="Device"),
        Head(title="Client"),
        Head(title="First seen", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Came back", kind="number"),
        Head(title="Likely cause, and what to do"),
    )
    rows = [
        (
            user_name(d),
            device_name(d),
            client_name(d),
            time_cell(d.first_seen_s),
            time_cell(d.last_seen_s),
            _came_back(d),
            d.cause or "",
        )
        for d in devices[:SHOWN]
    ]
    return table("Devices that keep coming back after their redirect", heads, rows)


def device_table(devices: Sequence[Device]) -> HTML:
    """Every device, the most urgent first."""
    heads = (
        Head(title="User"),
        Head(title="Device"),
        Head(title="Client"),
        Head(title="State"),
        Head(title="First seen", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Silent for", kind="number"),
        Head(title="Redirects", kind="number"),
        Head(title="Expected at the target"),
    )
    rows = [
        (
            user_name(d),
            device_name(d),
            client_name(d),
            _state(d),
            time_cell(d.first_seen_s),
            time_cell(d.last_seen_s),
            _silence(d),
            count(d.redirects),
            readiness_text(d),
        )
        for d in devices[:SHOWN]
    ]
    return table("Devices, the most urgent first", heads, rows)


def group_table(
    caption: str, name: str, groups: Sequence[Group], title: Callable[[str], str]
) -> HTML:
    """`title` is what people call a group."""
    titles = ("Devices", "Redirected", "Followed (presumed)", "Confirmed", "Came back", "Stuck")
    heads = (Head(title=name), *(Head(title=title, kind="number") for title in titles))
    rows = [
        [
            Cell(shown=title(g.name)),
            _with_users(g.devices, g.users),
            _with_users(g.redirected, g.users_redirected),
            _with_users(g.followed, g.users_followed),
            count(g.confirmed),
            _with_users(g.returned, g.users_returned),
            _with_users(g.stuck, g.users_stuck),
        ]
        for g in groups
    ]
    return table(caption, heads, rows)


def reason_table(reasons: Sequence[ReasonRow]) -> HTML:
    heads = (
        Head(title="Reason"),
        Head(title="In words"),
        Head(title="Exchanges", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Devices", kind="number"),
    )
    rows = [
        (
            tag("code", r.reason),
            title(r.reason),
            count(r.exchanges),
            count(r.users),
            count(r.devices),
        )
        for r in reasons
    ]
    return table("What was decided, and why", heads, rows)


def discovery_table(shown: Sequence[AskedAgain]) -> HTML:
    heads = (
        Head(title="User"),
        Head(title="User agent"),
        Head(title="Outcome"),
        Head(title="Questions", kind="number"),
        Head(title="Last"),
    )
    rows = [
        (
            one.user,
            one.user_agent or "not said",
            _TOLD.get(one.decision) or f"not told: {title(one.reason)}",
            count(one.questions),
            time_cell(one.last_s),
        )
        for one in shown
    ]
    return table("Who asked Autodiscover", heads, rows)


def wait_table(waves: Sequence[WaitsOfWave]) -> HTML:
    heads = (
        Head(title="Wave"),
        Head(title="Devices", kind="number"),
        Head(title="Redirected", kind="number"),
        Head(title="Half within", kind="number"),
        Head(title="99 % within", kind="number"),
    )
    rows = [
        (
            wave.wave,
            count(wave.devices),
            count(wave.redirected),
            _seconds(wave.p50_s),
            _seconds(wave.p99_s),
        )
        for wave in waves
    ]
    return table("From the directory's word to the 451", heads, rows)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def unanswered_table(shown: Sequence[Unanswered]) -> HTML:
    heads = (
        Head(title="User"),
        Head(title="Device"),
        Head(title="Ended", kind="number"),
        Head(title="Last"),
    )
    rows = [(one.user, one.device_id, count(one.ended), time_cell(one.last_s)) for one in shown]
    return table("Ended, and Exchange does not know yet", heads, rows)


def obstacle_table(obstacles: Sequence[Obstacle]) -> HTML:
    heads = (
        Head(title="Domain of the targetAddress"),
        Head(title="What stands in the way"),
        Head(title="What to do"),
        Head(title="Users", kind="number"),
        Head(title="Devices", kind="number"),
        Head(title="Exchanges", kind="number"),
    )
    rows = [
        (
            o.target_domain or "(not known)",
            title(o.reason),
            what_to_do(o.reason),
            count(o.users),
            count(o.devices),
            count(o.exchanges),
        )
        for o in obstacles
    ]
    return table("Domains whose users cannot be redirected", heads, rows)


def user_name(device: Device) -> Cell:
    """An address may break before its @, DOMAIN\\user behind its backslash."""
    name, at, domain = device.user.partition("@")
    before, slash, after = name.partition("\\")
    slashed = [before, slash, tag("wbr"), after] if slash else name
    return Cell(shown=[slashed, tag("wbr"), at, domain], sort=device.user)


def device_name(device: Device) -> Child:
    named = device.device_id or "(not named)"
    return [tag("code", named), tag("small", device.device_type or "")]


def client_name(device: Device) -> Cell:
    title = client_title(device.family)
    agent = tag("small", device.user_agent) if device.user_agent else None
    return Cell(shown=[title, " ", agent], sort=title)


def readiness_text(device: Device) -> Cell:
    if device.readiness is None:
        return Cell(shown="", sort="")
    verdict = device.readiness.verdict.value
    findings = [tag("small", finding.message) for finding in device.findings]
    return Cell(
        shown=[
            badge(VERDICT_TITLES[verdict], verdict),
            tag("small", device.readiness.rule),
            findings,
        ],
        sort=VERDICT_TITLES[verdict],
    )
