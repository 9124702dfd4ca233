"""A simulated month whose truth is known: every label right, and every output of one mind."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from eas_redirect.activesync.request import caseless
from eas_redirect.report.exports import json_pieces, report_csv, report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.lines import CASELESS
from eas_redirect.report.page import each_day, report_page
from eas_redirect.report.report_values import Report, Silence
from eas_redirect.report.terminal import print_summary
from eas_redirect.telemetry.journal import IISLog, Redaction
from eas_redirect.telemetry.ledger import Ledger, LedgerState
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.record import journal_line as render_line
from tests.report.simulator import CLOUD, MINUTE, OLD_HOST, START, Simulation, write_journal
from tests.support import DATA

MONTH = Simulation(phones=120)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_journal(tmp_path_factory.mktemp("month") / "eas.jsonl", MONTH.records())


@pytest.fixture(scope="module")
def report(journal: Path) -> Report:
    return make_report(find_sources([str(journal)]), MONTH.end_s + MINUTE)


def made_of(tmp_path: Path, *records: Record) -> Report:
    path = write_journal(tmp_path / "some.jsonl", records)
    return make_report(find_sources([str(path)]), records[-1].timestamp_s + MINUTE)


def test_every_device_is_labelled_rightly(report: Report) -> None:
    found = {device.device_id: device.state.value for device in report.devices}
    truths = MONTH.truths() | {"Probe": "seen"}
    assert set(truths.values()) == {"seen", "redirected", "returned", "stuck", "quiet", "confirmed"}
    assert found == truths


def test_the_live_ledger_says_the_same(report: Report) -> None:
    now = 0.0
    ledger = Ledger(clock=lambda: now)
    live: dict[str | None, str | None] = {}
    for record in MONTH.records():
        now = record.timestamp_s
        for change in ledger.observe(record):
            live[change.device_id] = change.ledger_state
    assert live == {device.device_id: device.state.value for device in report.devices}
    states = {state.value: count for state, count in ledger.statistics().states.items()}
    assert states == report.totals.states


def test_only_those_seen_at_the_target_are_confirmed(report: Report) -> None:
    confirmed = {d.device_id for d in report.devices if d.state is LedgerState.CONFIRMED}
    assert confirmed == {phone.device_id for phone in MONTH.cast if phone.persona == "arrived"}
    assert report.totals.devices_confirmed == len(confirmed) > 0


def test_exchanges_add_up(report: Report) -> None:
    records = list(MONTH.records())
    reasons = Counter(record.reason for record in records)
    assert report.totals.exchanges == len(records)
    assert {row.reason: row.exchanges for row in report.reasons} == dict(reasons)
    assert sum(day.exchanges for day in report.days) == len(records)
    assert report.totals.redirects == reasons["mailbox_moved"] == report.latency.lookups
    assert sum(count for _, count in report.latency.buckets) == report.latency.lookups


def test_who_is_stuck_has_a_cause_and_comes_first(report: Report) -> None:
    stuck = [device for device in report.devices if device.state.value == "stuck"]
    assert report.devices[: len(stuck)] == tuple(stuck)
    assert all(device.cause for device in stuck)
    assert all(device.cause is None for device in report.devices if device.state.value == "quiet")


def test_silence_has_an_age_and_a_usual_interval(report: Report) -> None:
    phones = {phone.device_id: phone for phone in MONTH.cast}
    for device in report.devices:
        phone = phones.get(device.device_id or "")
        if phone and phone.persona == "obedient":
            assert device.silent_s == pytest.approx(MONTH.end_s - phone.moves_s - 3, abs=1)
            assert device.usual_interval_s == pytest.approx(phone.interval_s, rel=0.25)


def test_the_same_figures_from_many_files_packed_or_not(
    journal: Path, report: Report, tmp_path: Path
) -> None:
    import gzip

    lines = journal.read_bytes().splitlines(keepends=True)
    third = len(lines) // 3
    (tmp_path / "proxy1.jsonl").write_bytes(b"".join(lines[:third]))
    (tmp_path / "proxy2.jsonl.1.gz").write_bytes(gzip.compress(b"".join(lines[third : 2 * third])))
    (tmp_path / "proxy2.jsonl").write_bytes(b"".join(lines[2 * third :]))
    sources = find_sources([str(tmp_path / "proxy*"), str(tmp_path / "proxy1.jsonl")])
    again = make_report(sources, report.now_s)
    assert replace(again, input=report.input) == report


def test_hashed_users_stay_hashed(tmp_path: Path) -> None:
    redaction = Redaction(users="hash", key=b"k")
    records = [redaction.apply(record) for record in MONTH.records()]
    made = made_of(tmp_path, *records)
    assert Counter(device.state.value for device in made.devices)["stuck"] > 0
    assert made.totals.states["stuck"] == Counter(MONTH.truths().values())["stuck"]
    for output in (
        report_page(made),
        json.dumps(report_json(made)),
        "".join(report_csv(made.devices)),
    ):
        assert "user1@" not in output
        assert "Appl000" not in output


def test_dropped_users_are_counted_in_no_device(tmp_path: Path) -> None:
    redaction = Redaction(users="drop")
    records = [redaction.apply(record) for record in MONTH.records()]
    made = made_of(tmp_path, *records)
    assert made.totals.exchanges == len(records)
    assert made.devices == ()
    assert any("without a user" in note for note in made.notes)
    assert "cannot be told" in made.arrivals.verdict


def test_a_log_in_w3c_form_tells_the_same_story(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "u_ex.log"
    log = IISLog(str(path))
    for record in MONTH.records():
        log.write(record)
    log.close()
    made = make_report(find_sources([str(path)]), report.now_s)
    assert made.input.foreign == 0
    assert made.totals.states["quiet"] == report.totals.states["quiet"]
    found = {device.device_id: device.state for device in made.devices}
    assert found == {d.device_id: d.state for d in report.devices if d.device_id != "Probe"}


def test_a_request_in_the_logs_of_two_servers_is_one_exchange(tmp_path: Path) -> None:
    fields = "#Fields: date time cs-method cs-uri-stem cs-uri-query cs-username cs(User-Agent)"
    eas, who = "/Microsoft-Server-ActiveSync", "CONTOSO\\anna Apple-iPhone14C5/2105.90"
    query = "Cmd=Sync&User=anna&DeviceId=A&DeviceType=iPhone"
    front, back = [fields], [fields]
    for minute in range(5):
        front.append(
            f"2026-03-02 10:{minute:02}:01 POST {eas}/default.eas {query}&cafeReqId={minute}; {who}"
        )
        back.append(
            f"2026-03-02 10:{minute:02}:00 POST {eas}/Proxy/default.eas {query}"
            f"&Log=Error:UserHasNoMailbox_PrxFrom:10.0.0.1_ {who}"
        )
    front.append(f"2026-03-02 11:00:00 POST {eas}/default.eas {query}&cafeReqId=7; {who}")
    (tmp_path / "W3SVC1.log").write_text("\n".join(front) + "\n")
    alone = make_report(find_sources([str(tmp_path)]), START + 86400)
    (tmp_path / "W3SVC2.log").write_text("\n".join(back) + "\n")
    made = make_report(find_sources([str(tmp_path)]), START + 86400)
    assert (alone.totals.exchanges, made.totals.exchanges) == (6, 6)
    assert {row.reason: row.exchanges for row in made.reasons} == {
        "user_has_no_mailbox": 5,
        "other_answer": 1,
    }
    assert any("usually W3SVC2" in note for note in alone.notes)
    assert any("5 lines of a front end left out" in note for note in made.notes)


def call(at_s: float, **fields: object) -> Record:
    base = Record(
        timestamp_s=START + at_s,
        action="eas.exchange",
        message="",
        reason="other_answer",
        status_code=200,
        url_domain=OLD_HOST,
        user_name="anna",
        user_domain="CONTOSO",
        device_id="A",
        device_type="iPhone",
        user_agent="Apple-iPhone14C5/2105.90",
        decision="pass",
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def test_the_bar_moves_by_all_that_is_read(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "eas.jsonl").write_bytes(journal.read_bytes())
    (tmp_path / "u_ex.log").write_bytes((DATA / "iis" / "u_ex260302.log").read_bytes())
    sources = find_sources([str(tmp_path)])
    steps: list[int] = []
    make_report(sources, MONTH.end_s, steps.append)
    assert all(step >= 0 for step in steps)
    assert sum(steps) == sum(source.size for source in sources)


def test_a_missing_relationship_shows(tmp_path: Path) -> None:
    blocked = {"reason": "no_relationship", "directory_target_domain": "fabrikam.example"}
    made = made_of(
        tmp_path,
        call(0, **blocked),
        call(60, **blocked),
        call(90, **blocked, user_name="berta", device_id="B"),
        call(120, reason="relationship_disabled", directory_target_domain="tailspin.example"),
    )
    rows = [(o.reason, o.target_domain, o.users, o.devices, o.exchanges) for o in made.obstacles]
    assert rows == [
        ("no_relationship", "fabrikam.example", 2, 2, 3),
        ("relationship_disabled", "tailspin.example", 1, 1, 1),
    ]
    assert "fabrikam.example" in report_page(made)


def test_options_belongs_to_the_device(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(5, device_id=None, device_type=None, command="OPTIONS"))
    assert [(device.device_id, device.calls) for device in made.devices] == [("A", 2)]


def test_an_id_in_other_case_is_the_same_device(tmp_path: Path) -> None:
    """One user's only: what another user calls by it is another device."""
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    made = made_of(
        tmp_path,
        call(0, device_id="ApplDNQK", **told),
        *(call(3600 * hour, device_id="APPLDNQK", **told) for hour in range(1, 6)),
        call(6 * 3600, device_id="appldnqk", device_type="iPhone"),
        call(7 * 3600, device_id="appldnQK", user_name="bert"),
    )
    assert [(d.user, d.device_id, d.calls, d.state.value) for d in made.devices] == [
        ("CONTOSO\\anna", "appldnqk", 7, "stuck"),
        ("CONTOSO\\bert", "appldnQK", 1, "seen"),
    ]
    assert any("1 device id under several users" in note for note in made.notes)


