"""mitmproxy made quicker: the parts that every exchange runs, replaced by ones that do less work.

The replacements do what the originals do. `VALUES` are small functions; `EVENTS` is mitmproxy's own
handler of connections, and needs the addon manager of `DISPATCH`.
"""

import asyncio
import copy
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from time import monotonic
from types import ModuleType
from typing import Any, cast, get_args

from mitmproxy import addonmanager, exceptions, flow, hooks, http
from mitmproxy.addonmanager import AddonManager, traverse
from mitmproxy.connection import Connection
from mitmproxy.coretypes.multidict import MultiDict
from mitmproxy.optmanager import _Option, unset
from mitmproxy.proxy import commands, events, server
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.utils import asyncio_utils
from mitmproxy.utils.strutils import always_bytes

from eas_redirect.proxy.part import Part

# Small functions that mitmproxy calls dozens of times per exchange, with less work.
#
# Each returns and raises what the original does; tests compare them.

type _Checks = tuple[tuple[str, tuple[type, ...]], ...]

_check_fields: Callable[[http.MessageData], None] = http.MessageData.__post_init__
_make_headers = http.Headers.__init__
_SCALARS = frozenset({str, int, float, bool, type(None)})


@lru_cache(maxsize=256)
def _wanted(name: str | bytes) -> bytes:
    """A name as it is compared. The names asked for come from code, not from clients."""
    return always_bytes(name, "utf-8", "surrogateescape").lower()


def all_values(self: http.Headers, name: str | bytes) -> list[str]:
    """`Headers.get_all`: every value of a header, whatever its case."""
    wanted = _wanted(name)
    size = len(wanted)
    return [
        value.decode("utf-8", "surrogateescape")
        for key, value in self.fields
        if len(key) == size and key.lower() == wanted
    ]


def header(self: http.Headers, key: str | bytes, default: Any = None) -> Any:
    """`Headers.get`: all values in one; an absent header costs no exception."""
    values = all_values(self, key)
    return ", ".join(values) if values else default


def has_header(self: http.Headers, key: str | bytes) -> bool:
    """`key in headers`."""
    return bool(all_values(self, key))


def make_headers(self: http.Headers, fields: Any = (), **headers: Any) -> None:
    """`Headers.__init__`, for bytes read from a connection."""
    made = tuple(map(tuple, fields))
    if headers or not all(type(key) is type(value) is bytes for key, value in made):
        _make_headers(self, made, **headers)
    else:
        self.fields = made


_checks: dict[type, _Checks] = {}


def checked_fields(self: http.MessageData) -> None:
    """`MessageData.__post_init__`: its types are looked up once per class; the original handles a
    wrong value, and raises."""
    checks = _checks.get(type(self))
    if checks is None:
        checks = _checks[type(self)] = tuple(_check(f.name, f.type) for f in fields(self))
    for name, types in checks:
        if type(getattr(self, name)) not in types:
            _check_fields(self)
            return


def _check(name: str, annotation: Any) -> tuple[str, tuple[type, ...]]:
    return name, get_args(annotation) or (annotation,)


def current(self: _Option) -> Any:
    """`_Option.current`: a value that cannot be changed in place needs no copy."""
    value = self._default if self.value is unset else self.value
    return value if type(value) in _SCALARS else copy.deepcopy(value)


_names: dict[type, tuple[str, ...]] = {}


def hook_arguments(self: hooks.Hook) -> list[Any]:
    """`Hook.args`: the field names are looked up once per class."""
    names = _names.get(type(self))
    if names is None:
        names = _names[type(self)] = tuple(f.name for f in fields(self))  # type: ignore[arg-type]
    return [getattr(self, name) for name in names]


# mitmproxy's addon manager, which remembers which addon listens to which event.
#
# The original looks every addon up again for each of the dozen events of an exchange, which is two
# fifths of the work of mitmdump, and makes a task for each. This one forgets when an addon comes or
# goes, and after a second, in case somebody gives an addon a hook while it runs.
# Listeners that do not wait are called at once; a task is needed for the others only.

