"""The forest as servers show it: the small questions of `logons.Forest` over one thread's links.

Imports no ldap3. Naming contexts come from the rootDSE, domains and UPN suffixes from the
configuration partition; they are read once for all threads, and again with the relationships.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_CLASS,
    DEVICE_LIST_ATTRIBUTES,
    GUID_ATTRIBUTE,
    PARTITION_ATTRIBUTES,
    RECIPIENT_ATTRIBUTES,
    RELATIONSHIP_ATTRIBUTES,
    SID_ATTRIBUTES,
    SUFFIX_ATTRIBUTES,
    TRUST_ATTRIBUTES,
    TRUST_CLASS,
    Entry,
    Partition,
    Trust,
    device,
    device_lists,
    of_one_organization,
    other_forests,
    partition,
    recipient,
    relationship,
    trust,
)
from eas_redirect.directory.ldap.faults import Fault, NoSuchObjectError
from eas_redirect.directory.ldap.links import Links, Role, RootDSE, Session
from eas_redirect.directory.ldap.wire import MAX_ANSWER
from eas_redirect.directory.ldap.workers import Deadline
from eas_redirect.directory.logons import AccountAttribute, domains_of_objects
from eas_redirect.directory.names import (
    dn_of_domain,
    domain_dn,
    fold,
    guid_bytes,
    lies_in,
    plain_dn,
    sid_bytes,
)
from eas_redirect.directory.sight import DomainSight, Portion, Sight
from eas_redirect.directory.values import (
    DeviceLists,
    DirectoryDevice,
    DirectorySettings,
    LeftOutObject,
    OrganizationRelationship,
    Recipient,
    RelationshipsAnswer,
    Watched,
)
from eas_redirect.directory.watch import looking_moved

CENSUS_BYTES = 1024**3  # of all accounts: some 200 bytes to 2 KB each
# DNS zones are naming contexts below the domain, and no domains (MS-ADTS 6.1.1.1.5).
_ZONES = ("dc=domaindnszones,", "dc=forestdnszones,")


type _Reach = tuple[str, Portion]  # a domain, and how much of it can be seen
# Containers of arbitration and of health mailboxes, which are users too.
_SYSTEM_MAILBOXES = ("CN=Users", "CN=Microsoft Exchange System Objects")
_ATTRIBUTES = (*RECIPIENT_ATTRIBUTES, GUID_ATTRIBUTE)
_WITH_SIDS = (*_ATTRIBUTES, *SID_ATTRIBUTES)
# What shows that an attribute can be read: one object that has a value of it.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    "mailboxes": ("homeMDB", "msExchHomeServerName"),
    "aliases": ("mailNickname",),
    "principal_names": ("userPrincipalName",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainMap:
    """The forest's domains and alternative UPN suffixes, and what can be seen of them. `shown`:
    which signs of `_SIGNS` each domain shows. `siblings`: DNS names of further domains of the
    forest, known only from a trust."""

    partitions: tuple[Partition, ...]
    suffixes: frozenset[str]
    shown: Mapping[str, frozenset[str]]
    named: bool
    siblings: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    no_mailboxes_here: bool = False
    # Each server's, by what it says of itself: a look-up asks for it.
    sights: dict[RootDSE, Sight] = field(default_factory=dict, compare=False)

    def sight_within(self, reach: tuple[_Reach, ...]) -> Sight:
        """What a server that sees these domains can vouch for."""
        seen = [domain for domain, _ in reach]
        unseen = [p.nc_name for p in self.partitions if p.nc_name not in seen]
        return Sight(
            source="ldap",
            domains=tuple(_domain_sight(d, portion, self.shown.get(d)) for d, portion in reach),
            named=self.named,
            missing=(*unseen, *map(dn_of_domain, self.siblings)),
            trusts=self.trusts,
            strangers=self.strangers,
            no_mailboxes_here=self.no_mailboxes_here,
        )


def _domain_sight(nc_name: str, portion: Portion, shown: frozenset[str] | None) -> DomainSight:
    signs = shown or frozenset()
    return DomainSight(
        nc_name=nc_name,
        mailboxes="mailboxes" in signs,
        aliases="aliases" in signs,
        principal_names="principal_names" in signs,
        portion=portion,
    )


class MapKeeper:
    """The last good `DomainMap`, shared by the threads and read again with the relationships.
    Once there is one, look-ups of users need no server that has the configuration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._map: DomainMap | None = None

    def last(self) -> DomainMap | None:
        with self._lock:
            return self._map

    def put(self, domain_map: DomainMap) -> None:
        with self._lock:
            self._map = domain_map


