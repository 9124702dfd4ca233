"""The service writes both journals, and a report reads the same story from either."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.store import StoreError
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import journal_line as line
from tests.captures.captures import story, write_flows, write_har
from tests.report.simulator import START
from tests.report.test_figures import call
from tests.support import DATA

CLOUD = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
MOVED = {
    "action": "eas.redirect",
    "decision": "redirect",
    "reason": "mailbox_moved",
    "status_code": 451,
    "redirect_location": CLOUD,
    "method": "POST",
    "url_path": "/Microsoft-Server-ActiveSync",
}


def test_json_and_w3c_tell_the_same(tmp_path: Path) -> None:
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
        '[journal]\npath = "eas.jsonl"\niis_path = "eas.log"\nusers = "hash"\n'
        'hash_key_file = "key"\n'
    )
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
    service = Service(load_config(config))
    try:
        for minutes in (0, 5, 10, 15):
            redirected = call(60 * minutes, **MOVED)
            assert service.exchange(redirected) is not None
        service.exchange(replace(redirected, timestamp_s=START + 7200, user_name="berta"))
    finally:
        service.close()
    reports = [
        make_report(find_sources([str(tmp_path / name)]), START + 86400)
        for name in ("eas.jsonl", "eas.log")
    ]
    facts = [
        [(d.user, d.device_id, d.state, d.redirects, d.returns) for d in report.devices]
        for report in reports
    ]
    assert facts[0] == facts[1]
    assert {(state.value, returns) for *_, state, _, returns in facts[0]} == {
        ("quiet", 3),
        ("redirected", 0),
    }
    assert "anna" not in (tmp_path / "eas.log").read_text() + (tmp_path / "eas.jsonl").read_text()


@pytest.mark.parametrize(
    "said",
    [
        "[NOTICE]   (7) : New worker (8) forked\n[NOTICE]   (7) : Loading success.\n",
        "[12:00:00.123] eas-redirect: enforce for everyone\n",
        "2026-11-28T12:00:00Z stdout F starting\n",
        "10.0.0.1 GET /Microsoft-Server-ActiveSync before the first line\n",
    ],
)
def test_a_journal_is_read_from_a_containers_log_too(tmp_path: Path, said: str) -> None:
    """There it stands between what the programs say."""
    lines = [line(call(60 * n, **MOVED)).decode() for n in range(3)]
    (tmp_path / "log").write_text(said + lines[0] + said + "".join(lines[1:]), "utf-8")
    made = make_report(find_sources([str(tmp_path / "log")]), START + 86400)
    assert made.totals.exchanges == 3


def test_a_capture_is_named_and_not_read_as_lines(tmp_path: Path) -> None:
    write_flows(tmp_path / "a.flows", story())
    write_har(tmp_path / "b.har", story())
    made = make_report(find_sources([str(tmp_path)]), START + 86400)
    assert (made.input.lines, made.input.foreign) == (0, 0)
    for name in ("a.flows", "b.har"):
        assert any(
            f"{name} is a capture and no journal: eas-redirect explain" in note
            for note in made.notes
        )


def test_a_file_without_a_line_of_ours_is_named(tmp_path: Path) -> None:
    lines = [line(call(60 * n, **MOVED)).decode() for n in range(3)]
    (tmp_path / "good.jsonl").write_text("".join(lines) + "not ours\n", "utf-8")
    records = [*map(json.loads, lines)]
    other = tmp_path / "other"
    for content, says in (
        (json.dumps(records), "is a JSON array and no journal"),
        (json.dumps(records, indent=1), "as with jq -c '.[]'"),
        (json.dumps(records[0], indent=1), "is JSON and no journal"),
        ("version: 1\n\ndn: DC=x\nobjectClass: top\n", "is an export of the directory (LDIF)"),
        ("one\ntwo\n", "is no journal: not one line is from eas-redirect."),
    ):
        for encoding in ("utf-8", "utf-16"):
            other.write_text(content, encoding)
            made = make_report(find_sources([str(tmp_path)]), START + 86400)
            assert [n for n in made.notes if n.startswith(f"{other} ") and says in n], made.notes
            assert made.totals.exchanges == 3
            assert made.input.foreign + made.input.torn > 1, "they are counted as well"
            assert made.input.unread_files == 1


def test_a_capture_in_utf16_is_named_too(tmp_path: Path) -> None:
    write_har(tmp_path / "b.har", story())
    text = (tmp_path / "b.har").read_text("utf-8")
    (tmp_path / "b.har").write_text(text, "utf-16")
    made = make_report(find_sources([str(tmp_path)]), START + 86400)
    assert any("b.har is a capture and no journal: eas-redirect explain" in n for n in made.notes)


def test_a_line_without_an_end_is_told_in_plain_words(tmp_path: Path) -> None:
    with (tmp_path / "hole.jsonl").open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(StoreError, match=r"hole\.jsonl has a line that is longer than any"):
        make_report(find_sources([str(tmp_path)]), START + 86400)
