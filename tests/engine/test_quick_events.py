"""The events of a connection: the same commands in the same order, fewer tasks and writes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy import flow, http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.connection import Connection
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.layers.http._hooks import HttpResponseHook
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.test import tflow

from eas_redirect.engine import quick
from eas_redirect.engine.quick import remember
from tests.engine.driver import Proxied

type Script = Callable[[events.Event], Iterator[commands.Command]]

START = events.Start()


class Writer:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing


class Handler:
    """What `server_event` uses of a connection handler; `script` plays the layers."""

    def __init__(self, script: Script, *addons: object) -> None:
        self.client = tflow.tclient_conn()
        self.server = tflow.tserver_conn()
        self.writers = {self.client: Writer(), self.server: Writer()}
        self.transports: dict[Connection, ConnectionIO] = {
            connection: ConnectionIO(handler=None, reader=None, writer=cast("Any", writer))
            for connection, writer in self.writers.items()
        }
        self.layer = SimpleNamespace(handle_event=script)
        self.logged: list[str] = []
        self.closed: list[tuple[Connection, bool, list[bytes]]] = []
        self.timeout_watchdog = SimpleNamespace(register_activity=lambda: None, disarm=self._disarm)
        self.disarmed = 0
        manager = AddonManager(SimpleNamespace(options=Options()))
        manager.chain = list(addons)
        assert remember(manager)
        self.master = SimpleNamespace(addons=manager)

    def _disarm(self) -> AbstractContextManager[None]:
        self.disarmed += 1
        return nullcontext()

    def log(self, message: str, *_: object, **__: object) -> None:
        self.logged.append(message)

    def close_connection(self, connection: Connection, half_close: bool = False) -> None:
        self.closed.append((connection, half_close, list(self.writers[connection].written)))

    async def server_event(self, event: events.Event) -> None:
        await quick.server_event(cast("ProxyConnectionHandler", self), event)


async def turns() -> None:
    """Give the event loop a few, for what is ready to go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_sent_in_one_go_is_written_at_once() -> None:
    def script(_event: events.Event) -> Iterator[commands.Command]:
        for connection in (handler.client, handler.server):
            yield commands.SendData(connection, b"head ")
        yield commands.SendData(handler.client, b"body ")
        yield commands.SendData(handler.client, b"end")

    handler = Handler(script)
    await handler.server_event(START)
    assert handler.writers[handler.client].written == [b"head body end"]
    assert handler.writers[handler.server].written == [b"head "]


async def test_datagrams_stay_apart() -> None:
    def script(_event: events.Event) -> Iterator[commands.Command]:
        yield commands.SendData(handler.client, b"one")
        yield commands.SendData(handler.client, b"two")

    handler = Handler(script)
    handler.client.transport_protocol = "udp"
    await handler.server_event(START)
    assert handler.writers[handler.client].written == [b"one", b"two"]


async def test_what_was_sent_before_a_close_is_written_before_it() -> None:
    def script(_event: events.Event) -> Iterator[commands.Command]:
        yield commands.SendData(handler.client, b"bye")
        yield commands.CloseTcpConnection(handler.client, half_close=True)
        yield commands.CloseConnection(handler.server)

    handler = Handler(script)
    await handler.server_event(START)
    assert handler.closed == [(handler.client, True, [b"bye"]), (handler.server, False, [])]


async def test_a_connection_that_is_gone_or_going_gets_nothing() -> None:
    def script(_event: events.Event) -> Iterator[commands.Command]:
        yield commands.SendData(handler.client, b"x")
        yield commands.SendData(handler.server, b"x")
        yield commands.CloseConnection(handler.server)

    handler = Handler(script)
    del handler.transports[handler.server]
    handler.writers[handler.client].closing = True
    await handler.server_event(START)
    assert [w.written for w in handler.writers.values()] == [[], []]
    assert handler.closed == []
    assert handler.logged == []


class Scene:
    """A layer that sends after a hook was heard, and notes what it got."""

    def __init__(self, *addons: object) -> None:
        self.flow = tflow.tflow(resp=True)
        self.hook = HttpResponseHook(self.flow)
        self.got: list[events.Event] = []
        self.handler = Handler(self.script, *addons)

    def script(self, event: events.Event) -> Iterator[commands.Command]:
        self.got.append(event)
        if event is START:
            yield self.hook
            yield commands.SendData(self.handler.client, b"before ")
        elif isinstance(event, events.HookCompleted):
            yield commands.SendData(self.handler.client, b"after")

    @property
    def written(self) -> list[bytes]:
        return self.handler.writers[self.handler.client].written


async def test_a_hook_that_does_not_wait_is_heard_in_place() -> None:
    heard: list[http.HTTPFlow] = []
    scene = Scene(SimpleNamespace(name="quick", response=heard.append))
    await scene.handler.server_event(START)
    assert heard == [scene.flow]
    assert scene.written == [b"before after"]
    assert scene.handler.disarmed == 0


