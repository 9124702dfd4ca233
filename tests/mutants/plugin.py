"""Runs the mutants inside one session of pytest, each in a fork of its own.

The tests are collected once. A first fork runs them all and tells which functions each one enters;
then a fork for each mutant takes the wrong code in place of the right one and runs the tests that
enter it, the quickest first, until one fails. No file is changed, nothing is imported twice.
"""

import gc
import inspect
import os
import pickle
import random
import signal
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.mistakes import Mutant, mutants

EXAMPLES = 30  # of each property
LONGEST_S = 20.0  # of tests for one mutant
PATIENCE = 5  # times the work that the tests are on the right code; then it runs away, noticed
WAITING = 20  # times the time that they take there; a busy machine is no mistake
_TOOL = 4  # of sys.monitoring; the numbers below belong to debuggers and profilers

type Place = tuple[str, str]
"""A file and a qualified name."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What one test entered, and how long it took."""

    test: int  # its place among the items
    seconds: float
    places: frozenset[Place]


@dataclass(slots=True)
class Outcome:
    survivors: list[Mutant] = field(default_factory=list)
    noticed: int = 0
    not_entered: int = 0
    left: int = 0  # for which there was no time


class Mutating:
    """The plugin."""

    def __init__(
        self, root: Path, files: Sequence[Path], deadline: float, only: str, at_once: int
    ) -> None:
        self.outcome = Outcome()
        self._root = root
        self._files = files
        self._deadline = deadline
        self._only = only
        self._at_once = at_once

    def pytest_collection(self) -> None:
        import hypothesis  # its own plugin of pytest wants to be first

        hypothesis.settings.register_profile(
            "mutants",
            parent=hypothesis.settings.get_profile("house"),
            max_examples=EXAMPLES,
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # forks beside threads: they end at once
        entered = _in_a_fork(session.items, {str(path) for path in self._files})
        tests = defaultdict[Place, list[Entered]](list)
        for one in sorted(entered, key=lambda e: e.seconds):
            for place in one.places:
                tests[place].append(one)
        print(f"{len(entered)} tests enter {len(tests)} functions", flush=True)
        self._try_all(session.items, tests)
        return True

    def _try_all(self, items: list[pytest.Item], tests: dict[Place, list[Entered]]) -> None:
        loaded = _loaded(self._files)
        everything = [m for path in self._files for m in mutants(path, self._root)]
        everything = [m for m in everything if self._only in f"{m.file}:{m.function}"]
        random.Random(1).shuffle(everything)  # noqa: S311 - so that a short run sees all rooms
        running: dict[int, Mutant] = {}
        for tried, mutant in enumerate(everything):
            if time.monotonic() > self._deadline:
                self.outcome.left = len(everything) - tried
                break
            place = (str(self._root / mutant.file), mutant.function)
            if not (chosen := tests.get(place)) or place not in loaded:
                self.outcome.not_entered += 1
                self.outcome.survivors.append(mutant)
                continue
            if len(running) >= self._at_once:
                self._take_one(running)
            running[_fork(mutant, loaded[place], items, chosen)] = mutant
        while running:
            self._take_one(running)
        print(flush=True)

    def _take_one(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        mutant = running.pop(pid)
        print("." if status else "S", end="", flush=True)
        if status:
            self.outcome.noticed += 1
        else:
            self.outcome.survivors.append(mutant)


def _in_a_fork(items: list[pytest.Item], files: set[str]) -> list[Entered]:
    """Run all tests on the right code, where nothing that they leave behind stays."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        entered, failed = _run_and_watch(items, files)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump((entered, failed), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told: tuple[list[Entered], list[str]] = pickle.load(pipe)  # noqa: S301 - our own fork's
    os.waitpid(pid, 0)
    entered, failed = told
    if failed:
        pytest.exit("fails on the right code: " + ", ".join(failed), 2)
    return entered


def _run_and_watch(items: list[pytest.Item], files: set[str]) -> tuple[list[Entered], list[str]]:
    seen: set[Place] = set()

    def enter(code: CodeType, _offset: int) -> object:
        if code.co_filename in files:
            seen.add((code.co_filename, code.co_qualname.partition(".<locals>")[0]))
        return sys.monitoring.DISABLE

    events = sys.monitoring.events.PY_START
    sys.monitoring.use_tool_id(_TOOL, "mutants")
    sys.monitoring.register_callback(_TOOL, events, enter)
    sys.monitoring.set_events(_TOOL, events)
    entered, failed = [], []
    for number, item in enumerate(items):
        seen.clear()
        sys.monitoring.restart_events()
        began = time.monotonic()
        following = items[number + 1] if number + 1 < len(items) else None
        reports = runtestprotocol(item, log=False, nextitem=following)
        if any(report.failed for report in reports):  # perhaps it lacked time: once more
            if isinstance(item, pytest.Function):
                item._initrequest()
            reports = runtestprotocol(item, log=False, nextitem=following)
        if any(report.failed for report in reports):
            failed.append(item.nodeid)
        elif all(report.passed for report in reports) and seen:
            entered.append(Entered(number, time.monotonic() - began, frozenset(seen)))
    return entered, failed


def _loaded(files: Sequence[Path]) -> dict[Place, list[FunctionType]]:
    """The functions as they live in this process, wherever they were imported to."""
    names = {str(path) for path in files}
    found = defaultdict[Place, list[FunctionType]](list)
    for thing in gc.get_objects():
        if inspect.isfunction(thing) and thing.__code__.co_filename in names:
            found[thing.__code__.co_filename, thing.__code__.co_qualname].append(thing)
    return found


def _fork(
    mutant: Mutant,
    functions: list[FunctionType],
    items: list[pytest.Item],
    chosen: list[Entered],
) -> int:
    pid = os.fork()
    if pid:
        return pid
    tests = list(_within(chosen))
    right_s = sum(test.seconds for test in tests)
    for alarm in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(alarm, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, 5 + PATIENCE * right_s)
    signal.setitimer(signal.ITIMER_REAL, 30 + WAITING * right_s)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        for function in functions:
            function.__code__ = mutant.code
    except ValueError:  # other names of the scope around it: the mistake makes no function of it
        os._exit(1)
    for number, test in enumerate(tests):
        following = items[tests[number + 1].test] if number + 1 < len(tests) else None
        try:
            reports = runtestprotocol(items[test.test], log=False, nextitem=following)
        except BaseException:
            os._exit(1)
        if any(report.failed for report in reports):
            os._exit(1)
    os._exit(0)


def _within(chosen: list[Entered]) -> Iterator[Entered]:
    spent_s = 0.0
    for test in chosen:
        spent_s += test.seconds
        if spent_s > LONGEST_S:
            return
        yield test
