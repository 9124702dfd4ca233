"""mitmproxy's addon manager with a memory: which addon listens to which event.

The original looks every addon up anew for each of the dozen events of an exchange, which is two
fifths of what mitmdump does, and makes a task for each. What is remembered here is forgotten when
an addon comes or goes, and after a second, for whoever gives an addon a hook while it runs.
Listeners that do not wait are called at once; a task is needed for the others only.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from time import monotonic
from types import ModuleType
from typing import Any

from mitmproxy import addonmanager, exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager, traverse

REMEMBER_S = 1.0

type Hook = Callable[..., Awaitable[None] | None]
type Rest = Coroutine[Any, Any, None]


class RememberingAddonManager(AddonManager):
    """Calls the same functions in the same order as the original.

    One thing differs: each addon is on its own. All scripts are one addon to the original, so that
    a fault of one of them takes the event from those behind it.
    """

    _until = 0.0

    def begin(self, event: hooks.Hook) -> Rest | None:
        """Call the listeners up to the first one that waits; what is left to be done, or None."""
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
        """The same with the `update` that follows an event of a flow."""
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
        """The functions of each addon of the chain, with those of the addons within it."""
        now = monotonic()
        if now >= self._until:
            self._known: dict[str, list[Hook]] = {}
            self._until = now + REMEMBER_S
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = list(self._find(name))
        return known

    def _find(self, name: str) -> Iterator[Hook]:
        """An attribute that is named like a hook and is none is said once, and passed over."""
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
    """What waits, then the listeners behind it."""
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
            _say(error)  # a script's own: the exchange would wait for it for ever
        except Exception as error:
            _say(error)


def _say(error: BaseException) -> None:
    """As mitmproxy's `safecall`: the traceback begins with what was called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    addonmanager.logger.error("Addon error: %s", error, exc_info=(type(error), error, trace))


def remember(manager: AddonManager) -> bool:
    """Give a manager the memory; it stays the object that everybody holds. False for one of another
    kind, which is left as it is."""
    if type(manager) is AddonManager:
        manager.__class__ = RememberingAddonManager
    return isinstance(manager, RememberingAddonManager)


def forget(manager: AddonManager) -> None:
    """Make it mitmproxy's own again."""
    if type(manager) is RememberingAddonManager:
        manager.__class__ = AddonManager  # type: ignore[assignment]