async def test_a_hook_that_waits_lets_the_rest_go_on() -> None:
    go_on = asyncio.Event()

    async def response(_flow: http.HTTPFlow) -> None:
        await go_on.wait()

    scene = Scene(SimpleNamespace(name="slow", response=response))
    await scene.handler.server_event(START)
    assert scene.written == [b"before "]
    data = events.DataReceived(scene.handler.client, b"x")
    await scene.handler.server_event(data)
    go_on.set()
    await turns()
    assert scene.written == [b"before ", b"after"]
    assert [type(event) for event in scene.got] == [
        events.Start,
        events.DataReceived,
        events.HookCompleted,
    ]
    assert scene.handler.disarmed == 1


async def test_an_intercepted_flow_waits_for_its_release() -> None:
    scene = Scene(SimpleNamespace(name="stop", response=flow.Flow.intercept))
    await scene.handler.server_event(START)
    await turns()
    assert scene.written == [b"before "]
    scene.flow.resume()
    await turns()
    assert scene.written == [b"before ", b"after"]


async def test_an_event_that_comes_meanwhile_is_handled_after_the_one_at_hand() -> None:
    got: list[str] = []

    def script(event: events.Event) -> Iterator[commands.Command]:
        got.append(f"begin {type(event).__name__}")
        if event is START:
            yield HttpResponseHook(tflow.tflow(resp=True))
        got.append(f"end {type(event).__name__}")

    class Injects:
        name = "injects"

        async def response(self, _flow: http.HTTPFlow) -> None:
            await handler.server_event(events.DataReceived(handler.client, b"x"))

    handler = Handler(script, Injects())
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await handler.server_event(START)
    await turns()
    assert got == [
        "begin Start",
        "end Start",
        "begin DataReceived",
        "end DataReceived",
        "begin HookCompleted",
        "end HookCompleted",
    ]


async def test_a_layer_that_fails_is_logged_and_the_connection_lives() -> None:
    def script(event: events.Event) -> Iterator[commands.Command]:
        yield commands.SendData(handler.client, b"x")
        if event is START:
            raise ValueError("boom")

    handler = Handler(script)
    await handler.server_event(START)
    await handler.server_event(events.DataReceived(handler.client, b""))
    assert handler.logged == ["mitmproxy has crashed!"]
    assert handler.writers[handler.client].written == [b"x", b"x"]


async def test_unknown_commands_are_an_error() -> None:
    handler = Handler(lambda _event: iter([commands.Command()]))
    await handler.server_event(START)
    assert handler.logged == ["mitmproxy has crashed!"]


async def test_the_log_is_without_the_lines_of_every_message() -> None:
    texts = ("Streaming request to a.", "Streaming response from a.", "Something rare")
    handler = Handler(lambda _event: iter([commands.Log(text) for text in texts]))
    await handler.server_event(START)
    assert handler.logged == ["Something rare"]


async def test_connections_are_opened_and_wakeups_come() -> None:
    opened: list[Connection] = []
    woken = asyncio.Event()

    class Opening(Handler):
        wakeup_timer: set[asyncio.Task[None]] = set()  # noqa: RUF012

        async def open_connection(self, command: commands.OpenConnection) -> None:
            opened.append(command.connection)

        async def wakeup(self, _command: commands.RequestWakeup) -> None:
            woken.set()

    def script(_event: events.Event) -> Iterator[commands.Command]:
        yield commands.OpenConnection(new)
        yield commands.RequestWakeup(0.001)

    new = tflow.tserver_conn()
    handler = Opening(script)
    await handler.server_event(START)
    await asyncio.wait_for(woken.wait(), 5)
    assert opened == [new]
    assert new in handler.transports


ASKED = b"POST /x HTTP/1.1\r\nHost: a.example.test\r\nContent-Length: 2\r\n\r\nhi"
ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nyo"


@pytest.mark.parametrize("waiting", [False, True])
def test_a_stream_that_ended_is_untied_unless_events_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, waiting: bool
) -> None:
    monkeypatch.setattr(HttpStream, "flow_done", quick.flow_done)
    streams: list[HttpStream] = []

    def on_flow(name: str, _flow: http.HTTPFlow) -> None:
        if name == "response":
            (stream,) = proxied.layer.streams.values()
            streams.append(stream)
            if waiting:
                stream._paused_event_queue.append(START)

    proxied = Proxied(on_flow)
    proxied.client(ASKED)
    proxied.server(ANSWERED)
    (stream,) = streams
    assert bytes(proxied.to_client) == ANSWERED
    assert (stream.context.layers == []) is not waiting
    assert (stream.server_state == stream.state_done) is waiting


class Transport:
    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("waiting", [0, 1])
async def test_only_what_is_not_written_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    drained: list[object] = []

    async def drain(handler: object) -> None:
        drained.append(handler)

    monkeypatch.setattr(quick, "_drain_writers", drain)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = cast("Any", Transport(waiting))
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    io = ConnectionIO(handler=None, reader=reader, writer=writer)
    handler = cast("Any", SimpleNamespace(transports={1: io, 2: ConnectionIO()}))
    await quick.drain_writers(handler)
    assert len(drained) == waiting
    reader.set_exception(OSError("gone"))
    await quick.drain_writers(handler)
    assert len(drained) == waiting + 1
    transport.is_closing = lambda: True  # else it complains when it is collected
