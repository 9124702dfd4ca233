"""Counts by day and by reason: what happened when, why, and how long the directory took.

Asks DuckDB.
"""

from collections.abc import Sequence

import duckdb

from eas_redirect.policy.reasons import REASONS as WORDS
from eas_redirect.policy.reasons import obstacle_reasons
from eas_redirect.report.devices import user_text
from eas_redirect.report.groups import RANKS
from eas_redirect.report.lines import LET_IN, LineClass
from eas_redirect.report.report_values import (
    DAY_MS,
    OTHER_REASONS,
    SHOWN_DAYS,
    STATES,
    AnonymousCaller,
    AskedAgain,
    Day,
    DiscoveryFigures,
    Latency,
    Obstacle,
    ReasonRow,
    Silence,
    SilenceRow,
    StatesAt,
    Unanswered,
    WaitFigures,
    WaitsOfWave,
)
from eas_redirect.report.words import NAMELESS

EVERYONE = "everyone"  # no wave
UNANSWERED = 20  # devices shown
POINTS = 62  # at most, on the way of the states over time

_SPANS = """
WITH moments AS (SELECT unnest($moments::BIGINT[]) AS moment),
spans AS (
  SELECT key, max(called) OVER past AS called, max(arrived) OVER past AS arrived,
    max(returned) OVER past AS returned,
    greatest(coalesce(daily.called, 0), coalesce(daily.arrived, 0)) AS begins,
    lead(greatest(coalesce(daily.called, 0), coalesce(daily.arrived, 0)))
      OVER (PARTITION BY key ORDER BY day) AS ends
  FROM daily WINDOW past AS (PARTITION BY key ORDER BY day)
), found AS (
  SELECT moment, user_key, state_at(moment, first_redirect, first_return, stuck_at, spans.called,
    spans.returned, spans.arrived, quiet_after) AS state
  FROM moments
  JOIN spans ON begins <= moment AND (ends IS NULL OR ends > moment)
  JOIN devices USING (key)
)
"""
_DEVICES = f"{_SPANS} SELECT moment, state, count(*) FROM found GROUP BY ALL"
_RANK = " ".join(f"WHEN '{state}' THEN {rank}" for state, rank in RANKS.items())
_USERS = f"""{_SPANS}, users AS (
  SELECT moment, max(CASE state {_RANK} END) AS rank FROM found GROUP BY moment, user_key
)
SELECT moment, rank, count(*) FROM users GROUP BY ALL
"""


