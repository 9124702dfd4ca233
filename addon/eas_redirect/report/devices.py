"""What became of each device: the same states as the live ledger, from the journals alone.

Imports DuckDB for its types only.
"""

from typing import Any

import duckdb

from eas_redirect.planning.readiness import Readiness, logon_findings, readiness_of
from eas_redirect.report.causes import Behaviour, likely_cause
from eas_redirect.report.following import make_tables
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.clients import Client, family, identify
from eas_redirect.telemetry.ledger import LedgerState

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
    """Every device as it stands at the end of the journals, the most urgent first."""
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
    """The highest version that the old server was seen to speak."""
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
    """By the User-Agent where it is known; older journals name the family only."""
    known = identify(row["user_agent"], row["device_type"])
    if known is None and row["family"] and (named := family(row["family"])):
        return Client(family=named)
    return known


def _cause(row: SQLRow, state: LedgerState, readiness: Readiness | None) -> str | None:
    if state not in (LedgerState.STUCK, LedgerState.RETURNED):
        return None
    did = Behaviour(
        comebacks=row["returns"],
        redirected_again=row["again"],
        refused_logon=row["unauthenticated"],
        served=row["served"],
        directory_down=row["directory_down"],
        last_reason=row["last_reason"],
        protocol_version=row["version"],
    )
    return likely_cause(did, readiness)


def user_text(name: str | None, domain: str | None, email: str | None) -> str:
    """A user as a person would write the name."""
    if email:
        return email
    return f"{domain}\\{name}" if domain else name or ""
