"""What to do with an answer of the legacy Exchange: `screen`, then `decide`. Pure and total.

Imports the protocol's values and the directory's values, nothing else of the project. A redirect
sticks in a phone, so every doubt ends in a `Pass`. The checks run in the order in which an
administrator would mend what they find: the mailbox, its target, the relationship, the endpoint,
then this device.
"""

import re
from dataclasses import replace
from typing import assert_never

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.response import Evidence
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    OrganizationRelationship,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.endpoint import Endpoint, Refused, endpoint, is_allowed, is_own_name
from eas_redirect.policy.relationship import relationship_of, target_domain, unavailable
from eas_redirect.policy.verdict import (
    Ask,
    Pass,
    Policy,
    Reason,
    Redirect,
    Step,
    Trail,
    Verdict,
)
from eas_redirect.policy.waves import membership

__all__ = [
    "Ask",
    "Pass",
    "Policy",
    "Reason",
    "Redirect",
    "Step",
    "Verdict",
    "decide",
    "screen",
]

# msExchRecipientTypeDetails of mailboxes that this forest's Exchange holds: user, linked, shared,
# legacy, room, equipment; arbitration, discovery, public folder, team, monitoring, group, linked
# room, audit log.
_LOCAL_MAILBOX_TYPES = frozenset(
    {1, 2, 4, 8, 16, 32} | {1 << bit for bit in (23, 29, 36, 37, 39, 40, 41, 42)}
)
_ARCHIVE_ONLY = 2  # msExchRemoteRecipientType: a local mailbox with an archive in the cloud
_REDIRECTED_METHODS = frozenset({"POST", "OPTIONS"})  # MS-ASHTTP 2.2.1.1.1.1
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})", re.ASCII)


def screen(exchange: Exchange) -> Pass | Ask:
    """What the wire alone can tell: pass, or ask the directory."""
    return _not_an_answer(exchange) or _unreadable(exchange) or _ask(exchange)


def decide(
    exchange: Exchange,
    lookup: Lookup,
    relationships: Relationships,
    policy: Policy,
    trace: list[Step] | None = None,
) -> Verdict:
    """The verdict for an exchange that `screen` asked about. Total; never raises.

    What `screen` passes is passed here too. `trace`, when given, receives each step in order:
    `explain` shows them.
    """
    trail = Trail(trace)
    screened = screen(exchange)
    if isinstance(screened, Pass):
        return trail.stop("Is this UserHasNoMailbox?", screened)
    trail.good("Is this UserHasNoMailbox?", f"Yes, the evidence is {exchange.answer.evidence}.")
    recipient = _recipient(lookup, trail)
    if isinstance(recipient, Pass):
        return recipient
    domain = target_domain(recipient, trail)
    if isinstance(domain, Pass):
        return domain
    relationship = relationship_of(domain, relationships, policy, trail)
    if isinstance(relationship, Pass):
        return relationship
    target = _target(exchange, recipient, relationship, policy, trail)
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


def _unreadable(exchange: Exchange) -> Pass | None:
    """A redirect on a misreading would send one user's phone where another's mailbox is."""
    if exchange.credentials.problem is not None:
        detail = f"The Authorization header could not be read: {exchange.credentials.problem}"
        return Pass(reason=Reason.NO_IDENTITY, detail=detail)
    if exchange.request.problem is not None:
        detail = f"The request could not be read: {exchange.request.problem}"
        return Pass(reason=Reason.NO_IDENTITY, detail=detail)
    return None


def _ask(exchange: Exchange) -> Pass | Ask:
    if exchange.logon is None:
        detail = "Neither the Authorization header nor the query tells who asks."
        return Pass(reason=Reason.NO_IDENTITY, detail=detail)
    return Ask(logon=exchange.logon, fresh=exchange.answer.evidence is not Evidence.CERTAIN)


def _recipient(lookup: Lookup, trail: Trail) -> Recipient | Pass:
    """The one recipient of the logon whose mailbox is not on this server."""
    question = "Who is it?"
    match lookup:
        case Found(recipient=recipient):
            trail.good(question, f"One recipient: {recipient.dn}.")
            return _without_mailbox(recipient, trail)
        case NotFound():
            detail = "The directory knows nobody by this logon."
            return trail.stop(question, Pass(reason=Reason.RECIPIENT_NOT_FOUND, detail=detail))
        case Ambiguous():
            detail = "More than one object in the directory answers to this logon."
            return trail.stop(question, Pass(reason=Reason.RECIPIENT_AMBIGUOUS, detail=detail))
        case Unavailable():
            return trail.stop(question, unavailable(lookup))
        case _:
            assert_never(lookup)


def _without_mailbox(recipient: Recipient, trail: Trail) -> Recipient | Pass:
    question = "Is the mailbox on this server?"
    sign = _mailbox_sign(recipient)
    if sign is not None:
        detail = f"The mailbox is here: {sign}."
        return trail.stop(question, Pass(reason=Reason.RECIPIENT_HAS_MAILBOX, detail=detail))
    trail.good(question, "No: neither homeMDB nor msExchHomeServerName is set.")
    return recipient


