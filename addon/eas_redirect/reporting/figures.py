"""Counts what `devices.py` found into a `Report`. Imports DuckDB for its types only."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from eas_redirect.reporting.devices import follow_devices
from eas_redirect.reporting.lines import Lines
from eas_redirect.reporting.notes import notes_about
from eas_redirect.reporting.readiness import Verdict
from eas_redirect.reporting.sources import Source
from eas_redirect.reporting.store import Progress, open_store
from eas_redirect.reporting.values import (
    OTHER_REASONS,
    STATES,
    Arrivals,
    Day,
    Device,
    Group,
    Input,
    Latency,
    Obstacle,
    ReasonRow,
    Report,
    StatesAt,
    Totals,
)
from eas_redirect.reporting.words import counted
from eas_redirect.telemetry.ledger import LedgerState

DAY_MS = 86_400_000
POINTS = 62  # at most, on the way of the states over time
REASONS = 40  # listed; the rest is counted
REASONS_PLOTTED = 11
OBSTACLES = 50
GROUPS = 40  # of a kind; the smaller ones are put together
_OTHERS = "(others)"
SILENCE_S = 7 * 86400.0  # nobody for a week, and the old server can go
BUCKETS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_NAMELESS = "(none)"

# A user has followed when every redirected device is quiet, and is stuck when one is.
_USERS = """
SELECT count(*), count(*) FILTER (worst = 0), count(*) FILTER (worst = 2) FROM (
  SELECT max(CASE state WHEN 'quiet' THEN 0 WHEN 'stuck' THEN 2 ELSE 1 END) AS worst FROM (
    SELECT user_key, state_at($until, first_redirect, first_return, stuck_at, called, returned,
      arrived, quiet_after) AS state
    FROM devices WHERE first_redirect IS NOT NULL) GROUP BY user_key)
