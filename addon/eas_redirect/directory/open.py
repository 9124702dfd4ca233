"""The configuration's directory: a snapshot when it names one, else Active Directory."""

from pathlib import Path

from eas_redirect.directory.active_directory import ActiveDirectory
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Directory, DirectorySettings


def open_directory(settings: DirectorySettings, snapshot: Path | None) -> Directory:
    """Raises SnapshotError for a snapshot that cannot be used; servers are not asked yet."""
    if snapshot is not None:
        return Snapshot.load(snapshot, default_domain=settings.default_domain)
    return ActiveDirectory(settings)
