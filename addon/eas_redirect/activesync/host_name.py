"""Host and domain names in the one form in which they are compared: lower case, ASCII, A-labels.

Pure; standard library only. Anything that is not clearly one DNS name raises `HostNameError` with a
sentence for people. It is stricter than a resolver: it refuses a name that can be read in two ways
(RFC 1123 2.1, RFC 5890 2.3, UTS 39 5.2).
"""

import re
import stringprep
import unicodedata
from encodings.idna import nameprep
from functools import lru_cache

MAX_HOST = 253  # characters with dots (RFC 1035 2.3.4, less the root's length byte and dot)
MAX_LABEL = 63  # characters (RFC 1035 2.3.4)

_LDH_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)  # a last label that makes an IPv4 address
_LETTER_CATEGORIES = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})  # RFC 5892 2.1
# IDNA 2003 maps or drops these, IDNA 2008 keeps them: two readers, two names (RFC 5894 7.2).
_DEVIATIONS = frozenset("ßς\u200c\u200d")
# Scripts that one label may hold together (UTS 39 5.2, "highly restrictive" without Latin).
_WRITTEN_TOGETHER = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)
# Cyrillic and Greek letters that pass for Latin ones: a label of nothing else deceives the reader.
_LATIN_LOOK_ALIKES = frozenset("асԁеһіјӏорԛѕԝхуѵοανρυικ")


class HostNameError(ValueError):
    """Not a host name; the message is a sentence without the name itself."""


@lru_cache(maxsize=4096)
def normalize_host(text: str) -> str:
    """The A-label form of a DNS host name of one label or more, or HostNameError."""
    if not text:
        raise HostNameError("the host is empty")
    if text.endswith("."):
        raise HostNameError("the host ends with a dot")
    if len(text) > MAX_HOST:
        raise HostNameError(f"the host is longer than {MAX_HOST} characters")
    labels = [_normalize_label(label) for label in text.split(".")]
    if _NUMBER.fullmatch(labels[-1]):
        raise HostNameError("the host is an IP address or ends in a number")
    host = ".".join(labels)
    if len(host) > MAX_HOST:
        raise HostNameError(f"the host is longer than {MAX_HOST} characters")
    return host


def normalize_domain(text: str) -> str:
    """`normalize_host` for a name that must stand in public DNS: two labels at least."""
    host = normalize_host(text)
    if "." not in host:
        raise HostNameError("the host has a single label and is no full DNS name")
    if host.endswith(".localhost"):
        raise HostNameError("the host is localhost")  # RFC 6761 6.3
    return host


def same_host(one: str, other: str) -> bool:
    """Whether two names are the same host; names that cannot be read compare without case."""
    return comparable(one) == comparable(other)


def comparable(text: str) -> str:
    """What is equal of two names of the same host."""
    # Anybody may send any number of long ones: none of them is kept.
    return _compared(text) if len(text) <= MAX_HOST + 1 else text.lower()


@lru_cache(maxsize=4096)
def _compared(text: str) -> str:
    try:
        return normalize_host(text.removesuffix("."))
    except HostNameError:
        return text.lower()


def _normalize_label(label: str) -> str:
    if not label:
        raise HostNameError("the host has an empty label")
    ascii_label = label.lower() if label.isascii() else _to_a_label(label)
    if len(ascii_label) > MAX_LABEL:
        raise HostNameError(f"a label of the host is longer than {MAX_LABEL} characters")
    if not _LDH_LABEL.fullmatch(ascii_label):
        raise HostNameError("the host holds a character other than letters, digits and hyphens")
    if ascii_label[2:4] == "--" and label.isascii():
        _check_a_label(ascii_label)
    return ascii_label


def _to_a_label(label: str) -> str:
    """The A-label of a U-label on which IDNA 2003 and 2008 agree (RFC 5891 4.2, RFC 3490 4.1)."""
    folded = "".join(_fold(character) for character in label)
    if _DEVIATIONS & set(folded):
        raise HostNameError("the host holds a character on which IDNA 2003 and 2008 differ")
    _check_u_label(folded)
    try:
        prepared = nameprep(folded)
    except UnicodeError as error:
        raise HostNameError("the host is no internationalized name") from error
    if prepared != folded:
        raise HostNameError("the host holds characters that stand for others")
    return "xn--" + folded.encode("punycode").decode("ascii")


def _fold(character: str) -> str:
    """Lower case, one character for one: U+212A (Kelvin) must not become an ASCII `k`."""
    lower = character.lower()
    if len(lower) != 1 or lower.isascii() != character.isascii():
        raise HostNameError("the host holds characters that stand for others")
    return lower


def _check_a_label(label: str) -> None:
    """`xn--` labels must be what their own U-label encodes to (RFC 5890 2.3.2.1)."""
    if not label.startswith("xn--"):
        raise HostNameError("a label of the host has hyphens where only an A-label has them")
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
        again = decoded.encode("punycode").decode("ascii")
    except UnicodeError as error:
        raise HostNameError("a label of the host is no valid A-label") from error
    if decoded.isascii() or again != label[4:] or unicodedata.normalize("NFC", decoded) != decoded:
        raise HostNameError("a label of the host is no valid A-label")
    _check_u_label(decoded)


def _check_u_label(label: str) -> None:
    if label.startswith("-") or label.endswith("-") or label[2:4] == "--":
        raise HostNameError("a label of the host has a hyphen where none may stand")
    if unicodedata.category(label[0]).startswith("M"):
        raise HostNameError("a label of the host begins with a combining mark")
    for character in label:
        if character == "-":
            continue
        if unicodedata.category(character) not in _LETTER_CATEGORIES:
            raise HostNameError("the host holds a character that is no letter and no digit")
        if stringprep.in_table_a1(character):
            raise HostNameError("the host holds a character that not every client knows")
    _check_scripts(label)


def _check_scripts(label: str) -> None:
    scripts = {script for character in label if (script := _script(character))}
    if len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER):
        raise HostNameError("a label of the host mixes scripts")
    letters = {c for c in label if c.isalpha()}
    if letters and letters <= _LATIN_LOOK_ALIKES:
        raise HostNameError("a label of the host is made of letters that look like Latin ones")


def _script(character: str) -> str | None:
    """The script by the first word of the character's name; None for what all scripts share."""
    if character == "-" or (character.isascii() and character.isdigit()):
        return None
    if unicodedata.category(character) == "Mn":
        return None
    return unicodedata.name(character, "UNNAMED").split()[0]


# Names of inner networks: RFC 6762 3 (local), and its appendix G for the others.
INNER_DOMAINS = frozenset({"corp", "home", "internal", "intranet", "lan", "local", "private"})


def is_inner_name(host: str) -> bool:
    """Whether no public DNS and no public certificate can know it: a short name, a name of an
    inner network, or an IPv4 address."""
    _, _, last = host.rpartition(".")
    return bool(host) and ("." not in host or last in INNER_DOMAINS or last.isdecimal())
