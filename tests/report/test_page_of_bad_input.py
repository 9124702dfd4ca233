"""Whatever stands in the files: a clear word each, never a broken page, never a traceback."""

import csv
import gzip
import io
import json
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eas_redirect.report.exports import report_csv, report_json
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import report_page
from eas_redirect.report.report_values import Report
from eas_redirect.telemetry.record import journal_line as line
from tests.report.simulator import START
from tests.report.test_figures import call

NOW = START + 86400
GOOD = line(call(0))


def read(tmp_path: Path, content: bytes, name: str = "eas.jsonl") -> Report:
    (tmp_path / name).write_bytes(content)
    return make_report(find_sources([str(tmp_path / name)]), NOW)


class Balanced(HTMLParser):
    """A page whose elements close in their order, with none but those of this page."""

    VOID = frozenset({"meta", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.feed(page)
        self.close()
        assert self.open == []
        assert self.scripts == 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("img", "iframe", "object", "a", "b", "link")
        assert not any(name.startswith("on") for name, _ in attrs)
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_an_empty_journal_says_so(tmp_path: Path) -> None:
    made = read(tmp_path, b"")
    assert made.totals.exchanges == 0
    assert made.notes == (
        "No exchange of a device in any of the files: there is nothing to report yet.",
    )
    Balanced(report_page(made))
    assert json.loads(json.dumps(report_json(made)))["devices"] == []


def test_a_line_of_twenty_megabytes_is_foreign(tmp_path: Path) -> None:
    made = read(tmp_path, GOOD + b"x" * 20_000_000 + b"\n" + line(call(60)))
    assert made.totals.exchanges == 2
    assert made.input.foreign == 1


def test_a_time_without_a_zone_is_utc_on_a_machine_of_any_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        made = read(tmp_path, GOOD.replace(b"00:00:00.000Z", b"00:40:00"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert made.since_s == START + 2400


def test_a_log_in_the_servers_code_page_loses_nobody(tmp_path: Path) -> None:
    log = (
        "#Fields: date time cs-uri-stem cs-uri-query cs-username\n"
        "2026-03-02 00:00:00 /Microsoft-Server-ActiveSync Cmd=Sync&DeviceId=A CONTOSO\\jürgen\n"
    )
    for encoding in ("cp1252", "utf-8"):
        made = read(tmp_path, log.encode(encoding), "u_ex.log")
        assert [device.user for device in made.devices] == ["CONTOSO\\jürgen"]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</table></style></title><b>",
    "a\u202egnp.exe",
    '=HYPERLINK("http://evil.test")',
    "x\x00y\x1b[31m",
    "\ud800",
    "{{7*7}} %s %n",
    "W" * 600,
)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_names_are_text(tmp_path: Path, text: str) -> None:
    hostile = call(
        0,
        user_name=text,
        user_domain=text,
        device_id=text,
        device_type=text,
        user_agent=text,
        client_family=text,
        reason=text,
        wave=text,
        directory_target_domain=text,
        redirect_location=f"https://{text}/",
        decision="redirect",
    )
    others = [
        replace(hostile, timestamp_s=START + 1200.0 * n, reason="no_relationship")
        for n in range(1, 6)
    ]
    made = read(tmp_path, b"".join(map(line, (hostile, *others))))
    assert len(made.devices) == 1
    page = report_page(made)
    Balanced(page)
    page.encode("utf-8")
    for char in ("\u202e", "\x00", "\x1b"):
        assert char not in page
    rows = list(csv.DictReader(io.StringIO("".join(report_csv(made.devices)))))
    assert len(rows) == 1
    assert not any(value.startswith(("=", "+", "-", "@")) for value in rows[0].values())
    json.dumps(report_json(made), ensure_ascii=False).encode("utf-8")


def test_endless_distinct_reasons_are_counted_not_listed(tmp_path: Path) -> None:
    content = b"".join(
        line(
            call(
                n % 3600,
                reason=f"reason{n}",
                device_type=f"type{n}",
                wave=f"wave{n}",
                device_id=f"{n}",
            )
        )
        for n in range(3000)
    )
    made = read(tmp_path, content)
    assert len(made.reasons) == 40
    assert made.more_reasons == 2960
    assert len(made.by_wave) == len(made.by_device_type) == 41
    assert sum(group.devices for group in made.by_wave) == 3000
    assert any("3000 distinct reasons" in note for note in made.notes)
    page = report_page(made)
    Balanced(page)
    assert "2\u202f960 more distinct reasons" in page
    assert "The first 1\u202f000 of 3\u202f000" in page


def test_a_gzip_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    import random

    noise = random.Random(1)  # noqa: S311 - so that it does not pack to nothing
    lines = b"".join(line(call(n, device_id=f"{noise.getrandbits(64):x}")) for n in range(3000))
    packed = gzip.compress(lines)
    made = read(tmp_path, packed[: len(packed) // 2], "eas.jsonl.gz")
    assert 500 < made.totals.exchanges < 3000
    assert any("breaks off" in note for note in made.notes)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_reasons_and_domains_are_text(tmp_path: Path, text: str) -> None:
    made = read(tmp_path, line(call(0, reason=text)) + line(call(1, reason=text, device_id="B")))
    assert sum(row.devices for row in made.arrivals.still_calling) in (0, 2)
    Balanced(report_page(made))
    blocked = {"reason": "no_relationship", "directory_target_domain": text}
    Balanced(report_page(read(tmp_path, line(call(0, **blocked)) + GOOD)))
