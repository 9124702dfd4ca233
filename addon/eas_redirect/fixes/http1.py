"""Fixes for mitmproxy's HTTP/1, where it would make things worse than no proxy at all.

Each is a wrapper around one method that leaves every other message to the original:

- interim answers (100, 102, 103) go on to the client; mitmproxy takes the first for the answer;
- trailers cross; mitmproxy raises and leaves both connections hanging;
- an answer that ends before its request does ends for the client too, not when the request does,
  and bytes after it crash nothing;
- a 304 that names a transfer coding is not followed by a last chunk, which it does not have;
- empty lines before a message are skipped, without any byte of the message;
- bytes that follow a 101 at once reach the tunnel whole, line breaks included; a 101 before the
  request's end is refused, because mitmproxy fails on what follows it;
- after mitmproxy's own 100 an error page can still follow, and one for HEAD has no body;
- invalid chunks from a client get a 400, as from Exchange, instead of nothing;
- an endless head, chunk line or trailer section is refused instead of being kept in memory;
- the log does not quote heads and bodies that could not be read: they can hold passwords;
- the tokens of Connection are compared without regard to case;
- an answer with a header whose name is not a token passes (an administrator of IIS can add one),
  and so does a 204 that names a transfer coding (ASP.NET sends it); mitmproxy turns both into a
  502;
- a front with a by-pass gets a 425 when Exchange cannot be reached: Exchange has received nothing
  of the request, so the front may send it there itself, whatever it is (docs/bypass);
- in reverse mode, an error page does not reveal the address of Exchange, what it sent, or what runs
  here; and a device gets 503 with Retry-After when Exchange is down: it tries again, while some
  devices take a 502 for a problem with the account.

Two more have sections of their own below: what happens between a request's headers and its body,
and what a client does while it waits. Tests run each fix against the installed mitmproxy and show
that it is still needed.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import h11
from h11 import _readers, _receivebuffer
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import http1, status_codes, validate
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import (
    HttpLayer,
    HTTPMode,
    HttpStream,
    SendHttp,
    _base,
    _events,
    _http1,
)
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestHeaders,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.mode_specs import ReverseMode

from eas_redirect.activesync.request import is_eas_path, read_request
from eas_redirect.proxy import flows
from eas_redirect.proxy.failures import ASK_ELSEWHERE, RETRY_AFTER_S, has_by_pass, without_bytes
from eas_redirect.proxy.part import Part, Replacement

# What mitmproxy does between a request's headers and its body.
#
# `Expect: 100-continue` crosses: Exchange says whether it wants the body (RFC 9110 10.1.1).
# mitmproxy answers with its own 100 and removes the header. So a client sends a mail of many
# megabytes only to learn that it must log on first, and one whose Exchange sends a 100 gets
# two.
#
# A script may answer when the headers come. mitmproxy crashes if it streams the body as well. So
# the body is read to its end, and whatever is too long to keep is dropped.

type HeaderCommands = Generator[commands.Command, Any, None]

MAX_KEPT = 64 * 1024  # bytes of a body that is not forwarded

_wait_for_request_headers: Callable[..., HeaderCommands] = HttpStream.state_wait_for_request_headers
_consume_request_body: Callable[..., HeaderCommands] = HttpStream.state_consume_request_body


def _request_headers(self: HttpStream, event: RequestHeaders) -> HeaderCommands:
    """Leave out mitmproxy's own 100, and restore the header that it removes after that. Do not
    stream what is already answered."""
    request = event.request
    headers, fields = request.headers, None
    expects = "expect" in headers and not (request.is_http2 or request.is_http3)
    original, reply = _wait_for_request_headers(self, event), None
    try:
        while True:
            command = original.send(reply)
            if fields is not None:
                headers.fields = fields
            if expects and _is_continue(command) and (request.stream or event.end_stream):
                fields, reply = headers.fields, None
                continue
            reply = yield command
            if isinstance(command, HttpRequestHeadersHook) and self.flow.response is not None:
                request.stream = False
    except StopIteration:
        if fields is not None:
            headers.fields = fields


def _is_continue(command: commands.Command) -> bool:
    return (
        isinstance(command, SendHttp)
        and isinstance(command.event, ResponseHeaders)
        and command.event.response.status_code == 100
    )


def _answered_body(self: HttpStream, event: HttpEvent) -> HeaderCommands:
    if isinstance(event, RequestData) and self.flow.response is not None:
        if len(self.request_body_buf) + len(event.data) <= MAX_KEPT:
            self.request_body_buf += event.data
        return
    yield from _consume_request_body(self, event)


_BEFORE_A_BODY: tuple[Replacement, ...] = (
    (HttpStream, "state_wait_for_request_headers", _request_headers),
    (HttpStream, "state_consume_request_body", _answered_body),
)


# What a client may do while it waits for an answer: close its sending side, or send more.
#
# netcat, socat and many scripts close their sending side after the request (RFC 9293 3.6) and read
# on. mitmproxy thinks that they have left, and does not even forward the request. A connection
# that is closed and one that is half closed look the same until something is sent, so in reverse
# mode the answer gets a moment to begin. Ping and Sync do not: they wait for up to an hour, and a
# device that closes one has left. Nor does a client that closes in the middle of an answer.
#
# What a client sends ahead is kept until its turn comes, within a bound.

# When Exchange closes an idle connection, the client's is closed too.
#
# mitmproxy keeps it for as long as `tcp_timeout` says, which is more than an hour here: IIS ends
# idle connections after two minutes, including those of phones that are out of reach and never say
# so. A client that logged on by NTLM then learns that it must do so again, as without a proxy.


def close_client(self: Http1Client) -> Iterator[commands.Command]:
    """End the client's connection, unless a request is on its way or an answer is being judged."""
    client = _client_side(self)
    if client is not None and client.request is None and not client.buf:
        yield commands.CloseConnection(client.conn)


