"""Directory entries → values: recipients, relationships, partitions. Standard library only.

An entry is the same thing from a server and from an LDIF file, and is read here alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Literal

from eas_redirect.activesync.host_name import HostNameError, normalize_domain
from eas_redirect.directory.names import domain_dn, fold, rdn_value
from eas_redirect.directory.values import (
    AccountDomain,
    DeviceLists,
    DirectoryDevice,
    OrganizationRelationship,
    Recipient,
    Relationships,
    Unavailable,
)

RECIPIENT_ATTRIBUTES = (
    "objectClass",
    "userPrincipalName",
    "sAMAccountName",
    "mail",
    "displayName",
    "mailNickname",
    "targetAddress",
    "proxyAddresses",
    "homeMDB",
    "msExchHomeServerName",
    "msExchRecipientTypeDetails",
    "msExchRemoteRecipientType",
    "msExchOmaAdminWirelessEnable",
    "userAccountControl",
)
# Of users of account forests, and of those who stand for them here.
SID_ATTRIBUTES = ("objectSid", "msExchMasterAccountSid")
# What tells an object from all others, for as long as it is there (MS-ADTS 3.1.1.1.4).
GUID_ATTRIBUTE = "objectGUID"
# What tells whether a mailbox has moved, of an object that is known.
MOVE_ATTRIBUTES = (
    GUID_ATTRIBUTE,
    "mailNickname",
    "targetAddress",
    "homeMDB",
    "msExchHomeServerName",
    "msExchRecipientTypeDetails",
    "msExchRemoteRecipientType",
)
RELATIONSHIP_ATTRIBUTES = (
    "objectClass",
    "cn",
    "msExchFedDomainNames",
    "msExchFedIsEnabled",
    "msExchFedTargetOwaURL",
    "msExchFedTargetApplicationURI",
    "msExchFedTargetAutodiscoverEPR",
    "msExchFedTargetSharingEPR",
)
DEVICE_ATTRIBUTES = (
    "objectClass",
    "msExchDeviceID",
    "msExchDeviceType",
    "msExchDeviceUserAgent",
    "msExchDeviceModel",
    "msExchDeviceOS",
    "msExchDeviceEASVersion",
    "msExchDeviceAccessState",
    "msExchDeviceAccessStateReason",
)
DEVICE_LIST_ATTRIBUTES = (
    "msExchMobileAllowedDeviceIDs",
    "msExchMobileBlockedDeviceIDs",
    "preferredLanguage",
)
# What msExchDeviceAccessState and its reason hold, by the names of Get-MobileDevice.
_ACCESS: dict[str | None, Literal["unknown", "allowed", "blocked", "quarantined", "discovery"]] = {
    "0": "unknown",
    "1": "allowed",
    "2": "blocked",
    "3": "quarantined",
    "4": "discovery",
}
_INDIVIDUAL = "2"
DEVICE_CLASS = "msExchActiveSyncDevice"
PARTITION_ATTRIBUTES = ("objectClass", "nCName", "nETBIOSName", "dnsRoot", "systemFlags")
SUFFIX_ATTRIBUTES = ("objectClass", "uPNSuffixes")
TRUST_ATTRIBUTES = (
    "objectClass",
    "trustPartner",
    "flatName",
    "trustAttributes",
    "trustDirection",
)
TRUST_CLASS = "trustedDomain"

# MS-ADTS 6.1.1.2.1.1.1: a crossRef of a domain has both FLAG_CR_NTDS_NC and FLAG_CR_NTDS_DOMAIN.
_DOMAIN_FLAGS = 0x1 | 0x2
_WITHIN_FOREST = 0x20  # trustAttributes (MS-ADTS 6.1.6.7.9)
_OUTBOUND = 0x2  # trustDirection (MS-ADTS 6.1.6.7.12): users of the other domain may log on here
# Classes that have addresses and cannot log on, or log on and are no persons.
_NOT_ACCOUNTS = frozenset({"contact", "group", "computer", "publicfolder"})


# MS-ADTS 3.1.1.3.1.3.3: of an attribute of many values a server gives a part at a time.
_RANGE = re.compile(r";range=(\d{1,9})-(\d{1,9}|\*)(?:;|\Z)", re.IGNORECASE)
_NOTHING_CUT: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """An object's DN and its attributes: lower-case names, values as text. `cut`: the attributes
    of which only that many values came."""

    dn: str
    attributes: dict[str, list[str]] = field(default_factory=dict)
    cut: Mapping[str, int] = _NOTHING_CUT

    def first(self, name: str) -> str | None:
        values = self.attributes.get(name)
        return values[0] if values else None

    def sign(self, name: str) -> str | None:
        """The first value; empty when the attribute is there and came without any."""
        return self.first(name) or ("" if name in self.attributes else None)

    def values(self, name: str) -> tuple[str, ...]:
        return tuple(self.attributes.get(name, ()))

    def whole(self, name: str) -> str | None:
        """The one value; several as one text that is neither an address nor a URL, because a
        phone is never sent to the first of several."""
        values = dict.fromkeys(self.attributes.get(name, ()))
        return " ; ".join(values) if values else None

    def is_a(self, object_class: str) -> bool:
        return object_class in map(str.lower, self.attributes.get("objectclass", ()))


def value_range(name: str) -> tuple[int, int | None] | None:
    """The first and the last index (None: the end of all) in an attribute's name such as
    `proxyAddresses;range=0-1499`; None for a name without a range."""
    found = _RANGE.search(name)
    if found is None:
        return None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def unfinished(
    ranges: Iterable[tuple[str, int, int | None]], wanted: Iterable[str]
) -> dict[str, int]:
    """For attributes that came in ranges (name, first, last): those that are incomplete, with
    how many values came."""
    came: dict[str, int | None] = {}
    for name, first, last in sorted(ranges, key=lambda one: one[1]):
        so_far = came.get(name, 0)
        if so_far is not None and first <= so_far:
            came[name] = None if last is None else max(so_far, last + 1)
        else:
            came.setdefault(name, so_far)
    return {name: n for name, n in came.items() if n is not None and name in wanted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A domain of the forest: its naming context and the names that may precede a backslash.

    `names` are folded: the NetBIOS name and the DNS names. Each may also follow the `@` of an
    implicit UPN (MS-ADTS 5.1.1.1.1).
    """

    nc_name: str
    names: frozenset[str]


