"""Where the lab's parts stand: all on loopback, or each in a network namespace of its own."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

from eas_redirect.lab import door
from eas_redirect.lab.door import open_door
from eas_redirect.lab.namespaces import Namespace

type Address = tuple[str, int]
type Inside = Callable[[], AbstractContextManager[None]]

PHONE, GATE_TO_PHONES = "203.0.113.2", "203.0.113.1"  # RFC 5737: addresses for documentation
GATE_TO_SERVERS, EXCHANGE, TARGET = "198.51.100.1", "198.51.100.10", "198.51.100.20"
HTTP, HTTPS, PROXY_PORT = 80, 443, 8080
EVERYWHERE_IN_THE_GATE = "0.0.0.0"  # noqa: S104 - a namespace of the lab's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Addresses to listen on (port 0: any free one), and how to be where each part stands.

    `page` is that of the page for phones (see `phone_page.py`).
    `transparent`: phones call the servers' own addresses, and the proxy is on the way there.
    `phone_shell` begins a command line that runs where the phone is.
    """

    exchange: Address
    target: Address
    proxy: Address
    page: Address
    at_servers: Inside = nullcontext
    at_proxy: Inside = nullcontext
    at_phone: Inside = nullcontext
    transparent: bool = False
    phone_shell: tuple[str, ...] = field(default=())

    def dial(self, address: Address, timeout_s: float) -> socket.socket:
        """A connection from where the phone is."""
        with self.at_phone():
            return socket.create_connection(address, timeout_s)


def loopback(listen: str, port: int) -> Site:
    """Everything on this machine; the proxy where it is asked to be."""
    free = ("127.0.0.1", 0)
    return Site(exchange=free, target=free, proxy=(listen, port), page=(listen, 0))


@contextmanager
def transparent(interface: str | None = None) -> Iterator[Site]:
    """A phone, a gate and servers in three namespaces; the gate redirects port 443 to the proxy.

    `interface`: one of this machine's that leads real phones to the gate, too.
    """
    with ExitStack() as stack:
        phone, gate, servers = (_namespace(stack) for _ in range(3))
        phone.connect(gate, f"{PHONE}/24", f"{GATE_TO_PHONES}/24")
        gate.connect(servers, f"{GATE_TO_SERVERS}/24", f"{EXCHANGE}/24")
        servers.run("ip", "address", "add", f"{TARGET}/24", "dev", "to-1")
        phone.run("ip", "route", "add", "default", "via", GATE_TO_PHONES)
        from_phones = ("!", "-i", "to-10", "-p", "tcp", "--dport", str(HTTPS))
        redirect = ("-j", "REDIRECT", "--to-ports", str(PROXY_PORT))
        gate.run("iptables", "-w", "-t", "nat", "-A", "PREROUTING", *from_phones, *redirect)
        if interface is not None:
            open_door(stack, gate, interface)
        yield Site(
            exchange=(EXCHANGE, HTTPS),
            target=(TARGET, HTTPS),
            proxy=(EVERYWHERE_IN_THE_GATE, PROXY_PORT),
            page=(door.GATE if interface else GATE_TO_PHONES, HTTP),
            at_servers=servers.inside,
            at_proxy=gate.inside,
            at_phone=phone.inside,
            transparent=True,
            phone_shell=("nsenter", f"--net={phone.path}"),
        )


def _namespace(stack: ExitStack) -> Namespace:
    namespace = Namespace()
    stack.callback(namespace.close)
    return namespace
