"""Journals in, a `Report` out. Asks DuckDB."""

from collections.abc import Sequence
from typing import Any

import duckdb

from eas_redirect.policy.reasons import NO_MAILBOX_REASON, REASONS
from eas_redirect.report.devices import SQLRow, follow_devices
from eas_redirect.report.groups import group_by, readiness, totals
from eas_redirect.report.inputs import Source
from eas_redirect.report.lines import LET_IN, LineClass, Lines
from eas_redirect.report.notes import notes_about
from eas_redirect.report.old_server import SILENCE_S, judge_old_server, unknown
from eas_redirect.report.report_values import Arrivals, Device, Input, Report
from eas_redirect.report.store import Progress, open_store
from eas_redirect.report.tallies import (
    anonymous,
    days,
    discoveries,
    latency,
    obstacles,
    reasons,
    silence_by_cause,
    states_over_time,
    waits,
)

REASONS_PLOTTED = 11

# Lines as they come every day. Journals that hold decisions only have none of them.
_EVERYDAY = [*(reason for reason, said in REASONS.items() if said.everyday), NO_MAILBOX_REASON]
# A line of whatever kind shows that the journal was written then.
_PERIOD = f"""
SELECT min(ts), max(ts) FROM lines WHERE class IN ({LineClass.EXCHANGE:d}, {LineClass.EVENT:d},
  {LineClass.DISCOVERY:d}, {LineClass.NO_PHONE:d}, {LineClass.WAIT:d})
"""
_REDIRECTS = """
SELECT count(*) FILTER (decision = 'redirect'), count(*) FILTER (decision = 'would_redirect')
FROM lines WHERE class = 0
"""
_NAMELESS = f"""
SELECT count(*) FROM lines
WHERE class = 0 AND key IS NULL AND ts > $since AND {LET_IN}
  AND (host IN (SELECT target_host FROM redirected)) IS NOT TRUE
"""


def make_report(
    sources: Sequence[Source],
    now_s: float,
    progress: Progress | None = None,
    until_s: float | None = None,
    iis_fields: tuple[str, ...] = (),
) -> Report:
    """Read the sources and count. Takes about two seconds per million lines.

    `until_s`: the journals are known to be complete up to then, even if nothing was written.
    `iis_fields`: see `open_store`.
    """
    with open_store(sources, int(now_s * 1000), progress, iis_fields) as (connection, lines):
        since, last = _one(connection, _PERIOD)
        until = last if last is None or until_s is None else max(last, int(until_s * 1000))
        devices = follow_devices(connection, until or 0)
        listed, more = reasons(connection)
        nameless, more_nameless = anonymous(connection)
        redirects, would_redirects = _one(connection, _REDIRECTS)
        return Report(
            now_s=now_s,
            input=_input(sources, lines),
            notes=notes_about(connection, sources, lines, now_s, until),
            since_s=None if since is None else since / 1000,
            until_s=None if until is None else until / 1000,
            totals=totals(
                devices,
                exchanges=lines.exchanges,
                redirects=redirects,
                would_redirects=would_redirects,
            ),
            by_wave=group_by(devices, lambda device: device.wave),
            by_device_type=group_by(devices, lambda device: device.device_type),
            by_family=group_by(devices, lambda device: device.family),
            states_over_time=states_over_time(connection, since, until),
            days=days(connection, [row.reason for row in listed[:REASONS_PLOTTED]]),
            reasons=listed,
            more_reasons=more,
            obstacles=obstacles(connection),
            silence=silence_by_cause(connection),
            anonymous=nameless,
            more_anonymous=more_nameless,
            discoveries=discoveries(connection),
            waits=waits(connection),
            latency=latency(connection),
            arrivals=_arrivals(connection, devices, until),
            readiness=readiness(devices),
            devices=devices,
        )


def _arrivals(
    connection: duckdb.DuckDBPyConnection, devices: Sequence[Device], until: int | None
) -> Arrivals:
    everyday, exchanges = _one(
        connection,
        "SELECT count(*) FILTER (list_contains($everyday, reason)), count(*) FROM lines"
        " WHERE class = 0",
        {"everyday": _EVERYDAY},
    )
    if until is None or not exchanges:
        return judge_old_server((), None)
    if not devices:
        return unknown("That cannot be told: no line names a user whom Exchange let in.")
    if not everyday:
        return unknown(
            "That cannot be told: the journals hold no everyday traffic yet. Where"
            ' journal.exchanges is "decisions", set it to "all".'
        )
    since = until - int(SILENCE_S * 1000)
    nameless = connection.execute(_NAMELESS, {"since": since}).fetchall()[0][0]
    return judge_old_server(devices, until / 1000, nameless)


def _input(sources: Sequence[Source], lines: Lines) -> Input:
    unusable = lines.torn + lines.foreign + lines.untimed + lines.future + lines.headless
    return Input(
        files=len(sources),
        bytes=sum(source.size for source in sources),
        lines=lines.exchanges + lines.events + lines.no_phones + unusable,
        exchanges=lines.exchanges,
        events=lines.events,
        torn=lines.torn,
        foreign=lines.foreign,
        no_phones=lines.no_phones,
        unread_files=len(lines.unread_files),
        untimed=lines.untimed,
        future=lines.future,
        lost_s=None if lines.lost_ms is None else lines.lost_ms / 1000,
    )


def _one(connection: duckdb.DuckDBPyConnection, sql: str, values: SQLRow | None = None) -> Any:
    return connection.execute(sql, values or {}).fetchall()[0]
