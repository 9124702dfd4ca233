"""Request targets and headers without what they tell of people. Standard library and protocol only.

A header that is not known here is filled: a new one must not leak.
"""

import base64
import binascii
import json
import re
import struct
from urllib.parse import quote, unquote

from eas_redirect.activesync.authorization import Logon, read_authorization
from eas_redirect.activesync.query import encoding_of, unquoted
from eas_redirect.debugging.pseudonyms import Pseudonyms, filled

_KEPT = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "allow",
        "cache-control",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "date",
        "expires",
        "keep-alive",
        "ms-asacceptmultipart",
        "ms-asprotocolcommands",
        "ms-asprotocolversion",
        "ms-asprotocolversions",
        "ms-server-activesync",
        "pragma",
        "public",
        "retry-after",
        "server",
        "transfer-encoding",
        "user-agent",
        "vary",
        "via",
        "x-aspnet-version",
        "x-ms-asprotocolversions",
        "x-ms-asthrottle",
        "x-ms-rp",
        "x-powered-by",
    }
)
_HOSTS = frozenset(
    {"host", "x-beserver", "x-feserver", "x-diaginfo", "x-forwarded-host", "x-calculatedbetarget"}
)
_ADDRESSES = frozenset({"x-forwarded-for", "x-real-ip", "forwarded"})
_COOKIES = frozenset({"cookie", "set-cookie"})
_DIAGNOSTICS = frozenset({"x-ms-diagnostics", "x-exceptiondiagnostics"})
_URLS = frozenset({"x-ms-location", "location", "referer", "origin"})
_DIAGNOSIS = re.compile(r"UserHasNoMailbox")
_COOKIE_ATTRIBUTES = ("path", "expires", "max-age", "samesite", "secure", "httponly")
_HOST_OF_URL = re.compile(r"(?<=://)[^/?#]+")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.]+")
_KEPT_PARAMETERS = frozenset({"cmd", "devicetype", "saveinsent"})
_NAMED_PARAMETERS = frozenset({"user", "deviceid"})
_NTLM_NAMES = (28, 36, 44)  # MS-NLMP 2.2.1.3: domain, user, workstation; length and offset


def redacted_header(name: str, value: str, names: Pseudonyms) -> str:
    """The value under the same name; the length stays where that says anything."""
    key = name.lower()
    if key in _KEPT:
        return names.keep(value)
    if key in _HOSTS:
        return names.host(value)
    if key in _URLS:
        return _url(value, names)
    if key in _ADDRESSES:
        return _addresses(value, names)
    if key in _COOKIES:
        return ";".join(_cookie(part, names) for part in value.split(";"))
    if key in _DIAGNOSTICS:
        return _diagnostics(value, names)
    if key in ("authorization", "www-authenticate", "proxy-authorization"):
        return _authentication(value, names)
    if key == "x-ms-policykey":
        return value if value in ("", "0") else "1" * len(names.secret(value))
    return names.secret(value)


def redacted_target(target: str, names: Pseudonyms) -> str:
    """A request target: the path stays, names in the query get stand-ins, all else is filled."""
    path, mark, query = target.partition("?")
    names.keep(path)
    match encoding_of(query):
        case "none":
            return path + mark
        case "plain":
            pairs = [_parameter(pair, names) for pair in query.split("&")]
            return path + mark + "&".join(pairs)
        case "base64":
            return path + mark + _base64_query(query, names)


def _parameter(pair: str, names: Pseudonyms) -> str:
    name, equals, value = pair.partition("=")
    key = name.lower()
    names.keep(name)
    if key in _KEPT_PARAMETERS or not value:
        return names.keep(pair)
    if key in _NAMED_PARAMETERS:
        clean = names.name(unquote(value))  # bytes that are no UTF-8 are surrogates (PEP 383)
        return f"{name}{equals}{quote(clean, safe='@', errors='surrogateescape')}"
    return f"{name}{equals}{filled(value)}"


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
            clean = _user(value, names) if tag == 8 else _same_if_options(tag, value)
            fixed += bytes([tag, len(clean)]) + clean
    except (binascii.Error, IndexError, ValueError):
        return filled(query)
    return (
        quote(base64.b64encode(bytes(fixed)).decode(), safe="/=")
        if "%" in query
        else (base64.b64encode(bytes(fixed)).decode())
    )


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
    names.keep(value.decode("latin-1"))
    return value


