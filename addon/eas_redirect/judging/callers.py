"""Who calls, from where, and by which names: the connection, its logon, and trusted proxies. Pure.

Headers of a proxy in front count only when it is trusted (`exchange.trusted_proxies`). Its names
only add to those that a phone is never sent to.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from eas_redirect.activesync.authorization import ConnectionLogon, Credentials, Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.host_port import read_host_port
from eas_redirect.policy.waves import Network

type IPAddress = IPv4Address | IPv6Address

NAME_HEADERS = ("x-forwarded-host", "x-original-host")  # and `host=` in Forwarded (RFC 7239 5.3)
MAX_AUTHORITY = 512  # characters; a host has 253 at most (RFC 1035 2.3.4)
MAX_NAMES = 16  # names of one request; more of them are not looked at
MAX_CALLED = 16  # names by which devices called

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_FORWARDED_HOST = re.compile(r"(?:^|[;,\s])host\s*=\s*(?:\"([^\"]*)\"|([^;,\s]*))", re.IGNORECASE)


def bare_host(authority: str | None) -> str | None:
    """The host of `host:port`: lower case, no port, no trailing dot; None if it is not a host,
    or longer than MAX_AUTHORITY."""
    return _bare_host(authority) if authority and len(authority) <= MAX_AUTHORITY else None


@lru_cache(maxsize=1024)
def _bare_host(authority: str) -> str | None:
    host = authority.lower()
    if not host.endswith("]"):
        host = re.sub(r":[0-9]*\Z", "", host)
    host = host.removesuffix(".")
    return host if _HOST.fullmatch(host) else None


def agreed_host(named: Iterable[str]) -> str | None:
    """The one name by which a client called, by its Host headers and the request's authority."""
    hosts = {bare_host(name) for name in named}
    return hosts.pop() if len(hosts) == 1 else None


def forwarded_names(
    peer: str | None,
    name_headers: Iterable[str],
    forwarded: Iterable[str],
    trusted: Iterable[Network],
) -> tuple[str, ...]:
    """The names that trusted proxies say the client called. `name_headers`: values of
    NAME_HEADERS; `forwarded`: those of Forwarded."""
    networks = tuple(trusted)
    if not networks or not _is_trusted(_address(peer or ""), networks):
        return ()
    told = [part for value in name_headers for part in value.split(",")]
    told += [one or other for value in forwarded for one, other in _FORWARDED_HOST.findall(value)]
    names = (bare_host(part.strip()) for part in told[:MAX_NAMES])
    return tuple(dict.fromkeys(name for name in names if name))


def forwarded_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Iterable[Network]
) -> str | None:
    """The client's address from `X-Forwarded-For`, or None when nobody trusted says one.

    Read from the right: each hop was written by the one after it, so a hop counts only while
    everything to its right is trusted. The first that is not a trusted proxy is the client; what
    stands left of it could have been made up by the client.
    """
    networks = tuple(trusted)
    if peer is None or not networks or not _is_trusted(_address(peer), networks):
        return None
    client: IPAddress | None = None
    for hop in reversed([part for value in forwarded_for for part in value.split(",")]):
        address = _address(hop)
        if address is None:
            return None
        client = address
        if not _is_trusted(address, networks):
            break
    return None if client is None else str(client)


def device_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Iterable[Network]
) -> str | None:
    """The device's own address: the peer's, or behind a trusted proxy the forwarded one. None
    when that proxy does not say it: its own address is nobody's. Also None where somebody says one
    who is not trusted: it is a proxy that `exchange.trusted_proxies` forgets, or a device that
    harms itself alone."""
    networks = tuple(trusted)
    if peer is None or not networks or not _is_trusted(_address(peer), networks):
        return None if any(value.strip() for value in forwarded_for) else peer
    return forwarded_address(peer, forwarded_for, networks)


def _address(text: str) -> IPAddress | None:
    """An address with or without a port and brackets; IPv4 mapped into IPv6 becomes IPv4."""
    bare = text.strip()
    try:
        if "[" in bare or bare.count(":") == 1:
            bare = read_host_port(bare, 0).host
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: IPAddress | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)


class DeviceNames:
    """The latest names by which devices called for ActiveSync. Autodiscover is called by another
    name (MS-OXDISCO 3.1.5), and never sends anybody to these."""

    def __init__(self) -> None:
        self._called: dict[str, None] = {}

    def __call__(self) -> tuple[str, ...]:
        return tuple(self._called)

    def learn(self, exchange: Exchange, names: Iterable[str]) -> None:
        """`names`: those by which the device called. They count if Exchange has let it in."""
        if exchange.answer.status_code == 401 or not exchange.identity.proven:
            return
        for name in names:
            self._called.pop(name, None)
            self._called[name] = None
        while len(self._called) > MAX_CALLED:
            del self._called[next(iter(self._called))]


# Who a connection has logged on as, where the logon belongs to the connection.
#
# NTLM names its user once, in its last message (MS-NTHT 1.3): the requests that follow on the same
# connection carry no Authorization at all. What is remembered holds for one connection of a client
# together with one connection to Exchange, and for requests without an Authorization of their own.

_BOUND = ("ntlm", "negotiate")  # schemes whose logon Exchange keeps with the connection
_SOMEBODY = ConnectionLogon(None)


class ConnectionLogons:
    """At most one logon for each client connection, keyed by any names of connections.

    After a logon is dropped, it is still known that somebody is logged on: only Exchange, by asking
    for a logon again, says that nobody is.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Logon | None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, client: str, server: str, credentials: Credentials) -> ConnectionLogon | None:
        """For a request without a logon: what is known about this pair of connections."""
        known = self._known.get(client)
        if credentials.scheme != "none" or known is None:
            return None
        return ConnectionLogon(known[1]) if known[0] == server else _SOMEBODY

    def answered(self, client: str, server: str, credentials: Credentials, status: int) -> None:
        """Learn from a complete answer: anything but 401 means that Exchange accepted the logon.

        Another kind of logon, or a refusal, ends what was known: better no name than a wrong one.
        """
        if status == 401:
            self._known.pop(client, None)
        elif credentials.scheme in _BOUND:
            self._known[client] = (server, credentials.logon)
        elif credentials.scheme != "none" and client in self._known:
            self.somebody(client)

    def somebody(self, client: str) -> None:
        """Somebody has logged on by this connection without our seeing who."""
        self._known[client] = ("", None)

    def forget(self, client: str) -> None:
        """The connection has ended."""
        self._known.pop(client, None)
