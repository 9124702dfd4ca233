"""Bodies pass as they come, and memory stays flat: Outlook Anywhere, MAPI, downloads, tunnels."""

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader

from tests.integration.load import MIB, move, peak_while, transfer
from tests.integration.messages import CONFIG, ITEMS, SYNC, WBXML, at, head
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Script, Wire, connected

pytestmark = pytest.mark.integration

GIGABYTE = 1 << 30


class Upstream:
    """A server that does what each test says, on the next connection."""

    def __init__(self) -> None:
        self._script: Script = Wire.close

    def serve(self, wire: Wire) -> None:
        self._script(wire)

    def then(self, script: Script) -> None:
        self._script = script


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def server(upstream: Upstream) -> Iterator[RawServer]:
    with RawServer(upstream.serve) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(tmp_path_factory.mktemp("streaming"), mode, config=CONFIG) as running:
        yield running


def test_outlook_anywhere_runs_both_ways_at_once(upstream: Upstream, proxy: Mitmdump) -> None:
    """MS-RPCH 2.1.2.1: IN sends and OUT receives without end, each on its own connection."""
    length = b"Content-Length: %d" % GIGABYTE
    out_may_go = threading.Event()

    def script(wire: Wire) -> None:
        first = wire.read_head()
        if first.startswith(b"RPC_IN_DATA"):
            for _ in range(5):
                assert wire.read_exactly(4) == b"ping"
                out_may_go.set()
            wire.read_rest()
        else:
            wire.send(head(b"HTTP/1.1 200 Success", length, b"Content-Type: application/rpc"))
            assert out_may_go.wait(20)
            for _ in range(5):
                wire.send(b"pong")
            wire.read_rest()

    upstream.then(script)
    with connected(proxy.port) as into, connected(proxy.port) as out:
        out.send(head(b"RPC_OUT_DATA /rpc/rpcproxy.dll?a:6001 HTTP/1.1", b"Content-Length: 0"))
        assert b"200 Success" in out.read_head()
        into.send(head(b"RPC_IN_DATA /rpc/rpcproxy.dll?a:6001 HTTP/1.1", length))
        for _ in range(5):
            into.send(b"ping")
        assert out.read_exactly(20) == b"pong" * 5


def test_mapi_over_http_tells_that_it_is_pending(upstream: Upstream, proxy: Mitmdump) -> None:
    seen = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_request()
        wire.send(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
        wire.send(b"c\r\nPROCESSING\r\n\r\n")
        assert seen.wait(20)
        wire.send(b"6\r\nDONE\r\n\r\n0\r\n\r\n")

    upstream.then(script)
    with connected(proxy.port) as client:
        client.send(head(b"POST /mapi/emsmdb/ HTTP/1.1", b"Content-Length: 0"))
        client.read_head()
        assert client.read_exactly(17) == b"c\r\nPROCESSING\r\n\r\n"
        seen.set()
        assert client.read_exactly(16) == b"6\r\nDONE\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("target", [SYNC, b"/owa/up"], ids=["EAS", "OWA"])
def test_an_upload_reaches_the_server_while_it_is_sent(
    target: bytes, upstream: Upstream, proxy: Mitmdump
) -> None:
    arrived = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.read_exactly(5)
        arrived.set()
        wire.read_exactly(5)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.then(script)
    with connected(proxy.port) as client:
        client.send(head(b"POST " + target + b" HTTP/1.1", b"Content-Length: 10") + b"12345")
        assert arrived.wait(20)
        client.send(b"67890")
        client.read_answer()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/owa/", b"Content-Length: 10\r\n"),
        (b"/owa/", b""),
        (ITEMS, b"Content-Type: application/vnd.ms-sync.multipart\r\nContent-Length: 10\r\n"),
        (ITEMS, WBXML + b"Content-Length: 65537\r\n"),
        (SYNC, b"Content-Length: 10\r\n"),
    ],
    ids=["OWA", "OWA until close", "multipart", "longer than evidence", "no WBXML"],
)
def test_an_answer_that_cannot_be_the_one_passes_as_it_comes(
    target: bytes, headers: bytes, upstream: Upstream, proxy: Mitmdump
) -> None:
    seen = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n12345")
        seen.wait(20)

    upstream.then(script)
    with connected(proxy.port) as client:
        client.send(head(b"POST " + target + b" HTTP/1.1", b"Content-Length: 0"))
        client.read_head()
        assert client.read_exactly(5) == b"12345"
        seen.set()


