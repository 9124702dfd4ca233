"""What a proxy on mitmproxy cannot keep: each difference pinned, and named in docs/why.md.

A row that fails has become better or worse with another mitmproxy: mend the row and the page.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.messages import CONFIG, EMPTY, PING, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Script, Wire, connected, dechunked
from tests.support import ROOT

pytestmark = pytest.mark.integration

GET = b"GET /owa/ HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@dataclass(frozen=True)
class Row:
    """`page` is how docs/why.md names it. What is None arrives as it was sent."""

    page: str
    request: bytes = GET
    request_arrives: bytes | None = None
    answer: bytes = EMPTY
    answer_arrives: bytes | None = None


def reason(phrase: bytes) -> bytes:
    return EMPTY.replace(b" OK", phrase)


ROWS = {
    "spaces of the request line": Row(
        "spaces between the parts of a request line",
        request=GET.replace(b" ", b"  ", 2),
        request_arrives=GET,
    ),
    "spaces around values": Row(
        "white space around a header's value",
        request=GET.replace(b"Host: a", b"Host:\t a \t"),
        request_arrives=GET,
        answer=EMPTY.replace(b"\r\n\r\n", b"\r\nX-A:1\r\n\r\n"),
        answer_arrives=EMPTY.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n"),
    ),
    "folded values": Row(
        "the indentation of a folded header",
        request=GET.replace(b"Host: a", b"Host: a\r\nX-Long: one\r\n\t  two"),
        request_arrives=GET.replace(b"Host: a", b"Host: a\r\nX-Long: one\r\n two"),
    ),
    "no reason phrase": Row(
        "a status line that ends with its number gets a space",
        answer=reason(b""),
        answer_arrives=reason(b" "),
    ),
    "bare line feeds": Row(
        "line ends of a head that are a bare LF",
        request=GET.replace(b"\r\n", b"\n"),
        request_arrives=GET,
        answer=EMPTY.replace(b"\r\n", b"\n"),
        answer_arrives=EMPTY,
    ),
    "lines before a request": Row(
        "empty lines before a message", request=b"\r\n\r\n" + GET, request_arrives=GET
    ),
    "absolute form": Row(
        "the scheme of an absolute target",
        request=GET.replace(b"/owa/", b"https://mail.contoso.example/owa/"),
        request_arrives=GET.replace(b"/owa/", b"http://mail.contoso.example/owa/"),
    ),
    "absolute form without a path": Row(
        "a path that it lacks becomes `/`",
        request=GET.replace(b"/owa/", b"http://mail.contoso.example"),
        request_arrives=GET.replace(b"/owa/", b"http://mail.contoso.example/"),
    ),
    "more than the answer": Row(
        "bytes after a complete answer",
        answer=EMPTY + b"more",
        answer_arrives=EMPTY,
    ),
    "spaces of the status line": Row(
        "or a status line",
        answer=reason(b"  OK"),
        answer_arrives=EMPTY,
    ),
    "h2c": Row(
        "an upgrade to cleartext HTTP/2",
        request=GET.replace(b"Host: a\r\n", b"Host: a\r\n" + UPGRADE),
        request_arrives=GET,
    ),
    "interim to HTTP/1.0": Row(
        "interim answers to a client of HTTP/1.0",
        request=GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer=b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY,
        answer_arrives=EMPTY,
    ),
}

REFUSED = {
    "two lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "two framings": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "odd coding": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n",
    "name with a space": b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    "spaces in the target": b"GET /owa/a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "chunked in HTTP/1.0": b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a user in the target": b"GET http://a:b@mail.contoso.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "not HTTP/n.n": b"GET / http/1.1\r\nHost: a\r\n\r\n",
}


class Server(RawServer):
    """Answers with one row's answer and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(self._answer_each)
        self.answer = EMPTY
        self.asked: list[bytes] = []
        self.then: Script | None = None  # instead of the next answer, once

    def _answer_each(self, wire: Wire) -> None:
        while True:
            self.asked.append(wire.read_request())
            if self.then is None:
                wire.send(self.answer)
            else:
                then, self.then = self.then, None
                return then(wire)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(tmp_path_factory.mktemp("differences"), mode, config=CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def page() -> str:
    text = (ROOT / "docs" / "why.md").read_text("utf-8")
    _, heading, section = text.partition("## What a proxy on mitmproxy cannot keep\n")
    assert heading
    return " ".join(section.partition("\n## ")[0].split())


@pytest.mark.parametrize("name", ROWS)
def test_a_difference_is_exactly_this(name: str, server: Server, proxy: Mitmdump) -> None:
    row = ROWS[name]
    server.answer = row.answer
    expected = row.answer_arrives or row.answer
    with connected(proxy.port) as client:
        client.send(row.request)
        assert client.read_exactly(len(expected)) == expected
    assert server.asked[-1] == (row.request_arrives or row.request)


@pytest.mark.parametrize("name", ROWS)
def test_a_difference_is_documented(name: str, page: str) -> None:
    assert ROWS[name].page in page


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_two_parties_could_read_differently_is_refused(
    name: str, server: Server, proxy: Mitmdump
) -> None:
    before = len(server.asked)
    with connected(proxy.port) as client:
        client.send(REFUSED[name])
        assert client.read_rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert len(server.asked) == before


def test_chunks_are_cut_anew_and_lose_their_extensions(server: Server, proxy: Mitmdump) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answer = head + b"3;x=y\r\nabc\r\n" + b"30000\r\n" + b"d" * 0x30000 + b"\r\n0\r\n\r\n"
    with connected(proxy.port) as client:
        client.send(GET)
        arrived = client.read_answer()
    assert arrived.startswith(head + b"3\r\nabc\r\n")
    body, trailers = dechunked(arrived.removeprefix(head))
    assert (body, trailers) == (b"abc" + b"d" * 0x30000, b"\r\n")
    assert arrived != server.answer


@pytest.mark.parametrize("request_", [GET, post(PING)], ids=["OWA", "Ping"])
def test_a_client_that_closes_its_half_is_taken_to_have_left_when_no_answer_begins(
    request_: bytes, server: Server, proxy: Mitmdump
) -> None:
    """RFC 9112 9.6 lets a server do so; without us IIS might still have answered. A client that
    closed the whole connection looks the same, and Exchange is to be freed."""
    asked, left = threading.Event(), threading.Event()

    def until_it_leaves(wire: Wire) -> None:
        asked.set()
        wire.wait_for_end()
        left.set()

    server.then = until_it_leaves
    with connected(proxy.port) as client:
        client.send(request_)
        assert asked.wait(20)
        client.half_close()
        assert client.read_rest() == b""
        assert left.wait(20)


def test_a_reset_arrives_as_a_close(server: Server, proxy: Mitmdump) -> None:
    """Without a length the client cannot tell that the body is not whole."""

    def breaks_off(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        wire.reset()

    for port, end in ((server.port, "reset"), (proxy.port, "close")):
        server.then = breaks_off
        with connected(port) as client:
            client.send(GET)
            assert client.wait_for_end() == end