def test_every_character_has_one_case_for_the_report_and_for_the_live_ledger() -> None:
    characters = [chr(at) for at in range(1, 0x30000) if not 0xD800 <= at < 0xE000]
    with duckdb.connect() as connection:
        connection.execute(CASELESS)
        rows = connection.execute(
            "SELECT one, caseless(one) FROM (SELECT unnest($all::VARCHAR[]) AS one)",
            {"all": [*characters, "ΦΟΊΒΟΣ", "İNCİ"]},
        ).fetchall()
    assert [(one, lower) for one, lower in rows if caseless(one) != lower] == []


def test_two_servers_that_write_an_id_in_other_case_logged_one_exchange(tmp_path: Path) -> None:
    fields = "#Fields: date time cs-method cs-uri-stem cs-uri-query cs-username"
    eas, query = "/Microsoft-Server-ActiveSync", "Cmd=Sync&User=anna&DeviceType=iPhone&DeviceId"
    (tmp_path / "W3SVC1.log").write_text(
        f"{fields}\n2026-03-02 10:00:01 POST {eas}/default.eas {query}=applA1&cafeReqId=1;"
        " CONTOSO\\anna\n"
    )
    (tmp_path / "W3SVC2.log").write_text(
        f"{fields}\n2026-03-02 10:00:01 POST {eas}/Proxy/default.eas {query}=APPLA1"
        "&Log=Error:UserHasNoMailbox_PrxFrom:10.0.0.1_ -\n"
    )
    made = make_report(find_sources([str(tmp_path)]), START + 86400)
    assert (made.totals.exchanges, len(made.devices)) == (1, 1)
    assert made.devices[0].user == "CONTOSO\\anna"


