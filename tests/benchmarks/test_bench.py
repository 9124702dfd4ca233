"""The short form of `make bench`: that it runs and writes what it says. No time is asserted."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import report
from tests.benchmarks.bench import SCENARIOS, Row
from tests.benchmarks.subjects import BARE, NAMES
from tests.support import require

FUNCTIONS = {"redirect_beyond_pass": 100.0, "wbxml_15_bytes": 30.0, "wbxml_64_kib": 9000.0}
WAITING = {"TLS on both legs": 0.3, "http on both legs": 0.25}


def row(scenario: str, subject: str, **changes: float) -> Row:
    known = {"rate": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms": 1.0, "memory_mib": 100.0}
    ratios = {"rate_ratio": 1.0, "cpu_ratio": 1.0, "p99_ratio": 1.0}
    values = known | ratios | changes
    return Row(scenario=scenario, subject=subject, redirected=0, errors=0, **values)


ROWS = [row(scenario.name, name) for scenario in SCENARIOS for name in scenario.subjects]


@pytest.mark.integration
def test_a_short_comparison_of_real_processes(capsys: pytest.CaptureFixture[str]) -> None:
    require("wrk", "haproxy")
    assert bench.main(["--short"]) == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        assert name in shown


def test_what_is_missing_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SEARCHED", "/nowhere")
    assert bench.main([]) == 2
    assert "apt-get install wrk haproxy" in capsys.readouterr().err


def test_a_figure_that_is_not_reached_says_so() -> None:
    found = {figure.what: figure for figure in report.figures(ROWS, FUNCTIONS, WAITING)}
    assert not found["`eas-redirect run`: throughput to bare mitmdump's"].reached
    assert found["a warm redirect beyond the pass"].reached
    assert not found["WBXML, an answer of 15 bytes"].reached
    waits = "HAProxy and a judge, a waiting phone, {}: memory to `run`'s"
    assert found[waits.format("TLS on both legs")].reached
    assert not found[waits.format("http on both legs")].reached
    assert "**not reached**" in report.markdown(ROWS, FUNCTIONS, WAITING, 5, 4)


def test_the_document_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    report.put_into(path, "new")
    assert path.read_text("utf-8") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    path.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="has no"):
        report.put_into(path, "new")


def test_the_results_say_what_they_ran_on() -> None:
    values = report.as_json(ROWS, FUNCTIONS, WAITING, 5, 4)
    text = json.dumps(values)
    assert '"cores"' in text
    assert "mitmproxy" in text
    assert BARE in report.svg(ROWS)
