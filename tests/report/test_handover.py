"""Who arrived, by the target's own lists: a simulated month with a target of known truth."""

import base64
import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.report.exports import report_csv, report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.handover import Account, names_in_doubt, unjoinable, with_target
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import report_page
from eas_redirect.report.report_values import Device, Handover, Report
from eas_redirect.report.target_export import TargetFile, TargetRow, TargetRows
from eas_redirect.report.target_rows import read_target
from eas_redirect.report.words import stamp
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.record import Record
from tests.report.simulator import (
    CLOUD,
    HOUR,
    MINUTE,
    START,
    Phone,
    Simulation,
    write_journal,
)
from tests.report.test_figures import call

DAY = 86400.0
MONTH = Simulation(phones=160, seed=7)
HEAD = (
    "User,DeviceID,DeviceType,DeviceAccessState,DeviceAccessStateReason,FirstSyncTime,"
    "LastSyncAttemptTime,LastSuccessSync,ClientType"
)
MOVED = {
    "action": "eas.redirect",
    "decision": "redirect",
    "reason": "mailbox_moved",
    "status_code": 451,
    "redirect_location": CLOUD,
}
FOLLOWED = ("obedient", "impatient")


def fate(phone: Phone) -> Handover:
    """The truth: what a report must say of the phone."""
    match phone.persona:
        case "staying":
            return Handover.ELSEWHERE if phone.number % 7 == 0 else Handover.STILL_HERE
        case "dead":
            silent = MONTH.end_s - (phone.moves_s - 2 * DAY)
            return Handover.UNKNOWN if silent > 8 * DAY else Handover.STILL_HERE
        case "arrived":
            return Handover.CONFIRMED
        case "ignoring" | "looping" | "hesitant":
            return Handover.STILL_HERE
        case "slow" | "late":
            return Handover.CONFIRMED
        case _:
            return (
                *(Handover.CONFIRMED, Handover.HELD, Handover.ASKED_TO_SIGN_IN),
                *(Handover.RE_ADDED, Handover.UNKNOWN),
            )[phone.number % 5]


def exported(phone: Phone) -> Iterator[str]:
    told, end = phone.moves_s, MONTH.end_s

    def row(device: str, state: str, reason: str, first: float, success: float | None) -> str:
        times = (stamp(first), stamp(success or first), stamp(success) or "")
        cells = (phone.email, device, phone.device_type, state, reason, *times, "EAS")
        return ",".join(f'"{cell}"' for cell in cells)

    long_ago = START - 300 * DAY
    match fate(phone):
        case Handover.ELSEWHERE | Handover.CONFIRMED:
            yield row(phone.device_id.lower(), "Allowed", "Global", long_ago, end)
        case Handover.HELD:
            yield row(phone.device_id, "Quarantined", "Global", told + 60, None)
        case Handover.ASKED_TO_SIGN_IN:
            yield row(phone.device_id, "Allowed", "Individual", long_ago, told - DAY)
        case Handover.RE_ADDED:
            yield row(f"NEW{phone.number:010d}", "Allowed", "Global", told + HOUR, end - HOUR)
        case Handover.STILL_HERE | Handover.UNKNOWN:
            return


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_journal(tmp_path_factory.mktemp("month") / "eas.jsonl", MONTH.records())


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "devices.csv"
    rows = [row for phone in MONTH.cast for row in exported(phone)]
    path.write_text("\r\n".join((HEAD, *rows)), "utf-8-sig")
    return path


@pytest.fixture(scope="module")
def report(journal: Path, export: Path) -> Report:
    now = MONTH.end_s + MINUTE
    made = make_report(find_sources([str(journal)]), now)
    return with_target(made, read_target([str(export)], now))


def test_every_verdict_of_the_month_is_right(report: Report) -> None:
    truths = {phone.device_id: fate(phone).value for phone in MONTH.cast}
    assert set(truths.values()) == {handover.value for handover in Handover}
    found = {
        d.device_id: d.arrival.handover.value if d.arrival else None
        for d in report.devices
        if not d.machine
    }
    assert found == truths


