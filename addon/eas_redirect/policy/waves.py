"""Who is meant by a wave: users, a stable percentage, device types, networks. Pure.

Imports the protocol's and the directory's values. Files of users are read elsewhere; their names
are handed in.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import takewhile
from typing import Literal

from eas_redirect.activesync.authorization import Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.values import Recipient

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network
type Kind = Literal["users", "percent", "device_types", "networks"]
type Match = Literal["yes", "no", "unknown"]

# A constant, so that every proxy puts a user into the same place, whatever its configuration.
_PLACE_KEY = b"eas-redirect percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """One of `redirect.only` and `redirect.except`. None: this kind is not asked about.

    `users`: names in any form, as `fold_name` gives them, from the list and the file together.
    `device_types`: globs in lower case.
    """

    users: frozenset[str] | None = None
    percent: float | None = None
    device_types: tuple[str, ...] | None = None
    networks: tuple[Network, ...] | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        kinds: tuple[Kind, ...] = ("users", "percent", "device_types", "networks")
        return tuple(kind for kind in kinds if getattr(self, kind) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """`redirect.only` and `redirect.except` as one value. The default means everyone.

    `only` wants every kind that it names (users and percent: those of the users who are in the
    percentage); `exclude` takes one kind. `exclude` wins.
    """

    only: Criteria = field(default_factory=Criteria)
    exclude: Criteria = field(default_factory=Criteria)

    @property
    def name(self) -> str | None:
        """A short name for the journal, such as `users+percent:10`; None for everyone."""
        names = [_criterion_name(self.only, kind) for kind in self.only.kinds]
        return "+".join(names) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Whether an exchange belongs to a wave, and a sentence that says why."""

    member: bool
    detail: str


def membership(wave: Wave, exchange: Exchange, recipient: Recipient) -> Membership:
    """Is this device of this user meant? Both ways an unknown fact keeps a device out: one that
    may be excepted is not redirected, one that may not be meant neither."""
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


_WORDS: dict[Kind, str] = {
    "users": "names this user",
    "percent": "holds this user's place in the percentage",
    "device_types": "names this device type",
    "networks": "holds the client's address",
}
_UNKNOWN: dict[Kind, str] = {
    "users": "The user is not known",
    "percent": "The user is not known",
    "device_types": "The request names no device type",
    "networks": "The client's address is not known",
}


def fold_name(text: str) -> str:
    """A user's name as it is compared: no spaces around it, no `smtp:`, case folded."""
    name = text.strip().casefold()
    return name.removeprefix("smtp:")


def user_names(lines: Iterable[str]) -> frozenset[str]:
    """The names in a file of users: one a line; blank lines and lines with `#` are skipped."""
    names = (fold_name(line) for line in lines if not line.lstrip().startswith("#"))
    return frozenset(name for name in names if name)


def place(recipient: Recipient, logon: Logon | None = None) -> float:
    """A user's place from 0 to below 100, the same on every proxy and for good.

    A percentage holds the users whose place is below it: raising it only adds users. The place
    hangs on the user principal name, or on the next best name where there is none.
    """
    identity = (
        recipient.user_principal_name
        or recipient.mail
        or recipient.sam_account_name
        or (logon.user if logon else recipient.dn)
    )
    digest = blake2b(fold_name(identity).encode(errors="replace"), key=_PLACE_KEY, digest_size=6)
    return int.from_bytes(digest.digest()) * 100 / 2**48


def _matches(criteria: Criteria, kind: Kind, exchange: Exchange, recipient: Recipient) -> Match:
    match kind:
        case "users":
            return _answer(bool((criteria.users or frozenset()) & _names(exchange, recipient)))
        case "percent":
            return _answer(place(recipient, exchange.logon) < (criteria.percent or 0))
        case "device_types":
            device_type = exchange.request.device_type
            if not device_type:
                return "unknown"
            globs = criteria.device_types or ()
            return _answer(any(fnmatchcase(device_type.lower(), glob) for glob in globs))
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


def _names(exchange: Exchange, recipient: Recipient) -> frozenset[str]:
    """Every form in which an administrator may have written this user."""
    account = recipient.sam_account_name
    names = [recipient.user_principal_name, recipient.mail, account, *recipient.proxy_addresses]
    domains = list(_domains(recipient.dn))
    if exchange.logon is not None:
        names.append(exchange.logon.text)
        if exchange.logon.format == "down_level":
            domains.append(exchange.logon.domain or "")
    if account:
        names += [f"{domain}\\{account}" for domain in domains]
    return frozenset(fold_name(name) for name in names if name)


def _domains(dn: str) -> tuple[str, ...]:
    """The domain of a DN by its DNS name and by that name's first label, which is by custom the
    NetBIOS name; an address logon tells no other."""
    parts = [part.strip() for part in reversed(dn.split(","))]
    trailing = takewhile(lambda part: part[:3].lower() == "dc=", parts)
    labels = [part[3:] for part in trailing][::-1]
    return (".".join(labels), labels[0]) if labels else ()


def _criterion_name(criteria: Criteria, kind: Kind) -> str:
    return f"percent:{criteria.percent:g}" if kind == "percent" else kind
