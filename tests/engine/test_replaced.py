"""`eas_engine`: what is put in place, what is left out, what is said, and that nothing stays."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from mitmproxy import options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.optmanager import _Option
from mitmproxy.proxy.layers.http import HttpStream, _http1
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from eas_redirect.engine import quick, replaced
from eas_redirect.engine.quick import RememberingAddonManager
from eas_redirect.engine.replaced import WITHOUT_FIXES, PartState
from eas_redirect.fixes import http1
from eas_redirect.proxy.options import ENGINES, Engine
from eas_redirect.proxy.part import Part

OWNERS = (HttpStream, _http1, _http1.Http1Server, ProxyConnectionHandler, _Option)


@pytest.fixture
def addons() -> Iterator[AddonManager]:
    manager = AddonManager(SimpleNamespace(options=options.Options()))
    replaced.put_back(manager)
    yield manager
    replaced.put_back(manager)


def states(text: str) -> dict[str, PartState]:
    """`1`: in place, `0`: left out, in the order fixes, dispatch, values, events."""
    words: dict[str, PartState] = {"1": "in place", "0": "left out", "?": "does not fit"}
    return dict(
        zip(("fixes", "dispatch", "values", "events"), (words[c] for c in text), strict=True)
    )


@pytest.mark.parametrize(
    ("engine", "expected"), [("full", "1111"), ("safe", "1110"), ("off", "1000"), ("stock", "0000")]
)
def test_each_engine(engine: Engine, expected: str, addons: AddonManager) -> None:
    assert replaced.replace(engine, addons) == states(expected)
    remembers = type(addons) is RememberingAddonManager
    assert remembers is (expected[1] == "1")


def test_one_after_another_leaves_no_trace(addons: AddonManager) -> None:
    before = [dict(vars(owner)) for owner in OWNERS]
    for engine in (*ENGINES, *reversed(ENGINES)):
        replaced.replace(engine, addons)
    replaced.put_back(addons)
    assert [dict(vars(owner)) for owner in OWNERS] == before
    assert type(addons) is AddonManager


def unfit(part: Part) -> Part:
    return Part(part.name, part._replacements, stands_on=part.stands_on, known=())


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        (http1, "FIXES", "?111"),
        (quick, "DISPATCH", "1?1?"),  # the events need its manager
        (quick, "VALUES", "11?1"),
        (quick, "EVENTS", "111?"),
    ],
)
def test_a_part_that_does_not_fit_is_left_out_and_said(
    module: object,
    name: str,
    expected: str,
    addons: AddonManager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, name, unfit(getattr(module, name)))
    found = replaced.replace("full", addons)
    assert found == states(expected)
    replaced.say("full", found)
    assert "left out. Install a version that fits" in caplog.text
    assert all(fault in caplog.text for fault in WITHOUT_FIXES) is (name == "FIXES")


def test_a_name_that_is_gone_is_a_part_that_does_not_fit(
    addons: AddonManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(http1, "FIXES")
    assert replaced.replace("off", addons) == states("?000")


def test_stock_says_what_then_hangs(addons: AddonManager, caplog: pytest.LogCaptureFixture) -> None:
    replaced.say("stock", replaced.replace("stock", addons))
    assert all(fault in caplog.text for fault in WITHOUT_FIXES)
    assert "Install a version" not in caplog.text