def test_page_json_and_csv_say_the_same_and_the_counts_add_up(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO("".join(report_csv(report.devices)))))
    said = report_json(report)
    devices = said["devices"]
    assert isinstance(devices, list)
    assert [row["verdict"] for row in rows] == [one["verdict"] or "" for one in devices]
    target = report.target
    assert target is not None
    people = [device for device in report.devices if not device.machine]
    assert sum(count.devices for count in target.counts) == len(people)
    page = report_page(report)
    assert "Who arrived" in page
    assert "Quarantined / blocked" in page
    for device in people:
        if device.arrival and device.arrival.handover is Handover.HELD:
            assert f">{device.device_id}</td>" in page
    assert report.totals.devices_confirmed == sum(
        count.devices for count in target.counts if count.handover is Handover.CONFIRMED
    )


def made_of(tmp_path: Path, *records: Record, days: float = 2) -> Report:
    end = call(days * DAY, user_name="zoe", device_id="Z")
    path = write_journal(tmp_path / "some.jsonl", [*records, end])
    return make_report(find_sources([str(path)]), START + days * DAY + MINUTE)


FILE = TargetFile("devices.csv", START + 2 * DAY)


def rows_of(*rows: TargetRow, newest_s: float = START + 2 * DAY) -> TargetRows:
    file = TargetFile("devices.csv", newest_s)
    return TargetRows(rows=[replace(row, file=file) for row in rows], files=[file])


def verdicts(report: Report) -> dict[tuple[str, str | None], tuple[str, str | None]]:
    return {
        (device.user, device.device_id): (device.arrival.handover.value, device.arrival.joined_by)
        for device in report.devices
        if device.arrival and device.device_id != "Z"
    }


def at(hours: float) -> float:
    return START + hours * HOUR


WORKS = TargetRow(device_id="a", state="allowed", first_s=at(-99), success_s=at(30), file=FILE)
ANNA = ("CONTOSO\\anna", "A")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (replace(WORKS, users=("contoso\\ANNA",)), ("confirmed", "user")),
        (replace(WORKS, users=("anna@contoso.example",)), ("confirmed", "id")),
        (replace(WORKS, device_id=" {A} "), ("confirmed", "id")),
        (replace(WORKS, shown_names=("Anna Example",)), ("confirmed", "id")),
        (replace(WORKS, users=("berta@contoso.example",)), ("unknown", None)),
        (replace(WORKS, state="blocked"), ("quarantined_or_blocked", "id")),
        (replace(WORKS, state="devicediscovery"), ("quarantined_or_blocked", "id")),
        (replace(WORKS, state="devicediscovery", first_s=at(47.9)), ("unknown", "id")),
        (replace(WORKS, success_s=at(-2)), ("asked_to_sign_in", "id")),
        (replace(WORKS, success_s=at(1) - 60), ("unknown", "id")),
        (replace(WORKS, success_s=None, attempt_s=at(30)), ("unknown", "id")),
        (replace(WORKS, success_s=None, tells_success=False), ("unknown", "id")),
        (
            replace(WORKS, success_s=None, refused_only=True, from_log=True),
            ("asked_to_sign_in", "id"),
        ),
    ],
)
def test_one_phone_that_was_told_after_an_hour(
    tmp_path: Path, row: TargetRow, expected: tuple[str, str | None]
) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    assert verdicts(with_target(made, rows_of(row)))[ANNA] == expected


