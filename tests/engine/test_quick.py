"""Each quick function gives what the original gives, and raises what it raises."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http, options
from mitmproxy.test import tutils

from eas_redirect.engine import quick
from eas_redirect.engine.quick import QuickOptions, header_values, quicken

NAMES = st.sampled_from([b"Host", b"host", b"HOST", b"Cookie", b"X-\xff", b"", b"Hos"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=8)
ASKED = st.one_of(NAMES, st.sampled_from(["Host", "hOsT", "cookie", "", "X-\udcff", "ü"]))


@pytest.fixture
def quickened() -> Iterator[None]:
    quicken()
    yield
    quick.restore()


@given(FIELDS, ASKED)
def test_header_values(fields: list[tuple[bytes, bytes]], asked: str | bytes) -> None:
    headers = http.Headers(fields)
    assert header_values(headers, asked) == quick._get_all(headers, asked)


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
    one, other = options.Options(), QuickOptions()
    for name in one.keys():  # noqa: SIM118 - it is no dict
        assert getattr(one, name) == getattr(other, name)
    for changed in (one, other):
        changed.update(listen_port=8080, mode=["reverse:http://a.example.test"], showhost=True)
    for name in one.keys():  # noqa: SIM118
        assert getattr(one, name) == getattr(other, name)
    other.mode.append("regular")
    assert other.mode == one.mode, "a list is still a copy"
    with pytest.raises(AttributeError):
        _ = other.nothing
