"""Account names and DNs as Active Directory compares them. Pure; standard library only."""

import re
import unicodedata
from functools import lru_cache
from uuid import UUID

from eas_redirect.activesync.authorization import MAX_LOGON

_SID = re.compile(r"S-1-[0-9]{1,15}(?:-[0-9]{1,10}){0,15}", re.ASCII)
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_GUID_BYTES = 16
# An escaped backslash, which begins no hexadecimal pair; or pairs, one after the other.
_HEX_PAIRS = re.compile(r"(\\\\)|(?:\\[0-9A-Fa-f]{2})+")
_SPECIAL = frozenset('\\,+"<>;=# ')
_RDN = re.compile(r"[^=]*=\s*((?:\\.|[^,\\])*)", re.DOTALL)
_AROUND_EQUALS = re.compile(r"\A([^=\s]+)\s*=\s*")
_DN = re.compile(r"(?:CN|OU|UID)\s*=.*,\s*DC\s*=.*", re.IGNORECASE)


def fold(name: str) -> str:
    """The form in which names of accounts, addresses and domains are compared."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).lower()


def is_askable(name: str) -> bool:
    """Whether a name may go into a question: not empty, no control character, not too long. NUL
    above all: some servers cut a filter's value there and would answer about another account."""
    return 0 < len(name) <= MAX_LOGON and (
        name.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    )


def domain_dn(dn: str) -> str:
    """The DN of the domain that an object is in: its trailing `DC=` parts, lower case."""
    cut = dn.find(",DC=")
    if cut < 0:
        cut = dn.find(",dc=")
    if cut > 0 and (known := _domain_below(dn[dn.rfind(",", 0, cut) + 1 :])) is not None:
        return known
    return _trailing_domain(dn)


def domain_begins(lower: str) -> int:
    """The position of the comma before the first `dc=` of a lower-case DN, if everything after
    it can only be its domain; -1 if a closer look is needed: at spaces, or at commas in values."""
    cut = lower.find(",dc=")
    if cut <= 0 or lower[cut - 1] == "\\":
        return -1
    before = lower[lower.rfind(",", 0, cut) + 1 : cut]
    return -1 if before.lstrip().startswith("dc=") else cut


@lru_cache(maxsize=1024)
def _domain_below(ending: str) -> str | None:
    """Of the end of a DN, from the part before its first `DC=` on: few are different, and each
    look-up asks. None where what stands before that may count."""
    return None if ending.lstrip()[:3].lower() == "dc=" else _trailing_domain(ending)


def _trailing_domain(dn: str) -> str:
    parts = fold(dn).split(",")
    first = len(parts)
    while first and parts[first - 1].lstrip().startswith("dc="):
        first -= 1
    while first and first < len(parts) and _ends_escaped(parts[first - 1]):
        first += 1  # the comma before this part belongs to a value (RFC 4514 2.4)
    return ",".join(part.strip() for part in parts[first:])


def plain_dn(dn: str) -> str:
    """A DN as two of them compare: folded, without spaces around its parts, and each special
    character in one of the two spellings that tools give it (RFC 4514 2.4: `\\,` and `\\2C`)."""
    if "\\" in dn:
        dn = _HEX_PAIRS.sub(_without_hex, dn)
    parts = [part.strip() for part in fold(dn).split(",")]
    if " =" in dn or "= " in dn:  # older tools write so (RFC 2253 4)
        for at, part in enumerate(parts):
            if at == 0 or not _ends_escaped(parts[at - 1]):
                parts[at] = _AROUND_EQUALS.sub(r"\1=", part)
    return ",".join(parts)


def _without_hex(pairs: re.Match[str]) -> str:
    """Characters that need no escape bare, the others after a backslash."""
    if backslash := pairs[1]:
        return backslash
    try:
        text = bytes.fromhex(pairs[0].replace("\\", "")).decode("utf-8")
    except UnicodeDecodeError:
        return pairs[0]
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in text)


def rdn_value(dn: str) -> str:
    """The first value of a DN, unescaped: `CN=O365\\, main,CN=Federation,…` → `O365, main`."""
    found = _RDN.match(_HEX_PAIRS.sub(_without_hex, dn))
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) if found else ""


def is_dn(text: str) -> bool:
    """Whether an administrator's name for somebody is a DN rather than a logon."""
    return _DN.fullmatch(text.strip()) is not None


def lies_in(dn: str, base: str) -> bool:
    """Whether one plain DN is the other or below it; everything is below the empty DN."""
    return not base or dn == base or dn.endswith("," + base)


def _ends_escaped(part: str) -> bool:
    return (len(part) - len(part.rstrip("\\"))) % 2 == 1


def dns_name(domain: str) -> str:
    """The DNS name of a domain's DN: `dc=contoso,dc=example` → `contoso.example`."""
    return ".".join(part.removeprefix("dc=") for part in domain.split(","))


def sid_text(sid: bytes) -> str | None:
    """`S-1-5-21-…` from the bytes of a SID (MS-DTYP 2.4.2.2); None for bytes that are none."""
    if len(sid) < 8 or sid[0] != 1 or len(sid) != 8 + 4 * sid[1]:
        return None
    parts = (int.from_bytes(sid[at : at + 4], "little") for at in range(8, len(sid), 4))
    return "-".join(("S-1", str(int.from_bytes(sid[2:8])), *map(str, parts)))


def sid_bytes(text: str) -> bytes | None:
    """The other way round (MS-DTYP 2.4.2.1); None for text that is not a SID."""
    if not _SID.fullmatch(text):
        return None
    authority, *parts = (int(part) for part in text.split("-")[2:])
    if authority >= 1 << 48 or any(part >= 1 << 32 for part in parts):
        return None
    head = bytes((1, len(parts))) + authority.to_bytes(6)
    return head + b"".join(part.to_bytes(4, "little") for part in parts)


def guid_text(guid: bytes) -> str | None:
    """`01234567-89ab-…` from the bytes of a GUID (MS-DTYP 2.3.4.2); None for others."""
    return str(UUID(bytes_le=guid)) if len(guid) == _GUID_BYTES else None


def guid_bytes(text: str) -> bytes | None:
    """The other way round (MS-DTYP 2.3.4.3); None for text that is not a GUID."""
    return UUID(text).bytes_le if _GUID.fullmatch(text) else None


def dn_of_domain(name: str) -> str:
    """The other way round: `contoso.example` → `dc=contoso,dc=example`."""
    return ",".join(f"dc={label}" for label in fold(name).split(".") if label)
