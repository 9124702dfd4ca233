"""The directory's questions answered from an LDIF file. Standard library only.

What the file has to hold: the users with their mail attributes, the organization relationships, and
better also the domains (`crossRef` objects below `CN=Partitions`) and the UPN suffixes.
"""

import asyncio
import gc
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from stat import S_ISREG

from eas_redirect.activesync.authorization import Logon, parse_logon
from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_CLASS,
    DEVICE_LIST_ATTRIBUTES,
    PARTITION_ATTRIBUTES,
    RECIPIENT_ATTRIBUTES,
    RELATIONSHIP_ATTRIBUTES,
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
    owner_of_device,
    partition,
    recipient,
    relationship,
    trust,
)
from eas_redirect.directory.ldif import Cut, LeftOut, decode, ends_whole, read_entries
from eas_redirect.directory.logons import AccountAttribute, domains_of_objects, resolve
from eas_redirect.directory.names import (
    dn_of_domain,
    domain_dn,
    fold,
    is_dn,
    plain_dn,
    rdn_value,
)
from eas_redirect.directory.sight import DirectorySource, Sight, Witness
from eas_redirect.directory.values import (
    AccountDomain,
    DeviceLists,
    DirectoryAnswer,
    DirectoryDevice,
    Found,
    LeftOutObject,
    Lookup,
    MovedAnswer,
    NotFound,
    OrganizationRelationship,
    Recipient,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)
from eas_redirect.directory.watch import checked, looking_moved

_WANTED = frozenset(
    name.lower()
    for name in (
        *RECIPIENT_ATTRIBUTES,
        *RELATIONSHIP_ATTRIBUTES,
        *PARTITION_ATTRIBUTES,
        *SUFFIX_ATTRIBUTES,
        *DEVICE_ATTRIBUTES,
        *DEVICE_LIST_ATTRIBUTES,
        *TRUST_ATTRIBUTES,
        "msExchMasterAccountSid",
        "groupType",
        "isDeleted",
    )
)
# What ldapsearch writes above its entries: base, scope and filter.
_SEARCH = re.compile(r"# base <(.*)>(?: \(default\))? with scope (\w+)\n(?:# filter: (.*)\n)?")
_FILTERED = re.compile(r"\(\s*([A-Za-z0-9-]+)[^()=]*=")
# A search for these finds all accounts that can log on.
_ALL_ACCOUNTS = frozenset({"objectclass", "objectcategory", "samaccounttype", "useraccountcontrol"})
_DOMAIN_CLASSES = ("domaindns", "domain")
_IDENTITIES = ("samaccountname", "userprincipalname", "proxyaddresses", "targetaddress")
# What else a recipient is judged by: an entry of these alone is a part of one, from an export of
# some attributes that was joined to another.
_FACTS = (
    *("homemdb", "msexchhomeservername", "mailnickname", "msexchrecipienttypedetails"),
    *("msexchremoterecipienttype", "useraccountcontrol", "msexchmasteraccountsid"),
)
# Of these an object has one: several are those of several objects, whose lines were joined.
_SINGLE = ("samaccountname", "userprincipalname", "mailnickname")
# Of these a part says as much as it says. Of any other attribute it says nothing.
_DEVICE_LISTS = tuple(map(str.lower, DEVICE_LIST_ATTRIBUTES))
_MAY_BE_CUT = frozenset(
    {*_DEVICE_LISTS, "proxyaddresses", "msexchfeddomainnames", "upnsuffixes", "dnsroot"}
)
# Bytes. Two million accounts with their mail attributes; what is longer would take the machine's
# memory, many times over while it is read.
MAX_FILE = 1 << 30
_NOT_ACCOUNTS = frozenset({"contact", "group", "computer", "organizationalunit", "container"})


class SnapshotError(Exception):
    """A snapshot that cannot be used at all: which file, which line, and what to do."""


class EmptySnapshotError(SnapshotError):
    """An empty snapshot, perhaps because nothing has been written to it yet."""