REFUSED = {"reason": "unauthenticated", "status_code": 401}
NO_ANSWER = {"reason": "no_answer", "status_code": 502}


@pytest.mark.parametrize("nothing", [REFUSED, NO_ANSWER])
def test_what_exchange_did_not_answer_makes_and_moves_no_device(
    tmp_path: Path, nothing: dict[str, object]
) -> None:
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    made = made_of(
        tmp_path,
        call(0, **told),
        call(1, **nothing, user_name="guess", device_id="X"),
        call(3600, **nothing),
        call(8 * 86400, **nothing),
    )
    [device] = made.devices
    assert (device.device_id, device.state, device.calls, device.last_seen_s) == (
        "A",
        "quiet",
        1,
        START,
    )
    assert made.arrivals.can_go
    page = report_page(made)
    assert "their mailboxes are here" not in page


def test_users_are_where_the_worst_of_their_devices_is(tmp_path: Path) -> None:
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    berta = {"user_name": "berta"}
    made = made_of(
        tmp_path,
        *(call(n, device_id="A1") for n in range(3)),
        *(call(3600 * n, **told, device_id="A2") for n in range(5)),
        call(10, **told, **berta, device_id="B1"),
        call(20, **told, **berta, device_id="B2"),
        call(30, **berta, device_id="B3"),
        call(4 * 3600, user_name="carl", device_id="C1"),
    )
    totals = made.totals
    assert totals.states == {
        "seen": 3, "redirected": 0, "returned": 0, "stuck": 1, "quiet": 2, "confirmed": 0
    }  # fmt: skip
    assert (totals.users, totals.users_redirected, totals.users_followed) == (3, 2, 1)
    assert (totals.users_returned, totals.users_stuck) == (0, 1)
    assert made.states_over_time[-1].users == {
        "seen": 1, "redirected": 0, "returned": 0, "stuck": 1, "quiet": 1, "confirmed": 0
    }  # fmt: skip
    phones = made.by_device_type[0]
    assert (phones.devices, phones.users, phones.users_followed, phones.users_stuck) == (6, 3, 1, 1)


