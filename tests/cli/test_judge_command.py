"""`eas-redirect judge` starts its process with what was said, or says why it cannot start."""

from pathlib import Path

import pytest

from eas_redirect.haproxy import process
from eas_redirect.haproxy.listener import ListenError
from tests.cli.running import Ran, run


def judge(tmp_path: Path, *words: str, text: str = '[proxy]\nupstream = "http://ex07"\n') -> Ran:
    (tmp_path / "forest.ldif").touch()
    path = tmp_path / "eas-redirect.toml"
    head = 'mode = "enforce"\n'
    path.write_text(f'{head}{text}\n[directory]\nsnapshot = "forest.ldif"\n', "utf-8")
    return run("judge", "--config", str(path), *words)


def test_what_the_command_says_takes_the_place_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[object, ...]] = []

    def running(path: Path, config: object, overrides: object) -> int:
        started.append((path, getattr(config, "judge").listen, overrides))  # noqa: B009 - an object
        return 3

    monkeypatch.setattr(process, "run_judge", running)
    assert judge(tmp_path, "--listen", "unix:/run/j.sock").code == 3
    assert judge(tmp_path).code == 3
    given, plain = started
    assert given[2] == {"judge.listen": "unix:/run/j.sock"}
    assert str(given[1]) == "unix:/run/j.sock"
    assert plain[2] == {}, "a reload asks the file again"
    assert given[0] == tmp_path / "eas-redirect.toml"


def test_without_an_exchange_there_is_nobody_to_judge_for(tmp_path: Path) -> None:
    ran = judge(tmp_path, text="")
    assert ran.code == 2
    assert "Set proxy.upstream" in ran.err


@pytest.mark.parametrize("error", [ListenError("is taken"), OSError("no room")])
def test_what_it_cannot_start_with_is_one_sentence(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise error

    monkeypatch.setattr(process, "run_judge", failing)
    ran = judge(tmp_path)
    assert ran.code == 2
    assert ran.err == f"eas-redirect judge cannot start: {error}\n"
