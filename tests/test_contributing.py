"""CONTRIBUTING.md is true: its map names each room, and its walks are the ways of the code."""

import ast
import asyncio
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Self

import pytest

import eas_redirect
from tests.support import ROOT
from tests.test_addon import Bench, bench, eas_flow

__all__ = ["bench"]  # a fixture

PACKAGE = ROOT / "addon" / "eas_redirect"
RUNS_FROM = str(Path(eas_redirect.__file__).parent) + os.sep
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
WALKS = ("An answer", "A logon", "A journal line")
MOST_STEPS = 12
# Functions of ours that are called for one UserHasNoMailbox, and their modules, as counted here:
# all of them, and those from the answer to its 451. Warm: the cache knows the user, and the ledger
# the device. Cold: neither does.
CALLS = {"warm": 208, "warm, to the 451": 82, "cold": 301, "cold, to the 451": 120}
MODULES = {"warm": 36, "warm, to the 451": 23, "cold": 38, "cold, to the 451": 25}
MORE = 5  # calls by which one edit may exceed them unnoticed
FEWER = 10  # by which they may be beaten before the figures have to follow

# Whom mitmproxy and the event loop call; what stands below them on the stack is not ours.
BEGINNINGS = frozenset(
    {
        ("addon.py", "requestheaders"),
        ("addon.py", "responseheaders"),
        ("addon.py", "response"),
        ("proxy/exchanges.py", "_finish_later"),  # what `response` has left to be awaited
        ("directory/cache.py", "_ask_now"),  # a task, for all who ask for one user
    }
)

type Function = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """What is always called there, and what may be called in its place (after `or`)."""

    called: tuple[Function, ...]
    instead: tuple[Function, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        always, _, instead = text.partition(" or ")
        return cls(tuple(functions(always)), tuple(functions(instead)))


@dataclass(frozen=True, slots=True)
class Call:
    function: Function
    callers: tuple[Function, ...]  # of ours, the nearest first


def functions(text: str) -> Iterator[Function]:
    """`file.py` `one` and `other` → both, each with its file."""
    for file, names in re.findall(r"`([\w/]+\.py)` ((?:`\w+`(?:, | and )?)+)", text):
        for name in re.findall(r"`(\w+)`", names):
            yield file, name


def section(title: str) -> str:
    found = re.search(rf"^##+ {title}$(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def steps(title: str) -> list[Step]:
    texts = re.findall(r"^\d+\. (.+(?:\n   .+)*)", section(title), re.MULTILINE)
    return [Step.of(" ".join(text.split())) for text in texts]


def defined(file: str) -> set[str]:
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def function_of(code: CodeType) -> Function | None:
    """None for what is not ours, and for what a function holds: generators, lambdas."""
    if code.co_name.startswith("<") or not code.co_filename.startswith(RUNS_FROM):
        return None
    return code.co_filename.removeprefix(RUNS_FROM).replace(os.sep, "/"), code.co_name


@contextmanager
def traced() -> Iterator[list[Call]]:
    """Each start of a function of ours in this thread; that a coroutine goes on is none."""
    thread = threading.get_ident()
    calls: list[Call] = []
    monitoring = sys.monitoring

    def started(code: CodeType, _offset: int) -> None:
        function = function_of(code)
        if function is None or threading.get_ident() != thread:
            return
        callers = []
        frame = sys._getframe(1).f_back
        while frame is not None:
            if (caller := function_of(frame.f_code)) is not None:
                callers.append(caller)
            frame = frame.f_back
        calls.append(Call(function, tuple(callers)))

    monitoring.use_tool_id(monitoring.PROFILER_ID, "walks")
    try:
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, started)
        monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.PY_START)
        yield calls
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, None)
        monitoring.free_tool_id(monitoring.PROFILER_ID)


async def redirected(bench: Bench) -> Sequence[Call]:
    """The calls for one UserHasNoMailbox of a user who has moved and was not asked for before; some
    other exchange has been, so that what is made once is there."""
    await bench.run(eas_flow("bert@contoso.example"))
    flow = eas_flow()
    with traced() as calls:
        await bench.run(flow)
        await asyncio.sleep(0)
    assert flow.response is not None
    assert flow.response.status_code == 451
    return calls


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_is_short_and_names_what_is_there(title: str) -> None:
    walk = steps(title)
    assert 5 < len(walk) <= MOST_STEPS
    for step in walk:
        assert step.called, title
        for file, name in (*step.called, *step.instead):
            assert name in defined(file), f"{title}: {file} has no {name}"


@pytest.mark.parametrize("title", WALKS)
async def test_a_walk_is_the_way_of_the_code(bench: Bench, title: str) -> None:
    """Each function is called after the one before it, by one that the walk has come through; only
    mitmproxy and the event loop start over."""
    calls = await redirected(bench)
    passed: set[Function] = set()
    at = 0
    for step in steps(title):
        for function in step.called:
            at = next((n for n in range(at, len(calls)) if calls[n].function == function), -1)
            assert at >= 0, f"{title}: {function} is not called then"
            callers = calls[at].callers
            known = passed | BEGINNINGS
            assert not passed or not callers or known & set(callers), (
                f"{title}: who calls {function}?"
            )
            assert callers or not passed or function in BEGINNINGS, f"{title}: {function} begins"
            passed.add(function)


async def test_what_one_redirect_costs(bench: Bench) -> None:
    cold = await redirected(bench)
    flow = eas_flow()
    with traced() as warm:
        await bench.run(flow)
    assert flow.response is not None
    assert flow.response.status_code == 451
    counted = {"warm": warm, "cold": cold}
    counted |= {f"{what}, to the 451": to_the_451(calls) for what, calls in counted.items()}
    for what, calls in counted.items():
        modules = {call.function[0] for call in calls}
        measured = f"{what}: {len(calls)} calls in {len(modules)} modules"
        assert CALLS[what] - FEWER <= len(calls) <= CALLS[what] + MORE, measured
        assert MODULES[what] - 5 <= len(modules) <= MODULES[what] + 1, measured
    text = section("Three walks")
    for what, number in CALLS.items():
        assert f"| {what} | {number} | {MODULES[what]} |" in text, what


def to_the_451(calls: Sequence[Call]) -> Sequence[Call]:
    functions = [call.function for call in calls]
    answered = functions.index(("addon.py", "response"))
    return calls[answered : functions.index(("proxy/exchanges.py", "_journal"))]


async def test_the_451_is_given_before_it_is_journalled(bench: Bench) -> None:
    calls = [call.function for call in await redirected(bench)]
    given = calls.index(("proxy/flows.py", "redirect_response"))
    assert not any(file.startswith("telemetry/") for file, _ in calls[:given])
    assert ("telemetry/journal.py", "write") in calls[given:]


def test_the_map_names_each_room_and_no_other() -> None:
    plan = section("Where things are")
    plan = plan[plan.index("addon/eas_redirect/\n") : plan.rindex("```")]
    named = {name for line in plan.splitlines()[1:] for name in re.findall(r"\b([a-z]+)/", line)}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert named - {"data", "ldap"} == rooms


def test_each_room_says_where_to_begin() -> None:
    for path in PACKAGE.glob("**/__init__.py"):
        if path.parent != PACKAGE:
            said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            assert said, path
            assert re.search(r"\bBegin (with|in)\b|\bbegin (with|in)\b", said), path
            assert 2 <= said.count("\n") + 1 <= 6, path
            for name in re.findall(r"`(\w+\.py)`", said):
                assert (path.parent / name).exists(), f"{path.parent.name} names {name}"
