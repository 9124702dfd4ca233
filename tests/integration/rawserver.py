"""Raw sockets for both ends of the proxy: every byte is recorded, nothing is put right.

`Wire` is one connection of either end; `RawServer` runs a script for each connection it accepts,
but for those of the proxy's own, which it answers as Exchange does.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

TIMEOUT_S = 30  # of each read: a hang becomes a failure
HEAD_END = b"\r\n\r\n"
# What Exchange says to a request without a logon.
CHALLENGE = (
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


def _is_own_request(data: bytes) -> bool:
    asks = data.startswith(
        (
            b"OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1\r\n",
            b"POST /autodiscover/autodiscover.xml HTTP/1.1\r\n",
        )
    )
    return asks and b"\r\nUser-Agent: eas-redirect/" in data


class ClosedError(ConnectionError):
    """The peer closed before everything that was waited for had come."""


class OwnRequestError(Exception):
    """The proxy asks by itself whether this server wants a logon: no exchange of a test's."""


class Wire:
    """One connection. `received` and `sent` hold all bytes, `ended` how the peer left."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        self._socket = connection
        self._unread = bytearray()
        self.received = bytearray()
        self.sent = bytearray()
        self.ended: str | None = None  # "close", "reset"
        self.data: dict[str, str] = {}  # what a script remembers of its connection

    def patience(self, timeout_s: float) -> None:
        """How long a read or a write may take from now on."""
        self._socket.settimeout(timeout_s)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)
        self.sent += data

    def stream(self, data: bytes) -> None:
        """Send without a record: for bodies too big to keep."""
        self._socket.sendall(data)

    def skip(self, count: int) -> None:
        """Read so many bytes without a record."""
        count -= len(self._take(min(count, len(self._unread))))
        while count:
            count -= len(self._socket.recv(min(count, 1 << 20))) or self._gone()

    def _gone(self) -> int:
        raise ClosedError(self._so_far())

    def read_until(self, end: bytes) -> bytes:
        """Up to and with `end`."""
        while (at := self._unread.find(end)) < 0:
            self._fill()
        return self._take(at + len(end))

    def read_exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._fill()
        return self._take(count)

    def read_rest(self) -> bytes:
        """Until the peer closes or resets; `ended` says which."""
        while self.ended is None:
            try:
                self._fill()
            except ClosedError:
                break
        return self._take(len(self._unread))

    def read_head(self) -> bytes:
        return self.read_until(HEAD_END)

    def read_request(self) -> bytes:
        """A whole request as it came: head, body by its framing, trailers."""
        head = self.read_head()
        return head + self.read_body(head)

    def read_answer(self, *, bodiless: bool = False) -> bytes:
        """A whole answer as it came; without any framing, until the end of the connection."""
        head = self.read_head()
        status = int(head.split(None, 2)[1])
        if bodiless or status in (204, 304) or status < 200:
            return head
        if framing(head) is None:
            return head + self.read_rest()
        return head + self.read_body(head)

    def read_body(self, head: bytes) -> bytes:
        match framing(head):
            case "chunked":
                return self._read_chunked()
            case int(length):
                return self.read_exactly(length)
            case _:
                return b""

    def _read_chunked(self) -> bytes:
        raw = bytearray()
        while True:
            line = self.read_until(b"\r\n")
            raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            raw += self.read_exactly(size + 2)
        while True:  # trailers, up to the empty line
            line = self.read_until(b"\r\n")
            raw += line
            if line == b"\r\n":
                return bytes(raw)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def wait_for_end(self, timeout_s: float = TIMEOUT_S) -> str:
        """How the peer left: `close` or `reset`. A timeout when it stays."""
        self._socket.settimeout(timeout_s)
        self.read_rest()
        assert self.ended is not None
        return self.ended

    def _take(self, count: int) -> bytes:
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError) as error:
            self.ended = "reset"
            raise ClosedError(self._so_far()) from error
        if not data:
            self.ended = "close"
            raise ClosedError(self._so_far())
        if not self.received and _is_own_request(data):
            raise OwnRequestError
        self._unread += data
        self.received += data

    def _so_far(self) -> str:
        return f"the peer left after {len(self.received)} bytes: {bytes(self.received[-500:])!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


type Script = Callable[[Wire], None]


class RawServer:
    """A server on a loopback port; `wires` are its connections in the order they came."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, port: int = 0) -> None:
        self.wires: list[Wire] = []
        self.errors: list[BaseException] = []
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            wire = Wire(connection)
            self.wires.append(wire)
            with wire:
                try:
                    self._script(wire)
                except OwnRequestError:
                    self.wires.remove(wire)
                    wire.send(CHALLENGE)
        except (ConnectionError, ssl.SSLError):
            connection.close()  # what a peer does at the end of a test is the test's business
        except BaseException as error:
            self.errors.append(error)
            connection.close()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(TIMEOUT_S)
        if error is None and self.errors:
            raise self.errors[0]


@contextmanager
def connected(
    port: int,
    tls: ssl.SSLContext | None = None,
    name: str = "127.0.0.1",
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Wire]:
    """A client's connection to a port of this machine."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    connection = tls.wrap_socket(raw, server_hostname=name) if tls is not None else raw
    with Wire(connection) as wire:
        wire.patience(timeout_s)
        yield wire


def answering(*pieces: bytes) -> Script:
    """A script: read a whole request, send the pieces; again while the connection lasts."""

    def script(wire: Wire) -> None:
        while True:
            wire.read_request()
            for piece in pieces:
                wire.send(piece)

    return script


def framing(head: bytes) -> int | str | None:
    """How the body that follows a head is framed: its length, `chunked`, or None."""
    fields = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    named = {name: value.strip() for name, _, value in fields}
    if b"chunked" in named.get(b"transfer-encoding", b""):
        return "chunked"
    length = named.get(b"content-length")
    return int(length) if length is not None else None


def dechunked(raw: bytes) -> tuple[bytes, bytes]:
    """The body and the trailer section (with its empty line) of a chunked body."""
    body = bytearray()
    while True:
        line, _, raw = raw.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return bytes(body), raw
        body += raw[:size]
        raw = raw[size + 2 :]
