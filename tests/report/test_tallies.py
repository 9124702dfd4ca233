"""Counts by day, reason and time: they add up, and are bounded."""

from pathlib import Path

from eas_redirect.report.report_values import OTHER_REASONS, STATES
from eas_redirect.report.tallies import BUCKETS_MS, POINTS, REASONS
from tests.report.test_figures import call, made_of

DAY = 86_400


def test_a_year_is_a_bounded_number_of_points_and_the_last_is_the_end(tmp_path: Path) -> None:
    made = made_of(tmp_path, *(call(DAY * n) for n in range(365)))
    assert len(made.states_over_time) <= POINTS + 1
    assert made.states_over_time[-1].at_s == made.until_s
    assert all(
        set(point.states) == {state.value for state in STATES} for point in made.states_over_time
    )
    assert all(sum(point.states.values()) == 1 for point in made.states_over_time)


def test_each_day_counts_all_of_its_reasons(tmp_path: Path) -> None:
    reasons = [f"reason_{n}" for n in range(REASONS + 5)]
    made = made_of(tmp_path, *(call(n, reason=reason) for n, reason in enumerate(reasons)))
    (day,) = made.days
    assert day.exchanges == sum(day.reasons.values()) == len(reasons)
    assert day.reasons[OTHER_REASONS] > 0
    assert len(made.reasons) <= REASONS + 1


def test_each_look_up_is_in_one_bucket(tmp_path: Path) -> None:
    took = [*BUCKETS_MS, BUCKETS_MS[-1] + 1]
    made = made_of(tmp_path, *(call(n, directory_duration_ms=ms) for n, ms in enumerate(took)))
    assert made.latency.lookups == len(took)
    assert [count for _, count in made.latency.buckets] == [1] * len(took)
    assert made.latency.max_ms == took[-1]
