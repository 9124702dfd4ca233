"""Numbers in words: where one unit ends and the next begins."""

import pytest

from eas_redirect.report import words
from eas_redirect.telemetry.ledger import LedgerState

DAY = 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "under 1 min"),
        (29, "under 1 min"),
        (31, "1 min"),
        (59 * 60, "59 min"),
        (3599, "1 h"),
        (3600 + 60, "1 h 1 min"),
        (23 * 3600 + 59 * 60, "23 h 59 min"),
        (DAY, "1 d"),
        (DAY + 3600, "1 d 1 h"),
        (9 * DAY + 5 * 3600, "9 d 5 h"),
        (10 * DAY + 5 * 3600, "10 d"),
    ],
)
def test_lengths(seconds: float | None, text: str) -> None:
    assert words.length(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234567, "1.23 MB"), (5 * 10**12, "5e+03 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


def test_times() -> None:
    at_s = 1767225599.9994
    assert words.moment(at_s) == "2025-12-31 23:59"
    assert words.day(at_s) == "2025-12-31"
    assert words.stamp(at_s) == "2025-12-31T23:59:59.999Z"
    assert (words.moment(None), words.stamp(None)) == ("", None)


def test_one_and_many() -> None:
    assert [words.counted(n, "user") for n in (0, 1, 2)] == ["0 users", "1 user", "2 users"]


def test_every_state_has_a_title_and_each_that_still_calls_says_what_to_do() -> None:
    assert set(words.STATE_TITLES) == set(LedgerState)
    for state in set(LedgerState) - {LedgerState.SEEN}:  # of these the last reason tells
        assert words.meaning(state.value)
        assert words.what_to_do(state.value).endswith(".")
    assert words.what_to_do("no_such_word") == ""


def test_clients() -> None:
    assert words.client_title(None) == words.client_title(words.NAMELESS) == "unknown client"
    assert words.client_title("something new") == "something new"
