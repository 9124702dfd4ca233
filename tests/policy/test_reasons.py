"""One table of reasons: whole, in plain words, and read by everybody who shows one."""

import io
from typing import cast

import duckdb
import pytest
from rich.console import Console

from eas_redirect.captures.complaints import complaints
from eas_redirect.captures.device_timeline import Decision, Timeline, TimelineEntry
from eas_redirect.checking.everything import check_user
from eas_redirect.judging.explanation import Explanation, explanation_json, explanation_lines
from eas_redirect.judging.judge import Judgement
from eas_redirect.planning.plan import PlannedUser
from eas_redirect.planning.plan_output import print_table
from eas_redirect.policy import reasons
from eas_redirect.policy.reasons import NO_MAILBOX_REASON, REASONS, Reason, Words
from eas_redirect.policy.verdict import Pass
from eas_redirect.report import words as advice
from eas_redirect.report.page_tables import obstacle_table, reason_table
from eas_redirect.report.report_values import Obstacle, ReasonRow
from eas_redirect.report.tallies import obstacles
from eas_redirect.service.service import is_decision
from eas_redirect.telemetry.metrics import Metrics
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.status import LastDecisions
from tests.policy.builders import exchange, logon

EXAMPLE = cast("Reason", "phase_of_the_moon")
TITLE, ADVICE = "the moon is `full`", "Wait a `fortnight`."


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONS, EXAMPLE, Words(title=TITLE, advice=ADVICE, obstacle=True))


def test_every_reason_has_a_row_and_every_row_is_a_reason() -> None:
    assert list(REASONS) == [*Reason, NO_MAILBOX_REASON]


@pytest.mark.parametrize("word", REASONS)
def test_the_words_are_a_short_phrase_and_a_sentence(word: str) -> None:
    words = REASONS[word]
    assert 0 < len(words.title) < 90
    assert not words.title.endswith(".")
    assert words.advice.endswith(".")
    assert words.advice.count("`") % 2 == 0


def test_a_redirect_and_what_nobody_decided_are_in_order() -> None:
    """Only what an administrator can mend is a finding."""
    assert {word for word in REASONS if reasons.in_order(word)} == {
        "mailbox_moved",
        "other_answer",
        "no_answer",
        "native_redirect",
        "unauthenticated",
        "recipient_has_mailbox",
        "not_in_wave",
        "autodiscover_client_not_listed",
    }
    assert {word for word in REASONS if reasons.everyday(word)} == {
        "other_answer",
        "no_answer",
        "unauthenticated",
    }


def test_what_keeps_a_whole_domain_where_it_is_is_an_obstacle() -> None:
    assert reasons.obstacle_reasons() == (
        "no_relationship",
        "relationship_disabled",
        "relationship_ambiguous",
        "relationship_contradictory",
        "no_target_owa_url",
        "target_owa_url_invalid",
        "target_not_allowed",
        "redirect_loop",
    )


def test_callers_have_words_of_their_own_or_the_title() -> None:
    assert reasons.of_callers(NO_MAILBOX_REASON).startswith("told UserHasNoMailbox")
    assert reasons.of_callers("not_in_wave") == reasons.title("not_in_wave") == "not in this wave"


def test_a_word_from_elsewhere_stands_for_itself() -> None:
    assert reasons.title("no_such_word") == "no_such_word"
    assert reasons.of_callers("no_such_word") == "no_such_word"
    assert reasons.advice("no_such_word") == ""
    assert not reasons.in_order("no_such_word")
    assert not reasons.everyday("no_such_word")


@pytest.mark.usefixtures("example")
class TestANewRowShows:
    def test_in_the_report(self) -> None:
        row = ReasonRow(reason=EXAMPLE, exchanges=1, users=1, devices=1)
        assert "the moon is full" in str(reason_table([row]))
        obstacle = Obstacle(
            reason=EXAMPLE, target_domain="cloud.example", users=1, devices=1, exchanges=1
        )
        page = str(obstacle_table([obstacle]))
        assert "the moon is full" in page
        assert "Wait a fortnight." in page
        assert advice.meaning(EXAMPLE) == "the moon is full"
        assert advice.what_to_do(EXAMPLE) == "Wait a fortnight."

    def test_among_the_obstacles_of_the_journals(self) -> None:
        with duckdb.connect() as connection:
            connection.execute(
                "CREATE TABLE lines AS SELECT 0 AS class, 'phase_of_the_moon' AS reason,"
                " 'cloud.example' AS target_domain, 1 AS user_key, 1 AS key"
            )
            assert [found.reason for found in obstacles(connection)] == [EXAMPLE]

    def test_in_explain_and_check(self) -> None:
        judgement = Judgement(exchange=exchange(), verdict=Pass(reason=EXAMPLE), mode="enforce")
        explained = Explanation(logon=logon("anna"), judgement=judgement, steps=())
        assert list(explanation_lines(explained))[-1] == "  What to do: Wait a fortnight."
        assert explanation_json(explained)["advice"] == "Wait a fortnight."
        assert check_user("anna", explained).state == "failed"

    def test_in_a_plan(self) -> None:
        shown = io.StringIO()
        planned = PlannedUser(user="anna", decision="pass", reason=EXAMPLE, detail="")
        print_table(Console(file=shown, width=120), [planned])
        assert "stays: the moon is full" in shown.getvalue()
        assert not planned.in_order

    def test_in_a_capture(self) -> None:
        device = Timeline(
            device_id="A", device_type=None, user=None, user_agent=None, client_address=None
        )
        device.add(entry(Decision(decision="pass", reason=EXAMPLE, detail="It is full.")))
        (found,) = complaints(device)
        assert (found.kind, found.advice) == (EXAMPLE, "Wait a fortnight.")

    def test_in_the_metrics_the_status_page_and_the_short_journal(self) -> None:
        record = Record(
            timestamp_s=1.0,
            action="eas.exchange",
            message="",
            mode="enforce",
            decision="pass",
            reason=EXAMPLE,
        )
        metrics = Metrics()
        metrics.observe(record)
        assert metrics.decisions["enforce", "pass", EXAMPLE] == 1
        last = LastDecisions(lambda record: record)
        last.observe(record)
        assert [line.reason for line in last.lines()] == [EXAMPLE]
        assert is_decision(record)


def test_a_user_who_is_named_has_words_of_their_own_where_those_of_a_device_do_not_fit() -> None:
    for reason, words in REASONS.items():
        assert reasons.of_named(reason) == (words.of_named or reasons.title(reason)), reason
        assert reasons.advice_of_named(reason) == (
            words.advice_of_named.replace("`", "") or reasons.advice(reason)
        ), reason
    assert reasons.of_named(Reason.RECIPIENT_HAS_MAILBOX) == "the mailbox is still here"
    assert reasons.of_named("of a later version") == reasons.title("of a later version")
    assert reasons.advice_of_named("of a later version") == ""


def entry(decided: Decision) -> TimelineEntry:
    return TimelineEntry(
        time_s=1.0,
        last_s=1.0,
        method="POST",
        command="Sync",
        protocol_version="14.1",
        status_code=200,
        got_status_code=200,
        eas_status=123,
        evidence="certain",
        waited_s=None,
        decided=decided,
        recorded=None,
        location=None,
        problem=None,
        error=None,
        body_missing=False,
        contradiction=False,
    )
