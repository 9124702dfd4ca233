"""Why an exchange went as it did: each reason once, with the words for it and what to do. Pure.

The journal, the report, the page, `explain`, `plan`, `check`, the metrics and docs/reference.md
all read this table when they need it, so a new reason is a member and a row here.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why an exchange was redirected or passed. Stable: journals and tools rely on the words."""

    MAILBOX_MOVED = "mailbox_moved"
    OTHER_ANSWER = "other_answer"
    NO_ANSWER = "no_answer"
    NATIVE_REDIRECT = "native_redirect"
    UNAUTHENTICATED = "unauthenticated"
    LOGON_NOT_PROVEN = "logon_not_proven"
    NO_IDENTITY = "no_identity"
    RECIPIENT_NOT_FOUND = "recipient_not_found"
    RECIPIENT_AMBIGUOUS = "recipient_ambiguous"
    RECIPIENT_HAS_MAILBOX = "recipient_has_mailbox"
    NO_TARGET_ADDRESS = "no_target_address"
    TARGET_ADDRESS_INVALID = "target_address_invalid"
    NO_RELATIONSHIP = "no_relationship"
    RELATIONSHIP_DISABLED = "relationship_disabled"
    RELATIONSHIP_AMBIGUOUS = "relationship_ambiguous"
    RELATIONSHIP_CONTRADICTORY = "relationship_contradictory"
    NO_TARGET_OWA_URL = "no_target_owa_url"
    TARGET_OWA_URL_INVALID = "target_owa_url_invalid"
    TARGET_NOT_ALLOWED = "target_not_allowed"
    REDIRECT_LOOP = "redirect_loop"
    PROTOCOL_VERSION_TOO_LOW = "protocol_version_too_low"
    NOT_IN_WAVE = "not_in_wave"
    DIRECTORY_UNAVAILABLE = "directory_unavailable"
    MALFORMED_ANSWER = "malformed_answer"
    INTERNAL_ERROR = "internal_error"
    AUTODISCOVER_IDENTITY_MISMATCH = "autodiscover_identity_mismatch"
    AUTODISCOVER_CLIENT_NOT_LISTED = "autodiscover_client_not_listed"


