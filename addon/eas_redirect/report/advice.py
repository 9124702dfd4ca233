"""What to do about devices that still call the old server, by why they do. Pure.

The reference has the reasons at length.
"""

from eas_redirect.report.words import REASON_TITLES

_EXPLAIN = "eas-redirect explain USER shows each step."

# Ledger states and reasons → what it means, what to do.
_ADVICE = {
    "stuck": ("told to go, and keep coming back", "Each is listed below with its likely cause."),
    "returned": ("told to go, and came back", "Wait: some ask a few times before they go."),
    "redirected": ("told to go just now", "Wait: it is too early to say."),
    "quiet": (
        "followed (presumed), and silent for less than a week",
        "Nothing: a week of silence takes them off this list.",
    ),
    "other_answer": ("served as ever: their mailboxes are here", "Move the mailboxes."),
    "mailbox_moved": ("would be redirected (observe mode)", 'Set mode = "enforce".'),
    "not_in_wave": ("not in this wave", "Widen redirect.only, or narrow redirect.except."),
    "native_redirect": ("told to go by Exchange itself", "Nothing, unless they keep coming."),
    "user_has_no_mailbox": (
        "told UserHasNoMailbox, which no phone understands",
        "Put the proxy in front of Exchange: it tells them where to go.",
    ),
    "no_relationship": (
        REASON_TITLES["no_relationship"],
        "Add the domain to a relationship, or write one under redirect.relationships.",
    ),
    "relationship_disabled": (
        REASON_TITLES["relationship_disabled"],
        "Enable it, or write one under redirect.relationships.",
    ),
    "relationship_ambiguous": (
        REASON_TITLES["relationship_ambiguous"],
        "Leave the domain in one of them.",
    ),
    "no_target_owa_url": (REASON_TITLES["no_target_owa_url"], "Set it."),
    "target_owa_url_invalid": (
        REASON_TITLES["target_owa_url_invalid"],
        "Correct it, or map its host in redirect.hosts.",
    ),
    "target_not_allowed": (
        REASON_TITLES["target_not_allowed"],
        "Allow its host in redirect.allowed_hosts, or mend the relationship.",
    ),
    "redirect_loop": (REASON_TITLES["redirect_loop"], "Mend the TargetOwaURL or redirect.hosts."),
    "protocol_version_too_low": (
        REASON_TITLES["protocol_version_too_low"],
        "Set the accounts up anew at the target.",
    ),
    "directory_unavailable": (
        REASON_TITLES["directory_unavailable"],
        "See eas-redirect check; they are told as soon as it answers.",
    ),
    "no_target_address": (REASON_TITLES["no_target_address"], "Finish the move, or set it."),
    "target_address_invalid": (REASON_TITLES["target_address_invalid"], "Correct it."),
    "recipient_has_mailbox": (
        "their mailboxes are here, and Exchange refuses them",
        "See why Exchange does; then move the mailboxes.",
    ),
    "recipient_not_found": (REASON_TITLES["recipient_not_found"], _EXPLAIN),
    "recipient_ambiguous": (REASON_TITLES["recipient_ambiguous"], _EXPLAIN),
    "no_identity": (
        REASON_TITLES["no_identity"],
        "Look at eas.auth.scheme in the journal: Kerberos names nobody.",
    ),
}


def meaning(why: str) -> str:
    """Why a device still calls, for people."""
    return _ADVICE[why][0] if why in _ADVICE else REASON_TITLES.get(why, why)


def what_to_do(why: str) -> str:
    """One sentence, or nothing where nobody knows."""
    return _ADVICE[why][1] if why in _ADVICE else ""
