"""The timelines of a capture as text for people and as JSON for machines. Pure.

Given two configurations, it shows only what the second would decide differently.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import assert_never

from eas_redirect.activesync.meanings import item_meaning, status_meaning
from eas_redirect.captures.capture import Captured, CaptureTrouble
from eas_redirect.captures.complaints import Complaint, complaints
from eas_redirect.captures.device_timeline import (
    CaptureReport,
    Decision,
    Filter,
    Timeline,
    TimelineEntry,
    decided,
)
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.reasons import Reason

# Rows of a time line that repeat, in short.
#
# A phone says the same few things for months: Ping, Sync, Ping, Sync. What repeats is one block
# with its count; what is rare stands between as it came.

LONGEST = 6  # rows of a pattern
FEWEST = 3  # times; below that it is read faster as it came
MOST = 120  # lines of one time line; of a longer one the middle is summed up
LONG = 1_000  # exchanges; the time lines of a longer capture share
WHOLE = 180  # lines, as far as there are not too many devices
LEAST = 5  # lines of one of them
MANY = 20  # devices; of more an overview, where their time lines would be longer than WHOLE
OVERVIEW, GOOD = 120, 20  # lines of it about what is wrong, and devices that are in order
_SYNC, _PROVISION = 0, 14  # code pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: `cells` are its contents, `host` the server that was called."""

    time_s: float
    last_s: float
    count: int
    waited_s: float | None
    host: str | None
    cells: tuple[str, ...]

    @property
    def key(self) -> tuple[str | None, tuple[str, ...]]:
        return self.host, self.cells


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that came `times` times in a row; a count covers all repetitions."""

    rows: tuple[Row, ...]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Middle:
    """The omitted middle of a long time line: each kind with its count, the most frequent first."""

    exchanges: int
    kinds: tuple[tuple[tuple[str, ...], int], ...]
    further: int  # kinds that are not told


def folded(rows: Iterator[Row], most: int = MOST) -> list[Block | Middle]:
    """Bounded, whatever a time line holds: half of the lines are its beginning, a third its end,
    and most of the rest are kinds in between."""
    blocks = list(_blocks(_joined(rows)))
    if sum(map(_lines, blocks)) <= most:
        return [*blocks]
    head, tail = _within(blocks, most // 2), _within(blocks[::-1], most // 3)
    counts: Counter[tuple[str, ...]] = Counter()
    for block in blocks[head : len(blocks) - tail]:
        for row in block.rows:
            counts[row.cells] += row.count
    kinds = tuple(counts.most_common(max(1, most // 8)))
    middle = Middle(counts.total(), kinds, len(counts) - len(kinds))
    return [*blocks[:head], middle, *blocks[len(blocks) - tail :]]


def _lines(block: Block) -> int:
    return len(block.rows) + (block.times > 1)


def _within(blocks: Sequence[Block], most: int) -> int:
    """How many of the first blocks fit into that many lines."""
    for count, total in enumerate(accumulate(map(_lines, blocks))):
        if total > most:
            return count
    return len(blocks)


def _joined(rows: Iterator[Row]) -> list[Row]:
    """Merge equal adjacent rows."""
    found: list[Row] = []
    for row in rows:
        if found and found[-1].key == row.key:
            found[-1] = _sum(found[-1], row)
        else:
            found.append(row)
    return found


def _blocks(rows: Sequence[Row]) -> Iterator[Block]:
    at = 0
    while at < len(rows):
        size, times = _pattern(rows, at)
        parts = [rows[at + n * size : at + (n + 1) * size] for n in range(times)]
        whole = list(parts[0])
        for part in parts[1:]:
            whole = [_sum(one, other) for one, other in zip(whole, part, strict=True)]
        yield Block(tuple(whole), times)
        at += size * times


def _pattern(rows: Sequence[Row], at: int) -> tuple[int, int]:
    """The shortest pattern that begins here and covers most: its size and its repetitions."""
    best = (1, 1)
    for size in range(2, LONGEST + 1):
        times = 1
        while _same(rows, at, at + times * size, size):
            times += 1
        if times >= FEWEST and size * times > best[0] * best[1]:
            best = (size, times)
    return best


def _same(rows: Sequence[Row], one: int, other: int, size: int) -> bool:
    if other + size > len(rows):
        return False
    return all(rows[one + n].key == rows[other + n].key for n in range(size))


def _sum(one: Row, other: Row) -> Row:
    waits = [s for s in (one.waited_s, other.waited_s) if s is not None]
    return replace(
        one,
        last_s=other.last_s,
        count=one.count + other.count,
        waited_s=max(waits, default=None),
    )


# A configuration that does not name the server decides nothing about it.
_NONE = Decision(decision="pass", reason="server_not_named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One exchange that the two configurations decide differently; `then` is the second
    decision."""

    time_s: float
    device: str
    user: str
    command: str
    now: Decision
    then: Decision


