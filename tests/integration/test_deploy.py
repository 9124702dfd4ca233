"""docs/deploy: three proxies behind a real HAProxy, killed, drained and stopped under load."""

import asyncio
import base64
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eas_redirect.activesync.request import read_request
from eas_redirect.lab.http_server import Reply, Request, Server
from tests.integration.device import PATH, basic
from tests.integration.old_server import BERT, PASSWORD, OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import Running, run, wait_until
from tests.integration.test_bypass import another_authority, changed, trusted
from tests.support import ROOT, require

pytestmark = pytest.mark.integration

FOLDER = ROOT / "docs" / "deploy"
NAMES = ("a", "b", "c")
MARK = "def responseheaders(flow):\n    flow.response.headers['X-Via'] = '{}'\n"


@dataclass
class Farm:
    """The balancer's port, the proxies by name, and what clients saw."""

    port: int
    proxies: dict[str, Running]
    old: OldServer
    admin: Path  # HAProxy's socket
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[BaseException] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, command: str, device: str) -> http.client.HTTPResponse:
        """One request with a plain query."""
        return self.post(f"Cmd={command}&User=bert&DeviceId={device}&DeviceType=Phone")

    def ask_base64(self, code: int, device: bytes) -> http.client.HTTPResponse:
        """One request with a base64 query: protocol 14.1, this command's code (MS-ASHTTP
        2.2.1.1.1.1)."""
        fields = bytes((141, code, 9, 4, len(device))) + device + bytes(1) + b"\x05Phone"
        return self.post(base64.b64encode(fields).decode())

    def post(self, query: str) -> http.client.HTTPResponse:
        """On a connection of its own, as a phone that comes back after a while."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        target = f"{PATH}?{query}"
        headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic(BERT, PASSWORD)}
        try:
            connection.request("POST", target, body=b"x", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def load(self, number: int) -> None:
        """A client that asks until `done`; everything but a good answer is remembered."""
        turn = 0
        while not self.done.is_set():
            turn += 1
            try:
                answer = self.ask(("FolderSync", "Sync", "Ping")[turn % 3], f"D{number}x{turn}")
                self.statuses[answer.status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)

    @property
    def answered(self) -> int:
        return self.statuses.total()

    @contextmanager
    def under_load(self, clients: int = 8) -> Iterator[None]:
        with ThreadPoolExecutor(clients) as pool:
            loads = [pool.submit(self.load, number) for number in range(clients)]
            try:
                wait_until(lambda: self.answered > 60, "load")
                yield
            finally:
                self.done.set()
            for each in loads:
                each.result(60)

    def serve(self, count: int, what: str) -> None:
        """So many more exchanges are answered."""
        before = self.answered
        wait_until(lambda: self.answered > before + count, what)

    def via(self, device: str) -> str | None:
        """Which proxy the device meets now; None: none of them."""
        return self.ask("FolderSync", device).headers["X-Via"]

    def passes_by(self, device: str) -> bool:
        """Whether Exchange answers it, and no proxy stands between."""
        answer = self.ask("FolderSync", device)
        return answer.status == 200 and answer.headers["X-Via"] is None

    def arrived(self, command: str) -> int:
        """How many requests of a command reached Exchange."""
        requests = self.old.server.requests
        return sum(command_of(request) == command for request in requests)

    def tell(self, command: str) -> None:
        """What `echo COMMAND | socat stdio ADMIN` does."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.admin))
            connection.sendall(command.encode() + b"\n")
            assert connection.recv(1000).strip() == b"", "it has nothing to say against it"


def command_of(request: Request) -> str | None:
    return read_request(request.method, request.target, request.headers).command


def slowed(server: Server) -> None:
    """Answers take a moment, so that there is always something under way."""
    handler = server._handler

    async def slow(request: Request) -> Reply:
        await asyncio.sleep(2.0 if command_of(request) == "SendMail" else 0.15)
        return await handler(request)

    server._handler = slow


@contextmanager
def farm(tmp_path: Path, *arguments: str) -> Iterator[Farm]:
    require("haproxy")
    with ExitStack() as stack:
        old = stack.enter_context(old_server(tmp_path / "old"))
        slowed(old.server)
        proxies = {
            name: stack.enter_context(_proxy(tmp_path, name, old, *arguments)) for name in NAMES
        }
        port = free_port()
        stack.enter_context(_haproxy(tmp_path, old, proxies, port))
        made = Farm(port, proxies, old, tmp_path / "admin.sock")
        stack.callback(made.done.set)
        wait_until(lambda: made.via("D1") in NAMES, "the farm")
        yield made


@contextmanager
def _proxy(tmp_path: Path, name: str, old: OldServer, *arguments: str) -> Iterator[Running]:
    script = tmp_path / f"mark_{name}.py"
    script.write_text(MARK.format(name))
    options = {"ssl_verify_upstream_trusted_ca": str(old.ca)}
    with run(
        tmp_path / name, old.url, "--stop-timeout", "10", *arguments, "--", "-s", str(script),
        snapshot=old.snapshot, options=options,
    ) as running:  # fmt: skip
        yield running


