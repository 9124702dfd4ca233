"""The relationships: read at the start and again, the last good copy kept, changes told."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.relationships import (
    RelationshipsKeeper,
    changes,
    outdated,
    standing,
    unseen,
)
from eas_redirect.directory.sight import Sight
from eas_redirect.directory.values import (
    CacheSettings,
    Drift,
    OrganizationRelationship,
    Unavailable,
)
from tests.directory.fakes import CLOUD, DOWN, Clock, FakeDirectory, moved
from tests.directory.logons import logon

PARTNER = replace(CLOUD, name="Partner", domain_names=("partner.example",))


class Watched:
    """A cached directory whose drifts are kept."""

    def __init__(self, settings: CacheSettings | None = None) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.drifts: list[Drift] = []
        self.cached = CachedDirectory(
            self.directory,
            settings or CacheSettings(),
            on_drift=self.drifts.extend,
            findings=self.findings,
            clock=self.clock,
        )

    def findings(self, known: tuple[OrganizationRelationship, ...]) -> tuple[Drift, ...]:
        return tuple(
            Drift(kind="target_owa_url_invalid", message="vanity", relationship=one.name)
            for one in known
            if one.target_owa_url == "https://mail.contoso.example/owa"
        )

    async def reads(self, *known: OrganizationRelationship) -> list[tuple[str, str | None]]:
        """Reads once more and gives the kinds that this reading told."""
        self.directory.known = known
        self.drifts.clear()
        if self.directory.relationships_asked:
            self.cached.clear()
            await settle()
        else:
            await self.cached.relationships()
        return [(drift.kind, drift.relationship) for drift in self.drifts]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((CLOUD,), (CLOUD,), []),
        ((CLOUD,), (CLOUD, PARTNER), [("added", "Partner")]),
        ((CLOUD, PARTNER), (CLOUD,), [("removed", "Partner")]),
        ((CLOUD,), (replace(CLOUD, enabled=False),), [("disabled", "To the cloud")]),
        ((replace(CLOUD, enabled=False),), (CLOUD,), [("enabled", "To the cloud")]),
        (
            (CLOUD,),
            (replace(CLOUD, target_owa_url="https://outlook.office.com/owa"),),
            [("target_owa_url_changed", "To the cloud")],
        ),
        (
            (CLOUD,),
            (replace(CLOUD, domain_names=("contoso.mail.example", "new.example")),),
            [("domain_names_changed", "To the cloud")],
        ),
        (
            (CLOUD, PARTNER),
            (CLOUD, replace(PARTNER, domain_names=CLOUD.domain_names)),
            [("domain_names_changed", "Partner"), ("domain_claimed_twice", "Partner")],
        ),
        (
            (CLOUD, PARTNER),
            (CLOUD, replace(PARTNER, domain_names=CLOUD.domain_names, enabled=False)),
            [("disabled", "Partner"), ("domain_names_changed", "Partner")],
        ),
        ((CLOUD,), (), [("removed", "To the cloud"), ("none_readable", None)]),
        (
            (CLOUD,),
            (replace(CLOUD, target_owa_url="https://mail.contoso.example/owa"),),
            [
                ("target_owa_url_changed", "To the cloud"),
                ("target_owa_url_invalid", "To the cloud"),
            ],
        ),
    ],
)
async def test_each_change_is_told_once(
    before: tuple[OrganizationRelationship, ...],
    after: tuple[OrganizationRelationship, ...],
    told: list[tuple[str, str | None]],
) -> None:
    watched = Watched()
    assert await watched.reads(*before) == []
    assert await watched.reads(*after) == told
    assert await watched.reads(*after) == []


async def test_zero_readable_is_told_at_the_first_reading() -> None:
    assert await Watched().reads() == [("none_readable", None)]


async def test_the_last_good_copy_serves_while_the_directory_is_down() -> None:
    watched = Watched(CacheSettings(relationships_s=900, stale_s=1000))
    await watched.reads(CLOUD)
    watched.directory.known = DOWN
    watched.clock.now += 1899
    answer = await watched.cached.relationships()
    assert (answer.relationships, answer.age_s) == ((CLOUD,), 1899)
    await settle()
    assert [drift.kind for drift in watched.drifts] == ["unavailable"]
    watched.clock.now += 1
    assert (await watched.cached.relationships()).relationships == DOWN
    assert [drift.kind for drift in watched.drifts] == ["unavailable"]
    assert await watched.reads(CLOUD) == [("recovered", None)]


async def test_without_any_copy_unavailable_is_said_and_asked_again() -> None:
    watched = Watched()
    watched.directory.known = DOWN
    assert (await watched.cached.relationships()).relationships == DOWN
    assert watched.cached.statistics().age_s is None
    assert (await watched.cached.relationships()).relationships == DOWN
    assert watched.directory.relationships_asked == 2


async def test_the_background_reads_at_the_start_and_again() -> None:
    watched = Watched(CacheSettings(relationships_s=0.01))
    watched.cached.start()
    watched.cached.start()
    for _ in range(3000):
        if watched.directory.relationships_asked >= 3:
            break
        await asyncio.sleep(0.01)
    watched.cached.close()
    asked = watched.directory.relationships_asked
    assert asked >= 3
    await asyncio.sleep(0.05)
    assert watched.directory.relationships_asked == asked


async def test_many_waiters_cause_one_reading() -> None:
    watched = Watched()
    watched.directory.gate.clear()
    waiting = [asyncio.create_task(watched.cached.relationships()) for _ in range(20)]
    await settle()
    watched.directory.gate.set()
    assert all(answer.relationships == (CLOUD,) for answer in await asyncio.gather(*waiting))
    assert watched.directory.relationships_asked == 1


async def test_weak_evidence_has_an_old_copy_read_again_first() -> None:
    watched = Watched(CacheSettings(relationships_s=900, stale_s=86400))
    await watched.reads(CLOUD)
    watched.directory.known = (CLOUD, PARTNER)
    watched.clock.now += 899
    assert (await watched.cached.relationships(fresh=True)).relationships == (CLOUD,)
    watched.clock.now += 1
    assert (await watched.cached.relationships(fresh=True)).relationships == (CLOUD, PARTNER)
    watched.clock.now += 900
    watched.directory.known = DOWN
    assert (await watched.cached.relationships(fresh=True)).relationships == DOWN
    assert (await watched.cached.relationships()).relationships == (CLOUD, PARTNER), "certain"
    watched.directory.known = (CLOUD,)
    assert (await watched.cached.relationships(fresh=True)).relationships == (CLOUD,)


async def test_weak_evidence_needs_a_first_reading_too() -> None:
    watched = Watched()
    watched.directory.known = DOWN
    assert (await watched.cached.relationships(fresh=True)).relationships == DOWN
    watched.directory.known = (CLOUD,)
    assert (await watched.cached.relationships(fresh=True)).relationships == (CLOUD,)


@pytest.mark.parametrize(("age_s", "good"), [(0, True), (899, True), (900, False), (9000, False)])
async def test_weak_evidence_needs_a_snapshot_whose_file_is_in_force(
    age_s: float, good: bool
) -> None:
    """`age_s`: since the file became another one than what was read, and is held back."""
    watched = Watched(CacheSettings(relationships_s=900))
    watched.directory.lookup = moved()
    watched.directory.age_s = age_s
    known = (await watched.cached.relationships(fresh=True)).relationships
    found = (await watched.cached.recipient(logon("anna"), fresh=True)).lookup
    assert (known == (CLOUD,)) is good
    assert isinstance(known, Unavailable) is not good
    assert isinstance(found, Unavailable) is not good
    assert (await watched.cached.relationships()).relationships == (CLOUD,), "certain evidence"
    assert (await watched.cached.recipient(logon("anna"), fresh=False)).lookup == moved()


async def test_the_time_since_the_reading_counts_as_well() -> None:
    watched = Watched(CacheSettings(relationships_s=900))
    watched.directory.age_s = 500
    await watched.cached.relationships()
    watched.clock.now += 399
    assert isinstance((await watched.cached.relationships(fresh=True)).relationships, tuple)
    watched.clock.now += 1
    watched.directory.age_s = 900
    assert isinstance((await watched.cached.relationships(fresh=True)).relationships, Unavailable)


async def test_what_is_at_hand_is_what_would_be_given_without_a_question() -> None:
    watched = Watched(CacheSettings(relationships_s=100, stale_s=1000))
    for fresh in (False, True):
        assert watched.cached.relationships_at_hand(fresh=fresh) is None
    await watched.cached.relationships()
    for since_s, certain, weak in ((99, True, True), (100, True, False), (1099, True, False)):
        watched.clock.now = 1000.0 + since_s
        asked = watched.directory.relationships_asked
        for fresh, there in ((False, certain), (True, weak)):
            found = watched.cached.relationships_at_hand(fresh=fresh)
            assert found == ((CLOUD,) if there else None), (since_s, fresh)
        assert watched.directory.relationships_asked == asked
    watched.clock.now = 2100.0
    assert watched.cached.relationships_at_hand(fresh=False) is None
    await settle()  # nobody else reads: an old copy was one that is read again
    assert watched.directory.relationships_asked == 2


async def test_certain_evidence_takes_the_relationships_of_an_old_directory() -> None:
    watched = Watched(CacheSettings(relationships_s=100))
    watched.directory.age_s = 100
    assert (await watched.cached.relationships()).relationships == (CLOUD,)
    assert watched.cached.relationships_at_hand(fresh=False) == (CLOUD,)
    assert watched.cached.relationships_at_hand(fresh=True) is None


class Kept:
    """A keeper by itself; each call of its listener is kept."""

    def __init__(self, *, relationships_s: float = 900.0) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.told: list[tuple[Drift, ...]] = []
        self.keeper = RelationshipsKeeper(
            self.directory,
            CacheSettings(relationships_s=relationships_s),
            on_drift=self.told.append,
            clock=self.clock,
        )

    async def asked(self) -> int:
        await settle()
        return self.directory.relationships_asked

    async def until(self, happened: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if happened():
                return
            await asyncio.sleep(0.001)
        pytest.fail("it does not happen")


async def test_a_copy_is_read_again_when_its_life_is_over() -> None:
    kept = Kept()
    await kept.keeper.relationships()
    kept.directory.age_s = 500
    for later_s, asked in ((0, 1), (899, 1), (1, 2)):
        kept.clock.now += later_s
        await kept.keeper.relationships()
        assert await kept.asked() == asked
    kept.clock.now += 100
    assert (await kept.keeper.relationships()).age_s == 600
    kept.directory.age_s = 0
    kept.keeper.refresh_soon()
    assert await kept.asked() == 3
    kept.clock.now += 200
    assert (await kept.keeper.relationships(fresh=True)).age_s == 200
    assert await kept.asked() == 3
    assert kept.told == [], "nothing is odd"


async def test_the_background_alone_reads_again_while_it_runs() -> None:
    kept = Kept()
    kept.keeper.start()
    assert await kept.asked() == 1
    assert await kept.asked() == 1, "it waits"
    kept.clock.now += 900
    await kept.keeper.relationships()
    assert await kept.asked() == 1
    kept.keeper.close()


async def test_the_background_tries_a_directory_that_is_down_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eas_redirect.directory.relationships.RETRY_S", 0.001)
    kept = Kept()
    kept.directory.known = DOWN
    kept.keeper.start()
    await kept.until(lambda: kept.directory.relationships_asked >= 3)
    kept.directory.known = (CLOUD,)
    await kept.until(lambda: kept.keeper.age_s() is not None)
    asked = kept.directory.relationships_asked
    await asyncio.sleep(0.01)
    assert await kept.asked() == asked
    kept.keeper.close()


async def test_what_is_closed_reads_nothing_more() -> None:
    kept = Kept()
    kept.keeper.refresh_soon()
    assert await kept.asked() == 0, "it has not read before"
    await kept.keeper.relationships()
    kept.keeper.close()
    kept.keeper.refresh_soon()
    kept.keeper.start()
    assert await kept.asked() == 1


def test_it_closes_after_its_loop() -> None:
    kept = Kept()

    async def start() -> None:
        kept.keeper.start()
        await settle()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # its task is destroyed while it waits
    loop.run_until_complete(start())
    loop.close()
    kept.keeper.close()


async def test_a_failure_says_whether_an_earlier_copy_serves() -> None:
    for before, says in (
        (DOWN, "there is no earlier copy"),
        ((CLOUD,), "the last good copy serves"),
    ):
        kept = Kept()
        kept.directory.known = before
        await kept.keeper.relationships()
        kept.directory.known = DOWN
        await kept.keeper.relationships(fresh=True)
        kept.clock.now += 900
        await kept.keeper.relationships(fresh=True)
        [[drift]] = kept.told
        assert drift.kind == "unavailable"
        assert says in drift.message
        assert DOWN.message in drift.message


async def test_without_a_listener_nobody_is_told() -> None:
    directory = FakeDirectory()
    directory.known = ()
    keeper = RelationshipsKeeper(directory, CacheSettings())
    assert (await keeper.relationships()).relationships == ()


def test_a_relationship_is_the_same_by_its_dn() -> None:
    one, other = replace(CLOUD, dn="CN=A"), replace(CLOUD, dn="CN=B")
    assert changes((one,), (replace(one, name="Renamed"),)) == ()
    [removed] = changes((one, other), (one,))
    assert (removed.kind, removed.relationship) == ("removed", CLOUD.name)
    told = changes((replace(CLOUD, name="A"), PARTNER), (replace(PARTNER, enabled=False),
        replace(CLOUD, name="Zoo")))  # fmt: skip
    assert [(drift.relationship, drift.kind) for drift in told] == [
        ("A", "removed"),
        ("Partner", "disabled"),
        ("Zoo", "added"),
    ]


def test_what_is_wrong_with_one_reading_names_what_it_is_about() -> None:
    twice = replace(PARTNER, domain_names=("a.example", *CLOUD.domain_names))
    [drift] = standing((CLOUD, twice))
    assert (drift.kind, drift.domain) == ("domain_claimed_twice", CLOUD.domain_names[0])
    unknown = replace(PARTNER, domains_unknown="cut", domain_names=())
    [drift] = standing((CLOUD, unknown))
    assert (drift.kind, drift.relationship) == ("domain_names_unknown", "Partner")
    assert "(cut)" in drift.message
    assert standing((CLOUD, replace(unknown, enabled=False))) == ()


def test_what_cannot_be_seen_is_told_as_it_is_remarked() -> None:
    sight = Sight(source="ldap")
    assert [(one.kind, one.message) for one in unseen(sight)] == [
        (remark.kind, remark.message) for remark in sight.remarks()
    ]
    assert unseen(sight) != ()
    assert unseen(None) == ()


def test_an_old_directory_says_how_old() -> None:
    assert "for 900 s" in outdated(900.4).message
