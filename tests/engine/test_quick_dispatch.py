"""The remembering addon manager calls what mitmproxy's own calls, in the same order."""

import asyncio
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from mitmproxy import addonmanager, exceptions, hooks, http, master, options
from mitmproxy.proxy.layers.http._hooks import HttpResponseHook
from mitmproxy.test import tflow

from eas_redirect.engine import quick
from eas_redirect.engine.quick import remember


class Listener:
    def __init__(self, name: str, calls: list[str], fault: Exception | None = None) -> None:
        self.name = name
        self.calls = calls
        self.fault = fault
        self.addons: list[Listener] = []

    def response(self, _flow: http.HTTPFlow) -> None:
        self.calls.append(self.name)
        if self.fault is not None:
            raise self.fault


class AsyncListener(Listener):
    async def response(self, flow: http.HTTPFlow) -> None:  # type: ignore[override]
        super().response(flow)


def family(calls: list[str]) -> list[Listener]:
    parent = Listener("parent", calls)
    parent.addons = [AsyncListener("child", calls)]
    return [parent, Listener("last", calls)]


SCENES: dict[str, Callable[[list[str]], list[Listener]]] = {
    "nested": family,
    "a fault": lambda c: [Listener("a", c, ValueError("x")), Listener("b", c)],
    "a halt": lambda c: [Listener("a", c, exceptions.AddonHalt()), Listener("b", c)],
    "asynchronous fault": lambda c: [AsyncListener("a", c, ValueError("x")), Listener("b", c)],
}


def remembering() -> master.Master:
    made = master.Master(options.Options())
    assert remember(made.addons)
    return made


async def calls_of(made: master.Master, scene: str) -> list[str]:
    calls: list[str] = []
    made.addons.add(*SCENES[scene](calls))
    for _ in range(2):
        await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    return calls


@pytest.mark.parametrize("scene", SCENES)
async def test_the_same_calls(scene: str) -> None:
    calls = await calls_of(remembering(), scene)
    assert calls
    assert calls == await calls_of(master.Master(options.Options()), scene)


class Scripts:
    """As mitmproxy's own loader: one addon that holds all scripts."""

    name = "scripts"

    def __init__(self, *scripts: object) -> None:
        self.addons = scripts


async def test_a_fault_of_one_script_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    made = remembering()
    faulty = (Listener("a", calls, ValueError("x")), AsyncListener("b", calls, ValueError("y")))
    made.addons.add(Scripts(*faulty, Listener("c", calls)))
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    assert calls == ["a", "b", "c"]
    assert [r.getMessage() for r in caplog.records] == ["Addon error: x", "Addon error: y"]
    for record in caplog.records:
        assert record.exc_info is not None
        frames = traceback.extract_tb(record.exc_info[2])
        assert {frame.name for frame in frames} == {"response"}, "no frame of ours"


class Raising:
    """Once it is registered, which looks at every attribute."""

    armed = False

    @property
    def response(self) -> object:
        if self.armed:
            raise RuntimeError("x")
        return None


@pytest.mark.parametrize(
    "bad",
    [
        SimpleNamespace(name="bad", response={"seen": 1}),
        SimpleNamespace(name="bad", response="text"),
        SimpleNamespace(name="bad", response=len),  # is called, and fails
        Raising(),
    ],
    ids=["dict", "str", "callable", "property"],
)
@pytest.mark.parametrize("first", [True, False])
async def test_an_attribute_named_like_a_hook_harms_nobody(
    bad: object, first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    made = remembering()
    good = Listener("good", calls)
    if isinstance(bad, Raising):
        bad.armed = False
    made.addons.add(Scripts(*((bad, good) if first else (good, bad))))
    if isinstance(bad, Raising):
        bad.armed = True
    event = HttpResponseHook(tflow.tflow(resp=True))
    for _ in range(3):
        made.addons._until = 0.0  # type: ignore[attr-defined]
        await made.addons.trigger_event(event)
    assert calls == ["good"] * 3
    errors = [r.getMessage() for r in caplog.records if "Addon error" in r.getMessage()]
    calls_it = isinstance(bad, SimpleNamespace) and callable(bad.response)
    assert len(errors) == (3 if calls_it else 1)


async def test_a_module_named_like_a_hook_is_none() -> None:
    made = remembering()
    made.addons.add(SimpleNamespace(name="script", response=traceback))
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))


async def test_a_hook_that_cancels_itself_ends_nothing() -> None:
    calls: list[str] = []

    async def response(_flow: http.HTTPFlow) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    made = remembering()
    made.addons.add(SimpleNamespace(name="bad", response=response), Listener("good", calls))
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    assert calls == ["good"]


async def test_a_manager_forgets() -> None:
    made = remembering()
    quick.forget(made.addons)
    assert type(made.addons) is addonmanager.AddonManager
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    assert remember(made.addons)


async def test_an_addon_that_comes_and_goes_is_found_at_once() -> None:
    calls: list[str] = []
    made = remembering()
    event = HttpResponseHook(tflow.tflow(resp=True))
    await made.addons.trigger_event(event)
    late = Listener("late", calls)
    made.addons.add(late)
    await made.addons.trigger_event(event)
    assert calls == ["late"]
    made.addons.remove(late)
    await made.addons.trigger_event(event)
    assert calls == ["late"]


async def test_a_hook_that_an_addon_gets_while_it_runs_is_found_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(quick, "monotonic", lambda: now)
    calls: list[str] = []
    made = remembering()
    bare = SimpleNamespace(name="bare")
    made.addons.add(bare)
    event = HttpResponseHook(tflow.tflow(resp=True))
    await made.addons.trigger_event(event)
    bare.response = Listener("new", calls).response
    now += quick.REMEMBER_S
    await made.addons.trigger_event(event)
    assert calls == ["new"]


async def test_listeners_that_do_not_wait_leave_nothing_to_be_done() -> None:
    calls: list[str] = []
    made = remembering()
    made.addons.add(Listener("one", calls), Listener("two", calls))
    manager = cast("quick.RememberingAddonManager", made.addons)
    assert manager.begin_lifecycle(HttpResponseHook(tflow.tflow(resp=True))) is None
    assert calls == ["one", "two"]


async def test_an_update_follows_whatever_waited() -> None:
    calls: list[str] = []
    made = remembering()
    watching = SimpleNamespace(name="watching", update=lambda flows: calls.append(f"{len(flows)}"))
    made.addons.add(watching, AsyncListener("slow", calls))
    await made.addons.handle_lifecycle(HttpResponseHook(tflow.tflow(resp=True)))
    assert calls == ["slow", "1"]


async def test_another_manager_is_left_alone() -> None:
    class Own(addonmanager.AddonManager):
        pass

    manager = Own(master.Master(options.Options()))  # type: ignore[no-untyped-call]
    assert remember(manager) is False
    assert type(manager) is Own


async def test_events_that_nobody_hears() -> None:
    await remembering().addons.trigger_event(hooks.UpdateHook([]))
