"""Keeps mitmproxy's log from ending the process, stalling an exchange or filling a disk."""

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from typing import Any

from mitmproxy import ctx
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons.dumper import Dumper
from mitmproxy.addons.errorcheck import ErrorCheck
from mitmproxy.addons.termlog import TermLog

from eas_redirect.telemetry.printable import Printable
from eas_redirect.telemetry.writing import queue_standard_streams, queued

# mitmproxy's start is over once it has checked for errors logged meanwhile.
#
# Until then any ERROR ends the process, even one about a client's request.

_LOOK_S = 0.01


def is_checked() -> bool:
    """Whether an error logged now would end the start."""
    check = ctx.master.addons.get("errorcheck")
    return isinstance(check, ErrorCheck) and check.logger in logging.getLogger().handlers


async def over(patience_s: float) -> bool:
    """Wait until the start is over; False if it takes longer than `patience_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while is_checked():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


# Takes mitmproxy's printing off the event loop.
#
# mitmproxy's log handler ends the process when it cannot print, and a stalled reader of its
# output stalls every exchange. `run` replaces the standard streams before mitmproxy sees them; a
# script comes later, when two addons already hold them.


def queue_printing(addons: AddonManager) -> None:
    """This lasts as long as the process: other addons still log when ours is done. Idempotent.

    If there is no log on the terminal (the console has its own screen), nothing is replaced.
    """
    termlog, dumper = addons.get("termlog"), addons.get("dumper")
    if not isinstance(termlog, TermLog):
        return
    termlog.logger.file = queued(termlog.logger.file)
    if not any(isinstance(each, Printable) for each in termlog.logger.filters):
        termlog.logger.addFilter(Printable())
    if isinstance(dumper, Dumper):
        dumper.outfp = queued(dumper.outfp)
    queue_standard_streams()  # other scripts print, too


# When the process runs out of descriptors, says so once a minute instead of at each report.
#
# asyncio reports each connection that it cannot accept, hundreds in a second, and mitmproxy logs a
# traceback for each: megabytes of log about one thing.

logger = logging.getLogger(__name__)

SAY_EVERY_S = 60.0
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

type LoopHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class LoopErrors:
    """Sits in front of the loop's own exception handler."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = float("-inf")
        self._unsaid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: LoopHandler | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin. A second call changes nothing."""
        if self._loop is None:
            self._loop, self._before = loop, loop.get_exception_handler()
            loop.set_exception_handler(self._handle)

    def leave(self) -> None:
        """Give the loop its previous handler back."""
        if self._loop is not None and self._loop.get_exception_handler() == self._handle:
            self._loop.set_exception_handler(self._before)
        self._loop = self._before = None

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS:
            self._out_of_descriptors()
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _out_of_descriptors(self) -> None:
        self._unsaid += 1
        if (now := self._clock()) < self._next_at:
            return
        logger.error(
            "eas-redirect: no descriptor is left, so connections wait or fail (%d times since this "
            "was last said). Raise the limit: LimitNOFILE= of the service, or ulimit -n. Each "
            "waiting phone takes two.",
            self._unsaid,
        )
        self._next_at, self._unsaid = now + SAY_EVERY_S, 0
