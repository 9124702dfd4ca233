"""From a relationship's TargetOwaURL to X-MS-Location. Pure; standard library only.

The location sticks in a phone, so what is not plainly an http(s) URL with a DNS name is refused.
The URL is taken apart here by RFC 3986 3.2 and not by `urllib`, which drops line ends and tabs.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from eas_redirect.activesync.host_name import (
    HostNameError,
    normalize_domain,
    normalize_host,
    same_host,
)
from eas_redirect.activesync.host_port import HostPortError, read_host_port
from eas_redirect.policy.exchange_online import host_map

EAS_PATH = "/Microsoft-Server-ActiveSync"  # MS-ASHTTP 2.2.1.1.1
MAX_URL = 2048  # characters: no TargetOwaURL is longer, and no client keeps more

# `redirect.hosts` adds to these and overrides them.
DEFAULT_HOST_MAP: Mapping[str, str] = host_map()

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)", re.IGNORECASE)
# Controls, format characters (bidi, zero width), surrogates, unassigned, every kind of space.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a TargetOwaURL leads: `host` after the host map, `named_host` as the URL has it."""

    location: str
    host: str
    named_host: str

    @property
    def mapped(self) -> bool:
        return self.host != self.named_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not a URL that a phone may be sent to; `detail` is a sentence that does not repeat it."""

    detail: str


def endpoint(
    target_owa_url: str, host_map: Mapping[str, str] = DEFAULT_HOST_MAP
) -> Endpoint | Refused:
    """The EAS endpoint of a TargetOwaURL. Total. The host map's keys are lower-case A-labels."""
    try:
        named = _named_host(target_owa_url)
        host = normalize_domain(host_map.get(named, named))
    except HostNameError as error:
        return Refused(detail=f"The TargetOwaURL cannot be used: {error}.")
    return Endpoint(location=f"https://{host}{EAS_PATH}", host=host, named_host=named)


def is_allowed(host: str, allowed_hosts: Iterable[str] | None) -> bool:
    """Whether a host matches one of the globs (`*` stands for dots too); None allows every host."""
    return allowed_hosts is None or any(fnmatchcase(host, glob) for glob in allowed_hosts)


def is_own_name(host: str, own_names: Iterable[str]) -> bool:
    """Whether a phone sent to `host` would come back here: some clients loop for ever."""
    return any(same_host(host, own) for own in own_names)


def is_full_name(host: str) -> bool:
    """Whether this can be the name that a phone called: no address, no single label."""
    last = host.rpartition(".")[2]
    return "." in host and not host.startswith("[") and not last.isdecimal()


@lru_cache(maxsize=1024)
def _named_host(url: str) -> str:
    """The URL's host in A-labels, not yet mapped, or HostNameError."""
    if len(url) > MAX_URL:
        raise HostNameError(f"it is longer than {MAX_URL} characters")
    if "\\" in url or any(unicodedata.category(character) in _UNSEEN for character in url):
        raise HostNameError("it holds a space, a control character or a backslash")
    parts = _URL.match(url)
    if parts is None or parts["scheme"].lower() not in {"http", "https"}:
        raise HostNameError("it is no http or https URL")
    return normalize_host(_without_port(parts["authority"]))


def _without_port(authority: str) -> str:
    if "@" in authority:
        raise HostNameError("it holds user information")
    if "[" in authority or authority.count(":") > 1:
        raise HostNameError("the host is an IP address")
    try:
        host, port = read_host_port(authority, 443)
    except HostPortError:
        raise HostNameError("the port is invalid") from None
    if port == 0:
        raise HostNameError("the port is invalid")
    return host
