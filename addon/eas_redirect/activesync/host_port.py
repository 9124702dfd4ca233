"""`host:port` and the URL of a server: one reader for keys, headers and addresses. Pure.

By RFC 3986 3.2 an IPv6 address stands in brackets and a port is ASCII digits. `host_name.py`
decides whether a host is a usable name. No error repeats the text, which may hold a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# A zone may follow an IPv6 address (RFC 6874, as `ss` and browsers write it).
_HOST_PORT = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[^][:/?#@\\\s]*))(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


class HostPort(NamedTuple):
    """Also an address for sockets. `host` has no brackets, and may be empty, as in `:443`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerURL:
    """`scheme` in lower case; the port is the scheme's where none is written."""

    scheme: str
    address: HostPort


class HostPortError(ValueError):
    """What is read is not a `host:port`."""


class UnbracketedError(HostPortError):
    """An IPv6 address without its brackets."""


def read_host_port(text: str, port: int | None = None) -> HostPort:
    """`port`: of a text that names none; without it, a text has to. Raises HostPortError."""
    parts = _HOST_PORT.fullmatch(text)
    if parts is None or not text.isprintable():
        if text.count(":") > 1 and "[" not in text:
            raise UnbracketedError("write an IPv6 address in brackets, as in [::1]:443")
        raise HostPortError("is not host:port")
    named = port if parts["port"] is None else int(parts["port"])
    if named is None:
        raise HostPortError("names no port")
    if named > 65535:
        raise HostPortError("names a port above 65535")
    return HostPort(parts["address"] or parts["name"], named)


def read_server_url(text: str, ports: Mapping[str, int]) -> ServerURL:
    """`scheme://host` or `scheme://host:port`, with a slash behind it or none, and nothing more.
    `ports`: that of each scheme there may be. Raises HostPortError."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ports:
        raise HostPortError("does not begin with " + " or ".join(f"{s}://" for s in ports))
    address = read_host_port(rest.removesuffix("/"), ports[scheme])
    if not address.host:
        raise HostPortError("names no host")
    if address.port == 0:
        raise HostPortError("names the port 0")
    return ServerURL(scheme=scheme, address=address)
