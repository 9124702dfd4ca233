"""The cache between the addon and a directory; see `CachedDirectory`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cachetools import TLRUCache

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.names import fold
from eas_redirect.directory.relationships import RelationshipsKeeper, outdated
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import (
    CacheResult,
    CacheSettings,
    CacheStatistics,
    Directory,
    DirectoryAnswer,
    DriftListener,
    Findings,
    Found,
    Lookup,
    MovedAnswer,
    NotFound,
    OrganizationRelationship,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)

JUST_NOW_S = 5.0  # however often a device asks, its user is asked for no more often

type Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    """An answer, as it is given from here; `good_until` ends its life, after which it is stale."""

    answer: DirectoryAnswer
    good_until: float


class CachedDirectory:
    """A directory's answers with their lives; one question at a time per user.

    Unavailable is never cached. `recipient(..., fresh=True)` is for weak evidence: a cached answer
    may say no, but only an answer asked now may say that a mailbox is elsewhere, and a stale one is
    never given. With `fresh=False`, for certain evidence, a cached answer may say where a mailbox
    went; that it is here, or that there is nobody, is asked now. A stale answer is served within
    `stale_s` while the directory is unavailable. Everything runs on the event loop of the caller;
    the clock is handed in.
    """

    source: DirectorySource

    def __init__(
        self,
        directory: Directory,
        settings: CacheSettings,
        *,
        on_drift: DriftListener | None = None,
        findings: Findings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`findings` looks at each reading of the relationships and says what is odd about it."""
        self.source = directory.source
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._answers: TLRUCache[Key, _Entry] = TLRUCache(
            maxsize=settings.max_entries, ttu=self._kept_until, timer=clock
        )
        self._in_flight: dict[tuple[int, Key], asyncio.Task[DirectoryAnswer]] = {}
        self._generation = 0  # answers to questions asked before a clear() are not kept
        self._hits = self._misses = self._negative = self._stale = self._unavailable = 0
        self._keeper = RelationshipsKeeper(
            directory, settings, on_drift=on_drift, findings=findings, clock=clock
        )

    async def recipient(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer:
        """The answer at hand, if there is one; else the directory is asked."""
        known = self.at_hand(logon, fresh=fresh)
        if known is not None:
            return known
        key = _key(logon)
        answer = await self._ask(key, logon)
        if fresh and answer.age_s >= self._settings.relationships_s:
            answer = replace(answer, lookup=outdated(answer.age_s))
        if isinstance(answer.lookup, Unavailable) and not fresh:
            entry = self._answers.get(key)
            if entry is not None and isinstance(entry.answer.lookup, Found):
                return self._count(replace(entry.answer, cache="stale"))
        return self._count(replace(answer, cache="miss"))

    def at_hand(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer | None:
        """What `recipient` answers without asking."""
        entry: _Entry | None = self._answers.get(_key(logon))
        if entry is None or self._clock() >= entry.good_until:
            return None
        if self._is_doubted(entry, fresh=fresh):
            return None
        return self._count(entry.answer)

    def _is_doubted(self, entry: _Entry, *, fresh: bool) -> bool:
        """Whether the evidence contradicts a cached answer: then the directory is asked now.
        Certain evidence says that the mailbox has left since, unless the answer is only a moment
        old."""
        if fresh:
            return says_moved(entry.answer)
        if not _says_here(entry.answer):
            return False
        return self._clock() - (entry.good_until - self._life(entry.answer)) >= JUST_NOW_S

    async def _ask(self, key: Key, logon: Logon) -> DirectoryAnswer:
        """One look-up per user at a time: later callers wait for the same answer. Shielded,
        since a device that hangs up must not take the answer from the others."""
        question = self._generation, key
        task = self._in_flight.get(question)
        if task is None:
            task = asyncio.ensure_future(self._ask_now(key, logon, self._generation))
            self._in_flight[question] = task
            task.add_done_callback(lambda done: self._landed(question, done))
        return await asyncio.shield(task)

    async def _ask_now(self, key: Key, logon: Logon, generation: int) -> DirectoryAnswer:
        answer = await self._directory.recipient(logon)
        if not isinstance(answer.lookup, Unavailable) and generation == self._generation:
            kind: CacheResult = "hit" if isinstance(answer.lookup, Found) else "negative"
            kept = replace(answer, cache=kind)
            self._answers[key] = _Entry(kept, self._clock() + self._life(answer))
        return answer

    def _landed(self, question: tuple[int, Key], task: asyncio.Task[DirectoryAnswer]) -> None:
        del self._in_flight[question]
        if not task.cancelled():
            task.exception()  # looked at: nobody may be waiting any more

    def _life(self, answer: DirectoryAnswer) -> float:
        found = isinstance(answer.lookup, Found)
        return self._settings.found_s if found else self._settings.not_found_s

    def _kept_until(self, _key: Key, entry: _Entry, _now: float) -> float:
        """A user that was found is kept beyond the answer's life, to be served stale; a no is
        not."""
        found = isinstance(entry.answer.lookup, Found)
        return entry.good_until + (self._settings.stale_s if found else 0.0)

    def _count(self, answer: DirectoryAnswer) -> DirectoryAnswer:
        match answer.cache:
            case "hit":
                self._hits += 1
            case "negative":
                self._negative += 1
            case "stale":
                self._stale += 1
            case _:
                self._misses += 1
                self._unavailable += isinstance(answer.lookup, Unavailable)
        return answer

    def meant_by(self, name: str) -> Lookup:
        """Whom an administrator's name means, asked now and not cached. Blocks."""
        return self._directory.meant_by(name)

    async def relationships(self, *, fresh: bool = False) -> RelationshipsAnswer:
        """The last good copy at once if there is one; else asked now. `fresh`, for weak
        evidence: not older than `relationships_s`."""
        return await self._keeper.relationships(fresh=fresh)

    def relationships_at_hand(self, *, fresh: bool) -> tuple[OrganizationRelationship, ...] | None:
        """What `relationships` gives without asking."""
        return self._keeper.at_hand(fresh=fresh)

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        """Which of at most MOST_WATCHED users appear to have moved, asked now and not cached. As
        for weak evidence, a directory that is too old says nothing."""
        answer = await self._directory.moved(users)
        if answer.age_s >= self._settings.relationships_s:
            return replace(answer, moved=outdated(answer.age_s))
        return answer

    def start(self) -> None:
        """Begin reading the relationships in the background (needs a running event loop)."""
        self._keeper.start()

    def statistics(self) -> CacheStatistics:
        return CacheStatistics(
            hits=self._hits,
            misses=self._misses,
            negative=self._negative,
            stale=self._stale,
            unavailable=self._unavailable,
            in_flight=len(self._in_flight),
            entries=len(self._answers),
            age_s=self._keeper.age_s(),
        )

    def clear(self) -> None:
        """Forget every recipient; relationships are read again, the last good copy kept."""
        self._generation += 1
        self._answers.clear()
        self._keeper.refresh_soon()

    def forget(self, logon: Logon) -> None:
        """Forget one user: the next look-up asks the directory."""
        self._answers.pop(_key(logon), None)

    def retire(self) -> None:
        """Stop reading by itself, but go on answering: another one has taken its place."""
        self._keeper.close()

    def close(self) -> None:
        """Idempotent. Look-ups in flight end with whatever the closed directory answers."""
        self._keeper.close()
        self._directory.close()


def _key(logon: Logon) -> Key:
    return logon.format, fold(logon.domain or ""), fold(logon.user)


def _says_here(answer: DirectoryAnswer) -> bool:
    """Whether somebody who is told UserHasNoMailbox has a mailbox here, or is nobody."""
    found = answer.lookup
    return isinstance(found, NotFound) or (isinstance(found, Found) and found.recipient.has_mailbox)


def says_moved(answer: DirectoryAnswer) -> bool:
    """Whether a redirect could follow from it."""
    found = answer.lookup
    if not isinstance(found, Found):
        return False
    return not found.recipient.has_mailbox and found.recipient.target_address is not None
