"""The file of ended waits: once, once more after four minutes, never a third time; shared by the
workers, bounded, and nothing ends where it cannot be used."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eas_redirect.judging import ended_waits
from eas_redirect.judging.ended_waits import EndedWaits, EndedWaitsError, beside


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal.jsonl")


def test_once_then_once_more_and_never_a_third_time(journal: str, clock: Clock) -> None:
    ended = EndedWaits(journal, clock=clock)
    assert ended.claim(["a"]) == ("end",)
    clock.now += 239
    assert ended.claim(["a"]) == ("again_later",)
    clock.now += 1
    assert ended.claim(["a", "a"]) == ("end", "again_later")
    for later in (0, 240, 86400, 89 * 86400):
        clock.now += later
        assert ended.claim(["a"]) == ("ended_twice",)


def test_another_worker_and_a_later_process_know_of_it(journal: str, clock: Clock) -> None:
    one, other = EndedWaits(journal, clock=clock), EndedWaits(journal, clock=clock)
    assert one.claim(["a"]) == ("end",)
    assert other.claim(["a", "b"]) == ("again_later", "end")
    assert one.claim(["b"]) == ("again_later",)
    clock.now += 240
    assert EndedWaits(journal, clock=clock).claim(["a"]) == ("end",)
    assert one.claim(["a"]) == other.claim(["a"]) == ("ended_twice",)


def test_twenty_a_second_over_all(journal: str, clock: Clock) -> None:
    one, other = EndedWaits(journal, clock=clock), EndedWaits(journal, clock=clock)
    first = one.claim([f"a{n}" for n in range(15)])
    second = other.claim([f"b{n}" for n in range(15)])
    assert first == ("end",) * 15
    assert second == ("end",) * 5 + ("later",) * 10
    clock.now += 1.1
    assert other.claim([f"b{n}" for n in range(5, 15)]) == ("end",) * 10


def test_a_clock_that_is_set_back_ends_nothing_again(journal: str, clock: Clock) -> None:
    ended = EndedWaits(journal, clock=clock)
    ended.claim(["a"])
    clock.now -= 86400
    assert ended.claim(["a"]) == ("again_later",)


def test_nobody_reads_names_in_it_and_only_its_owner_reads_it(journal: str, clock: Clock) -> None:
    EndedWaits(journal, clock=clock).claim(["CN=Anna\0anna@cloud\0ApplDNA"])
    file = beside(journal)
    assert file.name == "journal.ended-waits"
    assert "Anna" not in file.read_text("ascii")
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_configured_key_names_a_device_alike_everywhere(tmp_path: Path, clock: Clock) -> None:
    found = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        journal = str(tmp_path / folder / "j")
        EndedWaits(journal, b"secret", clock=clock).claim(["a"])
        found.append(beside(journal).read_text("ascii").splitlines()[1])
    assert found[0] == found[1]
    EndedWaits(str(tmp_path / "three"), b"another", clock=clock).claim(["a"])
    assert found[0] != beside(str(tmp_path / "three")).read_text("ascii").splitlines()[1]


def _directory(path: Path) -> None:
    path.mkdir()


def _foreign(path: Path) -> None:
    path.write_text("a file of somebody else's\n", "utf-8")


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _headless(path: Path) -> None:
    path.write_bytes(path.read_bytes().partition(b"\n")[2])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    path.write_bytes(b"x" * 4_000_000)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("damage", "fresh"),
    [
        (_directory, True),
        (_foreign, True),
        (_binary, True),
        (_pipe, True),
        (_huge, True),
        (_loop, True),
        (_torn, False),
        (_headless, False),
    ],
)
def test_what_is_no_such_file_ends_nothing_and_says_what_to_do(
    damage: Callable[[Path], None], fresh: bool, journal: str, clock: Clock
) -> None:
    ended = EndedWaits(journal, clock=clock)
    if not fresh:
        ended.claim(["a"])
    damage(beside(journal))
    for each in (ended, EndedWaits(journal, clock=clock)):
        with pytest.raises(EndedWaitsError, match="no wait is ended"):
            each.claim(["b"])


@pytest.mark.parametrize("journal", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_journal_that_is_a_stream_ends_nothing_and_leaves_no_file(
    journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EndedWaitsError, match=r"Set journal\.path to a file"):
        EndedWaits(journal).claim(["a"])
    assert not list(tmp_path.iterdir())
    assert not beside(journal).exists()


def test_a_missing_folder_ends_nothing(tmp_path: Path) -> None:
    with pytest.raises(EndedWaitsError, match="writable"):
        EndedWaits(str(tmp_path / "gone" / "journal.jsonl")).claim(["a"])


def test_a_full_disk_ends_nothing_and_leaves_the_file_whole(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = EndedWaits(journal, clock=clock)
    ended.claim(["a"])
    whole = beside(journal).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(EndedWaitsError, match="the disk is full"):
        ended.claim(["b"])
    monkeypatch.undo()
    assert beside(journal).read_bytes() == whole
    assert ended.claim(["b"]) == ("end",)


def test_nobody_waits_for_a_lock_for_long(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_waits, "_LOCK_S", 0.05)
    ended = EndedWaits(journal, clock=clock)
    ended.claim(["a"])
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
            " print('held', flush=True); sys.stdin.read()",
            str(beside(journal)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(EndedWaitsError, match="another process holds it"):
            ended.claim(["b"])
    finally:
        holder.communicate(b"")
    assert ended.claim(["b"]) == ("end",)


def test_a_full_file_forgets_what_is_old_and_nothing_else(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_waits, "MAX_LINES", 20)
    monkeypatch.setattr(ended_waits, "_LONGEST", 1000)
    one, other = EndedWaits(journal, clock=clock), EndedWaits(journal, clock=clock)
    assert one.claim([f"old{n}" for n in range(10)]) == ("end",) * 10
    clock.now += 91 * 86400
    assert one.claim([f"new{n}" for n in range(10)]) == ("end",) * 10
    assert one.claim(["new0", "next"]) == ("again_later", "end")
    clock.now += 300
    assert one.claim(["new0", "next"]) == ("end", "end")
    assert other.claim(["new0", "old0"]) == ("ended_twice", "end")
    assert one.claim(["old0"]) == ("again_later",)
    clock.now += 2
    for n in range(6):
        assert other.claim([f"more{n}"]) == ("end",)
    with pytest.raises(EndedWaitsError, match="is full"):
        other.claim(["another"])


def test_a_file_that_was_deleted_is_made_again(journal: str, clock: Clock) -> None:
    ended = EndedWaits(journal, clock=clock)
    ended.claim(["a"])
    beside(journal).unlink()
    assert ended.claim(["b"]) == ("end",)
    assert EndedWaits(journal, clock=clock).claim(["b"]) == ("again_later",)


def test_observing_writes_nothing(clock: Clock, tmp_path: Path) -> None:
    ended = EndedWaits(None, clock=clock)
    assert ended.claim(["a", "b"]) == ("end", "end")
    assert ended.claim(["a"]) == ("again_later",)
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_lose_no_ending(journal: str, clock: Clock) -> None:
    """Each device once, however many workers claim it at the same moment."""
    workers = [EndedWaits(journal, clock=clock) for _ in range(4)]
    names = [f"d{n}" for n in range(5)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda worker: worker.claim(names), workers))
    ended = [ending for claims in found for ending in claims]
    assert ended.count("end") == len(names)
