"""The small HTTP server against well-behaved, careless and hostile clients, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eas_redirect.telemetry import web
from eas_redirect.telemetry.web import ListenAddress, Page, WebServer, parse_listen

BODY = b"hello\n"


async def hello() -> Page:
    return Page(body=BODY)


async def broken() -> Page:
    raise RuntimeError("bind-Passw0rd-of-the-proxy")


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    server = WebServer({"/": hello, "/broken": broken})
    await server.start(ListenAddress())
    yield server
    server.close()
    await asyncio.sleep(0)  # what was cut is closed in the loop's next turn


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the server tells nobody about its connections
            await asyncio.sleep(0.01)


async def leave(held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in held:
        writer.close()
    await asyncio.gather(*(w.wait_closed() for _, w in held), return_exceptions=True)


async def ask(server: WebServer, request: bytes, *, eof: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    if eof:
        writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


async def test_get(server: WebServer) -> None:
    answer = await ask(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 6" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert body == BODY


async def test_head_has_the_same_head_and_no_body(server: WebServer) -> None:
    get = await ask(server, b"GET /?a=b HTTP/1.0\r\n\r\n")
    head = await ask(server, b"HEAD / HTTP/1.0\r\n\r\n")
    assert get == head + BODY


async def test_a_client_that_ends_its_side_early_is_answered(server: WebServer) -> None:
    assert (await ask(server, b"GET / HTTP/1.0\r\n\r\n", eof=True)).endswith(BODY)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET //host/ HTTP/1.1\r\n\r\n", 404),
        (b"GET http://evil.example.test/ HTTP/1.1\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", 405),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT host:443 HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1 extra\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"G\xc3\x89T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * web.MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
    ],
)
async def test_anything_else_is_refused(
    server: WebServer, request_bytes: bytes, status: int
) -> None:
    answer = await ask(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Passw0rd" not in answer
    assert BODY not in answer
    assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).endswith(BODY)


async def test_a_slow_head_is_cut_off(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.05)
    assert await ask(server, b"GET / HT") == b""


async def test_a_reader_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ANSWER_TIMEOUT_S", 0.05)

    async def large() -> Page:
        return Page(body=b"x" * 50_000_000)

    server = WebServer({"/": large})
    await server.start(ListenAddress())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: bool(server._connections))
    await until(lambda: not server._connections)
    server.close()
    writer.transport.abort()
    assert reader is not None


async def test_connections_are_bounded(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 3)
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(6)]
    await until(lambda: len(server._connections) == 3)
    for reader, _ in held[:3]:
        assert await reader.read() == b""
    await leave(held)
    await until(lambda: not server._connections)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\n\r\n"], ids=["silent", "slow", "does not leave"]
)
async def test_whoever_only_holds_places_starves_nobody(server: WebServer, sent: bytes) -> None:
    held = []
    for _ in range(web.MAX_CONNECTIONS + 10):
        held.append(await asyncio.open_connection("127.0.0.1", server.port))
        held[-1][1].write(sent)
    for _ in range(20):
        assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).endswith(BODY)
    assert len(server._connections) <= web.MAX_CONNECTIONS
    await leave(held)


@pytest.fixture
async def named() -> AsyncIterator[WebServer]:
    pages = {"/": hello, "/metrics": hello}
    server = WebServer(pages, for_people={"/"}, host_names=lambda: ("proxy.contoso.example",))
    await server.start(ListenAddress())
    yield server
    server.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"", 200),  # no browser
        (b"Host: 127.0.0.1:9120\r\n", 200),
        (b"Host: 10.20.30.40\r\n", 200),
        (b"Host: [::1]:9120\r\n", 200),
        (b"Host: [2001:db8::7]\r\n", 200),
        (b"host:LocalHost:9120\r\n", 200),
        (b"Host: proxy.contoso.example\r\n", 200),
        (b"Host: PROXY.contoso.example.:9120\r\n", 200),
        (b"Host: evil.example.test\r\n", 421),
        (b"Host: evil.example.test:9120\r\n", 421),
        (b"Host: 127.0.0.1.evil.example.test\r\n", 421),
        (b"Host: a.localhost\r\n", 421),
        (b"Host: localhost\r\nHost: evil.example.test\r\n", 421),
        (b"Host: 127.0.0.1@evil.example.test\r\n", 421),
        (b"Host: \r\n", 421),
        (b"Host: \xff\r\n", 421),
    ],
)
async def test_pages_for_people_answer_to_our_names_alone(
    named: WebServer, host: bytes, status: int
) -> None:
    answer = await ask(named, b"GET / HTTP/1.1\r\n" + host + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (BODY in answer) == (status == 200)
    assert (b"metrics.host_names" in answer) == (status == 421)
    machine = await ask(named, b"GET /metrics HTTP/1.1\r\n" + host + b"\r\n")
    assert machine.endswith(BODY)


LOOPBACK, ELSEWHERE = ("127.0.0.1", 50000), ("10.1.2.3", 50000)


@pytest.mark.parametrize(
    ("peer", "head", "local"),
    [
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9120", True),
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: localhost:9120", True),
        (("::1", 5, 0, 0), b"GET / HTTP/1.1\r\nHost: [::1]:9120", True),
        (("::ffff:127.0.0.1", 5, 0, 0), b"GET / HTTP/1.1\r\nHost: 127.0.0.1", True),
        ("", b"GET / HTTP/1.1", True),  # a Unix socket, as the workers' is asked
        ("", b"GET / HTTP/1.1\r\nHost: localhost", True),
        (LOOPBACK, b"GET / HTTP/1.0", True),  # wget of old; no proxy leaves Host out
        (ELSEWHERE, b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9120", False),
        (("fe80::1%eth0", 5, 0, 2), b"GET / HTTP/1.1\r\nHost: localhost", False),
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: 10.20.30.40", False),
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: proxy.contoso.example", False),
        ("", b"GET / HTTP/1.1\r\nHost: proxy.contoso.example", False),
        (LOOPBACK, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: 10.1.1.1", False),
        (LOOPBACK, b"GET / HTTP/1.0\r\nHost: 127.0.0.1:9120", False),  # nginx, as it comes
        ("", b"GET / HTTP/1.0\r\nHost: localhost", False),
        *(
            (LOOPBACK, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + name + b": 10.1.2.3", False)
            for name in (
                b"X-Forwarded-For", b"x-forwarded-host", b"Forwarded", b"VIA", b"X-Real-IP",
                b"X-Client-IP", b"True-Client-IP", b"CF-Connecting-IP", b"X-Original-Host",
                b"x-envoy-external-address", b"X-Cluster-Client-IP", b"X-Forwarded-For ",
            )
        ),
    ],
)  # fmt: skip
def test_who_is_on_this_machine(peer: object, head: bytes, local: bool) -> None:
    assert web.is_local(head + b"\r\nAccept: */*\r\n\r\n", peer) is local


async def test_readers_elsewhere_get_another_page() -> None:
    async def counts() -> Page:
        return Page(body=b"counts\n")

    server = WebServer({"/": hello}, elsewhere={"/": counts})
    await server.start(ListenAddress())
    here = await ask(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    there = await ask(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nVia: 1.1 x\r\n\r\n")
    assert here.endswith(BODY)
    assert there.endswith(b"counts\n")
    server.close()


async def test_it_says_where_it_listens() -> None:
    server = WebServer({"/": hello})
    await server.start(parse_listen(":0"))
    assert str(server.address) == f"127.0.0.1:{server.port}"
    assert server.port
    server.close()


async def test_a_page_is_made_once_a_second_at_most() -> None:
    now, made = 100.0, 0

    async def counted() -> Page:
        nonlocal made
        made += 1
        return Page(body=str(made).encode())

    server = WebServer({"/": counted}, clock=lambda: now)
    await server.start(ListenAddress())
    answers = await asyncio.gather(*(ask(server, b"GET / HTTP/1.1\r\n\r\n") for _ in range(20)))
    assert {answer[-1:] for answer in answers} == {b"1"}
    now += web.FRESH_S
    assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n2")
    server.close()


async def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    server = WebServer({"/": hello})
    await server.start(ListenAddress(path=path))
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.read()).endswith(BODY)
    writer.close()
    server.close()


async def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "mail.pem").write_text("a key")
    with pytest.raises(OSError, match="in use"):
        await WebServer({"/": hello}).start(ListenAddress(path=str(tmp_path / "mail.pem")))
    assert (tmp_path / "mail.pem").read_text() == "a key"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9120", "127.0.0.1:9120"),
        (":9120", "127.0.0.1:9120"),
        ("[::1]:9120", "[::1]:9120"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("unix:/run/eas/s", "unix:/run/eas/s"),
    ],
)
def test_parse_listen(text: str, expected: str) -> None:
    assert str(parse_listen(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "9120", "host:", "host:x", "host:-1", "h:65536", "unix:", "h:٣"]
)
def test_parse_listen_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|path of a socket"):
        parse_listen(text)
