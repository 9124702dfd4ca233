"""autodiscover-activesync, a client of Autodiscover that others wrote, finds its new server.

It knows `Settings` alone, as most phones do. Its requests leave by a CONNECT proxy of the test's
own, which is the DNS of this test: TLS goes from the client's end to ours.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.ldif_export import write_ldif
from eas_redirect.lab.legacy_exchange import LegacyExchange
from eas_redirect.lab.personas import AUTODISCOVER, CLOUD, HOST, PASSWORD, PERSONAS, RELATIONSHIPS
from tests.haproxy.carrying import Carried, carried
from tests.integration.messages import at
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire
from tests.support import DATA, require, unavailable

pytestmark = pytest.mark.integration

PEOPLE = {persona.name: persona for persona in PERSONAS}
ASK = """
const autodiscover = require("autodiscover-activesync").default;
const [emailAddress, password] = process.argv.slice(2);
autodiscover({ emailAddress, password, queryDns: false })
  .then((url) => console.log(url ?? "nothing"), (error) => console.log(error.message));
"""


def config(phones: str) -> str:
    return (
        'mode = "enforce"\n[directory]\nsnapshot = "directory.ldif"\n'
        f'[exchange]\nhost_names = ["{HOST}"]\n[autodiscover]\nphones = "{phones}"\n'
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's folder, with what it needs."""
    require("node", "npm")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(DATA / "npm" / name, folder)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        unavailable(f"npm ci: {error}")
    (folder / "ask.js").write_text(ASK, "utf-8")
    return folder


@pytest.fixture(scope="module")
def exchange() -> Iterator[Server]:
    accounts = [PEOPLE["anna"].account, PEOPLE["jana"].account]
    with Server(LegacyExchange(accounts)) as server:
        yield server


@contextmanager
def proxy(
    carrier: str, phones: str, exchange: Server, tmp_path: Path
) -> Iterator[Carried | Mitmdump]:
    front = LabCertificates(tmp_path / "certs").issue("front", [AUTODISCOVER]).file
    people = [PEOPLE[name].directory_user for name in ("anna", "jana")]
    (tmp_path / "directory.ldif").write_text(write_ldif(people, RELATIONSHIPS), "utf-8")
    with ExitStack() as stack:
        if carrier == "haproxy":
            cert = f'cert = "{front}"\n'
            yield stack.enter_context(carried(tmp_path, exchange.url, config(phones), proxy=cert))
        else:
            mode, words = f"reverse:{exchange.url}", ("--certs", str(front))
            yield stack.enter_context(
                mitmdump(tmp_path, mode, config=config(phones), arguments=words)
            )


class NameServer:
    """CONNECT to the one name leads to `port`; every other name is unknown."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[str] = []

    def __call__(self, wire: Wire) -> None:
        method, target, _ = wire.read_head().decode("latin-1").split("\r\n")[0].split(" ")
        self.asked.append(target)
        if (method, target) != ("CONNECT", f"{AUTODISCOVER}:443"):
            wire.send(b"HTTP/1.1 502 Unknown\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self._port), 30) as there:
            wire.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            here = wire._socket
            back = threading.Thread(target=_pass_on, args=(there, here), daemon=True)
            back.start()
            _pass_on(here, there)
            back.join(30)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def found(client: Path, port: int, name: str, certificates: Path) -> tuple[str, list[str]]:
    """What the client says, and whom it asked."""
    names = NameServer(port)
    with RawServer(names) as server:
        way = f"http://127.0.0.1:{server.port}"
        done = subprocess.run(
            ["node", "ask.js", PEOPLE[name].user_principal_name, PASSWORD],
            cwd=client,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={
                **os.environ,
                **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), way),
                **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
                "NODE_EXTRA_CA_CERTS": str(certificates / "lab-ca.pem"),
            },
        )
    return done.stdout.strip(), names.asked


@pytest.mark.parametrize("carrier", ["mitmproxy", "haproxy"])
def test_it_finds_its_new_server(
    carrier: str, client: Path, exchange: Server, tmp_path: Path
) -> None:
    if carrier == "haproxy":
        require("haproxy")
    with proxy(carrier, "all", exchange, tmp_path) as running:
        certificates = tmp_path / "certs"
        said, asked = found(client, running.port, "anna", certificates)
        assert said == f"https://{CLOUD}/Microsoft-Server-ActiveSync"
        assert asked[0] == "contoso.example:443", "it looks at the domain itself first"
        said, _ = found(client, running.port, "jana", certificates)
        assert said == f"https://{HOST}/Microsoft-Server-ActiveSync", "her mailbox is here"
        reasons = [at(line, "event.reason") for line in running.exchanges(2)]
    assert reasons == ["mailbox_moved", "other_answer"]


def test_without_it_it_finds_nothing(client: Path, exchange: Server, tmp_path: Path) -> None:
    with proxy("mitmproxy", "off", exchange, tmp_path) as running:
        said, asked = found(client, running.port, "anna", tmp_path / "certs")
    assert f"{AUTODISCOVER}:443" in asked
    assert "did not return status 302" in said
