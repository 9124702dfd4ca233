"""Who waits is looked up at a pace, once for all workers, and is known for an hour."""

import asyncio
import fcntl
import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from eas_redirect.activesync.authorization import MAX_LOGON, Logon
from eas_redirect.directory import known_users
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.known_users import KEPT_S, PER_SECOND, KnownUsers
from eas_redirect.directory.values import (
    Ambiguous,
    CacheSettings,
    DirectoryAnswer,
    Found,
    Lookup,
    NotFound,
    Recipient,
    Watched,
)
from tests.directory.fakes import DOWN, Clock, FakeDirectory
from tests.directory.logons import logon
from tests.support import ROOT

ROOT_DN = "DC=contoso,DC=example"


def known_as(one: Logon) -> Watched:
    return Watched(dn=f"CN={one.user},{ROOT_DN}", object_guid=None, sam_account_name=one.user)


class Forest(FakeDirectory):
    """Everybody is there, but for those whose look-up is `told`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.told: dict[str, Lookup] = {}
        self.asked_at: list[float] = []

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        self.asked_at.append(self.clock())
        await super().recipient(logon)
        user = Recipient(dn=f"CN={logon.user},{ROOT_DN}", sam_account_name=logon.user)
        lookup = self.told.get(logon.user, Found(recipient=user))
        return DirectoryAnswer(lookup=lookup, source=self.source)


class Bench:
    """Workers over one forest, with one clock."""

    def __init__(self, *, real_time: bool = False) -> None:
        self.clock = Clock()
        self.now: Callable[[], float] = time.monotonic if real_time else self.clock
        self.real_time = real_time
        self.forest = Forest(self.now)

    async def sleep(self, seconds: float) -> None:
        if self.real_time:
            await asyncio.sleep(seconds)
            return
        self.clock.now += seconds
        await asyncio.sleep(0.001)

    def worker(self, folder: Path | None = None) -> KnownUsers:
        settings = CacheSettings(found_s=1, not_found_s=1)
        cached = CachedDirectory(self.forest, settings, clock=self.now)
        return KnownUsers(lambda: cached, folder, clock=self.now, sleep=self.sleep)


async def learnt(users: KnownUsers, logons: list[Logon]) -> dict[Logon, Watched]:
    users.known(logons)
    task = users._task
    if task is not None:
        await asyncio.wait_for(task, 30)
    return dict(users.known(logons))


def users_of(number: int) -> list[Logon]:
    return [logon(f"CONTOSO\\user{n}") for n in range(number)]


async def test_a_user_is_looked_up_once_an_hour() -> None:
    bench = Bench()
    worker = bench.worker()
    anna = logon("CONTOSO\\anna")
    assert worker.known([anna]) == {}
    assert await learnt(worker, [anna]) == {anna: known_as(anna)}
    again = logon("contoso\\ANNA")
    assert worker.known([again]) == {again: known_as(anna)}
    bench.clock.now += KEPT_S - 1
    assert await learnt(worker, [anna]) == {anna: known_as(anna)}
    assert bench.forest.asked.total() == 1
    bench.clock.now += 1
    assert worker.known([anna]) == {}
    assert await learnt(worker, [anna]) == {anna: known_as(anna)}
    assert bench.forest.asked.total() == 2


async def test_each_way_to_write_a_user_is_a_user_of_its_own() -> None:
    bench = Bench()
    worker = bench.worker()
    logons = [logon(text) for text in ("anna", "CONTOSO\\anna", "EMEA\\anna", "anna@x.example")]
    logons.append(Logon(text="z" * MAX_LOGON, user="z" * MAX_LOGON, domain=None, format="bare"))
    assert set(await learnt(worker, logons)) == set(logons)
    assert bench.forest.asked.total() == len(logons)


async def test_while_everybody_is_known_nothing_runs() -> None:
    bench = Bench()
    worker = bench.worker()
    await learnt(worker, users_of(3))
    await asyncio.sleep(0.01)
    before = asyncio.all_tasks()
    assert len(worker.known(users_of(3))) == 3
    assert asyncio.all_tasks() == before


async def test_nobody_is_nobody_for_an_hour_too() -> None:
    bench = Bench()
    worker = bench.worker()
    one = Recipient(dn=f"CN=By address,{ROOT_DN}")
    bench.forest.told = {
        "gone": NotFound(),
        "two": Ambiguous(),
        "address": Found(recipient=one, by_address=True),
    }
    logons = [logon(f"CONTOSO\\{name}") for name in bench.forest.told]
    assert await learnt(worker, logons) == {}
    assert await learnt(worker, logons) == {}
    assert bench.forest.asked.total() == 3


async def test_a_directory_that_is_away_is_asked_again_at_the_next_look() -> None:
    bench = Bench()
    worker = bench.worker()
    logons = users_of(100)
    bench.forest.told = {one.user: DOWN for one in logons}
    assert await learnt(worker, logons) == {}
    assert bench.forest.asked.total() <= 20, "it stops at once"
    bench.forest.told = {}
    assert len(await learnt(worker, logons)) == 100
    assert bench.clock.now < 1000 + 60


async def test_the_pace() -> None:
    bench = Bench()
    assert len(await learnt(bench.worker(), users_of(500))) == 500
    seconds = Counter(int(at - 1000.0) for at in bench.forest.asked_at)
    assert max(seconds.values()) <= PER_SECOND + 20, seconds
    assert len(seconds) == 500 / PER_SECOND
    bench.forest.source = "snapshot"
    now = bench.clock.now
    assert len(await learnt(bench.worker(), users_of(500))) == 500
    assert bench.clock.now == now, "memory needs no pace"


async def test_the_pace_is_one_for_all_workers_and_nobody_is_asked_for_twice(
    tmp_path: Path,
) -> None:
    bench = Bench(real_time=True)
    workers = [bench.worker(tmp_path) for _ in range(3)]
    logons = users_of(200)
    known = await asyncio.gather(*(learnt(worker, logons) for worker in workers))
    assert [len(one) for one in known] == [200] * len(workers)
    assert max(bench.forest.asked.values()) == 1
    first, last = min(bench.forest.asked_at), max(bench.forest.asked_at)
    assert last - first >= 200 / PER_SECOND - 0.3


async def test_what_a_dead_worker_left_behind_harms_nobody(tmp_path: Path) -> None:
    bench = Bench()
    anna, bert = logon("CONTOSO\\anna"), logon("CONTOSO\\bert")
    file = tmp_path / "known-users"
    far = bench.clock.now + 10 * KEPT_S
    key = "down_level\0contoso\0bert"
    file.write_bytes(
        b'\xff\n[]\n{"a": 1}\nnull\n["user"]\n["user", 1e999, "x"]\n["claimed", "soon", "x"]\n'
        + f'["turn", {far}]\n'.encode()
        + json.dumps(["nobody", far, key]).encode()[:-9]
    )
    worker = bench.worker(tmp_path)
    assert await learnt(worker, [anna, bert]) == {anna: known_as(anna), bert: known_as(bert)}
    assert bench.clock.now < 1000 + 60
    other = bench.worker(tmp_path)
    assert await learnt(other, [anna, bert]) == {anna: known_as(anna), bert: known_as(bert)}
    assert bench.forest.asked.total() == 2


async def test_what_was_answered_counts_where_the_rest_was_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    worker = bench.worker()
    logons = users_of(20)
    bench.forest.told = {one.user: DOWN for one in logons[10:]}
    assert len(await learnt(worker, logons)) == 10
    bench.forest.told = {}
    assert len(await learnt(worker, logons)) == 20
    assert max(bench.forest.asked[one.text] for one in logons[:10]) == 1
    assert caplog.records == []


async def test_what_the_cache_remembers_is_not_asked_again() -> None:
    bench = Bench()
    cached = CachedDirectory(bench.forest, CacheSettings(), clock=bench.now)
    anna = logon("CONTOSO\\anna")
    moved = Recipient(dn=f"CN=anna,{ROOT_DN}", target_address="SMTP:anna@m.example")
    bench.forest.told = {"anna": Found(recipient=moved)}
    await cached.recipient(anna, fresh=False)
    users = KnownUsers(lambda: cached, None, clock=bench.now, sleep=bench.sleep)
    assert await learnt(users, [anna]) == {anna: Watched(dn=moved.dn)}
    assert bench.forest.asked.total() == 1


async def test_a_fault_is_told_and_the_next_look_tries_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    worker = bench.worker()
    with monkeypatch.context() as broken:
        broken.setattr(CachedDirectory, "recipient", None)
        assert await learnt(worker, users_of(5)) == {}
    assert "could not be looked up" in caplog.text
    bench.clock.now += 30  # those were claimed
    assert len(await learnt(worker, users_of(5))) == 5


async def test_closing_ends_what_is_under_way() -> None:
    bench = Bench()
    bench.forest.gate.clear()
    worker = bench.worker()
    worker.close()
    worker.known(users_of(5))
    task = worker._task
    assert task is not None
    await asyncio.sleep(0.1)
    worker.close()
    worker.close()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_closing_after_the_event_loop_has_ended() -> None:
    bench = Bench()
    bench.forest.gate.clear()
    loop = asyncio.new_event_loop()

    async def begin() -> KnownUsers:
        worker = bench.worker()
        worker.known(users_of(1))
        for _ in range(3000):
            if bench.forest.asked:  # it waits for the directory
                break
            await asyncio.sleep(0.001)
        return worker

    worker = loop.run_until_complete(begin())
    pending = asyncio.all_tasks(loop)
    loop.close()
    worker.close()
    assert pending
    for task in pending:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]


def written(folder: Path) -> list[list[object]]:
    """The lines of the shared file; each of them is one."""
    return [json.loads(line) for line in (folder / "known-users").read_text("ascii").splitlines()]


async def test_what_stands_in_the_file(tmp_path: Path) -> None:
    bench = Bench()
    logons = users_of(45)
    assert len(await learnt(bench.worker(tmp_path), logons)) == 45
    kinds = Counter(str(line[0]) for line in written(tmp_path))
    assert kinds == {"claimed": 45, "user": 45, "turn": 3}, "twenty at a time"
    before = (tmp_path / "known-users").read_bytes()
    for _ in range(2):
        assert len(await learnt(bench.worker(tmp_path), logons)) == 45
    assert (tmp_path / "known-users").read_bytes() == before, "who learns nothing says nothing"
    bench.forest.source = "snapshot"
    assert len(await learnt(bench.worker(tmp_path), users_of(46))) == 46
    assert Counter(str(line[0]) for line in written(tmp_path))["turn"] == 3, "memory has no pace"


async def test_a_claim_that_is_over_holds_up_nobody(tmp_path: Path) -> None:
    bench = Bench()
    anna = logon("CONTOSO\\anna")
    line = json.dumps(["claimed", bench.clock.now, "down_level\0contoso\0anna"])
    (tmp_path / "known-users").write_text(line + "\n")
    assert await learnt(bench.worker(tmp_path), [anna]) == {anna: known_as(anna)}
    assert bench.clock.now == 1000


def line_of(dn: str, name: str, until: float) -> str:
    return json.dumps(["user", until, f"down_level\0contoso\0{name}", dn, None, name, None]) + "\n"


async def test_bounds_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    until = bench.clock.now + KEPT_S
    [length] = {len(line_of(known_as(one).dn, one.user, until)) for one in users_of(3)}
    monkeypatch.setattr(known_users, "MOST_BYTES", 3 * length)
    assert len(await learnt(bench.worker(), users_of(3))) == 3
    monkeypatch.setattr(known_users, "MOST_BYTES", 3 * length - 1)
    worker = bench.worker()
    worker.known(users_of(3))
    await asyncio.wait_for(worker._task or asyncio.sleep(0), 30)
    assert len(worker.known(users_of(3))) == 2
    worker.close()


async def test_the_longest_line(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    anna = logon("CONTOSO\\anna")
    dn = known_as(anna).dn
    length = len(line_of(dn, "anna", bench.clock.now + KEPT_S))
    for longest, known in ((length, 1), (length - 1, 0)):
        monkeypatch.setattr(known_users, "LONGEST", longest)
        assert len(await learnt(bench.worker(), [anna])) == known


async def test_a_file_that_is_written_again_holds_nobody_who_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_users, "MOST_BYTES", 4000)
    bench = Bench()
    worker = bench.worker(tmp_path)
    await learnt(worker, users_of(20))
    bench.clock.now += KEPT_S
    began, first = bench.clock.now, (tmp_path / "known-users").stat().st_ino
    for n in range(20, 60, 5):
        await learnt(worker, [logon(f"CONTOSO\\user{m}") for m in range(n, n + 5)])
        if (tmp_path / "known-users").stat().st_ino != first:
            break
    lines = [line for line in written(tmp_path) if line[0] == "user"]
    assert 0 < len(lines) < 40
    assert all(float(str(line[1])) > began for line in lines)


async def test_siblings_follow_a_file_that_is_written_anew(tmp_path: Path) -> None:
    bench = Bench()
    file = tmp_path / "known-users"
    worker = bench.worker(tmp_path)
    bench.forest.told = {"nobody": NotFound()}
    await learnt(worker, [logon("CONTOSO\\nobody"), *users_of(3)])
    other = bench.worker(tmp_path)
    assert len(await learnt(other, [logon("CONTOSO\\nobody"), *users_of(3)])) == 3
    assert bench.forest.asked.total() == 4, "that he is nobody is shared too"
    until = bench.clock.now + 100

    def lines(*users: str) -> str:
        return "".join(
            json.dumps(["user", until, f"down_level\0contoso\0{user}", f"CN={user}", *[None] * 3])
            + "\n"
            for user in users
        )

    (tmp_path / "longer").write_text(lines("one", *(f"more{n}" for n in range(99))))
    (tmp_path / "longer").replace(file)
    one, two = logon("CONTOSO\\one"), logon("CONTOSO\\two")
    assert await learnt(other, [one]) == {one: Watched(dn="CN=one")}
    file.write_text(lines("two"))
    assert await learnt(other, [two]) == {two: Watched(dn="CN=two")}
    assert bench.forest.asked.total() == 4


async def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    bench = Bench()
    with (tmp_path / "known-users.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.get_running_loop().call_later(0.2, fcntl.flock, lock, fcntl.LOCK_UN)
        assert len(await learnt(bench.worker(tmp_path), users_of(5))) == 5


async def test_a_claim_of_a_dead_worker_ends(tmp_path: Path) -> None:
    bench = Bench()
    anna = logon("CONTOSO\\anna")
    line = json.dumps(["claimed", bench.clock.now + 30, "down_level\0contoso\0anna"])
    (tmp_path / "known-users").write_text(line + "\n")
    assert await learnt(bench.worker(tmp_path), [anna]) == {anna: known_as(anna)}
    assert bench.clock.now >= 1030


async def test_a_file_that_cannot_be_used_lets_nobody_be_looked_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    caplog.set_level(logging.WARNING)
    logons = users_of(50)
    worker = bench.worker(tmp_path / "gone")
    assert await learnt(worker, logons) == {}
    assert await learnt(worker, logons) == {}
    assert len(caplog.records) == 1, "said once"
    assert "cannot be shared" in caplog.text
    monkeypatch.setattr(known_users, "_LOCK_S", 0.05)
    with (tmp_path / "known-users.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await learnt(bench.worker(tmp_path), logons) == {}
    (tmp_path / "known-users").symlink_to("/dev/full")
    assert await learnt(bench.worker(tmp_path), logons) == {}
    assert bench.forest.asked.total() == 0
    (tmp_path / "known-users").unlink()
    (tmp_path / "gone").mkdir()
    assert len(await learnt(worker, logons)) == 50, "it works again by itself"


async def test_everything_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_users, "MOST_BYTES", 4000)
    bench = Bench()
    long = "x" * known_users.LONGEST
    bench.forest.told = {"long": Found(recipient=Recipient(dn=f"CN={long},{ROOT_DN}"))}
    worker, other = bench.worker(tmp_path), bench.worker(tmp_path)
    odd = Logon(text="y" * 257, user="y" * 257, domain=None, format="bare")
    assert await learnt(worker, [logon("CONTOSO\\long"), odd]) == {}
    assert bench.forest.asked.total() == 1, "nobody has a name that long"
    for some in range(0, 200, 20):
        logons = [logon(f"CONTOSO\\user{n}") for n in range(some, some + 20)]
        assert len(await learnt(worker, logons)) == 20
        assert (tmp_path / "known-users").stat().st_size <= 2 * 4000
        assert len(await learnt(other, logons)) == 20
    assert max(bench.forest.asked.values()) == 1
    assert len(worker.known(users_of(200))) < 40
    worker.close()
    worker.close()


SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.directory.test_known_users import Bench, learnt, users_of

async def main():
    bench = Bench(real_time=True)
    assert len(await learnt(bench.worker(Path(sys.argv[1])), users_of(150))) == 150
    print(*bench.forest.asked, sep="\\n")

asyncio.run(main())
"""


def test_processes_share_what_they_learn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    outputs = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    asked = [name for output in outputs for name in output]
    assert sorted(asked) == sorted(one.text for one in users_of(150))
