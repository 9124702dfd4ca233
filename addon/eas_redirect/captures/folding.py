"""Rows of a time line that repeat, in short. Pure.

A phone says the same few things for months: Ping, Sync, Ping, Sync. What repeats is one block with
its count; what is rare stands between as it came.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

LONGEST = 6  # rows of a pattern
FEWEST = 3  # times; below that it is read faster as it came
MOST = 120  # lines of one time line; of a longer one the middle is summed up
_HEAD, _TAIL, _KINDS = 60, 40, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: `cells` are what it says, `host` where it was said."""

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
    """Rows that came `times` times one after the other; a count is that of all of them."""

    rows: tuple[Row, ...]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Middle:
    """What was left out of a long time line: each kind with its count, the most frequent first."""

    exchanges: int
    kinds: tuple[tuple[tuple[str, ...], int], ...]
    further: int  # kinds that are not told


def folded(rows: Iterator[Row]) -> list[Block | Middle]:
    """Bounded, whatever a time line holds."""
    blocks = list(_blocks(_joined(rows)))
    if sum(map(_lines, blocks)) <= MOST:
        return [*blocks]
    head, tail = _within(blocks, _HEAD), _within(blocks[::-1], _TAIL)
    counts: Counter[tuple[str, ...]] = Counter()
    for block in blocks[head : len(blocks) - tail]:
        for row in block.rows:
            counts[row.cells] += row.count
    kinds = tuple(counts.most_common(_KINDS))
    middle = Middle(counts.total(), kinds, len(counts) - len(kinds))
    return [*blocks[:head], middle, *blocks[len(blocks) - tail :]]


def _lines(block: Block) -> int:
    return len(block.rows) + (block.times > 1)


def _within(blocks: Sequence[Block], most: int) -> int:
    """How many of the first blocks fit into so many lines."""
    for count, total in enumerate(accumulate(map(_lines, blocks))):
        if total > most:
            return count
    return len(blocks)


def _joined(rows: Iterator[Row]) -> list[Row]:
    """Equal rows in a row are one."""
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
    """The shortest pattern that begins here and covers most: its size and how often it comes."""
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