class LinkedForest:
    """A `logons.Forest` for one question."""

    leaves_out = False
    shows_all = False  # it depends on the object: which domains there are may change at any time

    def __init__(
        self, links: Links, deadline: Deadline, settings: DirectorySettings, maps: MapKeeper
    ) -> None:
        self._links = links
        self._deadline = deadline
        self._settings = settings
        self._maps = maps
        self._sight: Sight | None = None
        sids = settings.tells_sids or settings.account_domains
        self._attributes = _WITH_SIDS if sids else _ATTRIBUTES

    def partitions(self) -> Sequence[Partition]:
        return self._map().partitions

    def upn_suffixes(self) -> frozenset[str]:
        return self._map().suffixes

    def sight(self) -> Sight:
        """A domain controller holds only its own domain, even if the base of the search is above
        others: for those it only has continuation references (MS-ADTS 3.1.1.3.1.4)."""
        if self._sight is None:
            domain_map = self._map()
            root = self._links.ask("users", self._deadline, lambda session, _: session.root_dse)
            self._sight = domain_map.sights.get(root)
            if self._sight is None:
                reach = self._reach(domain_map.partitions, root)
                self._sight = domain_map.sights[root] = domain_map.sight_within(reach)
        return self._sight

    def accounts(
        self, attribute: AccountAttribute, value: str, domain: Partition | None
    ) -> Sequence[Recipient]:
        return self._users("user", (attribute, value), domain)

    def address_holders(self, address: str) -> Sequence[Recipient]:
        return self._users(None, ("proxyAddresses", f"smtp:{address}"), None)

    def linked_to(self, sid: str) -> Sequence[Recipient]:
        """Accounts that stand for another forest's account with this SID."""
        value = sid_bytes(sid)
        return [] if value is None else self._users(None, ("msExchMasterAccountSid", value), None)

    def moved(self, users: Sequence[Watched]) -> tuple[Watched, ...]:
        """Those who appear to have moved, to a server that can vouch for it."""

        def question(session: Session, patience_s: float) -> list[Recipient]:
            by_dn = "distinguishedName" if session.root_dse.is_active_directory else "entryDN"
            keys = tuple(_key(user, by_dn) for user in users)
            return [
                recipient(entry)
                for base in self._bases(session.root_dse, None)
                for entry in session.moved(base, keys, patience_s)
            ]

        if not users:
            return ()
        sight = self.sight()
        return looking_moved(users, self._ask("users", question), sight)

    def left_out(self, _name: str) -> Sequence[LeftOutObject]:
        """A server returns each entry completely or not at all."""
        return ()

    def relationships(self) -> RelationshipsAnswer:
        """With what the directory can vouch for, which is read again together with them."""
        known, strays = of_one_organization(self._ask("configuration", self._read_relationships))
        server = self._links.last_server
        try:
            self._maps.put(self._fresh_map())
            sight = replace(self.sight(), strays=strays)
        except Fault:  # those who answer for users may be others
            sight = None
        return RelationshipsAnswer(relationships=known, source="ldap", server=server, sight=sight)

    def everyone(self) -> tuple[Recipient, ...]:
        found = self._users("user", None, None, most_bytes=CENSUS_BYTES)
        return tuple(one for one in found if one.is_account)

    def account_at(self, dn: str) -> Recipient | None:
        def question(session: Session, patience_s: float) -> list[Recipient]:
            try:
                found = session.find(dn, "user", None, RECIPIENT_ATTRIBUTES, patience_s)
            except NoSuchObjectError:
                return []
            return [recipient(entry) for entry in found]

        found = self._ask("users", question)
        wanted = plain_dn(dn)
        return next((r for r in found if r.is_account and plain_dn(r.dn) == wanted), None)

    def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...]:
        def question(session: Session, patience_s: float) -> tuple[DirectoryDevice, ...]:
            try:
                found = session.find(user_dn, DEVICE_CLASS, None, DEVICE_ATTRIBUTES, patience_s)
            except NoSuchObjectError:
                return ()  # what may not be read looks absent
            return tuple(map(device, found))

        return self._ask("users", question)

    def device_lists(self, user_dn: str) -> DeviceLists:
        """By the DN as the search's base: servers differ in how a filter names it."""
        wanted = plain_dn(user_dn)

        def question(session: Session, patience_s: float) -> DeviceLists:
            try:
                found = session.find(user_dn, "user", None, DEVICE_LIST_ATTRIBUTES, patience_s)
            except NoSuchObjectError:
                return DeviceLists()
            itself = (entry for entry in found if plain_dn(entry.dn) == wanted)
            return next(map(device_lists, itself), DeviceLists())

        return self._ask("users", question)

    def _users(
        self,
        object_class: str | None,
        equals: tuple[str, str | bytes] | None,
        domain: Partition | None,
        *,
        most_bytes: int = MAX_ANSWER,
    ) -> list[Recipient]:
        def question(session: Session, patience_s: float) -> list[Recipient]:
            return [
                recipient(entry)
                for base in self._bases(session.root_dse, domain)
                for entry in session.find(
                    base,
                    object_class,
                    equals,
                    self._attributes,
                    patience_s,
                    most_bytes=most_bytes,
                )
            ]

        return self._ask("users", question)

    def _bases(self, root: RootDSE, domain: Partition | None) -> Sequence[str]:
        """Where to look for users: everything in a global catalogue is below the empty DN."""
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
        if (last := self._maps.last()) is not None:
            return last
        fresh = self._fresh_map()
        self._maps.put(fresh)
        return fresh

    def _fresh_map(self) -> DomainMap:
        named, suffixes, trusts = self._ask("configuration", self._read_forest)

        def question(session: Session, patience_s: float) -> DomainMap:
            partitions = named or domains_of_objects(_domains(session.root_dse))
            shown = {
                domain: _shown(
                    session,
                    _narrower(self._settings.search_base, domain),
                    domain,
                    patience_s,
                )
                for domain, _ in self._reach(partitions, session.root_dse)
            }
            names = {name for domain in partitions for name in domain.names}
            return DomainMap(
                partitions=tuple(partitions),
                suffixes=suffixes,
                shown=shown,
                named=bool(named),
                siblings=tuple(
                    sorted(t.name for t in trusts if t.within_forest and t.name not in names)
                ),
                trusts=other_forests(trusts),
                strangers=other_forests(trusts, besides=self._settings.account_domains),
                no_mailboxes_here=self._settings.no_mailboxes_here,
            )

        return self._ask("users", question)

    def _reach(self, partitions: Sequence[Partition], root: RootDSE) -> tuple[_Reach, ...]:
        """The domains in which the current server finds accounts, and how much of each."""
        base = self._settings.search_base
        within = plain_dn(base or "")
        domains = [partition.nc_name for partition in partitions]
        if not (self._links.asks_catalogue or (base is not None and not root.is_active_directory)):
            own = _domains(root)
            domains = [domain for domain in domains if domain in own]
        return tuple(
            (domain, "whole" if lies_in(domain, within) else "part")
            for domain in domains
            if lies_in(domain, within) or lies_in(within, domain)
        )

    def _read_forest(
        self, session: Session, patience_s: float
    ) -> tuple[Sequence[Partition], frozenset[str], Sequence[Trust]]:
        """The domains that crossRef objects name, the UPN suffixes, and the trusts of the server's
        own domain. What may not be read looks absent."""
        base = f"CN=Partitions,{self._configuration(session)}"
        refs = _below(session, base, "crossRef", PARTITION_ATTRIBUTES, patience_s)
        containers = _below(session, base, "crossRefContainer", SUFFIX_ATTRIBUTES, patience_s)
        system = f"CN=System,{session.root_dse.default_naming_context}"
        others = _below(session, system, TRUST_CLASS, TRUST_ATTRIBUTES, patience_s)
        suffixes = (s for entry in containers for s in entry.values("upnsuffixes"))
        return (
            [found for ref in refs if (found := partition(ref))],
            frozenset(map(fold, suffixes)),
            [other for entry in others if (other := trust(entry))],
        )

    def _read_relationships(
        self, session: Session, patience_s: float
    ) -> tuple[OrganizationRelationship, ...]:
        base = f"CN=Microsoft Exchange,CN=Services,{self._configuration(session)}"
        wanted = "msExchFedSharingRelationship"
        entries = _below(session, base, wanted, RELATIONSHIP_ATTRIBUTES, patience_s)
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


