"""Logs that tell of the same exchanges: copies, and servers behind one another.

Each exchange counts once, whatever the clocks of the servers say. A clock that is minutes off shows
in the data: one distance in time fits exchange after exchange, and no other does. Asks DuckDB.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import duckdb

from eas_redirect.report.inputs import InputKind, Source
from eas_redirect.report.lines import DOUBLED, OUTER_LOGON, Lines

SAMPLE = 300_000  # lines that are compared; the devices of a larger lot are drawn by their hash
PER_HOUR = 60  # of one device and command in one log: hours with more are not compared
FARTHEST_MS = 3_600_000  # between two clocks
AGREE_MS = 2_000  # the clocks of one domain; IIS writes whole seconds
FEWEST = 8  # exchanges at one distance
FEWEST_AGREE = 3  # where the clocks agree
MANY = 20
_NEIGHBOURS_S = 5  # a burst of requests has others of its kind this close
_DATE_OR_TURN = re.compile(r"[-_.]?[0-9]{4,}(?:[-_.]?[0-9]{2})*|\.[0-9]{1,3}(?=\.|$)")
_PACKED = re.compile(r"\.(?:gz|zst|bz2|xz)$")

_SPANS = """
SELECT source, min(ts), max(ts), count(*) FROM lines
WHERE class IN (0, 1, 5, 7) GROUP BY source
"""
_PRINTS = """
CREATE TEMP TABLE prints AS
SELECT lines.rowid AS line, lines.source, hash(ts, began, class, user_key, user_name, device_id,
  user_agent, command, method, status, reason, decision, address, host, side, lost) AS print
FROM lines JOIN (
  SELECT unnest($sources::INT[]) AS source, unnest($since::BIGINT[]) AS since,
    unnest($until::BIGINT[]) AS until
) AS spans ON lines.source = spans.source AND ts BETWEEN since AND until
WHERE class IN (0, 1, 5, 7)
"""
_FIRST = """
SELECT print, min(source) AS first FROM prints WHERE print % $every = 0
GROUP BY print HAVING min(source) < max(source)
"""
_SHARING = f"""
SELECT first, source, count(*) FROM prints JOIN ({_FIRST}) USING (print)
WHERE source > first GROUP BY first, source
"""
_WITHIN = "SELECT count(*) FROM lines WHERE source = $source AND ts BETWEEN $since AND $until"
_COPIES = f"""
DELETE FROM lines WHERE rowid IN (
  SELECT line FROM prints JOIN ({_FIRST}) USING (print)
  JOIN (SELECT unnest($firsts::INT[]) AS first, unnest($copies::INT[]) AS source) AS copies
    USING (first, source))
"""

# How long it took tells a Ping from the next one. A log may not say it. What took long tells most:
# the requests of a burst are all alike, and a balancer may spread them over servers side by side.
_SAMPLE = f"""
CREATE TEMP TABLE sample AS
SELECT rowid AS line, log, ts, nullif(ts - began, 0) AS took,
  ts - began >= 5000 AS slow,
  CASE WHEN side IS NULL OR side = 'ours' THEN 'proxy' WHEN side = 'inner' THEN 'inner'
    ELSE 'outer' END AS role,
  hash(caseless(device_id), coalesce(command, '')) AS what, ts // {FARTHEST_MS} AS hour
FROM lines
WHERE class = 0 AND device_id IS NOT NULL AND hash(caseless(device_id)) % $every = 0
QUALIFY count(*) OVER (PARTITION BY log, what, hour) <= $most
"""
_HASHED = """
SELECT log, avg(regexp_full_match(device_id, '[0-9a-f]{16}')::INT) > 0.9, min(ts), max(ts)
FROM sample JOIN (SELECT rowid AS line, device_id FROM lines) USING (line) GROUP BY log ORDER BY log
"""
_PAIRS = f"""
CREATE TEMP TABLE pairs AS
SELECT a.log AS one, b.log AS other, b.line, b.ts - a.ts AS apart,
  -- One behind the other: a proxy and a server, or two servers of which one passes requests on.
  a.role <> b.role AS layered,
  a.slow AND b.slow AS slow
