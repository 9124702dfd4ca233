"""docs/deploy: three proxies behind a real HAProxy, killed and stopped under load, lose nothing."""

import asyncio
import http.client
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eas_redirect.lab.message import Reply, Request
from eas_redirect.lab.server import Server
from tests.integration.device import PATH, basic
from tests.integration.old_server import BERT, PASSWORD, OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import Running, run, wait_until
from tests.integration.test_bypass import changed
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
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[BaseException] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, command: str, device: str) -> http.client.HTTPResponse:
        """One request on a connection of its own, as a phone that comes back after a while."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        target = f"{PATH}?Cmd={command}&User=bert&DeviceId={device}&DeviceType=Phone"
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


def slowed(server: Server) -> None:
    """Answers take a moment, so that there is always something under way."""
    handler = server._handler

    async def slow(request: Request) -> Reply:
        await asyncio.sleep(2.0 if "Cmd=SendMail" in request.target else 0.15)
        return await handler(request)

    server._handler = slow


@contextmanager
def farm(tmp_path: Path) -> Iterator[Farm]:
    require("haproxy")
    with ExitStack() as stack:
        old = stack.enter_context(old_server(tmp_path / "old"))
        slowed(old.server)
        proxies = {name: stack.enter_context(_proxy(tmp_path, name, old)) for name in NAMES}
        port = free_port()
        stack.enter_context(_haproxy(tmp_path, old, proxies, port))
        made = Farm(port, proxies, old)
        stack.callback(made.done.set)
        wait_until(lambda: made.ask("FolderSync", "D1").headers["X-Via"] in NAMES, "the farm")
        yield made


@contextmanager
def _proxy(tmp_path: Path, name: str, old: OldServer) -> Iterator[Running]:
    script = tmp_path / f"mark_{name}.py"
    script.write_text(MARK.format(name))
    options = {"ssl_verify_upstream_trusted_ca": str(old.ca)}
    with run(
        tmp_path / name, old.url, "--stop-timeout", "10", "--", "-s", str(script),
        snapshot=old.snapshot, options=options,
    ) as running:  # fmt: skip
        yield running


@contextmanager
def _haproxy(
    tmp_path: Path, old: OldServer, proxies: dict[str, Running], port: int
) -> Iterator[None]:
    changes = {
        "maxconn 100000": "maxconn 500",
        "bind :443 ssl crt /etc/haproxy/mail.contoso.example.pem alpn http/1.1": (
            f"bind 127.0.0.1:{port}"
        ),
        "/run/haproxy/admin.sock": str(tmp_path / "admin.sock"),
        "ex07.contoso.local:443": f"localhost:{old.server.port}",
        "/etc/haproxy/ex07.pem": str(old.ca),
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


def test_killed_and_stopped_under_load_only_an_answer_under_way_is_cut(tmp_path: Path) -> None:
    with farm(tmp_path) as made, ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(made.load, number) for number in range(8)]
        wait_until(lambda: made.answered > 60, "load")
        made.proxies["a"].signal(signal.SIGKILL)
        before = made.answered
        wait_until(lambda: made.answered > before + 80, "load on two")
        # An answer whose head had left already when its proxy was killed cannot be given again.
        cut = list(made.lost)
        assert all(isinstance(error, http.client.IncompleteRead) for error in cut)
        assert len(cut) <= 1
        made.proxies["b"].signal(signal.SIGTERM)
        assert made.proxies["b"].process.wait(60) == 0
        before = made.answered
        wait_until(lambda: made.answered > before + 60, "load on one")
        made.proxies["c"].signal(signal.SIGTERM)
        assert made.proxies["c"].process.wait(60) == 0
        before = made.answered
        wait_until(lambda: made.answered > before + 40, "load past the proxies")
        made.done.set()
        for each in loads:
            each.result(60)
        assert made.lost == cut
        assert set(made.statuses) == {200}
        assert made.ask("FolderSync", "D1").headers["X-Via"] is None


def test_what_may_not_be_repeated_is_not(tmp_path: Path) -> None:
    with farm(tmp_path) as made, ThreadPoolExecutor(1) as pool:
        device = "D1"
        name = str(made.ask("FolderSync", device).headers["X-Via"])
        sent = pool.submit(made.ask, "SendMail", device)

        def arrived() -> int:
            return sum("Cmd=SendMail" in request.target for request in made.old.server.requests)

        wait_until(lambda: arrived() == 1, "the mail reaches Exchange")
        made.proxies[name].signal(signal.SIGKILL)
        assert sent.result(60).status == 502
        assert made.ask("FolderSync", device).status == 200
        assert arrived() == 1


def test_a_device_stays_with_its_proxy(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        seen: dict[str, set[str]] = {}
        for _ in range(3):
            for number in range(12):
                device = f"Appl{number:04}"
                via = made.ask("FolderSync", device).headers["X-Via"]
                seen.setdefault(device, set()).add(str(via))
        assert {len(proxies) for proxies in seen.values()} == {1}
        assert len(set.union(*seen.values())) > 1
