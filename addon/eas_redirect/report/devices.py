"""What became of each device: the same states as the live ledger, from the journals alone.

From the store's table `lines` to the tables `devices` and `daily`; for a stuck device the likeliest
cause (`readiness.py`). Imports DuckDB for its types only.
"""

from typing import Any

import duckdb

from eas_redirect.report.lines import LET_IN
from eas_redirect.report.readiness import (
    Behaviour,
    Readiness,
    likely_cause,
    logon_findings,
    readiness_of,
)
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.clients import Client, client_of, family
from eas_redirect.telemetry.ledger import (
    QUIET_AFTER_S,
    QUIET_INTERVALS,
    RETURNS_UNTIL_STUCK,
    STUCK_SPAN_S,
    VISIT_S,
    LedgerState,
)

# The ledger's rules in SQL: from the store's table `lines` to the tables `devices` and `daily`.

# The macro is the ledger's rule for a device at a moment; see telemetry/ledger.py.
_STATE = """
CREATE MACRO state_at(
  moment, first_redirect, first_return, stuck_at, called, returned, arrived, quiet_after) AS
  CASE WHEN first_redirect IS NULL OR first_redirect > moment THEN 'seen'
       WHEN arrived > coalesce(returned, first_redirect) THEN 'confirmed'
       WHEN moment - called >= quiet_after THEN 'quiet'
       WHEN stuck_at <= moment THEN 'stuck'
       WHEN first_return <= moment THEN 'returned'
       ELSE 'redirected' END
"""

_REDIRECTED = """
CREATE TABLE redirected AS
SELECT key, min(ts) AS first_redirect, count(*) AS redirects,
  arg_max(location, ts) AS target, arg_max(location_host, ts) AS target_host
FROM lines WHERE class = 0 AND key IS NOT NULL AND decision = 'redirect' GROUP BY key
"""

# Who was only ever refused, or got no answer, is nobody: anybody can send made-up names.
_KNOWN = f"""
CREATE TABLE known AS
SELECT key, min(ts) AS known_since FROM lines
WHERE class = 0 AND key IS NOT NULL AND {LET_IN} GROUP BY key
"""

# Where both sides pass the proxy, what goes to the host of the redirect is an arrival, no call, and
# it is one whatever the target answers: a target that asks to sign in again has been reached.
_CALLS = f"""
CREATE VIEW calls AS
SELECT * FROM (
  SELECT lines.*, lines.rowid AS line, lines.ts // 86400000 AS day, first_redirect,
    coalesce(host = target_host AND ts >= first_redirect, false) AS arrives
  FROM lines JOIN known USING (key) LEFT JOIN redirected USING (key)
  WHERE class = 0 AND ts >= known_since
) WHERE {LET_IN} OR arrives
"""

# Logons that were refused after the redirect move nobody; they hint at a cause.
_REFUSALS = """
CREATE TABLE refusals AS
SELECT key, count(*) AS refused FROM lines JOIN redirected USING (key)
WHERE class = 0 AND reason = 'unauthenticated' AND ts > first_redirect GROUP BY key
"""

# A comeback was sent after the device was last told; what was on its way by then is none.
_COMEBACKS = """
CREATE TABLE comebacks AS
WITH since AS (
  SELECT key, ts, began, reason, status,
    max(CASE WHEN decision = 'redirect' THEN ts END) OVER (PARTITION BY key ORDER BY ts
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS told
  FROM calls WHERE ts >= first_redirect AND NOT arrives
)
SELECT key, ts, reason, status, row_number() OVER (PARTITION BY key ORDER BY ts) AS n,
  ts - min(ts) OVER (PARTITION BY key) AS span
FROM since WHERE began > told
"""

_RETURNS = f"""
CREATE TABLE returns AS
SELECT key, count(*) AS returns, min(ts) AS first_return, max(ts) AS returned,
  min(ts) FILTER (n >= {RETURNS_UNTIL_STUCK} AND span >= {STUCK_SPAN_S * 1000:.0f}) AS stuck_at,
  count(*) FILTER (reason = 'other_answer' AND status BETWEEN 200 AND 299) AS served,
  count(*) FILTER (reason = 'directory_unavailable') AS directory_down,
  arg_max(reason, ts) AS last_reason
FROM comebacks GROUP BY key
"""

