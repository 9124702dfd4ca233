"""Who is looked up before the answer comes, and for which answer that counts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import CacheSettings, Found, Lookup, NotFound
from eas_redirect.judging import early_look_ups
from eas_redirect.judging.early_look_ups import AFTER_S, GOOD_S, EarlyLookUps, SentUp
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Ask, Policy
from tests.directory.fakes import DOWN, Clock, FakeDirectory, local, moved
from tests.judging.test_judge import ANNA, exchange

ASK = Ask(exchange=exchange(), logon=ANNA, fresh=True)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):  # 10 s at least, however busy the machine is
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came true")


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.directory.lookup = moved()
        cached = CachedDirectory(self.directory, CacheSettings(), clock=self.clock)
        self.judge = Judge(policy=Policy(), directory=cached, mode="enforce")
        self.early = EarlyLookUps(lambda: self.judge, lambda: 2, clock=self.clock)
        self.sent: SentUp | None = SentUp(ANNA, 0.0)

    def peek(self) -> SentUp | None:
        return self.sent and replace(self.sent, since_s=self.clock.now - 1000.0)

    async def look(self, after_s: float = AFTER_S) -> int:
        """How many questions there were in all."""
        self.clock.now += after_s
        self.early.look()
        await asyncio.sleep(0.01)
        return self.directory.asked.total()


async def test_a_slow_answer_s_user_is_looked_up_once() -> None:
    bench = Bench()
    begun = bench.early.begin("one", bench.peek)
    assert await bench.look(AFTER_S - 0.1) == 0
    assert begun.answer_to(ASK, bench.judge.directory, bench.clock.now) is None
    assert await bench.look(0.1) == 1
    assert await bench.look() == 1
    answer = begun.answer_to(ASK, bench.judge.directory, bench.clock.now)
    assert answer is not None
    assert answer.lookup == moved()
    bench.early.end("one")
    assert len(bench.early) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: setattr(bench, "sent", None),
        lambda bench: setattr(bench, "sent", SentUp(None, 0.0)),
        lambda bench: bench.early.end("one"),
        lambda bench: setattr(bench.judge.directory._directory, "source", "snapshot"),
    ],
    ids=["not gone up whole", "nobody by name, or answered", "over", "a snapshot"],
)
async def test_for_whom_nobody_is_looked_up(change: Callable[[Bench], None]) -> None:
    bench = Bench()
    begun = bench.early.begin("one", bench.peek)
    change(bench)
    bench.judge.directory.source = bench.directory.source
    assert await bench.look() == 0
    assert begun.answer is None


async def test_whom_nobody_asks_about_is_looked_at_once_and_not_too_soon() -> None:
    bench, looked_at = Bench(), []

    def peek() -> SentUp:
        looked_at.append(bench.clock.now)
        return SentUp(None, 0.0)

    bench.early.begin("one", peek)
    for _ in range(4):
        await bench.look(AFTER_S / 2)
    assert looked_at == [1000.0 + AFTER_S]
    assert len(bench.early) == 0


async def test_what_is_remembered_is_no_answer_to_it() -> None:
    """As for weak evidence: only what is asked now may say that a mailbox has moved."""
    bench = Bench()
    await bench.judge.directory.recipient(ANNA, fresh=False)
    bench.early.begin("one", bench.peek)
    assert await bench.look() == 2


async def test_a_long_upload_is_no_slow_answer() -> None:
    bench = Bench()
    bench.early.begin("one", lambda: SentUp(ANNA, bench.clock.now - 1010.0))
    assert await bench.look(11.0) == 0
    assert await bench.look(1.0) == 1


async def test_so_many_at_once_and_the_rest_later() -> None:
    bench = Bench()
    bench.directory.gate.clear()
    users = [replace(ANNA, text=f"u{n}@x.example", user=f"u{n}") for n in range(5)]
    for user in users:
        bench.early.begin(user.user, lambda user=user: SentUp(user, AFTER_S))  # type: ignore[misc]
    assert await bench.look() == 2
    assert await bench.look() == 2
    bench.directory.gate.set()
    await asyncio.sleep(0.01)
    assert await bench.look() == 4
    assert await bench.look() == 5
    assert len(bench.early) == 0


@pytest.mark.parametrize(
    ("lookup", "later_s", "ask", "serves"),
    [
        (moved(), GOOD_S, ASK, True),
        (moved(), GOOD_S + 0.1, ASK, False),
        (local(), 0, ASK, False),
        (NotFound(), 0, ASK, False),
        (DOWN, 0, ASK, False),
        (moved(), 0, replace(ASK, logon=replace(ANNA, user="bert")), False),
    ],
    ids=["young", "old", "a mailbox here", "nobody", "directory down", "somebody else"],
)
async def test_what_it_serves(lookup: Lookup, later_s: float, ask: Ask, serves: bool) -> None:
    bench = Bench()
    bench.directory.lookup = lookup
    begun = bench.early.begin("one", bench.peek)
    assert await bench.look() == 1
    answer = begun.answer_to(ask, bench.judge.directory, bench.clock.now + later_s)
    assert (answer is not None) is serves
    other = CachedDirectory(FakeDirectory(), CacheSettings())
    assert begun.answer_to(ask, other, bench.clock.now) is None, "another directory by now"


async def test_the_judge_asks_only_what_is_not_known() -> None:
    bench = Bench()
    begun = bench.early.begin("one", bench.peek)
    await bench.look()
    early = begun.answer_to(ASK, bench.judge.directory, bench.clock.now)
    with_it = await bench.judge.decided(ASK, early=early)
    assert bench.directory.asked.total() == 1
    without = await bench.judge.decided(ASK)
    assert bench.directory.asked.total() == 2
    assert with_it.verdict == without.verdict
    assert isinstance(with_it.asked and with_it.asked.lookup, Found)


async def test_it_looks_by_itself_and_survives_faults(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(early_look_ups, "_LOOK_EVERY_S", 0.01)
    bench = Bench()

    def broken() -> SentUp | None:
        raise RuntimeError("broken")

    bench.early.begin("broken", broken)
    bench.early.begin("one", bench.peek)
    bench.clock.now += AFTER_S
    await until(lambda: "could not be looked at" in caplog.text)
    bench.early.end("broken")
    good = bench.judge
    bench.judge = replace(good, directory=cast("CachedDirectory", FakeDirectory))  # a class
    await until(lambda: "could not be looked up early" in caplog.text)
    bench.judge = good
    begun = bench.early.begin("two", bench.peek)
    bench.clock.now += AFTER_S
    await until(lambda: begun.answer is not None)  # a fault does not end it