def test_nothing_is_known_of_what_is_later_than_the_file(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    row = replace(WORKS, success_s=at(-2))
    report = with_target(made, rows_of(row, newest_s=at(0.5)))
    assert verdicts(report)[ANNA] == ("unknown", "id")


def test_a_call_here_after_the_last_sync_there_is_still_here(tmp_path: Path) -> None:
    back = [call(10 * HOUR + 600 * n, **MOVED) for n in range(4)]
    made = made_of(tmp_path, call(0), call(3600, **MOVED), *back)
    assert verdicts(with_target(made, rows_of(replace(WORKS, success_s=at(5))))) == {
        ANNA: ("still_here", "id")
    }


def test_one_id_of_two_users_goes_by_the_user(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, **MOVED, user_email="anna@contoso.example"),
        call(60, **MOVED, user_name="berta", user_email="berta@contoso.example"),
    )
    found = verdicts(with_target(made, rows_of(replace(WORKS, users=("Anna@contoso.example",)))))
    assert found == {
        ("anna@contoso.example", "A"): ("confirmed", "user"),
        ("berta@contoso.example", "A"): ("unknown", None),
    }
    nameless = verdicts(with_target(made, rows_of(WORKS)))
    assert set(nameless.values()) == {("unknown", None)}


def test_two_new_ids_for_one_old_are_not_guessed(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0, **MOVED))
    new = TargetRow(
        device_id="N1",
        device_type="iphone",
        users=("CONTOSO\\anna",),
        state="allowed",
        first_s=at(3),
        success_s=at(9),
        file=FILE,
    )
    one = with_target(made, rows_of(new))
    two = with_target(made, rows_of(new, replace(new, device_id="N2")))
    assert verdicts(one)[ANNA][0] == "re_added"
    assert [d.arrival.new_device_id for d in one.devices if d.arrival and d.device_id == "A"] == [
        "N1"
    ]
    assert verdicts(two)[ANNA][0] == "asked_to_sign_in"
    other_type = with_target(made, rows_of(replace(new, device_type="Android")))
    assert verdicts(other_type)[ANNA][0] == "asked_to_sign_in"


def test_the_directory_tells_whose_a_name_is(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0, **MOVED))
    account = Account(
        logons=frozenset({"a.example@contoso.example"}),
        shown=frozenset({"anna example"}),
        account_id="0123456789abcdef",
    )
    accounts = {"CONTOSO\\anna": account}
    by_address = replace(WORKS, users=("A.Example@contoso.example",))
    by_display = replace(WORKS, shown_names=("Anna Example",))
    assert verdicts(with_target(made, rows_of(by_address))) == {ANNA: ("unknown", None)}
    assert verdicts(with_target(made, rows_of(by_address), accounts)) == {
        ANNA: ("confirmed", "directory")
    }
    assert verdicts(with_target(made, rows_of(by_display), accounts)) == {
        ANNA: ("confirmed", "display_name")
    }


def test_hashed_journals_join_with_their_key_and_show_no_id(tmp_path: Path) -> None:
    redaction = Redaction(users="hash", key=b"k" * 32)
    fields = {**MOVED, "user_email": "anna@contoso.example"}
    records = [redaction.apply(one) for one in (call(0), call(3600, **fields))]
    made = made_of(tmp_path, *records)
    people = [device for device in made.devices if device.device_id != "Z"]
    assert "--config" in (unjoinable(people, Redaction()) or "")
    assert unjoinable(people, redaction) is None
    row = replace(WORKS, users=("anna@contoso.example",))
    report = with_target(made, rows_of(row), None, redaction)
    assert set(verdicts(report).values()) == {("confirmed", "user")}
    new = replace(row, device_id="NEWID", device_type="iPhone", first_s=at(3))
    again = with_target(made, rows_of(new), None, redaction)
    ids = {d.arrival.new_device_id for d in again.devices if d.arrival}
    assert redaction.name("NEWID") in ids
    assert "NEWID" not in ids


def test_journals_without_devices_are_refused() -> None:
    assert "drop" in (unjoinable((), Redaction()) or "")


