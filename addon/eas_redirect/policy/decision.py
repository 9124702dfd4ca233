"""What to do with an answer of the legacy Exchange: `screen`, then `decide`. Pure and total.

Imports the protocol's values and the directory's values, nothing else of the project. A redirect
sticks in a phone, so every doubt ends in a `Pass`. The checks run in the order in which an
administrator would correct what they find: the mailbox, its target, the relationship, the endpoint,
then this device.
"""

from dataclasses import replace
from typing import assert_never

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.response import Evidence
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.relationship import relationship_of, target_domain, unavailable
from eas_redirect.policy.target import target_for
from eas_redirect.policy.verdict import (
    Ask,
    Pass,
    Policy,
    Redirect,
    Step,
    Trail,
    Verdict,
    ended,
)

__all__ = [
    "Ask",
    "Pass",
    "Policy",
    "Redirect",
    "Step",
    "Verdict",
    "decide",
    "screen",
]

_REDIRECTED_METHODS = frozenset({"POST", "OPTIONS"})  # MS-ASHTTP 2.2.1.1.1.1


def screen(exchange: Exchange, trace: list[Step] | None = None) -> Pass | Ask:
    """What the wire alone can tell: pass, or ask the directory. `trace`: see `decide`."""
    trail = None if trace is None else Trail(trace)
    question = "Is this UserHasNoMailbox?"
    stop = _not_an_answer(exchange) or not_proven(exchange) or unreadable(exchange)
    if stop is not None:
        return ended(trail, question, stop)
    logon, evidence = exchange.identity.logon, exchange.answer.evidence
    if logon is None:  # then its `problem` has said so; for an identity made by hand
        return ended(trail, question, Pass(reason=Reason.NO_IDENTITY))
    if trail:
        trail.good(question, f"Yes, the evidence is {evidence}.")
    return Ask(exchange=exchange, logon=logon, fresh=evidence is not Evidence.CERTAIN)


def decide(
    ask: Ask,
    lookup: Lookup,
    relationships: Relationships,
    policy: Policy,
    trace: list[Step] | None = None,
) -> Verdict:
    """The verdict for what `screen` asked. Total; never raises.

    `trace`, when given, receives each step in order: `explain` shows them.
    """
    trail = None if trace is None else Trail(trace)
    exchange = ask.exchange
    recipient = moved_recipient(exchange, lookup, trail)
    if isinstance(recipient, Pass):
        return recipient
    domain = target_domain(recipient, trail)
    if isinstance(domain, Pass):
        return domain
    return where_to(exchange, recipient, domain, relationships, policy, trail)


def where_to(
    exchange: Exchange,
    recipient: Recipient,
    domain: str,
    relationships: Relationships,
    policy: Policy,
    trail: Trail | None,
) -> Verdict:
    """Where this device of a moved recipient goes; `domain` is that of its targetAddress."""
    relationship = relationship_of(domain, relationships, policy, trail)
    if isinstance(relationship, Pass):
        return relationship
    target = target_for(exchange, recipient, relationship, policy, trail)
    if isinstance(target, Pass):
        return replace(target, target_domain=domain, relationship=relationship.name)
    return Redirect(
        location=target.location,
        target_domain=domain,
        relationship=relationship.name,
        detail=f"The mailbox has moved: {relationship.name} leads to {target.host}.",
        wave=policy.wave.name,
    )


def _not_an_answer(exchange: Exchange) -> Pass | None:
    answer = exchange.answer
    if answer.status_code == 451:
        return Pass(reason=Reason.NATIVE_REDIRECT, detail="Exchange redirects by itself.")
    if answer.status_code == 401:
        return Pass(reason=Reason.UNAUTHENTICATED, detail="Exchange has not accepted a logon.")
    if answer.problem is not None:
        detail = f"The answer could not be read: {answer.problem}"
        return Pass(reason=Reason.MALFORMED_ANSWER, detail=detail)
    if answer.evidence is Evidence.NONE:
        detail = "The answer does not say that the user has no mailbox here."
        return Pass(reason=Reason.OTHER_ANSWER, detail=detail)
    if exchange.request.method.upper() not in _REDIRECTED_METHODS:
        return Pass(reason=Reason.OTHER_ANSWER, detail="Only POST and OPTIONS are redirected.")
    return None


