"""Lives, single flight, stale answers; the clock is turned by hand."""

import asyncio
import gc

import pytest

from eas_redirect.directory.cache import JUST_NOW_S, CachedDirectory
from eas_redirect.directory.values import (
    Ambiguous,
    CacheSettings,
    Found,
    Lookup,
    NotFound,
    Recipient,
)
from tests.directory.fakes import DOWN, Clock, FakeDirectory, local, moved
from tests.directory.logons import logon

FORWARDS = Found(
    recipient=Recipient(dn="CN=f", home_mdb="CN=DB01", target_address="SMTP:f@m.example")
)


class Cache:
    """A cache over a fake directory, asked in one line."""

    def __init__(self, settings: CacheSettings | None = None) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.cached = CachedDirectory(self.directory, settings or CacheSettings(), clock=self.clock)

    async def ask(self, text: str = "CONTOSO\\anna", *, fresh: bool = False) -> tuple[str, Lookup]:
        answer = await self.cached.recipient(logon(text), fresh=fresh)
        return str(answer.cache), answer.lookup

    @property
    def questions(self) -> int:
        return self.directory.asked.total()


@pytest.mark.parametrize(
    ("lookup", "life", "cached", "evidence"),
    [
        (moved(), 300, "hit", "certain"),
        (local(), 300, "hit", "weak"),
        (NotFound(), 60, "negative", "weak"),
        (Ambiguous(), 60, "negative", "certain"),
    ],
    ids=["moved", "local", "not found", "ambiguous"],
)
async def test_each_answer_lives_its_life(
    lookup: Lookup, life: float, cached: str, evidence: str
) -> None:
    cache, fresh = Cache(), evidence == "weak"
    cache.directory.lookup = lookup
    assert await cache.ask(fresh=fresh) == ("miss", lookup)
    cache.clock.now += life - 0.001
    assert await cache.ask(fresh=fresh) == (cached, lookup)
    cache.clock.now += 0.001
    assert await cache.ask(fresh=fresh) == ("miss", lookup)
    assert cache.questions == 2


@pytest.mark.parametrize("known", [local(), NotFound()], ids=["local", "not found"])
async def test_certain_evidence_against_what_is_remembered_asks_now(known: Lookup) -> None:
    """Exchange says that the mailbox has left; so it may have done since."""
    cache = Cache()
    cache.directory.lookup = known
    await cache.ask()
    cache.directory.lookup = moved()
    cache.clock.now += JUST_NOW_S - 0.001
    assert (await cache.ask())[1] == known, "however often a device asks"
    cache.clock.now += 0.001
    assert await cache.ask() == ("miss", moved())
    cache.clock.now += JUST_NOW_S
    assert await cache.ask() == ("hit", moved())
    assert cache.questions == 2


async def test_unavailable_is_never_cached() -> None:
    cache = Cache()
    cache.directory.lookup = DOWN
    assert await cache.ask() == ("miss", DOWN)
    cache.directory.lookup = moved()
    assert await cache.ask() == ("miss", moved())


async def test_names_are_compared_without_case() -> None:
    cache = Cache()
    await cache.ask("CONTOSO\\anna")
    assert (await cache.ask("contoso\\ANNA"))[0] == "negative"
    assert (await cache.ask("anna@CONTOSO"))[0] == "miss"
    assert (await cache.ask("EMEA\\anna"))[0] == "miss", "somebody else"


async def test_stale_serves_certain_evidence_within_its_bound() -> None:
    cache = Cache(CacheSettings(found_s=300, stale_s=1000))
    cache.directory.lookup = moved()
    await cache.ask()
    cache.directory.lookup = DOWN
    cache.clock.now += 1299
    assert await cache.ask() == ("stale", moved())
    assert await cache.ask(fresh=True) == ("miss", DOWN)
    cache.clock.now += 1
    assert await cache.ask() == ("miss", DOWN)


async def test_stale_does_not_serve_a_no() -> None:
    cache = Cache()
    await cache.ask()
    cache.directory.lookup = DOWN
    cache.clock.now += 60
    assert await cache.ask() == ("miss", DOWN)


async def test_a_no_that_is_doubted_is_not_served_while_the_directory_is_down() -> None:
    """It is still within its life, and certain evidence says otherwise."""
    cache = Cache()
    await cache.ask()
    cache.directory.lookup = DOWN
    cache.clock.now += JUST_NOW_S
    assert await cache.ask() == ("miss", DOWN)


async def test_certain_evidence_takes_what_an_old_snapshot_says() -> None:
    cache = Cache(CacheSettings(relationships_s=900))
    cache.directory.lookup, cache.directory.age_s = moved(), 900
    assert await cache.ask() == ("miss", moved())
    assert not isinstance((await cache.ask(fresh=True))[1], Found)


