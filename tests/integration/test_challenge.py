"""What a 403 is worth: only where Exchange is known to ask for a logon, and of whom it has checked.

A real mitmdump in front of a server that may or may not ask.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.device import LOCATION, ask
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.running import run
from tests.support import DATA

pytestmark = pytest.mark.integration

CONFIG = f"""
mode = "enforce"
[directory]
snapshot = "{DATA / "migration.ldif"}"
"""


class Front(ThreadingHTTPServer):
    """403 to whoever logs on; to others what `without_a_logon` says."""

    def __init__(self, without_a_logon: int) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.without_a_logon = without_a_logon
        self.nameless: list[str] = []  # who asked without a logon


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def do_OPTIONS(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = 403
        if "Authorization" not in self.headers:
            status = self.server.without_a_logon
            self.server.nameless.append(f"{self.command} {self.headers['User-Agent']}")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_OPTIONS()

    def log_message(self, *args: object) -> None:
        """Nothing on the tests' terminal."""


@contextmanager
def front(without_a_logon: int) -> Iterator[Front]:
    with Front(without_a_logon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def proxied(tmp_path: Path, server: Front) -> AbstractContextManager[Mitmdump]:
    upstream = f"reverse:http://127.0.0.1:{server.server_port}"
    return mitmdump(tmp_path, upstream, config=CONFIG)


def until_asked(server: Front) -> None:
    deadline = time.monotonic() + 15
    while not server.nameless and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # what it answered has to arrive
    (asked,) = server.nameless
    assert asked.startswith("OPTIONS eas-redirect/"), "asked once, at the start"


def reason(proxy: Mitmdump, number: int) -> object:
    event = proxy.exchanges(number)[number - 1]["event"]
    assert isinstance(event, dict)
    return event["reason"]


def test_a_server_that_asks_for_a_logon(tmp_path: Path) -> None:
    with front(401) as server, proxied(tmp_path, server) as proxy:
        until_asked(server)
        moved = ask(proxy.port, "anna@contoso.example", "forbidden")
        assert (moved.status, moved.header("X-MS-Location")) == (451, LOCATION)
        assert ask(proxy.port, "bert@contoso.example", "forbidden").status == 403
        assert reason(proxy, 2) == "recipient_has_mailbox"


@pytest.mark.parametrize("status", [403, 200])
def test_a_front_that_asks_nobody(tmp_path: Path, status: int) -> None:
    with front(status) as server, proxied(tmp_path, server) as proxy:
        until_asked(server)
        proxy.wait_for_log("a 403 redirects nobody")
        assert ask(proxy.port, "anna@contoso.example", "forbidden").status == 403
        assert reason(proxy, 1) == "logon_not_proven"


def test_a_client_s_own_401_counts_too(tmp_path: Path) -> None:
    with front(403) as server, proxied(tmp_path, server) as proxy:
        until_asked(server)
        server.without_a_logon = 401
        assert ask(proxy.port, None, "challenged").status == 401
        assert ask(proxy.port, "anna@contoso.example", "forbidden").status == 451


def test_every_worker_knows_what_one_has_met(tmp_path: Path) -> None:
    """Connections are spread by the kernel; no phone here ever goes without a logon."""
    with (
        front(401) as server,
        run(tmp_path, f"http://127.0.0.1:{server.server_port}", "--workers", "2") as running,
    ):
        time.sleep(2)  # a worker looks at what another has met once a second
        answers = {ask(running.port, "anna@contoso.example", "x").status for _ in range(16)}
        assert answers == {451}