def test_another_tenants_file_is_named(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0, **MOVED))
    foreign = TargetRow(device_id="Q", users=("quin@tailspin.example",), success_s=at(9), file=FILE)
    target = with_target(made, rows_of(foreign)).target
    assert target is not None
    assert (target.matched, target.users_covered) == (0, 0)
    assert any("wrong file" in note for note in target.notes)


def test_an_iis_log_of_the_target(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    log = tmp_path / "u_ex260302.log"

    def lines(status: int) -> str:
        query = "Cmd=Sync&User=CONTOSO%5Canna&DeviceId=a&DeviceType=iPhone&CorrelationID=<empty>;"
        user = "CONTOSO\\anna" if status == 200 else "-"
        return (
            "#Software: Microsoft Internet Information Services 10.0\n"
            "#Fields: date time cs-method cs-uri-stem cs-uri-query cs-username sc-status\n"
            "2026-03-02 00:30:00 GET /owa - - 200\n"
            "#Fields: date time cs-username cs-method cs-uri-stem cs-uri-query sc-status\n"
            f"2026-03-02 03:00:00 {user} POST /Microsoft-Server-ActiveSync/default.eas {query}"
            f" {status}\n"
        )

    for status, expected in ((200, "confirmed"), (401, "asked_to_sign_in")):
        log.write_text(lines(status))
        target = read_target([str(log)], START + 2 * DAY)
        assert verdicts(with_target(made, target))[ANNA][0] == expected


def test_an_iis_log_of_the_target_with_a_base64_query(tmp_path: Path) -> None:
    """Its device id may be sixteen bytes, which are read as hexadecimal digits (MS-ASHTTP
    2.2.1.1.1.1.2); whoever wrote them in another case names the same device."""
    device = bytes(range(0xA0, 0xB0))
    made = made_of(tmp_path, call(3600, **MOVED, device_id=device.hex().upper()))
    parts = (bytes([141, 0, 9, 4, 16]), device, b"\0", bytes([6]), b"iPhone")
    query = base64.b64encode(b"".join(parts)).decode()
    log = tmp_path / "u_ex260302.log"
    log.write_text(
        "#Fields: date time cs-method cs-uri-stem cs-uri-query cs-username sc-status\n"
        "2026-03-02 03:00:00 POST /Microsoft-Server-ActiveSync/default.eas"
        f" {query}&CorrelationID=<empty>;&cafeReqId=1234; CONTOSO\\anna 200\n"
    )
    target = read_target([str(log)], START + 2 * DAY)
    found = verdicts(with_target(made, target))
    assert set(found.values()) == {("confirmed", "user")}


def test_a_machine_has_no_verdict(report: Report) -> None:
    machines: list[Device] = [device for device in report.devices if device.machine]
    assert [device.arrival for device in machines] == [None]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (replace(WORKS, state="unknown"), ("unknown", "id")),
        (replace(WORKS, state="zugelassen"), ("unknown", "id")),
        (replace(WORKS, state=None), ("confirmed", "id")),
        # Within the clocks' difference the last sync may be one that came along with the mailbox.
        (replace(WORKS, success_s=at(1) + 299), ("unknown", "id")),
        (replace(WORKS, success_s=at(1) + 301), ("confirmed", "id")),
        (
            replace(WORKS, state="quarantined", reason="Upgrade", success_s=None, first_s=at(47.9)),
            ("unknown", "id"),
        ),
        (
            replace(WORKS, state="quarantined", reason="Upgrade", success_s=None, first_s=at(9)),
            ("quarantined_or_blocked", "id"),
        ),
    ],
)
def test_what_is_not_surely_allowed_or_later_confirms_nothing(
    tmp_path: Path, row: TargetRow, expected: tuple[str, str | None]
) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    assert verdicts(with_target(made, rows_of(row)))[ANNA] == expected


