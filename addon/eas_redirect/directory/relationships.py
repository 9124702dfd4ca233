"""The organization relationships, kept fresh in the background; see `RelationshipsKeeper`."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from eas_redirect.directory.sight import Sight
from eas_redirect.directory.values import (
    CacheSettings,
    Directory,
    Drift,
    DriftListener,
    Findings,
    OrganizationRelationship,
    RelationshipsAnswer,
    Unavailable,
)

# What changed in the relationships between two readings, as values.

type Copy = tuple[OrganizationRelationship, ...]


def changes(before: Copy, after: Copy) -> tuple[Drift, ...]:
    """Relationships added, removed, enabled, disabled, or with another TargetOwaURL."""
    old, new = _by_identity(before), _by_identity(after)
    found = [
        *(_drift("removed", old[key], "is gone") for key in old.keys() - new.keys()),
        *(_drift("added", new[key], "is new") for key in new.keys() - old.keys()),
    ]
    for key in old.keys() & new.keys():
        found.extend(_differences(old[key], new[key]))
    return tuple(sorted(found, key=lambda drift: (drift.relationship or "", drift.kind)))


def standing(relationships: Copy) -> tuple[Drift, ...]:
    """What is wrong with one reading on its own."""
    if not relationships:
        return (
            Drift(
                kind="none_readable",
                message="no organization relationship can be read: nobody will be redirected "
                "unless redirect.relationships names one; grant the account read access to "
                "CN=Federation of the Exchange organization",
            ),
        )
    return (*_claimed_twice(relationships), *_of_unknown_domains(relationships))


def _of_unknown_domains(relationships: Copy) -> Iterable[Drift]:
    for one in relationships:
        if one.domains_unknown is not None and one.enabled:
            yield Drift(
                kind="domain_names_unknown",
                message=f"the relationship {one.name} may have further domains: nobody of a domain "
                f"that no other relationship names will be redirected ({one.domains_unknown})",
                relationship=one.name,
            )


def unseen(sight: Sight | None) -> tuple[Drift, ...]:
    """What the directory cannot vouch for."""
    remarks = sight.remarks() if sight is not None else ()
    return tuple(Drift(kind=remark.kind, message=remark.message) for remark in remarks)


def _claimed_twice(relationships: Copy) -> Iterable[Drift]:
    owners: dict[str, list[str]] = {}
    for relationship in relationships:
        for domain in relationship.domain_names if relationship.enabled else ():
            owners.setdefault(domain, []).append(relationship.name)
    for domain, names in sorted(owners.items()):
        if len(names) > 1:
            yield Drift(
                kind="domain_claimed_twice",
                message=f"{domain} belongs to {len(names)} enabled relationships "
                f"({', '.join(sorted(names))}): nobody in it will be redirected",
                relationship=min(names),
                domain=domain,
            )


def _differences(old: OrganizationRelationship, new: OrganizationRelationship) -> Iterable[Drift]:
    if old.enabled != new.enabled:
        word = "enabled" if new.enabled else "disabled"
        yield _drift(word, new, f"was {word}")
    if old.target_owa_url != new.target_owa_url:
        yield _drift(
            "target_owa_url_changed",
            new,
            f"has another TargetOwaURL: {new.target_owa_url or 'none'} "
            f"instead of {old.target_owa_url or 'none'}",
        )
    if set(old.domain_names) != set(new.domain_names):
        yield _drift(
            "domain_names_changed",
            new,
            f"has other domain names: {', '.join(new.domain_names) or 'none'} "
            f"instead of {', '.join(old.domain_names) or 'none'}",
        )


def _drift(kind: str, relationship: OrganizationRelationship, what: str) -> Drift:
    return Drift(
        kind=kind,
        message=f"the relationship {relationship.name} {what}",
        relationship=relationship.name,
    )


def _by_identity(relationships: Copy) -> dict[str, OrganizationRelationship]:
    return {relationship.dn or relationship.name: relationship for relationship in relationships}


RETRY_S = 15.0  # after a failed reading; never longer than relationships_s


def outdated(age_s: float) -> Unavailable:
    """In place of the answer of a directory that may have known better for that long."""
    message = f"the snapshot in force has not been its file for {age_s:.0f} s: see the journal"
    return Unavailable(error_type="snapshot_held_back", message=message)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The last good copy, when it was read, and what was odd about it."""

    answer: RelationshipsAnswer
    copy: Copy
    read_at: float
    findings: frozenset[Drift]


