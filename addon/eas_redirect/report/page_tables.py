"""The tables of the page, each from a part of the `Report`: sortable by its heads, readable without
a script. Pure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from eas_redirect.policy.reasons import title
from eas_redirect.report.old_server import why
from eas_redirect.report.report_values import (
    AnonymousCaller,
    AskedAgain,
    Device,
    Group,
    Obstacle,
    ReasonRow,
    SilenceRow,
    StillCalling,
    Unanswered,
    WaitsOfWave,
)
from eas_redirect.report.words import (
    SILENCE_WORDS,
    STATE_TITLES,
    VERDICT_TITLES,
    client_title,
    counted,
    length,
    meaning,
    moment,
    what_to_do,
    whole_seconds,
)
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number

PRINTED = 40  # rows of a table on paper


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a cell, and how it is shown; `names` may be many. `tone`: the colour of a badge."""

    text: str
    form: Literal["text", "small", "code", "badge", "names"] = "text"
    tone: str = ""


type Shown = str | Piece | Sequence[str | Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column: `kind` says how it sorts and where it stands; `who` names a user or a device,
    `told` is a sentence."""

    title: str
    kind: Literal["text", "number", "time", "who", "client", "told"] = "text"

    @property
    def sorts(self) -> str:
        return self.kind if self.kind in ("number", "time") else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows, and the value that it sorts by if that differs."""

    shown: Shown
    sort: str | float | None = None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        parts = [self.shown] if isinstance(self.shown, str | Piece) else self.shown
        return tuple(Piece(part) if isinstance(part, str) else part for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table with its caption. `total`: the number of rows, if not all are shown. `paper`: how
    many rows are printed; the page says how many are not."""

    part: Literal["table"] = "table"
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int = 0
    paper: int = PRINTED


def table(
    caption: str,
    heads: Sequence[Head],
    rows: Iterable[Sequence[Cell | Shown]],
    *,
    total: int = 0,
    paper: int | None = None,
) -> PageTable:
    """A table; heads become buttons by the page's script."""
    return PageTable(
        caption=caption,
        heads=tuple(heads),
        rows=tuple(
            tuple(cell if isinstance(cell, Cell) else Cell(shown=cell) for cell in row)
            for row in rows
        ),
        total=total,
        paper=PRINTED if paper is None else paper,
    )


SHOWN = 1000  # rows of a table; a browser and a reader bear no more
_TOLD = {"redirect": "told the new server", "would_redirect": "would be told (observe mode)"}


def count(value: int) -> Cell:
    return Cell(shown=number(value), sort=value)


def time_cell(at_s: float | None) -> Cell:
    date, _, clock = moment(at_s).partition(" ")
    return Cell(shown=(date, Piece(clock, "small")), sort=at_s or 0)


def badge(title: str, colour: str) -> Piece:
    return Piece(title, "badge", colour)


def _state(device: Device) -> Cell:
    """For a device without a redirect: why."""
    title = STATE_TITLES[device.state]
    reason = why(device) if device.state is LedgerState.SEEN else ""
    words = (Piece(meaning(reason), "small"),) if reason else ()
    return Cell(shown=(badge(title, device.state.value), *words), sort=f"{title} {reason}")


def _came_back(device: Device) -> Cell:
    since = Piece(f"told {moment(device.redirected_s)}", "small")
    return Cell(shown=(number(device.returns), since), sort=device.returns)


def _silence(device: Device) -> Cell:
    usual = device.usual_interval_s
    words = (Piece(f"usually {length(usual)}", "small"),) if usual is not None else ()
    return Cell(shown=(length(device.silent_s), *words), sort=device.silent_s)


def _with_users(devices: int, users: int) -> Cell:
    words = (Piece(counted(users, "user"), "small"),) if users else ()
    return Cell(shown=(number(devices), *words), sort=devices)


def still_calling_table(rows: Sequence[StillCalling]) -> PageTable:
    """Who keeps the old server, and what to do about them."""
    heads = (
        Head(title="Devices", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Why they still call", kind="told"),
        Head(title="What to do", kind="told"),
    )
    cells = [(count(r.devices), count(r.users), meaning(r.why), what_to_do(r.why)) for r in rows]
    return table("Who called in the last 7 days", heads, cells)


def stuck_table(devices: Sequence[Device]) -> PageTable:
    """Who is stuck, since when, and why that may be."""
    heads = (
        Head(title="User", kind="who"),
        Head(title="Device", kind="who"),
        Head(title="Client", kind="client"),
        Head(title="First seen", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Came back", kind="number"),
        Head(title="Likely cause, and what to do", kind="told"),
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
    caption = "Devices that keep coming back after their redirect"
    return table(caption, heads, rows, total=len(devices))


def device_table(devices: Sequence[Device]) -> PageTable:
    """Every device, the most urgent first."""
    heads = (
        Head(title="User", kind="who"),
        Head(title="Device", kind="who"),
        Head(title="Client", kind="client"),
        Head(title="State"),
        Head(title="First seen", kind="time"),
        Head(title="Last seen", kind="time"),
        Head(title="Silent for", kind="number"),
        Head(title="Redirects", kind="number"),
        Head(title="Expected at the target", kind="told"),
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
    return table("Devices, the most urgent first", heads, rows, total=len(devices), paper=0)


def group_table(
    caption: str, name: str, groups: Sequence[Group], title: Callable[[str], str]
) -> PageTable:
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


def reason_table(reasons: Sequence[ReasonRow]) -> PageTable:
    heads = (
        Head(title="Reason"),
        Head(title="In words", kind="told"),
        Head(title="Exchanges", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Devices", kind="number"),
    )
    rows = [
        (
            Piece(r.reason, "code"),
            title(r.reason),
            count(r.exchanges),
            count(r.users),
            count(r.devices),
        )
        for r in reasons
    ]
    return table("What was decided, and why", heads, rows)


def discovery_table(shown: Sequence[AskedAgain]) -> PageTable:
    heads = (
        Head(title="User", kind="who"),
        Head(title="User agent", kind="told"),
        Head(title="Outcome", kind="told"),
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


def wait_table(waves: Sequence[WaitsOfWave]) -> PageTable:
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
            "" if wave.p50_s is None else whole_seconds(wave.p50_s),
            _nearly_all(wave),
        )
        for wave in waves
    ]
    return table("From the directory's word to the 451", heads, rows)


def _nearly_all(wave: WaitsOfWave) -> str:
    if wave.p99_s is None or wave.longest_s is None:
        return ""
    if wave.is_of_few:
        return f"all: {whole_seconds(wave.longest_s)}"
    return whole_seconds(wave.p99_s)


def unanswered_table(shown: Sequence[Unanswered]) -> PageTable:
    heads = (
        Head(title="User", kind="who"),
        Head(title="Device", kind="who"),
        Head(title="Ended", kind="number"),
        Head(title="Last"),
    )
    rows = [(one.user, one.device_id, count(one.ended), time_cell(one.last_s)) for one in shown]
    return table("Ended, and Exchange does not know yet", heads, rows)


def obstacle_table(obstacles: Sequence[Obstacle]) -> PageTable:
    heads = (
        Head(title="Domain of the targetAddress"),
        Head(title="What stands in the way", kind="told"),
        Head(title="What to do", kind="told"),
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
    return Cell(shown=device.user, sort=device.user)


def device_name(device: Device) -> Shown:
    named = device.device_id or "(not named)"
    return (Piece(named, "code"), Piece(device.device_type or "", "small"))


def client_name(device: Device) -> Cell:
    title = client_title(device.family)
    agent = (Piece(device.user_agent, "small"),) if device.user_agent else ()
    return Cell(shown=(title, *agent), sort=title)


def readiness_text(device: Device) -> Cell:
    if device.readiness is None:
        return Cell(shown="", sort="")
    verdict = device.readiness.verdict.value
    return Cell(
        shown=(
            badge(VERDICT_TITLES[verdict], verdict),
            Piece(device.readiness.rule, "small"),
            *(Piece(finding.message, "small") for finding in device.findings),
        ),
        sort=VERDICT_TITLES[verdict],
    )


def silence_table(rows: Sequence[SilenceRow]) -> PageTable:
    """Exchanges without an answer, and what to do about each cause."""
    heads = (
        Head(title="What happened", kind="told"),
        Head(title="What to do", kind="told"),
        Head(title="Exchanges", kind="number"),
        Head(title="Devices", kind="number"),
        Head(title="Users", kind="number"),
        Head(title="Last", kind="time"),
    )
    cells = [
        (
            SILENCE_WORDS[row.silence][0],
            SILENCE_WORDS[row.silence][1].replace("`", ""),
            count(row.exchanges),
            count(row.devices),
            count(row.users),
            time_cell(row.last_s),
        )
        for row in rows
    ]
    return table("Exchanges without an answer, by cause", heads, cells)


def anonymous_table(rows: Sequence[AnonymousCaller], total: int) -> PageTable:
    heads = (
        Head(title="Address", kind="who"),
        Head(title="User agent", kind="told"),
        Head(title="Exchanges", kind="number"),
        Head(title="Last", kind="time"),
        Head(title="Mostly"),
    )
    cells = [
        (
            Piece(row.address or "not said", "code"),
            row.user_agent or "not said",
            count(row.exchanges),
            time_cell(row.last_s),
            title(row.reason),
        )
        for row in rows
    ]
    return table("Callers without a name", heads, cells, total=total)
