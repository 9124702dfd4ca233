"""What strangers write, on terminals, in CSV and in the log; and signs that an encoding lacks."""

import ast
import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from eas_redirect.cli import common
from eas_redirect.report.exports import csv_rows
from eas_redirect.telemetry.printable import WORDS, Printable, printable, printable_json
from tests.support import ROOT

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eanna\u2066\r\x08"
HOSTILE = "\x1b\x07\x9b\u202e\u2066\r\x08"


@given(st.text())
def test_what_is_printable_speaks_to_no_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() or c in "\n\t\u00a0\u202f" for c in shown)
    assert text.isprintable() <= (shown == text)


@given(st.text())
def test_json_stays_the_same_to_its_reader(text: str) -> None:
    written = printable_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(written) == text
    assert not set(HOSTILE) & set(written)


def test_no_way_out_of_a_command_lets_an_escape_through(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common.tell(f"a note of {ESCAPE}")
    common.print_text(f"a result\nof {ESCAPE}")
    common.print_json({"user": ESCAPE})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console = common.console()
    table = Table(title=ESCAPE)
    table.add_column(ESCAPE)
    table.add_row(ESCAPE)
    table.add_row(Text(ESCAPE))
    console.print(table)
    console.print(ESCAPE, ESCAPE)
    for row in csv_rows(("user",), iter([{"user": ESCAPE}, {"user": [ESCAPE]}])):
        common.print_text(row.replace("\r\n", "\n"))
    seen = capsys.readouterr()
    for text in (re.sub(r"\x1b\[[0-9;]*m", "", seen.out), seen.err):  # rich's own colours
        assert "anna" in text
        assert not set(HOSTILE) & set(text), sorted(set(HOSTILE) & set(text))


def test_the_log_shows_no_escape_and_keeps_its_lines() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(Printable())
    record = logging.LogRecord("a", logging.INFO, "", 0, "of %s\nmore", (ESCAPE,), None)
    assert handler.filter(record)
    handler.emit(record)
    assert out.getvalue().endswith("\nmore\n")
    assert not set(HOSTILE) & set(out.getvalue())
    odd = logging.LogRecord("a", logging.INFO, "", 0, "%d", ("x",), None)
    assert handler.filter(odd), "its own handler says what is wrong with it"


def test_every_sign_of_ours_has_words_where_an_encoding_lacks_it() -> None:
    """A pipe on Windows is in cp1252, an old console in cp437 or cp850."""
    package = ROOT / "addon" / "eas_redirect"
    texts = [
        node.value
        for room in ("cli", "checking", "planning", "policy", "judging", "report")
        for path in sorted((package / room).rglob("*.py"))
        if not path.name.startswith("page")
        for node in ast.walk(ast.parse(Path(path).read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert any("✓" in text for text in texts)
    for text in texts:
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            continue
        for encoding in ("cp1252", "cp437", "ascii"):
            shown = text.replace("\N{REPLACEMENT CHARACTER}", "").encode(encoding, WORDS)
            assert shown.count(b"?") <= text.count("?"), (text, encoding)
