"""`--help` of every command stands in docs/reference.md.

Versions of typer differ in how they mark arguments and wrap lines, so words are compared and the
layout is not.

`pytest tests/cli/test_help.py --regenerate` writes it there.
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
