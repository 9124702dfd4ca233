"""What the event loop reports when the process is out of descriptors: said, but once a minute.

asyncio reports each connection that it cannot accept, hundreds in a second, and mitmproxy logs a
traceback for each: megabytes of log about one thing.
"""

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

SAY_EVERY_S = 60.0
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

type LoopHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class LoopErrors:
    """In front of the handler that a loop has."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = float("-inf")
        self._unsaid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: LoopHandler | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on. A second call changes nothing."""
        if self._loop is None:
            self._loop, self._before = loop, loop.get_exception_handler()
            loop.set_exception_handler(self._handle)

    def leave(self) -> None:
        """The loop has the handler again that it had."""
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
