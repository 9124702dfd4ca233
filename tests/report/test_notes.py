"""What is odd about the journals is a sentence each, with a count."""

import gzip
from dataclasses import replace
from pathlib import Path

from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.record import journal_line as line
from tests.report.simulator import START
from tests.report.test_figures import call, made_of
from tests.report.test_page_of_bad_input import GOOD, NOW, read


def test_torn_and_foreign_lines_are_counted(tmp_path: Path) -> None:
    content = b"".join(
        (
            GOOD,
            b"\n",
            b"Mar  2 00:00:00 host kernel: something else\n",
            b'{"level":"info","msg":"another program"}\n',
            b'["a list"]\n',
            b"null\n",
            b'{"event":"not an object","eas":3}\n',
            GOOD.replace(b"iPhone14C5", b"\xff\xfe\xff"),
            b"\x00\x00\x00\n",  # a hole that a crash left: as good as blank
            line(call(60)),
            GOOD[:200],
        )
    )
    made = read(tmp_path, content)
    assert made.totals.exchanges == 2
    assert (made.input.torn, made.input.foreign) == (1, 6)
    assert any("1 line torn" in note for note in made.notes)
    assert any("6 lines foreign" in note for note in made.notes)


def test_older_and_newer_journals_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    older = GOOD.replace(b'"ecs":{"version":"8.11"},', b"")
    newer = GOOD.replace(b'"8.11"', b'"9.9"').replace(b'"eas":{', b'"eas":{"novel":{"x":[1]},')
    made = read(tmp_path, older + newer)
    assert made.totals.exchanges == 2
    assert any("1 line without a version" in note for note in made.notes)
    assert any("another version of the journal (9.9)" in note for note in made.notes)


def test_a_copy_of_a_journal_counts_once_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + line(call(60)))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(GOOD))
    (tmp_path / "c.jsonl").write_bytes(line(call(60)))
    (tmp_path / "d.jsonl").touch()
    (tmp_path / "e.jsonl").touch()
    made = make_report(find_sources([str(tmp_path)]), NOW)
    assert made.notes == ("2 lines that another of the files has too: counted once.",)
    assert made.totals.exchanges == 2


def test_times_of_all_sorts(tmp_path: Path) -> None:
    def at(text: str) -> bytes:
        return GOOD.replace(b"2026-03-02T00:00:00.000Z", text.encode())

    content = b"".join(
        map(
            at,
            (
                "2026-03-02T02:30:00.000+02:00",  # another zone
                "2026-03-02T00:40:00",  # no zone
                "2026-03-02T00:10:00Z",  # not in order
                "2031-01-01T00:00:00Z",  # a clock in the future
                "1970-01-01T00:00:10Z",  # a clock that was never set
                "yesterday",
            ),
        )
    )
    made = read(tmp_path, content)
    assert made.totals.exchanges == 3
    assert (made.input.future, made.input.untimed) == (1, 2)
    assert made.since_s == START + 600
    assert made.until_s == START + 2400
    words = " ".join(made.notes)
    for word in ("another zone", "names no zone", "in the future", "that can be read"):
        assert word in words


def test_lines_that_could_not_be_written_are_told(tmp_path: Path) -> None:
    lost = Record(timestamp_s=START + 5, action="eas.lost", message="", lost=40)
    made = made_of(tmp_path, call(0), lost, replace(lost, timestamp_s=START + 9, lost=2))
    assert any(note.startswith("42 lines could not be written") for note in made.notes)
    assert made.totals.exchanges == 1
