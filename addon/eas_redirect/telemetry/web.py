"""A very small HTTP server for `metrics.listen`: a few fixed pages, and nothing else.

It runs on the proxy's own event loop, so that a hung loop shows as unhealthy. In return everything
about it is bounded: the bytes and the time of a request, the connections at once, and how often a
page is made. It takes GET and HEAD of the paths it was given, one request per connection, and never
looks at a request's body.

Pages for people answer only under names known to be ours. A web site could otherwise give its own
name our address once its page is open in somebody's browser, and read what we show (DNS rebinding).
What names users and devices is for readers on this machine alone: see `is_local`.

It shares nothing with the server of the lab's stand-ins (`lab/http_server.py`): that one runs on a
thread, reads bodies, keeps connections and misbehaves on demand; here each of these would be a
hole. Imports the protocol only.
"""

import asyncio
import http.client
import logging
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from ipaddress import ip_address

from eas_redirect.activesync.host_port import HostPort, HostPortError, read_host_port

logger = logging.getLogger(__name__)

MAX_HEAD = 8192  # bytes of a request line with its headers; a browser's have about 1000
MAX_CONNECTIONS = 64
REQUEST_TIMEOUT_S = 5.0  # for the whole head: a slow one holds a connection no longer
ANSWER_TIMEOUT_S = 10.0  # for a reader that does not read
FRESH_S = 1.0  # pages are made at most this often, however many ask

TEXT = "text/plain; charset=utf-8"
_PORT = re.compile(r":[0-9]*\Z")
_NOT_OUR_NAME = """\
This page answers to addresses, to localhost and to the names in metrics.host_names.
Add the name by which you called it to that list in eas-redirect.toml.
"""

_ALWAYS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


