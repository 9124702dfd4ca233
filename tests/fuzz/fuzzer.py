"""Runs a target: mutate, check, keep what reaches new code, note what breaks the invariant."""

import hashlib
import random
import signal
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.fuzz.coverage import Coverage
from tests.fuzz.mutator import Mutator
from tests.fuzz.target import Target

BASE_BYTES = 8 * 1024 * 1024
HANG_S = 10.0  # an input that has not ended by then is given up
SAMPLE = 1024  # memory is measured once in so many inputs: it slows them tenfold
TRIES = 3  # a slow input is timed again: the machine may have been busy
SHRINK_S = 3.0


class SlowError(Exception):
    """More CPU time than the input's length allows."""


class BigError(Exception):
    """More memory than the input's length allows."""


class HangError(BaseException):
    """No end in sight. No `Exception`, so that no handler under test can take it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke the invariant, and how."""

    target: str
    data: bytes
    error: str  # the exception's type and where it was raised: findings alike are one
    trace: str

    def save(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.target}-{hashlib.sha256(self.data).hexdigest()[:12]}"
        path.write_bytes(self.data)
        return path


@dataclass(slots=True)
class Run:
    """A target's run so far."""

    target: Target
    inputs: int = 0
    seconds: float = 0.0
    reached: int = 0
    kept: list[bytes] = field(default_factory=list)  # inputs that reached new code
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.inputs / self.seconds if self.seconds else 0.0


def fuzz(target: Target, seed: int, *, seconds: float = 60.0, inputs: int | None = None) -> Run:
    """Until the time is over or so many inputs were run. The same seed gives the same inputs, as
    long as they reach the same code. Ctrl-C ends it through KeyboardInterrupt."""
    run, began = Run(target), time.monotonic()
    with Coverage() as coverage, _watchdog() as dog:
        for data in _inputs(run, seed, coverage):
            dog.began = time.monotonic()
            before = coverage.reached
            _check(run, data)
            if coverage.reached > before:
                run.kept.append(data)
            run.seconds = dog.began - began
            if run.seconds > seconds or (inputs is not None and run.inputs >= inputs):
                break
        dog.began = float("inf")
        run.reached = coverage.reached
    for name, finding in run.findings.items():
        run.findings[name] = shrunk(target, finding)
    return run


def _inputs(run: Run, seed: int, coverage: Coverage) -> Iterator[bytes]:
    target, chance = run.target, random.Random(seed)  # noqa: S311 - to be repeatable
    mutator = Mutator(chance, target.tokens, target.max_size)
    corpus = target.corpus() or [b""]
    yield from corpus
    while True:
        reached = coverage.reached
        data = mutator.mutated(corpus)
        yield data
        if coverage.reached > reached:
            corpus.append(data)


def _check(run: Run, data: bytes) -> None:
    run.inputs += 1
    finding = failure(run.target, data, memory=run.inputs % SAMPLE == 0)
    if finding is not None:
        run.findings.setdefault(finding.error, finding)


def failure(target: Target, data: bytes, *, memory: bool = True) -> Finding | None:
    """What the input does wrong, or None."""
    try:
        if memory:
            _measure_memory(target, data)
        else:
            _measure_time(target, data)
    except (Exception, HangError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        if isinstance(error, SlowError | BigError | HangError | RecursionError | MemoryError):
            name = type(error).__name__
        return Finding(target.name, data, name, _short(error))
    return None


def _short(error: BaseException) -> str:
    """The traceback; of a deep recursion, its ends."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines if len(lines) <= 40 else [*lines[:10], "…", *lines[-20:]])


def _measure_time(target: Target, data: bytes) -> None:
    allowed = target.base_us + target.per_byte_us * len(data)
    for _ in range(TRIES):
        began = time.perf_counter()
        target.check(data)
        took = (time.perf_counter() - began) * 1e6
        if took <= allowed:
            return
        began_cpu = time.thread_time()
        target.check(data)
        took = (time.thread_time() - began_cpu) * 1e6
        if took <= allowed:
            return
    raise SlowError(f"{took / 1e3:.0f} ms of CPU for {len(data)} bytes")


def _measure_memory(target: Target, data: bytes) -> None:
    tracemalloc.start()
    try:
        target.check(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > BASE_BYTES + target.per_byte * len(data):
        raise BigError(f"{peak} bytes held for {len(data)}")


def shrunk(target: Target, finding: Finding) -> Finding:
    """The same finding from fewer bytes, as far as a few seconds carry."""
    best, deadline = finding, time.monotonic() + SHRINK_S
    if best.error == "HangError":
        return best
    length = len(best.data) // 2
    while length >= 1 and time.monotonic() < deadline:
        at = 0
        while at < len(best.data) and time.monotonic() < deadline:
            data = best.data[:at] + best.data[at + length :]
            again = failure(target, data, memory=best.error == "BigError")
            if again is not None and again.error == best.error:
                best = again
            else:
                at += length
        length //= 2
    return best


@dataclass(slots=True)
class _Watchdog:
    began: float = float("inf")

    def look(self, _signal: int, _frame: FrameType | None) -> None:
        if time.monotonic() - self.began > HANG_S:
            self.began = float("inf")
            raise HangError(f"no end after {HANG_S:g} s")


@contextmanager
def _watchdog() -> Iterator[_Watchdog]:
    """Looks once a second whether an input has hung."""
    dog = _Watchdog()
    previous = signal.signal(signal.SIGALRM, dog.look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    try:
        yield dog
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
