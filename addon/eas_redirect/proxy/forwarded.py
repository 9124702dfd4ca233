"""Whose address is it: the peer's, or the one that a trusted proxy forwarded? Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network


def device_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Iterable[Network]
) -> str | None:
    """The device's own address, or None where it is not known: a trusted proxy stands between, and
    says none that can be read. The proxy's own address is never taken for the device's."""
    networks = tuple(trusted)
    if peer is None or not _is_trusted(_address(peer), networks):
        return peer
    return forwarded_address(peer, forwarded_for, networks)


def forwarded_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Iterable[Network]
) -> str | None:
    """The client's address from `X-Forwarded-For`, or None when nobody trusted says one.

    Read from the right: each hop was written by the one after it, so a hop counts only while
    everything to its right is trusted. The first that is not a trusted proxy is the client; what
    stands left of it could have been made up by the client.
    """
    networks = tuple(trusted)
    if peer is None or not _is_trusted(_address(peer), networks):
        return None
    client: Address | None = None
    for hop in reversed([part for value in forwarded_for for part in value.split(",")]):
        address = _address(hop)
        if address is None:
            return None  # whoever stands left of it is not known
        client = address
        if not _is_trusted(address, networks):
            break
    return None if client is None else str(client)


def _address(text: str) -> Address | None:
    """An address with or without a port and brackets; IPv4 mapped into IPv6 becomes IPv4."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
