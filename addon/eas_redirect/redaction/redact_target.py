"""Request targets and URLs without what they tell of people. Standard library and protocol only.

A parameter that is not known here is filled, its name too: a new one must not leak.
"""

import base64
import binascii
import re
from urllib.parse import quote, unquote

from eas_redirect.activesync.query import encoding_of, legacy_text, unquoted
from eas_redirect.activesync.request import is_eas_path
from eas_redirect.redaction.forms import COMMANDS, is_id
from eas_redirect.redaction.pseudonyms import Pseudonyms

# MS-ASHTTP 2.2.1.1.1.2.5, and those of early versions.
_PARAMETERS = frozenset(
    {
        "cmd",
        "user",
        "deviceid",
        "devicetype",
        "attachmentname",
        "collectionid",
        "collectionname",
        "itemid",
        "longid",
        "parentid",
        "occurrence",
        "saveinsent",
        "acceptmultipart",
    }
)
_FLAGS = frozenset({"saveinsent", "acceptmultipart"})
_NAMED_PARAMETERS = frozenset({"user", "deviceid"})
_IDS = frozenset({"collectionid", "itemid", "parentid"})
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?(//[^/?#]*)?([^?#]*)(.*)", re.DOTALL)
_USER, _OPTIONS = 8, 7  # MS-ASHTTP 2.2.1.1.1.1.3: tags of a base64 query


def redacted_target(target: str, names: Pseudonyms) -> str:
    """A request target: the path stays, names in the query get stand-ins, all else is filled."""
    path, mark, query = target.partition("?")
    clean = redacted_url(path, names)
    match encoding_of(query):
        case "none":
            return clean + mark
        case "plain":
            return clean + mark + "&".join(_parameter(pair, names) for pair in query.split("&"))
        case "base64":
            return clean + mark + _base64_query(query, names)


def redacted_url(value: str, names: Pseudonyms) -> str:
    """Scheme, host and a path that is that of ActiveSync; the rest is filled."""
    found = _URL.fullmatch(value)
    assert found is not None  # noqa: S101 - every group may be empty, and the last takes all
    scheme, authority, path, rest = (part or "" for part in found.groups())
    if scheme.lower() not in ("", "http:", "https:"):
        return names.secret(value)
    host = _authority(authority, names)
    if path not in ("", "/") and not is_eas_path(path):
        path = names.secret(path)
    return scheme + host + path + names.secret(rest)


def _authority(authority: str, names: Pseudonyms) -> str:
    user, at, host = authority.removeprefix("//").rpartition("@")
    return authority[:2] + names.secret(user) + at + names.host(host)


def _parameter(pair: str, names: Pseudonyms) -> str:
    name, equals, value = pair.partition("=")
    key = name.lower()
    if key not in _PARAMETERS:
        return names.secret(pair)
    if key == "cmd" and value.lower() in COMMANDS:
        return pair
    if key in _FLAGS and value in ("", "T", "F"):
        return pair
    if key == "devicetype":
        clean = names.device(unquote(value))
        return pair if clean == value else f"{name}{equals}{_quoted(clean)}"
    if key in _IDS and is_id(unquote(value)):
        return pair
    if key in _NAMED_PARAMETERS | _IDS:
        clean = names.name(legacy_text(unquoted(value)))
        return f"{name}{equals}{_quoted(clean)}"
    return f"{name}{equals}{names.secret(value)}"


def _quoted(text: str) -> str:
    return quote(text, safe="@", errors="surrogateescape")


def _base64_query(query: str, names: Pseudonyms) -> str:
    """MS-ASHTTP 2.2.1.1.1.1 with other names; a query that is no such thing is filled."""
    try:
        data = base64.b64decode(unquoted(query) + b"==")
        fixed, at = bytearray(data[:4]), 4
        for redact in (_device_id, _policy_key, _device_type):
            value, at = _counted(data, at)
            fixed += bytes([len(value)]) + redact(value, names)
        while at < len(data):
            tag, (value, at) = data[at], _counted(data, at + 1)
            clean = _tagged(tag, value, names)
            fixed += bytes([tag, len(clean)]) + clean
    except (binascii.Error, IndexError, ValueError):
        return names.secret(query)
    encoded = base64.b64encode(bytes(fixed)).decode()
    return quote(encoded, safe="/=") if "%" in query else encoded


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    length = data[at]
    value = data[at + 1 : at + 1 + length]
    if len(value) != length:
        raise IndexError("cut short")
    return value, at + 1 + length


def _device_id(value: bytes, names: Pseudonyms) -> bytes:
    text = value.decode("latin-1")
    if text.isascii() and text.isprintable():
        return names.name(text).encode("ascii")
    return names.binary(value)


def _policy_key(value: bytes, names: Pseudonyms) -> bytes:
    if any(value):
        names.secret(str(int.from_bytes(value, "little")))
    return b"\1" * len(value) if any(value) else value


def _device_type(value: bytes, names: Pseudonyms) -> bytes:
    clean = names.device(value.decode("latin-1")).encode("latin-1", "replace")
    return clean[: len(value)]


def _tagged(tag: int, value: bytes, names: Pseudonyms) -> bytes:
    if tag == _OPTIONS and len(value) == 1:
        return value
    text = legacy_text(value)
    if tag == _USER:
        return names.name(text).encode("utf-8")[:255]
    names.secret(text)
    return b"0" * len(value)
