"""The journal: names, absent keys, redaction, rotation, lines that are lost, hostile text."""

import json
import os
import shutil
import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.telemetry.journal import IISLog, Journal, Redaction
from eas_redirect.telemetry.record import FIELD_NAMES, MAX_TEXT, Record, journal_line, to_json
from eas_redirect.telemetry.writing import FileOutlet

AT = 1_767_225_600.25


def record(**more: object) -> Record:
    return Record(timestamp_s=AT, action="eas.exchange", message="m", **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def at(line: dict[str, object], path: str) -> object:
    value: object = line
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def test_absent_facts_are_absent_keys() -> None:
    assert to_json(record()) == {
        "@timestamp": "2026-01-01T00:00:00.250Z",
        "ecs": {"version": "8.11"},
        "event": {"action": "eas.exchange"},
        "message": "m",
        "log": {"level": "info"},
    }


def test_facts_nest_under_their_dotted_keys() -> None:
    line = to_json(record(device_id="D1", upstream_status=123, redirect_count=2))
    assert line["eas"] == {
        "device": {"id": "D1"},
        "upstream": {"status": 123},
        "redirect": {"count": 2},
    }


def test_each_field_has_a_key_of_its_own_and_none_is_a_prefix_of_another() -> None:
    assert len(FIELD_NAMES) == len(set(FIELD_NAMES)) == len(fields(Record)) + 1
    for name in FIELD_NAMES:
        assert not any(other.startswith(name + ".") for other in FIELD_NAMES)


@given(st.text(), st.binary())
def test_any_text_gives_one_line_of_json(text: str, raw: bytes) -> None:
    line = journal_line(record(user_agent=text, user_name=raw.decode("utf-8", "surrogateescape")))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    agent = json.loads(line).get("user_agent", {}).get("original")
    assert agent == text[:MAX_TEXT].encode("utf-8", "replace").decode()


def test_hash_gives_one_pseudonym_whatever_the_case_and_drop_gives_none() -> None:
    hashed = Redaction(users="hash", key=b"k1")
    one, two = (
        hashed.apply(record(user_name=n, user_id="4711", device_id="D1")) for n in ("Anna", "anna")
    )
    assert one.user_name == two.user_name
    assert one.user_name is not None
    assert "anna" not in one.user_name
    assert len(one.user_name) == 16
    assert one.device_id not in (None, "D1")
    assert one.user_id not in (None, "4711")
    assert Redaction(users="hash", key=b"k2").name("anna") != one.user_name
    dropped = Redaction(users="drop").apply(
        record(
            user_name="anna",
            user_domain="CONTOSO",
            user_email="a@b.test",
            user_id="4711",
            device_id="D1",
        )
    )
    assert "user" not in to_json(dropped)
    assert "eas" not in to_json(dropped)


def test_the_key_shows_in_no_representation() -> None:
    assert "sesame" not in repr(Redaction(users="hash", key=b"sesame"))


def test_lines_are_appended_and_a_rotated_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(str(path))
    journal.write(record(reason="one"))
    assert journal.flush()
    path.rename(tmp_path / "j.1")
    journal.write(record(reason="two"))
    journal.close()
    assert [len(lines(p)) for p in (tmp_path / "j.1", path)] == [1, 1]
    assert path.stat().st_mode & 0o007 == 0


def test_reopen_follows_a_rotation_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(str(path))
    path.rename(tmp_path / "j.1")
    journal.reopen()
    assert journal.flush()
    assert path.exists()
    journal.write(record())
    journal.close()
    assert len(lines(path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_said_once_and_its_lines_count_as_lost_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal("/dev/full")
    for _ in range(3):
        journal.write(record(user_name="anna"))
    assert not journal._writer.flush(0.2)
    assert journal.lost == 0, "they wait for room"
    [said] = caplog.messages
    assert "No space left on device" in said
    assert "the journal /dev/full" in said
    journal._writer.close(within_s=0.1)
    assert journal.lost == 3
    assert "3 lines lost" in caplog.text
    assert "anna" not in caplog.text


def test_a_path_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Journal(str(tmp_path / "missing" / "j.jsonl"))


def test_a_standard_output_that_is_closed_is_an_error_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="no standard output"):
        Journal("-")


def test_it_opens_with_what_every_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has no O_CLOEXEC; no child gets the journal all the same."""
    monkeypatch.delattr(os, "O_CLOEXEC")
    outlet = FileOutlet(str(tmp_path / "j.jsonl"))
    assert outlet.write(b"line\n") == 5
    assert not os.get_inheritable(outlet._fd)
    outlet.close()


def test_redirects_are_given_up_last_and_the_journal_says_how_many_lines_are_missing(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    journal = Journal(str(folder / "j.jsonl"), limit=20_000)
    shutil.rmtree(folder)
    for number in range(100):
        journal.write(record(reason=str(number)))
        journal.write(Record(timestamp_s=AT, action="eas.redirect", message="m"))
    lost = journal.lost
    assert 100 < lost < 200
    folder.mkdir()
    journal.close()
    written = lines(folder / "j.jsonl")
    assert journal.lost == lost, "what was queued has been written"
    said = [line["eas"] for line in written if at(line, "event.action") == "eas.lost"]
    assert said == [{"lost": lost}]
    redirects = [line for line in written if at(line, "event.action") == "eas.redirect"]
    assert len(written) == len(redirects) + 1, "no ordinary line took a redirect's room"
    assert len(redirects) + lost == 200


def test_the_w3c_log_says_what_is_missing_in_a_remark(tmp_path: Path) -> None:
    log = IISLog(str(tmp_path / "eas.log"), limit=1)
    log.write(record(method="POST"))
    log.close()
    text = (tmp_path / "eas.log").read_text("utf-8")
    assert text.endswith("\n#Remark: 1 lines could not be written\n")


@given(st.floats(0, 4e9))
def test_the_time_is_that_of_the_record_to_the_millisecond(at: float) -> None:
    said = str(to_json(Record(timestamp_s=at, action="a", message="m"))["@timestamp"])
    expected = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    assert said == expected.replace("+00:00", "Z")