def recipient(entry: Entry) -> Recipient:
    first = entry.first
    return Recipient(
        dn=entry.dn,
        user_principal_name=first("userprincipalname"),
        sam_account_name=first("samaccountname"),
        mail=first("mail"),
        display_name=first("displayname"),
        mail_nickname=first("mailnickname"),
        target_address=entry.whole("targetaddress"),
        proxy_addresses=entry.values("proxyaddresses"),
        home_mdb=entry.sign("homemdb"),
        ms_exch_home_server_name=entry.sign("msexchhomeservername"),
        ms_exch_recipient_type_details=_all_bits(entry.values("msexchrecipienttypedetails")),
        ms_exch_remote_recipient_type=_bits(first("msexchremoterecipienttype")),
        ms_exch_oma_admin_wireless_enable=_integer(first("msexchomaadminwirelessenable")),
        user_account_control=_integer(first("useraccountcontrol")),
        object_guid=first("objectguid"),
        object_sid=first("objectsid"),
        ms_exch_master_account_sid=first("msexchmasteraccountsid"),
        is_account=_is_account(entry),
    )


def _is_account(entry: Entry) -> bool:
    """A user, inetOrgPerson or the like. An export of selected attributes may lack objectClass:
    then a logon name decides."""
    classes = {name.lower() for name in entry.attributes.get("objectclass", ())}
    if classes:
        return "user" in classes and not classes & _NOT_ACCOUNTS
    name = entry.first("samaccountname")
    named = name is not None or entry.first("userprincipalname") is not None
    return named and not (name or "").endswith("$") and "grouptype" not in entry.attributes


def device(entry: Entry) -> DirectoryDevice:
    first = entry.first
    return DirectoryDevice(
        dn=entry.dn,
        device_id=first("msexchdeviceid"),
        device_type=first("msexchdevicetype"),
        user_agent=first("msexchdeviceuseragent"),
        model=first("msexchdevicemodel"),
        os=first("msexchdeviceos"),
        protocol_version=first("msexchdeviceeasversion"),
        access=_ACCESS.get(first("msexchdeviceaccessstate")),
        approved_alone=first("msexchdeviceaccessstatereason") == _INDIVIDUAL,
    )


def device_lists(entry: Entry) -> DeviceLists:
    allowed, blocked, _ = (entry.values(name.lower()) for name in DEVICE_LIST_ATTRIBUTES)
    return DeviceLists(allowed=allowed, blocked=blocked, language=entry.first("preferredlanguage"))


def owner_of_device(dn: str) -> str | None:
    """The DN of the user, folded: a device is in its own container below the user."""
    owner = fold(dn).partition("cn=exchangeactivesyncdevices,")[2]
    return owner or None


