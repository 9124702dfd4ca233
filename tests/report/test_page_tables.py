"""The tables of the page: each row under its heads, sorted by what it shows, and never too long."""

from dataclasses import replace

import pytest

from eas_redirect.report.page_tables import (
    SHOWN,
    Cell,
    Head,
    PageTable,
    Piece,
    count,
    device_table,
    stuck_table,
    table,
    time_cell,
)
from eas_redirect.report.report_values import Device, Report
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number
from tests.report.test_figures import journal, report

__all__ = ["journal", "report"]  # fixtures


def text_of(cell: Cell) -> str:
    return " ".join(piece.text for piece in cell.pieces)


@pytest.fixture(scope="module")
def stuck(report: Report) -> Device:
    return next(device for device in report.devices if device.state is LedgerState.STUCK)


def test_each_row_has_a_cell_under_each_head(report: Report) -> None:
    for made in (device_table(report.devices), stuck_table(report.devices)):
        assert made.rows
        assert {len(row) for row in made.rows} == {len(made.heads)}


def test_what_is_shown_in_words_sorts_by_its_value() -> None:
    assert count(12_345) == Cell(shown=number(12_345), sort=12_345)
    assert text_of(time_cell(0.0)).startswith("1970-01-01")
    assert time_cell(None).sort == 0, "what is not known is older than all else"
    assert Head(title="Last", kind="time").sorts == "time"
    assert Head(title="User", kind="who").sorts == "text"


def test_a_million_devices_are_a_thousand_rows_and_the_rest_a_number(stuck: Device) -> None:
    many = [replace(stuck, device_id=str(n)) for n in range(SHOWN + 1)]
    made = stuck_table(many)
    assert (len(made.rows), made.total) == (SHOWN, SHOWN + 1)


def test_the_cause_is_in_the_row(stuck: Device) -> None:
    (row,) = stuck_table([replace(stuck, cause="the logon was refused", returns=7)]).rows
    words = [text_of(cell) for cell in row]
    assert words[-1] == "the logon was refused"
    assert any(cell.sort == 7 for cell in row)


def test_plain_text_becomes_a_cell() -> None:
    made = table("Who", (Head(title="User"),), [["anna"], [Cell(shown=Piece("bert", "code"))]])
    assert isinstance(made, PageTable)
    assert [row[0].pieces for row in made.rows] == [(Piece("anna"),), (Piece("bert", "code"),)]
