"""The short form of `make soak`, and that its verdict sees what grows."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import soak
from tests.benchmarks.soak import Look, grown, plot, verdict
from tests.support import require

FLAT = tuple(
    Look(
        seconds=10.0 * n,
        exchanges=10_000 * n,
        memory_mib=100.0,
        descriptors=20,
        threads=3,
        journal_mib=9.0 * n,
        errors=0,
    )
    for n in range(6)
)


@pytest.mark.integration
def test_half_a_minute_of_mixed_traffic_is_flat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("wrk", "haproxy")
    path = tmp_path / "soak.svg"
    assert soak.main(["--minutes", "0.5", "--slice", "4", "--svg", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "exchanges" in shown
    assert "<polyline" in path.read_text("utf-8")


@pytest.mark.integration
def test_it_ends_behind_so_many_exchanges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("wrk", "haproxy")
    words = ["--minutes", "60", "--slice", "1", "--exchanges", "1"]
    assert soak.main([*words, "--svg", str(tmp_path / "soak.svg")]) == 0
    assert "too short to tell" in capsys.readouterr().out


def test_flat_is_flat() -> None:
    assert grown(FLAT) == []
    assert verdict(FLAT) == "flat over 50000 exchanges: memory +0.0 % since exchange 20000"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_mib": 106.0}, "memory: 100.0 MiB, then 106.0"),
        ({"descriptors": 40}, "descriptors: 20, then 40"),
        ({"threads": 9}, "threads: 3, then 9"),
        ({"errors": 2}, "2 connections failed"),
    ],
)
def test_what_grows_is_named(change: dict[str, float], said: str) -> None:
    looks = (*FLAT, replace(FLAT[-1], **change))  # type: ignore[arg-type]
    assert grown(looks) == [said]
    assert "NOT FLAT" in verdict(looks)
    assert "NOT FLAT" in plot(looks)


def test_what_was_too_short_says_so() -> None:
    assert "too short to tell" in verdict(FLAT[:2])
    assert grown(FLAT[:3]) == []
