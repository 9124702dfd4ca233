"""Headers, targets and credentials without what they reveal about people. They keep their shape.

An unknown header or parameter is filled, including its name: a new one must not leak.
Standard library and protocol only.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable, Mapping
from urllib.parse import quote

from eas_redirect.activesync.authorization import (
    NTLM_FIXED,
    NTLM_SIGNATURE,
    Logon,
    read_authorization,
    response_token,
)
from eas_redirect.activesync.request import (
    BAD_PERCENT,
    encoding_of,
    is_eas_path,
    legacy_text,
    unquoted,
)
from eas_redirect.activesync.response import DIAGNOSTICS
from eas_redirect.autodiscover.phone_request import PATH
from eas_redirect.redaction.forms import (
    COMMANDS,
    COOKIE_NAMES,
    HEADER_NAMES,
    HEADERS,
    Form,
    filled,
    is_date,
    is_id,
    is_media_type,
    is_number,
    is_technical,
    one_of,
)
from eas_redirect.redaction.pseudonyms import Pseudonyms

# Authorization and its challenges without secrets and names: they keep their shape.

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
_NTLM_NAMES = (28, 36, 44)  # MS-NLMP 2.2.1.3: domain, user, workstation; length and offset


def redacted_credentials(value: str, names: Pseudonyms) -> str:
    """The value of a header that holds a scheme and its parameters."""
    scheme, space, rest = value.partition(" ")
    if scheme.lower() not in _SCHEMES:
        return names.secret(value)  # a token may stand alone
    return scheme + space + (_redacted(scheme.lower(), rest, names) if rest else "")


def _redacted(scheme: str, rest: str, names: Pseudonyms) -> str:
    match scheme:
        case "basic" if "=" not in rest.rstrip("=") and " " not in rest:
            return _basic(rest, names)
        case "ntlm" | "negotiate":
            return _ntlm(rest, names)
        case "bearer":
            return _bearer(rest, names)
        case _:
            return names.secret(rest)


def _basic(rest: str, names: Pseudonyms) -> str:
    names.secret(rest)
    try:
        text = legacy_text(base64.b64decode(rest + "=="))
    except ValueError:
        return filled(rest)
    user, colon, password = text.partition(":")
    names.secret(password)
    if read_authorization(f"Basic {rest}").logon is None:
        names.name(user)
        return filled(rest)  # a password that is no text makes it nobody's, and so it stays
    clean = names.name(user) + colon + "x" * len(password.encode("utf-8"))
    return base64.b64encode(clean.encode("utf-8")).decode()


def _ntlm(rest: str, names: Pseudonyms) -> str:
    """Messages 1 and 2 keep their first bytes; message 3 keeps its shape with other names. For
    that it is taken out of its SPNEGO, which also holds a signature of the whole exchange."""
    try:
        token = base64.b64decode(rest + "==")
    except binascii.Error:
        return names.secret(rest)
    if read_authorization(f"Negotiate {rest}").logon is None:
        shown = 12 if token.startswith(NTLM_SIGNATURE) else 1  # the kind of message, or of token
        if any(token[shown:]):
            names.secret(rest)
        return base64.b64encode(token[:shown] + bytes(len(token[shown:]))).decode()
    names.secret(rest)
    message = response_token(token) or token
    return base64.b64encode(_authenticate(message, names)).decode()


def _authenticate(message: bytes, names: Pseudonyms) -> bytes:
    """MS-NLMP 2.2.1.3: the fixed part, stand-ins for the names, and no responses."""
    unicode = bool(struct.unpack_from("<I", message, 60)[0] & 1)
    codec = "utf-16-le" if unicode else "latin-1"
    clean = bytearray(message[:NTLM_FIXED]) + bytes(len(message) - NTLM_FIXED)
    for field in _NTLM_NAMES:
        length, start = _ntlm_field(message, field)
        text = names.name(message[start : start + length].decode(codec, "replace"))
        clean[start : start + length] = text.encode(codec, "replace")[:length].ljust(length, b"\0")
    return bytes(clean)


def _ntlm_field(message: bytes, field: int) -> tuple[int, int]:
    """Length and offset; an empty field if it lies outside the message."""
    (length,) = struct.unpack_from("<H", message, field)
    (start,) = struct.unpack_from("<I", message, field + 4)
    inside = NTLM_FIXED <= start <= len(message) - length
    return (length, start) if inside else (0, NTLM_FIXED)


def _bearer(rest: str, names: Pseudonyms) -> str:
    """A token whose only claim is the stand-in for the name that it was issued to."""
    names.secret(rest)
    logon: Logon | None = read_authorization(f"Bearer {rest}").logon
    if logon is None:
        return filled(rest)
    claims = json.dumps({"upn": names.name(logon.text)}).encode()
    header, payload, signature = rest.split(".")
    clean = base64.urlsafe_b64encode(claims.ljust(len(payload) * 3 // 4)).decode().rstrip("=")
    return f"{filled(header)}.{clean}.{filled(signature)}"


# Request targets and URLs without what they tell of people.
#
# A parameter that is not known here is filled, its name too: a new one must not leak.

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
    """A request target: the path stays, names in the query get stand-ins, everything else is
    filled."""
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
    """Scheme and host, and the path if it is ActiveSync's or Autodiscover's; the rest is filled."""
    found = _URL.fullmatch(value)
    assert found is not None  # noqa: S101 - every group may be empty, and the last takes all
    scheme, authority, path, rest = (part or "" for part in found.groups())
    if scheme.lower() not in ("", "http:", "https:"):
        return names.secret(value)
    host = _authority(authority, names)
    if path not in ("", "/") and not is_eas_path(path) and path.lower() != PATH:
        path = names.secret(path)
    return scheme + host + path + names.secret(rest)


def _authority(authority: str, names: Pseudonyms) -> str:
    user, at, host = authority.removeprefix("//").rpartition("@")
    return authority[:2] + names.secret(user) + at + names.host(host)


def _parameter(pair: str, names: Pseudonyms) -> str:
    name, equals, value = pair.partition("=")
    key, plain = _plain(name).lower(), _plain(value)
    if key not in _PARAMETERS:
        return f"{_again(name, names.secret)}{equals}{_again(value, names.secret)}"
    if key == "cmd" and plain.lower() in COMMANDS:
        return pair
    if (key in _FLAGS and plain in ("", "T", "F")) or (key in _IDS and is_id(plain)):
        return pair
    if key == "devicetype":
        return pair if names.device(plain) == plain else f"{name}={_again(value, names.device)}"
    if key in _NAMED_PARAMETERS | _IDS:
        return f"{name}{equals}{_again(value, names.name)}"
    return f"{name}{equals}{_again(value, names.secret)}"


def _plain(text: str) -> str:
    """Decoded as the request is read: percent-encoding and `+`."""
    return legacy_text(unquoted(text.replace("+", " ")))


def _again(text: str, redact: Callable[[str], str]) -> str:
    """What was encoded stays encoded, and what was encoded wrongly stays wrong."""
    if BAD_PERCENT.search(text):
        redact(_plain(text))  # so that it is searched for
        return filled(text)
    return quote(redact(_plain(text)), safe="@", errors="surrogateescape")


def _base64_query(query: str, names: Pseudonyms) -> str:
    """MS-ASHTTP 2.2.1.1.1.1 with other names; anything else is filled."""
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


_HOSTS = frozenset(
    {"host", "x-beserver", "x-feserver", "x-diaginfo", "x-forwarded-host", "x-calculatedbetarget"}
)
_ADDRESSES = frozenset({"x-forwarded-for", "x-real-ip", "forwarded"})
_CREDENTIALS = frozenset({"authorization", "www-authenticate", "proxy-authorization"})
_URLS = frozenset({"x-ms-location", "location", "content-location", "referer", "origin"})
_DIAGNOSIS = re.compile(r"UserHasNoMailbox")
_COOKIE_ATTRIBUTES: Mapping[str, Form] = {
    "expires": is_date,
    "max-age": is_number,
    "samesite": is_technical,
    "secure": one_of(frozenset({""})),
    "httponly": one_of(frozenset({""})),
}
# RFC 7239 4: words, signs and ports around the addresses; a name may stand for an address.
_NODE = re.compile(r"[^\s,;=\"\[\]]+")
_NODE_WORDS = frozenset({"for", "by", "host", "proto", "http", "https", "unknown"})
_PORT = re.compile(r":?[0-9]{1,5}", re.ASCII)


def redacted_header_name(name: str, names: Pseudonyms) -> str:
    """A header that a client or a middlebox invented may be named after somebody."""
    return name if name.lower() in HEADER_NAMES else names.label(name)


def redacted_header(name: str, value: str, names: Pseudonyms) -> str:
    """The value under the same name; its length stays if that says anything."""
    key = name.lower()
    if key in HEADERS:
        return value if HEADERS[key](value) else names.secret(value)
    if key == "user-agent":
        return names.device(value)
    if key in _HOSTS:
        return names.host(value)
    if key in _URLS:
        return redacted_url(value, names)
    if key in _ADDRESSES:
        return _NODE.sub(lambda node: _node(node[0], names), value)
    if key in DIAGNOSTICS:
        return _diagnostics(value, names)
    if key in _CREDENTIALS:
        return redacted_credentials(value, names)
    return _other_header(key, value, names)


def _other_header(key: str, value: str, names: Pseudonyms) -> str:
    match key:
        case "content-type":
            return ";".join(_media_type(part, names) for part in value.split(";"))
        case "cookie":
            return ";".join(_cookie(part, names) for part in value.split(";"))
        case "set-cookie":
            first, *attributes = value.split(";")
            return ";".join([_cookie(first, names), *(_attribute(a, names) for a in attributes)])
        case "x-ms-policykey":
            return value if value in ("", "0") else "1" * len(names.secret(value))
        case _:
            return names.secret(value)


def _node(node: str, names: Pseudonyms) -> str:
    """An address, with or without its port; anything else is a name."""
    if node.lower() in _NODE_WORDS or _PORT.fullmatch(node):
        return node
    host, colon, port = node.rpartition(":")
    for address, after in ((node, ""), (host, colon + port)):
        try:
            return names.address(address) + after
        except ValueError:
            continue
    return names.name(node)


def _media_type(part: str, names: Pseudonyms) -> str:
    """The type and its character set; file names are common here but must go."""
    return part if is_media_type(part) else names.secret(part)


def _cookie(part: str, names: Pseudonyms) -> str:
    """The name of a load balancer's cookie reveals its pool and its host."""
    name, equals, value = part.partition("=")
    if not equals:
        return names.secret(part)
    clean = name if name.strip().casefold() in COOKIE_NAMES else names.label(name)
    return f"{clean}={names.secret(value)}"


def _attribute(part: str, names: Pseudonyms) -> str:
    """Attributes of Set-Cookie (RFC 6265 4.1.1); an unknown one is treated as a value."""
    name, _, value = part.partition("=")
    key = name.strip().lower()
    told_nothing = key == "path" and (value == "/" or is_eas_path(value))
    if told_nothing or (key in _COOKIE_ATTRIBUTES and _COOKIE_ATTRIBUTES[key](value)):
        return part
    if key in ("path", "domain", *_COOKIE_ATTRIBUTES):
        return part[: len(name)] + (f"={names.secret(value)}" if value else "")
    return _cookie(part, names)


def _diagnostics(value: str, names: Pseudonyms) -> str:
    names.secret(value)
    parts = _DIAGNOSIS.split(value)
    return "UserHasNoMailbox".join(filled(part) for part in parts)
