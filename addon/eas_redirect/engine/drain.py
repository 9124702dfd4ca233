"""A graceful stop: nothing new is taken, what is under way ends, devices that wait ask again.

A waiting Ping would hold the stop for up to an hour. It is answered with Status 1, "the heartbeat
interval expired before any changes occurred" (MS-ASCMD 2.2.3.177.11): the device sends the next one
at once, on a new connection. Whatever else has no answer when the time is over gets 503 with
Retry-After, which leaves nothing half done on the device: it repeats the request.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from eas_redirect.proxy import flows
from eas_redirect.proxy.failures import STOPPED
from eas_redirect.telemetry.writing import stop_within

if TYPE_CHECKING:
    from mitmproxy.master import Master

logger = logging.getLogger(__name__)

# <Ping><Status>1</Status></Ping>: page 13, tokens 05 and 07 (MS-ASWBXML 2.1.2.1.14).
HEARTBEAT_EXPIRED = bytes.fromhex("03016a00 000d 45 47 033100 01 01")

QUIET_S = 1.0  # without an exchange before the stop goes on: one may be arriving
CLOSE_S = 2.0  # for the last bytes on their way out


class Drain:
    """An addon that knows the exchanges under way and can bring them to an end."""

    name = "eas_drain"

    def __init__(self, master: "Master", timeout_s: float) -> None:
        self._master = master
        self._timeout_s = timeout_s
        self._flows: dict[str, http.HTTPFlow] = {}
        self._draining = False

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._flows[flow.id] = flow

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if self._draining and flow.response:
            # Hop by hop (RFC 9112, 9.6): the next request goes to another process.
            flow.response.headers["Connection"] = "close"

    def response(self, flow: http.HTTPFlow) -> None:
        self._flows.pop(flow.id, None)

    def error(self, flow: http.HTTPFlow) -> None:
        self._flows.pop(flow.id, None)

    async def run(self) -> None:
        """Returns when nothing is left, or soon after the time is over."""
        self._draining = True
        stop_within(self._timeout_s)
        logger.info(
            "eas-redirect: stopping; %d exchanges under way, at most %g s for them",
            len(self._flows),
            self._timeout_s,
        )
        await self._server.servers.update([])
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        await self._finish(deadline)
        for flow in self._waiting():
            await self._answer(flow, _try_again())
        await self._close_connections()

    @property
    def _server(self) -> Proxyserver:
        return cast("Proxyserver", self._master.addons.get("proxyserver"))

    async def _finish(self, deadline: float) -> None:
        """Until all is answered and stays so for a moment, or the time is over."""
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while (now := loop.time()) < deadline:
            for flow in self._waiting():
                if flows.is_eas(flow) and flows.request_of(flow).command == "Ping":
                    await self._answer(flow, _heartbeat_expired())
            if self._flows:
                quiet_since = now
            elif now - quiet_since >= QUIET_S:
                return
            await asyncio.sleep(min(0.05, self._timeout_s))

    def _waiting(self) -> list[http.HTTPFlow]:
        """Exchanges whose request is complete and whose answer has not begun."""
        return [
            flow
            for flow in self._flows.values()
            if flow.response is None and flow.error is None and flow.request.timestamp_end
        ]

    async def _answer(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Answer in Exchange's place, by the same way that its answer would have taken."""
        handler = self._server.connections.get(flow.client_conn.id)
        if handler is None or flow.server_conn.timestamp_start is None:
            return
        flow.error = mitmproxy_flow.Error(STOPPED)
        for event in (_Head(flow, response), _Body(flow, response), _End(flow)):
            await handler.server_event(event)

    async def _close_connections(self) -> None:
        """Close what is left; what was written already still goes out."""
        for handler in tuple(self._server.connections.values()):
            _hang_up(handler)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_S
        while self._server.connections and loop.time() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)


def _hang_up(handler: ProxyConnectionHandler) -> None:
    transport = handler.transports.get(handler.client)
    if transport is not None and transport.handler is not None:
        transport.handler.cancel("the proxy is stopping")


def _heartbeat_expired() -> http.Response:
    headers = {"Content-Type": "application/vnd.ms-sync.wbxml", "Cache-Control": "private"}
    return _closing(http.Response.make(200, HEARTBEAT_EXPIRED, headers))


def _try_again() -> http.Response:
    return _closing(http.Response.make(503, b"", {"Retry-After": "1"}))


def _closing(response: http.Response) -> http.Response:
    response.headers["Connection"] = "close"
    return response


# mitmproxy hands an injected message straight to the HTTP stream of its flow, past TLS. These are
# such messages that are at the same time the parts of an answer, as the stream awaits them.


class _Head(http_events.ResponseHeaders, events.MessageInjected[http.Response]):
    def __init__(self, flow: http.HTTPFlow, response: http.Response) -> None:
        super().__init__(stream_id=0, response=response, end_stream=not response.raw_content)
        self.flow, self.message = flow, response


class _Body(http_events.ResponseData, events.MessageInjected[http.Response]):
    def __init__(self, flow: http.HTTPFlow, response: http.Response) -> None:
        super().__init__(stream_id=0, data=response.raw_content or b"")
        self.flow, self.message = flow, response


class _End(http_events.ResponseEndOfMessage, events.MessageInjected[None]):
    def __init__(self, flow: http.HTTPFlow) -> None:
        super().__init__(stream_id=0)
        self.flow, self.message = flow, None
