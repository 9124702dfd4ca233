"""Compressed bodies: undone within a bound, or one error."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.inflate import InflateError, inflated


@given(st.binary(max_size=500))
def test_what_was_compressed_comes_back(data: bytes) -> None:
    assert inflated(gzip.compress(data), "gzip", 1000) == data
    assert inflated(zlib.compress(data), "deflate", 1000) == data
    assert inflated(data, "identity", 1000) == inflated(data, "", 1000) == data


@given(st.binary(), st.sampled_from(["gzip", "deflate", "br", "gzip, gzip", ""]) | st.text())
def test_any_bytes_are_bytes_or_one_error(data: bytes, coding: str) -> None:
    with contextlib.suppress(InflateError):
        assert len(inflated(data, coding, 50)) <= 50


@pytest.mark.parametrize(
    ("body", "coding", "problem"),
    [
        (bytes(101), "", "longer than 100"),
        (gzip.compress(bytes(101), mtime=0), "gzip", "inflates to more than 100"),
        (gzip.compress(b"x", mtime=0)[:-1], "gzip", "cut short"),
        (gzip.compress(b"x", mtime=0) + b"x", "gzip", "followed by other bytes"),
        (b"no gzip", "gzip", "damaged"),
        (b"", "deflate", "cut short"),
        (b"x", "br", "neither gzip nor deflate"),
    ],
)
def test_what_cannot_be_read(body: bytes, coding: str, problem: str) -> None:
    with pytest.raises(InflateError, match=problem):
        inflated(body, coding, 100)
