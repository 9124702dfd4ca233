"""The tables: whole at any width, and plain about an outcome that is not the expected one."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from eas_redirect.lab.outcome import SENT_ON, Row
from eas_redirect.lab.table import print_outcome, to_json

GOOD = Row(
    name="anna",
    who="Anna",
    device="iPhone",
    story="moved [bold]to[/] the cloud",
    exchange_said="200, status 123",
    device_got="451 → outlook.office365.com, let in",
    reason=SENT_ON,
    why="",
)
BAD = replace(
    GOOD,
    name="jana",
    who="Jana",
    reason="other_answer",
    device_got="the same",
    problems=("the device got 200, expected 451",),
)
JOURNAL = Path(".lab/eas-journal.jsonl")


def printed(rows: list[Row], width: int) -> str:
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as capture:
        print_outcome(console, rows, JOURNAL)
    return capture.get()


@pytest.mark.parametrize("width", [80, 160])
def test_everything_as_expected(width: int) -> None:
    text = printed([GOOD], width)
    assert "1 of 1 as expected." in text
    assert "NO" not in text.split()
    assert "moved [bold]to[/] the cloud" in text
    assert str(JOURNAL) in text


@pytest.mark.parametrize("width", [80, 160])
def test_what_was_not_expected_is_said(width: int) -> None:
    text = printed([GOOD, BAD], width)
    assert "1 of 2 as expected." in text
    assert "NO" in text.split()
    assert "Jana: the device got 200, expected 451" in text


@pytest.mark.parametrize("width", [40, 80, 110, 160, 200])
def test_no_line_is_cut(width: int) -> None:
    text = " ".join(printed([GOOD, BAD], width).split())
    for word in ("outlook.office365.com", "other_answer", "123", "yes", "NO"):
        assert word in text
    assert "…" not in text


def test_json_holds_the_same() -> None:
    value = to_json([GOOD, BAD], JOURNAL)
    assert value["as_expected"] is False
    people = value["people"]
    assert isinstance(people, list)
    assert [person["as_expected"] for person in people] == [True, False]