class Snapshot:
    """A directory in memory.

    `problems` are the entries that were left out, in words. `partial`: by what the file itself
    says, it does not hold everything; nobody is looked up in such a one. `unended`: it does not end
    as a whole file does. `cut`: lists of which only a part came.
    """

    source: DirectorySource = "snapshot"

    def __init__(
        self,
        entries: Iterable[Entry | LeftOut],
        *,
        default_domain: str | None = None,
        name: str = "",
        no_mailboxes_here: bool = False,
        account_domains: tuple[AccountDomain, ...] = (),
        bases: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`name` is the file's, for words about an entry that was left out. `bases`: base and scope
        of the searches that the entries come from, if known."""
        self.problems: tuple[str, ...] = ()
        self.partial: str | None = None
        self.unended: str | None = None
        self._default_domain = default_domain
        self._account_domains = account_domains
        self._index = _Index(name)
        for entry in entries:
            if isinstance(entry, LeftOut):
                self._index.leave_out(entry)
            else:
                self._index.add(entry)
        self._index.finish(bases, account_domains, no_mailboxes_here=no_mailboxes_here)
        # When, on the monotonic clock, its file became another one than what was read; None while
        # it is the same, so that what stands here is as good as read now.
        self.outdated_since: float | None = None

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        default_domain: str | None = None,
        no_mailboxes_here: bool = False,
        account_domains: tuple[AccountDomain, ...] = (),
    ) -> "Snapshot":
        """Read a file; raises `SnapshotError` if it cannot be read or holds no entry."""
        return cls.read(
            file_bytes(Path(path)),
            path,
            default_domain=default_domain,
            no_mailboxes_here=no_mailboxes_here,
            account_domains=account_domains,
        )

    @classmethod
    def read(
        cls,
        data: bytes,
        path: str | PathLike[str],
        *,
        default_domain: str | None = None,
        no_mailboxes_here: bool = False,
        account_domains: tuple[AccountDomain, ...] = (),
    ) -> "Snapshot":
        """The same from the bytes of the file."""
        text = decode(data)
        problems: list[LeftOut] = []
        cuts: list[Cut] = []
        with _without_collection():
            snapshot = cls(
                _entries(text, problems, cuts),
                default_domain=default_domain,
                name=str(path),
                no_mailboxes_here=no_mailboxes_here,
                account_domains=account_domains,
                bases=_bases(text),
            )
        if snapshot._index.is_empty:
            kind = SnapshotError if problems else EmptySnapshotError
            raise kind(_nothing_in(path, problems))
        snapshot.problems = tuple(
            f"{path}:{problem.line}: entry left out: {problem.reason}" for problem in problems
        )
        if cuts:
            snapshot.partial = (
                f"{path}:{cuts[0].line}: the file is not whole: {cuts[0].reason}: export it again"
            )
        if not ends_whole(text):
            snapshot.unended = (
                f"{path}: the file may be cut off: no blank line ends its last entry: export it "
                "again, or add the line if it is whole"
            )
        return snapshot

    def __len__(self) -> int:
        """How many recipients it holds."""
        return self._index.size

    @property
    def targeted(self) -> int:
        """How many of them have a targetAddress."""
        return self._index.targeted

    @property
    def cut(self) -> tuple[str, ...]:
        """Relationships whose domains are not all known, one sentence each."""
        return tuple(
            f"the relationship {one.name} may have further domains: {one.domains_unknown}"
            for one in self._index.relationships
            if one.domains_unknown is not None
        )

    def holds(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Its relationships, and its domains: naming contexts, and those of relationships."""
        known = self._index.relationships
        named = {name for one in known for name in one.domain_names}
        contexts = {domain.nc_name for domain in self._index.partitions()}
        relationships = {fold(one.dn or one.name) for one in known}
        return tuple(sorted(relationships)), tuple(sorted(named | contexts))

    def _age_s(self) -> float:
        return 0.0 if self.outdated_since is None else time.monotonic() - self.outdated_since

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        began = time.perf_counter()
        steps: list[str] = []
        return DirectoryAnswer(
            lookup=self._resolved(logon, steps),
            source=self.source,
            duration_ms=(time.perf_counter() - began) * 1000,
            steps=tuple(steps),
            age_s=self._age_s(),
        )

    def _resolved(self, logon: Logon, steps: list[str]) -> Lookup:
        if self.partial is not None:
            return _not_whole(self.partial)
        return resolve(logon, self._index, self._default_domain, steps, self._account_domains)

    def meant_by(self, name: str) -> Lookup:
        if not is_dn(name):
            logon = parse_logon(name)
            return NotFound() if logon is None else self._resolved(logon, [])
        wanted = plain_dn(name)
        found = next((r for r in self._index.everyone() if plain_dn(r.dn) == wanted), None)
        return NotFound() if found is None else Found(recipient=found)

    async def relationships(self) -> RelationshipsAnswer:
        return RelationshipsAnswer(
            relationships=of_one_organization(self._index.relationships)[0],
            source=self.source,
            age_s=self._age_s(),
            sight=self._index.sight(),
        )

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        await asyncio.sleep(0)  # whoever asks about thousands, one question after the other
        if self.partial is not None:
            answer: tuple[Watched, ...] | Unavailable = _not_whole(self.partial)
        else:
            by_dn = {replace(user, object_guid=None): user for user in checked(users)}
            # Each once: two domains may have the same name.
            named = {id(one): one for user in by_dn for one in self._index.named_as(user)}
            found = looking_moved(tuple(by_dn), named.values(), self._index.sight())
            answer = tuple(by_dn[user] for user in found)
        return MovedAnswer(moved=answer, source=self.source, age_s=self._age_s())

    async def everyone(self) -> tuple[Recipient, ...]:
        return self._index.everyone()

    async def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...]:
        return tuple(self._index.devices.get(fold(user_dn), ()))

    async def device_lists(self, user_dn: str) -> DeviceLists:
        return self._index.device_lists.get(plain_dn(user_dn), DeviceLists())

    def close(self) -> None:
        """Nothing is held open."""