def _client_side(self: Http1Client) -> Http1Server | None:
    """Only if every request of a client goes to this one server."""
    if not isinstance(self.context.client.proxy_mode, ReverseMode):
        return None
    for layer in self.context.layers:
        if isinstance(layer, HttpLayer) and layer.mode is HTTPMode.transparent:
            side = layer.connections.get(self.context.client)
            return side if isinstance(side, Http1Server) else None
    return None


type Commands = Iterator[commands.Command]

LINGER_S = 1.0
MAX_UNREAD = 1024 * 1024  # bytes; http.sys refuses heads above 16 KiB unless told otherwise

_wait = Http1Server.wait
_mark_done: Callable[..., Commands] = Http1Server.mark_done
_lingering: WeakKeyDictionary[Http1Server, commands.RequestWakeup] = WeakKeyDictionary()


def _while_waiting(self: Http1Server, event: events.Event) -> Commands:
    match event:
        case events.ConnectionClosed() if _may_be_half_closed(self):
            wakeup = _lingering[self] = commands.RequestWakeup(LINGER_S)
            yield wakeup
        case events.Wakeup():
            if event.command is _lingering.get(self) and self.response is None:
                yield from _wait(self, events.ConnectionClosed(self.conn))
        case events.DataReceived() if len(self.buf) > MAX_UNREAD:
            yield from _wait(self, events.ConnectionClosed(self.conn))
        case _:
            yield from _wait(self, event)


def _may_be_half_closed(self: Http1Server) -> bool:
    can_write = self.conn.state is ConnectionState.CAN_WRITE
    reverse = isinstance(self.context.client.proxy_mode, ReverseMode)
    return reverse and can_write and self.response is None and not _hangs_on_purpose(self)


def _hangs_on_purpose(self: Http1Server) -> bool:
    request = self.request
    if request is None or not is_eas_path(request.path):
        return False
    asked = read_request(request.method, request.path, flows.headers_of(request))
    return asked.command in ("Ping", "Sync")


def _done(self: Http1Server, *, request: bool = False, response: bool = False) -> Commands:
    done = _mark_done(self, request=request, response=response)
    return _then_ended(self, done) if response and self in _lingering else done


def _then_ended(self: Http1Server, done: Commands) -> Commands:
    yield from done
    yield from self.state(events.ConnectionClosed(self.conn))  # the deferred end


_WHILE_IT_WAITS: tuple[Replacement, ...] = (
    (Http1Server, "wait", _while_waiting),
    (Http1Server, "mark_done", _done),
)


