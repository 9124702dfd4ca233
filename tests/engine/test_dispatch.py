"""The remembering addon manager calls what mitmproxy's own calls, in the same order."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from mitmproxy import addonmanager, exceptions, hooks, http, master, options
from mitmproxy.proxy.layers.http._hooks import HttpResponseHook
from mitmproxy.test import tflow

from eas_redirect.engine import dispatch
from eas_redirect.engine.dispatch import remember


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
    monkeypatch.setattr(dispatch, "monotonic", lambda: now)
    calls: list[str] = []
    made = remembering()
    bare = SimpleNamespace(name="bare")
    made.addons.add(bare)
    event = HttpResponseHook(tflow.tflow(resp=True))
    await made.addons.trigger_event(event)
    bare.response = Listener("new", calls).response
    now += dispatch.REMEMBER_S
    await made.addons.trigger_event(event)
    assert calls == ["new"]


async def test_listeners_that_do_not_wait_leave_nothing_to_be_done() -> None:
    calls: list[str] = []
    made = remembering()
    made.addons.add(Listener("one", calls), Listener("two", calls))
    manager = cast("dispatch.RememberingAddonManager", made.addons)
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
