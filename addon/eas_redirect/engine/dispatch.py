"""mitmproxy's addon manager with a memory: which addon listens to which event.

The original looks every addon up anew for each of the dozen events of an exchange; with few addons
that is still a tenth of the work. What is remembered lasts a second, so that addons that come and
go, as with a reloaded script, are found as before.
"""

import inspect
from collections.abc import Awaitable, Callable
from time import monotonic

from mitmproxy import exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager, safecall
from mitmproxy.master import Master

REMEMBER_S = 1.0

type Hook = Callable[..., Awaitable[None] | None]


class RememberingAddonManager(AddonManager):
    """Calls the same functions in the same order as the original."""

    _until = 0.0

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        await self.trigger_event(event)
        if self._listeners("update"):
            (message,) = event.args()
            if isinstance(message, flow.Flow):
                await self.trigger_event(hooks.UpdateHook([message]))

    async def trigger_event(self, event: hooks.Hook) -> None:
        listeners = self._listeners(event.name)
        if not listeners:
            return
        arguments = event.args()
        for functions in listeners:
            try:
                with safecall():
                    for function in functions:
                        result = function(*arguments)
                        if result is not None and inspect.isawaitable(result):
                            await result
            except exceptions.AddonHalt:
                return

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


def remembering(master: Master) -> AddonManager:
    """A manager for a master; mitmproxy has no annotations there."""
    return RememberingAddonManager(master)  # type: ignore[no-untyped-call]
