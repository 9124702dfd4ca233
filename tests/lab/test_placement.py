"""Namespaces: apart from the host and from each other, joined by cables, gone when let go of."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from eas_redirect.lab.placement import Namespace, NamespaceError, loopback
from tests.support import require, unavailable


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")  # noqa: PTH115 - not a file


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    require("ip", "unshare")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        unavailable("no network namespace can be made here (it needs root)")
    with closing(Namespace()) as one, closing(Namespace()) as other:
        yield one, other


def test_a_thread_goes_in_and_comes_back(pair: tuple[Namespace, Namespace]) -> None:
    outside = here()
    with pair[0].inside():
        inside = here()
        with pair[1].inside():
            assert here() not in (inside, outside)
        assert here() == inside
    assert here() == outside
    with pytest.raises(ZeroDivisionError), pair[0].inside():
        _ = 1 / 0
    assert here() == outside


def test_a_cable_joins_two(pair: tuple[Namespace, Namespace]) -> None:
    one, other = pair
    one.connect(other, "203.0.113.1/24", "203.0.113.2/24")
    with other.inside():
        server = socket.create_server(("203.0.113.2", 0))
    with server:
        with one.inside():
            client = socket.create_connection(server.getsockname(), 10)
        with client:
            assert client.getpeername() == server.getsockname()


def test_what_fails_inside_is_said(pair: tuple[Namespace, Namespace]) -> None:
    with pytest.raises(NamespaceError, match=r"`ip link set nothing up` failed: .*nothing"):
        pair[0].run("ip", "link", "set", "nothing", "up")
    with pytest.raises(NamespaceError, match="no-such-program is not installed"):
        pair[0].run("no-such-program")


def test_on_loopback_there_is_no_namespace() -> None:
    site = loopback("127.0.0.1", 0)
    outside = here()
    with site.at_phone(), site.at_proxy(), site.at_servers():
        assert here() == outside