type Maker = Callable[[], Awaitable[Page]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen: a TCP address, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None

    @property
    def is_everywhere(self) -> bool:
        """Whether every network of the machine can reach it."""
        return self.path is None and self.host in ("0.0.0.0", "::")  # noqa: S104 - compared with

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return str(HostPort(self.host, self.port))


def parse_listen(text: str) -> ListenAddress:
    """`host:port`, `[v6]:port`, `:port` (loopback) or `unix:PATH`. Raises ValueError."""
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("unix: needs the path of a socket")
        return ListenAddress(path=text.removeprefix("unix:"))
    try:
        host, port = read_host_port(text)
    except HostPortError:
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9120") from None
    return ListenAddress(host=host or "127.0.0.1", port=port)


def why_not_served(error: OSError | ValueError) -> str:
    """Why an address cannot be used and what to do, as a clause. asyncio tells it in a sentence of
    its own, with the number twice."""
    if not isinstance(error, OSError):
        return str(error)
    text = os.strerror(error.errno) if error.errno else str(error)
    return f"{text}; choose another metrics.listen, or end what has it"


class WebServer:
    """Serves `pages`: a maker for each path. Start and close it on the same event loop."""

    def __init__(
        self,
        pages: Mapping[str, Maker],
        clock: Callable[[], float] = time.monotonic,
        *,
        for_people: Collection[str] = (),
        elsewhere: Mapping[str, Maker] | None = None,
        host_names: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`for_people`: the paths that browsers open. They answer to addresses, `localhost` and
        the `host_names`, in lower case. `elsewhere`: what readers on other machines get instead
        of the page at the same path."""
        self._pages = {path: _Kept(maker, clock) for path, maker in pages.items()}
        self._elsewhere = {path: _Kept(maker, clock) for path, maker in (elsewhere or {}).items()}
        self._for_people = frozenset(for_people)
        self._host_names = host_names
        self._address = ListenAddress()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def start(self, address: ListenAddress) -> None:
        """Raises OSError if the address cannot be used."""
        self._address = address
        if address.path is not None:
            # asyncio removes a socket that an earlier run left, and nothing else.
            self._server = await asyncio.start_unix_server(
                self._serve, address.path, limit=MAX_HEAD
            )
        else:
            self._server = await asyncio.start_server(
                self._serve, address.host, address.port, limit=MAX_HEAD
            )

    @property
    def port(self) -> int:
        """The port in use; 0 before the start and for a Unix socket."""
        if self._server is None:
            return 0
        name = self._server.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    @property
    def address(self) -> ListenAddress:
        """Where it listens, with the port in use."""
        return replace(self._address, port=self.port)

    def close(self) -> None:
        """Stop listening and cut open connections. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(self._connections) >= MAX_CONNECTIONS:
            # An honest one is over in milliseconds: whoever is here longest only holds a place.
            oldest = next(iter(self._connections))
            self._connections.pop(oldest)
            oldest.transport.abort()
        self._connections[writer] = None
        loop = asyncio.get_running_loop()
        try:
            await self._exchange(reader, writer)
            writer.close()  # the rest of an answer goes out first; not for ever
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the other side left or dawdled: nobody waits for more
        finally:
            self._connections.pop(writer, None)
            if not loop.is_closed():  # else the process ends, and nobody is left to wait
                writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            method, page = "GET", _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            method, page = await self._answer(head, writer.get_extra_info("peername"))
        writer.write(_render(page, with_body=method != "HEAD"))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            # Closing with unread bytes would reset the connection and take the answer with it.
            await _drop_rest(reader)

    async def _answer(self, head: bytes, peer: object) -> tuple[str, Page]:
        method, target = _request_line(head)
        if method is None:
            return "GET", _error(HTTPStatus.BAD_REQUEST)
        path = target.partition("?")[0]
        kept = self._pages.get(target) or self._pages.get(path)
        if path in self._elsewhere and not is_local(head, peer):
            kept = self._elsewhere[path]
        if kept is None:
            return method, _error(HTTPStatus.NOT_FOUND)
        if path in self._for_people and not is_called_by_own_name(_hosts(head), self._host_names()):
            return method, _error(HTTPStatus.MISDIRECTED_REQUEST, advice=_NOT_OUR_NAME)
        if method not in ("GET", "HEAD"):
            return method, _error(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        try:
            return method, await kept.page()
        except Exception:
            logger.exception("eas-redirect: the page %s failed", target[:100])
            return method, _error(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Kept:
    """A page that is made at most once in FRESH_S, by one maker at a time."""

    def __init__(self, maker: Maker, clock: Callable[[], float]) -> None:
        self._maker = maker
        self._clock = clock
        self._page: Page | None = None
        self._made_at = float("-inf")
        self._lock = asyncio.Lock()

    async def page(self) -> Page:
        async with self._lock:
            if self._page is None or self._clock() - self._made_at >= FRESH_S:
                self._page = await self._maker()
                self._made_at = self._clock()
            return self._page


async def _drop_rest(reader: asyncio.StreamReader) -> None:
    left = MAX_HEAD
    while left > 0 and (data := await reader.read(left)):
        left -= len(data)


def _request_line(head: bytes) -> tuple[str | None, str]:
    """Method and target of a request head (RFC 9112, 3); None if it is invalid."""
    line = head.partition(b"\r\n")[0]
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1.") or not parts[0].isalpha():
        return None, ""
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


def _hosts(head: bytes) -> list[str]:
    """The values of the Host headers."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [value.decode("latin-1") for name, _, value in lines if name.lower() == b"host"]


def is_called_by_own_name(hosts: Collection[str], host_names: Collection[str]) -> bool:
    """Whether a page for people may answer to these Host headers: every browser sends one."""
    if len(hosts) > 1:
        return False
    for host in hosts:
        name = _PORT.sub("", host.strip().lower()).removesuffix(".")
        if name == "localhost" or name in host_names:
            continue
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
    return True


# What a reverse proxy adds; no browser sends these.
_FORWARDED = re.compile(
    rb"\r\n(?:forwarded|via|x-forwarded[^:\r]*|x-envoy[^:\r]*|x-original[^:\r]*"
    rb"|x-(?:real|client|cluster-client)-ip|true-client-ip|cf-[^:\r]*)[ \t]*:",
    re.IGNORECASE,
)


def is_local(head: bytes, peer: object) -> bool:
    """Whether the reader is on this machine: by the connection (`peer`: its address as asyncio
    gives it; not a pair for a Unix socket), by the name that was called, and by the headers that
    a reverse proxy adds to a request from elsewhere. In doubt: no."""
    if isinstance(peer, tuple) and not is_loopback(str(peer[0])):
        return False
    hosts = [_PORT.sub("", host.strip().lower()).removesuffix(".") for host in _hosts(head)]
    if not all(host == "localhost" or is_loopback(host.strip("[]")) for host in hosts):
        return False
    # nginx passes requests on as HTTP/1.0, which no browser speaks, under the name that it calls.
    old = head.partition(b"\r\n")[0].endswith(b"HTTP/1.0") and bool(hosts)
    return not old and _FORWARDED.search(head) is None


def is_loopback(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def _error(status: HTTPStatus, headers: Mapping[str, str] | None = None, advice: str = "") -> Page:
    text = f"{status} {status.phrase}\n{advice}"
    return Page(body=text.encode(), status=status, headers=headers or {})


def _render(page: Page, *, with_body: bool) -> bytes:
    fields = {
        **_ALWAYS,
        **page.headers,
        "Content-Type": page.content_type,
        "Content-Length": str(len(page.body)),
    }
    head = f"HTTP/1.1 {page.status} {page.status.phrase}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in fields.items()
    )
    return head.encode("latin-1") + b"\r\n" + (page.body if with_body else b"")


# A question to such a server, by `check`, `explain` and `health`. Blocks.

_LONGEST = 4 * 1024 * 1024  # bytes of an answer that are read


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_running(listen: str, target: str, timeout_s: float) -> tuple[int, bytes]:
    """The status and the body of `target` at `listen`. Raises OSError if nobody answers with
    HTTP in time."""
    address = parse_listen(listen)
    connection: http.client.HTTPConnection
    if address.path is not None:
        connection = _UnixConnection(address.path, timeout_s)
    else:
        host = "127.0.0.1" if address.is_everywhere else address.host
        connection = http.client.HTTPConnection(host, address.port, timeout=timeout_s)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST)
    except http.client.HTTPException as error:
        raise OSError(f"what answers there speaks no HTTP ({type(error).__name__})") from None
    finally:
        connection.close()
