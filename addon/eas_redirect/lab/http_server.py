"""A small HTTP/1.1 server on a thread of its own: what the lab's stand-ins are made of.

A test can send exactly the bytes that it wants and see exactly the bytes that arrive, even if they
are not HTTP. It is not meant for strangers; `telemetry/web.py` is. Standard library only. Source:
RFC 9112.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024

type HeaderFields = tuple[tuple[str, str], ...]


class BadRequestError(Exception):
    """Bytes that are not an HTTP/1.1 request, in one plain sentence."""


def field_value(headers: HeaderFields, name: str) -> str | None:
    """The first value of a header, by its name in any case."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `target` is the request target, query included."""

    method: str
    target: str
    headers: HeaderFields
    body: bytes = b""
    client: tuple[str, int] = ("", 0)

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return field_value(self.headers, name)

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it shall go out.

    `body` may be an async iterator of parts, which then go out chunked, each as it comes. A
    `chunked` reply of bytes goes out in two chunks. `raw` replaces everything: exactly these bytes
    are written and the connection is closed.
    """

    status: int
    headers: HeaderFields = ()
    body: bytes | AsyncIterator[bytes] = b""
    reason: str | None = None
    chunked: bool = False
    close: bool = False
    raw: bytes | None = None

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return field_value(self.headers, name)


async def read_lab_request(reader: asyncio.StreamReader, client: tuple[str, int]) -> Request | None:
    """The next request of a connection, or None when the client has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError("The head is longer than 64 kB.") from error
    request_line, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    match request_line.split(" "):
        case [method, target, "HTTP/1.1" | "HTTP/1.0"]:
            headers = tuple(_header(line) for line in lines)
        case _:
            raise BadRequestError("The request line is malformed.")
    bare = Request(method, target, headers)
    return Request(method, target, headers, await _read_body(reader, bare), client)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise BadRequestError("A header line is malformed.")
    return name, value.strip()


async def _read_body(reader: asyncio.StreamReader, request: Request) -> bytes:
    if (request.header("Transfer-Encoding") or "").lower() == "chunked":
        return await _read_chunks(reader)
    length = request.header("Content-Length") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequestError("The Content-Length is not one that can be read.")
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size_text = (await reader.readuntil(b"\r\n")).split(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise BadRequestError("A chunk size is malformed.") from error
        if not 0 <= size <= MAX_BODY - len(body):
            raise BadRequestError("The body is too long.")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if size == 0:
            return bytes(body)


async def write_reply(writer: asyncio.StreamWriter, reply: Reply, method: str) -> None:
    """Write a reply with the framing that it needs."""
    if reply.raw is not None:
        writer.write(reply.raw)
        await writer.drain()
        return
    streamed = reply.chunked or not isinstance(reply.body, bytes)
    writer.write(_head(reply, streamed=streamed))
    if method == "HEAD":
        pass
    elif isinstance(reply.body, bytes) and not reply.chunked:
        writer.write(reply.body)
    else:
        await _write_chunks(writer, reply.body)
    await writer.drain()


def _head(reply: Reply, *, streamed: bool) -> bytes:
    """Status line and headers; the framing header unless the reply brings its own."""
    fields = list(reply.headers)
    if streamed:
        fields.append(("Transfer-Encoding", "chunked"))
    elif reply.header("Content-Length") is None and isinstance(reply.body, bytes):
        fields.append(("Content-Length", str(len(reply.body))))
    lines = [f"HTTP/1.1 {reply.status} {reply.reason or _phrase(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int) -> str:
    """IIS says `Need Provisioning` for 449 and has a phrase of its own for 451, too."""
    own = {449: "Need Provisioning", 451: "Redirect"}
    if status in own:
        return own[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


async def _write_chunks(writer: asyncio.StreamWriter, body: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(body, bytes):
        middle = (len(body) + 1) // 2
        for part in (body[:middle], body[middle:]):
            await _write_chunk(writer, part)
    else:
        async for part in body:
            await _write_chunk(writer, part)
    writer.write(b"0\r\n\r\n")


async def _write_chunk(writer: asyncio.StreamWriter, part: bytes) -> None:
    if part:
        writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        await writer.drain()


type Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One request with the reply that was given to it."""

    request: Request
    reply: Reply


class Server:
    """`with Server(handler) as server: server.port` - http, or https with an `ssl.SSLContext`.

    `exchanged` grows by one pair per answered request, `requests` by one per received request, so
    a test sees a Ping that still waits. Either is safe to read from other threads.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listener: socket.socket | None = None,
    ) -> None:
        self._handler = handler
        self._tls = tls
        self.host = host
        self.port = port
        self.requests: list[Request] = []
        self.exchanged: list[Exchanged] = []
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen before returning, so that nobody has to wait for the server to be there."""
        if self._listener is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self._listener = socket.create_server((self.host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def stop(self) -> None:
        """Close the listener and every connection; what waits is cut. Idempotent."""
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # The loop has already ended.
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, sock=self._listener, ssl=self._tls)
        )
        ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._end_connections())
            self._loop.close()

    async def _end_connections(self) -> None:
        tasks = tuple(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass  # The other side has gone, or the server is stopping.
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until it is closed."""
        client = writer.get_extra_info("peername")
        while True:
            try:
                request = await read_lab_request(reader, (client[0], client[1]))
            except BadRequestError as error:
                await write_reply(writer, Reply(400, body=str(error).encode()), "GET")
                await _finish(writer)
                return
            if request is None:
                return
            self.requests.append(request)
            reply = await self._handler(request)
            self.exchanged.append(Exchanged(request, reply))
            await write_reply(writer, reply, request.method)
            if reply.close or reply.raw is not None or _asks_to_close(request):
                await _finish(writer)
                return


def _asks_to_close(request: Request) -> bool:
    return (request.header("Connection") or "").lower() == "close"


async def _finish(writer: asyncio.StreamWriter) -> None:
    """Let what was written arrive before the connection is dropped."""
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 5)
