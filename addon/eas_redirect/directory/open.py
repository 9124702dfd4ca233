"""The configuration's directory: a snapshot when it names one, else Active Directory."""

from collections.abc import Iterator
from pathlib import Path

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.servers import parse_server
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Directory, DirectorySettings

_SHOWN = 3  # malformed entries of a snapshot


def open_directory(
    settings: DirectorySettings, snapshot: Path | None, credentials: BindCredentials | None = None
) -> Snapshot | ActiveDirectory:
    """Raises SnapshotError for a snapshot that cannot be used; servers are not asked yet."""
    if snapshot is not None:
        return Snapshot.load(
            snapshot,
            default_domain=settings.default_domain,
            no_mailboxes_here=settings.no_mailboxes_here,
            account_domains=settings.account_domains,
        )
    return ActiveDirectory(settings, credentials)


def remarks(directory: Directory, settings: DirectorySettings) -> tuple[str, ...]:
    """Warnings for a person at every start, one sentence each."""
    if isinstance(directory, Snapshot):
        return (*_about_snapshot(directory), *_not_asked(settings))
    found: list[str] = []
    addresses = tuple(map(parse_server, settings.servers))
    encrypted = settings.start_tls or all(address.tls for address in addresses)
    if not settings.verify and (settings.start_tls or any(a.tls for a in addresses)):
        found.append(
            "directory.verify is false: whoever stands between can read the password and answer "
            "in the directory's place; set directory.ca_file instead"
        )
    if settings.bind == "simple" and not encrypted:
        found.append(
            "the password crosses the network in clear: use ldaps:// or directory.start_tls"
        )
    return tuple(found)


def _about_snapshot(snapshot: Snapshot) -> tuple[str, ...]:
    problems = snapshot.problems
    if not problems:
        return ()
    count = f"{len(problems)} malformed entries of the snapshot were left out"
    return (f"{count}, first: {'; '.join(problems[:_SHOWN])}",)


def _not_asked(settings: DirectorySettings) -> Iterator[str]:
    for domain in settings.account_domains:
        if domain.servers:
            yield (
                f"a snapshot does not ask the servers of {domain.name}, so its users are nobody: "
                'write "same_name" in directory.account_domains, or ask servers for this forest too'
            )
