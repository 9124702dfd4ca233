"""Headers, targets and credentials without what they tell of people. They keep their shape.

A header or a parameter that is not known here is filled, its name too: a new one must not leak.
Standard library and protocol only.
"""

import re
from collections.abc import Mapping

from eas_redirect.activesync.request import is_eas_path
from eas_redirect.redaction.filling import filled
from eas_redirect.redaction.forms import (
    COOKIE_NAMES,
    HEADER_NAMES,
    HEADERS,
    Form,
    is_date,
    is_media_type,
    is_number,
    is_technical,
    one_of,
)
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_credentials import redacted_credentials
from eas_redirect.redaction.redact_target import redacted_url

_HOSTS = frozenset(
    {"host", "x-beserver", "x-feserver", "x-diaginfo", "x-forwarded-host", "x-calculatedbetarget"}
)
_ADDRESSES = frozenset({"x-forwarded-for", "x-real-ip", "forwarded"})
_CREDENTIALS = frozenset({"authorization", "www-authenticate", "proxy-authorization"})
_DIAGNOSTICS = frozenset({"x-ms-diagnostics", "x-exceptiondiagnostics"})
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
    """A header that the client or a box on the way invented may be named after somebody."""
    return name if name.lower() in HEADER_NAMES else names.label(name)


def redacted_header(name: str, value: str, names: Pseudonyms) -> str:
    """The value under the same name; the length stays where that says anything."""
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
    return part if is_media_type(part) else names.secret(part)


def _cookie(part: str, names: Pseudonyms) -> str:
    """A balancer's name of a cookie tells its pool and its host."""
    name, equals, value = part.partition("=")
    if not equals:
        return names.secret(part)
    clean = name if name.strip().casefold() in COOKIE_NAMES else names.label(name)
    return f"{clean}={names.secret(value)}"


def _attribute(part: str, names: Pseudonyms) -> str:
    """Attributes of Set-Cookie (RFC 6265 4.1.1); what is not known is a value like another."""
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
