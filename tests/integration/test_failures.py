"""Answers that come early, are cut, or never come: what the client sees, and one journal line."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.messages import (
    ANNA,
    CONFIG,
    FOLDER_SYNC,
    LOCATION,
    NO_MAILBOX,
    SYNC,
    WBXML,
    at,
    head,
    post,
)
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Script, Wire, connected

pytestmark = pytest.mark.integration

OWA = b"/owa/"
# A device comes back after a 503 with Retry-After; whatever else calls is told by a gateway.
AWAY = {
    SYNC: b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Retry-After: 30\r\n",
    OWA: b"HTTP/1.1 502 Bad Gateway\r\n",
}
TARGETS = pytest.mark.parametrize("target", [SYNC, OWA], ids=["EAS", "OWA"])
LEAVING = pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
SECRET = b"hunter2-Basic-Passw0rd"  # in tests/data/secrets.txt
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"


class Legacy:
    """The server's script, set by each test."""

    def __init__(self) -> None:
        self.then: Script = Wire.close

    def serve(self, wire: Wire) -> None:
        self.then(wire)


@pytest.fixture(scope="module")
def legacy() -> Legacy:
    return Legacy()


@pytest.fixture(scope="module")
def server(legacy: Legacy) -> Iterator[RawServer]:
    with RawServer(legacy.serve) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(tmp_path_factory.mktemp("failures"), mode, config=CONFIG) as running:
        yield running


def sends(data: bytes, leave: Callable[[Wire], None] | None = None) -> Script:
    """Read a request, send the bytes, then leave, or stay until the client does."""

    def script(wire: Wire) -> None:
        wire.read_request()
        wire.send(data)
        if leave is None:
            wire.read_rest()
        else:
            leave(wire)

    return script


def journalled(proxy: Mitmdump, before: int, target: bytes) -> dict[str, object] | None:
    """The one line that an exchange left, if it is ActiveSync's; never a redirect."""
    expected = 1 if target != OWA else 0
    lines = proxy.exchanges(before + expected)[before:]
    assert len(lines) == expected
    assert all(at(line, "eas.decision") == "pass" for line in lines)
    return lines[0] if lines else None


@TARGETS
def test_an_unsolicited_100_goes_on_and_the_answer_follows(
    target: bytes, legacy: Legacy, proxy: Mitmdump
) -> None:
    """Old IIS sends it after any POST, asked for or not."""
    interim, final = (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    legacy.then = sends(interim + final)
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(target, body=b"abc"))
        assert client.read_head() == interim
        assert client.read_answer() == final
    line = journalled(proxy, before, target)
    assert line is None or at(line, "http.response.status_code") == 200


def test_an_unsolicited_100_does_not_hide_that_a_mailbox_moved(
    legacy: Legacy, proxy: Mitmdump
) -> None:
    legacy.then = sends(b"HTTP/1.1 100 Continue\r\n\r\n" + NO_MAILBOX)
    with connected(proxy.port) as client:
        client.send(post(FOLDER_SYNC, ANNA))
        assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert LOCATION in client.read_answer()


@TARGETS
@pytest.mark.parametrize(
    "answer",
    [
        TOO_LARGE,
        b"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["length", "chunked", "401"],
)
def test_an_answer_before_the_requests_end(
    target: bytes, answer: bytes, legacy: Legacy, proxy: Mitmdump
) -> None:
    may_send = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(answer)
        assert may_send.wait(20)
        wire.read_exactly(6)
        wire.read_rest()

    legacy.then = script
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(head(b"POST " + target + b" HTTP/1.1", b"Content-Length: 6") + b"abc")
        assert client.read_answer() == answer
        may_send.set()
        client.send(b"def")
        journalled(proxy, before, target)


@TARGETS
@LEAVING
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 100\r\n", b"half"), (b"Transfer-Encoding: chunked\r\n", b"ff\r\nhalf")],
    ids=["length", "chunked"],
)
def test_an_answer_cut_short_is_cut_short(
    target: bytes,
    leave: Callable[[Wire], None],
    framing: bytes,
    body: bytes,
    legacy: Legacy,
    proxy: Mitmdump,
) -> None:
    """As it would be without us: the head, what there was of the body, then the end."""
    cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n" + framing + b"\r\n"
    legacy.then = sends(cut + body, leave)
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(target))
        got = client.read_rest()
    assert got.startswith(cut)
    assert got.endswith((b"half", b"half\r\n"))
    assert b"0\r\n\r\n" not in got.removeprefix(cut)
    line = journalled(proxy, before, target)
    assert line is None or at(line, "event.outcome") == "failure"


