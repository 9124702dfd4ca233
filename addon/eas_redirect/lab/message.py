"""HTTP/1.1 messages of the lab's stand-ins: requests read, replies written. Standard library only.

Source: RFC 9112.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024

type HeaderFields = tuple[tuple[str, str], ...]


class BadRequestError(Exception):
    """Bytes that are no HTTP/1.1 request, in one plain sentence."""


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


async def read_request(reader: asyncio.StreamReader, client: tuple[str, int]) -> Request | None:
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
