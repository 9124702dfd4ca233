"""Account names and DNs as Active Directory compares them. Pure; standard library only."""

import unicodedata

from eas_redirect.activesync.authorization import MAX_LOGON


def fold(name: str) -> str:
    """The form in which two names of accounts, addresses and domains are compared."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).lower()


def is_askable(name: str) -> bool:
    """Whether a name may become part of a question: not empty, no control character, not too long.

    NUL above all: some servers cut a filter's value there and would answer for another account.
    """
    return 0 < len(name) <= MAX_LOGON and (
        name.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    )


def domain_dn(dn: str) -> str:
    """The DN of the domain that an object stands in: its trailing `DC=` parts, lower case."""
    parts = fold(dn).split(",")
    first = len(parts)
    while first and parts[first - 1].lstrip().startswith("dc="):
        first -= 1
    while first and first < len(parts) and _ends_escaped(parts[first - 1]):
        first += 1  # the comma before this part belongs to a value (RFC 4514 2.4)
    return ",".join(part.strip() for part in parts[first:])


def plain_dn(dn: str) -> str:
    """A DN as two of them compare: folded, without spaces around its parts."""
    return ",".join(part.strip() for part in fold(dn).split(","))


def lies_in(dn: str, base: str) -> bool:
    """Whether one plain DN is the other or below it; everything is below the empty DN."""
    return not base or dn == base or dn.endswith("," + base)


def _ends_escaped(part: str) -> bool:
    return (len(part) - len(part.rstrip("\\"))) % 2 == 1


def dns_name(domain: str) -> str:
    """The DNS name of a domain's DN: `dc=contoso,dc=example` → `contoso.example`."""
    return ".".join(part.removeprefix("dc=") for part in domain.split(",") if part)


def dn_of_domain(name: str) -> str:
    """The other way round: `contoso.example` → `dc=contoso,dc=example`."""
    return ",".join(f"dc={label}" for label in fold(name).split(".") if label)
