"""`Metrics` counts records; its exposition is read back with Prometheus's own parser."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.engine.supervisor import Supervisor
from eas_redirect.telemetry.metrics import (
    Exposition,
    Gauges,
    Metrics,
    fold_command,
    metric_families,
    upstream_class,
)
from eas_redirect.telemetry.record import Record
from tests.support import ROOT

EXCHANGE = Record(
    timestamp_s=1_795_000_000.0,
    action="eas.exchange",
    message="Sync of anna",
    method="POST",
    command="Sync",
    mode="enforce",
    decision="pass",
    reason="other_answer",
    user_name="anna",
    user_email="anna@contoso.example",
    device_id="APPL0123456789",
    upstream_status_code=200,
    upstream_duration_ms=20.0,
)
REDIRECT = replace(
    EXCHANGE,
    action="eas.redirect",
    command="FolderSync",
    decision="redirect",
    reason="mailbox_moved",
    directory_source="ldap",
    directory_cache="miss",
    directory_duration_ms=3.0,
    redirect_location="https://outlook.office365.com/Microsoft-Server-ActiveSync",
)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = Exposition(metrics).render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_exchange_is_counted_by_command_answer_and_decision() -> None:
    metrics = Metrics()
    metrics.observe(EXCHANGE)
    metrics.observe(EXCHANGE)
    found = samples(metrics)
    assert found["eas_requests_total", (("command", "Sync"), ("upstream_class", "2xx"))] == 2
    decision = (("decision", "pass"), ("mode", "enforce"), ("reason", "other_answer"))
    assert found["eas_decisions_total", decision] == 2
    assert found["eas_upstream_duration_seconds_count", (("kind", "wait"),)] == 2
    assert found["eas_upstream_duration_seconds_sum", (("kind", "wait"),)] == pytest.approx(0.04)


def test_a_question_to_autodiscover_is_no_exchange_of_activesync() -> None:
    metrics = Metrics()
    told = replace(EXCHANGE, action="eas.autodiscover", decision="redirect", reason="mailbox_moved")
    metrics.observe(told)
    found = samples(metrics)
    labels = (("decision", "redirect"), ("mode", "enforce"), ("reason", "mailbox_moved"))
    assert found["eas_autodiscover_total", labels] == 1
    assert not [name for name, _ in found if name in ("eas_requests_total", "eas_decisions_total")]


def test_a_lookup_is_counted_and_timed_when_the_directory_was_asked() -> None:
    metrics = Metrics()
    metrics.observe(REDIRECT)
    metrics.observe(replace(REDIRECT, directory_cache="hit", directory_duration_ms=0.0))
    metrics.observe(
        replace(REDIRECT, directory_cache=None, decision="pass", reason="directory_unavailable")
    )
    found = samples(metrics)
    lookups = "eas_directory_lookups_total"
    assert found[lookups, (("result", "miss"), ("source", "ldap"))] == 1
    assert found[lookups, (("result", "hit"), ("source", "ldap"))] == 1
    assert found[lookups, (("result", "unavailable"), ("source", "ldap"))] == 1
    assert found["eas_directory_lookup_duration_seconds_count", ()] == 2
    assert found["eas_directory_lookup_duration_seconds_bucket", (("le", "0.0025"),)] == 0
    assert found["eas_directory_lookup_duration_seconds_bucket", (("le", "0.005"),)] == 2


@pytest.mark.parametrize(
    ("action", "change", "name", "labels"),
    [
        ("eas.config", {"outcome": "failure"}, "eas_config_loads_total", ("outcome", "failure")),
        (
            "eas.directory",
            {"outcome": "failure"},
            "eas_directory_events_total",
            ("outcome", "failure"),
        ),
        ("eas.ledger", {"ledger_state": "stuck"}, "eas_ledger_changes_total", ("state", "stuck")),
    ],
)
def test_other_events_are_counted(
    action: str, change: dict[str, str], name: str, labels: tuple[str, str]
) -> None:
    metrics = Metrics()
    record = Record(timestamp_s=1.0, action=action, message="")
    metrics.observe(
        replace(record, outcome=change.get("outcome"), ledger_state=change.get("ledger_state"))
    )
    assert samples(metrics)[name, (labels,)] == 1


def test_an_internal_error_is_counted() -> None:
    metrics = Metrics()
    metrics.observe(replace(EXCHANGE, reason="internal_error"))
    assert samples(metrics)["eas_addon_errors_total", ()] == 1


def test_gauges_are_read_when_asked() -> None:
    waits = iter((3, 5))
    metrics = Metrics(
        Gauges(
            mode=lambda: "enforce",
            open_waits=lambda: next(waits),
            ledger=lambda: {"stuck": 2},
            cache=lambda: CacheStatistics(hits=7, entries=4, age_s=12.5),
            journal_lost=lambda: 9,
            log_lost=lambda: 8,
        )
    )
    assert samples(metrics)["eas_open_waits", ()] == 3
    found = samples(metrics)
    assert found["eas_open_waits", ()] == 5
    assert found["eas_enforcing", ()] == 1
    assert found["eas_ledger_devices", (("state", "stuck"),)] == 2
    assert found["eas_ledger_devices", (("state", "quiet"),)] == 0
    assert found["eas_cache_answers_total", (("result", "hits"),)] == 7
    assert found["eas_relationships_age_seconds", ()] == 12.5
    assert found["eas_journal_lost_lines_total", ()] == 9
    assert found["eas_log_lost_lines_total", ()] == 8


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, "none"), (200, "2xx"), (401, "401"), (403, "403"), (404, "4xx"), (451, "451"),
     (502, "5xx"), (503, "503"), (99, "other"), (600, "other")],
)  # fmt: skip
def test_upstream_class(status: int | None, expected: str) -> None:
    assert upstream_class(status) == expected


@pytest.mark.parametrize(
    ("command", "method", "expected"),
    [("Sync", "POST", "Sync"), ("Cmd<script>", "POST", "other"), (None, "OPTIONS", "OPTIONS"),
     (None, "POST", "none"), ("sync", "POST", "other")],
)  # fmt: skip
def test_fold_command(command: str | None, method: str, expected: str) -> None:
    assert fold_command(command, method) == expected


@given(st.lists(st.tuples(*[st.text(max_size=30)] * 5), max_size=60))
def test_clients_cannot_make_series_grow(rows: list[tuple[str, ...]]) -> None:
    """Whatever a request says, the number of label sets stays that of the fixed sets."""
    metrics = Metrics()
    for command, reason, decision, mode, cache in rows:
        metrics.observe(
            replace(
                REDIRECT,
                command=command,
                reason=reason,
                decision=decision,
                mode=mode,
                directory_cache=cache,
            )
        )
    assert len(metrics.requests) <= 2
    assert len(metrics.decisions) <= 4
    assert len(metrics.lookups) <= 2


def test_no_user_device_or_location_is_exposed() -> None:
    metrics = Metrics()
    metrics.observe(REDIRECT)
    text = Exposition(metrics).render().decode().lower()
    for secret in ("anna", "contoso", "appl0123456789", "outlook.office365.com"):
        assert secret not in text


def test_label_names_are_of_a_fixed_set() -> None:
    metrics = Metrics()
    metrics.observe(REDIRECT)
    names = {
        label for family in metric_families(metrics) for s in family.samples for label in s.labels
    }
    assert names <= {
        "command", "upstream_class", "mode", "decision", "reason", "source", "result", "outcome",
        "state", "kind", "le", "version", "mitmproxy", "python", "meant", "table", "standing",
    }  # fmt: skip


def test_every_metric_is_documented() -> None:
    documented = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for family in (*metric_families(Metrics()), *_supervisor()._own_metrics()):
        assert f"`{family.name}" in documented, f"{family.name} is missing in docs/reference.md"


def _supervisor() -> Supervisor:
    return Supervisor([], workers=2, stop_timeout_s=1.0, metrics_listen=None)
