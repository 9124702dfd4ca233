"""Judges exchanges: screen, ask the directory, decide. The one place where these steps come
together.

The addon, `explain`, `plan` and captures all come through here. Imports no mitmproxy and no ldap3.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.autodiscover.answer import NoMailboxHere, RedirectAddress, User, write_settings
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.sight import NOT_VISIBLE
from eas_redirect.directory.values import (
    DirectoryAnswer,
    Found,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.decision import (
    Ask,
    Pass,
    Policy,
    Redirect,
    Step,
    Verdict,
    decide,
    screen,
)
from eas_redirect.policy.discovery import (
    AskTwice,
    Discovery,
    decide_discovery,
    screen_discovery,
)
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import Mode

GRACE_S = 1.0  # beyond the directory's own limit, which normally ends a look-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with what led to it. `error_type` and `error_message` never hold user data."""

    exchange: Exchange
    verdict: Verdict
    mode: Mode
    asked: DirectoryAnswer | None = None
    error_type: str | None = None
    error_message: str | None = None
    discovery: Discovery | None = None  # where Autodiscover was asked

    @property
    def decision(self) -> Literal["redirect", "would_redirect", "pass"]:
        """The word of the journal (`eas.decision`)."""
        if isinstance(self.verdict, Pass):
            return "pass"
        return "redirect" if self.mode == "enforce" else "would_redirect"

    @property
    def out_of_reach(self) -> bool:
        """The directory could not be asked. One that answers but cannot vouch for what it does
        not show is in reach; so is one that gave only a part of a relationship, which is not an
        error."""
        is_unavailable = self.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
        return is_unavailable and self.error_type not in {None, *NOT_VISIBLE}

    @property
    def settings(self) -> bytes | None:
        """The body that replaces Autodiscover's answer; None: the answer stays as it is."""
        if self.decision != "redirect" or self.discovery is None:
            return None
        if not isinstance(self.verdict, Redirect) or self.asked is None:
            return None
        lookup = self.asked.lookup
        return (
            write_settings(self.verdict.location, _user(self.discovery, lookup.recipient))
            if isinstance(lookup, Found)
            else None
        )


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy over a directory. It is replaced as a whole when the configuration changes.

    Whoever carries the bytes hands in an `Exchange` of plain values and gets a `Judgement`: from
    `screened` at once, or, if that returns a question, from `decided` with the directory's answer.
    """

    policy: Policy
    directory: CachedDirectory
    mode: Mode
    lookup_timeout_s: float = 5.0

    def screened(self, exchange: Exchange, trace: list[Step] | None = None) -> Judgement | Ask:
        """The wire alone decides most exchanges; pass an `Ask` to `decided`. Never raises."""
        try:
            found = screen(exchange, trace)
        except Exception as error:
            return self._failed(exchange, type(error).__name__, whereabouts(error))
        if isinstance(found, Ask):
            return found
        return Judgement(exchange=exchange, verdict=found, mode=self.mode)

    async def decided(
        self, ask: Ask, trace: list[Step] | None = None, *, early: DirectoryAnswer | None = None
    ) -> Judgement:
        """Never raises, never takes longer than the look-up's time limit plus GRACE_S. `early`:
        what the directory has just answered to this very question.

        A CancelledError that escaped would hang the exchange for ever, so even that ends in a pass.
        """
        try:
            asked, known = await self._look_up(ask, early)
            verdict = decide(ask, asked.lookup, known, self.policy, trace)
            failed = verdict.reason is Reason.DIRECTORY_UNAVAILABLE
            failure = _failure(asked, known) if failed else None
            return Judgement(
                exchange=ask.exchange,
                verdict=verdict,
                mode=self.mode,
                asked=asked,
                error_type=failure.error_type if failure else None,
                error_message=failure.message if failure else None,
            )
        except asyncio.CancelledError:
            return self._failed(ask.exchange, "cancelled", "the look-up was given up at shutdown")
        except Exception as error:
            return self._failed(ask.exchange, type(error).__name__, whereabouts(error))

    async def judge(self, exchange: Exchange, trace: list[Step] | None = None) -> Judgement:
        """Both in one, for callers that can wait."""
        screened = self.screened(exchange, trace)
        return await self.decided(screened, trace) if isinstance(screened, Ask) else screened

    async def discover(self, found: Discovery, trace: list[Step] | None = None) -> Judgement:
        """The same for Autodiscover, over the same directory and policy. Never raises."""
        exchange = found.exchange
        try:
            screened = screen_discovery(found, self.policy, trace)
            if isinstance(screened, Pass):
                judgement = Judgement(exchange=exchange, verdict=screened, mode=self.mode)
            else:
                judgement = await self._discovered(screened, trace)
        except asyncio.CancelledError:
            judgement = self._failed(exchange, "cancelled", "the look-up was given up at shutdown")
        except Exception as error:
            judgement = self._failed(exchange, type(error).__name__, whereabouts(error))
        return replace(judgement, discovery=found)

    def unanswered(self, exchange: Exchange) -> Judgement:
        """For an exchange without a complete answer: there is nothing to change and nothing to
        ask."""
        verdict = Pass(reason=Reason.NO_ANSWER, detail="There was no whole answer to judge.")
        return Judgement(exchange=exchange, verdict=verdict, mode=self.mode)

    def undiscovered(self, found: Discovery) -> Judgement:
        """`unanswered`, for Autodiscover."""
        return replace(self.unanswered(found.exchange), discovery=found)

    async def _discovered(self, ask: AskTwice, trace: list[Step] | None) -> Judgement:
        try:
            async with asyncio.timeout(self.lookup_timeout_s + GRACE_S):
                asked = await self.directory.recipient(ask.logon, fresh=ask.fresh)
                address = await self.directory.recipient(ask.address, fresh=ask.fresh)
                known = (await self.directory.relationships(fresh=ask.fresh)).relationships
        except TimeoutError:
            asked, known = self._too_late()
            address = asked
        verdict = decide_discovery(ask, asked.lookup, address.lookup, known, self.policy, trace)
        failed = verdict.reason is Reason.DIRECTORY_UNAVAILABLE
        failure = (_failure(asked, known) or _failure(address, known)) if failed else None
        return Judgement(
            exchange=ask.discovery.exchange,
            verdict=verdict,
            mode=self.mode,
            asked=asked,
            error_type=failure.error_type if failure else None,
            error_message=failure.message if failure else None,
        )

    async def _look_up(
        self, ask: Ask, early: DirectoryAnswer | None
    ) -> tuple[DirectoryAnswer, Relationships]:
        asked = early or self.directory.at_hand(ask.logon, fresh=ask.fresh)
        known = self.directory.relationships_at_hand(fresh=ask.fresh)
        if asked is not None and known is not None:
            return asked, known  # as most often: nothing to wait for
        try:
            async with asyncio.timeout(self.lookup_timeout_s + GRACE_S):
                asked = asked or await self.directory.recipient(ask.logon, fresh=ask.fresh)
                answer = await self.directory.relationships(fresh=ask.fresh)
                return asked, answer.relationships
        except TimeoutError:
            return self._too_late()

    def _too_late(self) -> tuple[DirectoryAnswer, Unavailable]:
        late = Unavailable(
            error_type="timeout",
            message=f"the directory gave no answer within {self.lookup_timeout_s:g} s",
        )
        return DirectoryAnswer(lookup=late, source=self.directory.source), late

    def _failed(self, exchange: Exchange, error_type: str, message: str) -> Judgement:
        return Judgement(
            exchange=exchange,
            verdict=Pass(
                reason=Reason.INTERNAL_ERROR, detail="Our own fault; nothing was changed."
            ),
            mode=self.mode,
            error_type=error_type,
            error_message=message,
        )


def _user(found: Discovery, recipient: Recipient) -> User:
    """Upstream's own words for the user; what it leaves out is the directory's."""
    said = found.said.user if isinstance(found.said, RedirectAddress | NoMailboxHere) else User()
    return User(
        email_address=said.email_address or recipient.mail or recipient.primary_address,
        display_name=said.display_name or recipient.display_name,
        culture=said.culture,
    )


def _failure(asked: DirectoryAnswer, known: Relationships) -> Unavailable | None:
    found = asked.lookup
    unseen = found.unseen if isinstance(found, Found) else None
    for value in (found, unseen, known):
        if isinstance(value, Unavailable):
            return value
    return None


def whereabouts(error: Exception) -> str:
    """Where an exception arose. Its text may hold what a client sent, so that is left out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "no traceback"
    code = trace.tb_frame.f_code
    return f"in {code.co_name}, line {trace.tb_lineno}"