# RFC 9110 15.2: any 1xx but 101 (RFC 9110 15.2.2), which ends the exchange's HTTP.
_INTERIM = re.compile(rb"\s*HTTP/\d\.\d\s+1(?!01)\d\d\b[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_EMPTY_LINES = re.compile(rb"(?:\r?\n)+")
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_BAD_REQUEST = 400
_HEAD_TOO_LONG = 431  # RFC 6585 5
_BAD_GATEWAY = 502
_UNAVAILABLE = 503
_NO_CONTENT = 204
_FRAMING = {b"content-length", b"transfer-encoding"}

_read_client_headers = _http1.Http1Server.read_headers
_read_server_headers = _http1.Http1Client.read_headers
_read_body = _http1.Http1Connection.read_body
_make_pipe = _http1.Http1Connection.make_pipe
_make_body_reader = _http1.make_body_reader
_send_response = HttpStream.send_response
_send_to_client = _http1.Http1Server.send
_send_to_server = _http1.Http1Client.send
_validate_headers = validate.validate_headers


class TrailerReader(ChunkedReader):
    """h11's reader, but it keeps the trailers apart so that mitmproxy does not refuse them."""

    trailers: http.Headers | None = None

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = super().__call__(buf)
        if isinstance(event, h11.EndOfMessage) and event.headers:
            self.trailers = http.Headers(event.headers.raw_items())
            return h11.EndOfMessage()
        return event


def _body_reader(expected_size: int | None) -> _http1.TBodyReader:
    return TrailerReader() if expected_size is None else _make_body_reader(expected_size)


def _body(self: _http1.Http1Connection, event: events.Event) -> Commands:
    answered = isinstance(self, _http1.Http1Client) and self.response_done
    if isinstance(event, events.Wakeup) or (answered and isinstance(event, events.DataReceived)):
        return  # more than the whole answer; the end of the request will reveal it
    for command in _read_body(self, event):
        if isinstance(command, ReceiveHttp) and isinstance(command.event, self.ReceiveEndOfMessage):
            yield from _trailers_received(self, command.event.stream_id)
        elif isinstance(command, commands.CloseConnection) and not self.request_done:
            yield from _bad_request(self, event)
        yield command
    if len(self.buf) > MAX_UNREAD and self.state == self.read_body:
        yield from _refuse(self, "a chunk's first line, or its trailers, do not end")


def _refuse(self: _http1.Http1Connection, message: str) -> Commands:
    assert self.stream_id is not None  # noqa: S101 - a message has begun
    kind = self.ReceiveProtocolError
    yield from _bad_request(self, events.DataReceived(self.conn, b""))
    yield commands.CloseConnection(self.conn)
    yield ReceiveHttp(kind(self.stream_id, f"HTTP/1 protocol error: {message}", code=kind.code))


def _bad_request(self: _http1.Http1Connection, event: events.Event) -> Commands:
    """Before closing the connection of a client that sent something other than chunks."""
    is_there = isinstance(self, _http1.Http1Server) and isinstance(event, events.DataReceived)
    if is_there and self.response is None:
        yield commands.SendData(self.conn, error_page(_BAD_REQUEST))


def _trailers_received(self: _http1.Http1Connection, stream_id: int) -> Commands:
    reader = self.body_reader
    if not isinstance(reader, TrailerReader) or reader.trailers is None:
        return
    if isinstance(self, _http1.Http1Server):
        yield ReceiveHttp(_events.RequestTrailers(stream_id, reader.trailers))
    else:
        yield ReceiveHttp(_events.ResponseTrailers(stream_id, reader.trailers))


@dataclass
class EarlyEnd(HttpEvent):
    """The answer is complete, but its request is not."""


_ended_early: WeakSet[_http1.Http1Server] = WeakSet()


def _response(self: HttpStream, already_streamed: bool = False) -> Commands:
    yield from _send_response(self, already_streamed)
    request_goes_on = self.client_state == self.state_stream_request_body
    if request_goes_on and self.server_state == self.state_done and self.flow.request.is_http11:
        yield SendHttp(EarlyEnd(self.stream_id), self.context.client)


def _early_end(self: _http1.Http1Server, response: http.Response) -> Commands:
    """RFC 9112 6.3: a chunked body ends with its last chunk, one of unknown length by a close."""
    assert self.request  # noqa: S101 - an answer has begun
    match http1.expected_http_body_size(self.request, response):
        case None:
            _ended_early.add(self)
            last = commands.SendData(self.conn, _LAST_CHUNK)
            yield from _with_trailers(iter((last,)), response.trailers)
        case -1:
            yield commands.CloseConnection(self.conn)
        case _:
            pass  # the client has counted the bytes


def _to_client(self: _http1.Http1Server, event: HttpEvent) -> Commands:
    match event:
        case EarlyEnd() if self.response:
            yield from _early_end(self, self.response)
        case _events.ResponseTrailers():
            return  # they belong to the response now, and follow its last chunk
        case _events.ResponseHeaders() if event.response.status_code == 100:
            yield from _send_to_client(self, event)
            self.response = None  # it was no answer yet
        case _events.ResponseEndOfMessage() if self.request and self.response:
            sent = _send_to_client(self, event)
            bodiless = http1.expected_http_body_size(self.request, self.response) == 0
            if bodiless or self in _ended_early:
                _ended_early.discard(self)
                yield from (c for c in sent if not _is_last_chunk(c))
            else:
                yield from _with_trailers(sent, self.response.trailers)
        case _events.ResponseProtocolError():
            yield from _refusal(self, event)
        case _:
            yield from _send_to_client(self, event)


def _refusal(self: _http1.Http1Server, event: _events.ResponseProtocolError) -> Commands:
    """An error page, if any. RFC 9110 9.3.2: no answer to HEAD has a body, not even that one."""
    for command in _send_to_client(self, event):
        if isinstance(command, commands.SendData):
            if is_reverse(self.conn):
                command.data = _page_for(self.request, event.code)
            if self.request and self.request.method == "HEAD":
                command.data = command.data.partition(_HEAD_END)[0] + _HEAD_END
        yield command


def is_reverse(client: object) -> bool:
    """Whether a client has called a proxy in front of one server."""
    return isinstance(client, Client) and isinstance(client.proxy_mode, ReverseMode)


def _page_for(request: http.Request | None, code: _events.ErrorCode) -> bytes:
    status_code = code.http_status_code()
    if request is not None and code is _events.ErrorCode.CONNECT_FAILED and has_by_pass(request):
        return error_page(ASK_ELSEWHERE)
    if status_code == _BAD_GATEWAY and request is not None and is_eas_path(request.path):
        return error_page(_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_S)})
    return error_page(status_code or _BAD_REQUEST)