# The ledger's usual interval: the mean of the gaps between visits, except for the one that ended in
# the first comeback.
_INTERVALS = f"""
CREATE TABLE intervals AS
SELECT key, sum(gap) / count(*) AS usual FROM (
  SELECT key, ts, ts - lag(ts) OVER (PARTITION BY key ORDER BY ts) AS gap
  FROM calls WHERE NOT arrives
) LEFT JOIN returns USING (key)
WHERE gap >= {VISIT_S * 1000:.0f} AND ts IS DISTINCT FROM first_return GROUP BY key
"""

_DAILY = """
CREATE TABLE daily AS
SELECT key, day, max(calls.ts) FILTER (NOT arrives) AS called,
  max(calls.ts) FILTER (arrives) AS arrived, any_value(back.ts) AS returned
FROM calls LEFT JOIN (
  SELECT key, ts // 86400000 AS day, max(ts) AS ts FROM comebacks GROUP BY key, day
) AS back USING (key, day) GROUP BY key, day
"""

# The newest line that names the device describes it.
_DEVICES = f"""
CREATE TABLE devices AS
WITH seen AS (
  SELECT key, min(ts) AS first_seen, max(ts) AS last_any, count(*) AS calls,
    any_value(user_key) AS user_key,
    -- Exchange answers OPTIONS and Provision to a device that it lets nowhere else.
    bool_or(status = 200 AND reason = 'other_answer' AND NOT arrives
      AND command IN ('Sync', 'FolderSync', 'Ping')) AS accepted,
    arg_max(line, ts + CASE WHEN named THEN 100000000000000 ELSE 0 END) AS row,
    arg_max(location, ts) FILTER (location IS NOT NULL) AS would_go,
    arg_max(location_host, ts) FILTER (location_host IS NOT NULL) AS would_go_host,
    arg_max(account, ts) FILTER (account IS NOT NULL) AS account,
    arg_max(wave, ts) FILTER (wave IS NOT NULL) AS wave,
    arg_max(version, ts) FILTER (version IS NOT NULL) AS version,
    -- NTLM names its scheme on the first requests of a connection only.
    arg_max(scheme, ts) FILTER (scheme NOT IN ('none', 'other')) AS scheme,
    arg_max(user_agent, ts) FILTER (user_agent IS NOT NULL) AS user_agent,
    arg_max(reason, ts) AS reason,
    arg_max(reason, ts) FILTER (NOT arrives) AS answer
  FROM calls GROUP BY key
), last_calls AS (
  SELECT key, max(called) AS called, max(arrived) AS arrived FROM daily GROUP BY key
)
SELECT seen.* EXCLUDE (row), lines.user_name, lines.user_domain, lines.user_email,
  lines.device_id, lines.device_type, lines.family, lines.logon_format,
  called, arrived,
  first_redirect, coalesce(redirects, 0) AS redirects,
  coalesce(target, would_go) AS location,
  coalesce(target_host, would_go_host) AS location_host,
  first_return, returned, stuck_at, coalesce(returns, 0) AS returns,
  coalesce(refused, 0) AS unauthenticated, served, directory_down, last_reason, usual,
  greatest({QUIET_AFTER_S * 1000:.0f}, {QUIET_INTERVALS} * coalesce(usual, 0)) AS quiet_after,
  false AS machine
FROM seen JOIN lines ON lines.rowid = seen.row
LEFT JOIN last_calls ON last_calls.key = seen.key
LEFT JOIN redirected ON redirected.key = seen.key
LEFT JOIN returns ON returns.key = seen.key
LEFT JOIN refusals ON refusals.key = seen.key
LEFT JOIN intervals ON intervals.key = seen.key
"""


def make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Called once per store."""
    for sql in (
        *(_STATE, _REDIRECTED, _KNOWN, _CALLS, _REFUSALS, _COMEBACKS, _RETURNS),
        *(_INTERVALS, _DAILY, _DEVICES),
    ):
        connection.execute(sql)


_LIST = """
SELECT *, state_at($until, first_redirect, first_return, stuck_at, called, returned, arrived,
  quiet_after)
  AS state FROM devices
