"""What to do with an answer of the legacy Exchange's Autodiscover to a phone. Pure and total.

The same steps as for ActiveSync, with these differences: the user is named twice (by the logon and
in the body), Exchange must agree with the directory, and no version has been negotiated yet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from eas_redirect.activesync.authorization import Credentials, Logon, identify, parse_logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.host_name import HostNameError, normalize_domain
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.autodiscover.answer import (
    AutodiscoverEvidence,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
)
from eas_redirect.autodiscover.phone_request import NotForPhones, PhoneRequest
from eas_redirect.directory.names import plain_dn
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.decision import moved_recipient, not_proven, unreadable, where_to
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.relationship import target_domain, unavailable
from eas_redirect.policy.verdict import Pass, Policy, Step, Trail, Verdict, ended

COMMAND = "Autodiscover"  # MS-ASCMD 2.2.1.1 counts it among the commands

type Said = Literal["redirect", "no_mailbox", "other"]

_EVIDENCE: dict[Said, Evidence] = {
    "redirect": Evidence.CERTAIN,
    "no_mailbox": Evidence.WEAK,
    "other": Evidence.NONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """A phone's question to Autodiscover, with the answer.

    `exchange`: who asked, and from where. Its `called_names` are the names by which devices call
    this server for ActiveSync; the name that this phone called is one of `further_names`.
    """

    exchange: Exchange
    asked: PhoneRequest | NotForPhones
    said: AutodiscoverEvidence
    user_agent: str = ""

    @property
    def kind(self) -> Said:
        """What Exchange said, in the word of the journal (`eas.autodiscover`)."""
        return _kind(self.said)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTwice:
    """Ask the directory for both names: who logged on, and whose mailbox the question is about.
    `fresh`: as in `Ask`."""

    discovery: Discovery
    logon: Logon
    address: Logon
    fresh: bool


def discovery(
    asked: PhoneRequest | NotForPhones,
    said: AutodiscoverEvidence,
    *,
    status_code: int,
    credentials: Credentials,
    user_agent: str = "",
    device_names: Iterable[str] = (),
    called_names: Iterable[str] = (),
    client_address: str | None = None,
    challenged: bool = False,
) -> Discovery:
    """From what a proxy knows of the exchange, whichever proxy that is.

    `device_names`: names by which devices have called this server for ActiveSync. `called_names`:
    all names that belong to this exchange. `challenged`: the server is known to ask for a logon on
    this path. Only the request's own Authorization tells who asks, nothing that is remembered of
    its connection.
    """
    request = EASRequest(method="POST", command=COMMAND)
    evidence = _EVIDENCE[_kind(said)] if isinstance(asked, PhoneRequest) else Evidence.NONE
    exchange = Exchange(
        request=request,
        credentials=credentials,
        identity=identify(request, credentials),
        answer=Answer(status_code=status_code, evidence=evidence),
        called_names=tuple(device_names),
        further_names=tuple(called_names),
        client_address=client_address,
        challenged=challenged,
        is_autodiscover=True,
    )
    return Discovery(exchange=exchange, asked=asked, said=said, user_agent=user_agent)


def screen_discovery(
    found: Discovery, policy: Policy, trace: list[Step] | None = None
) -> Pass | AskTwice:
    """What the wire alone can tell: pass, or ask the directory. `trace`: see `decide`."""
    trail = None if trace is None else Trail(trace)
    question = "Does Autodiscover say that the mailbox has moved?"
    exchange, asked = found.exchange, found.asked
    stop = (
        _says_nothing(found, policy)
        or _not_listed(found, policy)
        or not_proven(exchange)
        or unreadable(exchange)
    )
    if stop is not None:
        return ended(trail, question, stop)
    logon = exchange.identity.logon
    if logon is None or isinstance(asked, NotForPhones):  # `unreadable`, `_says_nothing` said so
        return ended(trail, question, Pass(reason=Reason.NO_IDENTITY))
    address = parse_logon(asked.email_address)
    if address is None:
        detail = "The address in the request is none that the directory could know."
        return ended(
            trail, question, Pass(reason=Reason.AUTODISCOVER_IDENTITY_MISMATCH, detail=detail)
        )
    evidence = exchange.answer.evidence
    if trail:
        trail.good(question, f"Yes, the evidence is {evidence}.")
    fresh = evidence is not Evidence.CERTAIN
    return AskTwice(discovery=found, logon=logon, address=address, fresh=fresh)


def decide_discovery(
    ask: AskTwice,
    of_logon: Lookup,
    of_address: Lookup,
    relationships: Relationships,
    policy: Policy,
    trace: list[Step] | None = None,
) -> Verdict:
    """The verdict for what `screen_discovery` asked. Total; never raises.

    A `Redirect` here is answered with Settings of its location, never with a 451: clients that ask
    Autodiscover do not understand one.
    """
    trail = None if trace is None else Trail(trace)
    exchange = ask.discovery.exchange
    stop = _not_one_object(of_logon, of_address)
    if stop is not None:
        return ended(trail, "Do the logon and the address name the same user?", stop)
    recipient = moved_recipient(exchange, of_logon, trail)
    if isinstance(recipient, Pass):
        return recipient
    domain = target_domain(recipient, trail)
    if isinstance(domain, Pass):
        return domain
    contradiction = _another_address(ask.discovery.said, recipient)
    if contradiction is not None:
        return ended(trail, "Does Exchange name the address of the directory?", contradiction)
    return where_to(exchange, recipient, domain, relationships, policy, trail)


def _kind(said: AutodiscoverEvidence) -> Said:
    match said:
        case RedirectAddress():
            return "redirect"
        case NoMailboxHere():
            return "no_mailbox"
        case OtherAnswer():
            return "other"
        case _:
            assert_never(said)


def _says_nothing(found: Discovery, policy: Policy) -> Pass | None:
    status = found.exchange.answer.status_code
    if status == 401:
        return Pass(reason=Reason.UNAUTHENTICATED, detail="Exchange has not accepted a logon.")
    if isinstance(found.asked, NotForPhones):
        return Pass(reason=Reason.OTHER_ANSWER, detail=found.asked.why)
    match found.said:
        case OtherAnswer(why=why):
            return Pass(reason=Reason.OTHER_ANSWER, detail=why)
        case NoMailboxHere() if not policy.discovery.weak:
            detail = (
                "The answer names no new address. Set autodiscover.weak = true to let the directory"
                " decide alone."
            )
            return Pass(reason=Reason.OTHER_ANSWER, detail=detail)
        case NoMailboxHere() | RedirectAddress():
            return None
        case _:
            assert_never(found.said)


def _not_listed(found: Discovery, policy: Policy) -> Pass | None:
    """Kinds of phones that Exchange itself would not have redirected; the administrator lists
    those that may be."""
    if policy.discovery.phones == "all":
        return None
    agent = found.user_agent.strip().lower()
    if any(agent.startswith(prefix.lower()) for prefix in policy.discovery.listed):
        return None
    detail = "autodiscover.listed has no beginning of this client's User-Agent."
    return Pass(reason=Reason.AUTODISCOVER_CLIENT_NOT_LISTED, detail=detail)


def _not_one_object(of_logon: Lookup, of_address: Lookup) -> Pass | None:
    """Exchange answers for the address, but the phone keeps the answer for the logon."""
    recipients = []
    for name, lookup in (("logon", of_logon), ("address in the request", of_address)):
        match lookup:
            case Found(recipient=recipient):
                recipients.append(recipient)
                continue
            case Unavailable():
                return unavailable(lookup)
            case NotFound():
                detail = f"The directory knows nobody by the {name}."
            case Ambiguous():
                detail = f"More than one object in the directory may answer to the {name}."
            case _:
                assert_never(lookup)
        return Pass(reason=Reason.AUTODISCOVER_IDENTITY_MISMATCH, detail=detail)
    one, other = recipients
    if plain_dn(one.dn) == plain_dn(other.dn):
        return None
    detail = f"{one.dn} logged on, and the address in the request is that of {other.dn}."
    return Pass(reason=Reason.AUTODISCOVER_IDENTITY_MISMATCH, detail=detail)


def _another_address(said: AutodiscoverEvidence, recipient: Recipient) -> Pass | None:
    if not isinstance(said, RedirectAddress):
        return None
    named, known = _address(said.address), _address(recipient.target_address or "")
    if named is not None and named == known:
        return None
    detail = "Exchange names another address than the user's targetAddress."
    return Pass(reason=Reason.OTHER_ANSWER, detail=detail)


def _address(text: str) -> tuple[str, str] | None:
    """Local part and domain of an SMTP address, in the form that is compared; None for anything
    else."""
    kind, colon, rest = text.strip().partition(":")
    bare = rest if colon and kind.lower() == "smtp" else text.strip()
    local, _, domain = bare.rpartition("@")
    try:
        return (local.casefold(), normalize_domain(domain)) if local else None
    except HostNameError:
        return None