"""

# Reasons that an administrator can do something about, with the domain that they are about.
OBSTACLE_REASONS = (
    "no_relationship",
    "relationship_disabled",
    "relationship_ambiguous",
    "no_target_owa_url",
    "target_owa_url_invalid",
    "target_not_allowed",
    "redirect_loop",
)


def make_report(
    sources: Sequence[Source], now_s: float, progress: Progress | None = None
) -> Report:
    """Read the sources and count. Takes about two seconds for a million lines."""
    with open_store(sources, int(now_s * 1000), progress) as (connection, lines):
        return _Counter(connection).report(sources, lines, now_s)


class _Counter:
    """The questions to a filled store."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def report(self, sources: Sequence[Source], lines: Lines, now_s: float) -> Report:
        since, until = self._one("SELECT min(ts), max(ts) FROM lines WHERE class < 2")
        devices = follow_devices(self._connection, until or 0)
        reasons, more = self._reasons()
        return Report(
            now_s=now_s,
            input=_input(sources, lines),
            notes=notes_about(self._connection, sources, lines),
            since_s=None if since is None else since / 1000,
            until_s=None if until is None else until / 1000,
            totals=self._totals(devices, lines, until),
            by_wave=group_by(devices, lambda d: d.wave),
            by_device_type=group_by(devices, lambda d: d.device_type),
            by_family=group_by(devices, lambda d: d.family),
            states_over_time=self._states_over_time(since, until),
            days=self._days([row.reason for row in reasons[:REASONS_PLOTTED]]),
            reasons=reasons,
            more_reasons=more,
            obstacles=self._obstacles(),
            latency=self._latency(),
            arrivals=self._arrivals(devices, until),
            readiness=_readiness(devices),
            devices=devices,
        )

    def _totals(self, devices: Sequence[Device], lines: Lines, until: int | None) -> Totals:
        redirects, would = self._one(
            "SELECT count(*) FILTER (decision = 'redirect'),"
            " count(*) FILTER (decision = 'would_redirect') FROM lines WHERE class = 0"
        )
        users = self._one("SELECT count(DISTINCT user_key) FROM devices")[0]
        users_redirected, users_followed, users_stuck = self._one(_USERS, {"until": until})
        return Totals(
            exchanges=lines.exchanges,
            users=users,
            devices=len(devices),
            redirects=redirects,
            would_redirects=would,
            users_redirected=users_redirected,
            users_followed=users_followed,
            users_stuck=users_stuck,
            devices_redirected=sum(1 for d in devices if d.redirects),
            devices_confirmed=sum(1 for d in devices if d.confirmed),
            states={s.value: sum(1 for d in devices if d.state is s) for s in STATES},
        )

    def _states_over_time(self, since: int | None, until: int | None) -> tuple[StatesAt, ...]:
        """At the end of each day (of several, when there are many), and at the very end."""
        if since is None or until is None:
            return ()
        days = until // DAY_MS - since // DAY_MS + 1
        step = -(-days // POINTS) * DAY_MS
        first = (since // DAY_MS) * DAY_MS + step
        moments = [*range(first, until, step), until]
        rows = self._all(
            """
            WITH moments AS (SELECT unnest($moments::BIGINT[]) AS moment),
            spans AS (
              SELECT key, max(called) OVER past AS called, max(arrived) OVER past AS arrived,
                max(returned) OVER past AS returned,
                greatest(coalesce(daily.called, 0), coalesce(daily.arrived, 0)) AS begins,
                lead(greatest(coalesce(daily.called, 0), coalesce(daily.arrived, 0)))
                  OVER (PARTITION BY key ORDER BY day) AS ends
              FROM daily WINDOW past AS (PARTITION BY key ORDER BY day))
            SELECT moment, state_at(moment, first_redirect, first_return, stuck_at,
                spans.called, spans.returned, spans.arrived, quiet_after) AS state,
              count(*)
            FROM moments
            JOIN spans ON begins <= moment AND (ends IS NULL OR ends > moment)
            JOIN devices USING (key)
            GROUP BY ALL
            """,
            {"moments": moments},
        )
        found = {(at, state): count for at, state, count in rows}
        return tuple(
            StatesAt(at_s=at / 1000, states={s.value: found.get((at, s.value), 0) for s in STATES})
            for at in moments
        )

    def _days(self, plotted: Sequence[str]) -> tuple[Day, ...]:
        rows = self._all(
            "SELECT ts // 86400000 AS day, CASE WHEN list_contains($plotted, reason) THEN reason"
            f" ELSE '{OTHER_REASONS}' END AS reason, count(*)"
            " FROM lines WHERE class = 0 GROUP BY ALL ORDER BY ALL",
            {"plotted": list(plotted)},
        )
        arriving = dict(
            self._all(
                "SELECT day, count(*) FROM daily JOIN devices USING (key)"
                " WHERE daily.called IS NOT NULL AND NOT machine GROUP BY day"
            )
        )
        reasons: dict[int, dict[str, int]] = {}
        for day, reason, count in rows:
            reasons.setdefault(day, {})[reason] = count
        return tuple(
            Day(
                start_s=day * DAY_MS / 1000,
                exchanges=sum(counts.values()),
                arriving=arriving.get(day, 0),
                reasons=counts,
            )
            for day, counts in reasons.items()
        )

    def _reasons(self) -> tuple[tuple[ReasonRow, ...], int]:
        rows = self._all(
            f"""
            WITH pairs AS (SELECT coalesce(reason, '{_NAMELESS}') AS reason, key, user_key,
                count(*) AS n FROM lines WHERE class = 0 GROUP BY ALL)
            SELECT reason, sum(n)::BIGINT AS total, count(DISTINCT user_key), count(DISTINCT key),
              count(*) OVER ()
            FROM pairs GROUP BY reason ORDER BY total DESC, reason LIMIT {REASONS}
            """
        )
        listed = tuple(
            ReasonRow(reason=reason, exchanges=total, users=users, devices=devices)
            for reason, total, users, devices, _ in rows
        )
        return listed, (rows[0][4] - len(listed) if rows else 0)

    def _obstacles(self) -> tuple[Obstacle, ...]:
        rows = self._all(
            f"""
            SELECT reason, coalesce(target_domain, '') AS domain, count(DISTINCT user_key) AS users,
              count(DISTINCT key), count(*)
            FROM lines WHERE class = 0 AND reason IN {OBSTACLE_REASONS}
            GROUP BY reason, domain ORDER BY users DESC, reason, domain LIMIT {OBSTACLES}
            """
        )
        return tuple(
            Obstacle(reason=reason, target_domain=domain, users=users, devices=devices, exchanges=n)
            for reason, domain, users, devices, n in rows
        )

    def _arrivals(self, devices: Sequence[Device], until: int | None) -> Arrivals:
        everyday, exchanges = self._one(
            "SELECT count(*) FILTER (reason IN ('other_answer', 'unauthenticated')), count(*)"
            " FROM lines WHERE class = 0"
        )
        if exchanges and not devices:
            return _unknown_arrivals("the journals name no users")
        if exchanges and not everyday:
            return _unknown_arrivals(
                "the journals hold decisions only (journal.exchanges), no everyday traffic"
            )
        return arrivals(devices, until)

    def _latency(self) -> Latency:
        count, quantiles, longest = self._one(
            "SELECT count(lookup_ms), quantile_cont(lookup_ms, [0.5, 0.95, 0.99]), max(lookup_ms)"
            " FROM lines WHERE class = 0 AND lookup_ms >= 0"
        )
        by_cache = self._all(
            f"SELECT coalesce(cache, '{_NAMELESS}'), count(*) FROM lines"
            " WHERE class = 0 AND lookup_ms >= 0 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"
        )
        if not count:
            return Latency()
        p50, p95, p99 = quantiles
        return Latency(
            lookups=count,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            max_ms=longest,
            buckets=self._buckets(),
            by_cache=dict(by_cache),
        )

    def _buckets(self) -> tuple[tuple[float | None, int], ...]:
        cases = " ".join(f"WHEN lookup_ms <= {bound} THEN {bound}" for bound in BUCKETS_MS)
        found = dict(
            self._all(
                f"SELECT CASE {cases} END, count(*) FROM lines"
                " WHERE class = 0 AND lookup_ms >= 0 GROUP BY 1"
            )
        )
        bounds: tuple[float | None, ...] = (*BUCKETS_MS, None)
        return tuple((bound, found.get(bound, 0)) for bound in bounds)

    def _one(self, sql: str, values: dict[str, Any] | None = None) -> Any:
        return self._connection.execute(sql, values or {}).fetchall()[0]

    def _all(self, sql: str, values: dict[str, Any] | None = None) -> list[Any]:
        return self._connection.execute(sql, values or {}).fetchall()


def group_by(devices: Sequence[Device], name: Callable[[Device], str | None]) -> tuple[Group, ...]:
    """The devices by what `name` says of them, the largest group first."""
    sizes = Counter(name(device) or _NAMELESS for device in devices)
    named = {group for group, _ in sizes.most_common(GROUPS)}
    members: dict[str, list[Device]] = {}
    for device in devices:
        group = name(device) or _NAMELESS
        members.setdefault(group if group in named else _OTHERS, []).append(device)
    groups = (_group(group, found) for group, found in members.items())
    return tuple(sorted(groups, key=lambda g: (g.name == _OTHERS, -g.devices, g.name)))


def _group(name: str, devices: Sequence[Device]) -> Group:
    states = Counter(device.state for device in devices)
    return Group(
        name=name,
        devices=len(devices),
        redirected=sum(1 for device in devices if device.redirects),
        followed=states[LedgerState.QUIET],
        confirmed=sum(1 for device in devices if device.confirmed),
        returned=states[LedgerState.RETURNED],
        stuck=states[LedgerState.STUCK],
    )


def arrivals(devices: Sequence[Device], until_ms: int | None) -> Arrivals:
    """Whether the old server can go: when no person's device called it for a week."""
    people = [device for device in devices if not device.machine]
    if until_ms is None or not people:
        verdict = "Nobody called: the journals say nothing about the old server."
        return Arrivals(window_s=SILENCE_S, verdict=verdict)
    calls = sorted(d.last_seen_s for d in people if d.silent_s < SILENCE_S)
    if calls:
        verdict = (
            f"Not yet: {counted(len(calls), 'device')} called it in the last 7 days."
            " It can go when nobody has called for that long."
        )
        return Arrivals(
            window_s=SILENCE_S,
            devices=len(calls),
            first_s=calls[0],
            last_s=calls[-1],
            verdict=verdict,
        )
    last = max(device.last_seen_s for device in people)
    return Arrivals(
        window_s=SILENCE_S,
        last_s=last,
        can_go=True,
        verdict="It can go: nobody called it in the last 7 days of the journals.",
    )


def _unknown_arrivals(why: str) -> Arrivals:
    return Arrivals(window_s=SILENCE_S, verdict=f"That cannot be told: {why}.")


def _readiness(devices: Sequence[Device]) -> dict[str, int]:
    """Verdicts on the devices that have a target, and are not known to have reached it."""
    judged = [d.readiness for d in devices if d.readiness is not None and not d.confirmed]
    counts = Counter(readiness.verdict for readiness in judged)
    return {verdict.value: counts[verdict] for verdict in Verdict}


def _input(sources: Sequence[Source], lines: Lines) -> Input:
    return Input(
        files=len(sources),
        bytes=sum(source.size for source in sources),
        lines=lines.exchanges
        + lines.events
        + lines.torn
        + lines.foreign
        + lines.untimed
        + lines.future,
        exchanges=lines.exchanges,
        events=lines.events,
        torn=lines.torn,
        foreign=lines.foreign,
        untimed=lines.untimed,
        future=lines.future,
    )
