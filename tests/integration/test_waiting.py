"""Long waits: a silent Ping lives, a client that leaves frees Exchange, and Exchange may leave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.load import NOTHING_NEW, wait
from tests.integration.messages import CONFIG, EMPTY, PING, at, head, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Script, Wire, connected

pytestmark = pytest.mark.integration

# What a phone is to see when there is no answer: an error of the server, so that it comes back.
COME_BACK = b"HTTP/1.1 503 Service Unavailable\r\n"

# Seconds become hundredths: mitmproxy's 600 s end after 6, and the 4200 s of this job after 42.
FASTER = """
from mitmproxy.proxy.server import TimeoutWatchdog
started = TimeoutWatchdog.__init__
def start(self, timeout, callback):
    started(self, timeout / 100, callback)
TimeoutWatchdog.__init__ = start
"""


@pytest.fixture(scope="module")
def exchange() -> Iterator["Exchange"]:
    with Exchange() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(exchange: "Exchange", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    with mitmdump(tmp_path_factory.mktemp("waiting"), mode, config=CONFIG) as running:
        yield running


class Exchange(RawServer):
    """A server whose script each test sets, and which says when a request has come."""

    def __init__(self) -> None:
        super().__init__(self._serve_one)
        self.asked = threading.Event()
        self.left = threading.Event()
        self._then: Script = Wire.close

    def then(self, script: Script) -> None:
        self.asked.clear()
        self.left.clear()
        self._then = script

    def _serve_one(self, wire: Wire) -> None:
        wire.read_request()
        self.asked.set()
        self._then(wire)


def ping_after(seconds: float) -> Script:
    def script(wire: Wire) -> None:
        time.sleep(seconds)  # the silence itself is what is tested
        wire.send(NOTHING_NEW)

    return script


@pytest.mark.parametrize(
    ("addon", "outcome"), [(True, NOTHING_NEW), (False, b"")], ids=["with us", "mitmproxy alone"]
)
def test_a_silent_ping_outlives_mitmproxys_own_limit(
    addon: bool, outcome: bytes, tmp_path: Path
) -> None:
    """In hundredths: 900 s of silence, where mitmproxy gives up after 600."""
    (tmp_path / "faster.py").write_text(FASTER, "utf-8")
    with Exchange() as exchange:
        exchange.then(ping_after(9))
        words = ("-s", str(tmp_path / "faster.py"))
        mode = f"reverse:http://127.0.0.1:{exchange.port}"
        config = CONFIG if addon else None
        with (
            mitmdump(tmp_path, mode, config=config, addon=addon, arguments=words) as proxy,
            connected(proxy.port) as client,
        ):
            client.send(post(PING))
            try:
                answer = client.read_answer()
            except ConnectionError:
                answer = b""
    assert answer == outcome


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_ping_of_eleven_minutes_is_answered(tmp_path: Path) -> None:
    """Nothing sped up: beyond mitmproxy's 600 s. Run by `make test-long`."""
    with Exchange() as exchange:
        exchange.then(ping_after(660))
        mode = f"reverse:http://127.0.0.1:{exchange.port}"
        with (
            mitmdump(tmp_path, mode, config=CONFIG) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), timeout=800) as connection,
        ):
            connection.sendall(post(PING))
            assert connection.recv(65536) == NOTHING_NEW


def test_the_limit_that_a_user_set_stands_and_is_warned_of(tmp_path: Path) -> None:
    with Exchange() as exchange:
        exchange.then(ping_after(60))
        mode = f"reverse:http://127.0.0.1:{exchange.port}"
        options = {"tcp_timeout": "1"}
        with (
            mitmdump(tmp_path, mode, config=CONFIG, options=options) as proxy,
            connected(proxy.port) as client,
        ):
            client.send(post(PING))
            assert client.wait_for_end() == "close"
            proxy.wait_for_log("tcp_timeout=1: a Ping or Sync may wait 3540 s")


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
def test_a_client_that_leaves_frees_exchange_at_once(
    leave: Callable[[Wire], None], exchange: Exchange, proxy: Mitmdump
) -> None:
    def script(wire: Wire) -> None:
        wire.wait_for_end()
        exchange.left.set()

    exchange.then(script)
    lines = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(PING))
        assert exchange.asked.wait(20)
        leave(client)
        assert exchange.left.wait(5)
    (line,) = proxy.exchanges(lines + 1)[lines:]
    assert at(line, "error.type") == "client_left"
    assert at(line, "eas.decision") == "pass"


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
def test_when_exchange_leaves_the_phone_is_told_to_come_back(
    leave: Callable[[Wire], None], exchange: Exchange, proxy: Mitmdump
) -> None:
    exchange.then(leave)
    lines = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(PING))
        assert client.read_answer().startswith(COME_BACK)
    (line,) = proxy.exchanges(lines + 1)[lines:]
    assert at(line, "event.outcome") == "failure"
    assert at(line, "error.type") == "upstream_failed"
    assert at(line, "eas.decision") == "pass"


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
def test_a_client_that_gives_up_a_download_frees_exchange_at_once(
    leave: Callable[[Wire], None], exchange: Exchange, proxy: Mitmdump
) -> None:
    """As Outlook does with RPC_OUT_DATA, which never ends by itself."""

    def script(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 Success\r\nContent-Length: 1073741824\r\n\r\nfirst")
        wire.wait_for_end()
        exchange.left.set()

    exchange.then(script)
    with connected(proxy.port) as client:
        client.send(head(b"RPC_OUT_DATA /rpc/rpcproxy.dll?a:6001 HTTP/1.1"))
        client.read_head()
        assert client.read_exactly(5) == b"first"
        leave(client)
        assert exchange.left.wait(5)


def test_a_connection_that_exchange_closes_when_idle_ends_for_the_client_too(
    exchange: Exchange, proxy: Mitmdump
) -> None:
    """As without us: a phone that is out of reach would hold its own for over an hour."""
    exchange.then(lambda wire: wire.send(EMPTY))  # and closes: the script ends
    for _ in range(3):
        with connected(proxy.port) as client:
            client.send(post(PING))
            assert client.read_answer() == EMPTY
            assert client.wait_for_end() == "close"


def test_the_start_says_what_was_set(proxy: Mitmdump) -> None:
    assert "set for this job: tcp_timeout=4200" in proxy.log


async def test_many_pings_wait_at_once_and_all_are_answered(tmp_path: Path) -> None:
    """The short form of the benchmark, which has 5,000."""
    seen = await wait(tmp_path, pings=400, glances=20)
    assert seen.answered == 400
    assert seen.kib_each < 80
    assert seen.descriptors < 2 * 400 + 20
