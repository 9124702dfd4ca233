"""The path that `script` prints is one that mitmdump can load."""

from pathlib import Path

import pytest

from eas_redirect.cli import script_command
from tests.cli.running import run


def test_it_prints_the_path_of_the_shim() -> None:
    ran = run("script")
    assert ran.code == 0
    path = Path(ran.out.strip())
    assert path.name == "redirect.py"
    assert "addons = [" in path.read_text(encoding="utf-8")


def test_a_missing_shim_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_command, "find_shim", lambda: None)
    ran = run("script")
    assert (ran.code, ran.out) == (2, "")
    assert "install eas-redirect again" in ran.err