def test_who_still_calls_and_why(tmp_path: Path) -> None:
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    refused = {"reason": "unauthenticated", "status_code": 401}
    day = 86400
    made = made_of(
        tmp_path,
        call(0, device_id="gone"),
        call(8 * day, device_id="here"),
        call(8 * day, user_name="berta", device_id="blocked", reason="no_relationship"),
        call(8 * day + 1, user_name="berta", device_id="blocked", **refused),
        call(8 * day, user_name="carl", device_id="quiet", **told),
        call(9 * day, user_name="carl", device_id="carls", reason="no_relationship"),
    )
    arrivals = made.arrivals
    found = {row.why: (row.devices, row.users) for row in arrivals.still_calling}
    assert found == {"other_answer": (1, 1), "no_relationship": (2, 2), "quiet": (1, 1)}
    assert (arrivals.devices, arrivals.users, arrivals.can_go) == (4, 3, False)
    assert "4 devices of 3 users" in arrivals.verdict
    assert arrivals.earliest_s == START + 16 * day
    assert "it can go on 2026-03-18" in arrivals.verdict
    page = report_page(made)
    assert "Add the domain to a relationship" in page
    assert "followed (presumed), and silent for less than a week" in page


def test_exchanges_without_a_name_may_be_anybodys(tmp_path: Path) -> None:
    day = 86400
    nobody = {"user_name": None, "user_domain": None, "device_id": None, "user_agent": None}
    refused = {"reason": "unauthenticated", "status_code": 401}
    gone = made_of(tmp_path, call(0), call(8 * day, **nobody, **refused))
    assert gone.arrivals.can_go
    made = made_of(tmp_path, call(0), call(8 * day, **nobody))
    assert not made.arrivals.can_go
    assert (made.arrivals.devices, made.arrivals.nameless) == (0, 1)
    assert "1 exchange without a name may be anybody's" in made.arrivals.verdict


def test_silence_since_the_last_line_counts_when_somebody_says_so(tmp_path: Path) -> None:
    day = 86400
    journal = write_journal(tmp_path / "eas.jsonl", [call(0), call(day)])
    sources = find_sources([str(journal)])
    now = START + 20 * day
    told = make_report(sources, now)
    assert not told.arrivals.can_go
    assert any("say --until now" in note for note in told.notes)
    complete = make_report(sources, now, until_s=now)
    assert complete.arrivals.can_go
    assert complete.until_s == now
    assert complete.devices[0].silent_s == 19 * day
    assert not any("--until" in note for note in complete.notes)
    earlier = make_report(sources, now, until_s=START + 5)
    assert earlier.until_s == START + day