async def compare(
    before: Iterable[Captured | CaptureTrouble],
    now: Judge,
    after: Iterable[Captured | CaptureTrouble],
    then: Judge,
    wanted: Filter,
) -> tuple[list[Change], list[str]]:
    """The changes, and what could not be read. `before` and `after` are the same capture, each
    read as its configuration reads answers."""
    changes: list[Change] = []
    troubles: list[str] = []
    for one, other in zip(before, after, strict=True):
        if isinstance(one, CaptureTrouble) or isinstance(other, CaptureTrouble):
            troubles.extend(item.text for item in (one,) if isinstance(item, CaptureTrouble))
        elif wanted.admits(one):
            first = await decided(one, now) or _NONE
            second = await decided(other, then) or _NONE
            if _differ(first, second):
                changes.append(_change(one, first, second))
    return changes, troubles


def _differ(one: Decision, other: Decision) -> bool:
    return (one.decision, one.reason, one.location) != (
        other.decision,
        other.reason,
        other.location,
    )


def _change(captured: Captured, now: Decision, then: Decision) -> Change:
    request, logon = captured.exchange.request, captured.exchange.logon
    return Change(
        time_s=captured.time_s,
        device=request.device_id or captured.exchange.client_address or "unknown",
        user=logon.text if logon else "nobody",
        command=request.command or request.method,
        now=now,
        then=then,
    )


class Each(list[dict[str, object]]):
    """A list for `json`'s iterencode, made item by item while it is written; it can be written
    once."""

    def __init__(self, items: Iterator[dict[str, object]]) -> None:
        super().__init__()
        self._items = items

    def __iter__(self) -> Iterator[dict[str, object]]:
        return self._items

    def __bool__(self) -> bool:
        return True


def capture_lines(report: CaptureReport) -> Iterator[str]:
    """One block per device, then what could not be read. Of many devices an overview: nobody reads
    thousands of lines."""
    found = [complaints(timeline) for timeline in report.timelines]
    sizes = [sum(map(_lines, _blocks_of(timeline))) for timeline in report.timelines]
    most = _share(report.timelines, found, sizes)
    if _are_too_many(found, sizes, most):
        yield from _overview(report.timelines, found)
    else:
        for timeline, wrong in zip(report.timelines, found, strict=True):
            yield from _timeline_lines(timeline, wrong, most)
            yield ""
    yield from (f"! {trouble}" for trouble in report.troubles)
    if report.timelines:
        yield _summary(report.timelines, sum(map(bool, found)))
    elif not report.troubles:
        yield "No exchange of ActiveSync here, or none of this device and user."


def _blocks_of(timeline: Timeline) -> Iterator[Block]:
    return _blocks(_joined(map(_row, timeline.entries)))


def _share(timelines: list[Timeline], found: list[list[Complaint]], sizes: list[int]) -> int:
    """How many lines a time line may have to stay readable: the long ones get the lines that the
    short ones do not need."""
    if sum(timeline.exchanges for timeline in timelines) <= LONG:
        return MOST
    left = WHOLE - sum(len(wrong) + 2 for wrong in found)  # with its heading and an empty line
    for at, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - at)
        if size > share:
            return max(LEAST, min(MOST, share))
        left -= size
    return MOST


def _are_too_many(found: list[list[Complaint]], sizes: list[int], most: int) -> bool:
    if len(sizes) <= MANY:
        return False
    ours = (min(size, most) + len(wrong) + 2 for size, wrong in zip(sizes, found, strict=True))
    return sum(ours) > WHOLE