FROM (SELECT *, unnest([hour - 1, hour, hour + 1]) AS near FROM sample) AS a
JOIN sample AS b ON a.what = b.what AND a.near = b.hour AND a.log < b.log
WHERE abs(b.ts - a.ts) <= {FARTHEST_MS}
  AND abs(coalesce(a.took, b.took, 0) - coalesce(b.took, a.took, 0)) <= 2000
"""
_TELLING = f"""
CREATE TEMP TABLE telling AS
SELECT log, count(*) FILTER (slow) >= {MANY} AS telling FROM sample GROUP BY log
"""
_DISTANCES = """
SELECT one, other, layered, floor(apart / 1000)::INT AS seconds, count(DISTINCT line)
FROM pairs JOIN telling AS a ON a.log = one JOIN telling AS b ON b.log = other
WHERE slow OR NOT (a.telling AND b.telling)
GROUP BY ALL
"""
_MEDIAN = """
SELECT median(apart)::BIGINT FROM pairs
WHERE one = $one AND other = $other AND floor(apart / 1000) BETWEEN $least AND $most
"""
# Of one log, the lines that the other one should have as well.
_SHARED = """
SELECT count(*) FROM sample WHERE log = $of
  AND (slow OR NOT (SELECT bool_and(telling) FROM telling WHERE log IN ($of, $by)))
  AND what IN (SELECT what FROM sample WHERE log = $by)
  AND ts BETWEEN (SELECT min(ts) FROM sample WHERE log = $by) + $later - 2000
    AND (SELECT max(ts) FROM sample WHERE log = $by) + $later + 2000
