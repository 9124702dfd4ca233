"""docs/lab.md's recipe for a gateway of one's own, run as it stands there.

A phone, a gateway and two servers, each in a namespace, with IPv4 and IPv6. Needs root and `nft`.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from eas_redirect.directory.adoption import SETTLE_S
from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Reply, Request, Server
from eas_redirect.lab.ldif_export import write_ldif
from eas_redirect.lab.legacy_exchange import LegacyExchange, ProductVersion
from eas_redirect.lab.personas import CLOUD, HOST, PERSONAS, RELATIONSHIPS
from eas_redirect.lab.phone import PATH, Line, Route
from eas_redirect.lab.placement import Namespace
from eas_redirect.lab.runner import CONFIG
from tests.support import require, unavailable

PAGE = Path(__file__).parents[2] / "docs" / "lab.md"
ANNA = next(persona for persona in PERSONAS if persona.name == "anna")
OTHER = "intranet.contoso.example"
FAMILIES = {"IPv4": ("10.7.1", "10.7.2", "."), "IPv6": ("fd00:7:1:", "fd00:7:2:", ":")}
pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Site:
    """Three namespaces, and what the recipe says: before, mitmdump, after."""

    phone: Namespace
    gate: Namespace
    servers: Namespace
    work: Path
    before: str
    proxy: str
    after: str
    certificates: dict[str, bytes]  # by host, as its own server shows it

    def shell(self, script: str) -> str:
        """On the gateway, in the work directory, with this package's commands."""
        with self.gate.inside():
            return subprocess.run(
                ["sh", "-ec", script],
                cwd=self.work,
                env=environment(),
                capture_output=True,
                text=True,
                check=True,
            ).stdout

    def call(self, address: str, host: str) -> bytes:
        """The certificate that the phone is shown there."""
        context = LabCertificates(self.work / "certs").client_context()
        with (
            self.phone.inside(),
            socket.create_connection((address, 443), 20) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path}


def recipe() -> tuple[str, str, str]:
    text = PAGE.read_text("utf-8").partition("### On a gateway of your own")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    found = re.fullmatch(r"(.*?)(mitmdump .*?[^\\]\n)(.*)", block[1], re.DOTALL)
    assert found
    return found[1], found[2], found[3]


async def nothing(_request: Request) -> Reply:
    return Reply(200, (("Content-Type", "text/plain"),), b"an intranet\n")


def address_of(network: str, number: int, sign: str) -> str:
    return f"{network}{sign}{number}" if sign == "." else f"{network}:{number}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("ip", "nft", "sysctl")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        unavailable("no network namespace can be made here (it needs root)")
    work = tmp_path_factory.mktemp("gateway")
    with ExitStack() as stack:
        phone, gate, servers = (stack.enter_context(closing(Namespace())) for _ in range(3))
        cable(gate, "wlan0", phone, "phone0")
        cable(gate, "eth0", servers, "server0")
        for near, far, sign in FAMILIES.values():
            size = "24" if sign == "." else "64"
            flags = () if sign == "." else ("nodad",)
            for where, name, at in (
                (phone, "phone0", address_of(near, 2, sign)),
                (gate, "wlan0", address_of(near, 1, sign)),
                (gate, "eth0", address_of(far, 1, sign)),
                (servers, "server0", address_of(far, 10, sign)),
                (servers, "server0", address_of(far, 20, sign)),
            ):
                where.run("ip", "address", "add", f"{at}/{size}", "dev", name, *flags)
            phone.run("ip", "route", "add", "default", "via", address_of(near, 1, sign))
            servers.run("ip", "route", "add", "default", "via", address_of(far, 1, sign))
        certificates = start_servers(stack, servers, work)
        yield Site(phone, gate, servers, work, *recipe(), certificates)


def cable(one: Namespace, name: str, other: Namespace, far: str) -> None:
    peer = ("peer", "name", far, "netns", other.path)
    one.run("ip", "link", "add", "name", name, "type", "veth", *peer)
    one.run("ip", "link", "set", name, "up")
    other.run("ip", "link", "set", far, "up")


