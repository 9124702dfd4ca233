"""`eas-redirect lab --transparent`: the proxy on the phones' way, and nothing left behind.

Needs root, Linux, `ip` and `iptables`.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.personas import CLOUD, HOST, PERSONAS
from eas_redirect.lab.phone import Route
from eas_redirect.lab.placement import Namespace, NamespaceError, run_here
from eas_redirect.lab.walk import walk
from tests.integration.test_lab import kept, run
from tests.support import require, unavailable

ANNA = next(persona for persona in PERSONAS if persona.name == "anna")
pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def able() -> None:
    require("ip", "iptables", "nsenter")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        unavailable("no network namespace can be made here (it needs root)")


def marks_on_the_host() -> list[str]:
    """Lines about the lab's addresses, cables and rules in the host's own network: never any."""
    looks = (
        ["ip", "-oneline", "address"],
        ["ip", "route"],
        ["ip", "netns", "list"],
        ["iptables", "-t", "nat", "-S"],
    )
    marks = re.compile(r"203\.0\.113\.|198\.51\.100\.|\bto-\d|--to-ports 8080")
    said = (
        subprocess.run(look, capture_output=True, text=True, check=True).stdout for look in looks
    )
    return [line for text in said for line in text.splitlines() if marks.search(line)]


def namespaces(pids: Iterable[int]) -> set[str]:
    """The network namespaces that processes are in."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # The process has ended.
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found


def every_pid() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def test_everybody_gets_the_same_as_from_a_reverse_proxy_and_arrivals_are_confirmed(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "--transparent", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    people = {person["name"]: person for person in json.loads(done.stdout)["people"]}
    assert set(people) == {persona.name for persona in PERSONAS}
    for persona in PERSONAS:
        sent_on = persona.expects[-1].reason == "mailbox_moved"
        # What Autodiscover tells is told to no device that is known.
        followed = sent_on and persona.follows and not persona.adds_account
        assert people[persona.name]["device_got"].endswith(", confirmed") is followed
    assert marks_on_the_host() == []


def test_the_journal_says_who_arrived(tmp_path: Path) -> None:
    assert run(tmp_path, "--transparent").returncode == 0
    text = (tmp_path / "work" / "eas-journal.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    confirmed = [line for line in lines if line["eas"].get("redirect", {}).get("confirmed")]
    arrivals = {
        (line["user"]["name"], line["url"]["domain"]) for line in confirmed if "url" in line
    }
    assert ("anna", "outlook.office365.com") in arrivals
    assert ("hana", "mail.fabrikam.example") in arrivals
    assert "ivo" not in {user for user, _ in arrivals}
    assert {line["client"]["address"] for line in lines if "client" in line} == {"203.0.113.2"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_it(tmp_path: Path, number: signal.Signals) -> None:
    with kept(tmp_path, "--transparent") as lab:
        curl = re.search(r"nsenter .*?(?=\n\n)", lab.printed + "\n\n", re.DOTALL)
        assert curl
        answer = subprocess.run(
            ["sh", "-c", curl[0]], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert answer.startswith("HTTP/1.1 451 ")
        page = re.search(r"for phones (http://203\.0\.113\.1/)", lab.printed)
        assert page
        phone = curl[0].split("curl")[0].split()
        fetched = subprocess.run(
            [*phone, "curl", "--silent", f"{page[1]}lab-ca.pem"], capture_output=True, check=True
        ).stdout
        assert fetched == (tmp_path / "certs" / "lab-ca.pem").read_bytes()
        gate = namespaces(lab.others()) - namespaces([lab.process.pid])
        assert len(gate) == 1  # mitmdump is in a namespace of its own
        assert marks_on_the_host() == []
        lab.process.send_signal(number)
        lab.process.wait(60)
        lab.wait_until_alone()
    assert marks_on_the_host() == []
    assert not gate & namespaces(every_pid())


def ask_dns(name: str, server: str) -> str:
    """The A record that a server gives for a name (RFC 1035)."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(question, (server, 53))
        return socket.inet_ntoa(asking.recv(512)[-4:])


def ask_dhcp(interface: str) -> tuple[str, str]:
    """The address and the router that are offered to a phone (RFC 2131, 3.1)."""
    mac = bytes.fromhex("02005e100001")
    head = struct.pack("!4BL2H16x16s192x", 1, 1, 6, 0, 4711, 0, 0x8000, mac)
    discover = head + b"\x63\x82\x53\x63" + b"\x35\x01\x01" + b"\x37\x01\x03" + b"\xff"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(20)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        asking.bind(("", 68))
        asking.sendto(discover, ("255.255.255.255", 67))
        offer = asking.recv(1500)
    router = offer.index(b"\x03\x04", 240)
    return socket.inet_ntoa(offer[16:20]), socket.inet_ntoa(offer[router + 2 : router + 6])


@pytest.fixture
def cable() -> Iterator[tuple[Namespace, str]]:
    """An interface of the host whose other end, called `phone`, is in a namespace of its own."""
    name = f"lab{os.getpid()}"
    with closing(Namespace()) as far:
        peer = ("peer", "name", "phone", "netns", far.path)
        run_here("ip", "link", "add", "name", name, "type", "veth", *peer)
        try:
            far.run("ip", "link", "set", "phone", "up")
            yield far, name
        finally:
            with suppress(NamespaceError):  # The lab has taken it along.
                run_here("ip", "link", "delete", name)


def test_a_real_phone_comes_in_by_an_interface(
    tmp_path: Path, cable: tuple[Namespace, str]
) -> None:
    require("dnsmasq")
    far, name = cable
    run_here("ip", "address", "add", "192.0.2.77/24", "dev", name)
    run_here("ip", "link", "set", name, "up")
    with kept(tmp_path, "--transparent", "--interface", name) as lab:
        assert "http://10.45.1.1/" in lab.printed
        with far.inside():
            address, router = ask_dhcp("phone")
        far.run("ip", "address", "add", f"{address}/24", "dev", "phone")
        far.run("ip", "route", "add", "default", "via", router)
        with far.inside():
            names = {host: ask_dns(host, router) for host in (HOST, CLOUD)}
            trust = LabCertificates(tmp_path / "certs").client_context()
            network = Route({host: (at, 443) for host, at in names.items()}, trust)
            arrived = walk(ANNA, network).arrived
        assert names == {HOST: "198.51.100.10", CLOUD: "198.51.100.20"}
        assert arrived is not None
        assert arrived.status == 200
        lab.process.send_signal(signal.SIGINT)
        assert lab.process.wait(60) == 0
    told = subprocess.check_output(["ip", "address", "show", name], text=True)
    assert "192.0.2.77/24" in told
    assert ",UP" in told


def test_an_interface_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    done = run(tmp_path, "--transparent", "--interface", "nosuch0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "nosuch0" in done.stderr.splitlines()[-1]


def test_without_root_it_is_one_message(tmp_path: Path) -> None:
    require("setpriv")
    done = run(
        tmp_path, "--transparent", prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "namespace" in done.stderr.splitlines()[-1]


def test_without_iptables_it_is_one_message(tmp_path: Path) -> None:
    ip = subprocess.run(["which", "ip"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ip").symlink_to(ip)
    done = run(tmp_path, "--transparent", environment={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "lab: iptables is not installed."
