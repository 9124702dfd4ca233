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
from eas_redirect.judging.ended_waits import (
    EndedWaits,
    EndedWaitsError,
    beside,
    why_not_usable,
)


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


def test_endings_of_a_later_second_hold_up_nobody(journal: str, clock: Clock) -> None:
    EndedWaits(journal, clock=clock).claim([f"a{n}" for n in range(20)])
    clock.now -= 0.9
    assert EndedWaits(journal, clock=clock).claim(["b"]) == ("later",)
    clock.now -= 0.6
    assert EndedWaits(journal, clock=clock).claim(["b"]) == ("end",)


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


def test_a_key_of_the_file_s_own_names_a_device_alike_nowhere_else(
    tmp_path: Path, clock: Clock
) -> None:
    """Else whoever reads the file could look for a device that is known to him."""
    lines = set()
    for name in ("one", "two"):
        EndedWaits(str(tmp_path / name), clock=clock).claim(["a"])
        lines.add(beside(str(tmp_path / name)).read_text("ascii").splitlines()[1])
    assert len(lines) == 2


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


def test_a_file_that_cannot_be_kept_on_the_disk_ends_nothing(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk in the network tells that it is full when it is asked to keep what was written."""

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = EndedWaits(journal, clock=clock)
    with pytest.raises(EndedWaitsError, match="No space left"):
        ended.claim(["a"])
    monkeypatch.undo()
    assert ended.claim(["a"]) == ("end",)


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_waits, "MAX_LINES", 20)
    longest = ended_waits._HEAD_BYTES + 20 * ended_waits._LINE_BYTES
    monkeypatch.setattr(ended_waits, "_LONGEST", longest)


def test_a_file_is_full_at_its_bounds(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be as long as it ever gets, and is written again while a tenth of it is free."""
    _small(monkeypatch)
    ended = EndedWaits(journal, clock=clock)
    assert ended.claim([f"a{n}" for n in range(20)]) == ("end",) * 20
    clock.now += 91 * 86400
    assert ended.claim([f"b{n}" for n in range(18)]) == ("end",) * 18
    clock.now += 2
    left_open = len(list(Path("/proc/self/fd").iterdir()))
    assert ended.claim(["b0", "b1", "c"]) == ("again_later", "again_later", "end")
    assert len(list(Path("/proc/self/fd").iterdir())) == left_open
    assert beside(journal).stat().st_mode & 0o777 == 0o600
    with pytest.raises(EndedWaitsError, match="is full"):
        ended.claim(["d", "e"])


def test_a_disk_that_is_full_while_it_forgets_leaves_the_file_whole(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small(monkeypatch)
    ended = EndedWaits(journal, clock=clock)
    ended.claim([f"a{n}" for n in range(20)])
    whole = beside(journal).read_bytes()
    clock.now += 91 * 86400
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(EndedWaitsError, match="the disk is full"):
            ended.claim(["b"])
    assert beside(journal).read_bytes() == whole
    assert list(beside(journal).parent.iterdir()) == [beside(journal)]
    beside(journal).with_name(f"{beside(journal).name}.{os.getpid()}").touch()  # of a lost process
    assert ended.claim(["b"]) == ("end",)


def test_another_file_of_the_name_counts_whatever_was_read_before(
    journal: str, clock: Clock
) -> None:
    one = EndedWaits(journal, clock=clock)
    one.claim(["a"])
    one.claim(["a"])  # it knows the file now
    kept = beside(journal).read_bytes()
    beside(journal).unlink()
    EndedWaits(journal, clock=clock).claim(["b", "c"])  # a longer one
    assert one.claim(["b", "c"]) == ("again_later", "again_later")
    beside(journal).write_bytes(kept)
    assert one.claim(["b", "a"]) == ("end", "again_later")
    one.claim(["b"])
    beside(journal).write_bytes(kept)  # the same one, as it was
    assert one.claim(["a", "b"]) == ("again_later", "end")


def test_a_file_that_goes_while_its_lock_is_awaited_is_opened_again(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = ended_waits._lock
    locks: list[int] = []

    def and_delete(file: int) -> bool:
        if not locks:
            beside(journal).unlink()
        locks.append(file)
        return lock(file)

    monkeypatch.setattr(ended_waits, "_lock", and_delete)
    assert EndedWaits(journal, clock=clock).claim(["a"]) == ("end",)
    assert EndedWaits(journal, clock=clock).claim(["a"]) == ("again_later",)


def test_a_file_is_looked_at_before_it_is_needed(
    journal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = beside(journal)
    gone = file.parent / "gone" / file.name
    assert why_not_usable(gone) == f"there is no directory {gone.parent}"
    assert why_not_usable(file) is None
    assert not file.exists()
    with monkeypatch.context() as refused:
        refused.setattr(os, "access", lambda *_: False)
        assert why_not_usable(file) == f"{file} cannot be made"
    file.touch()
    assert why_not_usable(file) is None
    EndedWaits(journal, clock=clock).claim(["a"])
    assert why_not_usable(file) is None
    _torn(file)
    assert "is damaged" in (why_not_usable(file) or "")
    file.unlink()
    file.mkdir()
    assert why_not_usable(file) == f"{file} cannot be used: Is a directory"


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


def test_observing_remembers_a_bounded_number(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_waits, "MAX_LINES", 3)
    ended = EndedWaits(None, clock=clock)
    ended.claim(["a", "b", "c"])
    assert ended.claim(["a"]) == ("again_later",)
    ended.claim(["d"])
    assert ended.claim(["a"]) == ("end",)
    assert ended.claim(["a"]) == ("again_later",)


def test_many_at_once_lose_no_ending(journal: str, clock: Clock) -> None:
    """Each device once, however many workers claim it at the same moment."""
    workers = [EndedWaits(journal, clock=clock) for _ in range(4)]
    names = [f"d{n}" for n in range(5)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda worker: worker.claim(names), workers))
    ended = [ending for claims in found for ending in claims]
    assert ended.count("end") == len(names)
