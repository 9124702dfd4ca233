"""Does Exchange ask for a logon? One request without credentials, as a device would begin: OPTIONS
to ActiveSync, and where weak answers of Autodiscover count, a POST to that.

Only the one server behind a reverse proxy is asked: at the start, every 10 minutes, and a minute
after a try that got no answer. One worker asks, and the others read the result
(`judging.challenges`). No mail waits for any of this. Imports neither mitmproxy nor ldap3.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, TypedDict, assert_never

from eas_redirect.judging.challenges import Challenges, shared_folder
from eas_redirect.service.upstream import Answered, NoAnswer, UpstreamOutcome

with contextlib.suppress(ImportError):  # Windows: several workers do not share a port there
    import fcntl

logger = logging.getLogger(__name__)

ASK_EVERY_S = 600.0
TRY_AGAIN_S = 60.0
LOOK_EVERY_S = 5.0  # whether it has become this worker's turn
TIMEOUT_S = 10.0


class ProbeWords(TypedDict):
    """What is sent, and the consequence while no logon is asked for."""

    asking: str
    unproven: str


OF_AUTODISCOVER = ProbeWords(
    asking="an Autodiscover POST",
    unproven="a weak answer of Autodiscover's tells no phone of a new server",
)


class ChallengeProbe:
    """Keeps asking, for as long as the proxy runs."""

    def __init__(
        self,
        challenges: Challenges,
        server: Callable[[], str | None],
        ask: Callable[[float], Awaitable[UpstreamOutcome]],
        folder: Path | None = None,
        *,
        asking: str = "OPTIONS",
        unproven: str = "a 403 redirects nobody",
    ) -> None:
        """`asking`: what is sent, and `unproven`: what follows while no logon is asked for, in
        words. `server`: as `challenges` knows it, None where there is not the one, or nothing hangs
        on its answer; `ask`: one request of our own to it, within so many seconds; `folder`: shared
        by workers."""
        self._challenges = challenges
        self._server = server
        self._ask_server = ask
        self._folder = folder or shared_folder()
        self._asking = asking
        self._unproven = unproven
        self._turn: IO[bytes] | None = None
        self._said: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_asking())

    def close(self) -> None:
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        if self._turn is not None:
            self._turn.close()  # the next worker's turn

    async def _keep_asking(self) -> None:
        while True:
            wait_s = LOOK_EVERY_S
            try:
                if self._is_our_turn():
                    wait_s = await self.ask()
            except Exception:  # a bug must not end it
                logger.exception(
                    "eas-redirect: an internal error while asking Exchange for a logon"
                )
                wait_s = TRY_AGAIN_S
            await asyncio.sleep(wait_s)

    async def ask(self) -> float:
        """Ask once. Returns in how many seconds to ask again."""
        server = self._server()
        if server is None:
            return TRY_AGAIN_S
        match await self._ask_server(TIMEOUT_S):
            case NoAnswer():  # what keeps mail from Exchange is said elsewhere
                return TRY_AGAIN_S
            case Answered(status=401):
                self._challenges.met(server)
                self._said = None
                return ASK_EVERY_S
            case Answered(status=status):
                self._say(
                    f"{server} answered {status} to {self._asking} without a logon. While it does"
                    f" not ask for one (401), {self._unproven} (logon_not_proven)."
                )
                return TRY_AGAIN_S if status >= 500 else ASK_EVERY_S
            case other:
                assert_never(other)

    def _is_our_turn(self) -> bool:
        """Whoever holds the lock asks; it is released when its process ends, for whatever
        reason."""
        if self._folder is None or self._turn is not None:
            return True
        try:
            turn = (self._folder / f"{self._challenges.name}.lock").open("wb")
        except OSError:
            return True  # better twice than never
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            turn.close()
            return False
        self._turn = turn
        return True

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.warning("eas-redirect: %s", text)
