"""Readiness, the directory's state, and what the last decisions remember."""

from dataclasses import replace

import pytest

from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.metrics import Gauges, Metrics
from eas_redirect.telemetry.status import (
    DirectoryLine,
    Facts,
    LastDecisions,
    UpstreamLine,
    build_status,
    directory_state,
)
from tests.telemetry.statuses import LIVELY
from tests.telemetry.test_metrics import EXCHANGE, REDIRECT


@pytest.mark.parametrize(
    ("age_s", "failing", "expected"),
    [
        (None, False, "unknown"),
        (None, True, "unavailable"),
        (0.0, False, "answering"),
        (1800.0, False, "answering"),
        (0.0, True, "stale"),
        (1801.0, False, "stale"),
        (86_400.0, True, "stale"),
        (86_401.0, True, "unavailable"),
    ],
)
def test_directory_state(age_s: float | None, failing: bool, expected: str) -> None:
    state = directory_state(age_s, refresh_s=900.0, stale_s=86_400.0, failing=failing)
    assert state == expected


@pytest.mark.parametrize(
    ("change", "ready"),
    [
        ({}, True),
        ({"directory": DirectoryLine(state="stale")}, True),
        ({"directory": DirectoryLine(state="blind")}, False),
        ({"directory": DirectoryLine(state="unavailable")}, False),
        ({"directory": DirectoryLine(state="unknown")}, False),
        ({"upstream": UpstreamLine(reachable=False)}, False),
        ({"draining": True}, False),
        ({"hanging": 1}, False),
    ],
    ids=[
        "all well",
        "stale",
        "blind",
        "unavailable",
        "unknown",
        "no upstream",
        "draining",
        "hanging",
    ],
)
def test_ready(change: dict[str, object], ready: bool) -> None:
    assert replace(LIVELY, **change).ready is ready  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "carries", "why"),
    [
        ({}, True, ()),
        ({"directory": DirectoryLine(state="unavailable", problem="no answer")}, True,
         ("no answer",)),
        ({"directory": DirectoryLine(state="unknown")}, True,
         ("the directory has not answered yet",)),
        ({"upstream": UpstreamLine(problem="expired")}, False, ("expired",)),
        ({"upstream": UpstreamLine()}, False, ("Exchange has not answered yet",)),
        ({"draining": True, "full": True}, False, ("it is being stopped",)),
        ({"hanging": 1}, False, ("a worker does not answer",)),
    ],
)  # fmt: skip
def test_what_keeps_mail_from_passing(
    change: dict[str, object], carries: bool, why: tuple[str, ...]
) -> None:
    status = replace(LIVELY, **change)  # type: ignore[arg-type]
    assert status.carries_mail is carries
    assert status.why == why


def test_without_descriptors_it_is_not_ready() -> None:
    status = replace(LIVELY, full=True)
    assert (status.ready, status.carries_mail) == (False, False)
    assert "LimitNOFILE" in status.why[0]
    assert status.checks["process"] == "full"


def test_last_decisions_hold_what_is_worth_a_look() -> None:
    last = LastDecisions(Redaction().apply, size=2)
    for record in (EXCHANGE, REDIRECT, replace(REDIRECT, command="Ping"), REDIRECT):
        last.observe(record)
    assert [line.command for line in last.lines()] == ["FolderSync", "Ping"]
    assert last.lines()[0].user == "anna@contoso.example"


@pytest.mark.parametrize(
    ("redaction", "shown"),
    [
        (Redaction(), "CONTOSO\\anna"),
        (Redaction(users="drop"), None),
    ],
    ids=["clear", "drop"],
)
def test_last_decisions_name_users_as_the_journal_does(
    redaction: Redaction, shown: str | None
) -> None:
    last = LastDecisions(redaction.apply)
    last.observe(replace(REDIRECT, user_email=None, user_domain="CONTOSO"))
    assert last.lines()[0].user == shown


def test_last_decisions_hash() -> None:
    last = LastDecisions(Redaction(users="hash", key=b"k").apply)
    last.observe(REDIRECT)
    user = last.lines()[0].user or ""
    assert "anna" not in user
    assert len(user) == 16


def test_build_status() -> None:
    metrics = Metrics(Gauges(mode=lambda: "enforce", open_waits=lambda: 4))
    metrics.observe(REDIRECT)
    metrics.observe(EXCHANGE)
    metrics.observe(replace(EXCHANGE, mode="observe"))
    facts = Facts(directory=lambda: LIVELY.directory, upstream=lambda: LIVELY.upstream)
    status = build_status(
        metrics, facts, LastDecisions(Redaction().apply), started_s=5.0, clock=lambda: 9.0
    )
    assert status.ready
    assert (status.now_s, status.started_s, status.open_waits) == (9.0, 5.0, 4)
    assert [(line.reason, line.count) for line in status.reasons] == [
        ("other_answer", 2),
        ("mailbox_moved", 1),
    ]
