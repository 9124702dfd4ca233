"""The page for signature: its counts add up to all users, and what is not known is said."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.report.certificate import (
    ARRIVED,
    LISTED,
    NEVER_CALLED,
    Outcome,
    certify,
    render_certificate,
)
from eas_redirect.report.figures import make_report
from eas_redirect.report.handover import Account, with_target
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.report_values import Report
from eas_redirect.report.target_export import TargetFile, TargetRow, TargetRows
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import Record, lost_record
from tests.cli.running import run
from tests.report.simulator import START, Simulation, write_journal
from tests.report.test_figures import call
from tests.report.test_handover import DAY, MOVED
from tests.support import DATA

END = START + 9 * DAY
FILE = TargetFile("devices.csv", END)
WORKS = TargetRow(
    device_id="A", users=("CONTOSO\\anna",), state="allowed", success_s=START + 8 * DAY, file=FILE
)


def made_of(tmp_path: Path, *records: Record) -> Report:
    path = write_journal(tmp_path / "some.jsonl", records)
    return make_report(find_sources([str(path)]), END, None, END)


def target(*rows: TargetRow) -> TargetRows:
    return TargetRows(rows=list(rows), files=[FILE])


def test_everybody_arrived_and_it_may_go(tmp_path: Path) -> None:
    made = with_target(made_of(tmp_path, call(0), call(60, **MOVED)), target(WORKS))
    found = certify(made, ["anna@contoso.example", "zoe@contoso.example"])
    assert found.outcome is Outcome.MAY_GO
    assert found.groups == {
        ARRIVED: ("anna@contoso.example",),
        NEVER_CALLED: ("zoe@contoso.example",),
    }
    assert any("never called" in sentence for sentence in found.not_known)


def test_without_a_list_or_a_target_it_is_not_known(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(60, **MOVED))
    assert certify(made, None).outcome is Outcome.NOT_KNOWN
    assert certify(made, ["anna"]).outcome is Outcome.NOT_KNOWN
    arrived = with_target(made, target(WORKS))
    assert certify(arrived, None).outcome is Outcome.NOT_KNOWN
    assert certify(arrived, ["anna"]).outcome is Outcome.MAY_GO


def test_lost_lines_forbid_it_for_their_time(tmp_path: Path) -> None:
    for days, outcome in ((1, Outcome.MAY_GO), (5, Outcome.NOT_YET)):
        lost = lost_record(7, START + days * DAY)
        made = with_target(made_of(tmp_path, call(0), call(60, **MOVED), lost), target(WORKS))
        found = certify(made, ["anna"])
        assert found.outcome is outcome
        assert any("lost" in sentence for sentence in (*found.against, *found.not_known))


@pytest.mark.parametrize(
    "row",
    [replace(WORKS, state="blocked"), replace(WORKS, success_s=START - DAY)],
)
def test_one_who_did_not_arrive_stands_against_it(tmp_path: Path, row: TargetRow) -> None:
    made = with_target(made_of(tmp_path, call(0), call(60, **MOVED)), target(row))
    found = certify(made, ["anna"])
    assert found.outcome is Outcome.NOT_YET
    assert found.against


def test_a_name_in_two_domains_is_not_guessed(tmp_path: Path) -> None:
    made = with_target(made_of(tmp_path, call(60, **MOVED)), target(WORKS))
    for users in (["anna@contoso.example", "anna@fabrikam.example"], ["FABRIKAM\\anna"]):
        assert certify(made, users).groups == {NEVER_CALLED: tuple(users)}
    account = Account(logons=frozenset({"contoso\\anna"}), shown=frozenset(), account_id="0")
    found = certify(made, ["a.example@contoso.example"], {"a.example@contoso.example": account})
    assert found.groups == {ARRIVED: ("a.example@contoso.example",)}


def test_journals_that_ended_long_ago_forbid_it(tmp_path: Path) -> None:
    made = with_target(made_of(tmp_path, call(60, **MOVED)), target(WORKS))
    old = replace(made, now_s=END + 30 * DAY)
    assert certify(old, ["anna"]).outcome is Outcome.NOT_YET


def test_the_months_counts_add_up_to_the_list(tmp_path: Path) -> None:
    month = Simulation(phones=60, length_s=10 * DAY)
    journal = write_journal(tmp_path / "eas.jsonl", month.records())
    made = make_report(find_sources([str(journal)]), month.end_s)
    users = [phone.email for phone in month.cast] + ["never@contoso.example"]
    found = certify(made, users)
    assert sum(map(len, found.groups.values())) == found.users == len(users)
    assert sorted(name for some in found.groups.values() for name in some) == sorted(users)
    page = render_certificate(found, made, [("<eas>.jsonl", "0" * 64)])
    assert "The old server may not go yet." in page
    assert "&lt;eas&gt;.jsonl" in page


def test_the_command_writes_it_with_digests(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "eas.jsonl", [call(0), call(60, **MOVED)])
    (tmp_path / "users.csv").write_text("anna\nzoe\n")
    page = tmp_path / "certificate.html"
    args = ("report", str(journal), "--users", str(tmp_path / "users.csv"))
    ran = run(*args, "--certificate", str(page), "--until", "now")
    assert ran.code == 0, ran.err
    assert Outcome.NOT_KNOWN.value in ran.err
    text = page.read_text("utf-8")
    assert text.count("eas.jsonl") == 1
    assert "SHA-256" in text
    assert run(*args).code == 2


def test_who_is_not_on_the_list_counts_all_the_same(tmp_path: Path) -> None:
    late = replace(WORKS, success_s=None, attempt_s=START + 8 * DAY)
    made = with_target(made_of(tmp_path, call(0), call(60, **MOVED)), target(late))
    found = certify(made, ["zoe@contoso.example"])
    assert found.outcome is Outcome.NOT_KNOWN
    assert any("1 user called who are not on the list: 1 unknown" in s for s in found.not_known)
    held = replace(WORKS, state="quarantined", success_s=None)
    made = with_target(made_of(tmp_path, call(0), call(60, **MOVED)), target(held))
    found = certify(made, ["zoe@contoso.example"])
    assert found.outcome is Outcome.NOT_YET
    assert found.against == ("1 user who are not on the list: quarantined / blocked.",)


def test_lines_that_could_not_be_read_are_said(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "torn.jsonl", [call(60, **MOVED)])
    path.write_bytes(path.read_bytes() + b'{"@timestamp": "2026-03-0')
    report = make_report(find_sources([str(path)]), END, None, END)
    found = certify(report, ["zoe@contoso.example"])
    assert any("1 line could not be read" in sentence for sentence in found.not_known)


def test_a_list_cannot_be_found_in_hashed_journals_without_the_key(tmp_path: Path) -> None:
    redaction = Redaction(users="hash", key=b"k" * 32)
    journal = write_journal(tmp_path / "eas.jsonl", [redaction.apply(call(60, **MOVED))])
    (tmp_path / "users.csv").write_text("anna\n")
    (tmp_path / "key").write_bytes(b"k" * 32)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "observe"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
        '[journal]\nusers = "hash"\nhash_key_file = "key"\n'
    )
    page = tmp_path / "certificate.html"
    args = ("report", str(journal), "--users", str(tmp_path / "users.csv"), "--until", "now")
    without = run(*args, "--certificate", str(page))
    assert (without.code, "--config" in without.err) == (2, True)
    assert not page.exists()
    ran = run(*args, "--certificate", str(page), "-c", str(config))
    assert ran.code == 0, ran.err
    text = page.read_text("utf-8")
    assert "Followed (presumed from silence)" in text
    assert text.count("eas-redirect.toml") == 1


def test_it_is_one_page_however_many_there_are(tmp_path: Path) -> None:
    made = with_target(made_of(tmp_path, call(0), call(60, **MOVED)), target(WORKS))
    users = [f"user{number}@contoso.example" for number in range(5000)]
    page = render_certificate(certify(made, users), made, [])
    assert page.count("@contoso.example") == LISTED
    assert "and 4\u202f980 more" in re.sub(r"\s(?=more|4)", " ", page)
