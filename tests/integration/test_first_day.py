"""The first day of docs/operate.md, command by command, against an old server on loopback."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.old_server import OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import wait_until
from tests.support import ROOT, require

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operate.md"
_BLOCK = re.compile(r"^```(sh|sh terminal)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[bool, str]]:
    """The commands of the first day: has a terminal of its own, text."""
    text = PAGE.read_text("utf-8").split("## The first day", 1)[1].split("\n## ", 1)[0]
    return [(kind == "sh terminal", commands) for kind, commands in _BLOCK.findall(text)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Path, OldServer]]:
    """A directory with what the page assumes: the snapshot, the certificates."""
    with old_server(tmp_path / "old") as old:
        desk = tmp_path / "desk"
        desk.mkdir()
        shutil.copy(old.snapshot, desk / "contoso.ldif")
        shutil.copy(old.ca, desk / "ex07.pem")
        shutil.copy(old.certificate, desk / "mail.pem")
        yield desk, old


def environment(desk: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HOME": str(desk), "PYTHONUNBUFFERED": "1"}


def in_shell(commands: str, desk: Path) -> None:
    done = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=desk, env=environment(desk),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}"


def test_the_first_day(desk: tuple[Path, OldServer]) -> None:
    require("curl", "sed", "grep")
    folder, old = desk
    changes = {
        "https://ex07.contoso.local": old.url,
        "8443": str(free_port()),
        "9410": str(free_port()),
    }
    log = folder / "log"
    proxy: subprocess.Popen[bytes] | None = None
    try:
        for own_terminal, text in blocks():
            commands = text
            for word, ours in changes.items():
                commands = commands.replace(word, ours)
            if own_terminal:
                with log.open("wb") as output:
                    proxy = subprocess.Popen(
                        ["sh", "-c", f"exec {commands}"], cwd=folder, env=environment(folder),
                        stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    )  # fmt: skip
                wait_until(lambda: "status page at" in log.read_text(), "the proxy")
                time.sleep(1)  # the page of a first reading of the directory
                continue
            in_shell(commands, folder)
            config = folder / "eas-redirect.toml"
            config.write_text(config.read_text().replace("9410", changes["9410"]))
    finally:
        if proxy is not None:
            proxy.send_signal(signal.SIGTERM)
    assert proxy is not None
    assert proxy.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert (folder / "report.html").stat().st_size > 1000


def test_the_page_has_its_commands() -> None:
    found = blocks()
    assert sum(own for own, _ in found) == 1
    assert len(found) >= 7