def relationship(entry: Entry) -> OrganizationRelationship:
    domains = map(_domain_name, entry.values("msexchfeddomainnames"))
    came = entry.cut.get("msexchfeddomainnames")
    return OrganizationRelationship(
        name=entry.first("cn") or rdn_value(entry.dn),
        domain_names=tuple(dict.fromkeys(domains)),
        target_owa_url=entry.whole("msexchfedtargetowaurl"),
        enabled=all(v.strip().upper() == "TRUE" for v in entry.values("msexchfedisenabled")),
        domains_unknown=None if came is None else f"only its first {came} domain names came",
        dn=entry.dn,
        target_application_uri=entry.first("msexchfedtargetapplicationuri"),
        target_autodiscover_epr=entry.first("msexchfedtargetautodiscoverepr"),
        target_sharing_epr=entry.first("msexchfedtargetsharingepr"),
    )


def partition(entry: Entry) -> Partition | None:
    """The domain that a crossRef stands for; None for another kind of naming context."""
    nc_name = entry.first("ncname")
    flags = _integer(entry.first("systemflags"))
    # Flags that may not be read look absent; a domain then still has a NetBIOS name.
    is_domain = flags is None or flags & _DOMAIN_FLAGS == _DOMAIN_FLAGS
    netbios = entry.first("netbiosname")
    if nc_name is None or netbios is None or not is_domain:
        return None
    names = {fold(netbios), *map(fold, entry.values("dnsroot"))}
    return Partition(nc_name=domain_dn(nc_name), names=frozenset(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Another domain whose users may log on here, by its DNS name (or its NetBIOS name if it has
    no other). `within_forest`: it belongs to this forest. `names` are all its names."""

    name: str
    within_forest: bool
    names: frozenset[str] = frozenset()


def trust(entry: Entry) -> Trust | None:
    """What a trustedDomain object stands for; None if nobody of that domain logs on here."""
    name = entry.first("trustpartner") or rdn_value(entry.dn)
    direction = _integer(entry.first("trustdirection"))
    if not name or (direction is not None and not direction & _OUTBOUND):
        return None
    attributes = _integer(entry.first("trustattributes"))
    names = frozenset(map(fold, (name, *entry.values("flatname"))))
    within_forest = bool(attributes and attributes & _WITHIN_FOREST)
    return Trust(name=fold(name), within_forest=within_forest, names=names)


def other_forests(
    trusts: Iterable[Trust], *, besides: Iterable[AccountDomain] = ()
) -> tuple[str, ...]:
    """The names of trusted domains outside this forest, except the configured ones."""
    known = {fold(domain.name) for domain in besides}
    found = {one.name for one in trusts if not one.within_forest and not one.names & known}
    return tuple(sorted(found))


def of_one_organization(
    found: Iterable[OrganizationRelationship],
) -> tuple[Relationships, tuple[str, ...]]:
    """The relationships of the forest's Exchange organization, and the DNs of strays.

    A relationship stands in the CN=Federation of an organization. What stands elsewhere is left
    over or was put there by hand. A forest has one organization; of two, nobody knows which counts.
    """
    counting: dict[str, list[OrganizationRelationship]] = {}
    strays: list[str] = []
    unread: list[OrganizationRelationship] = []
    for known in found:
        organization = _organization(known.dn or "")
        if known.domains_unknown is not None and not known.dn:
            unread.append(known)  # one that could not be read may stand anywhere
        elif organization is None:
            strays.append(known.dn or known.name)
        else:
            counting.setdefault(organization, []).append(known)
    if len(counting) > 1:
        message = (
            f"relationships of {len(counting)} Exchange organizations can be read "
            f"({', '.join(sorted(counting))}), and a forest has one: remove those of the other, or "
            "write redirect.relationships"
        )
        return Unavailable(error_type="several_organizations", message=message), tuple(strays)
    counted = (known for each in counting.values() for known in each)
    return (*counted, *unread), tuple(strays)


def _organization(dn: str) -> str | None:
    """The DN of the Exchange organization in whose CN=Federation an object stands directly."""
    parts = [part.strip() for part in re.split(r"(?<!\\),", fold(dn))]
    if parts[1:2] != ["cn=federation"] or parts[3:5] != ["cn=microsoft exchange", "cn=services"]:
        return None
    return ",".join(parts[2:])


def _domain_name(text: str) -> str:
    """As A-labels; what is not a domain is kept so that people see it, and equals no domain of
    an address."""
    try:
        return normalize_domain(text.strip())
    except HostNameError:
        return fold(text)


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _all_bits(texts: Iterable[str]) -> int | None:
    """Every bit of all values; a value that is not a number has each bit set."""
    numbers = [-1 if (number := _integer(text)) is None else number for text in texts]
    return reduce(or_, numbers) if numbers else None


def _bits(text: str | None) -> int | None:
    """A value that is not a number has no bit set."""
    return None if text is None else _integer(text) or 0
