"""The events of a connection, handled in one go: no task for each hook, one write for each turn.

mitmproxy makes a task for each of the hooks of an exchange and a round of its event loop for each
of them, and writes head, body and end of a message one by one. Here a hook that does not wait is
called in place, and what is to be sent leaves when nothing is left to be handled: the head of an
answer with its body where both came together, as Exchange sent them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import cast

from mitmproxy import flow
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, server
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.utils import asyncio_utils

from eas_redirect.engine.dispatch import RememberingAddonManager, Rest

TURN_S = 0.005  # of one connection, before the others have theirs
_USUAL = ("Streaming request to ", "Streaming response from ")  # here every message is streamed


class _Turn:
    """What a connection's handler still has to do before it returns to the event loop."""

    __slots__ = ("busy", "events", "out")

    def __init__(self) -> None:
        self.busy = False
        self.events: deque[events.Event] = deque()
        self.out: dict[Connection, list[bytes]] = {}


async def server_event(self: ProxyConnectionHandler, event: events.Event) -> None:
    """`ConnectionHandler.server_event`. Called while it runs it leaves the event to the running
    one: what comes first is handled first, as with the lock of the original."""
    turn: _Turn | None = self.__dict__.get("_eas_turn")
    if turn is None:
        turn = self.__dict__["_eas_turn"] = _Turn()
    turn.events.append(event)
    if turn.busy:
        return
    turn.busy = True
    try:
        until = monotonic() + TURN_S
        while turn.events:
            _handle(self, turn, turn.events.popleft())
            if turn.events and monotonic() >= until:
                _send(self, turn)
                await _let_others(self, turn)
                until = monotonic() + TURN_S
        _send(self, turn)
    finally:
        turn.busy = False


async def _let_others(self: ProxyConnectionHandler, turn: _Turn) -> None:
    """One client that sends thousands of requests at once, each of which is answered here, does not
    hold up the others."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:  # this connection's end: nobody would come back for the rest
        while turn.events:
            _handle(self, turn, turn.events.popleft())
        _send(self, turn)
        raise


def _handle(self: ProxyConnectionHandler, turn: _Turn, event: events.Event) -> None:
    self.timeout_watchdog.register_activity()
    try:
        for command in self.layer.handle_event(event):
            if isinstance(command, commands.SendData):
                turn.out.setdefault(command.connection, []).append(command.data)
            elif isinstance(command, commands.StartHook):
                _start_hook(self, turn, command)
            elif isinstance(command, commands.Log):
                if not command.message.startswith(_USUAL):
                    self.log(command.message, command.level)
            else:
                _send(self, turn)
                _obey(self, command)
    except Exception:
        self.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)


def _obey(self: ProxyConnectionHandler, command: commands.Command) -> None:
    """The rare commands, as the original has them."""
    if isinstance(command, commands.OpenConnection):
        handler = asyncio_utils.create_task(
            self.open_connection(command),
            name=f"server connection handler {command.connection.address}",
            keep_ref=False,
            client=self.client.peername,
        )
        self.transports[command.connection] = server.ConnectionIO(handler=handler)
    elif isinstance(command, commands.RequestWakeup):
        task = asyncio_utils.create_task(
            self.wakeup(command),
            name=f"wakeup timer ({command.delay:.1f}s)",
            keep_ref=False,
            client=self.client.peername,
        )
        self.wakeup_timer.add(task)
    elif isinstance(command, commands.CloseConnection):
        if command.connection in self.transports:
            half = isinstance(command, commands.CloseTcpConnection) and command.half_close
            self.close_connection(command.connection, half)
    elif not isinstance(command, commands.ConnectionCommand):
        raise RuntimeError(f"Unexpected command: {command}")


def _send(self: ProxyConnectionHandler, turn: _Turn) -> None:
    """One write for each connection that something is to be sent to; each datagram on its own."""
    while turn.out:
        connection, parts = turn.out.popitem()
        io = self.transports.get(connection)
        if io is None or io.writer is None or io.writer.is_closing():
            continue
        if len(parts) > 1 and connection.transport_protocol == "tcp":
            parts = [b"".join(parts)]
        for part in parts:
            io.writer.write(part)


def _start_hook(self: ProxyConnectionHandler, turn: _Turn, hook: commands.StartHook) -> None:
    (data,) = hook.args()
    manager = cast("RememberingAddonManager", self.master.addons)
    rest = manager.begin_lifecycle(hook)
    if rest is None and not (isinstance(data, flow.Flow) and data.intercepted):
        if hook.blocking:
            turn.events.append(events.HookCompleted(hook))
        return
    asyncio_utils.create_task(
        _end_hook(self, hook, data, rest),
        name=f"handle_hook({hook.name})",
        keep_ref=True,
        client=self.client.peername,
    )


async def _end_hook(
    self: ProxyConnectionHandler, hook: commands.StartHook, data: object, rest: Rest | None
) -> None:
    with self.timeout_watchdog.disarm():
        if rest is not None:
            await rest
        if isinstance(data, flow.Flow):
            await data.wait_for_resume()
    if hook.blocking:
        await self.server_event(events.HookCompleted(hook))


_flow_done = HttpStream.flow_done


def flow_done(self: HttpStream) -> Iterator[commands.Command]:
    """`HttpStream.flow_done`. A stream refers to itself by its states and its context, so that it
    and its flow stay until a garbage collection, for which everybody waits. Once it is dropped and
    no event waits for it, nobody reaches it any more: untied, it goes at once."""
    yield from _flow_done(self)
    if self.child_layer is None and not self._paused_event_queue:
        self.client_state = self.server_state = HttpStream.state_done
        self.context.layers.clear()


_drain_writers = server.ConnectionHandler.drain_writers


async def drain_writers(self: server.ConnectionHandler) -> None:
    """`ConnectionHandler.drain_writers`, which has nothing to do when all is written."""
    for io in self.transports.values():
        if io.writer is not None and not _is_drained(io):
            await _drain_writers(self)  # type: ignore[no-untyped-call]
            return


def _is_drained(io: server.ConnectionIO) -> bool:
    reader, writer = io.reader, io.writer
    return (
        isinstance(writer, asyncio.StreamWriter)
        and isinstance(reader, asyncio.StreamReader)
        and not writer.is_closing()
        and writer.transport.get_write_buffer_size() == 0
        and reader.exception() is None
    )