def error_page(status_code: int, further: Mapping[str, str] | None = None) -> bytes:
    """A whole answer. mitmproxy's own page quotes a message, which belongs in the journal and the
    log."""
    headers = http.Headers(Connection="close", Content_Type="text/plain")
    for name, value in (further or {}).items():
        headers[name] = value
    text = f"{status_code} {status_codes.RESPONSES.get(status_code, 'Error')}\n"
    page: bytes = http1.assemble_response(http.Response.make(status_code, text, headers))
    return page


def _to_server(self: _http1.Http1Client, event: HttpEvent) -> Commands:
    match event:
        case _events.RequestTrailers():
            return
        case _events.RequestEndOfMessage() if self.request:
            yield from _with_trailers(_send_to_server(self, event), self.request.trailers)
        case _:
            yield from _send_to_server(self, event)


def _with_trailers(sent: Commands, trailers: http.Headers | None) -> Commands:
    for command in sent:
        if trailers and isinstance(command, commands.SendData) and _is_last_chunk(command):
            command.data = b"0\r\n" + bytes(trailers) + b"\r\n"  # RFC 9112 7.1.2
        yield command


def _is_last_chunk(command: commands.Command) -> bool:
    return isinstance(command, commands.SendData) and command.data == _LAST_CHUNK


def _client_headers(self: _http1.Http1Server, event: events.ConnectionEvent) -> Commands:
    if isinstance(event, events.Wakeup):
        return
    _drop(self.buf, _EMPTY_LINES)  # RFC 9112 2.2: ignore at least one before a request
    for command in _discreetly(_read_client_headers(self, event)):
        if isinstance(command, commands.SendData) and is_reverse(self.conn):
            command.data = error_page(_BAD_REQUEST)  # it sends nothing else
        yield command
    if len(self.buf) > MAX_UNREAD and self.state == self.read_headers:
        yield commands.SendData(self.conn, error_page(_HEAD_TOO_LONG))
        yield commands.CloseConnection(self.conn)
        self.state = self.done