def not_proven(exchange: Exchange) -> Pass | None:
    """Weak evidence is about the user who logged on only if the server has checked that logon.
    Otherwise anybody could find out with a 403 whether somebody has moved, and where to."""
    if exchange.answer.evidence is not Evidence.WEAK:
        return None
    what = _weak_evidence(exchange)
    if not exchange.identity.proven:
        detail = f"{what} counts only with a logon that Exchange has checked; here it saw none."
    elif not exchange.challenged:
        detail = (
            f"{what} counts only where the server checks logons, and this one has asked nobody"
            " for a logon in the last 15 minutes."
        )
    else:
        return None
    return Pass(reason=Reason.LOGON_NOT_PROVEN, detail=detail)


def _weak_evidence(exchange: Exchange) -> str:
    """In words. A wait that may be ended has no answer yet."""
    status = exchange.answer.status_code
    return f"A {status}" if status else "A wait"


def unreadable(exchange: Exchange) -> Pass | None:
    """A misread answer could send one user's phone to another user's mailbox."""
    if exchange.identity.problem is not None:
        return Pass(reason=Reason.NO_IDENTITY, detail=exchange.identity.problem)
    if exchange.request.problem is not None:
        detail = f"The request could not be read: {exchange.request.problem}"
        return Pass(reason=Reason.NO_IDENTITY, detail=detail)
    return None


def moved_recipient(exchange: Exchange, lookup: Lookup, trail: Trail | None) -> Recipient | Pass:
    """The single recipient with this logon, if the mailbox is not on this server."""
    question = "Who is it?"
    match lookup:
        case Found(recipient=recipient, by_address=True) if exchange.answer.evidence is (
            Evidence.WEAK
        ):
            detail = (
                f"Only an address leads to {recipient.dn}, which is no proof of who logged on,"
                f" and {_weak_evidence(exchange).lower()} proves nothing either."
            )
            return ended(trail, question, Pass(reason=Reason.RECIPIENT_AMBIGUOUS, detail=detail))
        case Found(recipient=recipient):
            if trail:
                trail.good(question, f"One recipient: {recipient.dn}.")
            return _without_mailbox(lookup, trail)
        case NotFound():
            detail = "The directory knows nobody by this logon."
            return ended(trail, question, Pass(reason=Reason.RECIPIENT_NOT_FOUND, detail=detail))
        case Ambiguous():
            detail = "More than one object in the directory may answer to this logon."
            if lookup.left_out is not None:
                detail = f"An entry of this name was left out of the snapshot: {lookup.left_out}."
            return ended(trail, question, Pass(reason=Reason.RECIPIENT_AMBIGUOUS, detail=detail))
        case Unavailable():
            return ended(trail, question, unavailable(lookup))
        case _:
            assert_never(lookup)


def _without_mailbox(found: Found, trail: Trail | None) -> Recipient | Pass:
    question, recipient = "Is the mailbox on this server?", found.recipient
    sign = recipient.mailbox_sign
    if sign is not None:
        detail = f"The mailbox is here: {sign}."
        return ended(trail, question, Pass(reason=Reason.RECIPIENT_HAS_MAILBOX, detail=detail))
    if found.unseen is not None:
        return ended(trail, question, unavailable(found.unseen))
    if recipient.target_address and not recipient.mail_nickname:
        # Exchange counts a user as a mail recipient by the alias.
        detail = "The user has no mailNickname, so Exchange knows no mail recipient of this logon."
        return ended(trail, question, Pass(reason=Reason.RECIPIENT_NOT_FOUND, detail=detail))
    if trail:
        trail.good(question, "No: neither homeMDB nor msExchHomeServerName is set.")
    return recipient
