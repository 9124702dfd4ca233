"""`--help` of every command stands in docs/reference.md.

Versions of typer differ in how they mark arguments and wrap lines, so words are compared and the
layout is not.

`pytest tests/cli/test_main_help.py --regenerate` writes it there.
"""

import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from eas_redirect import __version__
from eas_redirect.cli.main import app
from tests.conftest import Golden
from tests.support import ROOT

REFERENCE = ROOT / "docs" / "reference.md"
_SECTION = re.compile(r"(?s)(?<=\n)## The eas-redirect command\n.*?(?=\n## |\Z)")
INTRODUCTION = """## The eas-redirect command

Results go to standard output, talk to standard error; `--json` on each that reports.
"""


def commands() -> list[str]:
    group = typer.main.get_command(app)
    return list(getattr(group, "commands", {}))


def help_of(command: str) -> str:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    lines = result.stdout.rstrip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


def essence(text: str) -> str:
    """What stays the same in every version of typer: no spaces, line ends, or marks of types."""
    return re.sub(r"<(?:str|path|float|int)>|[\s\\{}]", "", text)


def test_the_help_of_every_command_stands_in_the_reference(golden: Golden) -> None:
    blocks = [
        f"\n### eas-redirect {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands()
    ]
    section = INTRODUCTION + "".join(blocks)
    reference = REFERENCE.read_text(encoding="utf-8")
    assert _SECTION.search(reference)
    written = _SECTION.sub(lambda _: section, reference)
    golden(REFERENCE, reference if essence(written) == essence(reference) else written)


def test_the_summary_of_each_command_is_whole_at_80_columns() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    for name in commands():
        [line] = re.findall(rf"(?m)^ *{name} +(\S.*)$", shown)
        assert line.endswith("."), line
        assert not line.endswith("..."), line


MAN_PAGE = ROOT / "docs" / "man" / "eas-redirect.1"


def test_the_man_page_has_the_help_of_every_command(golden: Golden) -> None:
    """The layout of one version of typer stays while the words are the same."""
    text = man_page()
    written = MAN_PAGE.read_text("utf-8") if MAN_PAGE.exists() else ""
    golden(MAN_PAGE, written if essence(text) == essence(written) else text)


def man_page() -> str:
    """In man(7)'s macros: help texts as they are, each under its command."""
    summary, *rest = root_help().split("\n\n", 2)[1:]
    head = [
        f'.TH EAS-REDIRECT 1 "" "eas-redirect {__version__}"',
        ".SH NAME",
        "eas-redirect \\- redirect the phones of mailboxes that left an old Exchange",
        ".SH SYNOPSIS",
        ".B eas-redirect",
        ".I COMMAND",
        "[OPTION ...]",
        ".SH DESCRIPTION",
        roff(" ".join(summary.split())),
        ".SH COMMANDS",
        *verbatim(rest[0].partition("Commands:\n")[2]),
    ]
    for name in commands():
        head += [f'.SH "EAS-REDIRECT {name.upper()}"', *verbatim(help_of(name))]
    return "\n".join([*head, ""])


def root_help() -> str:
    return CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout.rstrip()


def verbatim(text: str) -> list[str]:
    return [".nf", *map(roff, text.splitlines()), ".fi"]


def roff(line: str) -> str:
    """What would be a request or an escape is text."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line


@pytest.mark.parametrize("name", commands())
def test_a_wrong_option_is_one_message_and_exit_code_2(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--no-such-option"])
    assert result.exit_code == 2
    assert "--no-such-option" in result.stderr
    assert "Traceback" not in result.stderr


def test_version() -> None:
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.stdout) == (0, f"{__version__}\n")


def test_python_runs_the_package_as_the_command() -> None:
    words = [sys.executable, "-m", "eas_redirect", "--version"]
    ran = subprocess.run(words, check=True, capture_output=True, text=True)
    assert ran.stdout == f"{__version__}\n"
