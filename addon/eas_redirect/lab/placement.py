"""Where the lab's parts stand: all on loopback, or each in a network namespace of its own.

A namespace lives as long as something holds it. File descriptors of the lab (and of what it starts
inside) hold these, never a name under /run/netns: when the lab ends, even by SIGKILL, the kernel
removes them. For real phones, an interface of this machine moves into the gateway's namespace
(`lent_interface.py`), where dnsmasq hands out addresses and the lab's names.
"""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path


class NamespaceError(Exception):
    """Namespaces cannot be created or set up here; the message says why."""


class Namespace:
    """A network namespace of its own, with its loopback up."""

    def __init__(self) -> None:
        self._descriptor = _in_a_thread_of_its_own(_new_namespace)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """A path that `ip` and `nsenter` take, valid while the lab runs."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the namespace: sockets and processes that it creates belong there."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            os.setns(self._descriptor, os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(outside, os.CLONE_NEWNET)
        finally:
            os.close(outside)

    def run(self, *command: str) -> None:
        """Run a command inside; NamespaceError with its output if it fails."""
        with self.inside():
            run_here(*command)

    def connect(self, other: "Namespace", ours: str, theirs: str) -> None:
        """A link to another namespace; both ends get an address (`203.0.113.1/24`) and are up.
        Each interface is named after the far end's host: `to-2` leads to `.2`."""
        our_name, their_name = _interface(theirs), _interface(ours)
        peer = ("peer", "name", their_name, "netns", other.path)
        self.run("ip", "link", "add", "name", our_name, "type", "veth", *peer)
        for namespace, name, address in ((self, our_name, ours), (other, their_name, theirs)):
            namespace.run("ip", "address", "add", address, "dev", name)
            namespace.run("ip", "link", "set", name, "up")

    def close(self) -> None:
        """Let go; the kernel removes it when nothing else holds it."""
        os.close(self._descriptor)


def run_here(*command: str) -> None:
    """Run a command in this thread's namespace; NamespaceError with its output if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NamespaceError(f"{command[0]} is not installed.") from error
    if done.returncode != 0:
        raise NamespaceError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _interface(address: str) -> str:
    return f"to-{address.partition('/')[0].rpartition('.')[2]}"


def _new_namespace() -> int:
    try:
        os.unshare(os.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    except (AttributeError, OSError) as error:
        raise NamespaceError(f"No network namespace can be made here: {error}") from error


def _in_a_thread_of_its_own[T](work: Callable[[], T]) -> T:
    """A thread that has entered a namespace must not go on to serve others."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


GATE = "10.45.1.1"
FIRST, LAST = "10.45.1.10", "10.45.1.250"


def names_and_addresses(interface: str, names: Mapping[str, str], work: Path) -> tuple[str, ...]:
    """The dnsmasq command that gives phones on `interface` their address and these names."""
    options = {
        "conf-file": "/dev/null",
        "interface": interface,
        "dhcp-range": f"{FIRST},{LAST},255.255.255.0,1h",
        "dhcp-option": f"option:router,{GATE}",
        "dhcp-leasefile": str(work.resolve() / "dnsmasq.leases"),
        "log-facility": "-",
        "pid-file": "",
        "user": "root",  # it reads and writes the work directory, which is the lab's own
    }
    flags = ("keep-in-foreground", "no-resolv", "no-hosts", "bind-interfaces")
    return (
        "dnsmasq",
        *(f"--{flag}" for flag in flags),
        *(f"--{name}={value}" if value else f"--{name}" for name, value in options.items()),
        *(f"--address=/{name}/{address}" for name, address in names.items()),
    )


type SocketAddress = tuple[str, int]
type Inside = Callable[[], AbstractContextManager[None]]
type Door = Callable[[Namespace], AbstractContextManager[None]]

PHONE, GATE_TO_PHONES = "203.0.113.2", "203.0.113.1"  # RFC 5737: addresses for documentation
GATE_TO_SERVERS, EXCHANGE, TARGET = "198.51.100.1", "198.51.100.10", "198.51.100.20"
HTTP, HTTPS, PROXY_PORT = 80, 443, 8080
EVERYWHERE_IN_THE_GATE = "0.0.0.0"  # noqa: S104 - a namespace of the lab's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Addresses to listen on (port 0: any free one), and how to be where each part stands.

    `page` is that of the page for phones (see `keep.py`).
    `transparent`: phones call the servers' own addresses, and the proxy is on the way there.
    `phone_shell` begins a command line that runs where the phone is.
    """

    exchange: SocketAddress
    target: SocketAddress
    proxy: SocketAddress
    page: SocketAddress
    at_servers: Inside = nullcontext
    at_proxy: Inside = nullcontext
    at_phone: Inside = nullcontext
    transparent: bool = False
    phone_shell: tuple[str, ...] = field(default=())

    def dial(self, address: SocketAddress, timeout_s: float) -> socket.socket:
        """A connection from the phone's place."""
        with self.at_phone():
            return socket.create_connection(address, timeout_s)


def loopback(listen: str, port: int) -> Placement:
    """Everything on this machine; the proxy at the requested address."""
    free = ("127.0.0.1", 0)
    return Placement(exchange=free, target=free, proxy=(listen, port), page=(listen, 0))


@contextmanager
def transparent(door: Door | None = None) -> Iterator[Placement]:
    """A phone, a gate and servers in three namespaces; the gate redirects port 443 to the proxy.
    `door` lets real phones reach the gate, too."""
    with ExitStack() as stack:
        phone, gate, servers = (_namespace(stack) for _ in range(3))
        phone.connect(gate, f"{PHONE}/24", f"{GATE_TO_PHONES}/24")
        gate.connect(servers, f"{GATE_TO_SERVERS}/24", f"{EXCHANGE}/24")
        servers.run("ip", "address", "add", f"{TARGET}/24", "dev", "to-1")
        phone.run("ip", "route", "add", "default", "via", GATE_TO_PHONES)
        from_phones = ("!", "-i", "to-10", "-p", "tcp", "--dport", str(HTTPS))
        redirect = ("-j", "REDIRECT", "--to-ports", str(PROXY_PORT))
        gate.run("iptables", "-w", "-t", "nat", "-A", "PREROUTING", *from_phones, *redirect)
        if door is not None:
            stack.enter_context(door(gate))
        yield Placement(
            exchange=(EXCHANGE, HTTPS),
            target=(TARGET, HTTPS),
            proxy=(EVERYWHERE_IN_THE_GATE, PROXY_PORT),
            page=(GATE if door else GATE_TO_PHONES, HTTP),
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