@LEAVING
@pytest.mark.parametrize("length", [1, 8, 15])
def test_half_a_verdict_is_no_verdict(
    leave: Callable[[Wire], None], length: int, legacy: Legacy, proxy: Mitmdump
) -> None:
    """The answer that is being judged breaks off: an error of the server, so that it is retried."""
    legacy.then = sends(NO_MAILBOX[: -16 + length], leave)
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(FOLDER_SYNC, ANNA))
        answer = client.read_answer()
    assert answer.startswith(AWAY[SYNC])
    assert b"X-MS-Location" not in answer
    assert journalled(proxy, before, SYNC) is not None


@LEAVING
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
def test_a_whole_verdict_counts_however_exchange_leaves_afterwards(
    framing: str, leave: Callable[[Wire], None], legacy: Legacy, proxy: Mitmdump
) -> None:
    body = NO_MAILBOX.partition(b"\r\n\r\n")[2]
    head_of = {
        "length": b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        "until close": b"\r\n" + body,
    }
    legacy.then = sends(b"HTTP/1.1 200 OK\r\n" + WBXML + head_of[framing], leave)
    with connected(proxy.port) as client:
        client.send(post(FOLDER_SYNC, ANNA))
        answer = client.read_answer()
    # A reset may overtake the last bytes, and then there was no whole verdict.
    assert LOCATION in answer or (leave is Wire.reset and answer.startswith(AWAY[SYNC]))


@TARGETS
@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
    ids=["no HTTP", "no status", "no header", "two framings", "no length"],
)
def test_an_answer_that_is_no_http_is_none(
    target: bytes, garbage: bytes, legacy: Legacy, proxy: Mitmdump
) -> None:
    legacy.then = sends(garbage)
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(post(target))
        assert client.read_answer().startswith(AWAY[target])
    journalled(proxy, before, target)


@TARGETS
@pytest.mark.parametrize(
    "upstream", ["127.0.0.1:{free}", "mail.invalid:80"], ids=["refused", "DNS"]
)
def test_a_server_out_of_reach(target: bytes, upstream: str, tmp_path: Path) -> None:
    """RFC 6761 6.4: `.invalid` never resolves."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    mode = "reverse:http://" + upstream.format(free=free)
    with mitmdump(tmp_path, mode, config=CONFIG) as proxy:
        for _ in range(2):
            with connected(proxy.port) as client:
                client.send(post(target, body=b"abc"))
                assert client.read_answer().startswith(AWAY[target])
        lines = proxy.exchanges(2 if target == SYNC else 0)
        assert len(lines) == (2 if target == SYNC else 0)
        for line in lines:
            assert at(line, "event.outcome") == "failure"
            assert at(line, "error.type") == "upstream_failed"
            assert at(line, "error.message")
            assert at(line, "http.response.status_code") == 503
            assert at(line, "eas.upstream.status_code") is None
        proxy.wait_for_log("error establishing server connection")


@pytest.mark.parametrize(
    "broken",
    [
        b"POST " + SYNC + b" HTTP/1.1\r\nAuthorization: Basic " + SECRET + b"\r\n",
        b"POST " + SYNC + b" HTTP/1.1\r\nAuthorization Basic " + SECRET + b"\r\n\r\n",
        b"POST " + SYNC + b"&x=" + SECRET + b" HTTP/1.1 or so\r\n\r\n",
        head(b"POST " + SYNC + b" HTTP/1.1", b"A b" + SECRET + b": 1"),
    ],
    ids=["cut", "no colon", "no request line", "no header name"],
)
def test_what_could_not_be_read_is_not_quoted(broken: bytes, proxy: Mitmdump) -> None:
    with connected(proxy.port) as client:
        client.send(broken)
        client.half_close()
        client.read_rest()
    proxy.wait_for_log("client disconnect")
    journal = (proxy.directory / "journal.jsonl").read_text("utf-8")
    assert SECRET.decode() not in proxy.log + journal


@LEAVING
def test_an_upload_broken_off_is_the_clients_doing(
    leave: Callable[[Wire], None], legacy: Legacy, proxy: Mitmdump
) -> None:
    arrived = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_head()
        arrived.set()
        wire.read_rest()

    legacy.then = script
    before = proxy.settled()
    with connected(proxy.port) as client:
        client.send(head(b"POST " + SYNC + b" HTTP/1.1", b"Content-Length: 99") + b"abc")
        assert arrived.wait(20)
        leave(client)
        line = journalled(proxy, before, SYNC)
    assert line is not None
    assert at(line, "error.type") == "client_left"
    assert at(line, "http.response.status_code") is None


def test_after_the_failures_it_still_redirects(legacy: Legacy, proxy: Mitmdump) -> None:
    legacy.then = sends(NO_MAILBOX)
    with connected(proxy.port) as client:
        client.send(post(FOLDER_SYNC, ANNA))
        assert LOCATION in client.read_answer()
    assert "Traceback" not in proxy.log
    assert "has crashed" not in proxy.log
