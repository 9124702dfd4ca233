"""Each quick function gives what the original gives, and raises what it raises."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import hooks, http, options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.test import tutils

from eas_redirect.engine import dispatch, quick, quick_values
from eas_redirect.engine.quick import quicken
from eas_redirect.fixes import mends

NAMES = st.sampled_from([b"Host", b"host", b"HOST", b"Cookie", b"X-\xff", b"", b"Hos"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=8)
ASKED = st.one_of(NAMES, st.sampled_from(["Host", "hOsT", "cookie", "", "X-\udcff", "ü"]))


def manager() -> AddonManager:
    master = SimpleNamespace(options=options.Options())
    return AddonManager(master)


@pytest.fixture(autouse=True)
def as_mitmproxy_is() -> Iterator[None]:
    quick.restore()
    yield
    quick.restore()


@pytest.fixture
def quickened() -> None:
    assert quicken(manager())


@given(FIELDS, ASKED)
def test_header_values(fields: list[tuple[bytes, bytes]], asked: str | bytes) -> None:
    headers = http.Headers(fields)
    assert quick_values.header_values(headers, asked) == headers.get_all(asked)
    assert quick_values.header(headers, asked) == headers.get(asked)
    assert quick_values.header(headers, asked, 7) == headers.get(asked, 7)
    assert quick_values.has_header(headers, asked) == (asked in headers)


def test_headers_are_still_checked_when_they_are_made(quickened: None) -> None:
    assert http.Headers(iter([(b"Host", b"a")])).fields == ((b"Host", b"a"),)
    assert http.Headers(content_type="a").fields == ((b"content-type", b"a"),)
    for wrong in ([("Host", "a")], [(b"Host", "a")]):
        with pytest.raises(TypeError, match="must be bytes"):
            http.Headers(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unpack"):
        http.Headers([(b"Host",)])  # type: ignore[list-item]


def test_headers_are_still_read_by_every_way(quickened: None) -> None:
    headers = http.Headers([(b"Host", b"a"), (b"Cookie", b"b"), (b"cookie", b"c")])
    assert headers["cookie"] == "b, c"
    assert headers.get("nothing") is None
    assert "HOST" in headers
    with pytest.raises(KeyError):
        headers["nothing"]


def test_messages_are_still_checked(quickened: None) -> None:
    for _ in range(2):
        assert tutils.treq().method == "GET"
        assert tutils.tresp(content=None).raw_content is None
        with pytest.raises(TypeError, match="Expected"):
            tutils.tresp(timestamp_start="soon")
        with pytest.raises(TypeError, match="Expected"):
            tutils.treq(port="https")


def test_options_are_those_of_mitmproxy() -> None:
    names = list(options.Options().keys())

    def values(*, changed: bool) -> list[object]:
        made = options.Options()
        if changed:
            made.update(listen_port=8080, mode=["reverse:http://a.example.test"], showhost=True)
        return [getattr(made, name) for name in names]

    expected = [values(changed=False), values(changed=True)]
    quicken(manager())
    assert [values(changed=False), values(changed=True)] == expected
    made = options.Options()
    made.mode.append("regular")
    assert made.mode == ["regular"], "a list is still a copy"
    with pytest.raises(AttributeError):
        _ = made.nothing


def test_hooks_give_their_arguments(quickened: None) -> None:
    assert hooks.ConfigureHook({"a"}).args() == [{"a"}]
    assert hooks.DoneHook().args() == []


def test_restored_is_as_it_was() -> None:
    before = [vars(owner).get(name) for owner, name, _ in quick._QUICK]
    quicken(manager())
    assert [vars(owner).get(name) for owner, name, _ in quick._QUICK] != before
    quick.restore()
    assert [vars(owner).get(name) for owner, name, _ in quick._QUICK] == before
    assert "server_event" not in vars(ProxyConnectionHandler)


def test_another_mitmproxy_runs_at_its_own_pace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quick, "_REPLACED", (*quick._REPLACED, ConnectionHandler.on_timeout))
    made = manager()
    caplog.set_level("INFO")
    assert mends.quicken(made) is False
    assert "could be made quicker" in caplog.text
    assert type(made) is AddonManager
    assert "server_event" not in vars(ProxyConnectionHandler)


def test_sources_that_cannot_be_read_are_unknown_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "_REPLACED", (len,))
    assert quicken(manager()) is False


def test_the_manager_remembers(quickened: None) -> None:
    made = manager()
    assert mends.quicken(made)
    assert type(made) is dispatch.RememberingAddonManager
