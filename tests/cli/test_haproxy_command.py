"""`eas-redirect haproxy` writes three files, or says in one sentence why it cannot."""

from pathlib import Path

import pytest

from eas_redirect.checking import carrier
from eas_redirect.checking.tried import failed, warning
from eas_redirect.haproxy.files import CONFIGURATION, HEADER_CASE, LUA
from tests.cli.running import Ran, run

UPSTREAM = '[proxy]\nupstream = "https://ex07.contoso.local"\n'


def written(tmp_path: Path, *words: str, text: str = UPSTREAM) -> Ran:
    (tmp_path / "forest.ldif").touch()
    path = tmp_path / "eas-redirect.toml"
    head = 'mode = "enforce"\n'
    path.write_text(f'{head}{text}\n[directory]\nsnapshot = "forest.ldif"\n', "utf-8")
    return run("haproxy", "--config", str(path), "--output", str(tmp_path / "out"), *words)


@pytest.fixture(autouse=True)
def no_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has one is another test's."""
    monkeypatch.setattr(carrier, "haproxy_program", lambda: None)


def test_the_files_are_written_and_how_to_try_them_is_said(tmp_path: Path) -> None:
    ran = written(tmp_path, "--phones", "100")
    assert (ran.code, ran.out) == (0, "")
    assert "No proxy.cert" in ran.err
    assert f"haproxy -c -f {tmp_path}/out/haproxy.cfg" in ran.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {CONFIGURATION, LUA, HEADER_CASE}
    text = (tmp_path / "out" / CONFIGURATION).read_text("utf-8")
    assert "maxconn 110" in text
    assert str(tmp_path / "out" / LUA) in text


def test_without_an_exchange_nothing_is_written(tmp_path: Path) -> None:
    ran = written(tmp_path, text="")
    assert ran.code == 2
    assert "Set proxy.upstream" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    ran = written(tmp_path)
    assert ran.code == 2
    assert f"{tmp_path}/out cannot be written" in ran.err


@pytest.mark.parametrize(("state", "code"), [("failed", 2), ("warning", 0)])
def test_a_haproxy_of_this_machine_that_cannot_run_them_is_told(
    state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = {"failed": failed, "warning": warning}[state]
    monkeypatch.setattr(carrier, "haproxy_program", lambda: "/usr/sbin/haproxy")
    monkeypatch.setattr(
        carrier, "check_program", lambda _: check("haproxy", "it has no Lua", "Install another.")
    )
    ran = written(tmp_path)
    assert ran.code == code
    assert "it has no Lua. Install another." in ran.err
    assert (tmp_path / "out" / CONFIGURATION).exists(), "for another machine they are good"
