"""The report on a terminal: the figures of the page in a few lines; nothing in it gives orders."""

import io
from dataclasses import replace

from rich.console import Console

from eas_redirect.report.report_values import Report
from eas_redirect.report.terminal import SHOWN, print_summary
from eas_redirect.report.words import STATE_TITLES
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number
from tests.report.test_figures import journal, report

__all__ = ["journal", "report"]  # fixtures


def shown(report: Report, width: int = 200) -> str:
    written = io.StringIO()
    print_summary(Console(file=written, width=width, color_system=None), report)
    return written.getvalue()


def test_the_figures_are_those_of_the_report(report: Report) -> None:
    text = shown(report)
    assert f"{number(report.totals.exchanges)} exchanges" in text
    assert f"{number(report.totals.devices)} devices" in text
    for state, count in report.totals.states.items():
        title = STATE_TITLES[LedgerState(state)]
        assert any(line.split() == [*title.split(), number(count)] for line in text.splitlines()), (
            state
        )
    assert f"Can the old server go? {report.arrivals.verdict}" in text


def test_who_is_stuck_is_named_with_the_cause(report: Report) -> None:
    stuck = [device for device in report.devices if device.state is LedgerState.STUCK]
    text = shown(report)
    assert f"Stuck ({len(stuck)})" in text
    for device in stuck[:SHOWN]:
        assert device.user in text
        assert (device.device_id or "") in text


def test_of_very_many_only_the_first_are_listed(report: Report) -> None:
    one = next(device for device in report.devices if device.state is LedgerState.STUCK)
    many = tuple(replace(one, device_id=f"STUCK{n:04}") for n in range(500))
    text = shown(replace(report, devices=many))
    assert "Stuck (500)" in text
    assert text.count("STUCK0") == SHOWN


def test_a_name_from_outside_is_text(report: Report) -> None:
    one = next(device for device in report.devices if device.state is LedgerState.STUCK)
    hostile = replace(one, user="[red]\x1b]0;owned\x07anna", device_id="[/]\x1b[2J")
    text = shown(replace(report, devices=(hostile,)))
    assert "[red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_nobody_stuck_and_nothing_read_is_no_table(report: Report) -> None:
    empty = replace(report, devices=(), since_s=None, obstacles=())
    text = shown(empty)
    assert "Stuck" not in text
    assert " UTC" not in text.splitlines()[0]
