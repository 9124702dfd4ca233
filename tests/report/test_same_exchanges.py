"""Logs of the same exchanges: each counts once, whatever the clocks say; others are left alone."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.report_values import Report
from eas_redirect.report.same_exchanges import logs_of
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.w3c import directives, iis_line
from tests.report.simulator import CLOUD, START, write_journal
from tests.report.test_figures import call

MOVED = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
HOURS = 6


def traffic(phones: int = 6, seed: int = 4711, *, scheduled: bool = False) -> list[Record]:
    """Phones that ping until mail arrives and then sync, some folders at once; the last two are
    told to go, one of which does not and comes back."""
    chance = random.Random(seed)  # noqa: S311 - the same each time
    found: list[Record] = []
    for number in range(phones):
        at, moved = chance.uniform(0, 600), number >= phones - 2
        while at < HOURS * 3600:
            waited = 0 if scheduled else chance.choice([840.0, chance.uniform(20, 840)])
            at += 900 if scheduled else waited + chance.uniform(0.2, 20)
            told = moved and at > HOURS * 1800
            found.extend(
                call(
                    at + burst / 10,
                    user_name=f"user{number}",
                    device_id=f"Appl{seed}X{number}",
                    command="Sync" if burst or scheduled else "Ping",
                    duration_ns=int((0.1 if burst else waited) * 1e9),
                    method="POST",
                    status_code=451 if told else 200,
                    **(MOVED if told else {}),
                )
                for burst in range(1 if told else chance.choice([1, 1, 3]))
            )
            if told and number == phones - 1:
                break
    return sorted(found, key=lambda record: record.timestamp_s)


def iis_log(path: Path, records: Iterable[Record], ahead_s: float = 0.0, passed: str = "") -> Path:
    """What Exchange's own log says of them; `passed`: a token of a server that passed them on."""
    lines = [directives(datetime.fromtimestamp(START, UTC)).replace(b"eas-redirect", b"IIS")]
    for record in records:
        moved = record.decision == "redirect"
        own = replace(
            record,
            timestamp_s=record.timestamp_s + ahead_s,
            decision="pass",
            reason=None,
            redirect_location=None,
            status_code=403 if moved else 200,
            evidence="certain" if moved else None,
            client_address="10.0.0.9",
            device_id=(record.device_id or "").upper(),
        )
        line = iis_line(own)
        assert line is not None
        lines.append(line.replace("&Log=", f"&Log={passed}").encode() + b"\n")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def report_of(*paths: Path) -> Report:
    return make_report(find_sources(map(str, paths)), START + HOURS * 3600 + 60)


def counted(made: Report) -> dict[str, tuple[str, int, int]]:
    """Of each device: state, calls and comebacks."""
    return {
        (device.device_id or "").lower(): (device.state.value, device.calls, device.returns)
        for device in made.devices
    }


def clocks(made: Report) -> list[str]:
    words = ("clock of", "seem to tell", "two distances")
    return [note for note in made.notes if any(word in note for word in words)]


@pytest.mark.parametrize("ahead_s", [0.0, 1.0, 90.0, 600.0, -600.0, 3000.0])
def test_a_proxy_and_the_server_behind_it(ahead_s: float, tmp_path: Path) -> None:
    """A clock that is ahead would make a comeback of each redirect, and a stuck phone of it."""
    records = traffic()
    alone = report_of(write_journal(tmp_path / "eas.jsonl", records))
    assert ("quiet", 1) in {(state, back) for state, _, back in counted(alone).values()} or any(
        state == "stuck" for state, *_ in counted(alone).values()
    )
    both = report_of(tmp_path / "eas.jsonl", iis_log(tmp_path / "u_ex260302.log", records, ahead_s))
    assert both.totals == alone.totals
    assert counted(both) == counted(alone)
    assert any("lines of servers behind a proxy left out" in note for note in both.notes)
    if abs(ahead_s) < 2:
        assert clocks(both) == []
    else:
        [note] = clocks(both)
        assert f"clock of {tmp_path}/u_ex260302.log" in note
        assert f" {'ahead of' if ahead_s > 0 else 'behind'} that of {tmp_path}/eas.jsonl" in note
        assert {90.0: "about 90 s", 600.0: "10 min", 3000.0: "50 min"}[abs(ahead_s)] in note


def test_what_the_proxy_did_not_carry_stays_and_its_times_are_set_right(tmp_path: Path) -> None:
    records, direct = traffic(), traffic(2, seed=5)
    write_journal(tmp_path / "eas.jsonl", records)
    iis_log(tmp_path / "u_ex.log", sorted([*records, *direct], key=lambda r: r.timestamp_s), 600)
    made = report_of(tmp_path)
    assert made.totals.exchanges == len(records) + len(direct)
    seen = {(d.device_id or "").lower(): d.first_seen_s for d in made.devices}
    for record in direct[:1]:
        assert abs(seen[(record.device_id or "").lower()] - record.timestamp_s) < 2