def _key(user: Watched, by_dn: str) -> tuple[str, str | bytes]:
    """RFC 5020 2 has `entryDN`; Active Directory has `distinguishedName` (MS-ADTS 3.1.1.1.4)."""
    guid = guid_bytes(user.object_guid) if user.object_guid is not None else None
    return (GUID_ATTRIBUTE, guid) if guid is not None else (by_dn, user.dn)


def _narrower(base: str | None, domain: str) -> str:
    """Where a domain is searched: from its root, or from a base below it."""
    within = plain_dn(base or "")
    return base if base is not None and within != domain and lies_in(within, domain) else domain


def _shown(session: Session, base: str, domain: str, patience_s: float) -> frozenset[str]:
    """Which signs any object of the domain shows. Usually the first one shows all."""

    def some(*attributes: str, below: str = base) -> bool:
        def accepts(entry: Entry) -> bool:
            """A catalogue also finds accounts of the domains below this one."""
            return domain_dn(entry.dn) == domain and all(
                any(entry.values(name.lower())) for name in attributes
            )

        try:
            return session.shows(below, attributes, accepts, patience_s)
        except NoSuchObjectError:
            return False

    if some("homeMDB", "mailNickname", "userPrincipalName"):
        return frozenset(_SIGNS)
    shown = {sign for sign, names in _SIGNS.items() if any(map(some, names))}
    # Where nearly everybody has moved it may take long to find a mailbox. Exchange's own are here.
    own = (f"{container},{domain}" for container in _SYSTEM_MAILBOXES if base == domain)
    if "mailboxes" not in shown and any(some("homeMDB", below=place) for place in own):
        shown.add("mailboxes")
    return frozenset(shown)


def _below(
    session: Session,
    base: str,
    object_class: str,
    attributes: tuple[str, ...],
    patience_s: float,
) -> list[Entry]:
    try:
        return session.find(base, object_class, None, attributes, patience_s)
    except NoSuchObjectError:
        return []  # what may not be read looks absent


def _domains(root: RootDSE) -> tuple[str, ...]:
    """The domains that a server holds: its own first. Child domains are included in it."""
    found: list[str] = []
    for name in filter(None, (root.default_naming_context, *root.naming_contexts)):
        domain = domain_dn(name)
        if domain != plain_dn(name) or domain.startswith(_ZONES):
            continue
        if not any(lies_in(domain, other) for other in found):
            found.append(domain)
    return tuple(found)
