"""The relationships: read at the start and again, the last good copy kept, changes told."""

import asyncio
from dataclasses import replace

import pytest

from eas_redirect.directory.cache import CachedDirectory
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
