"""The lab's Active Directory as an LDIF file, in the shape that `ldifde` exports.

Attributes and containers are those of a real forest; `docs/operate.md` says how to export one.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

ROOT = "DC=contoso,DC=example"
CONFIGURATION = f"CN=Configuration,{ROOT}"
ORGANIZATION = f"CN=Contoso,CN=Microsoft Exchange,CN=Services,{CONFIGURATION}"
DATABASE = (
    "CN=DB01,CN=Databases,CN=Exchange Administrative Group (FYDIBOHF23SPDLT),"
    f"CN=Administrative Groups,{ORGANIZATION}"
)
SERVER = (
    "/o=Contoso/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)"
    "/cn=Configuration/cn=Servers/cn=EX01"
)
USER_MAILBOX, REMOTE_USER_MAILBOX = 1, 2147483648  # msExchRecipientTypeDetails

type LdifPair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryUser:
    """A user object: here with a mailbox, or moved to where `target_address` says."""

    name: str  # sAMAccountName and alias
    display_name: str
    user_principal_name: str
    has_mailbox: bool = False
    target_address: str | None = None

    @property
    def dn(self) -> str:
        return f"CN={self.display_name},CN=Users,{ROOT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryRelationship:
    """An organization relationship as its cmdlet shows it."""

    name: str
    domain_names: tuple[str, ...]
    target_owa_url: str | None = None
    enabled: bool = True


def write_ldif(
    users: Iterable[DirectoryUser], relationships: Iterable[DirectoryRelationship]
) -> str:
    """The whole snapshot: the partition, the users, the relationships."""
    entries = [
        *_partitions(),
        *(_user(user) for user in users),
        _entry(f"CN=Federation,{ORGANIZATION}", ("objectClass", "msExchFedOrgId")),
        *(_relationship(relationship) for relationship in relationships),
    ]
    return "\n".join([*entries, ""])


def _partitions() -> tuple[str, str]:
    """The crossRef is where a NetBIOS name finds its naming context; systemFlags 3: a domain."""
    container = f"CN=Partitions,{CONFIGURATION}"
    return (
        _entry(container, ("objectClass", "crossRefContainer"), ("uPNSuffixes", "contoso.example")),
        _entry(
            f"CN=CONTOSO,{container}",
            ("objectClass", "crossRef"),
            ("nCName", ROOT),
            ("nETBIOSName", "CONTOSO"),
            ("dnsRoot", "contoso.example"),
            ("systemFlags", "3"),
        ),
    )


def _user(user: DirectoryUser) -> str:
    kind = USER_MAILBOX if user.has_mailbox else REMOTE_USER_MAILBOX
    mailbox = (("homeMDB", DATABASE), ("msExchHomeServerName", SERVER)) if user.has_mailbox else ()
    target = (("targetAddress", user.target_address),) if user.target_address else ()
    return _entry(
        user.dn,
        *(("objectClass", name) for name in ("top", "person", "organizationalPerson", "user")),
        ("objectCategory", f"CN=Person,CN=Schema,{CONFIGURATION}"),
        ("displayName", user.display_name),
        ("sAMAccountName", user.name),
        ("userPrincipalName", user.user_principal_name),
        ("userAccountControl", "512"),
        ("mail", user.user_principal_name),
        ("mailNickname", user.name),
        ("proxyAddresses", f"SMTP:{user.user_principal_name}"),
        ("msExchRecipientTypeDetails", str(kind)),
        *mailbox,
        *target,
    )


def _relationship(relationship: DirectoryRelationship) -> str:
    url = relationship.target_owa_url
    return _entry(
        f"CN={relationship.name},CN=Federation,{ORGANIZATION}",
        ("objectClass", "top"),
        ("objectClass", "msExchFedSharingRelationship"),
        ("cn", relationship.name),
        *(("msExchFedDomainNames", name) for name in relationship.domain_names),
        ("msExchFedIsEnabled", "TRUE" if relationship.enabled else "FALSE"),
        *((("msExchFedTargetOwaURL", url),) if url else ()),
    )


def _entry(dn: str, *attributes: LdifPair) -> str:
    lines = [_line("dn", dn), "changetype: add", *(_line(*each) for each in attributes)]
    return "\n".join(lines) + "\n"


def _line(name: str, value: str) -> str:
    """One attribute, in base64 unless it is a SAFE-STRING, folded at 76 columns (RFC 2849)."""
    if re.fullmatch(r"[!-9;=-~][ -~]*", value) and not value.endswith(" "):
        line = f"{name}: {value}"
    else:
        line = f"{name}:: {base64.b64encode(value.encode()).decode()}"
    parts = [line[:76], *(line[i : i + 75] for i in range(76, len(line), 75))]
    return "\n ".join(parts)