REMEMBER_S = 1.0

type Hook = Callable[..., Awaitable[None] | None]
type Rest = Coroutine[Any, Any, None]


class RememberingAddonManager(AddonManager):
    """Calls the same functions in the same order as the original, with one difference: each addon
    is on its own. The original treats all scripts as one addon, so that an error in one of them
    keeps the event from those after it."""

    _until = 0.0

    def begin(self, event: hooks.Hook) -> Rest | None:
        """Call the listeners up to the first one that waits; returns what is left, or None."""
        listeners = self._listeners(event.name)
        arguments = event.args() if listeners else ()
        for place, function in enumerate(listeners, 1):
            try:
                result = function(*arguments)
                if result is not None and inspect.isawaitable(result):
                    return _finish(result, listeners[place:], arguments)
            except exceptions.AddonHalt:
                return None
            except Exception as error:
                _say(error)
        return None

    def begin_lifecycle(self, event: hooks.Hook) -> Rest | None:
        """The same, with the `update` that follows an event of a flow."""
        rest = self.begin(event)
        if not self._listeners("update"):
            return rest
        return self._update(event, rest)

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        if (rest := self.begin_lifecycle(event)) is not None:
            await rest

    async def trigger_event(self, event: hooks.Hook) -> None:
        if (rest := self.begin(event)) is not None:
            await rest

    def register(self, addon: object) -> object:
        self._until = 0.0
        try:
            return super().register(addon)  # type: ignore[no-untyped-call]
        finally:
            self._until = 0.0

    def remove(self, addon: object) -> None:
        self._until = 0.0
        try:
            super().remove(addon)  # type: ignore[no-untyped-call]
        finally:
            self._until = 0.0

    async def _update(self, event: hooks.Hook, rest: Rest | None) -> None:
        if rest is not None:
            await rest
        (message,) = event.args()
        if isinstance(message, flow.Flow):
            await self.trigger_event(hooks.UpdateHook([message]))

    def _listeners(self, name: str) -> list[Hook]:
        """The functions of each addon in the chain, including nested addons."""
        now = monotonic()
        if now >= self._until:
            self._known: dict[str, list[Hook]] = {}
            self._until = now + REMEMBER_S
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = list(self._find(name))
        return known

    def _find(self, name: str) -> Iterator[Hook]:
        """An attribute that has the name of a hook but is not one is reported once and skipped."""
        for addon in traverse(self.chain):
            try:
                function = getattr(addon, name, None)
                if callable(function) and function:
                    yield function
                elif function and not isinstance(function, ModuleType):
                    raise exceptions.AddonManagerError(
                        f"Addon handler {name} ({addon}) not callable"
                    )
            except Exception as error:
                said = self.__dict__.setdefault("_said", set())
                if (key := (id(addon), name)) not in said:
                    said.add(key)
                    _say(error)


async def _finish(waiting: Awaitable[None], left: Sequence[Hook], arguments: Sequence[Any]) -> None:
    """The listener that waits, then those after it."""
    result: Awaitable[None] | None = waiting
    for function in (None, *left):
        try:
            if function is not None:
                result = function(*arguments)
            if result is not None and inspect.isawaitable(result):
                await result
        except exceptions.AddonHalt:
            return
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _say(error)  # from a script: the exchange would wait for it for ever
        except Exception as error:
            _say(error)


def _say(error: BaseException) -> None:
    """As mitmproxy's `safecall`: the traceback begins with what was called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    addonmanager.logger.error("Addon error: %s", error, exc_info=(type(error), error, trace))


def remember(manager: AddonManager) -> bool:
    """Give a manager the memory; it stays the same object. False for a manager of another class,
    which is left as it is."""
    if type(manager) is AddonManager:
        manager.__class__ = RememberingAddonManager
    return isinstance(manager, RememberingAddonManager)


def forget(manager: AddonManager) -> None:
    """Make it mitmproxy's own again."""
    if type(manager) is RememberingAddonManager:
        manager.__class__ = AddonManager  # type: ignore[assignment]


