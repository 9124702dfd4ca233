"""The waits that are open in this mitmproxy, and how one of them is ended.

A wait is ended within mitmproxy's own stream of the exchange, where one step answers the client and
drops Exchange: Exchange's answer either comes entirely before that step, and stands, or reaches
nobody. The step uses mitmproxy's internal names, so it is taken only in a mitmproxy that it is
known to fit.
"""

import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import cast

from mitmproxy import ctx, http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream, SendHttp
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler

from eas_redirect.activesync.request import Headers
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.activesync.wait import ENDINGS, WaitKind, sync_waits
from eas_redirect.activesync.wbxml import WBXML_TYPE
from eas_redirect.proxy.part import Part

logger = logging.getLogger(__name__)

MAX_KEPT = 16 * 1024 * 1024  # bytes of all kept bodies together

_STEP = Part(
    "waits",
    (),
    stands_on=(
        HttpStream.__init__,
        HttpStream._handle_event,  # noqa: SLF001
        HttpStream.state_wait_for_response_headers,
        HttpStream.handle_protocol_error,
        HttpStream.check_killed,
        HttpLayer._handle_event,  # noqa: SLF001
        HttpLayer.event_to_child,
        Layer.handle_event,
        ConnectionHandler.server_event,
        ConnectionHandler.close_connection,
    ),
    known=("4a7c126dbd0e783c",),  # mitmproxy 12.2.2 to 12.3.1
)


def fits() -> bool:
    """Whether a wait can be ended in the installed mitmproxy."""
    return _STEP.digest() in _STEP.known


class KeptBodies:
    """The beginnings of Sync bodies, bounded in total."""

    def __init__(self) -> None:
        self.size = 0


class SyncBody:
    """The body of a Sync, kept while it passes. Whether it only waits is decided when somebody
    asks. It is the `stream` of a request that mitmproxy streams."""

    def __init__(self, kept: KeptBodies) -> None:
        self._kept = kept
        self._data: bytearray | None = bytearray()
        self._waits: bool | None = None

    def __call__(self, chunk: bytes) -> bytes:
        if self._data is not None:
            room = min(MAX_BODY - len(self._data), MAX_KEPT - self._kept.size)
            if len(chunk) > room:
                self.drop()
                self._waits = False
            else:
                self._data += chunk
                self._kept.size += len(chunk)
        return chunk

    def waits(self, request: http.Request, headers: Headers) -> bool:
        """Whether a request that has passed completely only waits. If its body was not seen, no."""
        if self._waits is None and request.stream is not self:
            if request.stream:
                self._waits = False
            else:
                self(request.raw_content or b"")
        if self._waits is None:
            self._waits = sync_waits(headers, bytes(self._data or b""))
            self.drop()
        return self._waits

    def drop(self) -> None:
        """Forget the kept bytes."""
        if self._data is not None:
            self._kept.size -= len(self._data)
            self._data = None


def is_whole(flow: http.HTTPFlow) -> bool:
    """Whether the whole request has gone to Exchange, and nothing of an answer has come."""
    return (
        flow.live
        and flow.request.timestamp_end is not None
        and flow.response is None
        and flow.error is None
        and flow.server_conn.timestamp_start is not None
    )


def is_http1(flow: http.HTTPFlow) -> bool:
    """Whether both legs speak HTTP/1. In other versions several exchanges share a connection, so
    none is closed."""
    multiplexed = {b"h2", b"h3"}
    return flow.client_conn.alpn not in multiplexed and flow.server_conn.alpn not in multiplexed


async def end(flow: http.HTTPFlow, kind: WaitKind) -> bool:
    """Answer in Exchange's place and drop Exchange. mitmproxy then calls the `response` hooks, or
    `error` if the client leaves meanwhile. False: it is too late, or impossible."""
    server = cast("Proxyserver | None", ctx.master.addons.get("proxyserver"))
    handler = None if server is None else server.connections.get(flow.client_conn.id)
    if handler is None or not is_whole(flow) or _is_busy(handler):
        return False
    stream = _stream_of(handler, flow)
    if stream is None or not _awaits_answer(stream):
        return False
    # From here to the step nothing else runs: `server_event` handles it before it awaits anything.
    stream.server_state = partial(_step, stream, _ending(kind))
    await handler.server_event(_Step(flow))
    if flow.response is None:  # the step did not take effect
        stream.server_state = stream.state_wait_for_response_headers
        return False
    return True


def _is_busy(handler: ProxyConnectionHandler) -> bool:
    """Whether events of this connection are queued (`engine/quick.py`) or being handled."""
    turn = handler.__dict__.get("_eas_turn")
    locked = handler._server_event_lock.locked()  # noqa: SLF001
    return locked or (turn is not None and turn.busy)


def _stream_of(handler: ProxyConnectionHandler, flow: http.HTTPFlow) -> HttpStream | None:
    """Inside a tunnel too: its layers are those of the stream that it goes through."""
    layers: list[Layer] = [*handler.layer.context.layers]
    seen: set[int] = set()
    while layers:
        layer = layers.pop()
        if id(layer) in seen or not isinstance(layer, HttpLayer):
            continue
        seen.add(id(layer))
        for stream in layer.streams.values():
            if getattr(stream, "flow", None) is flow:
                return stream
            if stream.child_layer is not None:
                layers += stream.child_layer.context.layers
    return None


def _awaits_answer(stream: HttpStream) -> bool:
    return (
        stream._paused is None  # noqa: SLF001
        and stream.client_state == stream.state_done
        and stream.server_state == stream.state_wait_for_response_headers
    )


def _step(
    stream: HttpStream, response: http.Response, event: events.Event
) -> Iterator[commands.Command]:
    if not isinstance(event, _Step):  # Exchange's answer, for which the state stood a moment before
        stream.server_state = stream.state_wait_for_response_headers
        yield from stream.server_state(event)
        return
    server = stream.context.server
    stream.flow.response = response
    yield from stream.send_response()
    # Whatever the server's side still sends, above all its end, reaches nobody.
    stream.client_state = stream.server_state = stream.state_errored
    why = (stream.stream_id, "the wait was ended", http_events.ErrorCode.CANCEL)
    yield SendHttp(http_events.RequestProtocolError(*why), server)


def _ending(kind: WaitKind) -> http.Response:
    """Close both sides: a logon that belongs to the connection ends with Exchange's side of it."""
    headers = {
        "Content-Type": WBXML_TYPE,
        "Cache-Control": "private",
        "Connection": "close",
    }
    response = http.Response.make(200, ENDINGS[kind], headers)
    response.timestamp_start = response.timestamp_end = time.time()
    return response


# mitmproxy hands an injected message straight to the HTTP stream of its flow, past TLS.


class _Step(http_events.HttpEvent, events.MessageInjected[None]):
    def __init__(self, flow: http.HTTPFlow) -> None:
        super().__init__(stream_id=0)
        self.flow, self.message = flow, None
