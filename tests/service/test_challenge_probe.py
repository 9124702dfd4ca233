"""Exchange is asked whether it wants a logon: by one worker, and never in anybody's way."""

import asyncio
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from eas_redirect.directory.adoption import SIBLINGS
from eas_redirect.judging.challenges import Challenges
from eas_redirect.service.challenge_probe import ASK_EVERY_S, TRY_AGAIN_S, ChallengeProbe
from eas_redirect.service.upstream import Answered, NoAnswer, UpstreamOutcome

SERVER = "ex07.contoso.example:443"


class Server:
    """Answers as told, and counts."""

    def __init__(self, outcome: UpstreamOutcome | Exception) -> None:
        self.outcome = outcome
        self.asked = 0

    async def ask(self, timeout_s: float) -> UpstreamOutcome:
        assert timeout_s <= 10
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def probe(
    server: Server, challenges: Challenges, folder: Path | None = None, name: str | None = SERVER
) -> ChallengeProbe:
    return ChallengeProbe(challenges, lambda: name, server.ask, folder)


@pytest.mark.parametrize(
    ("outcome", "known", "again_s"),
    [
        (Answered(status=401), "known", ASK_EVERY_S),
        (Answered(status=403), "not", ASK_EVERY_S),
        (Answered(status=200), "not", ASK_EVERY_S),
        (Answered(status=499), "not", ASK_EVERY_S),
        (Answered(status=500), "not", TRY_AGAIN_S),
        (Answered(status=503), "not", TRY_AGAIN_S),
        (NoAnswer(why="nobody is there"), "not", TRY_AGAIN_S),
    ],
)
async def test_only_a_401_says_that_logons_are_checked(
    outcome: UpstreamOutcome, known: str, again_s: float
) -> None:
    challenges = Challenges()
    assert await probe(Server(outcome), challenges).ask() == again_s
    assert challenges.known(SERVER) is (known == "known")


async def test_another_answer_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    server, challenges = Server(Answered(status=403)), Challenges()
    asking = probe(server, challenges)
    for _ in range(3):
        await asking.ask()
    assert caplog.text.count("logon_not_proven") == 1
    server.outcome = Answered(status=401)
    await asking.ask()
    server.outcome = Answered(status=403)
    await asking.ask()
    assert caplog.text.count("logon_not_proven") == 2


async def test_without_one_server_behind_nobody_is_asked() -> None:
    server = Server(Answered(status=401))
    assert await probe(server, Challenges(), name=None).ask() == TRY_AGAIN_S
    assert server.asked == 0


async def test_a_fault_of_ours_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(RuntimeError("hunter2"))
    asking = probe(server, Challenges())
    asking.start()
    await asyncio.sleep(0.05)
    assert server.asked == 1
    assert "an internal error" in caplog.text
    assert asking._task is not None
    assert not asking._task.done()
    asking.close()
    await asyncio.sleep(0)
    assert asking._task.cancelled()


def test_it_may_be_closed_after_its_event_loop() -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the task ends with the loop
    asking = probe(Server(Answered(status=401)), Challenges())

    async def begin() -> None:
        asking.start()
        await asyncio.sleep(0)

    loop.run_until_complete(begin())
    loop.close()
    asking.close()


async def test_of_several_workers_one_asks_and_all_know(tmp_path: Path) -> None:
    servers = [Server(Answered(status=401)) for _ in range(3)]
    known = [Challenges(tmp_path) for _ in servers]
    probes = [probe(s, c, tmp_path) for s, c in zip(servers, known, strict=True)]
    for one in probes:
        one.start()
    await asyncio.sleep(0.05)
    assert sorted(server.asked for server in servers) == [0, 0, 1]
    assert all(challenges.known(SERVER) for challenges in known)
    for one in probes:
        one.close()


def test_workers_find_each_other_by_the_supervisor_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIBLINGS, str(tmp_path))
    one, other = (probe(Server(Answered(status=401)), Challenges()) for _ in range(2))
    assert one._is_our_turn()
    assert one._is_our_turn(), "it stays so"
    assert not other._is_our_turn()
    one.close()
    assert other._is_our_turn()
    other.close()


def test_where_no_lock_can_be_made_each_worker_asks(tmp_path: Path) -> None:
    assert probe(Server(Answered(status=401)), Challenges(), tmp_path / "gone")._is_our_turn()


def test_when_that_worker_has_died_it_is_another_s_turn(tmp_path: Path) -> None:
    lock = "import fcntl,sys,time; f=open(sys.argv[1],'wb'); fcntl.flock(f,fcntl.LOCK_EX)"
    words = [sys.executable, "-c", f"{lock}; print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(
        [*words, str(tmp_path / "challenge.lock")], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        server = Server(Answered(status=401))
        asking = probe(server, Challenges(tmp_path), tmp_path)
        assert not asking._is_our_turn()
        other.kill()
    assert asking._is_our_turn()
    asking.close()
    with (tmp_path / "challenge.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