def _server_headers(self: _http1.Http1Client, event: events.ConnectionEvent) -> Commands:
    is_idle = self.request is None
    if self.request is not None:
        _drop(self.buf, _EMPTY_LINES)
        while interim := _drop(self.buf, _INTERIM):
            # RFC 9110 15.2: never to a client that speaks HTTP/1.0; HTTP/2 frames it differently.
            if self.request.http_version == "HTTP/1.1":
                yield commands.SendData(self.context.client, interim)
    for command in _discreetly(_read_server_headers(self, event)):
        if _switches_too_early(self, command):
            yield from _refuse(self, "the protocol is switched before the request's end")
            return
        yield command
    if len(self.buf) > MAX_UNREAD and self.request and self.state == self.read_headers:
        yield from _refuse(self, "the head of the answer does not end")
    if is_idle and not self.conn.connected:
        yield from close_client(self)


def _switches_too_early(self: _http1.Http1Client, command: commands.Command) -> bool:
    """RFC 9110 7.8: the tunnel begins after a complete request; mitmproxy fails on anything
    earlier."""
    return (
        isinstance(command, ReceiveHttp)
        and isinstance(command.event, _events.ResponseHeaders)
        and command.event.response.status_code == 101
        and not self.request_done
    )


def _discreetly(sent: Commands) -> Commands:
    for command in sent:
        if isinstance(command, commands.Log):
            command.message = without_bytes(command.message)
        yield command


def _drop(buffer: ReceiveBuffer, pattern: re.Pattern[bytes]) -> bytes:
    """Remove what matches at the start of the buffer, and return it."""
    found = pattern.match(buffer._data)  # noqa: SLF001 - a copy for each byte of a slow head is dear
    return bytes(buffer.maybe_extract_at_most(found.end()) or b"") if found else b""


def _pipe(self: _http1.Http1Connection) -> Commands:
    if self.request and self.request.method.upper() == "CONNECT":
        yield from _make_pipe(self)
        return
    self.state = self.passthrough
    if received := self.buf.maybe_extract_at_most(len(self.buf)):
        yield from self.state(events.DataReceived(self.conn, bytes(received)))


def validate_headers(message: http.Message) -> None:
    """What mitmproxy refuses, except for two faults of an answer that mislead nobody: a name that
    is no token, and a transfer coding of a 204, which RFC 9112 6.1 forbids but which has no body
    whatever its head says (6.3)."""
    try:
        _validate_headers(message)
    except ValueError:
        if not isinstance(message, http.Response):
            raise
        _validate_headers(_framing_of(message))


def _framing_of(answer: http.Response) -> http.Response:
    """An answer with only those headers that say, or seem to say, where it ends."""
    names = _FRAMING if answer.status_code != _NO_CONTENT else {b"content-length"}
    framing = answer.copy()
    fields = answer.headers.fields
    framing.headers = http.Headers([f for f in fields if f[0].strip().lower() in names])
    return framing


def connection_close(http_version: str, headers: http.Headers) -> bool:
    """Whether a message ends its connection (RFC 9112 9.3)."""
    lists = headers.get_all("connection")
    tokens = {token.strip().lower() for value in lists for token in value.split(",")}
    if "close" in tokens:
        return True
    return http_version not in ("HTTP/1.1", "HTTP/2.0") and "keep-alive" not in tokens


_REPLACEMENTS: tuple[Replacement, ...] = (
    (_http1, "make_body_reader", _body_reader),
    (_http1.Http1Connection, "read_body", _body),
    (_http1.Http1Connection, "make_pipe", _pipe),
    (HttpStream, "send_response", _response),
    (_http1.Http1Server, "read_headers", _client_headers),
    (_http1.Http1Server, "send", _to_client),
    (_http1.Http1Client, "read_headers", _server_headers),
    (_http1.Http1Client, "send", _to_server),
    (http1, "connection_close", connection_close),
    (http_layers, "validate_headers", validate_headers),
    *_BEFORE_A_BODY,
    *_WHILE_IT_WAITS,
)
FIXES = Part(
    "fixes",
    _REPLACEMENTS,
    # The changed modules as a whole, and the functions elsewhere that the fixes change or need.
    stands_on=(
        http_layers,
        _http1,
        _base,
        _events,
        validate,
        http1.expected_http_body_size,
        http1.connection_close,
        http1.assemble_response_head,
        _readers,
        _receivebuffer,
    ),
    known=("1d71cfda4348de79",),  # mitmproxy 12.2.2 to 12.3.1 with h11 0.16
)
