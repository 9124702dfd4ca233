"""Who is meant by a wave: users, a stable percentage, device types, networks. Pure.

Imports the protocol's and the directory's values. Files of users are read elsewhere, and
`judging/wave_names.py` asks the directory whom their names mean: a user is compared by the object,
never by a text, since one text can name two people and one person has many names.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal

from eas_redirect.activesync.authorization import Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.names import domain_dn, fold, plain_dn
from eas_redirect.directory.values import Recipient

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network
type WaveKind = Literal["users", "percent", "device_types", "networks"]
type Match = Literal["yes", "no", "unknown"]

# A constant, so that every proxy puts a user into the same place, whatever its configuration.
_PLACE_KEY = b"eas-redirect percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNames:
    """The users of a table by the names that somebody wrote, and what the directory says to them.

    `known`: name → plain DN of the one account. `accounts`: plain DN → the same account as its
    domain knows it (`account_of`), by which it is recognized when its DN has changed. `nobody`,
    `several`: names to which none or more than one account answers. `unasked`: the directory was
    out of reach. `former`: plain DNs and accounts that doubtful names stood for earlier.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    nobody: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    former: frozenset[str] = frozenset()
    objects: frozenset[str] = field(init=False, repr=False)
    _doubtful: frozenset[str] = field(init=False, repr=False)
    _moved: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        texts = (text for name in self.doubtful for text in _texts_of_name(name))
        object.__setattr__(self, "objects", frozenset(self.known.values()))
        object.__setattr__(self, "_doubtful", frozenset(texts))
        # Until the names are asked again an account may have moved to another container.
        whole = {text for name in self.known if (text := _plain(name)) and ("@" in text)}
        moved = whole | set(map(_elsewhere, self.objects)) | set(self.accounts.values())
        object.__setattr__(self, "_moved", moved)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The names that do not mean exactly one account."""
        return (*self.nobody, *self.several, *self.unasked)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.known, *self.doubtful)

    def mean(self, recipient: Recipient) -> bool:
        return plain_dn(recipient.dn) in self.objects

    def may_mean(self, exchange: Exchange, recipient: Recipient) -> bool:
        """Whether a doubtful name can be this user's: by its text, or by its account name alone,
        whatever its domain. Also whether this may be a known account under a new DN: by its name
        in the same domain, or by the UPN or address that was written."""
        texts = _texts_of_user(recipient, exchange.logon)
        own = {plain_dn(recipient.dn), account_of(recipient) or ""}
        elsewhere = own | {_elsewhere(plain_dn(recipient.dn))}
        if not self._moved.isdisjoint(texts | elsewhere):
            return True
        if not self._doubtful:
            return False
        return not (self.former.isdisjoint(own) and self._doubtful.isdisjoint(texts))


def user_names(names: Iterable[str], earlier: UserNames | None = None) -> UserNames:
    """Names that have not been looked up; those also in `earlier` keep their meaning."""
    wanted = dict.fromkeys(names)
    if earlier is None:
        return UserNames(unasked=tuple(wanted))
    known = {name: dn for name, dn in earlier.known.items() if name in wanted}
    return UserNames(
        known=known,
        accounts={dn: earlier.accounts[dn] for dn in known.values() if dn in earlier.accounts},
        unasked=tuple(name for name in wanted if name not in known),
    )


def account_of(recipient: Recipient) -> str | None:
    """An account by its name in its domain, which stays the same when the object is renamed or
    moved: no other account there has it (MS-ADTS 3.1.1.5.2.2)."""
    name = recipient.sam_account_name
    return f"{fold(name)}\\{domain_dn(recipient.dn)}" if name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """One of `redirect.only` and `redirect.except`. None: this kind does not matter.
    `device_types`: globs in lower case."""

    users: UserNames | None = None
    percent: float | None = None
    device_types: tuple[str, ...] | None = None
    networks: tuple[Network, ...] | None = None
    kinds: tuple[WaveKind, ...] = field(init=False, repr=False)
    """Those that are asked about."""

    def __post_init__(self) -> None:
        kinds: tuple[WaveKind, ...] = ("users", "percent", "device_types", "networks")
        asked = tuple(kind for kind in kinds if getattr(self, kind) is not None)
        object.__setattr__(self, "kinds", asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """`redirect.only` and `redirect.except` as one value. The default means everyone.

    `only` requires every kind that it names (users and percent: those of the users who are in the
    percentage); for `exclude` one kind is enough. `exclude` wins.
    """

    only: Criteria = field(default_factory=Criteria)
    exclude: Criteria = field(default_factory=Criteria)
    name: str | None = field(init=False, repr=False)
    """A short name for the journal, such as `users+percent:10`; None for everyone."""

    def __post_init__(self) -> None:
        names = [_criterion_name(self.only, kind) for kind in self.only.kinds]
        object.__setattr__(self, "name", "+".join(names) or None)

    def after(self, earlier: "Wave") -> "Wave":
        """The same, except that a name also in `earlier` keeps its meaning."""
        return Wave(
            only=_after(self.only, earlier.only), exclude=_after(self.exclude, earlier.exclude)
        )

    def holds_back_more(self, earlier: "Wave") -> bool:
        """Whether somebody whom `earlier` lets go may be left out here: by the text alone,
        whatever the directory says about it."""
        narrower = any(not _reaches(self.only, earlier.only, kind) for kind in self.only.kinds)
        return narrower or any(
            not _reaches(earlier.exclude, self.exclude, kind) for kind in self.exclude.kinds
        )

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many names of `only` and `except` mean one account, nobody, several, or could not
        be looked up."""
        tables = {"only": self.only.users, "except": self.exclude.users}
        return {
            (table, standing): len(getattr(users, standing))
            for table, users in tables.items()
            if users is not None
            for standing in ("known", "nobody", "several", "unasked")
        }

    @property
    def meant(self) -> str:
        """Who is redirected, in words: `everyone`, `3 of 40 users, except 1 user`."""
        words = " and ".join(_in_words(self.only)) or "everyone"
        without = " and ".join(_in_words(self.exclude))
        return f"{words}, except {without}" if without else words


