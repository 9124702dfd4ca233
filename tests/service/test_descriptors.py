"""Whether descriptors are left, on made-up numbers, and that the real ones are counted."""

import os
from dataclasses import dataclass

import pytest

from eas_redirect.service.descriptors import Descriptors, limit, open_descriptors


@dataclass
class Process:
    count: int
    allowed: int
    now_s: float = 0.0

    def looked_at(self) -> Descriptors:
        return Descriptors(lambda: self.count, lambda: self.allowed, lambda: self.now_s)


@pytest.mark.parametrize(
    ("count", "allowed", "short"),
    [
        (10, 1024, False),
        (1003, 1024, False),
        (1005, 1024, True),
        (1024, 1024, True),
        (65_336, 65_536, False),
        (65_337, 65_536, True),
        (50, 64, True),
        (5, 0, False),
        (0, 1024, False),
    ],
)
def test_short(count: int, allowed: int, short: bool) -> None:
    assert Process(count, allowed).looked_at().are_short() is short


def test_it_is_short_until_there_are_enough_again() -> None:
    process = Process(1010, 1024)
    descriptors = process.looked_at()
    assert descriptors.are_short()
    for now_s, count, short in ((0.5, 10, True), (1.5, 990, True), (3.0, 980, False)):
        process.now_s, process.count = now_s, count
        assert descriptors.are_short() is short


def test_the_real_ones() -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    try:
        assert open_descriptors() >= before + 2 > 2
    finally:
        os.close(reading)
        os.close(writing)
    assert limit() > 2
