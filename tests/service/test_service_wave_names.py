"""The names of waves in a running service: at its start, at a reload, and with time."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from eas_redirect.configuration.config import ConfigError, load_config
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    Recipient,
    Unavailable,
)
from eas_redirect.service import service as room
from eas_redirect.service.service import Service
from tests.directory.fakes import FakeDirectory

ANNA = Found(recipient=Recipient(dn="CN=Anna,DC=contoso,DC=example"))
DOWN = Unavailable(error_type="timeout", message="down")


class Told(FakeDirectory):
    """Answers each name as told."""

    def __init__(self, **answers: Lookup) -> None:
        super().__init__()
        self.answers = answers

    def meant_by(self, name: str) -> Lookup:
        self.asked[name] += 1
        return self.answers.get(name, NotFound())


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told(anna=ANNA)
    monkeypatch.setattr(room, "open_directory", lambda *_: told)
    return told


def write(folder: Path, table: str) -> Path:
    file = folder / "e.toml"
    head = f"mode = 'enforce'\n{table}\n[cache]\nrelationships_s = 1\n"
    servers = "[directory]\nservers = ['ldaps://dc1.contoso.example']\nbind = 'anonymous'\n"
    file.write_text(head + servers)
    return file


async def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it did not come true within 10 s")


def service(folder: Path, table: str) -> Service:
    return Service(load_config(write(folder, table), environment={}))


def test_a_start_asks_for_the_names_and_says_who_is_meant(
    tmp_path: Path, directory: Told, caplog: pytest.LogCaptureFixture
) -> None:
    running = service(tmp_path, "redirect.only.users = ['anna', 'zoe', 'carl']")
    assert running.meant == "enforce for 1 of 3 users"
    assert running.summary().startswith("enforce for 1 of 3 users; directory ")
    assert "the directory knows nobody called zoe, carl: they name nobody" in caplog.text
    assert dict(directory.asked) == {"anna": 1, "zoe": 1, "carl": 1}
    running.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(NotFound(), "knows nobody called nina"), (Ambiguous(), "knows several called nina")],
    ids=["nobody", "several"],
)
def test_a_brake_of_which_it_is_not_known_whom_it_holds_stops_the_start(
    tmp_path: Path, directory: Told, answer: Lookup, words: str
) -> None:
    directory.answers["nina"] = answer
    with pytest.raises(ConfigError, match=words):
        service(tmp_path, "redirect.except.users = ['anna', 'nina']")
    assert directory.closed == 1
    directory.answers["nina"] = ANNA
    service(tmp_path, "redirect.except.users = ['anna', 'nina']").close()


def test_a_directory_that_is_away_at_the_start_does_not_open_the_brake(
    tmp_path: Path, directory: Told, caplog: pytest.LogCaptureFixture
) -> None:
    directory.answers["anna"] = DOWN
    running = service(tmp_path, "redirect.except.users = ['anna']")
    users = running.judge.policy.wave.exclude.users
    assert users is not None
    assert users.unasked == ("anna",)
    assert "could not be asked for 1 name: until then whoever may be meant is not" in caplog.text
    running.close()


def test_a_reload_takes_a_brake_in_doubt_and_remembers_what_was_told(
    tmp_path: Path, directory: Told, caplog: pytest.LogCaptureFixture
) -> None:
    running = service(tmp_path, "redirect.except.users = ['anna']")
    directory.answers["anna"] = DOWN
    file = write(tmp_path, "redirect.except.users = ['anna', 'nina']")
    running.adopt(running.prepare(load_config(file, environment={})))
    users = running.judge.policy.wave.exclude.users
    assert users is not None
    assert (list(users.known), users.nobody) == (["anna"], ("nina",))
    assert "knows nobody called nina: whoever may be meant is not redirected" in caplog.text
    running.close()


async def test_names_are_asked_again_with_the_relationships(
    tmp_path: Path, directory: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    directory.answers["anna"] = DOWN
    running = service(tmp_path, "redirect.only.users = ['anna']")
    running.start()
    assert running.meant.startswith("enforce for 0 of 1 user (the directory could not")
    directory.answers["anna"] = ANNA
    await until(lambda: running.meant == "enforce for 1 user")
    assert "eas-redirect: enforce for 1 user" in caplog.text
    running.close()
