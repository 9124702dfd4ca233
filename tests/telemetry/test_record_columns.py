"""One table of the journal's columns: a new one is a line in `Record`. It shows wherever the
journal is written, documented and read.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

from eas_redirect.report.lines import COLUMNS
from eas_redirect.telemetry import journal, record
from eas_redirect.telemetry.journal import Journal, Redaction
from eas_redirect.telemetry.record import FIELD_NAMES, MAX_TEXT
from tests.test_docs import first_cells

LAST = '    lost: int | None = _key("eas.lost")'
EXAMPLE = '    moon: str | None = _key("eas.sky.moon")\n'
OF_IIS = {"eas.iis"}  # of a line that the report itself made from an IIS log


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:  # a module that no type checker can know
    """`telemetry/record.py` with one line more, as the recipe has it; the journal writes by it."""
    text = Path(record.__file__).read_text("utf-8")
    assert text.count(LAST) == 1
    made = ModuleType("record_with_an_example")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(compile(text.replace(LAST, EXAMPLE + LAST), record.__file__, "exec"), made.__dict__)  # noqa: S102 - our own file
    monkeypatch.setattr(journal, "to_json", made.to_json)
    monkeypatch.setattr(journal, "encoded", made.encoded)
    return made


def keys(types: list[tuple[str, Any]], above: str = "") -> Iterator[str]:
    """Dotted, from columns of DuckDB and their types."""
    for name, kind in types:
        if kind.id == "struct":
            yield from keys(kind.children, f"{above}{name}.")
        else:
            yield above + name


def read_by_the_report(columns: str, path: Path) -> set[str]:
    """The keys that the report's reader takes from a journal."""
    with duckdb.connect() as connection:
        found = connection.sql(
            f"SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {columns})"  # noqa: S608
        )
        return set(keys(list(zip(found.columns, found.types, strict=True))))


def written(made: Any, path: Path, redaction: Redaction, moon: str) -> dict[str, Any]:
    log = Journal(str(path), redaction)
    log.write(made.Record(timestamp_s=1.0, action="eas.exchange", message="m", moon=moon))
    log.close()
    (line,) = path.read_text("utf-8").splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("users", ["clear", "hash", "drop"])
def test_the_journal_has_it(example: Any, tmp_path: Path, users: Any) -> None:
    redaction = Redaction(users=users, key=b"k")
    assert written(example, tmp_path / "j", redaction, "full")["eas"] == {"sky": {"moon": "full"}}


def test_what_is_too_long_is_cut_there_as_well(example: Any, tmp_path: Path) -> None:
    line = written(example, tmp_path / "j", Redaction(), "o" * (MAX_TEXT + 1))
    assert line["eas"]["sky"]["moon"] == "o" * MAX_TEXT


def test_it_is_absent_where_nothing_is_known(example: Any) -> None:
    made = example.Record(timestamp_s=1.0, action="eas.exchange", message="m")
    assert "eas" not in example.to_json(made)


def test_the_reference_lacks_it_until_it_has_a_row(example: Any) -> None:
    """The comparison of `test_every_journal_field_is_documented`."""
    assert set(example.FIELD_NAMES) - first_cells("Journal") == {"eas.sky.moon"}


def test_the_report_reads_columns_of_the_table_alone(example: Any, tmp_path: Path) -> None:
    """A misspelt key would be NULL in each line, and nobody would be told."""
    path = tmp_path / "j"
    written(example, path, Redaction(), "full")
    read = read_by_the_report(COLUMNS, path)
    assert read - OF_IIS <= set(FIELD_NAMES)
    wider = COLUMNS.replace("  eas: 'STRUCT(", "  eas: 'STRUCT(sky STRUCT(moon VARCHAR), ")
    added = read_by_the_report(wider, path) - read
    assert added == {"eas.sky.moon"} == set(example.FIELD_NAMES) - set(FIELD_NAMES)