class RelationshipsKeeper:
    """Reads the relationships at the start and every `relationships_s`, one reading at a time.

    The last good copy serves while the directory is down, at most `stale_s` beyond its life. What
    changed between two readings goes to `on_drift`; what is odd goes there once, when it turns up.
    """

    def __init__(
        self,
        directory: Directory,
        settings: CacheSettings,
        *,
        on_drift: DriftListener | None = None,
        findings: Findings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._on_drift = on_drift
        self._findings = findings
        self._clock = clock
        self._reading: _Reading | None = None
        self._last_failure: Unavailable | None = None
        self._refresh: asyncio.Task[RelationshipsAnswer] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._closed = False

    async def relationships(self, *, fresh: bool = False) -> RelationshipsAnswer:
        """The last good copy at once, or the answer to a question asked now.

        `fresh`: a copy older than `relationships_s` does not count. It is read again first, and if
        that fails the answer is Unavailable.
        """
        reading = self._good(fresh=fresh)
        if reading is not None:
            age_s = self._clock() - reading.read_at + reading.answer.age_s
            return replace(reading.answer, age_s=age_s)
        answer = await asyncio.shield(self._refreshing())
        if fresh and answer.age_s >= self._settings.relationships_s:
            return replace(answer, relationships=outdated(answer.age_s))
        return answer

    def at_hand(self, *, fresh: bool) -> Copy | None:
        """What `relationships` gives without waiting for a reading."""
        reading = self._good(fresh=fresh)
        return None if reading is None else reading.copy

    def _good(self, *, fresh: bool) -> _Reading | None:
        """The last good copy, while it may serve."""
        reading, life = self._reading, self._settings.relationships_s
        if reading is None:
            return None
        since_s = self._clock() - reading.read_at
        if fresh:
            return reading if since_s + reading.answer.age_s < life else None
        if since_s >= life + self._settings.stale_s:
            return None
        if since_s >= life and self._loop is None:
            self._refreshing()  # nobody else does it; the copy serves until it is done
        return reading

    def age_s(self) -> float | None:
        return None if self._reading is None else self._clock() - self._reading.read_at

    def start(self) -> None:
        """Needs a running event loop. A second call does nothing."""
        if self._loop is None and not self._closed:
            self._loop = asyncio.ensure_future(self._keep_fresh())

    def refresh_soon(self) -> None:
        """Read again now, in the background, if it has read before."""
        if self._reading is not None and not self._closed:
            self._refreshing()

    def close(self) -> None:
        self._closed = True
        if self._loop is not None and not self._loop.get_loop().is_closed():
            self._loop.cancel()

    async def _keep_fresh(self) -> None:
        while True:
            answer = await asyncio.shield(self._refreshing())
            life = self._settings.relationships_s
            failed = isinstance(answer.relationships, Unavailable)
            await asyncio.sleep(min(RETRY_S, life) if failed else life)

    def _refreshing(self) -> asyncio.Task[RelationshipsAnswer]:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.ensure_future(self._read())
        return self._refresh

    async def _read(self) -> RelationshipsAnswer:
        answer = await self._directory.relationships()
        if isinstance(answer.relationships, Unavailable):
            self._failed(answer.relationships)
            return answer
        self._arrived(answer, answer.relationships)
        return answer

    def _failed(self, failure: Unavailable) -> None:
        if self._last_failure is None:
            kept = "the last good copy serves" if self._reading else "there is no earlier copy"
            message = f"the relationships cannot be read, {kept}: {failure.message}"
            self._tell((Drift(kind="unavailable", message=message),))
        self._last_failure = failure

    def _arrived(self, answer: RelationshipsAnswer, copy: Copy) -> None:
        before = self._reading
        odd = frozenset(standing(copy)) | frozenset(unseen(answer.sight))
        odd |= frozenset(self._findings(copy) if self._findings else ())
        self._reading = _Reading(answer, copy, self._clock(), odd)
        drifts: list[Drift] = []
        if self._last_failure is not None:
            drifts.append(Drift(kind="recovered", message="the relationships can be read again"))
            self._last_failure = None
        if before is not None:
            drifts.extend(changes(before.copy, copy))
        new = odd - before.findings if before is not None else odd
        drifts.extend(sorted(new, key=lambda drift: (drift.kind, drift.message)))
        self._tell(tuple(drifts))

    def _tell(self, drifts: tuple[Drift, ...]) -> None:
        if drifts and self._on_drift is not None:
            self._on_drift(drifts)
