"""A configuration that changes while it is in force: good ones are adopted, bad ones are said."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.configuration.sources import ENVIRONMENT_ALONE, Override
from eas_redirect.directory.adoption import SETTLE_S
from eas_redirect.policy.waves import Wave
from eas_redirect.service.watching import Loaded, Reloader, ReloadOutcome, ReloadRefused

BASE = """\
mode = "enforce"
[directory]
snapshot = "people.ldif"
[redirect.only]
users_file = "pilot.txt"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    (tmp_path / "pilot.txt").write_text("anna\n")
    path = tmp_path / "eas-redirect.toml"
    path.write_text(BASE)
    return path


def hurrying() -> Callable[[], float]:
    """A clock by which a file has stood still at the second look."""
    times = itertools.count(0.0, SETTLE_S)
    return lambda: next(times)


@pytest.fixture
def reloader(file: Path) -> Reloader:
    return Reloader(file, load_config(file), {}, hurrying())


def write(path: Path, text: str) -> None:
    """Write as an editor does: another file takes the name, so that even the clock may stand."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def looks(reloader: Reloader, times: int = 2) -> list[ReloadOutcome]:
    return [outcome for _ in range(times) if (outcome := reloader.look()) is not None]


def test_nothing_changed_nothing_said(reloader: Reloader) -> None:
    assert looks(reloader, 5) == []


def test_a_good_change_is_adopted_once(file: Path, reloader: Reloader) -> None:
    write(file, BASE.replace("enforce", "observe"))
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)
    assert outcome.config.mode == "observe"
    assert outcome.changed == (file,)


def test_a_file_that_is_still_being_written_is_left_alone(file: Path, reloader: Reloader) -> None:
    for n in range(5):
        write(file, f"# {n}\nmode = ")
        assert reloader.look() is None
    write(file, BASE)
    assert reloader.look() is None
    [outcome] = looks(reloader)
    assert isinstance(outcome, Loaded)


def test_half_of_a_file_has_none_of_the_brakes_of_the_other_half(file: Path) -> None:
    """A writer may pause: what stands there so far may be a good configuration of its own."""
    times = iter((0.0, *(1.0, 5.9), *(7.0, 8.0, 11.9), *(13.0, 18.0)))
    reloader = Reloader(file, load_config(file), {}, lambda: next(times))
    write(file, BASE.partition("[redirect.only]")[0])
    assert looks(reloader, 2) == []
    write(file, BASE.replace("enforce", "observed"))
    assert looks(reloader, 3) == []
    write(file, BASE.replace("enforce", "observe"))
    [outcome] = looks(reloader, 2)
    assert isinstance(outcome, Loaded)
    assert outcome.config.mode == "observe"
    assert outcome.config.redirect.only is not None


@pytest.mark.parametrize("is_there", [False, True], ids=["not there yet", "half there"])
@pytest.mark.parametrize("table", ["only", "except"])
def test_a_file_of_users_that_is_named_before_it_is_whole(
    file: Path, table: str, *, is_there: bool
) -> None:
    """Half of an `except` would let the other half go."""
    now = 0.0
    reloader = Reloader(file, load_config(file), {}, lambda: now)
    listed = file.with_name("listed.txt")
    if is_there:
        write(listed, "anna\n")
    write(file, BASE.replace("only", table).replace("pilot.txt", "listed.txt"))
    seen: list[ReloadOutcome] = []
    names = ["anna", "bert", "carl", "dora"]
    for second in range(20):
        now += 1.0
        if second in (4, 7, 10):
            write(listed, "\n".join(names[: second // 3 + 1]) + "\n")
        outcome = reloader.look()
        if isinstance(outcome, Loaded):
            assert second >= 10 + SETTLE_S, "the file was still growing"
            seen.append(outcome)
    [outcome] = seen
    assert listed in outcome.changed


def test_a_bad_change_is_said_once_and_its_mending_too(file: Path, reloader: Reloader) -> None:
    write(file, BASE.replace("enforce", "enforced"))
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, ReloadRefused)
    assert "mode" in outcome.problems[0]

    write(file, "x = 1\n" + BASE.replace("enforce", "nonsense"))
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, ReloadRefused)
    assert len(outcome.problems) == 2

    write(file, BASE)
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)


def test_a_file_of_users_that_changes(file: Path, reloader: Reloader) -> None:
    pilot = file.with_name("pilot.txt")
    write(pilot, "anna\nbert\n")
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)
    assert outcome.changed == (pilot,)


def test_a_file_that_goes_away_and_comes_back(file: Path, reloader: Reloader) -> None:
    pilot = file.with_name("pilot.txt")
    pilot.unlink()
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, ReloadRefused)
    assert "pilot.txt" in outcome.problems[0]

    write(pilot, "anna\n")
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)


def test_a_missing_file_that_a_refused_configuration_names(file: Path, reloader: Reloader) -> None:
    write(file, BASE.replace("pilot.txt", "second.txt"))
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, ReloadRefused)

    write(file.with_name("second.txt"), "bert\n")
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)

    write(file.with_name("second.txt"), "bert\ncarl\n")
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)


def test_the_snapshot_is_followed_by_itself(file: Path, reloader: Reloader) -> None:
    write(file.with_name("people.ldif"), "dn: DC=fabrikam,DC=example\n")
    assert looks(reloader, 5) == []


def test_the_clock_alone_is_a_change(file: Path, reloader: Reloader) -> None:
    os.utime(file, ns=(1, 1))
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)


def test_a_copy_with_the_time_and_the_size_of_what_it_replaces(
    file: Path, reloader: Reloader
) -> None:
    pilot = file.with_name("pilot.txt")
    before = pilot.stat()
    pilot.write_text("bert\n")
    os.utime(pilot, ns=(before.st_atime_ns, before.st_mtime_ns))
    [outcome] = looks(reloader, 3)
    assert isinstance(outcome, Loaded)
    assert outcome.changed == (pilot,)


def test_asked_for_it_reads_unchanged_files(file: Path, reloader: Reloader) -> None:
    assert isinstance(reloader.reload(), Loaded)
    file.unlink()
    outcome = reloader.reload()
    assert isinstance(outcome, ReloadRefused)
    assert "no such file" in outcome.problems[0]
    assert looks(reloader, 5) == []


HASHED = '[journal]\nusers = "hash"\nhash_key_file = "key"\n'


def test_what_is_refused_is_read_again_until_it_can_be_used(file: Path) -> None:
    """A key that is missing is no file whose changes count, and its return is enough. Whatever
    else is wrong by then is said."""
    key = file.with_name("key")
    reloader = Reloader(file, load_config(file), {}, lambda: 0.0)
    write(file, BASE + HASHED)
    refused = reloader.reload()
    assert isinstance(refused, ReloadRefused)
    assert looks(reloader, 3) == []
    key.touch()
    [other] = looks(reloader, 3)
    assert isinstance(other, ReloadRefused)
    assert (other.problems == refused.problems, other.changed) == (False, ())
    key.write_text("secret")
    [outcome] = looks(reloader, 3)
    assert isinstance(outcome, Loaded)
    assert outcome.changed == ()


def test_the_environment_alone_has_brakes_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a missing file has none."""
    in_force = Wave()
    config = load_config(file)
    for path, mode, why in (
        (ENVIRONMENT_ALONE, "observe", 'it says mode = "observe"'),
        (ENVIRONMENT_ALONE, "enforce", None),
        (file.with_name("gone.toml"), "observe", None),
    ):
        monkeypatch.setenv("EAS_REDIRECT__MODE", mode)
        assert Reloader(path, config, {}).brake(in_force) == why


def test_options_go_on_overriding(file: Path) -> None:
    overrides: dict[str, Override] = {"mode": "observe"}
    reloader = Reloader(file, load_config(file, overrides), overrides, hurrying())
    write(file, BASE)
    [outcome] = looks(reloader, 5)
    assert isinstance(outcome, Loaded)
    assert outcome.config.mode == "observe"