@pytest.mark.parametrize(
    ("lookup", "expected"),
    [
        (moved(), "miss"),
        (local(), "hit"),
        (Found(recipient=Recipient(dn="CN=x")), "hit"),
        (FORWARDS, "hit"),
        (NotFound(), "negative"),
        (Ambiguous(), "negative"),
    ],
    ids=["moved", "local", "no target address", "forwards", "not found", "ambiguous"],
)
async def test_weak_evidence_takes_a_no_from_the_cache_and_asks_for_a_yes(
    lookup: Lookup, expected: str
) -> None:
    cache = Cache()
    cache.directory.lookup = lookup
    await cache.ask()
    assert await cache.ask(fresh=True) == (expected, lookup)


async def test_one_question_at_a_time_per_user() -> None:
    cache = Cache()
    cache.directory.lookup = moved()
    cache.directory.gate.clear()
    waiting = [asyncio.create_task(cache.ask(f"CONTOSO\\u{n % 5}")) for n in range(100)]
    await asyncio.sleep(0)
    assert cache.cached.statistics().in_flight == 5
    cache.directory.gate.set()
    assert {lookup for _, lookup in await asyncio.gather(*waiting)} == {moved()}
    assert set(cache.directory.asked.values()) == {1}
    assert cache.cached.statistics().in_flight == 0


async def test_a_client_that_hangs_up_does_not_take_the_answer_from_others() -> None:
    cache = Cache()
    cache.directory.lookup = moved()
    cache.directory.gate.clear()
    first, second = asyncio.create_task(cache.ask()), asyncio.create_task(cache.ask())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    cache.directory.gate.set()
    assert await second == ("miss", moved())
    assert cache.questions == 1


async def test_an_exception_of_the_directory_reaches_who_asks_and_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = Cache()

    async def broken(_logon: object) -> object:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(cache.directory, "recipient", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            await cache.ask()
    assert await cache.ask() == ("miss", NotFound())


@pytest.mark.parametrize("ending", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_failure_that_nobody_waits_for_is_no_traceback_later(
    ending: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device hung up before the directory failed."""
    cache = Cache()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def fails(_logon: object) -> object:
        await cache.directory.gate.wait()
        raise ending

    monkeypatch.setattr(cache.directory, "recipient", fails)
    cache.directory.gate.clear()
    device = asyncio.create_task(cache.ask())
    await asyncio.sleep(0)
    device.cancel()
    with pytest.raises(asyncio.CancelledError):
        await device
    cache.directory.gate.set()
    for _ in range(9):
        await asyncio.sleep(0)
    assert cache.cached.statistics().in_flight == 0
    gc.collect()
    assert reported == []


async def test_clear_forgets_recipients_and_what_was_asked_before_it() -> None:
    cache = Cache()
    cache.directory.lookup = moved()
    cache.directory.gate.clear()
    before = asyncio.create_task(cache.ask())
    await asyncio.sleep(0)
    cache.cached.clear()
    cache.directory.gate.set()
    await before
    cache.directory.lookup = local()
    assert await cache.ask() == ("miss", local())
    cache.cached.clear()
    assert cache.cached.statistics().entries == 0


async def test_entries_are_bounded() -> None:
    cache = Cache(CacheSettings(max_entries=10))
    for n in range(30):
        await cache.ask(f"CONTOSO\\u{n}")
    assert cache.cached.statistics().entries == 10


async def test_statistics_are_a_value() -> None:
    cache = Cache()
    cache.directory.lookup = moved()
    await cache.ask()
    await cache.ask()
    cache.directory.lookup = NotFound()
    await cache.ask("CONTOSO\\nobody")
    await cache.ask("CONTOSO\\nobody")
    cache.directory.lookup = DOWN
    cache.clock.now += 301
    await cache.ask()
    await cache.ask("CONTOSO\\other")
    await cache.cached.relationships()
    cache.clock.now += 5
    found = cache.cached.statistics()
    assert (found.hits, found.misses, found.negative, found.stale) == (1, 3, 1, 1)
    assert (found.unavailable, found.in_flight, found.age_s) == (1, 0, 5.0)


async def test_who_has_retired_answers_and_reads_nothing_by_himself() -> None:
    cache = Cache()
    cache.cached.start()
    cache.cached.retire()
    for _ in range(9):
        await asyncio.sleep(0)
    assert cache.directory.relationships_asked == 0
    assert (await cache.ask())[0] == "miss"
    assert cache.directory.closed == 0


async def test_close_closes_the_directory() -> None:
    cache = Cache()
    cache.cached.start()
    cache.cached.close()
    cache.cached.close()
    assert cache.directory.closed == 2
