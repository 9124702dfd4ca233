"""The report over half a million lines, and the labels right; with -m bench over ten million."""

from pathlib import Path

import pytest

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.report_speed import measure


def test_half_a_million_lines(tmp_path: Path) -> None:
    """The figure is 10 million lines in 60 s and 2 GiB. Machines that test are busy: CPU time is
    what counts here, and ten times of what the figure gives to half a million."""
    crowd = Crowd(lines=500_000, devices=20_000)
    found = measure(crowd.write(tmp_path / "crowd.jsonl"))
    assert found.states == {"redirected": 0, "returned": 0, "confirmed": 0, **crowd.states()}
    assert found.cpu_s < 30
    assert found.peak_kib < 2 * 1024 * 1024


def test_a_targets_list_is_joined_rightly(tmp_path: Path) -> None:
    crowd = Crowd(lines=120_000, devices=20_000)
    journal, target = crowd.write(tmp_path / "c.jsonl"), crowd.write_target(tmp_path / "d.csv")
    found = measure(journal, target)
    assert {name: count for name, count in found.verdicts.items() if count} == crowd.verdicts()
    assert found.cpu_s < 30


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_ten_million_lines_and_a_target(tmp_path: Path) -> None:
    """As below, with 200,000 devices, all of which the target lists; 90 s."""
    crowd = Crowd(lines=14_260_000, devices=200_000)
    journal, target = crowd.write(tmp_path / "c.jsonl"), crowd.write_target(tmp_path / "d.csv")
    found = measure(journal, target)
    assert {name: count for name, count in found.verdicts.items() if count} == crowd.verdicts()
    assert found.seconds < 90
    assert found.peak_kib < 2 * 1024 * 1024


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_ten_million_lines(tmp_path: Path) -> None:
    """The figure itself. Needs two cores that have nothing else to do, and 10 GB of disk."""
    crowd = Crowd(lines=12_000_000, devices=50_000)
    found = measure(crowd.write(tmp_path / "crowd.jsonl"))
    assert found.exchanges >= 9_000_000
    assert found.states == {"redirected": 0, "returned": 0, "confirmed": 0, **crowd.states()}
    assert found.seconds * 10_000_000 / found.exchanges < 60
    assert found.peak_kib < 2 * 1024 * 1024
