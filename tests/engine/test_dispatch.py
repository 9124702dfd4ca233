"""The remembering addon manager calls what mitmproxy's own calls, in the same order."""

from collections.abc import Callable

import pytest
from mitmproxy import addonmanager, exceptions, hooks, http, master, options
from mitmproxy.proxy.layers.http._hooks import HttpResponseHook
from mitmproxy.test import tflow

from eas_redirect.engine import dispatch
from eas_redirect.engine.dispatch import remembering

type Managers = Callable[[master.Master], addonmanager.AddonManager]


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


async def calls_of(manager: Managers, scene: str) -> list[str]:
    calls: list[str] = []
    made = master.Master(options.Options())
    made.addons = manager(made)
    made.addons.add(*SCENES[scene](calls))
    for _ in range(2):
        await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    return calls


@pytest.mark.parametrize("scene", SCENES)
async def test_the_same_calls(scene: str) -> None:
    calls = await calls_of(remembering, scene)
    assert calls
    assert calls == await calls_of(addonmanager.AddonManager, scene)


async def test_an_addon_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(dispatch, "monotonic", lambda: now)
    calls: list[str] = []
    made = master.Master(options.Options())
    made.addons = remembering(made)
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    made.addons.add(Listener("late", calls))
    now += dispatch.REMEMBER_S
    await made.addons.trigger_event(HttpResponseHook(tflow.tflow(resp=True)))
    assert calls == ["late"]


async def test_events_that_nobody_hears() -> None:
    made = master.Master(options.Options())
    made.addons = remembering(made)
    await made.addons.trigger_event(hooks.UpdateHook([]))