class _Index:
    """The entries by what is asked for; a `Forest`."""

    def __init__(self, name: str) -> None:
        self.is_empty = True  # without entries of any kind
        self.size = 0  # recipients
        self.targeted = 0  # those with a targetAddress
        self.relationships: list[OrganizationRelationship] = []
        self.devices: dict[str, list[DirectoryDevice]] = {}  # by the folded DN of the user
        self.device_lists: dict[str, DeviceLists] = {}  # by the plain DN of the user
        self._name = name
        self._objects: dict[str, list[_Version]] = {}  # by plain DN, until the end
        self._parts: list[Entry] = []  # without a name to log on with, until the end
        self._accounts: dict[AccountAttribute, dict[str, list[Recipient]]] = {
            "sAMAccountName": {},
            "userPrincipalName": {},
        }
        self._addresses: dict[str, list[Recipient]] = {}
        self._cut: set[str] = set()  # plain DNs of objects that may have further addresses
        self._may_have_any: list[Recipient] = []  # the same objects
        # By folded account name, UPN, address; the objects of one name in their order.
        self._left_out: dict[str, dict[LeftOutObject, None]] = {}
        self.shows_all = False
        self._last_dn = ""
        self._unreadable: dict[str, LeftOutObject] = {}  # by plain DN, until the end
        self._nameless = False  # an account was left out whose name could not be read
        self._partitions: tuple[Partition, ...] = ()
        self._suffixes: frozenset[str] = frozenset()
        self._witness = Witness()
        self._trusts: list[Trust] = []
        self._sight = Sight(source="snapshot")

    def add(self, entry: Entry) -> None:
        self.is_empty, self._last_dn = False, entry.dn
        attributes = entry.attributes
        if "isdeleted" in attributes and attributes["isdeleted"][0].strip().upper() == "TRUE":
            return  # a tombstone (MS-ADTS 3.1.1.5.5)
        if entry.cut.keys() - _MAY_BE_CUT:
            name = min(entry.cut.keys() - _MAY_BE_CUT)
            self.leave_out(LeftOut(0, f"only a part of {name} came", entry, frozenset(entry.cut)))
        elif (several := _several(attributes)) is not None:
            self.leave_out(LeftOut(0, f"it has several values of {several}", entry))
        elif any(name in attributes for name in _IDENTITIES):
            self._take_recipient(entry)
        elif "netbiosname" in attributes:
            domain = partition(entry)
            self._partitions += (domain,) if domain else ()
        elif entry.is_a("msexchfedsharingrelationship") or "msexchfeddomainnames" in attributes:
            self.relationships.append(relationship(entry))
        elif any(name in attributes for name in _FACTS):
            self._parts.append(entry)
        elif "upnsuffixes" in attributes:
            self._suffixes |= frozenset(map(fold, attributes["upnsuffixes"]))
        elif entry.is_a(DEVICE_CLASS.lower()) or "msexchdeviceid" in attributes:
            self._add_device(entry)
        elif entry.is_a(TRUST_CLASS.lower()) or "trustpartner" in attributes:
            other = trust(entry)
            self._trusts += (other,) if other else ()
        elif any(map(entry.is_a, _DOMAIN_CLASSES)):
            self._witness.see_root(entry.dn)

    def leave_out(self, item: LeftOut) -> None:
        """An unusable entry keeps its names: anybody else with one of them may not be the right
        one."""
        entry, seen = item.entry, item.entry.attributes.keys() | item.unread
        why = self._why(item.line, item.reason)
        if entry.dn:
            self._last_dn = entry.dn
        elif seen and "dn" not in seen:  # the rest of the one above, if a blank line is too many
            above = LeftOutObject(dn=self._last_dn, why=why)
            self._unreadable.setdefault(plain_dn(self._last_dn), above)
        classes = {name.lower() for name in entry.values("objectclass")}
        if "msexchfedsharingrelationship" in classes or any(
            n.startswith("msexchfed") for n in seen
        ):
            cut = replace(relationship(entry), domain_names=(), enabled=True, domains_unknown=why)
            self.relationships.append(cut)
        elif "crossref" in classes or seen & {"ncname", "netbiosname"}:
            self._nameless = True  # a domain of which nothing is known
        elif seen & set(_IDENTITIES) or (entry.dn and not classes & _NOT_ACCOUNTS):
            self._leave_out_account(item, LeftOutObject(dn=entry.dn, why=why))

    def _leave_out_account(self, item: LeftOut, left_out: LeftOutObject) -> None:
        found, entry = recipient(item.entry), item.entry
        self._take_names(found, left_out)
        for name in (*entry.values("samaccountname"), *entry.values("userprincipalname")):
            self._take_name(name, left_out)  # a block of several objects may hold several
        if found.sam_account_name is None:
            self._nameless = True
            self._take_name(rdn_value(found.dn), left_out)  # as accounts are named in most places
        if found.dn:
            self._unreadable.setdefault(plain_dn(found.dn), left_out)

    def _leave_out_contradicting(self, versions: list["_Version"], attribute: str) -> None:
        """Nobody can say which version of an object is right."""
        reason = f"it stands there {len(versions)} times, each time with another {attribute}"
        left_out = LeftOutObject(dn=versions[0][0].dn, why=self._why(0, reason))
        for version, _ in versions:
            self._take_names(version, left_out)

    def _take_names(self, found: Recipient, left_out: LeftOutObject) -> None:
        names = {found.sam_account_name, found.user_principal_name}
        names |= {a[5:] for a in found.proxy_addresses if a[:5].lower() == "smtp:"}
        for name in names:
            self._take_name(name, left_out)

    def _take_name(self, name: str | None, left_out: LeftOutObject) -> None:
        if not name:
            return  # nobody logs on without one, and thousands of entries may lack it
        self._left_out.setdefault(fold(name), {})[left_out] = None

    def _why(self, line: int, reason: str) -> str:
        return f"{self._name}:{line}: {reason}" if line else f"{self._name}: {reason}"

    def _take_recipient(self, entry: Entry) -> None:
        dn, attributes = plain_dn(entry.dn), entry.attributes
        version = recipient(entry), "objectclass" in attributes
        self._witness.see(entry.dn, attributes)
        if any(name in attributes for name in _DEVICE_LISTS):
            self.device_lists[dn] = device_lists(entry)
        self._objects.setdefault(dn, []).append(version)
        if "proxyaddresses" in entry.cut:
            self._cut.add(dn)

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
        self.targeted += found.target_address is not None
        if found.is_account:
            _enter(self._accounts["sAMAccountName"], found.sam_account_name, found)
            _enter(self._accounts["userPrincipalName"], found.user_principal_name, found)
        for address in found.proxy_addresses:
            if address[:5].lower() == "smtp:":
                _enter(self._addresses, address[5:], found)

    def finish(
        self,
        bases: Iterable[tuple[str, str]],
        account_domains: tuple[AccountDomain, ...],
        *,
        no_mailboxes_here: bool,
    ) -> None:
        """After the last entry: versions of one object are merged, and a domain without a
        crossRef object has only its DNS name."""
        for part in self._parts:
            if (known := self._objects.get(plain_dn(part.dn))) is not None:
                known.append((recipient(part), "objectclass" in part.attributes))
                self._witness.see(part.dn, part.attributes)
        self._parts.clear()
        domains: set[str] = set()
        for dn, versions in self._objects.items():
            if (left_out := self._unreadable.get(dn)) is not None:
                for version, _ in versions:  # what cannot be read may be where the mailbox is
                    self._take_names(version, left_out)
                continue
            found = _merged(versions)
            if not isinstance(found, Recipient):
                self._leave_out_contradicting(versions, found)
                continue
            self._add_recipient(found)
            domains.add(domain_dn(found.dn))
            if dn in self._cut:
                self._may_have_any.append(found)
        self._objects.clear()
        self._unreadable.clear()
        self.relationships = [_one_relationship(same) for same in _by_dn(self.relationships)]
        named: dict[str, Partition] = {}
        for domain in self._partitions:
            before = named.get(domain.nc_name, domain)
            named[domain.nc_name] = replace(domain, names=domain.names | before.names)
        self._partitions = tuple(named.values())
        unnamed = [domain for domain in self._witness.domains if domain not in named]
        self._sight = self._witness.sight(
            named,
            bases=bases,
            siblings=[dn_of_domain(one.name) for one in self._trusts if one.within_forest],
            trusts=other_forests(self._trusts),
            strangers=other_forests(self._trusts, besides=account_domains),
            strays=of_one_organization(self.relationships)[1],
            unread=self._nameless,
            no_mailboxes_here=no_mailboxes_here,
        )
        self.shows_all = all(map(self._sight.sees_recipients, domains))
        self._partitions += domains_of_objects(unnamed)

    @property
    def leaves_out(self) -> bool:
        return bool(self._left_out)

    def partitions(self) -> Sequence[Partition]:
        return self._partitions

    def upn_suffixes(self) -> frozenset[str]:
        return self._suffixes

    def sight(self) -> Sight:
        return self._sight

    def named_as(self, user: Watched) -> Sequence[Recipient]:
        """Entries that have one of its names."""
        accounts, principals = self._accounts["sAMAccountName"], self._accounts["userPrincipalName"]
        return (
            *accounts.get(fold(user.sam_account_name or ""), ()),
            *principals.get(fold(user.user_principal_name or ""), ()),
        )

    def linked_to(self, sid: str) -> Sequence[Recipient]:
        return [one for one in self.everyone() if one.ms_exch_master_account_sid == sid]

    def left_out(self, name: str) -> Sequence[LeftOutObject]:
        """Objects that could not be read completely and have this account name, UPN or address."""
        return tuple(self._left_out.get(fold(name), ()))

    def accounts(
        self, attribute: AccountAttribute, value: str, _domain: Partition | None
    ) -> Sequence[Recipient]:
        return self._accounts[attribute].get(fold(value), ())

    def address_holders(self, address: str) -> Sequence[Recipient]:
        holders = self._addresses.get(fold(address), [])
        if not holders:
            return ()
        return (*holders, *(one for one in self._may_have_any if one not in holders))


