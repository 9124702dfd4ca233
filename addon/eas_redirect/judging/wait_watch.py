"""Ends the waits of devices whose user has moved: whose, when, and how often. No mitmproxy.

The directory is asked about the users whose device waits. Users who appear to have moved are
looked up again and judged like weak evidence. Only a decision to redirect ends the wait, and only
Exchange's answer to the next request brings the 451.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import batched
from typing import Literal, Protocol, get_args

from eas_redirect.activesync.authorization import Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import caseless
from eas_redirect.activesync.wait import WaitKind
from eas_redirect.directory.values import (
    MOST_WATCHED,
    Found,
    MovedAnswer,
    Unavailable,
    Watched,
)
from eas_redirect.judging.ended_waits import PER_SECOND, EndedWaits, EndedWaitsError, Ending
from eas_redirect.judging.judge import Judge, Judgement, whereabouts
from eas_redirect.policy.decision import Redirect
from eas_redirect.policy.reasons import Reason

logger = logging.getLogger(__name__)

GLANCE_S = 1.0
JUDGED_AGAIN_S = 60.0  # at the earliest, of a wait that was held back
# Reasons that may be gone at the next look.
_PASSING = frozenset({Reason.DIRECTORY_UNAVAILABLE, Reason.LOGON_NOT_PROVEN})
MOST_JUDGED_AT_ONCE = 4

type WhyItWaits = Literal[
    "decision", "no_device", "again_later", "ended_twice", "state_file", "answered"
]
"""Why the wait of a user who looks moved goes on: the decision would not redirect (`event.reason`
says why); the request names no device; it was ended less than four minutes ago, or twice; the file
of ended waits cannot be used; Exchange's answer, or the device's leaving, came first."""

HELD_BACK: frozenset[str] = frozenset(get_args(WhyItWaits.__value__))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A request that waits at Exchange. `began_s`: when it had been sent completely, by the
    clock of the watch. `exchange`: makes it into weak evidence when it is judged."""

    id: str
    kind: WaitKind
    logon: Logon
    began_s: float
    exchange: Callable[[], Exchange]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitOutcome:
    """The result for a wait whose user appears to have moved. `waited_s` so far; `seen_s` since
    the directory first said so. `held_back` None: it is ended, or would be in enforce mode."""

    wait: Wait
    judgement: Judgement
    waited_s: float
    seen_s: float
    held_back: WhyItWaits | None = None

    @property
    def decision(self) -> Literal["end_wait", "would_end_wait", "pass"]:
        """The word of the journal (`eas.decision`)."""
        if self.held_back is not None:
            return "pass"
        return "end_wait" if self.judgement.mode == "enforce" else "would_end_wait"


class OpenWaits(Protocol):
    """The carrier's side."""

    async def open_waits(self) -> Sequence[Wait]:
        """The current waits whose user is known by a logon that Exchange has checked."""

    def is_open(self, wait: Wait) -> bool:
        """Whether it still waits."""

    async def end_wait(self, outcome: WaitOutcome) -> bool:
        """End it; the carrier journals that. False: there was already an answer."""

    def wait_goes_on(self, outcome: WaitOutcome) -> None:
        """Journal that it goes on, or would have been ended."""


class WaitingUsers(Protocol):
    """Finds the directory objects of users whose devices wait."""

    def known(self, logons: Sequence[Logon]) -> Mapping[Logon, Watched]:
        """Those that are known now. The others are looked up meanwhile, at a limited pace."""


@dataclass(slots=True)
class _Seen:
    """What is remembered about one wait while it lasts."""

    moved_at: float | None = None
    judge_at: float = float("-inf")
    told: set[WhyItWaits | None] = field(default_factory=set)  # None: it would be ended


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStatistics:
    """The last look: how many waits are watched, how many belong to users who appear to have
    moved, and why the directory could not be asked."""

    watched: int = 0
    moved: int = 0
    problem: str | None = None


