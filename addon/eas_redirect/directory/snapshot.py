"""The directory's questions answered from an LDIF file. Standard library only.

What the file has to hold: the users with their mail attributes, the organization relationships, and
better also the domains (`crossRef` objects below `CN=Partitions`) and the UPN suffixes.
"""

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_CLASS,
    PARTITION_ATTRIBUTES,
    RECIPIENT_ATTRIBUTES,
    RELATIONSHIP_ATTRIBUTES,
    SUFFIX_ATTRIBUTES,
    Entry,
    Partition,
    device,
    owner_of_device,
    partition,
    recipient,
    relationship,
)
from eas_redirect.directory.ldif import Problem, decode, read_entries
from eas_redirect.directory.logons import AccountAttribute, domains_of_objects, resolve
from eas_redirect.directory.names import domain_dn, fold
from eas_redirect.directory.values import (
    DirectoryAnswer,
    DirectoryDevice,
    OrganizationRelationship,
    Recipient,
    RelationshipsAnswer,
    Source,
)

_WANTED = frozenset(
    name.lower()
    for name in (
        *RECIPIENT_ATTRIBUTES,
        *RELATIONSHIP_ATTRIBUTES,
        *PARTITION_ATTRIBUTES,
        *SUFFIX_ATTRIBUTES,
        *DEVICE_ATTRIBUTES,
        "groupType",
    )
)
_IDENTITIES = ("samaccountname", "userprincipalname", "proxyaddresses", "targetaddress")


class SnapshotError(Exception):
    """A snapshot that cannot be used at all: which file, which line, and what to do."""


class Snapshot:
    """A directory in memory. `problems` are the entries that were left out, in words."""

    source: Source = "snapshot"

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        default_domain: str | None = None,
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self._default_domain = default_domain
        self._index = _Index()
        for entry in entries:
            self._index.add(entry)
        self._index.finish(default_domain)
        self._loaded = time.monotonic()

    @classmethod
    def load(cls, path: str | PathLike[str], *, default_domain: str | None = None) -> "Snapshot":
        """Reads a file; raises `SnapshotError` when it cannot be read or holds no entry."""
        text = decode(_read(Path(path)))
        problems: list[Problem] = []
        with _without_collection():
            snapshot = cls(_good_ones(text, problems), default_domain=default_domain)
        if not snapshot._index.entries:
            raise SnapshotError(_nothing_in(path, problems))
        snapshot.problems = tuple(
            f"{path}:{problem.line}: entry left out: {problem.reason}" for problem in problems
        )
        return snapshot

    def __len__(self) -> int:
        """How many recipients it holds."""
        return self._index.size

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        began = time.perf_counter()
        steps: list[str] = []
        lookup = resolve(logon, self._index, self._default_domain, steps)
        return DirectoryAnswer(
            lookup=lookup,
            source=self.source,
            duration_ms=(time.perf_counter() - began) * 1000,
            steps=tuple(steps),
        )

    async def relationships(self) -> RelationshipsAnswer:
        return RelationshipsAnswer(
            relationships=tuple(self._index.relationships),
            source=self.source,
            age_s=time.monotonic() - self._loaded,
        )

    async def everyone(self) -> tuple[Recipient, ...]:
        return self._index.everyone()

    async def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...]:
        return tuple(self._index.devices.get(fold(user_dn), ()))

    def close(self) -> None:
        """Nothing is held open."""


