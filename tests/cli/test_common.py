"""What the commands share: results and talk apart, and each end of a command in one sentence."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.text import Text

from eas_redirect.cli import common
from eas_redirect.cli.common import (
    MANY,
    console,
    excel_separator,
    fail_without,
    load,
    print_json,
    progress_bar,
    progress_lines,
    tell,
    write_for_excel,
)

ESCAPE = "\x1b]0;owned\x07"


def test_talk_goes_to_standard_error_and_speaks_to_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(f"anna{ESCAPE}")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b" not in captured.err
    assert captured.err.startswith("anna")


def test_every_problem_of_a_configuration_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "eas-redirect.toml"
    path.write_text('mode = "enforce"\nmod = 1\n[directory]\nsnapshot = 3\n', "utf-8")
    with pytest.raises(typer.Exit) as ended:
        load(path)
    assert ended.value.exit_code == common.USAGE
    said = capsys.readouterr().err
    assert "mod" in said
    assert "directory.snapshot" in said


def test_a_problem_of_an_option_is_told_by_the_options_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "forest.ldif").touch()
    path = tmp_path / "eas-redirect.toml"
    path.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n', "utf-8")
    with pytest.raises(typer.Exit):
        load(path, {"proxy.stop_timeout_s": -1.0, "proxy.workers": None})
    said = capsys.readouterr().err
    assert said.startswith("--stop-timeout: ")
    assert "workers" not in said, "what was not given says nothing"


def test_a_missing_library_is_named_with_its_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        fail_without(ModuleNotFoundError(name="backports"), "Reading zstd needs", "report")
    assert ended.value.exit_code == common.USAGE
    assert capsys.readouterr().err == (
        "Reading zstd needs backports.zstd, which is not installed:"
        " pip install 'eas-redirect[report]'\n"
    )


@pytest.mark.parametrize("name", ["eas_redirect.report.page", None])
def test_a_missing_module_of_ours_is_a_fault_and_no_extra(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        fail_without(ModuleNotFoundError(name=name), "This needs", "report")


@pytest.mark.parametrize(
    ("given", "separator"),
    [(None, None), (",", ","), (";", ";"), ("\t", "\t"), ("tab", "\t"), ("\\t", "\t")],
)
def test_the_list_separator_of_excel(given: str | None, separator: str | None) -> None:
    assert excel_separator(given) == separator


def test_any_other_separator_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        excel_separator("|")
    assert "',', ';' or tab" in capsys.readouterr().err


def test_excel_gets_utf_8_with_its_mark_whatever_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    write_for_excel(["user;state\r\n", "Bär;stuck\r\n"])
    sys.stdout.flush()
    assert written.getvalue() == b"\xef\xbb\xbf" + "user;state\r\nBär;stuck\r\n".encode()


def test_json_is_written_as_it_is_made_and_any_text_survives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"user": f"Bär{ESCAPE}", "half": "\udce4"})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Bär" in out
    assert json.loads(out)["user"] == f"Bär{ESCAPE}"


def test_a_table_in_a_log_file_has_long_lines_no_markup_and_no_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = console()
    shown.print("x" * 150)
    shown.print(f"[red]{ESCAPE}[/red]")
    shown.print(Text(f"anna{ESCAPE}", style="red"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "x" * 150
    assert lines[1].startswith("[red]")
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def test_colours_reach_a_terminal_and_escapes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    console().print(Text(f"anna{ESCAPE}", style="red"))
    assert "\x1b[31m" in terminal.getvalue()
    assert "\x1b]0" not in terminal.getvalue()


def test_a_line_now_and_then_while_many_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    said = capsys.readouterr
    few = progress_lines("users", MANY - 1)
    for _ in range(MANY - 1):
        few()
    assert said().err == "", "what is over soon is over"
    many = progress_lines("users", 2 * MANY + 1)
    for _ in range(2 * MANY + 1):
        many()
    assert said().err.splitlines() == [
        f"users: {count} of {2 * MANY + 1}" for count in (MANY, 2 * MANY, 2 * MANY + 1)
    ]


@pytest.fixture
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("quiet")
def test_a_bar_is_drawn_on_a_terminal_only() -> None:
    with progress_bar("reading", 100) as advance:
        advance(50)
        advance(50)