def _several(attributes: Mapping[str, Sequence[str]]) -> str | None:
    """An attribute that has more values than an object can have."""
    for name in _SINGLE:
        values = attributes.get(name, ())
        if len(values) > 1 and len(set(values)) > 1:
            return name
    return None


def _enter(index: dict[str, list[Recipient]], name: str | None, found: Recipient) -> None:
    if name is not None:
        index.setdefault(fold(name), []).append(found)


type _Version = tuple[Recipient, bool]  # an object as it stands once, and whether with its classes


def _merged(versions: list[_Version]) -> Recipient | str:
    """One object, as when exports of different attributes are merged; or the attribute in which
    two of its versions contradict each other."""
    merged, classed = versions[0]
    for other, other_classed in versions[1:]:
        changes: dict[str, object] = {}
        for name in (f.name for f in fields(Recipient)):
            mine, theirs = getattr(merged, name), getattr(other, name)
            match name:
                case "dn":
                    pass
                case "is_account" if classed == other_classed:
                    changes[name] = (mine and theirs) if classed else (mine or theirs)
                case "is_account":  # the one that has its classes knows
                    changes[name] = mine if classed else theirs
                case "proxy_addresses":
                    changes[name] = tuple(dict.fromkeys((*mine, *theirs)))
                case _ if mine is None or mine == theirs:
                    changes[name] = theirs
                case _ if theirs is not None:
                    return name
                case _:
                    pass
        merged = replace(merged, **changes)  # type: ignore[arg-type]  # its own fields
        classed = classed or other_classed
    return merged


