"""Exports that fail, half written and cut, under load: nobody is redirected on half a directory,
and whoever was redirected before still is."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.chaos import (
    DEVICES,
    NO_MAILBOX,
    Device,
    Fault,
    Load,
    exchange,
    suffer,
    table,
)
from tests.integration.running import LISTENING, Running, run, wait_until
from tests.support import DATA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Who logs on as a mere `anna` is one of two, of whom the second one stands far below the first.
NAMESAKE = Device(name="stranger", user="anna", status=200, body=NO_MAILBOX)
CERTAIN = tuple(d for d in DEVICES if d.name not in ("weak", "stranger"))
WHOLE = (DATA / "ldif" / "forest.ldif").read_text("utf-8") + "\n"
BEFORE_NAMESAKE = WHOLE[: WHOLE.index("dn: CN=Anna of Europe")]
CONFIG = """\
mode = "enforce"
[directory]
snapshot = "forest.ldif"
[cache]
found_s = 0.3
not_found_s = 0.3
"""
SETTLED_S = 7.0  # longer than a file has to stand still


@dataclass(frozen=True, slots=True)
class World:
    proxy: Running
    snapshot: Path

    def write(self, text: str) -> None:
        self.snapshot.write_text(text, "utf-8")

    def slowly(self) -> None:
        """In place, in pieces that end with a whole entry each."""
        with self.snapshot.open("w", encoding="utf-8") as file:
            for entry in WHOLE.split("\n\n"):
                file.write(f"{entry.rstrip()}\n\n")
                file.flush()
                time.sleep(0.15)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("adoption")
    (home / "proxy").mkdir()
    snapshot = home / "proxy" / "forest.ldif"
    snapshot.write_text(WHOLE, "utf-8")
    os.utime(snapshot, (time.time() - 60,) * 2)
    with (
        exchange(home / "exchange") as (port, _),
        run(
            home / "proxy", f"http://127.0.0.1:{port}", *("--workers", "2"),
            head=CONFIG,
        ) as proxy,
    ):  # fmt: skip
        # A worker that starts while the file is being written waits for it, as it should.
        wait_until(lambda: proxy.samples().get("eas_workers") == 2, "both workers")
        yield World(proxy, snapshot)


def faults(world: World) -> Iterator[Fault]:
    def holds(name: str, text: str, lasts_s: float = SETTLED_S) -> Fault:
        return Fault(
            name=name,
            begin=lambda: world.write(text),
            mend=lambda: world.write(WHOLE),
            lasts_s=lasts_s,
        )

    yield Fault(name="written slowly", begin=world.slowly, mend=lambda: None, lasts_s=SETTLED_S)
    yield holds("cut before a namesake", BEFORE_NAMESAKE)
    yield holds("cut within a line", BEFORE_NAMESAKE + "dn: CN=Anna of Eur")
    yield holds(
        "cut by a limit",
        f"{BEFORE_NAMESAKE}# search result\nsearch: 2\nresult: 4 Size limit exceeded\n\n",
    )
    yield holds("nothing at all", "")
    yield Fault(
        name="gone",
        begin=world.snapshot.unlink,
        mend=lambda: world.write(WHOLE),
        lasts_s=3,
    )


def test_no_export_that_fails_is_felt(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with Load(world.proxy.port, (*CERTAIN, NAMESAKE)) as load:
        surveys = [suffer(load, fault) for fault in faults(world)]
    with capsys.disabled():
        print(f"\n{table(surveys)}")  # noqa: T201 - what this test is run for
    for survey in surveys:
        assert set(survey.kinds) == {"right"}, (survey.fault.name, survey.details)
        assert survey.normal_s is not None
    log = world.proxy.log
    for words in ("no blank line ends", "result 4", "no entry could be read", "is gone"):
        assert words in log, words
    assert "it has lost the relationship" in log


def test_all_workers_adopt_what_is_whole_and_what_was_accepted(world: World) -> None:
    """Bert has moved since, and half of the others are no longer there."""
    moved = WHOLE.replace("homeMDB:", "info:").replace("msExchHomeServerName:", "info:")
    assert moved != WHOLE
    new = world.snapshot.with_suffix(".new")
    new.write_text(moved, "utf-8")
    new.replace(world.snapshot)
    wait_until(lambda: adopted(world) == 2, "both workers adopt it", 30)


def adopted(world: World) -> int:
    return world.proxy.log.count("read forest.ldif: the configuration is adopted")


def test_a_start_beside_a_running_export_lets_mail_flow_and_adopts_the_whole(
    tmp_path: Path,
) -> None:
    """`/ready` says no meanwhile: the phones are better off at Exchange itself."""
    home = tmp_path / "run"
    home.mkdir()
    (home / "forest.ldif").write_text(BEFORE_NAMESAKE + "dn: CN=Anna of", "utf-8")
    moved = next(device for device in DEVICES if device.name == "moved")
    with (
        exchange(home / "exchange") as (port, _),
        run(home, f"http://127.0.0.1:{port}", head=CONFIG, ready=False) as proxy,
    ):
        wait_until(lambda: LISTENING.search(proxy.log) is not None, "it listens", 30)
        listening = LISTENING.search(proxy.log)
        assert listening is not None
        with Load(int(listening[1]), (moved, NAMESAKE)) as load:
            wait_until(lambda: len(load.since(0)) > 20, "phones have asked", 30)
            held = load.since(0)
            assert {seen.kind for seen in held if seen.device == "moved"} == {"passed"}
            assert {seen.kind for seen in held if seen.device == "stranger"} == {"right"}
            (home / "whole").write_text(WHOLE, "utf-8")
            (home / "whole").replace(home / "forest.ldif")
            began = time.monotonic()
            wait_until(lambda: load.normal_since(began) is not None, "it is adopted", 30)
        assert {seen.kind for seen in load.since(0) if seen.device == "stranger"} == {"right"}
        assert "until then nobody is looked up" in proxy.log