class WaitWatch:
    """Looks at the open waits again and again, and ends some of them."""

    def __init__(
        self,
        open_waits: OpenWaits,
        users: WaitingUsers,
        judge: Callable[[], Judge],
        ended: Callable[[], EndedWaits],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._open = open_waits
        self._users = users
        self._judge = judge
        self._ended = ended
        self._clock = clock
        self._sleep = sleep
        self._seen: dict[str, _Seen] = {}
        self._said: str | None = None
        self.statistics = WaitStatistics()
        self.accounts: Counter[str] = Counter()  # DN → waits, at the last look

    async def run(self, every_s: Callable[[], float | None]) -> None:
        """Until it is cancelled. `every_s`: how often to look; None: not at all for now. A newly
        adopted snapshot is looked at immediately."""
        looked_at, looked_in = float("-inf"), None
        while True:
            watch_s, directory = every_s(), self._judge().directory
            if watch_s is None:
                self.statistics = WaitStatistics()
                self.accounts.clear()
            is_due = watch_s is not None and self._clock() - looked_at >= watch_s
            if watch_s is not None and (is_due or directory is not looked_in):
                looked_at, looked_in = self._clock(), directory
                try:
                    await self.look(watch_s)
                except Exception as error:  # a bug must not end it
                    logger.error(
                        "eas-redirect: an internal error (%s %s); no wait is ended by this look.",
                        type(error).__name__,
                        whereabouts(error),
                    )
            await self._sleep(GLANCE_S)

    async def look(self, watch_s: float) -> None:
        """Once: ask about all that have waited for `watch_s`, and end the ones to end within
        another `watch_s`; the next look finds the rest."""
        until = self._clock() + watch_s
        waits = [w for w in await self._open.open_waits() if self._clock() - w.began_s >= watch_s]
        await _others_turn()
        self._seen = {w.id: self._seen.get(w.id) or _Seen() for w in waits}
        await _others_turn()
        moved = await self._look_moved(waits)
        due = [w for w in moved if self._seen[w.id].judge_at <= self._clock()]
        for some in batched(due, PER_SECOND):
            if self._clock() >= until:
                return
            await self._decide(some, until)

    async def _look_moved(self, waits: Sequence[Wait]) -> list[Wait]:
        """Those whose user appears to have moved, according to the directory, the oldest first."""
        logons = tuple(dict.fromkeys(w.logon for w in waits))
        await _others_turn()
        known = self._users.known(logons)
        await _others_turn()
        self.accounts = Counter(known[w.logon].dn for w in waits if w.logon in known)
        await _others_turn()
        users = tuple(dict.fromkeys(known.values()))
        await _others_turn()
        gone: set[Watched] = set()
        problem = None
        for some in batched(users, MOST_WATCHED):
            answer = (await self._asked(some)).moved
            if isinstance(answer, Unavailable):
                problem = answer.message
                break  # neither would the next question be answered
            gone.update(answer)
        moved = [w for w in waits if w.logon in known and known[w.logon] in gone] if gone else []
        for wait in moved:
            seen = self._seen[wait.id]
            seen.moved_at = self._clock() if seen.moved_at is None else seen.moved_at
        self.statistics = WaitStatistics(
            watched=self.accounts.total(), moved=len(moved), problem=problem
        )
        return sorted(moved, key=lambda wait: wait.began_s)

    async def _asked(self, users: tuple[Watched, ...]) -> MovedAnswer:
        judge = self._judge()
        try:
            async with asyncio.timeout(judge.lookup_timeout_s + 1.0):
                return await judge.directory.moved(users)
        except TimeoutError:
            late = Unavailable(
                error_type="timeout",
                message=f"the directory gave no answer within {judge.lookup_timeout_s:g} s",
            )
            return MovedAnswer(moved=late, source=judge.directory.source)

    async def _decide(self, waits: Sequence[Wait], until: float) -> None:
        """Judge some waits, and end those that may be ended."""
        outcomes = [o for some in batched(waits, MOST_JUDGED_AT_ONCE) for o in await self._of(some)]
        ready = []
        for outcome in outcomes:
            if outcome.held_back is None:
                ready.append(outcome)
            else:
                self._hold_back(outcome)
        while ready and self._clock() < until:
            ready = await self._end(ready)
            if ready:
                await self._sleep(1.0)

    async def _of(self, waits: Iterable[Wait]) -> list[WaitOutcome]:
        return await asyncio.gather(*(self._judged(wait) for wait in waits))

    async def _judged(self, wait: Wait) -> WaitOutcome:
        judge = self._judge()
        judge.directory.forget(wait.logon)
        judgement = await judge.judge(wait.exchange())
        outcome = self._outcome(wait, judgement)
        if not isinstance(judgement.verdict, Redirect):
            return replace(outcome, held_back="decision")
        if not judgement.exchange.request.device_id:
            return replace(outcome, held_back="no_device")
        return outcome

    def _outcome(self, wait: Wait, judgement: Judgement) -> WaitOutcome:
        now, seen = self._clock(), self._seen[wait.id]
        return WaitOutcome(
            wait=wait,
            judgement=judgement,
            waited_s=max(0.0, now - wait.began_s),
            seen_s=max(0.0, now - (now if seen.moved_at is None else seen.moved_at)),
        )

    async def _end(self, outcomes: list[WaitOutcome]) -> list[WaitOutcome]:
        """Returns those that must wait for another second."""
        outcomes = [outcome for outcome in outcomes if self._open.is_open(outcome.wait)]
        names = [_name(outcome) for outcome in outcomes]
        try:
            endings: Sequence[Ending] = await asyncio.to_thread(self._ended().claim, names)
            self._said = None
        except EndedWaitsError as error:
            self._say(str(error))
            for outcome in outcomes:
                self._hold_back(replace(outcome, held_back="state_file"))
            return []
        later = []
        for outcome, ending in zip(outcomes, endings, strict=True):
            match ending:
                case "later":
                    later.append(outcome)
                case "end":
                    await self._end_one(outcome)
                case "again_later" | "ended_twice":
                    self._hold_back(replace(outcome, held_back=ending))
        return later

    async def _end_one(self, outcome: WaitOutcome) -> None:
        now = self._outcome(outcome.wait, outcome.judgement)
        if now.decision == "would_end_wait":
            self._hold_back(now)
        elif not await self._open.end_wait(now):
            self._hold_back(replace(now, held_back="answered"))

    def _hold_back(self, outcome: WaitOutcome) -> None:
        """It goes on, and is judged again later. Reported once for each wait and reason."""
        seen = self._seen[outcome.wait.id]
        if outcome.held_back is None:
            seen.judge_at = float("inf")
        elif outcome.judgement.verdict.reason not in _PASSING:
            seen.judge_at = self._clock() + JUDGED_AGAIN_S
        if outcome.held_back not in seen.told:
            seen.told.add(outcome.held_back)
            self._open.wait_goes_on(outcome)

    def _say(self, problem: str) -> None:
        """Once, until the problem changes or is over."""
        if problem != self._said:
            self._said = problem
            logger.warning("eas-redirect: %s", problem)


async def _others_turn() -> None:
    """Between two things that take some milliseconds where thousands wait."""
    await asyncio.sleep(0)


def _name(outcome: WaitOutcome) -> str:
    """For a device and a move: the account, where its mailbox went, the device's id."""
    asked, request = outcome.judgement.asked, outcome.judgement.exchange.request
    assert asked is not None and isinstance(asked.lookup, Found)  # noqa: S101, PT018 - it redirects
    who = asked.lookup.recipient
    account = who.object_guid or who.dn.lower()
    target = (who.target_address or "").lower()
    return "\0".join((account, target, caseless(request.device_id or "")))
