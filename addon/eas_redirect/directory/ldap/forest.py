"""The forest as servers show it: the small questions of `logons.Forest` over one thread's links.

Imports no ldap3. Naming contexts come from the rootDSE, domains and UPN suffixes from the
configuration partition; they are read once for all threads and again after a while.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_CLASS,
    PARTITION_ATTRIBUTES,
    RECIPIENT_ATTRIBUTES,
    RELATIONSHIP_ATTRIBUTES,
    SUFFIX_ATTRIBUTES,
    Partition,
    device,
    partition,
    recipient,
    relationship,
)
from eas_redirect.directory.faults import Fault, NoSuchObjectError
from eas_redirect.directory.ldap.links import Links, Role, RootDSE, Session
from eas_redirect.directory.ldap.workers import Deadline
from eas_redirect.directory.logons import AccountAttribute, domains_of_objects
from eas_redirect.directory.names import domain_dn, fold, lies_in, plain_dn
from eas_redirect.directory.values import (
    DirectoryDevice,
    DirectorySettings,
    LeftOutObject,
    OrganizationRelationship,
    Recipient,
)

MAP_LIFE_S = 300.0
# DNS zones are naming contexts below the domain, and no domains (MS-ADTS 6.1.1.1.5).
_ZONES = ("dc=domaindnszones,", "dc=forestdnszones,")


@dataclass(frozen=True, slots=True)
class DomainMap:
    """The forest's domains and alternative UPN suffixes."""

    partitions: tuple[Partition, ...]
    suffixes: frozenset[str]


class MapKeeper:
    """The last good `DomainMap`, shared by the threads; it serves on while it cannot be read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._map: DomainMap | None = None
        self._read_at = 0.0

    def young(self) -> DomainMap | None:
        with self._lock:
            return self._map if time.monotonic() - self._read_at < MAP_LIFE_S else None

    def any(self) -> DomainMap | None:
        with self._lock:
            return self._map

    def put(self, domain_map: DomainMap) -> None:
        with self._lock:
            self._map, self._read_at = domain_map, time.monotonic()


class LinkedForest:
    """A `logons.Forest` for one question."""

    def __init__(
        self, links: Links, deadline: Deadline, settings: DirectorySettings, maps: MapKeeper
    ) -> None:
        self._links = links
        self._deadline = deadline
        self._settings = settings
        self._maps = maps

    def partitions(self) -> Sequence[Partition]:
        return self._map().partitions

    def upn_suffixes(self) -> frozenset[str]:
        return self._map().suffixes

    def sees_all_domains(self) -> bool:
        """A domain controller holds its own domain alone, also where the base of the search is
        above others: for those it only has continuation references (MS-ADTS 3.1.1.3.1.4)."""
        domains = [p.nc_name for p in self.partitions()]
        root = self._links.ask("users", self._deadline, lambda session, _: session.root_dse)
        base = self._settings.search_base
        if self._links.asks_catalogue or (base is not None and not root.is_active_directory):
            reach = plain_dn(base or "")
            return all(lies_in(domain, reach) or domain == domain_dn(reach) for domain in domains)
        return set(domains) <= set(_domains(root))

    def accounts(
        self, attribute: AccountAttribute, value: str, domain: Partition | None
    ) -> Sequence[Recipient]:
        return self._users("user", (attribute, value), domain)

    def address_holders(self, address: str) -> Sequence[Recipient]:
        return self._users(None, ("proxyAddresses", f"smtp:{address}"), None)

    def left_out(self, _name: str) -> Sequence[LeftOutObject]:
        """A server gives each entry whole or none at all."""
        return ()

    def relationships(self) -> tuple[OrganizationRelationship, ...]:
        return self._ask("configuration", self._read_relationships)

    def everyone(self) -> tuple[Recipient, ...]:
        return tuple(found for found in self._users("user", None, None) if found.is_account)

    def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...]:
        def question(session: Session, patience_s: float) -> tuple[DirectoryDevice, ...]:
            try:
                found = session.find(user_dn, DEVICE_CLASS, None, DEVICE_ATTRIBUTES, patience_s)
            except NoSuchObjectError:
                return ()  # what may not be read looks absent
            return tuple(map(device, found))

        return self._ask("users", question)

    def _users(
        self, object_class: str | None, equals: tuple[str, str] | None, domain: Partition | None
    ) -> list[Recipient]:
        def question(session: Session, patience_s: float) -> list[Recipient]:
            return [
                recipient(entry)
                for base in self._bases(session.root_dse, domain)
                for entry in session.find(
                    base, object_class, equals, RECIPIENT_ATTRIBUTES, patience_s
                )
            ]

        return self._ask("users", question)

    def _bases(self, root: RootDSE, domain: Partition | None) -> Sequence[str]:
        """Where users are looked for: all of a global catalogue is below the empty DN."""
        if self._settings.search_base is not None:
            return (self._settings.search_base,)
        if domain is not None:
            return (domain.nc_name,)
        if self._links.asks_catalogue:
            return ("",)
        bases = _domains(root)
        if not bases:
            message = "the server names no domain of its own: set directory.search_base"
            raise Fault("no_naming_context", message, "question")
        return bases

    def _map(self) -> DomainMap:
        if (young := self._maps.young()) is not None:
            return young
        try:
            fresh = self._ask("configuration", self._read_map)
        except Fault:
            if (old := self._maps.any()) is not None:
                return old
            raise
        self._maps.put(fresh)
        return fresh

    def _read_map(self, session: Session, patience_s: float) -> DomainMap:
        base = f"CN=Partitions,{self._configuration(session)}"
        try:
            refs = session.find(base, "crossRef", None, PARTITION_ATTRIBUTES, patience_s)
            containers = session.find(
                base, "crossRefContainer", None, SUFFIX_ATTRIBUTES, patience_s
            )
        except NoSuchObjectError:
            refs, containers = [], []  # what may not be read looks absent
        partitions = tuple(found for ref in refs if (found := partition(ref)))
        if not partitions:
            domains = _domains(session.root_dse)
            partitions = domains_of_objects(domains, self._settings.default_domain)
        suffixes = (s for entry in containers for s in entry.values("upnsuffixes"))
        return DomainMap(partitions, frozenset(map(fold, suffixes)))

    def _read_relationships(
        self, session: Session, patience_s: float
    ) -> tuple[OrganizationRelationship, ...]:
        base = f"CN=Microsoft Exchange,CN=Services,{self._configuration(session)}"
        wanted = "msExchFedSharingRelationship"
        try:
            entries = session.find(base, wanted, None, RELATIONSHIP_ATTRIBUTES, patience_s)
        except NoSuchObjectError:
            return ()  # what may not be read looks absent
        return tuple(map(relationship, entries))

    def _configuration(self, session: Session) -> str:
        base = self._settings.configuration_base or session.root_dse.configuration_naming_context
        if base is None:
            message = (
                "the server names no configuration partition: set directory.configuration_base"
            )
            raise Fault("no_naming_context", message, "question")
        return base

    def _ask[R](self, role: Role, question: Callable[[Session, float], R]) -> R:
        return self._links.ask(role, self._deadline, question)


def _domains(root: RootDSE) -> tuple[str, ...]:
    """The domains that a server holds: its own first. Those below another one are in it."""
    names = [root.default_naming_context, *root.naming_contexts]
    found: list[str] = []
    for name in names:
        domain = domain_dn(name) if name else ""
        is_domain = domain and domain == plain_dn(name or "")
        if not is_domain or domain.startswith(_ZONES):
            continue
        if not any(lies_in(domain, other) for other in found):
            found.append(domain)
    return tuple(found)
