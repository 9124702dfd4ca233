"""Network namespaces for the transparent lab: nameless, so that the kernel removes them.

A namespace lives as long as something holds it. These are held by file descriptors of the lab (and
by what it starts inside), never by a name under /run/netns: when the lab ends, even by SIGKILL,
namespaces, cables, addresses and firewall rules are gone, and the host's own were never touched.
Linux, root.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class NamespaceError(Exception):
    """Namespaces cannot be made or set up here; the message says why."""


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
        """This thread is in the namespace: sockets and processes made here belong to it."""
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
        """A command inside; NamespaceError with its words when it fails."""
        with self.inside():
            run_here(*command)

    def connect(self, other: "Namespace", ours: str, theirs: str) -> None:
        """A cable to another namespace; both ends get an address (`203.0.113.1/24`) and are up.

        The interfaces are called after the far end's host: `to-2` is the one that leads to `.2`.
        """
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
    """A command where this thread is; NamespaceError with its words when it fails."""
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
    """A thread that leaves its namespace must not go on to serve others."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