def test_two_proxies_before_two_servers_whose_clocks_all_differ(tmp_path: Path) -> None:
    """The proxies have no exchange in common; the servers' logs join them."""
    chance = random.Random(8)  # noqa: S311 - the same each time
    records = traffic(12)
    proxies: tuple[list[Record], list[Record]] = ([], [])
    servers: tuple[list[Record], list[Record]] = ([], [])
    for record in records:
        chance.choice(proxies).append(record)
        chance.choice(servers).append(record)
    late = [replace(record, timestamp_s=record.timestamp_s - 180) for record in proxies[1]]
    write_journal(tmp_path / "a.jsonl", proxies[0])
    write_journal(tmp_path / "b.jsonl", late)
    iis_log(tmp_path / "cas1" / "u_ex260302.log", servers[0], 420)
    iis_log(tmp_path / "cas2" / "u_ex260302.log", servers[1])
    made = report_of(tmp_path, tmp_path / "cas1", tmp_path / "cas2")
    assert made.totals.exchanges == len(records)
    told = clocks(made)
    assert len(told) == 2
    assert "b.jsonl is 3 min behind" in told[0]
    assert "cas1/u_ex260302.log is 7 min ahead" in told[1]
    assert all(f"that of {tmp_path}/a.jsonl" in note for note in told)
    (tmp_path / "all").mkdir()
    right = counted(report_of(write_journal(tmp_path / "all" / "all.jsonl", records)))
    assert counted(made) == right


@pytest.mark.parametrize("ahead_s", [0, 420])
def test_a_server_that_passes_requests_on_to_another(ahead_s: int, tmp_path: Path) -> None:
    records = traffic()
    outer = iis_log(tmp_path / "cas1" / "u_ex260302.log", records)
    inner = iis_log(tmp_path / "cas2" / "u_ex260302.log", records, ahead_s, "PrxFrom:10.0.0.1_")
    made = report_of(outer, inner)
    assert made.totals.exchanges == len(records)
    assert len(clocks(made)) == bool(ahead_s)


def test_servers_beside_each_other_have_nothing_in_common(tmp_path: Path) -> None:
    """Even though a phone's burst of requests may meet both in the same second."""
    records = traffic(12)
    sides: list[list[Record]] = [[], [], [], []]
    for number, record in enumerate(records):
        sides[number % 4].append(record)
    write_journal(tmp_path / "a.jsonl", sides[0])
    write_journal(tmp_path / "b.jsonl", sides[1])
    iis_log(tmp_path / "cas1" / "u_ex260302.log", sides[2])
    iis_log(tmp_path / "cas2" / "u_ex260302.log", sides[3])
    made = report_of(tmp_path, tmp_path / "cas1", tmp_path / "cas2")
    assert made.totals.exchanges == len(records)
    assert clocks(made) == []


def test_phones_that_ask_every_quarter_of_an_hour_prove_nothing(tmp_path: Path) -> None:
    """Ten minutes ahead or five behind: both fit. That is told, and nothing is joined."""
    records = traffic(scheduled=True)
    write_journal(tmp_path / "eas.jsonl", records)
    iis_log(tmp_path / "u_ex260302.log", records, 600)
    made = report_of(tmp_path)
    assert any("seem to tell of the same exchanges" in note for note in clocks(made))
    assert made.totals.exchanges > len(records)
    iis_log(tmp_path / "u_ex260302.log", records)
    agreeing = report_of(tmp_path)
    assert clocks(agreeing) == []
    assert agreeing.totals.exchanges == len(records)


@pytest.mark.parametrize("share", [0.45, 0.55])
def test_a_clock_that_was_set_in_between_is_told(share: float, tmp_path: Path) -> None:
    records = traffic()
    write_journal(tmp_path / "eas.jsonl", records)
    at = int(len(records) * share)
    later = [replace(record, timestamp_s=record.timestamp_s + 600) for record in records[at:]]
    iis_log(tmp_path / "u_ex260302.log", [*records[:at], *later])
    [note] = clocks(report_of(tmp_path))
    assert "at two distances in time, 10 min from each other" in note


def test_a_front_end_its_back_end_and_a_proxy(tmp_path: Path) -> None:
    """Three lines of each exchange, and three clocks."""
    records = traffic()
    write_journal(tmp_path / "eas.jsonl", records)
    front = iis_log(tmp_path / "W3SVC1" / "u_ex260302.log", records, 600)
    front.write_text(front.read_text().replace("&Log=", "&cafeReqId=1;&x="))
    back = iis_log(tmp_path / "W3SVC2" / "u_ex260302.log", records, 840)
    inner = "/Microsoft-Server-ActiveSync/Proxy/default.eas "
    back.write_text(back.read_text().replace("/Microsoft-Server-ActiveSync ", inner))
    made = report_of(tmp_path, front, back)
    assert counted(made) == counted(report_of(tmp_path / "eas.jsonl"))
    assert [("10 min" in note, "14 min" in note) for note in clocks(made)] == [
        (True, False),
        (False, True),
    ]


