"""Files of a target as they come: packed, in folders, of a wrong kind."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eas_redirect.report import target_rows
from eas_redirect.report.target_export import TargetError
from eas_redirect.report.target_rows import read_target
from tests.report.test_same_exchanges import iis_log, traffic

if sys.version_info >= (3, 14):
    import compression.zstd as zstd
else:
    import backports.zstd as zstd

ROWS = '"User","DeviceID","LastSuccessSync"\r\n"anna@contoso.example","A{}","2026-03-26T09:12:11Z"'
NOW = 1_780_000_000.0


def content(number: int) -> bytes:
    return ROWS.format(number).encode("utf-16")


def ids(*names: Path) -> list[str]:
    return sorted(row.device_id for row in read_target([str(name) for name in names], NOW).rows)


def test_packed_exports_of_each_kind(tmp_path: Path) -> None:
    packers: tuple[Callable[[bytes], bytes], ...] = (
        *(gzip.compress, zstd.compress, bz2.compress, lzma.compress),
    )
    for number, pack in enumerate(packers):
        (tmp_path / f"devices{number}.csv.packed").write_bytes(pack(content(number)))
    assert ids(tmp_path) == ids(tmp_path / "*.packed") == ["A0", "A1", "A2", "A3"]
    found = read_target([str(tmp_path)], NOW)
    assert [Path(file.name).name for file in found.files] == [
        f"devices{number}.csv.packed" for number in range(4)
    ]


def test_a_file_that_breaks_off_or_swells_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gzip.compress(content(1) * 2000)
    cut, bomb = tmp_path / "cut.csv.gz", tmp_path / "bomb.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    bomb.write_bytes(whole)
    with pytest.raises(TargetError, match=r"cut.csv.gz: is a gzip file that breaks off"):
        ids(cut)
    for module in (target_rows, sys.modules["eas_redirect.report.target_export"]):
        monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    with pytest.raises(TargetError, match=r"bomb.csv.gz: is larger than 200 MB"):
        ids(bomb)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("devices.xlsx", b"PK\x03\x04" + bytes(40), "workbook of Excel"),
        ("empty.csv", b"", "is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("torn.csv.gz", b"\x1f\x8b\x08", "breaks off at once"),
        ("old.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "no column DeviceId"),
        ("log.jsonl", b'{"a": 1}\n', "no ActiveSync exchange"),
    ],
)
def test_files_of_another_kind_are_named(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(TargetError, match=words) as raised:
        ids(path)
    assert name in str(raised.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no such file"):
        ids(tmp_path / "nothing*.csv")


def test_what_is_odd_about_logs_of_the_target_is_told(tmp_path: Path) -> None:
    """Servers whose clocks differ, and a log that names no device."""
    iis_log(tmp_path / "ex1" / "u_ex260302.log", traffic())
    iis_log(tmp_path / "ex2" / "u_ex260302.log", traffic(), 600, "PrxFrom:10.0.0.1_")
    errors = tmp_path / "ex2" / "httperr1.log"
    errors.write_text("#Software: Microsoft HTTP API 2.0\n#Fields: date time c-ip s-reason\n")
    notes = read_target([str(tmp_path / "ex1"), str(tmp_path / "ex2")], NOW).notes
    assert [note for note in notes if "httperr1.log is a log of http.sys errors" in note]
    assert [note for note in notes if "is 10 min ahead of that of" in note]