def test_a_held_device_that_still_calls_is_still_here(tmp_path: Path) -> None:
    back = [call(10 * HOUR + 600 * n, **MOVED) for n in range(4)]
    stuck = made_of(tmp_path, call(0), call(HOUR, **MOVED), *back, days=0.46)
    held = replace(WORKS, state="blocked", success_s=None)
    for row, expected in (
        (replace(held, attempt_s=at(5)), "still_here"),
        (replace(held, attempt_s=at(10.9)), "quarantined_or_blocked"),
        (replace(held, first_s=None), "quarantined_or_blocked"),
    ):
        report = with_target(stuck, rows_of(row))
        assert verdicts(report)[ANNA][0] == expected
        said = [d.arrival.why for d in report.devices if d.arrival and d.device_id == "A"]
        assert "blocked" in said[0]


@pytest.mark.parametrize(
    ("days", "row", "expected"),
    [
        (2, replace(WORKS, success_s=None, tells_success=False), "still_here"),
        (2, replace(WORKS, success_s=at(-50)), "still_here"),
        (2, WORKS, "elsewhere_already"),
        (2, replace(WORKS, state="blocked", success_s=None), "still_here"),
        (2, replace(WORKS, state="blocked", success_s=at(5)), "quarantined_or_blocked"),
        (9, replace(WORKS, success_s=None, tells_success=False), "unknown"),
        (9, replace(WORKS, state="quarantined", success_s=None), "still_here"),
        (9, replace(WORKS, state="quarantined", attempt_s=at(8)), "quarantined_or_blocked"),
    ],
)
def test_one_that_was_never_told(
    tmp_path: Path, days: float, row: TargetRow, expected: str
) -> None:
    made = made_of(tmp_path, call(0), days=days)
    assert verdicts(with_target(made, rows_of(row, newest_s=at(24 * days))))[ANNA][0] == expected


def test_silence_counts_when_both_sides_reach_far_enough(tmp_path: Path) -> None:
    """By the device's own interval: it called every twelve hours."""
    calls = [call(12 * HOUR * n) for n in range(4)]
    old = replace(WORKS, success_s=at(-2))
    made = made_of(tmp_path, *calls, call(48 * HOUR, **MOVED), days=9)
    for newest, expected in ((60, "unknown"), (83, "unknown"), (85, "asked_to_sign_in")):
        found = verdicts(with_target(made, rows_of(old, newest_s=at(newest))))
        assert found[ANNA][0] == expected
    late = made_of(tmp_path, *calls, call(48 * HOUR, **MOVED), days=2.5)
    report = with_target(late, rows_of(old, newest_s=at(200)))
    assert verdicts(report)[ANNA][0] == "unknown"
    assert any("Too early" in d.arrival.why for d in report.devices if d.arrival)


def test_each_file_reaches_as_far_as_itself(tmp_path: Path) -> None:
    """An export in parts: the one that has the device was made before the redirect."""
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    early, late = TargetFile("a.csv", at(0.5)), TargetFile("z.csv", at(40))
    anna = replace(WORKS, success_s=at(-2), file=early)
    zoe = TargetRow(device_id="Z", users=("CONTOSO\\zoe",), success_s=at(40), file=late)
    report = with_target(made, TargetRows(rows=[anna, zoe], files=[early, late]))
    assert verdicts(report)[ANNA][0] == "unknown"
    assert report.target is not None
    assert report.target.strange_files == ()


def test_a_wrong_file_among_right_ones_is_named(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    right, wrong = TargetFile("right.csv", at(40)), TargetFile("wrong.csv", at(40))
    rows = [
        replace(WORKS, file=right),
        TargetRow(device_id="Q", users=("quin@tailspin.example",), success_s=at(9), file=wrong),
    ]
    target = with_target(made, TargetRows(rows=rows, files=[right, wrong])).target
    assert target is not None
    assert target.strange_files == ("wrong.csv",)
    assert next(note for note in target.notes if "wrong file" in note).startswith("wrong.csv")


def test_a_wave_of_which_the_files_know_nobody_is_named(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, **MOVED, wave="users:1"),
        call(0, **MOVED, wave="users:2", user_name="berta", device_id="B"),
    )
    target = with_target(made, rows_of(WORKS)).target
    assert target is not None
    notes = [note for note in target.notes if "wave" in note]
    assert len(notes) == 1
    assert "1 user of the wave users:2" in notes[0]


