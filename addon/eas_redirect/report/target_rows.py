"""A target's device lists and logs, read into one `TargetRows`. Imports DuckDB, for the logs.

Logs are IIS logs or journals of a target on premises. Exchange Online gives its customers none.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from eas_redirect.report.inputs import expand, find_sources
from eas_redirect.report.packing import Encoding, Packing, head_of, packing_of, unpack
from eas_redirect.report.store import open_store
from eas_redirect.report.target_export import (
    MAX_BYTES,
    DateOrder,
    TargetError,
    TargetFile,
    TargetRow,
    TargetRows,
    is_export,
    read_export,
)

_MAGIC = 8  # bytes
_HEAD = 512

# What came of each device. A 200 to these commands is a phone that syncs, unless it says
# UserHasNoMailbox.
_LOGGED = """
SELECT caseless(device_id) AS id, any_value(device_type),
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
    """The rows of files, folders and globs, plain or packed. Raises TargetError, SourceError and
    StoreError: each says what to do."""
    found = TargetRows()
    logs: list[str] = []
    with TemporaryDirectory(prefix="eas-target-") as folder:
        for path in _files(names):
            try:
                with path.open("rb") as file:
                    packing = packing_of(magic := file.read(_MAGIC))
                head = head_of(path, packing, _HEAD)
            except (OSError, ValueError) as error:
                raise TargetError(f"{path}: {_reason(error)}") from error
            if magic.startswith(b"PK\x03\x04"):
                raise TargetError(
                    f"{path}: is packed with zip, or a workbook of Excel. Unpack it, or save it as"
                    " CSV."
                )
            if not head:
                raise TargetError(f"{path}: is empty. Export it again.")
            if not is_export(head):
                logs.append(str(path))
            elif packing is Packing.NONE:
                read_export(path, str(path), found, order, now_s)
            else:
                plain = _unpacked(path, packing, Path(folder) / "devices.csv")
                read_export(plain, str(path), found, order, now_s)
    if logs:
        _read_logs(logs, now_s, found)
    return found


def _files(names: Sequence[str]) -> list[Path]:
    paths: dict[Path, None] = {}
    for name in names:
        found = expand(name)
        if not found:
            raise TargetError(f"{name}: no such file. Name an export, a log, a folder or a glob.")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _unpacked(path: Path, packing: Packing, target: Path) -> Path:
    """As plain bytes, in whatever encoding they are; no more of them than a file may have."""
    try:
        whole = unpack(path, packing, Encoding.UTF8, target, MAX_BYTES)
    except OSError as error:
        raise TargetError(f"{path}: cannot be unpacked ({error.strerror}).") from error
    if not whole and target.stat().st_size <= MAX_BYTES:
        raise TargetError(f"{path}: is a {packing} file that breaks off. Copy it once more.")
    return target


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror}). See to its rights."
    return str(error)


def _read_logs(names: Sequence[str], now_s: float, into: TargetRows) -> None:
    sources = find_sources(names)
    with open_store(sources, int(now_s * 1000)) as (connection, lines):
        if not lines.exchanges:
            raise TargetError(
                f"{', '.join(names)}: no ActiveSync exchange in there. Name the IIS logs or the"
                " journal of the target."
            )
        newest = connection.execute(_NEWEST).fetchall()[0][0]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log = TargetFile(f"{names[0]}{more}", _seconds(newest))
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
                    file=log,
                )
            )
    into.files.append(log)
    into.notes += [*lines.unread_files, *lines.clocks]


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
