"""Answers in parts (MS-ASCMD 2.2.2.10.1): whole, cut, and with offsets that lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.multipart import MAX_PARTS, split_parts


def joined(*parts: bytes) -> bytes:
    at, head = 4 + 8 * len(parts), number(len(parts))
    for part in parts:
        head += number(at) + number(len(part))
        at += len(part)
    return head + b"".join(parts)


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_every_part_comes_back(parts: list[bytes]) -> None:
    assert split_parts(joined(*parts)) == parts


def test_what_is_cut_short_is_no_answer() -> None:
    """At any byte: a device is told how long its parts are."""
    data = joined(b"\x03\x01j\x00", b"attachment")
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"cut short|longer than the answer"):
            split_parts(data[:length])


def test_more_bytes_than_are_told_do_no_harm() -> None:
    assert split_parts(joined(b"one", b"two") + b"padding") == [b"one", b"two"]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (number(0), "0 parts"),
        (number(MAX_PARTS + 1) + bytes(16 * MAX_PARTS), "1001 parts"),
        (number(1) + number(0) + number(4), "longer than the answer"),
        (number(1) + number(0) + number(2) + b"ab", "part 0 lies outside"),
        (number(1) + number(11) + number(1) + b"ab", "part 0 lies outside"),
        (number(1) + number(13) + number(2) + b"ab", "part 0 lies outside"),
        (number(1) + number(0xFFFFFFFF) + number(1) + b"a", "part 0 lies outside"),
        # Two parts that are one place: what is sent once would be kept a thousand times.
        (number(2) + (number(20) + number(3)) * 2 + b"abc", "longer than the answer"),
    ],
)
def test_numbers_that_lie(data: bytes, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        split_parts(data)