def test_a_namesake_is_no_reason_to_see_an_account_added_again(tmp_path: Path) -> None:
    """Two people may have one name; one place in the directory is one user's."""
    made = made_of(tmp_path, call(0, **MOVED))
    account = Account(logons=frozenset(), shown=frozenset({"anna example"}), account_id="0")
    accounts = {"CONTOSO\\anna": account}
    new = replace(
        WORKS, device_id="N1", device_type="iPhone", first_s=at(3), shown_names=("Anna Example",)
    )
    assert verdicts(with_target(made, rows_of(new), accounts))[ANNA][0] == "unknown"
    place = "contoso.example/staff/anna example"
    old = replace(WORKS, success_s=at(-2), owner=place, shown_names=("Anna Example",))
    there = with_target(made, rows_of(old, replace(new, owner=place)), accounts)
    assert verdicts(there)[ANNA] == ("re_added", "user")
    elsewhere = with_target(made, rows_of(old, replace(new, owner=f"{place}2")), accounts)
    assert verdicts(elsewhere)[ANNA] == ("asked_to_sign_in", "display_name")


def test_hashed_journals_join_by_the_account_where_ids_do_not_tell(tmp_path: Path) -> None:
    """Names hash as they were logged on with, so that only the account is the same text."""
    redaction = Redaction(users="hash", key=b"k" * 32)
    told = {**MOVED, "user_id": "aaaaaaaaaaaaaaaa"}
    other = {**MOVED, "user_name": "berta", "user_id": "bbbbbbbbbbbbbbbb"}
    records = [call(0, **told), call(60, **other), call(90, **told, device_id="LOST")]
    made = made_of(tmp_path, *map(redaction.apply, records))
    accounts = {
        f"{name}@contoso.example": Account(
            logons=frozenset(), shown=frozenset(), account_id=name[0] * 16
        )
        for name in ("anna", "berta")
    }
    anna = replace(WORKS, users=("anna@contoso.example",))
    berta = replace(WORKS, users=("berta@contoso.example",), state="blocked")
    new = replace(anna, device_id="NEW", device_type="iPhone", first_s=at(3))
    target = rows_of(anna, berta, new)
    names = names_in_doubt(made.devices, target, redaction)
    assert names == ("anna@contoso.example", "berta@contoso.example")
    without = verdicts(with_target(made, target, None, redaction))
    assert set(without.values()) == {("unknown", None)}
    found = with_target(made, target, accounts, redaction)
    assert {
        (d.account_id, d.device_id): (d.arrival.handover.value, d.arrival.joined_by)
        for d in found.devices
        if d.arrival and d.account_id
    } == {
        (redaction.name("a" * 16), redaction.name("a")): ("confirmed", "directory"),
        (redaction.name("b" * 16), redaction.name("a")): ("quarantined_or_blocked", "directory"),
        (redaction.name("a" * 16), redaction.name("lost")): ("re_added", "user"),
    }


def test_the_last_point_and_the_totals_follow_the_target(report: Report) -> None:
    assert report.states_over_time[-1].states == report.totals.states
    assert report.totals.states["confirmed"] == report.totals.devices_confirmed > 0
    assert sum(report.states_over_time[-1].users.values()) == report.totals.users
    why = {row.why: row.devices for row in report.arrivals.still_calling}
    assert why["confirmed"] > 0
    assert sum(why.values()) == report.arrivals.devices
    judged = [d for d in report.devices if d.readiness and d.state is not LedgerState.CONFIRMED]
    assert sum(report.readiness.values()) == len(judged)
