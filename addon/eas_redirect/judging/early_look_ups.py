"""Looks a user up while Exchange is still thinking, and so before anybody knows that it matters.

Exchange holds an error back for 20 s (the tarpit of its front end), and some clients give up after
30 s. An answer that has not come after 2 s, to a request that does not wait on purpose, is most
likely such an error: when it comes, the directory has answered. What was found serves this one
exchange, and only while it is young. Imports no mitmproxy.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.cache import CachedDirectory, says_moved
from eas_redirect.directory.values import DirectoryAnswer
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Ask

logger = logging.getLogger(__name__)

AFTER_S = 2.0
GOOD_S = 30.0  # the answer of a look-up
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class SentUp:
    """A request that was completely sent so many seconds ago, and whose answer has not begun.
    `logon`: from Authorization or the connection; None: nobody to look up."""

    logon: Logon | None
    since_s: float


type Peek = Callable[[], SentUp | None]
"""What has become of a request; None while it has not gone up whole."""


@dataclass(slots=True)
class EarlyLookUp:
    """For one exchange. `answer`: from `directory`, to a question about `logon`, `at` a time of
    the clock."""

    began: float
    peek: Peek
    logon: Logon | None = None
    directory: CachedDirectory | None = None
    answer: DirectoryAnswer | None = None
    at: float = 0.0

    def answer_to(self, ask: Ask, directory: CachedDirectory, now: float) -> DirectoryAnswer | None:
        """The result, if it answers this question and says that a mailbox has moved. Any other
        result is asked for again, since Exchange may know better, and so is one from a directory
        that has been replaced."""
        if self.answer is None or now - self.at > GOOD_S:
            return None
        if ask.logon != self.logon or directory is not self.directory:
            return None
        return self.answer if says_moved(self.answer) else None


class EarlyLookUps:
    """For the exchanges under way, by id. Used on one event loop."""

    def __init__(
        self,
        judge: Callable[[], Judge],
        most_at_once: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge = judge
        self._most_at_once = most_at_once
        self._clock = clock
        self._open: dict[str, EarlyLookUp] = {}  # not looked up yet, the oldest first
        self._asking: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, exchange: str, peek: Peek) -> EarlyLookUp:
        """A request begins that does not wait on purpose. Needs a running event loop."""
        begun = self._open[exchange] = EarlyLookUp(self._clock(), peek)
        self._look_soon()
        return begun

    def end(self, exchange: str) -> None:
        """It has its answer, or gets none."""
        self._open.pop(exchange, None)

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        if self._open:
            self._look_soon()
        try:
            self.look()
        except Exception:  # a bug must not end it
            logger.exception("eas-redirect: slow answers could not be looked at")

    def look(self) -> None:
        """Begin a look-up for every request that has waited long enough, as far as there is
        room."""
        directory, now = self._judge().directory, self._clock()
        if directory.source == "snapshot":
            return  # which answers at once
        for exchange, begun in tuple(self._open.items()):
            if now - begun.began < AFTER_S or len(self._asking) >= self._most_at_once():
                return
            sent = begun.peek()
            if sent is None or (sent.logon is not None and sent.since_s < AFTER_S):
                continue
            del self._open[exchange]
            if sent.logon is not None:
                task = asyncio.get_running_loop().create_task(self._look_up(begun, sent.logon))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _look_up(self, begun: EarlyLookUp, logon: Logon) -> None:
        directory = self._judge().directory
        try:
            answer = await directory.recipient(logon, fresh=True)
        except Exception:  # then it is asked when the answer comes
            logger.exception("eas-redirect: a user could not be looked up early")
        else:
            begun.logon, begun.directory = logon, directory
            begun.answer, begun.at = answer, self._clock()
