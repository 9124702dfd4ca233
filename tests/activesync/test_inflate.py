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


def test_as_many_bytes_as_the_limit_allows() -> None:
    assert inflated(bytes(100), "", 100) == inflated(gzip.compress(bytes(100)), "gzip", 100)


def test_bare_deflate_is_told_from_zlib_by_both_marks_of_its_header() -> None:
    """RFC 1950 2.2: the method 8, and two bytes that 31 divides. Stored blocks have one of them."""
    divisible = bytes.fromhex("01 1700 e8ff") + b"x" * 23
    assert int.from_bytes(divisible[:2]) % 31 == 0
    assert inflated(divisible, "deflate", 100) == b"x" * 23
    method_8 = bytes.fromhex("08 0100 feff") + b"x" + bytes.fromhex("01 0000 ffff")
    assert inflated(method_8, "deflate", 100) == b"x"


@pytest.mark.parametrize(
    ("body", "coding", "problem"),
    [
        (bytes(101), "", "longer than 100"),
        (gzip.compress(bytes(101), mtime=0), "gzip", "inflates to more than 100"),
        (gzip.compress(b"x", mtime=0)[:-1], "gzip", "cut short"),
        (gzip.compress(b"x", mtime=0) + b"x", "gzip", "followed by other bytes"),
        (b"no gzip", "gzip", "damaged"),
        (zlib.compress(b"x"), "gzip", "damaged"),
        (b"", "deflate", "cut short"),
        (b"x", "br", "neither gzip nor deflate"),
    ],
)
def test_what_cannot_be_read(body: bytes, coding: str, problem: str) -> None:
    with pytest.raises(InflateError, match=problem):
        inflated(body, coding, 100)
