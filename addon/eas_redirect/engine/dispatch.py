"""mitmproxy's addon manager with a memory: which addon listens to which event.

The original looks every addon up anew for each of the dozen events of an exchange, which is two
fifths of what mitmdump does, and makes a task for each. What is remembered here is forgotten when
an addon comes or goes, and after a second, for whoever gives an addon a hook while it runs.
Listeners that do not wait are called at once; a task is needed for the others only.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from mitmproxy import exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager, safecall

REMEMBER_S = 1.0

type Hook = Callable[..., Awaitable[None] | None]
type Rest = Coroutine[Any, Any, None]


class RememberingAddonManager(AddonManager):
    """Calls the same functions in the same order as the original."""

    _until = 0.0

    def begin(self, event: hooks.Hook) -> Rest | None:
        """Call the listeners up to the first one that waits; what is left to be done, or None."""
        listeners = self._listeners(event.name)
        arguments = event.args() if listeners else ()
        for number, functions in enumerate(listeners):
            try:
                for place, function in enumerate(functions, 1):
                    result = function(*arguments)
                    if result is not None and inspect.isawaitable(result):
                        left = (functions[place:], *listeners[number + 1 :])
                        return _finish(result, left, arguments)
            except exceptions.AddonHalt:
                return None
            except Exception:
                with safecall():  # logs it
                    raise
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

    def _listeners(self, name: str) -> list[list[Hook]]:
        """The functions of each addon of the chain, with those of the addons within it."""
        now = monotonic()
        if now >= self._until:
            self._known: dict[str, list[list[Hook]]] = {}
            self._until = now + REMEMBER_S
        known = self._known.get(name)
        if known is None:
            event = hooks.all_hooks[name].__new__(hooks.all_hooks[name])
            found = ([f for _, f in self._iter_hooks(addon, event)] for addon in self.chain)
            known = self._known[name] = [functions for functions in found if functions]
        return known


async def _finish(
    waiting: Awaitable[None], left: Sequence[Sequence[Hook]], arguments: Sequence[Any]
) -> None:
    """What waits, then the listeners behind it: first those of the same addon."""
    try:
        with safecall():
            await waiting
            await _call(left[0], arguments)
        for functions in left[1:]:
            with safecall():
                await _call(functions, arguments)
    except exceptions.AddonHalt:
        return


async def _call(functions: Sequence[Hook], arguments: Sequence[Any]) -> None:
    for function in functions:
        result = function(*arguments)
        if result is not None and inspect.isawaitable(result):
            await result


def remember(manager: AddonManager) -> bool:
    """Give a manager the memory; it stays the object that everybody holds. False for one of another
    kind, which is left as it is."""
    if type(manager) is AddonManager:
        manager.__class__ = RememberingAddonManager
    return isinstance(manager, RememberingAddonManager)