def _by_dn(
    relationships: Iterable[OrganizationRelationship],
) -> Iterable[Sequence[OrganizationRelationship]]:
    """Entries with the same DN together; an entry without a readable DN is on its own."""
    found: dict[str, list[OrganizationRelationship]] = {}
    for number, one in enumerate(relationships):
        found.setdefault(plain_dn(one.dn) if one.dn else f"\0{number}", []).append(one)
    return found.values()


def _one_relationship(same: Sequence[OrganizationRelationship]) -> OrganizationRelationship:
    """One object that the file has several times. If its versions differ, nobody can say which
    is right, or for which domains."""
    first = same[0]
    if all(other == first for other in same):
        return first
    why = f"it stands in the snapshot {len(same)} times, not always the same: export it once"
    why = next((one.domains_unknown for one in same if one.domains_unknown), why)
    return replace(first, domain_names=(), enabled=True, domains_unknown=why)


def _bases(text: str) -> list[tuple[str, str]]:
    """Base and scope of each search, which ldapsearch writes above its entries. The scope of one
    that looks for certain accounts is `filtered`."""
    found: list[tuple[str, str]] = []
    at = -1
    while (at := text.find("# base <", at + 1)) >= 0:
        lines = text[at : at + 4096].replace("\n ", "")  # folded, where they are long
        if (at == 0 or text[at - 1] == "\n") and (search := _SEARCH.match(lines)):
            asked = {name.lower() for name in _FILTERED.findall(search[3] or "")}
            found.append((search[1], search[2] if asked <= _ALL_ACCOUNTS else "filtered"))
    return found