def start_servers(stack: ExitStack, servers: Namespace, work: Path) -> dict[str, bytes]:
    """The old Exchange and an intranet, on both families; the files of the gateway."""
    authority = LabCertificates(work / "certs")
    authority.write_mitmproxy_ca(work / ".lab" / "mitmproxy")
    (work / "eas-redirect.toml").write_text(CONFIG, "utf-8")
    ldif = work / "directory.ldif"
    ldif.write_text(write_ldif([p.directory_user for p in PERSONAS], RELATIONSHIPS), "utf-8")
    os.utime(ldif, (time.time() - SETTLE_S,) * 2)
    accounts = [persona.account for persona in PERSONAS]
    exchange = LegacyExchange(accounts, version=ProductVersion.EXCHANGE_2013)
    certificates = {}
    for host, number, handler in ((HOST, 10, exchange), (OTHER, 20, nothing)):
        issued = authority.issue(host, (host,))
        own = x509.load_pem_x509_certificate(issued.file.read_bytes())
        certificates[host] = own.public_bytes(Encoding.DER)
        for _, far, sign in FAMILIES.values():
            with servers.inside():
                stack.enter_context(
                    Server(
                        handler,
                        tls=issued.server_context(),
                        host=address_of(far, number, sign),
                        port=443,
                    )
                )
    return certificates


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[Site]:
    site.shell(site.before)
    log = (site.work / "mitmdump.log").open("w+", encoding="utf-8")
    ca = site.work / "certs" / "lab-ca.pem"
    command = f"exec {site.proxy.strip()} --set ssl_verify_upstream_trusted_ca={ca}"
    with log, site.gate.inside():
        proxy = subprocess.Popen(
            ["sh", "-ec", command], cwd=site.work, env=environment(), stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            said = (site.work / "mitmdump.log").read_text("utf-8")
            if "listening" in said or proxy.poll() is not None:
                break
            time.sleep(0.05)
        assert "listening" in said, said
        yield site
    finally:
        proxy.terminate()
        proxy.wait(30)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_phone_is_redirected_and_others_are_not_opened(running: Site, family: str) -> None:
    _, far, sign = FAMILIES[family]
    exchange, other = address_of(far, 10, sign), address_of(far, 20, sign)
    trust = LabCertificates(running.work / "certs").client_context()

    def dial(address: tuple[str, int], timeout_s: float) -> socket.socket:
        with running.phone.inside():
            return socket.create_connection(address, timeout_s)

    ask, device = ANNA.asks[-1], ANNA.make_device()
    with Line(Route({HOST: (exchange, 443)}, trust, dial), HOST) as line:
        got = line.send(ask.method, device.target(ask), device.headers(ask))
    assert (got.status, got.location) == (451, f"https://{CLOUD}{PATH}")
    assert running.call(exchange, HOST) != running.certificates[HOST]
    assert running.call(other, OTHER) == running.certificates[OTHER]


@pytest.mark.parametrize("family", FAMILIES)
def test_quic_is_refused_and_other_udp_passes(running: Site, family: str) -> None:
    near, far, sign = FAMILIES[family]
    kind = socket.AF_INET if sign == "." else socket.AF_INET6
    with running.phone.inside():
        asking = socket.socket(kind, socket.SOCK_DGRAM)
    with running.servers.inside():
        listening = socket.socket(kind, socket.SOCK_DGRAM)
        listening.bind((address_of(far, 10, sign), 4433))
    with asking, listening:
        asking.settimeout(10)
        listening.settimeout(10)
        asking.connect((address_of(far, 10, sign), 443))
        asking.send(b"quic")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(10)
        asking.connect((address_of(far, 10, sign), 4433))
        asking.send(b"dns")
        assert listening.recv(10) == b"dns"
    with running.phone.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((address_of(near, 1, sign), 8080), 10)


def test_afterwards_it_is_as_before(running: Site) -> None:
    """The last test here: the rules go, and so does forwarding."""
    assert "eas_lab" in running.shell("nft list tables")
    running.shell(running.after)
    assert running.shell("nft list tables") == ""
    forwarding = running.shell("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert forwarding.split() == ["0", "0"]
