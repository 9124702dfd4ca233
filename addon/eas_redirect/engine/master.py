"""A mitmproxy master for this job: mitmdump's, without what nobody asked for.

A stock process spends two fifths of its time asking 33 addons about every event. This one loads
them all, so that every option exists and every `--set` and flag of mitmdump works; then it lets go
of those whose options are all off. What the user turns on stays. Deprecated `add_log` events are
not made: they cost a call per log record and addon.
"""

import asyncio
import gc
import logging
from collections.abc import Iterable, Sequence

from mitmproxy import addons, ctx, master, options
from mitmproxy.addons import dumper, errorcheck, keepserving, readfile, termlog

from eas_redirect.engine.drain import Drain

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
        """Whether a stop was asked for: no new connections, `/ready` says no."""
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
        """Out of the chain only: nothing has started yet, so nothing has to be undone."""
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
    """Once everything runs: no more garbage collections of what stays for good.

    A full collection walks every object that mitmproxy and its libraries ever made, and every
    exchange waits for it. Frozen objects are not walked.
    """

    def running(self) -> None:
        gc.collect()
        gc.freeze()


def _name(addon: object) -> str:
    """As mitmproxy's addon manager names it."""
    return str(getattr(addon, "name", type(addon).__name__.lower()))


def loaded(engine: EngineMaster) -> Sequence[str]:
    """The names of the addons that see events, for tests and for the curious."""
    chain: Iterable[object] = engine.addons.chain
    return [_name(addon) for addon in chain]