# What Exchange said according to an IIS log, before any proxy: a reason used only in reports.
NO_MAILBOX_REASON = "user_has_no_mailbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What to say about a reason. Backquotes in `title` and `advice` mark names, as in the docs.

    `in_order`: nothing needs correcting, and the device rightly goes or stays. `everyday`: there
    was nothing to decide. `obstacle`: it keeps everybody in a domain where they are.
    """

    title: str
    advice: str
    of_callers: str = ""  # of devices that still call the old server, where the title does not fit
    of_named: str = ""  # of a user whom somebody names and no device asked for, where it does not
    advice_of_named: str = ""  # likewise
    in_order: bool = False
    everyday: bool = False
    obstacle: bool = False


_EXPLAIN = "`eas-redirect explain USER` shows each step."

REASONS: dict[str, Words] = {
    Reason.MAILBOX_MOVED: Words(
        title="the mailbox has moved, and where to is known",
        advice='Nothing. In observe mode: set `mode = "enforce"` to send the device there.',
        of_callers="would be redirected (observe mode)",
        in_order=True,
    ),
    Reason.OTHER_ANSWER: Words(
        title="everyday traffic: the answer says nothing of a missing mailbox",
        advice="Nothing. The old server can go once these mailboxes have moved.",
        of_callers="served as ever: their mailboxes are here",
        in_order=True,
        everyday=True,
    ),
    Reason.NO_ANSWER: Words(
        title="Exchange did not answer, or the proxy refused the request",
        advice="Nothing, if few: devices come and go. Else see `error.type` in the journal.",
        in_order=True,
        everyday=True,
    ),
    Reason.NATIVE_REDIRECT: Words(
        title="Exchange answered 451 by itself",
        advice="Nothing, unless the device keeps coming.",
        in_order=True,
    ),
    Reason.UNAUTHENTICATED: Words(
        title="Exchange answered 401",
        advice="Nothing: the device logs on next.",
        in_order=True,
        everyday=True,
    ),
    Reason.LOGON_NOT_PROVEN: Words(
        title="a 403 without a logon that Exchange is known to have checked",
        advice=(
            "Nothing, if the device logs on. Else let Exchange, not the front, ask for the logon:"
            " `eas-redirect check` tries it."
        ),
    ),
    Reason.NO_IDENTITY: Words(
        title="the request names no user that can be read",
        advice=(
            "Look at `eas.auth.scheme` and `error.message` in the journal; Kerberos names nobody."
        ),
    ),
    Reason.RECIPIENT_NOT_FOUND: Words(
        title="the directory has nobody with this logon",
        advice=f"Look at `exchange.default_domain` and `directory.search_base`. {_EXPLAIN}",
        advice_of_named=(
            "Is the name spelled right? If so, look at `exchange.default_domain` and"
            " `directory.search_base`."
        ),
    ),
    Reason.RECIPIENT_AMBIGUOUS: Words(
        title="several objects in the directory answer to this logon",
        advice=rf"Let the device log on by UPN or `DOMAIN\user`. {_EXPLAIN}",
        advice_of_named=r"Let the device log on by UPN or `DOMAIN\user`.",
    ),
    Reason.RECIPIENT_HAS_MAILBOX: Words(
        title="the mailbox is here; the answer has another cause",
        advice="See why Exchange refuses the device; then move the mailbox.",
        of_callers="their mailboxes are here, and Exchange refuses them",
        of_named="the mailbox is still here",
        in_order=True,
    ),
    Reason.NO_TARGET_ADDRESS: Words(
        title="no mailbox here and no `targetAddress`",
        advice="Finish the move, or set the address.",
    ),
    Reason.TARGET_ADDRESS_INVALID: Words(
        title="the `targetAddress` is not one SMTP address",
        advice="Correct it in the directory.",
    ),
    Reason.NO_RELATIONSHIP: Words(
        title="no organization relationship names the domain",
        advice=(
            "Add the domain to a relationship, or write one under `redirect.relationships`."
            " `eas-redirect check` says whether the relationships can be read."
        ),
        obstacle=True,
    ),
    Reason.RELATIONSHIP_DISABLED: Words(
        title="the only relationship for the domain is disabled",
        advice="Enable it, or write one under `redirect.relationships`.",
        obstacle=True,
    ),
    Reason.RELATIONSHIP_AMBIGUOUS: Words(
        title="several enabled relationships name the domain",
        advice="Leave the domain in one of them.",
        obstacle=True,
    ),
    Reason.RELATIONSHIP_CONTRADICTORY: Words(
        title="TargetOwaURL leads to Exchange Online, and the relationship is with somebody else",
        advice="Find out which is right, and write it under `redirect.relationships`.",
        obstacle=True,
    ),
    Reason.NO_TARGET_OWA_URL: Words(
        title="the relationship has no TargetOwaURL",
        advice="Set it: `Set-OrganizationRelationship -TargetOwaURL`.",
        obstacle=True,
    ),
    Reason.TARGET_OWA_URL_INVALID: Words(
        title="the TargetOwaURL names no host that a phone may be sent to",
        advice="Correct it, or map its host in `redirect.hosts`.",
        obstacle=True,
    ),
    Reason.TARGET_NOT_ALLOWED: Words(
        title="the target is outside `redirect.allowed_hosts`",
        advice="Add the host to `redirect.allowed_hosts` if it is right, or correct TargetOwaURL.",
        obstacle=True,
    ),
    Reason.REDIRECT_LOOP: Words(
        title="the target leads back here, or our own names are not known",
        advice="Correct TargetOwaURL or `redirect.hosts`; set `exchange.host_names`.",
        obstacle=True,
    ),
    Reason.PROTOCOL_VERSION_TOO_LOW: Words(
        title="the device speaks less than `exchange.min_protocol_version`",
        advice=(
            "Lower the minimum after a test with such a device, or add the account again at the"
            " target."
        ),
    ),
    Reason.NOT_IN_WAVE: Words(
        title="not in this wave",
        advice="Nothing, until its wave: widen `redirect.only`, or narrow `redirect.except`.",
        in_order=True,
    ),
    Reason.DIRECTORY_UNAVAILABLE: Words(
        title="the directory gave no answer that can be relied on",
        advice=(
            "`error.type` and `error.message` in the journal say why; run `eas-redirect check`."
        ),
    ),
    Reason.MALFORMED_ANSWER: Words(
        title="the body of the answer could not be read",
        advice="Look at a capture: Exchange or something in between is at fault.",
    ),
    Reason.INTERNAL_ERROR: Words(
        title="a fault of this program",
        advice="Please report it where you have the program from, with the journal's"
        " line and the log of that minute: CONTRIBUTING.md, “Report a bug”.",
    ),
    Reason.AUTODISCOVER_IDENTITY_MISMATCH: Words(
        title="the address in the Autodiscover request is not the user's who logged on",
        advice="Correct the address of the account on the device.",
    ),
    Reason.AUTODISCOVER_CLIENT_NOT_LISTED: Words(
        title="Autodiscover was asked by a client outside `autodiscover.listed`",
        advice="Add the beginning of its user agent to `autodiscover.listed` after a test.",
        in_order=True,
    ),
    NO_MAILBOX_REASON: Words(
        title="Exchange said UserHasNoMailbox (in an IIS log; no proxy yet)",
        advice="Put the proxy in front of Exchange: it tells the devices where to go.",
        of_callers="told UserHasNoMailbox, which no phone understands",
    ),
}


def title(reason: str) -> str:
    """A few words for people; an unknown reason is shown as it is."""
    return _plain(REASONS[reason].title) if reason in REASONS else reason


def advice(reason: str) -> str:
    """What to do, in a sentence or two; empty if nobody knows."""
    return _plain(REASONS[reason].advice) if reason in REASONS else ""


def of_named(reason: str) -> str:
    """What the matter is with a user whom somebody names, without a request from a device."""
    return (reason in REASONS and REASONS[reason].of_named) or title(reason)


def advice_of_named(reason: str) -> str:
    """What to do about such a user, for somebody who already sees each step."""
    return _plain((reason in REASONS and REASONS[reason].advice_of_named) or advice(reason))


def of_callers(reason: str) -> str:
    """Why devices still call the old server."""
    return (reason in REASONS and REASONS[reason].of_callers) or title(reason)


def in_order(reason: str) -> bool:
    """Whether nothing needs correcting."""
    return reason in REASONS and REASONS[reason].in_order


def everyday(reason: str) -> bool:
    """Whether there was nothing to decide."""
    return reason in REASONS and REASONS[reason].everyday


def obstacle_reasons() -> tuple[str, ...]:
    """The reasons that keep everybody in a domain where they are."""
    return tuple(str(reason) for reason, words in REASONS.items() if words.obstacle)


def _plain(text: str) -> str:
    return text.replace("`", "")