"""
_SHIFT = """
UPDATE lines SET ts = ts - $ahead, began = began - $ahead, seen_ms = seen_ms - $ahead
WHERE log = $log
"""
# The proxy knows what came of it, and when.
_BEHIND = """
DELETE FROM lines WHERE log = $server AND side IN ('front', 'other', 'inner') AND class = 0
  AND (coalesce(caseless(device_id), user_agent, ''), coalesce(command, ''), ts // 2000) IN (
    SELECT coalesce(caseless(device_id), user_agent, ''), coalesce(command, ''),
      unnest([ts // 2000 - 1, ts // 2000, ts // 2000 + 1])
    FROM lines WHERE log = $proxy AND class = 0 AND (side IS NULL OR side = 'ours'))
"""


type _Reach = tuple[int, tuple[int, int]]
"""A source, and the time that it covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How two logs lie to each other: `apart_ms` is what the clock of `other` is ahead."""

    one: int
    other: int
    apart_ms: int
    layered: bool  # one stands behind the other
    certain: bool
    further_ms: int | None = None  # another one that fits the rest: a clock was set in between


def logs_of(sources: Sequence[Source]) -> tuple[int, ...]:
    """The log that each source belongs to: the one of its first file. Files of one folder whose
    names differ by a date or a rotation have one writer, and one clock."""
    first: dict[tuple[str, str, str], int] = {}
    return tuple(
        first.setdefault(
            (
                str(source.path.parent),
                _DATE_OR_TURN.sub("", _PACKED.sub("", source.path.name)),
                source.kind.value,
            ),
            number,
        )
        for number, source in enumerate(sources)
    )


def count_once(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], lines: Lines
) -> None:
    """Leave out what another file tells as well, and set clocks right; `lines` is told."""
    lines.copied = _leave_out_copies(connection, sources)
    names = _names(sources)
    distances: tuple[Distance, ...] = ()
    if len(names) > 1:
        total = connection.execute("SELECT count(*) FROM lines WHERE class = 0").fetchall()[0][0]
        most = max(PER_HOUR // 10, min(PER_HOUR, 2 * PER_HOUR // len(names)))
        connection.execute(_SAMPLE, {"every": 1 + total // SAMPLE, "most": most})
        distances = _distances(connection)
        lines.clocks += _about_hashes(connection, names)
        connection.execute("DROP TABLE sample")
    joined = [one for one in distances if one.certain and one.layered]
    journals = {n for n, source in enumerate(sources) if source.kind is InputKind.JOURNAL}
    for log, (ahead, by) in sorted(_clocks(joined, journals).items()):
        connection.execute(_SHIFT, {"log": log, "ahead": ahead})
        how = "ahead of" if ahead > 0 else "behind"
        lines.clocks.append(
            f"The clock of {names[log]} is {_gap(ahead)} {how} that of {names[by]},"
            " by their common exchanges: its times are counted by the other clock."
        )
    for one in distances:
        both = f"{names[one.one]} and {names[one.other]}"
        if one.further_ms is not None:
            lines.clocks.append(
                f"{both} have exchanges in common at two distances in time,"
                f" {_gap(one.further_ms - one.apart_ms)} from each other: a clock was set in"
                " between, and some count twice. Make a report of each stretch."
            )
        elif one not in joined:
            lines.clocks.append(
                f"{both} seem to tell of the same exchanges{_apart(one.apart_ms)}, and these count"
                " twice. Name one of them, or make two reports."
            )
    connection.execute(OUTER_LOGON)
    lines.doubled = _changed(connection, DOUBLED)
    for one in joined:
        for proxy, server in ((one.one, one.other), (one.other, one.one)):
            values = {"proxy": proxy, "server": server}
            lines.behind += _changed(connection, _BEHIND, values)


def _names(sources: Sequence[Source]) -> dict[int, str]:
    """Of each log."""
    sizes = Counter(logs_of(sources))
    return {
        log: sources[log].name + (f" (and {size - 1} more of it)" if size > 1 else "")
        for log, size in sizes.items()
    }


def _apart(apart_ms: int) -> str:
    return f", {_gap(apart_ms)} apart" if apart_ms else ""


def _gap(apart_ms: int) -> str:
    seconds = abs(apart_ms) / 1000
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"about {round(seconds / 5) * 5} s"


def _leave_out_copies(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> int:
    """Files that overlap: a line of another file with all its figures is the same line."""
    spans = connection.execute(_SPANS).fetchall()
    common = list(_common(spans))
    if not common:
        return 0
    numbers, since, until = map(list, zip(*common, strict=True))
    connection.execute(_PRINTS, {"sources": numbers, "since": since, "until": until})
    total = connection.execute("SELECT count(*) FROM prints").fetchall()[0][0]
    # Proxies beside each other run for months, and have no line in common.
    draw = connection.execute(f"{_FIRST} LIMIT 1", {"every": 1 + total // SAMPLE}).fetchall()
    copied = 0
    if draw or total <= 4 * SAMPLE:
        sharing = connection.execute(_SHARING, {"every": 1}).fetchall()
        reach = {source: (first, last) for source, first, last, _ in spans}
        overlaps = [
            (first, other)
            for first, other, count in sharing
            if sources[other].kind is InputKind.JOURNAL
            or _overlap(connection, count, (first, reach[first]), (other, reach[other]))
        ]
        firsts, copies = [one for one, _ in overlaps], [one for _, one in overlaps]
        values = {"every": 1, "firsts": firsts, "copies": copies}
        copied = _changed(connection, _COPIES, values) if overlaps else 0
    connection.execute("DROP TABLE prints")
    return copied


def _overlap(
    connection: duckdb.DuckDBPyConnection, common: int, one: _Reach, other: _Reach
) -> bool:
    """Whether so many common lines show one log in two files. IIS writes whole seconds: requests of
    a burst look alike in the logs of two servers."""
    (_, (first, last)), (_, (since, until)) = one, other
    both = {"since": max(first, since), "until": min(last, until)}
    least: int = min(
        connection.execute(_WITHIN, {"source": source, **both}).fetchall()[0][0]
        for source, _ in (one, other)
    )
    return common >= least / 2


def _common(spans: Sequence[tuple[int, int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Of each source, the time that another one covers too."""
    for source, first, last, _ in spans:
        both = [
            (max(first, since), min(last, until))
            for other, since, until, _ in spans
            if other != source and since <= last and until >= first
        ]
        if both:
            yield source, min(since for since, _ in both), max(until for _, until in both)


def _distances(connection: duckdb.DuckDBPyConnection) -> tuple[Distance, ...]:
    """Of each two logs with exchanges in common."""
    connection.execute(_TELLING)
    connection.execute(_PAIRS)
    found: defaultdict[tuple[int, int, bool], Counter[int]] = defaultdict(Counter)
    for one, other, layered, seconds, count in connection.execute(_DISTANCES).fetchall():
        found[one, other, layered][seconds] = count
    distances = (_distance(connection, pair, counts) for pair, counts in sorted(found.items()))
    kept = tuple(one for one in distances if one is not None)
    connection.execute("DROP TABLE pairs")
    connection.execute("DROP TABLE telling")
    return kept


def _about_hashes(connection: duckdb.DuckDBPyConnection, names: dict[int, str]) -> Iterator[str]:
    """Names in clear match none that are hashed."""
    spans = connection.execute(_HASHED).fetchall()
    for hashed, _, since, until in (span for span in spans if span[1]):
        for clear, is_hashed, first, last in spans:
            if not is_hashed and first <= until and last >= since:
                yield (
                    f"The names in {names[hashed]} are hashed, those in {names[clear]} are not:"
                    " what both tell of counts twice. Make a report of each."
                )


def _distance(
    connection: duckdb.DuckDBPyConnection, pair: tuple[int, int, bool], counts: Counter[int]
) -> Distance | None:
    """The one distance that fits. Phones that ask every quarter of an hour fit at each quarter;
    then nothing is certain, unless the clocks agree as they should."""
    one, other, layered = pair
    sums = {at: counts[at - 1] + counts[at] + counts[at + 1] for at in counts}
    at, best = max(sums.items(), key=lambda item: (item[1], -abs(item[0])))
    if best < (FEWEST if abs(at) > AGREE_MS / 1000 else FEWEST_AGREE):
        return None
    others = {s: n for s, n in sums.items() if abs(s - at) > _NEIGHBOURS_S}
    elsewhere, second = max(others.items(), key=lambda item: item[1], default=(0, 0))
    values = {"one": one, "other": other, "least": at - 1, "most": at + 1}
    apart = connection.execute(_MEDIAN, values).fetchall()[0][0]
    agree = abs(apart) <= AGREE_MS
    shared = min(
        connection.execute(_SHARED, {"of": other, "by": one, "later": apart}).fetchall()[0][0],
        connection.execute(_SHARED, {"of": one, "by": other, "later": -apart}).fetchall()[0][0],
    )
    fits, alone = best >= shared / 2, best >= 2 * second
    # Of several proxies and several servers, each two have a part in common only.
    in_part = best >= max(MANY, shared / 5) and best >= 3 * second
    certain = (fits and (agree or alone)) or (layered and in_part)
    in_two = best < 0.8 * shared <= best + second and second >= max(MANY, shared / 5)
    if not certain and not (layered and best >= MANY and best + second >= shared / 2):
        return None
    return Distance(
        one=one,
        other=other,
        apart_ms=0 if agree else apart,
        layered=layered,
        certain=certain,
        further_ms=elsewhere * 1000 if in_two else None,
    )


def _clocks(joined: Sequence[Distance], journals: Set[int]) -> dict[int, tuple[int, int]]:
    """Of each log whose clock differs from what most show: how far it is ahead in milliseconds, and
    by which log's clock. Without a majority a journal decides."""
    near: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for one in joined:
        near[one.one].append((one.other, one.apart_ms))
        near[one.other].append((one.one, -one.apart_ms))
    wrong: dict[int, tuple[int, int]] = {}
    seen: set[int] = set()
    for root in sorted(near):
        if root in seen:
            continue
        ahead = {root: 0}
        waiting = [root]
        while waiting:
            log = waiting.pop()
            for other, apart in near[log]:
                if other not in ahead:
                    ahead[other] = ahead[log] + apart
                    waiting.append(other)
        seen.update(ahead)
        right = min(ahead, key=lambda log: (-_alike(ahead, log), log not in journals, log))
        for log, at in ahead.items():
            if abs(at - ahead[right]) > AGREE_MS:
                wrong[log] = (at - ahead[right], right)
    return wrong


def _alike(ahead: dict[int, int], log: int) -> int:
    return sum(abs(at - ahead[log]) <= AGREE_MS for at in ahead.values())


def _changed(
    connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None
) -> int:
    count: int = connection.execute(sql, values or {}).fetchall()[0][0]
    return count
