"""Whether the old server can go: a week without anybody's call, and nothing that might be one."""

from dataclasses import replace

import pytest

from eas_redirect.report.old_server import SILENCE_S, judge_old_server, why
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.ledger import LedgerState

DAY = 86400.0
END = 1767225600.0  # 2026-01-01
ANNA = Device(
    user="anna@contoso.example",
    user_key=1,
    device_id="A1",
    device_type="iPhone",
    family="ios_mail",
    user_agent=None,
    state=LedgerState.STUCK,
    first_seen_s=END - 30 * DAY,
    last_seen_s=END - DAY,
    silent_s=DAY,
    usual_interval_s=None,
    calls=3,
    redirects=1,
    returns=2,
)


def silent(days: float, **more: object) -> Device:
    return replace(ANNA, silent_s=days * DAY, last_seen_s=END - days * DAY, **more)  # type: ignore[arg-type]


def test_nobody_called_for_a_week() -> None:
    said = judge_old_server([silent(7), silent(9)], END)
    assert said.can_go
    assert (said.devices, said.users, said.earliest_s) == (0, 0, None)
    assert said.verdict.startswith("It can go")


def test_a_second_less_than_a_week_is_too_early() -> None:
    said = judge_old_server([replace(silent(7), silent_s=SILENCE_S - 1), silent(9)], END)
    assert not said.can_go
    assert (said.devices, said.users) == (1, 1)
    assert said.earliest_s == END - 7 * DAY + SILENCE_S


def test_who_calls_is_counted_by_device_and_by_user_and_by_why() -> None:
    seen = silent(2, state=LedgerState.SEEN, answer="not_in_wave", user_key=2)
    said = judge_old_server([silent(1), silent(3, device_id="A2"), seen], END)
    assert (said.devices, said.users) == (3, 2)
    assert [(row.why, row.devices, row.users) for row in said.still_calling] == [
        ("stuck", 2, 1),
        ("not_in_wave", 1, 1),
    ]
    assert (said.first_s, said.last_s) == (END - 3 * DAY, END - DAY)
    assert said.verdict == (
        "Not yet: 3 devices of 2 users called it in the last 7 days. If nobody calls any more, it"
        " can go on 2026-01-07."
    )


def test_exchanges_without_a_name_may_be_anybodys() -> None:
    said = judge_old_server([silent(9)], END, nameless=2)
    assert not said.can_go
    assert said.earliest_s == END + SILENCE_S
    assert said.verdict.startswith("Not known")
    assert "2 exchanges without a name" in said.verdict


def test_machines_keep_nothing_alive() -> None:
    said = judge_old_server([silent(9), silent(0, machine=True)], END)
    assert said.can_go


@pytest.mark.parametrize(
    ("devices", "until_s"), [([], END), ([ANNA], None), ([silent(0, machine=True)], END)]
)
def test_journals_that_say_nothing(devices: list[Device], until_s: float | None) -> None:
    """Silence of the journals is no silence of the phones."""
    said = judge_old_server(devices, until_s)
    assert not said.can_go
    assert said.verdict.startswith("Nobody called")


def test_why_a_device_calls() -> None:
    assert why(ANNA) == "stuck"
    assert why(replace(ANNA, state=LedgerState.SEEN, answer="no_relationship")) == "no_relationship"
    assert why(replace(ANNA, state=LedgerState.SEEN)) == "other_answer"