def _reaches(wide: Criteria, narrow: Criteria, kind: WaveKind) -> bool:
    """Whether both restrict a kind, and `wide` includes everything in `narrow`."""
    more, less = getattr(wide, kind), getattr(narrow, kind)
    if more is None or less is None:
        return False
    match kind:
        case "percent":
            return bool(more >= less)
        case "users":
            return set(more.all) >= set(less.all)
        case "device_types" | "networks":
            return set(more) >= set(less)


def _after(table: Criteria, earlier: Criteria) -> Criteria:
    if table.users is None or earlier.users is None:
        return table
    return replace(table, users=user_names(table.users.all, earlier.users))


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Whether an exchange belongs to a wave, and a sentence that says why."""

    member: bool
    detail: str


def membership(wave: Wave, exchange: Exchange, recipient: Recipient) -> Membership:
    """Is this user's device in the wave? An unknown fact always keeps a device out: a device
    that may be excepted is not redirected, and neither is one that may not be included."""
    for kind in wave.exclude.kinds:
        match _matches(wave.exclude, kind, exchange, recipient):
            case "yes":
                return Membership(member=False, detail=f"redirect.except {_WORDS[kind]}.")
            case "unknown":
                return Membership(
                    member=False,
                    detail=f"{_UNKNOWN[kind]}, so that redirect.except cannot be ruled out.",
                )
            case "no":
                pass
    for kind in wave.only.kinds:
        if _matches(wave.only, kind, exchange, recipient) != "yes":
            return Membership(member=False, detail=f"No {kind} of redirect.only match.")
    return Membership(member=True, detail=f"In the wave {wave.name or 'everyone'}.")


_WORDS: dict[WaveKind, str] = {
    "users": "names this user",
    "percent": "holds this user's place in the percentage",
    "device_types": "names this device type",
    "networks": "holds the client's address",
}
_UNKNOWN: dict[WaveKind, str] = {
    "users": "A name that does not tell one account may be this user's",
    "percent": "The user is not known",
    "device_types": "The request names no device type",
    "networks": "The client's address is not known",
}


def place(recipient: Recipient, logon: Logon | None = None) -> float:
    """A user's place from 0 to below 100, the same on every proxy and for good. A percentage
    includes the users whose place is below it, so raising it only adds users.

    The place depends on the user principal name, or on the next best name if there is none.
    """
    identity = (
        recipient.user_principal_name
        or recipient.mail
        or recipient.sam_account_name
        or (logon.user if logon else recipient.dn)
    )
    digest = blake2b(_place_name(identity).encode(errors="replace"), key=_PLACE_KEY, digest_size=6)
    return int.from_bytes(digest.digest()) * 100 / 2**48


def _place_name(text: str) -> str:
    """Never change this: every place given out so far depends on it."""
    return text.strip().casefold().removeprefix("smtp:")


def _matches(criteria: Criteria, kind: WaveKind, exchange: Exchange, recipient: Recipient) -> Match:
    match kind:
        case "users":
            users = criteria.users or UserNames()
            if users.mean(recipient):
                return "yes"
            return "unknown" if users.may_mean(exchange, recipient) else "no"
        case "percent":
            return _answer(place(recipient, exchange.logon) < (criteria.percent or 0))
        case "device_types":
            device_type = exchange.request.device_type
            if not device_type:
                return "unknown"
            globs = criteria.device_types or ()
            plain = device_type.strip().lower()
            return _answer(any(fnmatchcase(plain, glob) for glob in globs))
        case "networks":
            return _in_networks(exchange.client_address, criteria.networks or ())


def _answer(value: bool) -> Match:
    return "yes" if value else "no"


def _in_networks(address: str | None, networks: Iterable[Network]) -> Match:
    try:
        client = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if client.version == 6 and client.ipv4_mapped:
        client = client.ipv4_mapped
    return _answer(any(client in network for network in networks))


def _texts_of_name(name: str) -> Iterator[str]:
    """The folded texts by which a doubtful name is recognized: itself and its account name."""
    text = _plain(name)
    yield text
    if "=" in text and "," in text:
        yield text.partition(",")[0]  # the object may have moved to another container
    elif "\\" in text:
        account = text.rpartition("\\")[2]
        yield from (account, account.rpartition("@")[0] or account)
    elif "@" in text:
        yield text.rpartition("@")[0]


def _texts_of_user(recipient: Recipient, logon: Logon | None) -> frozenset[str]:
    """Every text by which an administrator may have meant this user."""
    dn = plain_dn(recipient.dn)
    names = [recipient.user_principal_name, recipient.mail, *recipient.proxy_addresses]
    if logon is not None:
        names += [logon.text, logon.user]
    texts = {_plain(name) for name in names if name}
    texts |= {text.rpartition("@")[0] for text in texts if "@" in text}
    others = (recipient.sam_account_name, recipient.mail_nickname)
    return frozenset({dn, dn.partition(",")[0], *texts, *(fold(name) for name in others if name)})


def _elsewhere(dn: str) -> str:
    """A plain DN without the containers between the object and its domain."""
    return f"{dn.partition(',')[0]},{domain_dn(dn)}"


def _plain(name: str) -> str:
    text = fold(name.strip()).removeprefix("smtp:")
    return plain_dn(text) if "=" in text and "," in text else text


def _in_words(criteria: Criteria) -> Iterator[str]:
    """Each kind of a table, without anybody's name."""
    percent = "" if criteria.percent is None else f"{criteria.percent:g} % of "
    if (users := criteria.users) is not None:
        count = len(users.all)
        of = f"{len(users.known)} of {count}" if users.doubtful else str(count)
        late = " (the directory could not be asked yet)" if users.unasked else ""
        yield f"{percent}{of} {'user' if count == 1 else 'users'}{late}"
    elif percent:
        yield f"{percent}the users"
    if (types := criteria.device_types) is not None:
        yield "1 device type" if len(types) == 1 else f"{len(types)} device types"
    if (networks := criteria.networks) is not None:
        yield "1 network" if len(networks) == 1 else f"{len(networks)} networks"


def _criterion_name(criteria: Criteria, kind: WaveKind) -> str:
    return f"percent:{criteria.percent:g}" if kind == "percent" else kind