def test_decisions_alone_are_joined_too(tmp_path: Path) -> None:
    """`journal.exchanges = "decisions"`: everyday traffic stands in Exchange's log only."""
    records = traffic()
    told = [record for record in records if record.decision == "redirect"]
    write_journal(tmp_path / "eas.jsonl", told)
    iis_log(tmp_path / "u_ex260302.log", records, 600)
    made = report_of(tmp_path)
    assert (made.totals.exchanges, made.totals.redirects) == (len(records), len(told))


def test_a_phone_that_never_rests_hides_nothing(tmp_path: Path) -> None:
    """Hundreds of its requests in an hour fit many distances; they are not compared."""
    busy = [
        call(at, user_name="busy", device_id="busy", command="Sync", method="POST", status_code=200)
        for at in range(0, HOURS * 3600, 7)
    ]
    records = sorted([*traffic(), *busy], key=lambda record: record.timestamp_s)
    write_journal(tmp_path / "eas.jsonl", records)
    iis_log(tmp_path / "u_ex260302.log", records, 600)
    made = report_of(tmp_path)
    assert made.totals.exchanges == len(records)
    assert "10 min ahead" in clocks(made)[0]


def test_two_proxies_in_a_row_are_told(tmp_path: Path) -> None:
    records = traffic()
    write_journal(tmp_path / "a.jsonl", records)
    write_journal(
        tmp_path / "b.jsonl",
        [replace(r, timestamp_s=r.timestamp_s + 120, client_address="10.0.0.1") for r in records],
    )
    [note] = clocks(report_of(tmp_path))
    assert "seem to tell of the same exchanges, 2 min apart" in note


@pytest.mark.parametrize(
    "cut",
    [lambda lines: lines, lambda lines: lines[: len(lines) // 2], lambda lines: lines[-5:]],
    ids=["whole", "half", "turn"],
)
def test_files_that_overlap_count_once(
    cut: Callable[[list[Record]], list[Record]], tmp_path: Path
) -> None:
    """As after a rotation by copy, or where a copy of a file lies beside it."""
    records = traffic()
    write_journal(tmp_path / "eas.jsonl", records)
    write_journal(tmp_path / "copy.jsonl.1", cut(records))
    made = report_of(tmp_path)
    assert made.totals.exchanges == len(records)
    assert any(
        f"{len(cut(records))} lines that another of the files has too" in note
        for note in made.notes
    )
    assert clocks(made) == []


def test_iis_logs_that_overlap_count_once_and_requests_alike_in_one_file_each(
    tmp_path: Path,
) -> None:
    records = [record for record in traffic() for _ in range(2)]
    iis_log(tmp_path / "u_ex260302.log", records)
    iis_log(tmp_path / "excerpt.log", [r for r in records if r.user_name == "user1"])
    made = report_of(tmp_path)
    assert made.totals.exchanges == len(records)


def test_hashed_names_match_no_log_in_clear(tmp_path: Path) -> None:
    records = traffic()
    redaction = Redaction(users="hash", key=b"k" * 32)
    write_journal(tmp_path / "eas.jsonl", map(redaction.apply, records))
    iis_log(tmp_path / "u_ex260302.log", records)
    made = report_of(tmp_path)
    assert any("hashed" in note and "twice" in note for note in made.notes)


def test_files_of_one_writer(tmp_path: Path) -> None:
    names = (
        *("eas.jsonl", "eas.jsonl.1", "eas.jsonl.2.gz", "eas-2026-03-02.jsonl", "eas2.jsonl"),
        *("u_ex260301.log", "u_ex260302.log", "cas1_u_ex260301.log", "cas2_u_ex260301.log"),
    )
    for name in names:
        (tmp_path / name).write_text('{"@timestamp":' if "eas" in name else "#Fields: date\n")
    sources = find_sources([str(tmp_path)])
    groups: dict[int, list[str]] = {}
    for source, log in zip(sources, logs_of(sources), strict=True):
        groups.setdefault(log, []).append(source.path.name)
    assert sorted(groups.values()) == [
        ["cas1_u_ex260301.log"],
        ["cas2_u_ex260301.log"],
        ["eas-2026-03-02.jsonl", "eas.jsonl", "eas.jsonl.1", "eas.jsonl.2.gz"],
        ["eas2.jsonl"],
        ["u_ex260301.log", "u_ex260302.log"],
    ]
