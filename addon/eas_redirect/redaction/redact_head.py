"""Headers without what they tell of people. Standard library and protocol only.

A header that is not known here is filled: a new one must not leak.
"""

import re

from eas_redirect.activesync.request import is_eas_path
from eas_redirect.redaction.filling import filled
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_credentials import redacted_credentials
from eas_redirect.redaction.redact_target import redacted_url

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
_CREDENTIALS = frozenset({"authorization", "www-authenticate", "proxy-authorization"})
_DIAGNOSTICS = frozenset({"x-ms-diagnostics", "x-exceptiondiagnostics"})
_URLS = frozenset({"x-ms-location", "location", "content-location", "referer", "origin"})
_DIAGNOSIS = re.compile(r"UserHasNoMailbox")
_MEDIA_TYPE = re.compile(r"\s*[a-z]+/[a-z0-9.+-]+\s*", re.ASCII | re.IGNORECASE)
_COOKIE_ATTRIBUTES = ("expires", "max-age", "samesite", "secure", "httponly")
# RFC 7239 4: words, signs and ports around the addresses; a name may stand for an address.
_NODE = re.compile(r"[^\s,;=\"\[\]]+")
_NODE_WORDS = frozenset({"for", "by", "host", "proto", "http", "https", "unknown"})
_PORT = re.compile(r":?[0-9]{1,5}", re.ASCII)


def redacted_header(name: str, value: str, names: Pseudonyms) -> str:
    """The value under the same name; the length stays where that says anything."""
    key = name.lower()
    if key in _KEPT:
        return names.keep(value)
    if key in _HOSTS:
        return names.host(value)
    if key in _URLS:
        return redacted_url(value, names)
    if key in _ADDRESSES:
        return _NODE.sub(lambda node: _node(node[0], names), value)
    if key in _DIAGNOSTICS:
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
    """The type and its character set; a name of a file has no business here and is common."""
    if _MEDIA_TYPE.fullmatch(part) or part.strip().lower().startswith("charset="):
        return names.keep(part)
    return names.secret(part)


def _cookie(part: str, names: Pseudonyms) -> str:
    name, equals, value = part.partition("=")
    return f"{names.keep(name)}={names.secret(value)}" if equals else names.secret(part)


def _attribute(part: str, names: Pseudonyms) -> str:
    """Attributes of Set-Cookie (RFC 6265 4.1.1); what is not known is a value like another."""
    name, _, value = part.partition("=")
    key = name.strip().lower()
    told_nothing = key == "path" and (value == "/" or is_eas_path(value))
    if key in _COOKIE_ATTRIBUTES or told_nothing:
        return names.keep(part)
    return _cookie(part, names)


def _diagnostics(value: str, names: Pseudonyms) -> str:
    names.secret(value)
    parts = _DIAGNOSIS.split(value)
    return "UserHasNoMailbox".join(filled(part) for part in parts)