def _mailbox_sign(recipient: Recipient) -> str | None:
    """Which attribute says that a server of this forest holds the mailbox."""
    if recipient.home_mdb:
        return "homeMDB is set"
    if recipient.ms_exch_home_server_name:
        return "msExchHomeServerName is set"
    if recipient.ms_exch_recipient_type_details in _LOCAL_MAILBOX_TYPES:
        kind = recipient.ms_exch_recipient_type_details
        return f"msExchRecipientTypeDetails is {kind}, a mailbox of this forest"
    if recipient.ms_exch_remote_recipient_type == _ARCHIVE_ONLY:
        return "msExchRemoteRecipientType is 2, a mailbox with only its archive in the cloud"
    return None


def _target(
    exchange: Exchange,
    recipient: Recipient,
    relationship: OrganizationRelationship,
    policy: Policy,
    trail: Trail,
) -> Endpoint | Pass:
    """The relationship's endpoint, when this device may be sent there."""
    target = _endpoint(relationship, policy, trail)
    if isinstance(target, Pass):
        return target
    return (
        _not_allowed(target, policy, trail)
        or _loop(target, exchange, policy, trail)
        or _version_too_low(exchange, policy, trail)
        or _not_in_wave(exchange, recipient, policy, trail)
        or target
    )


def _endpoint(
    relationship: OrganizationRelationship, policy: Policy, trail: Trail
) -> Endpoint | Pass:
    question = "Where does TargetOwaURL lead?"
    if not relationship.target_owa_url:
        detail = f"The relationship {relationship.name} has no TargetOwaURL."
        return trail.stop(question, Pass(reason=Reason.NO_TARGET_OWA_URL, detail=detail))
    target = endpoint(relationship.target_owa_url, policy.host_map)
    if isinstance(target, Refused):
        stop = Pass(reason=Reason.TARGET_OWA_URL_INVALID, detail=target.detail)
        return trail.stop(question, stop)
    mapped = f" (the host map turns {target.named_host} into it)" if target.mapped else ""
    trail.good(question, f"To {target.location}{mapped}.")
    return target


def _not_allowed(target: Endpoint, policy: Policy, trail: Trail) -> Pass | None:
    question = "Is the target allowed?"
    if is_allowed(target.host, policy.allowed_hosts):
        trail.good(question, "Yes.")
        return None
    detail = f"{target.host} matches nothing in redirect.allowed_hosts."
    return trail.stop(question, Pass(reason=Reason.TARGET_NOT_ALLOWED, detail=detail))


def _loop(target: Endpoint, exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    question = "Is the target another server than this one?"
    own_names = policy.own_names.union(exchange.further_names)
    if exchange.called_host is None and not policy.own_names:
        detail = (
            "The client named no host, or several, so that a loop cannot be ruled out:"
            " set exchange.host_names."
        )
    elif is_own_name(target.host, exchange.called_host, own_names):
        detail = f"{target.host} leads back here: the phone would come back for ever."
    else:
        trail.good(question, "Yes.")
        return None
    return trail.stop(question, Pass(reason=Reason.REDIRECT_LOOP, detail=detail))


def _version_too_low(exchange: Exchange, policy: Policy, trail: Trail) -> Pass | None:
    """OPTIONS asks which versions there are and is redirected at any (MS-ASHTTP 2.2.3)."""
    question = f"Does the device speak {policy.min_protocol_version} or newer?"
    if exchange.request.method.upper() == "OPTIONS":
        trail.good(question, "OPTIONS is redirected at any version.")
        return None
    version = exchange.request.protocol_version
    known = _version(version)
    if known is not None and known >= (_version(policy.min_protocol_version) or (14, 0)):
        trail.good(question, f"It speaks {version}.")
        return None
    said = f"speaks {version}" if known else "names no version that can be read"
    least = f"exchange.min_protocol_version is {policy.min_protocol_version}"
    detail = f"The device {said}; {least}."
    return trail.stop(question, Pass(reason=Reason.PROTOCOL_VERSION_TOO_LOW, detail=detail))


def _version(text: str | None) -> tuple[int, int] | None:
    parts = _VERSION.fullmatch(text or "")
    return (int(parts[1]), int(parts[2])) if parts else None


def _not_in_wave(
    exchange: Exchange, recipient: Recipient, policy: Policy, trail: Trail
) -> Pass | None:
    question = "Is this user and device in the wave?"
    belongs = membership(policy.wave, exchange, recipient)
    if belongs.member:
        trail.good(question, belongs.detail)
        return None
    stop = Pass(reason=Reason.NOT_IN_WAVE, detail=belongs.detail, wave=policy.wave.name)
    return trail.stop(question, stop)
