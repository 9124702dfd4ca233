"""What happened on which day: states of devices and users, exchanges by reason. Asks DuckDB."""

from collections.abc import Sequence

import duckdb

from eas_redirect.report.groups import RANKS
from eas_redirect.report.values import DAY_MS, OTHER_REASONS, SHOWN_DAYS, STATES, Day, StatesAt

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