def test_days_without_lines_are_shown_and_an_old_clock_is_told(tmp_path: Path) -> None:
    day = 86400
    made = made_of(tmp_path, call(0), call(9 * day + 60))
    assert len(made.days) == 2
    assert [one.exchanges for one in each_day(made.days)] == [1, *[0] * 8, 1]
    assert len(made.states_over_time) == 10
    odd = made_of(tmp_path, call(-4000 * day), call(0), call(9 * day))
    assert len(each_day(odd.days)) == 400
    assert odd.states_over_time[0].at_s > START - 401 * day
    assert any("1 line dated more than 400 days before" in note for note in odd.notes)


def test_the_old_server_can_go_after_a_silent_week(tmp_path: Path) -> None:
    probe = {"user_name": "HealthMailbox", "device_id": "P", "device_type": "EASProbeDeviceType"}
    day = 86400
    waiting = made_of(tmp_path, call(0), call(6 * day, **probe, user_agent="x"))
    assert not waiting.arrivals.can_go
    assert waiting.arrivals.devices == 1
    gone = made_of(tmp_path, call(0), call(8 * day, **probe, user_agent="x"))
    assert gone.arrivals.can_go
    assert gone.arrivals.last_s == START


def test_decisions_alone_do_not_say_that_the_old_server_can_go(tmp_path: Path) -> None:
    moved = {"reason": "mailbox_moved", "decision": "redirect", "action": "eas.redirect"}
    probe = {"user_name": "HealthMailbox", "device_id": "P", "device_type": "EASProbeDeviceType"}
    late = call(30 * 86400, **probe, user_agent="x", reason="recipient_not_found")
    made = made_of(tmp_path, call(0, **moved), late)
    assert not made.arrivals.can_go
    assert made.arrivals.verdict == (
        "That cannot be told: the journals hold no everyday traffic yet. Where journal.exchanges is"
        ' "decisions", set it to "all".'
    )


def test_the_scheme_is_the_last_that_was_named(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, auth_scheme="ntlm"),
        call(1, auth_scheme="none"),
        call(2, auth_scheme=None),
    )
    assert made.devices[0].auth_scheme == "ntlm"


def test_observed_redirects_are_judged_without_any_redirect(tmp_path: Path) -> None:
    would = {
        "action": "eas.would_redirect",
        "decision": "would_redirect",
        "reason": "mailbox_moved",
        "redirect_location": "https://outlook.office365.com/Microsoft-Server-ActiveSync",
        "logon_format": "down_level",
    }
    made = made_of(tmp_path, call(0, **would), call(86400, **would))
    device = made.devices[0]
    assert made.totals.would_redirects == 2
    assert (device.state.value, device.redirects) == ("seen", 0)
    assert device.readiness is not None
    assert device.readiness.verdict.value == "asked_to_sign_in"
    assert [finding.code for finding in device.findings] == ["logon_down_level"]
    assert made.readiness["asked_to_sign_in"] == 1


type Event = tuple[int, str, str | None, int, Callable[[str], str]]
EVENTS = st.lists(
    st.tuples(
        st.integers(1, 1200) | st.integers(1200, 4 * 86400),  # seconds since the event before
        st.sampled_from(["redirect", "pass", "unauthenticated"]),
        st.sampled_from([OLD_HOST, "outlook.office365.com", None]),
        st.sampled_from([0, 900, 3500]),  # seconds that the request had waited
        st.sampled_from([str.lower, str.upper, str.title]),  # how it writes its names
    ),
    min_size=1,
    max_size=25,
)
SILENCE_S = st.sampled_from([60, 3599, 3600, 86400]) | st.integers(1, 20 * 86400)


@given(st.lists(EVENTS, min_size=1, max_size=40), SILENCE_S)
@settings(max_examples=12, deadline=None)
def test_any_sequence_is_judged_as_the_live_ledger_judges_it(
    tmp_path_factory: pytest.TempPathFactory,
    lives: list[list[Event]],
    silence: int,
) -> None:
    records = sorted(
        (record for number, events in enumerate(lives) for record in life(number, events)),
        key=lambda record: record.timestamp_s,
    )
    end = records[-1].timestamp_s - START + silence
    records.append(call(end, device_id="P", device_type="EASProbeDeviceType"))
    now = 0.0
    ledger = Ledger(clock=lambda: now)
    for record in records:
        now = record.timestamp_s
        ledger.observe(record)
    made = made_of(tmp_path_factory.mktemp("any"), *records)
    live = {caseless(record.device_id or ""): ledger.state(record) for record in records}
    found = {caseless(device.device_id or ""): device.state for device in made.devices}
    assert found == {k: v for k, v in live.items() if v}
    assert len(made.devices) == len(found)
    states = {s.value: count for s, count in ledger.statistics().states.items()}
    assert made.totals.states == states == made.states_over_time[-1].states


