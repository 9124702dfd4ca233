"""Whether file descriptors are left for further connections. A waiting phone holds two."""

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 1.0  # counting tens of thousands takes milliseconds
FEWEST = 16  # left; with as many again it is enough
SHARE = 0.02  # of the limit, where that is more, up to
MOST = 200


def open_descriptors() -> int:
    """Of this process; 0 where the system does not tell. Linux does, from 6.2 on in one call."""
    folder = Path("/proc/self/fd")
    try:
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - tens of thousands
    except OSError:
        return 0


def limit() -> int:
    """How many this process may have; 0 where there is no such limit."""
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Descriptors:
    """Looks at most once in LOOK_S."""

    def __init__(
        self,
        count: Callable[[], int] = open_descriptors,
        allowed: Callable[[], int] = limit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._allowed = allowed
        self._clock = clock
        self._looked_at = float("-inf")
        self._short = False

    def are_short(self) -> bool:
        """Whether another connection may find none. Short until twice as many are left."""
        if self._clock() - self._looked_at >= LOOK_S:
            self._looked_at = self._clock()
            self._short = self._look()
        return self._short

    def _look(self) -> bool:
        allowed = self._allowed()
        if allowed <= 0:
            return False
        enough = max(FEWEST, min(int(SHARE * allowed), MOST))
        return allowed - self._count() < enough * (2 if self._short else 1)
