"""The organization relationships, kept fresh in the background; see `RelationshipsKeeper`."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from eas_redirect.directory.drift import Copy, changes, standing, unseen
from eas_redirect.directory.values import (
    CacheSettings,
    Directory,
    Drift,
    DriftListener,
    Findings,
    RelationshipsAnswer,
    Unavailable,
)

RETRY_S = 15.0  # after a failed reading; never longer than relationships_s


def outdated(age_s: float) -> Unavailable:
    """Instead of what a directory says that may have known better for so long."""
    message = f"the snapshot in force has not been its file for {age_s:.0f} s: see the journal"
    return Unavailable(error_type="snapshot_held_back", message=message)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The last good copy, when it came, and what was odd about it."""

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

        `fresh`: a copy older than `relationships_s` is no answer. It is read first, and where that
        fails they are Unavailable.
        """
        if fresh:
            return await self._fresh()
        reading = self._reading
        if reading is None:
            return await asyncio.shield(self._refreshing())
        age = self._clock() - reading.read_at
        if age >= self._settings.relationships_s + self._settings.stale_s:
            return await asyncio.shield(self._refreshing())
        if age >= self._settings.relationships_s and self._loop is None:
            self._refreshing()  # nobody else does it; the copy serves until it is done
        return replace(reading.answer, age_s=age + reading.answer.age_s)

    async def _fresh(self) -> RelationshipsAnswer:
        life = self._settings.relationships_s
        if (reading := self._reading) is not None:
            age = self._clock() - reading.read_at + reading.answer.age_s
            if age < life:
                return replace(reading.answer, age_s=age)
        answer = await asyncio.shield(self._refreshing())
        if answer.age_s < life:
            return answer
        return replace(answer, relationships=outdated(answer.age_s))

    def age_s(self) -> float | None:
        return None if self._reading is None else self._clock() - self._reading.read_at

    def start(self) -> None:
        """Needs a running event loop. Does nothing the second time."""
        if self._loop is None and not self._closed:
            self._loop = asyncio.ensure_future(self._keep_fresh())

    def refresh_soon(self) -> None:
        """Reads again now, in the background, when it has read before."""
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