class _Index:
    """The entries by what is asked for; a `Forest`."""

    def __init__(self) -> None:
        self.entries = 0  # of any kind
        self.size = 0  # recipients
        self.relationships: list[OrganizationRelationship] = []
        self.devices: dict[str, list[DirectoryDevice]] = {}  # by the folded DN of the user
        self._accounts: dict[AccountAttribute, dict[str, list[Recipient]]] = {
            "sAMAccountName": {},
            "userPrincipalName": {},
        }
        self._addresses: dict[str, list[Recipient]] = {}
        self._partitions: tuple[Partition, ...] = ()
        self._suffixes: frozenset[str] = frozenset()
        self._dns: list[str] = []
        self._empty_domains: frozenset[str] = frozenset()

    def add(self, entry: Entry) -> None:
        self.entries += 1
        attributes = entry.attributes
        if any(name in attributes for name in _IDENTITIES):
            self._add_recipient(recipient(entry))
        elif entry.is_a("crossref") or "netbiosname" in attributes:
            found = partition(entry)
            self._partitions += (found,) if found else ()
        elif entry.is_a("msexchfedsharingrelationship") or "msexchfeddomainnames" in attributes:
            self.relationships.append(relationship(entry))
        elif "upnsuffixes" in attributes:
            self._suffixes |= frozenset(map(fold, attributes["upnsuffixes"]))
        elif entry.is_a(DEVICE_CLASS.lower()) or "msexchdeviceid" in attributes:
            self._add_device(entry)

    def _add_device(self, entry: Entry) -> None:
        if (owner := owner_of_device(entry.dn)) is not None:
            self.devices.setdefault(owner, []).append(device(entry))

    def everyone(self) -> tuple[Recipient, ...]:
        """Each account once, however many names it has."""
        named = self._accounts["sAMAccountName"], self._accounts["userPrincipalName"]
        found = (one for names in named for holders in names.values() for one in holders)
        return tuple({one.dn: one for one in found}.values())

    def _add_recipient(self, found: Recipient) -> None:
        self.size += 1
        self._dns.append(found.dn)
        if found.is_account:
            _enter(self._accounts["sAMAccountName"], found.sam_account_name, found)
            _enter(self._accounts["userPrincipalName"], found.user_principal_name, found)
        for address in found.proxy_addresses:
            if address[:5].lower() == "smtp:":
                _enter(self._addresses, address[5:], found)

    def finish(self, default_domain: str | None) -> None:
        """After the last entry: without crossRef objects the DNs tell the domains."""
        if not self._partitions:
            self._partitions = domains_of_objects(self._dns, default_domain)
        self._empty_domains = _without_objects(self._partitions, self._dns)
        self._dns.clear()

    def partitions(self) -> Sequence[Partition]:
        return self._partitions

    def upn_suffixes(self) -> frozenset[str]:
        return self._suffixes

    def sees_all_domains(self) -> bool:
        """As far as can be known: a domain of which nobody stands in the file was left out."""
        return not self._empty_domains

    def accounts(
        self, attribute: AccountAttribute, value: str, _domain: Partition | None
    ) -> Sequence[Recipient]:
        return self._accounts[attribute].get(fold(value), ())

    def address_holders(self, address: str) -> Sequence[Recipient]:
        return self._addresses.get(fold(address), ())


def _enter(index: dict[str, list[Recipient]], name: str | None, found: Recipient) -> None:
    """The same object twice, as when two exports are joined, is one; a differing one is another."""
    if name is None:
        return
    others = index.setdefault(fold(name), [])
    if found not in others:
        others.append(found)


def _without_objects(domains: Iterable[Partition], dns: Iterable[str]) -> frozenset[str]:
    missing = {domain.nc_name for domain in domains}
    for dn in dns:
        if not missing:
            break
        missing.discard(domain_dn(dn))
    return frozenset(missing)


def _good_ones(text: str, problems: list[Problem]) -> Iterator[Entry]:
    """The entries one by one; what cannot be read goes to `problems`."""
    for item in read_entries(text, _WANTED):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            yield item


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"{path}: cannot be read ({error.strerror}): set directory.snapshot to an LDIF file "
            "that ldifde or ldapsearch wrote"
        ) from None


def _nothing_in(path: str | PathLike[str], problems: list[Problem]) -> str:
    place = f"{path}:{problems[0].line}: {problems[0].reason}" if problems else f"{path}:1: empty"
    return f"{place}: no entry could be read: export users and relationships as LDIF once more"


@contextmanager
def _without_collection() -> Iterator[None]:
    """Hundreds of thousands of new objects, none of them garbage: walking them costs time alone,
    while they are made and in every full collection afterwards."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
