"""Two machines, each a HAProxy with two judges of its own, under load while one part after another
is killed, hung, restarted or reloaded: no answer is lost, none is wrong.

`ROUNDS=100 pytest tests/haproxy/test_many_machines.py` goes on for as long as one likes.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.usage import children
from tests.haproxy.carrying import START_S, Carried, prepared
from tests.integration.messages import (
    ANNA,
    BERT,
    CONFIG,
    EMPTY,
    FOLDER_SYNC,
    LOCATION,
    NO_MAILBOX,
    PING,
    post,
)
from tests.integration.rawserver import RawServer, Wire, connected
from tests.integration.running import wait_until
from tests.support import require

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("ROUNDS", "1"))
PHONES = 6
WAITING = 4  # Pings on each machine
LASTS_S = 0.5  # each fault
LIMIT_S = 0.2 + 1 + 1  # lookup_timeout_s, the judge's grace, what Lua waits beyond it
SEED = 20


@dataclass
class Exchange:
    """Answers a Ping when it is told to, and everything else at once: there is no mailbox."""

    news: threading.Event = field(default_factory=threading.Event)

    def script(self, wire: Wire) -> None:
        while True:
            if b"Cmd=Ping" in wire.read_request():
                self.news.wait(60)
                wire.send(EMPTY)
            else:
                wire.send(NO_MAILBOX)


@dataclass
class Seen:
    """What came of it. `cut` are the exchanges that the end of their own HAProxy ended."""

    redirected: int = 0
    passed: int = 0
    cut: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)
    slowest_s: float = 0.0


class Phones:
    """Each keeps a connection to its machine, or to the other one while its own is away."""

    def __init__(self, machines: list[Carried]) -> None:
        self.seen = Seen()
        self.away: set[int] = set()  # machines whose HAProxy was killed
        self._machines = machines
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(number,)) for number in range(PHONES)
        ]

    def __enter__(self) -> "Phones":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)

    def _live(self, number: int) -> None:
        who = BERT if number % 3 == 2 else ANNA
        home = number % 2
        while not self._ends.is_set():
            machine = 1 - home if home in self.away else home
            was_away = machine in self.away
            try:
                with connected(self._machines[machine].port, timeout_s=30) as client:
                    self._keep_asking(client, who)
            except OSError as error:
                if was_away or machine in self.away:
                    self.seen.cut += 1
                    time.sleep(0.02)
                else:
                    self.seen.lost.append(f"machine {machine}: {error!r}")

    def _keep_asking(self, client: Wire, who: bytes) -> None:
        while not self._ends.is_set():
            began = time.monotonic()
            client.send(post(FOLDER_SYNC, who))
            answer = client.read_answer()
            self.seen.slowest_s = max(self.seen.slowest_s, time.monotonic() - began)
            head = answer.partition(b"\r\n\r\n")[0].lower()
            if answer.startswith(b"HTTP/1.1 451") and LOCATION in answer and who is ANNA:
                self.seen.redirected += 1
            elif answer.replace(b"Connection: close\r\n", b"") == NO_MAILBOX:
                self.seen.passed += 1
            else:
                self.seen.wrong.append(answer)
            if b"\r\nconnection: close" in head:
                return
            time.sleep(0.005)


def waiting(machine: Carried, answers: list[bytes]) -> list[threading.Thread]:
    """Phones that wait; what they get, or what became of it."""

    def wait() -> None:
        try:
            with connected(machine.port, timeout_s=60) as client:
                client.send(post(PING, BERT))
                answers.append(client.read_answer())
        except OSError as error:
            answers.append(repr(error).encode())

    threads = [threading.Thread(target=wait) for _ in range(WAITING)]
    for thread in threads:
        thread.start()
    return threads


@dataclass
class World:
    machines: list[Carried]
    exchange: Exchange
    phones: Phones

    def faults(self) -> dict[str, Callable[[], None]]:
        one, two = self.machines
        return {
            "a judge killed": lambda: self.killed_judge(one),
            "a judge hung": lambda: self.hung_judge(two),
            "no judge left": lambda: self.no_judge(one),
            "a judge restarted": lambda: self.restarted_judge(two),
            "HAProxy reloaded while phones wait": lambda: self.reloaded(one),
            "HAProxy killed": lambda: self.killed_haproxy(one),
        }

    def killed_judge(self, machine: Carried) -> None:
        machine.stop_judge(signal.SIGKILL, 2)
        time.sleep(LASTS_S)
        machine.start_judge(2)

    def hung_judge(self, machine: Carried) -> None:
        machine.judges[1].send_signal(signal.SIGSTOP)
        time.sleep(LIMIT_S + LASTS_S)
        machine.judges[1].send_signal(signal.SIGCONT)
        time.sleep(LASTS_S)

    def no_judge(self, machine: Carried) -> None:
        machine.stop_judge(signal.SIGKILL, 1)
        machine.judges[2].send_signal(signal.SIGSTOP)
        time.sleep(LASTS_S)
        machine.start_judge(1)
        machine.judges[2].send_signal(signal.SIGCONT)

    def restarted_judge(self, machine: Carried) -> None:
        assert machine.stop_judge(which=1) == 0
        machine.start_judge(1)

    def reloaded(self, machine: Carried) -> None:
        assert machine.haproxy is not None
        answers: list[bytes] = []
        threads = waiting(machine, answers)
        time.sleep(0.2)
        for _ in range(3):
            machine.haproxy.send_signal(signal.SIGUSR2)
            time.sleep(LASTS_S)
        self.exchange.news.set()
        for thread in threads:
            thread.join(30)
        self.exchange.news.clear()
        plain = [a.replace(b"Connection: close\r\n", b"") for a in answers]
        assert plain == [EMPTY] * WAITING

    def killed_haproxy(self, machine: Carried) -> None:
        assert machine.haproxy is not None
        self.phones.away.add(self.machines.index(machine))
        for pid in (machine.haproxy.pid, *children(machine.haproxy.pid)):
            os.kill(pid, signal.SIGKILL)
        machine.haproxy.wait()
        time.sleep(LASTS_S)
        machine.start_haproxy(master=True)
        self.phones.away.clear()

    def is_well(self, machine: Carried) -> bool:
        """Whether each judge is asked again, and redirects."""
        with contextlib.suppress(OSError), connected(machine.port) as client:
            for _ in range(4):
                client.send(post(FOLDER_SYNC, ANNA))
                if LOCATION not in client.read_answer():
                    return False
            return True
        return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    require("haproxy")
    exchange = Exchange()
    config = CONFIG + "lookup_timeout_s = 0.2\n"
    with RawServer(exchange.script) as server, contextlib.ExitStack() as stack:
        where = f"http://127.0.0.1:{server.port}"
        machines = [prepared(tmp_path / name, where, config, judges=2) for name in ("a", "b")]
        for machine in machines:
            stack.callback(machine.stop)
            machine.start_judge(1)
            machine.start_judge(2)
            machine.start_haproxy(master=True)
        stack.callback(exchange.news.set)
        yield World(machines, exchange, stack.enter_context(Phones(machines)))


def test_whatever_ends_hangs_or_comes_back_nothing_is_lost_or_wrong(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    seen = world.phones.seen
    rows = [f"{'fault':36} redirected  passed  cut  lost  wrong  slowest  normal after"]
    for turn in range(ROUNDS):
        faults = list(world.faults().items())
        if turn:
            chance.shuffle(faults)
        for name, fault in faults:
            before, seen.slowest_s = replace(seen), 0.0
            fault()
            repaired = time.monotonic()
            for machine in world.machines:
                wait_until(partial(world.is_well, machine), f"all is well after: {name}", START_S)
            rows.append(
                f"{name:36} {seen.redirected - before.redirected:10} "
                f"{seen.passed - before.passed:7} {seen.cut - before.cut:4} {len(seen.lost):5} "
                f"{len(seen.wrong):6} {seen.slowest_s:6.1f} s {time.monotonic() - repaired:11.1f} s"
            )
            assert (seen.lost, seen.wrong) == ([], []), name
            assert seen.slowest_s < LIMIT_S + 3, name
    with capsys.disabled():
        print("\n" + "\n".join(rows))  # noqa: T201 - what this test is run for
    assert seen.redirected > 200
    assert seen.passed > 100
    assert seen.cut <= 2 * PHONES * ROUNDS
    for machine in world.machines:
        assert "exited with code 139" not in machine.log
        assert "runtime error" not in machine.log
