"""docs/tutorial.md does what it says: its commands run in a checkout, its outputs come."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.processes import free_port
from tests.support import ROOT, require

pytestmark = pytest.mark.integration

TUTORIAL = ROOT / "docs" / "tutorial.md"
PORT = "8443"  # what the page says; the test takes a free one
_BLOCK = re.compile(r"^```(sh|sh terminal|sh exit 1|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One block of commands with the lines that the page says come of it."""

    commands: str
    own_terminal: bool
    code: int
    expected: tuple[str, ...]


def steps() -> Iterator[Step]:
    blocks = _BLOCK.findall(TUTORIAL.read_text("utf-8"))
    for number, (kind, text) in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
        if kind != "text":
            expected = following[1].splitlines() if following[0] == "text" else []
            yield Step(text, kind == "sh terminal", int(kind == "sh exit 1"), tuple(expected))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory that looks like a checkout whose `.venv` is this Python's environment."""
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", ".lab", "certs", ".git"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def shows(line: str, output: str) -> bool:
    """Whether an expected line is in the output; `…` stands for anything, spaces for any space."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
    return re.search(r".*?\s*".join(parts), output) is not None


def in_shell(commands: str, directory: Path, code: int) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", commands],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, f"{commands}\n{done.stdout}"
    return done.stdout


def in_own_terminal(commands: str, directory: Path) -> subprocess.Popen[bytes]:
    """Started as a terminal would, and ready to be called."""
    printed = directory / "terminal.txt"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {commands}"], cwd=directory, stdout=output, stderr=output
        )
    deadline = time.monotonic() + 120
    while "Ctrl-C" not in printed.read_text("utf-8", "replace"):
        assert process.poll() is None, printed.read_text("utf-8", "replace")
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def test_every_command_does_what_the_page_says(checkout: Path) -> None:
    require("make", "curl")
    port, terminals = str(free_port()), []
    try:
        for step in steps():
            commands = step.commands.replace(PORT, port)
            if step.own_terminal:
                terminals.append(in_own_terminal(commands, checkout))
                continue
            output = in_shell(commands, checkout, step.code)
            missing = [line for line in step.expected if not shows(line, output)]
            assert missing == [], f"{commands}\n{output}"
    finally:
        for process in terminals:
            process.send_signal(signal.SIGINT)
    assert [process.wait(60) for process in terminals] == [0]


def test_the_page_has_commands_and_outputs() -> None:
    found = list(steps())
    assert sum(not step.own_terminal for step in found) >= 5
    assert sum(step.own_terminal for step in found) == 1
    assert sum(bool(step.expected) for step in found) >= 5


def test_the_page_counts_right() -> None:
    from eas_redirect.lab.personas import PERSONAS

    words = {23: "twenty-three"}
    assert words[len(PERSONAS)] in TUTORIAL.read_text("utf-8")
