"""Measuring on an event loop: latencies, the loop's own lag, and what a process holds."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Footprint:
    threads: int
    descriptors: int
    resident_mb: float


def footprint() -> Footprint:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    resident_kb = int(status.partition("VmRSS:")[2].split()[0])
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    return Footprint(threading.active_count(), descriptors, resident_kb / 1024)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@asynccontextmanager
async def loop_lag() -> AsyncIterator[list[float]]:
    """Seconds by which a task that ticks came too late, tick by tick."""
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            lags.append(time.perf_counter() - due)

    task = asyncio.create_task(tick())
    try:
        yield lags
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
