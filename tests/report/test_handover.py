"""Who arrived, by the target's own lists: a simulated month with a target of known truth."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.report.exports import to_csv, to_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.handover import Account, unjoinable, with_target
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import render
from eas_redirect.report.report_values import Device, Handover, Report
from eas_redirect.report.target_export import TargetRow, TargetRows
from eas_redirect.report.target_rows import read_target
from eas_redirect.report.words import stamp
from eas_redirect.telemetry.journal import Redaction
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
    return with_target(made, read_target([str(export)], now), 1)


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
    rows = list(csv.DictReader(io.StringIO("".join(to_csv(report.devices)))))
    said = to_json(report)
    devices = said["devices"]
    assert isinstance(devices, list)
    assert [row["verdict"] for row in rows] == [one["verdict"] or "" for one in devices]
    target = report.target
    assert target is not None
    people = [device for device in report.devices if not device.machine]
    assert sum(count.devices for count in target.counts) == len(people)
    page = render(report)
    assert "Who arrived" in page
    assert "Quarantined / blocked" in page
    for device in people:
        if device.arrival and device.arrival.handover is Handover.HELD:
            assert f"<td>{device.device_id}</td>" in page
    assert report.totals.devices_confirmed == sum(
        count.devices for count in target.counts if count.handover is Handover.CONFIRMED
    )


def made_of(tmp_path: Path, *records: Record, days: float = 2) -> Report:
    end = call(days * DAY, user_name="zoe", device_id="Z")
    path = write_journal(tmp_path / "some.jsonl", [*records, end])
    return make_report(find_sources([str(path)]), START + days * DAY + MINUTE)


def rows_of(*rows: TargetRow, newest_s: float = START + 2 * DAY) -> TargetRows:
    return TargetRows(rows=list(rows), newest_s=newest_s, exports=1)


def verdicts(report: Report) -> dict[tuple[str, str | None], tuple[str, str | None]]:
    return {
        (device.user, device.device_id): (device.arrival.handover.value, device.arrival.joined_by)
        for device in report.devices
        if device.arrival and device.device_id != "Z"
    }


def at(hours: float) -> float:
    return START + hours * HOUR


WORKS = TargetRow(device_id="a", state="allowed", first_s=at(-99), success_s=at(30))
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
    assert verdicts(with_target(made, rows_of(row), 1))[ANNA] == expected


def test_nothing_is_known_of_what_is_later_than_the_file(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0), call(3600, **MOVED))
    row = replace(WORKS, success_s=at(-2))
    report = with_target(made, rows_of(row, newest_s=at(0.5)), 1)
    assert verdicts(report)[ANNA] == ("unknown", "id")


def test_a_call_here_after_the_last_sync_there_is_still_here(tmp_path: Path) -> None:
    back = [call(10 * HOUR + 600 * n, **MOVED) for n in range(4)]
    made = made_of(tmp_path, call(0), call(3600, **MOVED), *back)
    assert verdicts(with_target(made, rows_of(replace(WORKS, success_s=at(5))), 1)) == {
        ANNA: ("still_here", "id")
    }


def test_one_id_of_two_users_goes_by_the_user(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, **MOVED, user_email="anna@contoso.example"),
        call(60, **MOVED, user_name="berta", user_email="berta@contoso.example"),
    )
    found = verdicts(with_target(made, rows_of(replace(WORKS, users=("Anna@contoso.example",))), 1))
    assert found == {
        ("anna@contoso.example", "A"): ("confirmed", "user"),
        ("berta@contoso.example", "A"): ("unknown", None),
    }
    nameless = verdicts(with_target(made, rows_of(WORKS), 1))
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
    )
    one = with_target(made, rows_of(new), 1)
    two = with_target(made, rows_of(new, replace(new, device_id="N2")), 1)
    assert verdicts(one)[ANNA][0] == "re_added"
    assert [d.arrival.new_device_id for d in one.devices if d.arrival and d.device_id == "A"] == [
        "N1"
    ]
    assert verdicts(two)[ANNA][0] == "asked_to_sign_in"
    other_type = with_target(made, rows_of(replace(new, device_type="Android")), 1)
    assert verdicts(other_type)[ANNA][0] == "asked_to_sign_in"


def test_the_directory_tells_whose_a_name_is(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0, **MOVED))
    account = Account(
        logons=frozenset({"a.example@contoso.example"}), shown=frozenset({"anna example"})
    )
    accounts = {"CONTOSO\\anna": account}
    by_address = replace(WORKS, users=("A.Example@contoso.example",))
    by_display = replace(WORKS, shown_names=("Anna Example",))
    assert verdicts(with_target(made, rows_of(by_address), 1)) == {ANNA: ("unknown", None)}
    assert verdicts(with_target(made, rows_of(by_address), 1, accounts)) == {
        ANNA: ("confirmed", "directory")
    }
    assert verdicts(with_target(made, rows_of(by_display), 1, accounts)) == {
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
    report = with_target(made, rows_of(row), 1, None, redaction)
    assert set(verdicts(report).values()) == {("confirmed", "user")}
    new = replace(row, device_id="NEWID", device_type="iPhone", first_s=at(3))
    again = with_target(made, rows_of(new), 1, None, redaction)
    ids = {d.arrival.new_device_id for d in again.devices if d.arrival}
    assert redaction.name("NEWID") in ids
    assert "NEWID" not in ids


def test_journals_without_devices_are_refused() -> None:
    assert "drop" in (unjoinable((), Redaction()) or "")


def test_another_tenants_file_is_named(tmp_path: Path) -> None:
    made = made_of(tmp_path, call(0, **MOVED))
    foreign = TargetRow(device_id="Q", users=("quin@tailspin.example",), success_s=at(9))
    target = with_target(made, rows_of(foreign), 1).target
    assert target is not None
    assert (target.matched, target.users_covered) == (0, 0)
    assert any("wrong files" in note for note in target.notes)


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
        assert verdicts(with_target(made, target, 1))[ANNA][0] == expected


def test_a_machine_has_no_verdict(report: Report) -> None:
    machines: list[Device] = [device for device in report.devices if device.machine]
    assert [device.arrival for device in machines] == [None]
