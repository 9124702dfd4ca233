"""A target's device lists and logs, read into one `TargetRows`. Imports DuckDB, for the logs.

Logs are IIS logs or journals of a target on premises. Exchange Online gives its customers none.
"""

from collections.abc import Sequence
from pathlib import Path

from eas_redirect.report.inputs import find_sources
from eas_redirect.report.store import open_store
from eas_redirect.report.target_export import (
    DateOrder,
    TargetError,
    TargetRow,
    TargetRows,
    is_export,
    read_export,
)

_HEAD = 512  # bytes

# What came of each device. A 200 to these commands is a phone that syncs, unless it says
# UserHasNoMailbox.
_LOGGED = """
SELECT lower(device_id) AS id, any_value(device_type),
  list(DISTINCT coalesce(user_email,
    CASE WHEN user_domain IS NOT NULL THEN user_domain || '\\' || user_name ELSE user_name END))
    FILTER (user_name IS NOT NULL),
  min(ts) FILTER (status <> 401), max(ts) FILTER (status <> 401),
  max(ts) FILTER (status = 200 AND reason = 'other_answer'
    AND command IN ('Sync', 'FolderSync', 'Ping')),
  bool_and(status = 401)
FROM lines
WHERE class = 0 AND device_id IS NOT NULL AND status IS NOT NULL
  AND coalesce(device_type, '') NOT IN ('EASProbeDeviceType', 'TestActiveSyncConnectivity')
  AND NOT starts_with(lower(coalesce(user_name, '')), 'healthmailbox')
GROUP BY id, user_key
"""
_NEWEST = "SELECT max(ts) FROM lines WHERE class = 0"


def read_target(names: Sequence[str], now_s: float, order: DateOrder | None = None) -> TargetRows:
    """Raises TargetError, SourceError and StoreError: each says what to do."""
    found = TargetRows()
    logs: list[str] = []
    for name in dict.fromkeys(names):
        path = Path(name)
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise TargetError(f"{name}: cannot be read ({error.strerror}).") from error
        if not head:
            raise TargetError(f"{name}: is empty. Export it again.")
        if is_export(head):
            read_export(path, name, found, order)
        else:
            logs.append(name)
    if logs:
        _read_logs(logs, now_s, found)
    return found


def _read_logs(names: Sequence[str], now_s: float, into: TargetRows) -> None:
    sources = find_sources(names)
    with open_store(sources, int(now_s * 1000)) as (connection, lines):
        if not lines.exchanges:
            raise TargetError(
                f"{', '.join(names)}: no ActiveSync exchange in there. Name the IIS logs or the"
                " journal of the target."
            )
        for device, kind, users, first, attempt, success, refused in connection.execute(
            _LOGGED
        ).fetchall():
            into.rows.append(
                TargetRow(
                    device_id=device,
                    device_type=kind,
                    users=tuple(sorted(users or ())),
                    first_s=_seconds(first),
                    attempt_s=_seconds(attempt),
                    success_s=_seconds(success),
                    refused_only=refused,
                    from_log=True,
                )
            )
        newest = _seconds(connection.execute(_NEWEST).fetchall()[0][0])
    into.logs += len(names)
    if newest is not None:
        into.newest_s = newest if into.newest_s is None else max(into.newest_s, newest)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