def states_over_time(
    connection: duckdb.DuckDBPyConnection, since: int | None, until: int | None
) -> tuple[StatesAt, ...]:
    """At the end of each day (of several, when there are many), and at the very end."""
    if since is None or until is None:
        return ()
    since = max(since, until - SHOWN_DAYS * DAY_MS)
    days = until // DAY_MS - since // DAY_MS + 1
    step = -(-days // POINTS) * DAY_MS
    first = (since // DAY_MS) * DAY_MS + step
    moments = [*range(first, until, step), until]
    values = {"moments": moments}
    names = {rank: state.value for state, rank in RANKS.items()}
    devices = {
        (at, state): count for at, state, count in connection.execute(_DEVICES, values).fetchall()
    }
    users = {
        (at, names[rank]): count
        for at, rank, count in connection.execute(_USERS, values).fetchall()
    }
    return tuple(
        StatesAt(
            at_s=at / 1000,
            states={state.value: devices.get((at, state.value), 0) for state in STATES},
            users={state.value: users.get((at, state.value), 0) for state in STATES},
        )
        for at in moments
    )


def days(connection: duckdb.DuckDBPyConnection, plotted: Sequence[str]) -> tuple[Day, ...]:
    """The days that have lines, with those reasons by name."""
    rows = connection.execute(
        "SELECT ts // 86400000 AS day, CASE WHEN list_contains($plotted, reason) THEN reason"
        f" ELSE '{OTHER_REASONS}' END AS reason, count(*)"
        " FROM lines WHERE class = 0 GROUP BY ALL ORDER BY ALL",
        {"plotted": list(plotted)},
    ).fetchall()
    arriving = dict(
        connection.execute(
            "SELECT day, count(*) FROM daily JOIN devices USING (key)"
            " WHERE daily.called IS NOT NULL AND NOT machine GROUP BY day"
        ).fetchall()
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


REASONS = 40  # listed; the rest is counted
OBSTACLES = 50
ANONYMOUS = 50
ASKED_AGAIN = 200
BUCKETS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

_REASONS = f"""
WITH pairs AS (SELECT coalesce(reason, '{NAMELESS}') AS reason, key, user_key,
    count(*) AS n FROM lines WHERE class = 0 GROUP BY ALL)
SELECT reason, sum(n)::BIGINT AS total, count(DISTINCT user_key), count(DISTINCT key),
  count(*) OVER ()
FROM pairs GROUP BY reason ORDER BY total DESC, reason LIMIT {REASONS}
"""

_OBSTACLES = """
SELECT reason, coalesce(target_domain, '') AS domain, count(DISTINCT user_key) AS users,
  count(DISTINCT key), count(*)
FROM lines WHERE class = 0 AND list_contains($reasons, reason)
GROUP BY reason, domain ORDER BY users DESC, reason, domain LIMIT $limit
"""

_SILENCE = """
SELECT CASE WHEN reason <> 'no_answer' THEN 'exchange_503'
    WHEN list_contains($known, error) THEN error ELSE 'not_said' END AS silence,
  count(*) AS n, count(DISTINCT key), count(DISTINCT user_key), max(ts)
FROM lines
WHERE class = 0 AND (reason = 'no_answer' OR (status = 503 AND reason IS NOT NULL))
GROUP BY silence
"""

_ANONYMOUS = f"""
SELECT coalesce(address, ''), coalesce(user_agent, ''), count(*) AS n, max(ts),
  coalesce(mode(reason), '{NAMELESS}'), count(*) OVER ()
FROM lines WHERE class = {LineClass.EXCHANGE:d} AND user_key IS NULL AND {LET_IN}
GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT {ANONYMOUS}
"""

_DISCOVERED = f"""
FROM lines WHERE class = {LineClass.DISCOVERY:d} AND ts IS NOT NULL
  AND NOT list_contains($everyday, coalesce(reason, ''))
"""
_ASKED = f"""
SELECT arg_max(user_name, ts), arg_max(user_domain, ts), arg_max(user_email, ts), user_agent,
  arg_max(decision, ts), arg_max(reason, ts), count(*), max(ts) AS last
{_DISCOVERED} AND user_key IS NOT NULL
GROUP BY user_key, user_agent ORDER BY last DESC, user_agent LIMIT {ASKED_AGAIN}
"""
_TOLD = f"""
SELECT count(*), count(DISTINCT user_key) FILTER (decision = 'redirect'),
  count(DISTINCT user_key) FILTER (decision = 'would_redirect')
{_DISCOVERED}
"""
_FOLLOWED = f"""
WITH ended AS (
  SELECT key, coalesce(min(wave), '{EVERYONE}') AS wave, min(seen_ms) AS seen, min(ts) AS first,
    max(ts) AS last, count(*) AS times, arg_max(user_name, ts) AS user_name,
    arg_max(user_domain, ts) AS user_domain, arg_max(user_email, ts) AS user_email,
    arg_max(device_id, ts) AS device_id
  FROM lines WHERE class = {LineClass.WAIT:d} AND decision = 'end_wait' AND key IS NOT NULL
  GROUP BY key
), followed AS (
  SELECT ended.*, (SELECT min(ts) FROM lines WHERE class = 0 AND decision = 'redirect'
    AND lines.key = ended.key AND ts >= ended.first) AS redirected
  FROM ended
)
"""
_WAVES = f"""
{_FOLLOWED}
SELECT wave, count(*), count(redirected), quantile_cont((redirected - seen) / 1000.0, 0.5),
  quantile_cont((redirected - seen) / 1000.0, 0.99), max(redirected - seen) / 1000.0
FROM followed GROUP BY wave ORDER BY count(*) DESC, wave
"""
_UNANSWERED = f"""
{_FOLLOWED}
SELECT user_name, user_domain, user_email, device_id, times, last
FROM followed WHERE redirected IS NULL ORDER BY last DESC, device_id
"""
_WOULD_END = f"""
SELECT count(DISTINCT key) FROM lines
WHERE class = {LineClass.WAIT:d} AND decision = 'would_end_wait'
"""
_LOOKUPS = "FROM lines WHERE class = 0 AND lookup_ms >= 0"


def reasons(connection: duckdb.DuckDBPyConnection) -> tuple[tuple[ReasonRow, ...], int]:
    """The commonest reasons, and how many distinct ones there are beyond those."""
    rows = connection.execute(_REASONS).fetchall()
    listed = tuple(
        ReasonRow(reason=reason, exchanges=total, users=users, devices=devices)
        for reason, total, users, devices, _ in rows
    )
    return listed, (rows[0][4] - len(listed) if rows else 0)


def obstacles(connection: duckdb.DuckDBPyConnection) -> tuple[Obstacle, ...]:
    """What keeps whole domains from being redirected."""
    return tuple(
        Obstacle(reason=reason, target_domain=domain, users=users, devices=devices, exchanges=n)
        for reason, domain, users, devices, n in connection.execute(
            _OBSTACLES, {"reasons": list(obstacle_reasons()), "limit": OBSTACLES}
        ).fetchall()
    )


def silence_by_cause(connection: duckdb.DuckDBPyConnection) -> tuple[SilenceRow, ...]:
    """Exchanges without an answer, the causes in the order of what needs a person."""
    found = {
        Silence(silence): SilenceRow(
            silence=Silence(silence), exchanges=n, devices=devices, users=users, last_s=last / 1000
        )
        for silence, n, devices, users, last in connection.execute(
            _SILENCE, {"known": [silence.value for silence in Silence]}
        ).fetchall()
    }
    return tuple(found[silence] for silence in Silence if silence in found)


def anonymous(
    connection: duckdb.DuckDBPyConnection,
) -> tuple[tuple[AnonymousCaller, ...], int]:
    """Who called without a name that can be read, and how many more callers there are."""
    rows = connection.execute(_ANONYMOUS).fetchall()
    listed = tuple(
        AnonymousCaller(
            address=address, user_agent=agent, exchanges=n, last_s=last / 1000, reason=reason
        )
        for address, agent, n, last, reason, _ in rows
    )
    return listed, (rows[0][5] - len(listed) if rows else 0)


def discoveries(connection: duckdb.DuckDBPyConnection) -> DiscoveryFigures:
    """Accounts that were added again. Lines as they come every day say nothing of a move."""
    everyday = {"everyday": [reason for reason, said in WORDS.items() if said.everyday]}
    questions, told, would = connection.execute(_TOLD, everyday).fetchall()[0]
    return DiscoveryFigures(
        questions=questions,
        told=told,
        would_be_told=would,
        shown=tuple(
            AskedAgain(
                user=user_text(name, domain, email),
                user_agent=agent or "",
                decision=decision or "pass",
                reason=reason or NAMELESS,
                questions=count,
                last_s=last / 1000,
            )
            for name, domain, email, agent, decision, reason, count, last in connection.execute(
                _ASKED, everyday
            ).fetchall()
        ),
    )


def waits(connection: duckdb.DuckDBPyConnection) -> WaitFigures:
    """Waits that were ended, and what followed."""
    unanswered = connection.execute(_UNANSWERED).fetchall()
    would_end = connection.execute(_WOULD_END).fetchall()[0][0]
    return WaitFigures(
        waves=tuple(
            WaitsOfWave(
                wave=wave,
                devices=devices,
                redirected=redirected,
                p50_s=p50,
                p99_s=p99,
                longest_s=longest,
            )
            for wave, devices, redirected, p50, p99, longest in connection.execute(
                _WAVES
            ).fetchall()
        ),
        would_end=would_end,
        unanswered=len(unanswered),
        shown=tuple(
            Unanswered(
                user=user_text(name, domain, email),
                device_id=device or "",
                ended=count,
                last_s=last / 1000,
            )
            for name, domain, email, device, count, last in unanswered[:UNANSWERED]
        ),
    )


def latency(connection: duckdb.DuckDBPyConnection) -> Latency:
    """How long look-ups took."""
    count, quantiles, longest = connection.execute(
        "SELECT count(lookup_ms), quantile_cont(lookup_ms, [0.5, 0.95, 0.99]), max(lookup_ms)"
        f" {_LOOKUPS}"
    ).fetchall()[0]
    if not count:
        return Latency()
    by_cache = connection.execute(
        f"SELECT coalesce(cache, '{NAMELESS}'), count(*) {_LOOKUPS}"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"
    ).fetchall()
    p50, p95, p99 = quantiles
    return Latency(
        lookups=count,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=longest,
        buckets=_buckets(connection),
        by_cache=dict(by_cache),
    )


def _buckets(connection: duckdb.DuckDBPyConnection) -> tuple[tuple[float | None, int], ...]:
    cases = " ".join(f"WHEN lookup_ms <= {bound} THEN {bound}" for bound in BUCKETS_MS)
    found = dict(
        connection.execute(f"SELECT CASE {cases} END, count(*) {_LOOKUPS} GROUP BY 1").fetchall()
    )
    bounds: tuple[float | None, ...] = (*BUCKETS_MS, None)
    return tuple((bound, found.get(bound, 0)) for bound in bounds)
