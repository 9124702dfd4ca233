"""An interface is given back as it was, after an orderly end and after SIGKILL.

All of it in namespaces of the test's own: `machine` has the interface, its other end is elsewhere.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from eas_redirect.lab.lent_interface import lent
from eas_redirect.lab.placement import GATE, Namespace, NamespaceError
from tests.lab.test_placement import pair
from tests.support import require

NAME = "wire0"
SETUP = """
ip link set wire0 mtu 1400
ip link set wire0 up
ip address add 192.0.2.7/24 broadcast 192.0.2.255 dev wire0
ip address add 192.0.2.8/24 dev wire0 label wire0:1
ip address add 198.51.100.1 peer 198.51.100.2/32 dev wire0
ip address add 203.0.113.9/24 dev wire0 noprefixroute
ip address add 10.9.9.9/24 dev wire0 valid_lft 5000 preferred_lft 4000
ip -6 address add 2001:db8:7::7/64 dev wire0 nodad
ip route add default via 192.0.2.1 dev wire0 metric 100
ip route add 10.0.0.0/8 via 192.0.2.2 dev wire0 src 192.0.2.8
ip route add 172.16.0.0/12 dev wire0 table 77
ip route add 203.0.113.77/32 dev wire0 scope link
ip -6 route add 2001:db8:9::/48 via 2001:db8:7::1 dev wire0 metric 50
ip -6 route add default via fe80::1 dev wire0 expires 4000
"""
LENDER = """
import sys, time
from pathlib import Path
from contextlib import closing
from eas_redirect.lab.lent_interface import lent
from eas_redirect.lab.placement import Namespace
with closing(Namespace()) as gate, lent("wire0", Path(sys.argv[1]), print, gate):
    print("lent", flush=True)
    time.sleep(600)
"""
__all__ = ["pair"]


@pytest.fixture
def machine(pair: tuple[Namespace, Namespace]) -> Namespace:
    """With an interface on which there is one of everything."""
    one, far = pair
    one.run("ip", "link", "add", NAME, "type", "veth", "peer", "name", "far0", "netns", far.path)
    far.run("ip", "link", "set", "far0", "up")
    with one.inside():
        Path("/proc/sys/net/ipv4/conf", NAME, "rp_filter").write_text("2")
        Path("/proc/sys/net/ipv6/conf", NAME, "accept_ra").write_text("0")
    for line in SETUP.strip().splitlines():
        one.run(*line.split())
    return one


def told(machine: Namespace) -> dict[str, str]:
    """Everything about the interface that people see, without what counts down."""
    commands = {
        "link": "ip link show dev wire0",
        "addresses": "ip address show dev wire0",
        "routes": "ip route show table all dev wire0",
        "routes, IPv6": "ip -6 route show table all dev wire0",
        "settings": "cat /proc/sys/net/ipv4/conf/wire0/rp_filter"
        " /proc/sys/net/ipv6/conf/wire0/accept_ra",
    }
    with machine.inside():
        said = {
            name: subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
            for name, command in commands.items()
        }
    return {name: _lasting(text) for name, text in said.items()}


def _lasting(text: str) -> str:
    words = [word for word in text.split(" ") if not word.endswith(("sec", "sec\n"))]
    lines = " ".join(words).split("\n")
    return "\n".join(line.partition(": ")[2] or line for line in lines).replace("@if", "@")


def is_here(machine: Namespace) -> bool:
    with machine.inside():
        return Path("/proc/sys/net/ipv4/conf", NAME).exists()


def settled(machine: Namespace) -> dict[str, str]:
    """Once the link is up on both ends: its own IPv6 address comes with that, and the route of an
    address once it is known to be nobody else's (RFC 4862 section 5.4)."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with machine.inside():
            command = ("ip", "address", "show", "dev", NAME)
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "LOWER_UP" in said and "fe80::" in said and "tentative" not in said:
            break
        time.sleep(0.05)
    return told(machine)


def test_it_comes_back_as_it_was(machine: Namespace, tmp_path: Path) -> None:
    before, said = settled(machine), list[str]()
    assert "192.0.2.7" in before["addresses"]
    with machine.inside(), closing(Namespace()) as gate, lent(NAME, tmp_path, said.append, gate):
        assert not is_here(machine)
        with gate.inside():
            shown = subprocess.check_output(["ip", "address", "show", NAME], text=True)
        assert f"{GATE}/24" in shown
        assert "192.0.2.7" not in shown
    assert settled(machine) == before
    assert said == []
    assert not (tmp_path / "give-back.sh").exists()


def test_it_comes_back_after_sigkill(machine: Namespace, tmp_path: Path) -> None:
    before = settled(machine)
    with machine.inside():
        lab = subprocess.Popen(
            [sys.executable, "-c", LENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
    with lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == "lent\n"
        assert not is_here(machine)
        os.kill(lab.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (tmp_path / "give-back.sh").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert settled(machine) == before


def test_one_that_was_down_stays_down(machine: Namespace, tmp_path: Path) -> None:
    machine.run("ip", "link", "set", NAME, "down")
    before = told(machine)
    with machine.inside(), closing(Namespace()) as gate, lent(NAME, tmp_path, print, gate):
        pass
    after = told(machine)
    assert "state DOWN" in after["link"]
    # One that has never been up has another queue.
    assert {name: text.replace("noop", "noqueue") for name, text in after.items()} == before


def test_one_of_a_bridge_goes_back_into_it(machine: Namespace, tmp_path: Path) -> None:
    machine.run("ip", "link", "add", "bridge0", "type", "bridge")
    machine.run("ip", "link", "set", NAME, "master", "bridge0")
    with machine.inside(), closing(Namespace()) as gate, lent(NAME, tmp_path, print, gate):
        pass
    assert "master bridge0" in told(machine)["link"]


def test_one_that_is_pulled_out_is_said(machine: Namespace, tmp_path: Path) -> None:
    said: list[str] = []
    with machine.inside(), closing(Namespace()) as gate, lent(NAME, tmp_path, said.append, gate):
        gate.run("ip", "link", "delete", NAME)
    assert said == [f"{NAME} was pulled out"]


def test_one_that_is_not_there_is_said(machine: Namespace, tmp_path: Path) -> None:
    with (
        machine.inside(),
        closing(Namespace()) as gate,
        pytest.raises(NamespaceError, match="nosuch0"),
        lent("nosuch0", tmp_path, print, gate),
    ):
        pass
    assert not (tmp_path / "give-back.sh").exists()


def test_when_the_keeper_is_killed_too_its_commands_are_left(
    machine: Namespace, tmp_path: Path
) -> None:
    """Here the commands of a lab before this one."""
    require("sh")
    before = settled(machine)
    with machine.inside(), closing(Namespace()) as gate:
        with lent(NAME, tmp_path, print, gate):
            left = (tmp_path / "give-back.sh").read_text()
        machine.run("ip", "address", "flush", "dev", NAME)
        (tmp_path / "give-back.sh").write_text(left)
        with pytest.raises(NamespaceError, match=r"give-back\.sh"):
            lent(NAME, tmp_path, print, gate).__enter__()
        machine.run("sh", str(tmp_path / "give-back.sh"))
    after = settled(machine)
    assert {**after, "addresses": ""} == {**before, "addresses": ""}
    assert "192.0.2.8/24" in after["addresses"]
    assert not (tmp_path / "give-back.sh").exists()