# Handles the events of a connection in one go: no task per hook, one write per turn.
#
# mitmproxy makes a task for each of the hooks of an exchange and a round of its event loop for each
# of them, and writes head, body and end of a message one by one. Here a hook that does not wait is
# called in place, and data is sent when nothing is left to handle: the head of an answer together
# with its body if both arrived together, as Exchange sent them.

TURN_S = 0.005  # of one connection, before others get their turn
_USUAL = ("Streaming request to ", "Streaming response from ")  # here every message is streamed


class _Turn:
    """What a connection's handler must still do before it returns to the event loop."""

    __slots__ = ("busy", "events", "out")

    def __init__(self) -> None:
        self.busy = False
        self.events: deque[events.Event] = deque()
        self.out: dict[Connection, list[bytes]] = {}


async def server_event(self: ProxyConnectionHandler, event: events.Event) -> None:
    """`ConnectionHandler.server_event`. If it is called while it runs, the running call handles the
    event: first come, first served, as with the original's lock."""
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
    """A client that sends thousands of requests at once, each answered here, must not hold up the
    others."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:  # the end of this connection: nobody would handle the rest later
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
    """The rare commands, handled as in the original."""
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
    """One write per connection; each datagram on its own."""
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
    """`HttpStream.flow_done`. A stream refers to itself through its states and its context, so it
    and its flow stay until a garbage collection, for which everybody waits. Once it is dropped and
    no event waits for it, nobody can reach it: with its references cut, it is freed at once."""
    yield from _flow_done(self)
    if self.child_layer is None and not self._paused_event_queue:
        self.client_state = self.server_state = HttpStream.state_done
        self.context.layers.clear()


_drain_writers = server.ConnectionHandler.drain_writers


async def drain_writers(self: server.ConnectionHandler) -> None:
    """`ConnectionHandler.drain_writers`, which has nothing to do when everything is written."""
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


VALUES = Part(
    "values",
    (
        (hooks.Hook, "args", hook_arguments),
        (http.Headers, "__init__", make_headers),
        (http.Headers, "get_all", all_values),
        (http.Headers, "get", header),
        (http.Headers, "__contains__", has_header),
        (http.MessageData, "__post_init__", checked_fields),
        (_Option, "current", current),
    ),
    stands_on=(
        hooks.Hook.args,
        http.Headers.__init__,
        http.Headers.get_all,
        http.Headers._reduce_values,  # noqa: SLF001
        MultiDict.__init__,
        MultiDict.__getitem__,
        MultiDict.get_all,
        http.MessageData.__post_init__,
        _Option.current,
    ),
    known=("e1761c2157b09d5f",),  # mitmproxy 12.2.2 to 12.3.1
)
DISPATCH = Part(
    "dispatch",
    (),  # an object's class, which `dispatch.remember` changes
    stands_on=(
        AddonManager.handle_lifecycle,
        AddonManager.trigger_event,
        AddonManager.invoke_addon,
        AddonManager._iter_hooks,  # noqa: SLF001
        AddonManager.register,
        AddonManager.remove,
        addonmanager.traverse,
        addonmanager.safecall,
        ProxyConnectionHandler.handle_hook,
        ConnectionHandler.hook_task,
    ),
    known=("c78ef79d53a652ab",),  # mitmproxy 12.2.2 to 12.3.1
)
EVENTS = Part(
    "events",
    (
        (ProxyConnectionHandler, "server_event", server_event),
        (ProxyConnectionHandler, "drain_writers", drain_writers),
        (HttpStream, "flow_done", flow_done),
    ),
    stands_on=(
        ConnectionHandler.server_event,
        ConnectionHandler.hook_task,
        ConnectionHandler.drain_writers,
        ConnectionHandler.handle_connection,
        ConnectionHandler.open_connection,
        ConnectionHandler.wakeup,
        ProxyConnectionHandler.handle_hook,
        HttpStream.__init__,
        HttpStream.state_stream_request_body,
        HttpStream.flow_done,
    ),
    known=("3777aa76a8639030",),  # mitmproxy 12.2.2 to 12.3.1
)