def test_a_chunked_answer_is_held_up_to_its_bound_only(upstream: Upstream, proxy: Mitmdump) -> None:
    seen = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\n" + WBXML + b"Transfer-Encoding: chunked\r\n\r\n")
        wire.send(b"11000\r\n" + b"a" * 0x11000 + b"\r\n")
        assert seen.wait(20), "the client saw nothing of the first 68 KiB"
        wire.send(b"1\r\nb\r\n0\r\n\r\n")

    upstream.then(script)
    with connected(proxy.port) as client:
        client.send(head(b"POST " + SYNC + b" HTTP/1.1", b"Content-Length: 0"))
        answer = client.read_head()
        seen.set()
        assert client.read_body(answer).endswith(b"b\r\n0\r\n\r\n")


def test_inflating_is_bounded(upstream: Upstream, proxy: Mitmdump) -> None:
    """60 MB of zeros in 58 kB: passed on as it is, never inflated here."""
    bomb = gzip.compress(bytes(60_000_000), 9)
    assert len(bomb) < 64 * 1024
    packed = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    answer = b"HTTP/1.1 200 OK\r\n" + WBXML + packed + bomb

    def script(wire: Wire) -> None:
        wire.read_request()
        wire.send(answer)
        wire.read_rest()

    upstream.then(script)
    before, lines = proxy.resident_kib(), proxy.settled()
    with connected(proxy.port) as client:
        client.send(head(b"POST " + SYNC + b" HTTP/1.1", b"Content-Length: 0"))
        assert client.read_answer() == answer
    (line,) = proxy.exchanges(lines + 1)[lines:]
    assert at(line, "event.reason") == "malformed_answer"
    assert proxy.resident_kib() - before < 20 * 1024


def test_an_upgraded_connection_is_a_plain_tunnel(upstream: Upstream, proxy: Mitmdump) -> None:
    """WebSocket frames (RFC 6455 5.2) and anything else, byte for byte, in no one's memory."""
    frame = b"\x82\x7e\x01\x00" + bytes(range(256))
    switch = head(
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    )

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(switch + frame)
        for _ in range(50):
            wire.send(wire.read_exactly(len(frame))[::-1])
        wire.read_rest()

    upstream.then(script)
    with connected(proxy.port) as client:
        asked = head(
            b"GET /owa/ev.owa2?ns=socket HTTP/1.1",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
        )
        client.send(asked)
        assert client.read_head() == switch
        assert client.read_exactly(len(frame)) == frame
        for _ in range(50):
            client.send(frame)
            assert client.read_exactly(len(frame)) == frame[::-1]


def test_memory_stays_flat_whatever_passes(upstream: Upstream, proxy: Mitmdump) -> None:
    """The short form of the benchmark: 4 downloads and 4 uploads of 24 MiB at once."""
    size = 24 * MIB
    upstream.then(transfer)
    peak = peak_while(proxy, lambda: move(proxy.port, size, at_once=4))
    assert peak < 40 * 1024, f"{peak} KiB"


def test_a_client_that_does_not_read_costs_no_memory(upstream: Upstream, proxy: Mitmdump) -> None:
    """What cannot be passed on is not fetched either: the server is held up instead."""
    sent = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.stream(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (96 * MIB))
        wire.stream(bytes(96 * MIB))
        sent.set()

    upstream.then(script)
    before = proxy.resident_kib()
    with connected(proxy.port) as client:
        client.send(head(b"GET /OAB/big HTTP/1.1"))
        client.read_head()
        assert not sent.wait(2), "96 MiB went somewhere"
        assert proxy.resident_kib() - before < 40 * 1024
        client.skip(96 * MIB)
        assert sent.wait(20)


def test_a_capture_that_wants_bodies_has_them(upstream: Upstream, tmp_path: Path) -> None:
    """eas_bodies=keep: everything streams as before, and is kept as well."""

    def script(wire: Wire) -> None:
        while True:
            wire.read_request()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer")

    upstream.then(script)
    capture = tmp_path / "capture.mitm"
    with RawServer(upstream.serve) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        keep = {"eas_bodies": "keep"}
        words = ("-w", str(capture))
        with mitmdump(tmp_path, mode, config=CONFIG, options=keep, arguments=words) as proxy:
            with connected(proxy.port) as client:
                for target in (SYNC, b"/owa/"):
                    client.send(
                        head(b"POST " + target + b" HTTP/1.1", b"Content-Length: 3") + b"ask"
                    )
                    client.read_answer()
            proxy.stop()
    with capture.open("rb") as stream:
        bodies = [
            (flow.request.raw_content, flow.response.raw_content)
            for flow in FlowReader(stream).stream()
            if isinstance(flow, HTTPFlow) and flow.response
        ]
    assert bodies == [(b"ask", b"answer")] * 2