def _entries(text: str, problems: list[LeftOut], cuts: list[Cut]) -> Iterator[Entry | LeftOut]:
    """The entries, one by one. Unreadable ones go to `problems`; where the file says that it is
    incomplete goes to `cuts`."""
    for item in read_entries(text, _WANTED):
        if isinstance(item, Cut):
            cuts.append(item)
            continue
        if isinstance(item, LeftOut):
            problems.append(item)
        yield item


def file_bytes(path: Path) -> bytes:
    """The whole file, of at most MAX_FILE bytes; SnapshotError for anything else."""
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            raise SnapshotError(
                f"{path}: is no file: set directory.snapshot to an LDIF file that ldifde or "
                "ldapsearch wrote"
            )
        too_long = found.st_size > MAX_FILE
        data = b"" if too_long else path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"{path}: cannot be read ({error.strerror}): set directory.snapshot to an LDIF file "
            "that ldifde or ldapsearch wrote"
        ) from None
    if too_long:
        raise SnapshotError(
            f"{path}: is longer than {MAX_FILE >> 20} MiB: export the mail attributes alone, as "
            "docs/directory.md shows, or ask servers instead"
        )
    return data


def _not_whole(why: str) -> Unavailable:
    return Unavailable(error_type="snapshot_not_whole", message=why)


def _nothing_in(path: str | PathLike[str], problems: list[LeftOut]) -> str:
    place = f"{path}:{problems[0].line}: {problems[0].reason}" if problems else f"{path}:1: empty"
    return f"{place}: no entry could be read: export users and relationships as LDIF once more"


@contextmanager
def _without_collection() -> Iterator[None]:
    """Hundreds of thousands of new objects, none of them garbage: walking them while they are
    made only costs time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
