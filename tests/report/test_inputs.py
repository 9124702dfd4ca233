"""Which files are read: each once, whatever way it is named, and what cannot be read says so."""

import io
import os
from pathlib import Path

import pytest

from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import InputKind, SourceError, find_sources, open_sources
from eas_redirect.report.packing import Packing
from eas_redirect.telemetry.journal import IISLog, Redaction
from eas_redirect.telemetry.record import journal_line as line
from tests.report.test_figures import call
from tests.report.test_packing import COUNT, LINES, NOW, PACKERS, packed_with_zstd
from tests.report.test_page_of_bad_input import GOOD


@pytest.mark.parametrize("packing", PACKERS)
def test_pipes_and_the_standard_input(
    tmp_path: Path, packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = PACKERS[packing](LINES[:20_000])
    reading, writing = os.pipe()
    os.write(
        writing,
        PACKERS[packing](LINES[:20_000].replace(b'"@timestamp":"2026', b'"@timestamp":"2025')),
    )
    os.close(writing)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(packed)))
    with open_sources(["-", f"/dev/fd/{reading}"]) as sources:
        assert [source.name for source in sources] == ["-", f"/dev/fd/{reading}"]
        made = make_report(sources, NOW)
        kept = [source.path for source in sources]
    os.close(reading)
    assert made.totals.exchanges == 2 * LINES[:20_000].count(b"\n")
    assert not [path for path in kept if path.exists()]


def test_a_page_in_the_folder_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "eas.jsonl").write_bytes(LINES)
    (tmp_path / "report.html").write_text("<!doctype html>\n")
    assert make_report(find_sources([str(tmp_path)]), NOW).input.lines == COUNT


def test_the_w3c_log_beside_a_journal_is_not_counted_again(tmp_path: Path) -> None:
    log = IISLog(str(tmp_path / "eas.log"), Redaction())
    log.write(call(0, method="POST"))
    log.close()
    alone = make_report(find_sources([str(tmp_path)]), NOW)
    (tmp_path / "eas.jsonl").write_bytes(line(call(0, method="POST")))
    (tmp_path / "eas.log.1.zst").write_bytes(packed_with_zstd((tmp_path / "eas.log").read_bytes()))
    sources = find_sources([str(tmp_path)])
    both = make_report(sources, NOW)
    assert [source.kind for source in sources] == [
        InputKind.JOURNAL,
        InputKind.TWIN,
        InputKind.TWIN,
    ]
    assert (alone.totals.exchanges, both.totals.exchanges) == (1, 1)
    assert sum("in W3C form: left out" in note for note in both.notes) == 2


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.zip", b"PK\x03\x04rest", "packed with zip"),
        ("a.gz", b"\x1f\x8b", "breaks off at once"),
        ("a.xz", b"\xfd7zXZ\x00rest", "breaks off at once"),
    ],
)
def test_files_that_cannot_be_read_say_what_to_do(
    tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=word):
        find_sources([str(tmp_path / name)])


def test_a_stream_without_a_folder_to_keep_it_in_is_refused() -> None:
    with pytest.raises(SourceError, match="is a stream"):
        find_sources(["-"])


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no files") as caught:
        find_sources([str(tmp_path / "no.jsonl"), str(tmp_path / "none*.gz"), str(tmp_path)])
    assert len(caught.value.problems) == 3


def test_a_folder_and_odd_names(tmp_path: Path) -> None:
    (tmp_path / "odd[1]*.jsonl").write_bytes(GOOD)
    (tmp_path / "b.jsonl").write_bytes(line(call(60)))
    assert make_report(find_sources([str(tmp_path)]), NOW).totals.exchanges == 2
    odd = find_sources([str(tmp_path / "odd[1]*.jsonl")])
    assert make_report(odd, NOW).totals.exchanges == 1