def life(number: int, events: list[Event]) -> Iterator[Record]:
    """One device's month of chance."""
    at = 0
    for gap, what, host, waited, spelt in events:
        at += gap
        # Who calls the target by its name is never sent there: that would be a loop.
        called = OLD_HOST if what == "redirect" else host
        redirect = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
        told = redirect if what == "redirect" else {"reason": what.replace("pass", "other_answer")}
        yield call(
            at,
            user_name=spelt("änna"),
            user_domain=spelt("contoso"),
            device_id=spelt(f"dev{number}"),
            url_domain=called,
            duration_ns=waited * 10**9,
            **told,
        )


def test_the_silence_before_the_first_comeback_is_no_usual_one(tmp_path: Path) -> None:
    hour, day = 3600, 86400
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    late = made_of(
        tmp_path, call(0, **told), call(day, **told), call(day + 2 * hour, device_id="P")
    )
    assert [(d.state.value, d.usual_interval_s) for d in late.devices if d.device_id == "A"] == [
        ("quiet", None)
    ]
    # Who asks every two hours is no follower in between.
    calls = [call(n * 2 * hour, **told) for n in range(5)]
    slow = made_of(tmp_path, *calls, call(9.5 * hour, device_id="P"))
    assert [(d.state.value, d.usual_interval_s) for d in slow.devices if d.device_id == "A"] == [
        ("stuck", 2.0 * hour)
    ]


def test_what_a_journal_should_never_hold_goes_no_further(tmp_path: Path) -> None:
    secrets = (DATA / "secrets.txt").read_text("utf-8").split("\n")
    secrets = [secret for secret in secrets if secret]
    journal = tmp_path / "leaky.jsonl"
    line = json.loads(render_line(call(0)))
    line["authorization"] = line["eas"]["policy_key"] = line["http"]["cookie"] = secrets
    journal.write_text(json.dumps(line) + "\n")
    log = tmp_path / "u_ex.log"
    cookie = "+".join(secret.replace(" ", "+") for secret in secrets)
    log.write_text(
        "#Fields: date time cs-method cs-uri-stem cs-uri-query cs-username cs(Cookie) sc-status\n"
        "2026-03-02 00:00:09 POST /Microsoft-Server-ActiveSync"
        f" Cmd=Ping&Key={cookie} anna {cookie} 200\n"
    )
    made = make_report(find_sources([str(journal), str(log)]), START + 86400)
    assert made.totals.exchanges == 2
    for output in (
        report_page(made),
        json.dumps(report_json(made)),
        "".join(report_csv(made.devices)),
    ):
        assert not [secret for secret in secrets if secret in output]


def asked_again(at_s: float, user: str, decision: str, reason: str, agent: str) -> Record:
    return Record(
        timestamp_s=at_s,
        action="eas.autodiscover",
        message="",
        reason=reason,
        decision=decision,
        user_name=user,
        user_agent=agent,
        autodiscover="redirect",
    )


def test_accounts_that_were_added_again(tmp_path: Path) -> None:
    """Users and user agents; no device, no exchange, no everyday line."""
    report = made_of(
        tmp_path,
        asked_again(START, "anna", "pass", "redirect_loop", "Android/9"),
        asked_again(START + 1, "anna", "redirect", "mailbox_moved", "Android/9"),
        asked_again(START + 2, "anna", "redirect", "mailbox_moved", "SAMSUNG"),
        asked_again(START + 3, "bert", "would_redirect", "mailbox_moved", "SAMSUNG"),
        asked_again(START + 4, "carl", "pass", "autodiscover_client_not_listed", "<b>Apple"),
        asked_again(START + 5, "dora", "pass", "other_answer", "Outlook"),
    )
    assert (report.totals.exchanges, report.totals.users, report.devices) == (0, 0, ())
    assert (report.input.lines, report.input.no_phones) == (6, 0)
    assert not [note for note in report.notes if "no phone" in note]
    asked = report.discoveries
    assert (asked.questions, asked.told, asked.would_be_told) == (5, 1, 1)
    assert [(one.user, one.user_agent, one.decision, one.questions) for one in asked.shown] == [
        ("carl", "<b>Apple", "pass", 1),
        ("bert", "SAMSUNG", "would_redirect", 1),
        ("anna", "SAMSUNG", "redirect", 1),
        ("anna", "Android/9", "redirect", 2),
    ]
    page = report_page(report)
    assert "Accounts that were added again" in page
    assert "&lt;b&gt;Apple" in page
    assert "<b>Apple" not in page
    told = json.loads("".join(json_pieces(report)))["autodiscover"]
    assert (told["users_told"], told["latest"][0]["user"]) == (1, "carl")


