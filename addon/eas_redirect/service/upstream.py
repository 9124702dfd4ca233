"""Whether the legacy Exchange can be reached from here, for `/ready`: a front with a by-pass sends
its phones straight to Exchange when this says no.

An answered exchange shows that it can. Failing TLS, or three failed exchanges in a row from two
clients, show that it cannot. From then on a request of our own decides, every five seconds; the
first one that is answered says yes again. Imports neither mitmproxy nor ldap3.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from eas_redirect.activesync.request import caseless
from eas_redirect.autodiscover.phone_request import PATH
from eas_redirect.certificates.trouble import Peer, diagnose
from eas_redirect.policy.target import EAS_PATH
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.status import ErrorMemory, UpstreamLine

logger = logging.getLogger(__name__)

# Requests of our own, without a logon; neither changes anything.
OPTIONS = f"OPTIONS {EAS_PATH}"
AUTODISCOVER = f"POST {PATH}"

SEEN_S = 60.0  # an Exchange that answered within this time need not be asked
RETRY_S = 5.0  # between two requests of our own; so long holds what the last one said
ASK_TIMEOUT_S = 4.0
LOOK_S = 1.0  # so long a page waits for it: load balancers give up after two seconds
FAILURES = 3  # exchanges in a row, from
MOST_TOLD = 8  # causes
CLIENTS = 2  # different clients: a single one may be the cause itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Exchange answered, whatever it said. `expires`: when the certificate that it showed
    expires."""

    status: int
    head: str = ""
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """`why`: a clause without a full stop."""

    why: str


type UpstreamOutcome = Answered | NoAnswer


class Upstream:
    """`peer`: the one server behind a reverse proxy, or None; `ask`: one request of our own to it,
    within so many seconds."""

    def __init__(
        self,
        peer: Callable[[], Peer | None],
        ask: Callable[[float], Awaitable[UpstreamOutcome]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._peer = peer
        self._ask = ask
        self._clock = clock
        self._sleep = sleep
        self._wall_clock = wall_clock
        self._seen_at: float | None = None  # any answer of Exchange's
        self._asked_at = float("-inf")
        self._answered_at = float("-inf")  # a request of our own
        self._failed: deque[str | None] = deque(maxlen=FAILURES)  # clients of the last exchanges
        self._asking = asyncio.Lock()
        self._asks: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        self._errors = ErrorMemory()
        self.expires: datetime | None = None

    # -- what is seen in the traffic -------------------------------------------------------------

    def observe(self, record: Record) -> None:
        """A sink: any answer from Exchange shows that it is there."""
        if record.upstream_status_code is not None:
            self._seen_at = self._clock()
            self._failed.clear()
        elif record.error_type == "upstream_failed":
            self._failed.append(_client(record))
            if len(self._failed) == FAILURES and len(set(self._failed)) >= CLIENTS:
                said = record.error_message or "no answer"
                self.doubt(f"the last {FAILURES} exchanges failed: {said}")

    def shown(self, expires: datetime) -> None:
        """The certificate of a successful handshake."""
        self.expires = expires

    def doubt(self, why: str) -> None:
        """Exchange may be out of reach: `/ready` says no until it answers us. It still says yes
        if Exchange has just answered, because a stranger can make a handshake fail."""
        if self._peer() is None:
            return
        if self.problem is None and self._clock() - self._answered_at >= RETRY_S:
            self._meet(why)
        self._begin_asking(why)

    @property
    def problem(self) -> str | None:
        """Why Exchange cannot be reached now."""
        return self._errors.now

    def _meet(self, problem: str | None) -> None:
        self._errors.see(problem, self._wall_clock())

    # -- what is shown ---------------------------------------------------------------------------

    def line(self) -> UpstreamLine:
        peer = self._peer()
        return UpstreamLine(
            address=None if peer is None else f"{peer.host}:{peer.port}",
            age_s=None if self._seen_at is None else self._clock() - self._seen_at,
            reachable=self.problem is None and (peer is None or self._seen_at is not None),
            problem=self.problem,
            error=self._errors.last,
        )

    async def look(self) -> None:
        """Before anything is shown: ask, unless Exchange was seen or asked a short while ago."""
        if self._peer() is None or self.problem is not None or self._seen_lately():
            return
        await asyncio.wait({self._begin_asking()}, timeout=LOOK_S)

    def close(self) -> None:
        if self._asks is not None and not self._asks.get_loop().is_closed():
            self._asks.cancel()

    # -- requests of our own ---------------------------------------------------------------------

    def _begin_asking(self, doubt: str = "") -> asyncio.Task[None]:
        if self._asks is None or self._asks.done():
            self._asks = asyncio.get_running_loop().create_task(self._ask_until_answered(doubt))
        return self._asks

    async def _ask_until_answered(self, doubt: str) -> None:
        wait_s = self._asked_at + RETRY_S - self._clock()
        while True:
            if wait_s > 0:
                await self._sleep(wait_s)
            if (peer := self._peer()) is None:
                return
            self._asked_at = self._clock()
            try:
                problem = await self._problem_of(peer)
            except Exception as error:  # whatever it is, it must not end the asking
                logger.exception("eas-redirect: an internal error while asking Exchange")
                problem = f"an internal error ({type(error).__name__}); see the log"
            if problem is None:
                break
            self._meet(problem)
            wait_s = RETRY_S
            self._tell("Exchange cannot be reached", problem)
            doubt = ""
        if doubt:  # one client's own, such as the name that it calls by
            self._tell("an exchange failed, and Exchange answers all the same", doubt)
        elif self.problem is not None:
            logger.info("eas-redirect: Exchange answers again")
        self._meet(None)
        self._told.clear()

    async def _problem_of(self, peer: Peer) -> str | None:
        """The result of one request of our own."""
        match await self._ask(ASK_TIMEOUT_S):
            case NoAnswer(why=why):
                return await _true_cause(peer) or why
            case Answered(status=status, expires=expires):
                # What a TLS port says to plain HTTP is an answer, and none that helps a phone.
                if not peer.tls and status == 400 and (cause := await _true_cause(peer)):
                    return cause
                self._seen_at = self._answered_at = self._clock()
                self._failed.clear()
                self.expires = expires or self.expires
                return None
            case other:
                assert_never(other)

    def _tell(self, what: str, why: str) -> None:
        """Log each cause once, until Exchange answers again."""
        if why not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(why)
            logger.warning("eas-redirect: %s: %s", what, why)

    def _seen_lately(self) -> bool:
        return self._seen_at is not None and self._clock() - self._seen_at < SEEN_S


async def _true_cause(peer: Peer) -> str | None:
    """In words, with the cure; None if nothing is found to be wrong (any more)."""
    trouble = await asyncio.to_thread(diagnose, peer, ASK_TIMEOUT_S / 4)
    return None if trouble is None else str(trouble)


def _client(record: Record) -> str | None:
    """Who asked: the device if it is known, since behind a front all have one address."""
    if record.device_id:
        return caseless(record.device_id)
    return record.forwarded_ip or record.client_address