@contextmanager
def _haproxy(
    tmp_path: Path, old: OldServer, proxies: dict[str, Running], port: int
) -> Iterator[None]:
    changes = {
        "bind :443 ssl crt /etc/haproxy/mail.contoso.example.pem alpn http/1.1": (
            f"bind 127.0.0.1:{port}"
        ),
        "/run/haproxy/admin.sock": str(tmp_path / "admin.sock"),
        "ex07.contoso.local:443": f"localhost:{old.server.port}",
        "/etc/haproxy/ex07.pem": str(trusted(tmp_path, old)),
        "verifyhost ex07.contoso.local": "verifyhost localhost",
        "check port 9410 inter 2s": "check inter 300ms",
    }
    for number, running in enumerate(proxies.values(), start=11):
        changes[f"10.0.0.{number}:8443"] = f"127.0.0.1:{running.port} port {running.pages}"
    path = tmp_path / "haproxy.cfg"
    path.write_text(changed((FOLDER / "haproxy.cfg").read_text("utf-8"), changes))
    program = shutil.which("haproxy", path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")
    with (tmp_path / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "-db", "-f", str(path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_killed_and_stopped_under_load_loses_nothing(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        with made.under_load():
            made.proxies["a"].signal(signal.SIGKILL)
            made.serve(80, "load on two")
            made.proxies["b"].signal(signal.SIGTERM)
            assert made.proxies["b"].process.wait(60) == 0
            made.serve(60, "load on one")
            made.proxies["c"].signal(signal.SIGTERM)
            assert made.proxies["c"].process.wait(60) == 0
            made.serve(40, "load past the proxies")
        assert made.lost == []
        assert set(made.statuses) == {200}
        assert made.via("D1") is None


def test_when_no_proxy_reaches_exchange_its_phones_do_within_seconds(tmp_path: Path) -> None:
    """Exchange was renewed by an authority that HAProxy trusts, and the proxies (two workers each)
    do not. Meanwhile phones get 503, and ask again."""
    with farm(tmp_path, "--workers", "2") as made:
        other = another_authority(tmp_path).issue("ex07", ("localhost", "127.0.0.1"))
        with made.under_load(4):
            made.old.tls.load_cert_chain(other.file)
            wait_until(
                lambda: all(made.passes_by(f"D{n}") for n in range(12)), "everybody passes by", 30
            )
            before = made.statuses[503]
            made.serve(60, "load past the proxies")
            assert made.statuses[503] == before, "nobody meets them any more"
            made.old.tls.load_cert_chain(made.old.issued)
            wait_until(lambda: made.via("D1") in NAMES, "they are back")
        assert made.lost == []
        assert set(made.statuses) <= {200, 503}


def test_with_all_proxies_killed_at_once_everything_reaches_exchange(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        with made.under_load():
            for running in made.proxies.values():
                running.signal(signal.SIGKILL)
            made.serve(80, "load past the proxies")
        assert made.lost == []
        assert set(made.statuses) == {200}
        assert made.via("D1") is None


def test_a_drained_proxy_ends_what_it_has_and_gets_its_devices_back(tmp_path: Path) -> None:
    device = "D1"
    with farm(tmp_path) as made:
        name = made.via(device)
        with made.under_load(4), ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(made.ask, "SendMail", device)
            wait_until(lambda: made.arrived("SendMail") == 1, "the mail reaches Exchange")
            made.tell(f"set server proxies/{name} state drain")
            assert made.via(device) in set(NAMES) - {name}
            answer = under_way.result(60)
            assert (answer.status, answer.headers["X-Via"]) == (200, name)
            made.serve(20, "load while its last lines are written")
            served = len(made.proxies[str(name)].journal)
            made.serve(60, "load on two")
            assert len(made.proxies[str(name)].journal) == served, "nothing new reaches it"
            made.tell(f"set server proxies/{name} state ready")
            wait_until(lambda: made.via(device) == name, "it is back")
            made.serve(40, "load on three")
        assert made.lost == []
        assert set(made.statuses) == {200}


SEND_MAIL, FOLDER_SYNC = 1, 9  # MS-ASHTTP 2.2.1.1.1.1.2


@pytest.mark.parametrize("query", ["plain", "base64"])
def test_what_may_not_be_repeated_is_not(tmp_path: Path, query: str) -> None:
    with farm(tmp_path) as made, ThreadPoolExecutor(1) as pool:
        if query == "plain":
            name = made.via("D1")
            sent = pool.submit(made.ask, "SendMail", "D1")
        else:
            name = made.ask_base64(FOLDER_SYNC, b"D1").headers["X-Via"]
            sent = pool.submit(made.ask_base64, SEND_MAIL, b"D1")
        wait_until(lambda: made.arrived("SendMail") == 1, "the mail reaches Exchange")
        made.proxies[str(name)].signal(signal.SIGKILL)
        assert sent.result(60).status == 502
        assert made.ask("FolderSync", "D1").status == 200
        assert made.arrived("SendMail") == 1


@pytest.mark.parametrize("query", ["plain", "base64"])
def test_a_device_stays_with_its_proxy(tmp_path: Path, query: str) -> None:
    with farm(tmp_path) as made:

        def via(device: str) -> str | None:
            if query == "plain":
                return made.via(device)
            return made.ask_base64(FOLDER_SYNC, device.encode()).headers["X-Via"]

        seen: dict[str, set[str | None]] = {}
        for _ in range(3):
            for number in range(12):
                device = f"Appl{number:04}"
                seen.setdefault(device, set()).add(via(device))
        assert {len(proxies) for proxies in seen.values()} == {1}
        assert len(set.union(*seen.values())) > 1