ORDER BY CASE state WHEN 'stuck' THEN 0 WHEN 'returned' THEN 1 WHEN 'redirected' THEN 2
    WHEN 'seen' THEN CASE answer WHEN 'other_answer' THEN 4 ELSE 3 END ELSE 5 END,
  returns DESC, redirects DESC, called DESC, key
"""

type SQLRow = dict[str, Any]  # the edge: a row as DuckDB gives it


def follow_devices(connection: duckdb.DuckDBPyConnection, until_ms: int) -> tuple[Device, ...]:
    """Every device as of the end of the journals, the most urgent first."""
    make_tables(connection)
    ceiling = _ceiling(connection)
    cursor = connection.execute(_LIST, {"until": until_ms})
    names = [column[0] for column in cursor.description or ()]
    devices: list[Device] = []
    machines: list[int] = []
    while rows := cursor.fetchmany(10_000):
        for values in rows:
            row = dict(zip(names, values, strict=True))
            device = _device(row, until_ms, ceiling)
            devices.append(device)
            if device.machine:
                machines.append(row["key"])
    connection.execute(
        "UPDATE devices SET machine = true WHERE key IN (SELECT unnest($keys::UBIGINT[]))",
        {"keys": machines},
    )
    return tuple(devices)


def _ceiling(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The highest version that the old server has spoken in the journals."""
    row = connection.execute(
        "SELECT arg_max(version, try_cast(version AS DOUBLE)) FROM lines"
        " WHERE class = 0 AND status BETWEEN 200 AND 299 AND try_cast(version AS DOUBLE) < 20"
    ).fetchone()
    return row[0] if row else None


def _device(row: SQLRow, until_ms: int, ceiling: str | None) -> Device:
    client = _client(row)
    state = LedgerState(row["state"])
    readiness = None
    if row["location_host"]:
        readiness = readiness_of(
            client,
            host=row["location_host"],
            protocol_version=row["version"],
            ceiling=ceiling,
            auth_scheme=row["scheme"],
        )
    return Device(
        user_key=row["user_key"],
        account_id=row["account"],
        user=user_text(row["user_name"], row["user_domain"], row["user_email"]),
        device_id=row["device_id"],
        device_type=row["device_type"],
        family=client.family.name if client else row["family"],
        user_agent=row["user_agent"],
        state=state,
        first_seen_s=row["first_seen"] / 1000,
        last_seen_s=row["called"] / 1000,
        silent_s=max(0, until_ms - row["called"]) / 1000,
        usual_interval_s=row["usual"] / 1000 if row["usual"] else None,
        calls=row["calls"],
        accepted=bool(row["accepted"]),
        redirects=row["redirects"],
        returns=row["returns"],
        redirected_s=row["first_redirect"] / 1000 if row["first_redirect"] else None,
        returned_s=row["returned"] / 1000 if row["returned"] else None,
        location=row["location"],
        wave=row["wave"],
        protocol_version=row["version"],
        auth_scheme=row["scheme"],
        logon_format=row["logon_format"],
        last_reason=row["reason"],
        answer=row["answer"],
        cause=_cause(row, state, readiness),
        readiness=readiness,
        findings=logon_findings(row["logon_format"], row["location_host"]),
        machine=bool(client and client.family.machine),
    )


def _client(row: SQLRow) -> Client | None:
    """By the User-Agent if it is known; older journals name only the family."""
    known = client_of(row["user_agent"], row["device_type"])
    if known is None and row["family"] and (named := family(row["family"])):
        return Client(family=named)
    return known


def _cause(row: SQLRow, state: LedgerState, readiness: Readiness | None) -> str | None:
    if state not in (LedgerState.STUCK, LedgerState.RETURNED):
        return None
    did = Behaviour(
        comebacks=row["returns"],
        refused_logon=row["unauthenticated"],
        served=row["served"],
        directory_down=row["directory_down"],
        last_reason=row["last_reason"],
        protocol_version=row["version"],
    )
    return likely_cause(did, readiness)


def user_text(name: str | None, domain: str | None, email: str | None) -> str:
    """A user's name as a person would write it."""
    if email:
        return email
    return f"{domain}\\{name}" if domain else name or ""
