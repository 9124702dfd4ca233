"""A mitmproxy master for this job: mitmdump's, without the addons that nobody uses.

A stock process spends two fifths of its time asking 33 addons about every event. This one loads
them all, so that every option exists and every `--set` and flag of mitmdump works; then it drops
those whose options are all off. What the user turns on stays. Deprecated `add_log` events are
not made: they cost a call per log record and addon.
"""

import asyncio
import gc
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from mitmproxy import addons, ctx, http, master, options
from mitmproxy import flow as mitmproxy_flow
from mitmproxy.addons import dumper, errorcheck, keepserving, readfile, termlog
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import _events as http_events
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from eas_redirect.activesync.wbxml import WBXML_TYPE
from eas_redirect.proxy import flows
from eas_redirect.proxy.failures import STOPPED
from eas_redirect.telemetry.writing import stop_within

if TYPE_CHECKING:
    from mitmproxy.master import Master


# A graceful stop: no new connections, exchanges under way end, waiting devices ask again.
#
# A waiting Ping would hold the stop for up to an hour. It is answered with Status 1, "the heartbeat
# interval expired before any changes occurred" (MS-ASCMD 2.2.3.177.11): the device sends the next
# one at once, on a new connection. Whatever else has no answer when the time is over gets 503 with
# Retry-After, which leaves nothing half done on the device: it repeats the request.

_log = logging.getLogger(__name__)

# <Ping><Status>1</Status></Ping>: page 13, tokens 05 and 07 (MS-ASWBXML 2.1.2.1.14).
HEARTBEAT_EXPIRED = bytes.fromhex("03016a00 000d 45 47 033100 01 01")

QUIET_S = 1.0  # without an exchange before the stop continues: one may be arriving
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
        _log.info(
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
        """Until everything is answered and stays so for a moment, or the time is over."""
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
        """Answer in Exchange's place, on the path that its answer would have taken."""
        handler = self._server.connections.get(flow.client_conn.id)
        if handler is None or flow.server_conn.timestamp_start is None:
            return
        flow.error = mitmproxy_flow.Error(STOPPED)
        for event in (_Head(flow, response), _Body(flow, response), _End(flow)):
            await handler.server_event(event)

    async def _close_connections(self) -> None:
        """Close what is left; bytes already written still go out."""
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
    headers = {"Content-Type": WBXML_TYPE, "Cache-Control": "private"}
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


logger = logging.getLogger(__name__)

NEEDED = frozenset({"core", "proxyserver", "scriptloader", "nextlayer", "tlsconfig", "errorcheck"})
"""Addons without which there is no proxy, and the one that refuses a start with errors."""

ON_BY_DEFAULT = frozenset({"block_global", "flow_detail", "onboarding"})
"""Options whose default makes their addon act. Any other addon is idle at its defaults."""

OFF_WHEN_SET = frozenset({"keep_alt_svc_header"})
"""Options that stop their addon from acting."""

INERT = frozenset({"command_history", "dns_use_hosts_file", "dns_name_servers"})
"""Options that matter to other tools or protocols only."""


class EngineMaster(master.Master):
    """Runs like mitmdump, stops gracefully (see `Drain`)."""

    def __init__(self, opts: options.Options, stop_timeout_s: float) -> None:
        super().__init__(opts)
        self._termlog_addon = termlog.TermLog()
        self.addons.add(self._termlog_addon)
        self._legacy_log_events.uninstall()
        self._options_of: dict[str, frozenset[str]] = {}
        self._add_all()
        self._drain = Drain(self, stop_timeout_s)
        self._stopping: asyncio.Task[None] | None = None

    @property
    def draining(self) -> bool:
        """Whether a stop was requested: no new connections, `/ready` says no."""
        return self._stopping is not None

    async def run(self) -> None:
        self._let_go_of_idle_addons()
        self.addons.add(self._drain, _Settle())
        await super().run()

    def shutdown(self) -> None:
        """The first call stops gracefully, a second one at once. Thread-safe."""
        self.event_loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._stopping is not None or not ctx.options.server:
            self.should_exit.set()
            return
        self._stopping = self.event_loop.create_task(self._stop_gracefully())

    async def _stop_gracefully(self) -> None:
        try:
            await self._drain.run()
        except Exception:
            logger.exception("eas-redirect: the graceful stop failed; stopping at once")
        finally:
            self.should_exit.set()

    def _add_all(self) -> None:
        last = (
            dumper.Dumper(),
            keepserving.KeepServing(),
            readfile.ReadFileStdin(),
            errorcheck.ErrorCheck(),
        )
        for addon in (*addons.default_addons(), *last):
            before = frozenset(self.options.keys())
            self.addons.add(addon)
            self._options_of[_name(addon)] = frozenset(self.options.keys()) - before

    def _let_go_of_idle_addons(self) -> None:
        """Only out of the chain: nothing has started yet, so nothing needs to be undone."""
        self.addons.chain = [a for a in self.addons.chain if not self._is_idle(_name(a))]

    def _is_idle(self, name: str) -> bool:
        if name in NEEDED or name not in self._options_of:
            return False
        return not any(self._acts(option) for option in self._options_of[name] - INERT)

    def _acts(self, option: str) -> bool:
        value = getattr(self.options, option)
        if option in ON_BY_DEFAULT | OFF_WHEN_SET:
            return bool(value) is (option in ON_BY_DEFAULT)
        return bool(value) and value != self.options.default(option)


class _Settle:
    """Once everything runs, exclude what stays for good from garbage collection. A full collection
    walks every object that mitmproxy and its libraries ever made, and every exchange waits for it:
    66 ms for 112,000 objects, too little to measure once they are excluded (docs/performance.md).
    """

    def running(self) -> None:
        gc.collect()
        gc.freeze()


def _name(addon: object) -> str:
    """As mitmproxy's addon manager names it."""
    return str(getattr(addon, "name", type(addon).__name__.lower()))


def loaded(engine: EngineMaster) -> Sequence[str]:
    """The names of the addons that see events, for tests and the curious."""
    chain: Iterable[object] = engine.addons.chain
    return [_name(addon) for addon in chain]