def wait_line(at_s: float, user: str, decision: str, seen_s: float, wave: str | None) -> Record:
    return Record(
        timestamp_s=at_s,
        action="eas.wait",
        message="",
        method="POST",
        reason="mailbox_moved",
        decision=decision,
        user_name=user,
        device_id=f"D{user}",
        wave=wave,
        wait_s=30,
        wait_seen_s=seen_s,
        wait_held_back="again_later" if decision == "pass" else None,
    )


def redirected(at_s: float, user: str) -> Record:
    return Record(
        timestamp_s=at_s,
        action="eas.redirect",
        message="",
        method="POST",
        reason="mailbox_moved",
        decision="redirect",
        user_name=user,
        device_id=f"D{user}",
    )


def test_waits_that_were_ended(tmp_path: Path) -> None:
    """From the directory's first word to the 451, by wave; and whom Exchange still serves."""
    report = made_of(
        tmp_path,
        redirected(START - 100, "anna"),  # long before: of another move
        wait_line(START, "anna", "end_wait", 5, "users"),
        redirected(START + 25, "anna"),
        redirected(START + 90, "anna"),
        wait_line(START + 1, "bert", "end_wait", 0, "users"),
        wait_line(START + 60, "bert", "pass", 59, "users"),
        wait_line(START + 300, "bert", "end_wait", 299, "users"),
        redirected(START + 330, "bert"),
        wait_line(START + 2, "<b>carl", "end_wait", 2, None),
        wait_line(START + 3, "dora", "would_end_wait", 0, None),
    )
    waits = report.waits
    assert [(w.wave, w.devices, w.redirected, w.p50_s, w.longest_s) for w in waits.waves] == [
        ("users", 2, 2, (30 + 329) / 2, 329),
        ("everyone", 1, 0, None, None),
    ]
    assert (waits.would_end, waits.unanswered) == (1, 1)
    assert [(one.user, one.device_id, one.ended) for one in waits.shown] == [
        ("<b>carl", "D<b>carl", 1)
    ]
    assert (report.totals.exchanges, report.input.lines) == (4, 10)
    page = report_page(report)
    assert "Waits that were ended" in page
    assert "all: 329 s" in page
    assert "Ended, and Exchange does not know yet" in page
    assert "<b>carl" not in page
    said = json.loads("".join(json_pieces(report)))["waits"]
    assert said["ended_and_still_served"] == 1
    assert said["waves"][0]["wave"] == "users"


def test_a_share_of_a_few_devices_is_not_told(tmp_path: Path) -> None:
    """“99 % within” of one device says nothing."""

    def told(devices: int, after_s: float) -> str:
        users = [f"u{n}" for n in range(devices)]
        waits = (wait_line(START, user, "end_wait", 0, "users") for user in users)
        moved = (redirected(START + after_s, user) for user in users)
        report = made_of(
            tmp_path, *(line for pair in zip(waits, moved, strict=True) for line in pair)
        )
        out = io.StringIO()
        print_summary(Console(file=out, width=200), report)
        return next(line for line in out.getvalue().splitlines() if "Waits ended" in line)

    assert told(1, 0.2).endswith(": 1 device, 1 redirected, the longest after less than 1 s")
    assert told(9, 7).endswith(": 9 devices, 9 redirected, the longest after 7 s")
    assert told(10, 7).endswith(": 10 devices, 10 redirected, 99 % within 7 s")