def _overview(timelines: list[Timeline], found: list[list[Complaint]]) -> Iterator[str]:
    """What is wrong with how many devices and with which, then the others, a line each."""
    yield f"{len(timelines)} devices: --device ID shows what one did, --user NAME one user's."
    yield ""
    devices: dict[Complaint, list[Timeline]] = {}
    for timeline, wrong in zip(timelines, found, strict=True):
        for each in dict.fromkeys(wrong):
            devices.setdefault(each, []).append(timeline)
    kinds: dict[str, list[tuple[Complaint, list[Timeline]]]] = {}
    for complaint, its in sorted(devices.items(), key=lambda each: -len(each[1])):
        kinds.setdefault(complaint.kind, []).append((complaint, its))
    listed = max(1, OVERVIEW // max(1, len(kinds)) - 2)  # devices of a kind
    for of_kind in kinds.values():
        first = of_kind[0][0]
        its = list({id(each): each for _, some in of_kind for each in some}.values())
        others = f" (and {_counted(len(of_kind) - 1, 'variant')})" if len(of_kind) > 1 else ""
        yield f"! {_counted(len(its), 'device')}: {first.text}{others}: {first.advice}"
        yield from _headings(its, listed)
    good = [timeline for timeline, wrong in zip(timelines, found, strict=True) if not wrong]
    if good:
        yield f"{_counted(len(good), 'device')} with nothing to look at:"
        yield from _headings(good, GOOD)
    yield ""


def _headings(timelines: list[Timeline], most: int) -> Iterator[str]:
    yield from (f"    {_heading(timeline)}" for timeline in timelines[:most])
    if len(timelines) > most:
        yield f"    and {len(timelines) - most} more (--json lists all)"


def _summary(timelines: list[Timeline], wrong: int) -> str:
    exchanges = sum(timeline.exchanges for timeline in timelines)
    counted = f"{_counted(len(timelines), 'device')}, {_counted(exchanges, 'exchange')}"
    return f"{counted}: {f'{wrong} with something to look at' if wrong else 'nothing is wrong'}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def capture_json(report: CaptureReport) -> dict[str, object]:
    """In the words of the journal. Write it once, with `iterencode`."""
    return {
        "devices": [_timeline_json(timeline) for timeline in report.timelines],
        "troubles": report.troubles,
    }


def something_is_wrong(report: CaptureReport) -> bool:
    return bool(report.troubles) or any(complaints(timeline) for timeline in report.timelines)


def directory_was_unreachable(report: CaptureReport) -> bool:
    """Whether a decision failed because no directory could be asked."""
    decisions = (e.decided for timeline in report.timelines for e in timeline.entries)
    return any(d is not None and d.reason == Reason.DIRECTORY_UNAVAILABLE for d in decisions)


def change_lines(changes: list[Change], troubles: list[str]) -> Iterator[str]:
    """Only what the other configuration would decide differently."""
    for change in changes:
        yield f"{_time(change.time_s)}  {change.device}  {change.user}  {change.command}"
        yield f"    now    {_decision(change.now)}"
        yield f"    then   {_decision(change.then)}"
    yield from (f"! {trouble}" for trouble in troubles)
    if not changes:
        yield "Both configurations decide alike about every exchange of this capture."


def changes_json(changes: list[Change], troubles: list[str]) -> dict[str, object]:
    return {"changes": [_change_json(change) for change in changes], "troubles": troubles}


def _change_json(change: Change) -> dict[str, object]:
    facts = asdict(change)
    facts["time"] = _time(facts.pop("time_s"))
    return facts


def _timeline_lines(timeline: Timeline, found: list[Complaint], most: int) -> Iterator[str]:
    yield _heading(timeline)
    blocks = folded(map(_row, timeline.entries), most)
    rows = [row for block in blocks if isinstance(block, Block) for row in block.rows]
    texts = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    several = len({entry.signs.called for entry in timeline.entries}) > 1
    host: str | None = None
    for block in blocks:
        match block:
            case Block(rows=inner, times=times):
                if times > 1:
                    last = _time(inner[-1].last_s)
                    yield f"  these {len(inner)} in turn, {times} times, until {last}:"
                for row in inner:
                    if several and row.host != host:
                        yield f"  at {row.host or 'an unknown host'}:"
                        host = row.host
                    cells = (c.ljust(w) for c, w in zip(_cells(row), widths, strict=True))
                    yield f"{'    ' if times > 1 else '  '}{'  '.join(cells)}".rstrip()
            case Middle():
                yield from _middle_lines(block)
            case _:
                assert_never(block)
    yield from (f"  ! {f.text}: {f.advice}" for f in found)


def _middle_lines(middle: Middle) -> Iterator[str]:
    yield f"  … {middle.exchanges} exchanges between (--device tells more, --json all):"
    for cells, count in middle.kinds:
        yield f"    x{count}  {'  '.join(cell for cell in cells if cell)}"
    if middle.further:
        yield f"    and {_counted(middle.further, 'further kind')}"


def _heading(timeline: Timeline) -> str:
    who = timeline.user or "nobody"
    device = timeline.device_id or timeline.client_address or "unknown"
    known = (timeline.device_type or timeline.user_agent, timeline.client_family)
    kind = ", ".join(text for text in known if text) or "?"
    return f"{who}, device {device} ({kind}), {_counted(timeline.exchanges, 'exchange')}"


def _row(entry: TimelineEntry) -> Row:
    decided = entry.decided or entry.recorded
    return Row(
        time_s=entry.time_s,
        last_s=entry.last_s,
        count=entry.count,
        waited_s=entry.waited_s,
        host=entry.signs.called,
        cells=(
            entry.command or entry.method,
            entry.protocol_version or "-",
            str(entry.status_code or "-"),
            _status(entry),
            "" if entry.evidence == "none" else entry.evidence,
            "" if decided is None else _decision(decided),
        ),
    )


def _cells(row: Row) -> tuple[str, ...]:
    """The cells of a line, with time, count and the longest wait."""
    command, version, code, status, evidence, decided = row.cells
    return (
        _time(row.time_s),
        f"x{row.count}" if row.count > 1 else "",
        command,
        version,
        code,
        status,
        "" if row.waited_s is None else f"{row.waited_s:.1f} s",
        evidence,
        decided,
    )


def _status(entry: TimelineEntry) -> str:
    signs, command = entry.signs, entry.command or ""
    later = f", Retry-After {signs.retry_after}" if signs.retry_after else ""
    if signs.page is not None:
        return f"{signs.page} in place of ActiveSync{later}"
    if entry.eas_status is None and signs.collection_statuses:
        return ", ".join(_meant(_SYNC, n) for n in signs.collection_statuses) + later
    number = "" if entry.eas_status is None else f"{entry.eas_status} "
    said = number + (entry.meaning or "")
    if signs.policy_statuses:
        said += ", the policy " + ", ".join(_meant(_PROVISION, n) for n in signs.policy_statuses)
    if signs.item_statuses:
        said += f", in it {', '.join(item_meaning(command, n) for n in signs.item_statuses)}"
    if signs.empty:
        said += ", nothing in it"
    if signs.cut_off:
        said += ", cut off"
    if signs.discovered not in (None, "settings", "redirect"):
        said += f", {signs.discovered}"
    if signs.repeats:
        said += ", SyncKey of before again"
    return said + later


def _meant(page: int, status: int) -> str:
    return f"{status} {status_meaning(page, status) or ''}".rstrip()


def _decision(decision: Decision) -> str:
    said = f"{decision.decision} ({decision.reason})"
    parts = (decision.location or "").split("/")
    return f"{said} → {parts[2]}" if len(parts) > 2 else said


def _time(time_s: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _timeline_json(timeline: Timeline) -> dict[str, object]:
    return {
        "device_id": timeline.device_id,
        "device_type": timeline.device_type,
        "client_family": timeline.client_family,
        "user": timeline.user,
        "user_agent": timeline.user_agent,
        "client_address": timeline.client_address,
        "exchanges": Each(_entry_json(entry) for entry in timeline.entries),
        "findings": [_finding_json(finding) for finding in complaints(timeline)],
    }


def _entry_json(entry: TimelineEntry) -> dict[str, object]:
    facts = asdict(entry) | {"meaning": entry.meaning}
    facts |= facts.pop("signs")
    facts["time"], facts["last"] = _time(facts.pop("time_s")), _time(facts.pop("last_s"))
    return facts


def _finding_json(finding: Complaint) -> dict[str, str]:
    return asdict(finding)