def _user(value: bytes, names: Pseudonyms) -> bytes:
    return names.name(value.decode("utf-8", "replace")).encode("utf-8")[:255]


def _same_if_options(tag: int, value: bytes) -> bytes:
    return value if tag == 7 else b"0" * len(value)


def _url(value: str, names: Pseudonyms) -> str:
    """Scheme, host and path; a query is filled."""
    address, mark, query = value.partition("?")
    clean = _HOST_OF_URL.sub(lambda host: names.host(host[0]), address)
    return clean + mark + filled(query)


def _addresses(value: str, names: Pseudonyms) -> str:
    def one(found: re.Match[str]) -> str:
        try:
            return names.address(found[0])
        except ValueError:
            return filled(found[0])

    return _ADDRESS.sub(one, value)


def _cookie(part: str, names: Pseudonyms) -> str:
    """Attributes of Set-Cookie (RFC 6265 4.1.1) tell nothing of anybody."""
    name, equals, value = part.partition("=")
    if name.strip().lower() in _COOKIE_ATTRIBUTES:
        return names.keep(part)
    if not equals:
        return names.secret(part)
    return f"{names.keep(name)}={names.secret(value)}"


def _diagnostics(value: str, names: Pseudonyms) -> str:
    names.secret(value)
    parts = _DIAGNOSIS.split(value)
    return "UserHasNoMailbox".join(filled(part) for part in parts)


def _authentication(value: str, names: Pseudonyms) -> str:
    scheme, space, rest = value.partition(" ")
    names.keep(scheme)
    if not rest:
        return value
    match scheme.lower():
        case "basic" if "=" not in rest.rstrip("=") and " " not in rest:
            return f"{scheme}{space}{_basic(rest, names)}"
        case "ntlm" | "negotiate":
            return f"{scheme}{space}{_ntlm(rest, names)}"
        case "bearer":
            return f"{scheme}{space}{_bearer(value, rest, names)}"
        case _:
            return f"{scheme}{space}{names.secret(rest)}"


def _basic(rest: str, names: Pseudonyms) -> str:
    names.secret(rest)
    try:
        user, colon, password = base64.b64decode(rest + "==").decode("utf-8").partition(":")
    except ValueError:
        return filled(rest)
    names.secret(password)
    clean = names.name(user) + colon + "x" * len(password.encode("utf-8"))
    return base64.b64encode(clean.encode("utf-8")).decode()


def _ntlm(rest: str, names: Pseudonyms) -> str:
    """Messages 1 and 2 keep their first bytes; message 3 keeps its shape with other names."""
    try:
        message = bytearray(base64.b64decode(rest + "=="))
    except binascii.Error:
        return names.secret(rest)
    logon = read_authorization(f"NTLM {rest}").logon
    if logon is None or len(message) < 64:
        message[12:] = bytes(len(message[12:]))
        return base64.b64encode(bytes(message)).decode()
    names.secret(rest)
    unicode = bool(struct.unpack_from("<I", message, 60)[0] & 1)
    codec = "utf-16-le" if unicode else "latin-1"
    clean = bytearray(message[:64]) + bytes(len(message) - 64)
    for field in _NTLM_NAMES:
        length, start = _ntlm_field(message, field)
        text = names.name(message[start : start + length].decode(codec, "replace"))
        clean[start : start + length] = text.encode(codec, "replace")[:length].ljust(length, b"\0")
    return base64.b64encode(bytes(clean)).decode()


def _ntlm_field(message: bytearray, field: int) -> tuple[int, int]:
    """Length and place; an empty one for what lies outside the message."""
    length, start = (
        struct.unpack_from("<H", message, field)[0],
        struct.unpack_from("<I", message, field + 4)[0],
    )
    return (length, start) if 64 <= start <= len(message) - length else (0, 64)


def _bearer(value: str, rest: str, names: Pseudonyms) -> str:
    """A token whose only claim is the stand-in of the name that it was for."""
    names.secret(rest)
    logon: Logon | None = read_authorization(value).logon
    if logon is None:
        return filled(rest)
    claims = json.dumps({"upn": names.name(logon.text)}).encode()
    header, payload, signature = rest.split(".")
    clean = base64.urlsafe_b64encode(claims.ljust(len(payload) * 3 // 4)).decode().rstrip("=")
    return f"{filled(header)}.{clean}.{filled(signature)}"