def test_what_is_no_phone_asked_for_no_settings(tmp_path: Path) -> None:
    monitor = Record(
        timestamp_s=START, action="eas.exchange", message="", method="GET", reason="other_answer"
    )
    again = asked_again(START + 1, "anna", "redirect", "mailbox_moved", "Android/9")
    report = made_of(tmp_path, monitor, again)
    assert (report.input.lines, report.input.no_phones) == (2, 1)
    assert (report.discoveries.questions, report.discoveries.told) == (1, 1)


def test_accepted_is_what_exchange_lets_sync(tmp_path: Path) -> None:
    """It answers OPTIONS and Provision to devices that it lets nowhere else."""
    moved = {"decision": "would_redirect", "reason": "mailbox_moved", "command": "Sync"}
    made = made_of(
        tmp_path,
        call(0, device_id="synced", command="Ping"),
        call(1, device_id="provisioned", command="Provision"),
        call(2, device_id="refused", command="Sync", status_code=403),
        call(3, device_id="moved", **moved),
        call(4, device_id=None, method="OPTIONS", user_agent="x"),
    )
    assert {d.device_id for d in made.devices if d.accepted} == {"synced"}


END = START + 40 * 86400


def test_exchanges_without_an_answer_are_told_by_cause_and_exchanges_own_503_apart(
    tmp_path: Path,
) -> None:
    def silent(at: float, error: str | None, **said: object) -> Record:
        values = {"reason": "no_answer", "error_type": error, "upstream_status_code": None, **said}
        return replace(call(at), **values)  # type: ignore[arg-type]

    records = [
        call(0),
        silent(10, "client_left"),
        silent(20, "client_left", user_name="bert", device_id="B"),
        silent(30, "upstream_failed", status_code=503),
        silent(40, None),
        silent(50, "a word of tomorrow"),
        replace(call(60), status_code=503, upstream_status_code=503),
    ]
    made = make_report(find_sources([str(write_journal(tmp_path / "j.jsonl", records))]), END)
    told = {row.silence: (row.exchanges, row.devices, row.users) for row in made.silence}
    assert told == {
        Silence.UPSTREAM_FAILED: (1, 1, 1),
        Silence.CLIENT_LEFT: (2, 2, 2),
        Silence.NOT_SAID: (2, 1, 1),
        Silence.OWN_503: (1, 1, 1),
    }
    assert [row.silence for row in made.silence] == [s for s in Silence if s in told]
    page = report_page(made)
    for words in ("the device left first", "Exchange itself answered 503", "MSExchangeSyncAppPool"):
        assert words in page
    found = report_json(made)["no_answer"]
    assert isinstance(found, list)
    assert found[0]["silence"] == "upstream_failed"
    quiet = make_report(find_sources([str(write_journal(tmp_path / "q.jsonl", [call(0)]))]), END)
    assert quiet.silence == ()
    assert "What got no answer" not in report_page(quiet)


def test_callers_without_a_name_are_listed_by_address_and_client(tmp_path: Path) -> None:
    def nobody(at: float, **said: object) -> Record:
        values = {"user_name": None, "user_email": None, "device_id": None, **said}
        return replace(call(at), **values)  # type: ignore[arg-type]

    records = [
        call(0),
        *(nobody(at, client_address="203.0.113.7", user_agent="scanner/1") for at in range(3)),
        nobody(5, client_address="10.0.0.1", forwarded_ip="198.51.100.9", user_agent="<b>Apple"),
        nobody(6, client_address="203.0.113.8", reason="unauthenticated"),  # asks for the logon
        *(nobody(10 + n, client_address=f"192.0.2.{n}", user_agent="x") for n in range(60)),
    ]
    made = make_report(find_sources([str(write_journal(tmp_path / "j.jsonl", records))]), END)
    first = made.anonymous[0]
    assert (first.address, first.user_agent, first.exchanges) == ("203.0.113.7", "scanner/1", 3)
    assert len(made.anonymous) + made.more_anonymous == 62
    assert "203.0.113.8" not in {one.address for one in made.anonymous}
    front = [one.address for one in made.anonymous if one.user_agent == "<b>Apple"]
    assert front in ([], ["198.51.100.9"])
    page = report_page(made)
    assert "Who called without a name" in page
    assert "203.0.113.7" in page
    assert "The first 50 of 62" in page
