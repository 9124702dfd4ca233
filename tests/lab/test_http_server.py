"""The stand-ins' HTTP server on raw sockets: framing, keep-alive, what it refuses, how it ends."""

import asyncio
import http.client
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Reply, Request, Server


async def echo(request: Request) -> Reply:
    """Says what came; `/parts` streams, `/chunks` is chunked, `/raw` breaks the protocol."""
    match request.path:
        case "/parts":
            return Reply(200, body=_parts())
        case "/chunks":
            return Reply(200, body=b"abcdef", chunked=True)
        case "/raw":
            return Reply(200, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        case "/wait":
            await asyncio.sleep(3600)
    return Reply(200, (("X-Method", request.method),), request.body)


async def _parts() -> AsyncIterator[bytes]:
    for part in (b"one ", b"", b"two"):
        yield part


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def _speak(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(sent)
        return _read_all(connection)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/", b""), ("/parts", b"one two"), ("/chunks", b"abcdef")],
)
def test_bodies_arrive_whole_whatever_their_framing(path: str, body: bytes) -> None:
    with Server(echo) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(2):  # the second on the same connection
            connection.request("GET", path)
            assert connection.getresponse().read() == body
        connection.close()
        assert len(server.exchanged) == 2


def test_a_chunked_request_is_read_whole() -> None:
    with Server(echo) as server:
        head = (
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        answer = _speak(server.port, head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nabcde")
        assert server.requests[0].body == b"abcde"


def test_raw_bytes_go_out_as_they_are() -> None:
    with Server(echo) as server:
        sent = b"GET /raw HTTP/1.1\r\nHost: x\r\n\r\n"
        assert _speak(server.port, sent) == b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_400(sent: bytes) -> None:
    with Server(echo) as server:
        assert _speak(server.port, sent).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert server.requests == []


def test_stopping_cuts_what_waits() -> None:
    with Server(echo) as server:
        connection = socket.create_connection(("127.0.0.1", server.port), 20)
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 20
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.01)
    with connection:
        assert connection.recv(1) == b""
    server.stop()  # again: nothing happens


def test_https(tmp_path: Path) -> None:
    lab = LabCertificates(tmp_path)
    tls = lab.issue("front", ["localhost", "127.0.0.1"]).server_context()
    with Server(echo, tls=tls) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, context=lab.client_context(), timeout=20
        )
        connection.request("POST", "/", b"hello")
        assert connection.getresponse().read() == b"hello"
        connection.close()
