"""Each quick function gives what the original gives, and raises what it raises."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import hooks, http, options
from mitmproxy.test import tutils

from eas_redirect.engine import quick
from eas_redirect.engine.quick import EVENTS, VALUES
from eas_redirect.proxy.part import Part

NAMES = st.sampled_from([b"Host", b"host", b"HOST", b"Cookie", b"X-\xff", b"", b"Hos"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=8)
ASKED = st.one_of(NAMES, st.sampled_from(["Host", "hOsT", "cookie", "", "X-\udcff", "ü"]))


@pytest.fixture(autouse=True)
def as_mitmproxy_is() -> Iterator[None]:
    VALUES.put_back()
    yield
    VALUES.put_back()


@pytest.fixture
def quickened() -> None:
    assert VALUES.put()


@given(FIELDS, ASKED)
def test_header_values(fields: list[tuple[bytes, bytes]], asked: str | bytes) -> None:
    headers = http.Headers(fields)
    assert quick.all_values(headers, asked) == headers.get_all(asked)
    assert quick.header(headers, asked) == headers.get(asked)
    assert quick.header(headers, asked, 7) == headers.get(asked, 7)
    assert quick.has_header(headers, asked) == (asked in headers)


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
    assert VALUES.put()
    assert [values(changed=False), values(changed=True)] == expected
    made = options.Options()
    made.mode.append("regular")
    assert made.mode == ["regular"], "a list is still a copy"
    with pytest.raises(AttributeError):
        _ = made.nothing


def test_hooks_give_their_arguments(quickened: None) -> None:
    assert hooks.ConfigureHook({"a"}).args() == [{"a"}]
    assert hooks.DoneHook().args() == []


@pytest.mark.parametrize("part", [VALUES, EVENTS], ids=lambda part: str(part.name))
def test_put_back_is_as_it_was(part: Part) -> None:
    owners = {owner for owner, _, _ in part._replacements}
    before = {owner: dict(vars(owner)) for owner in owners}
    assert part.put()
    assert {owner: dict(vars(owner)) for owner in owners} != before
    part.put_back()
    assert {owner: dict(vars(owner)) for owner in owners} == before
