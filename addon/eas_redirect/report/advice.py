"""What to do about devices that still call the old server, by why they do. Pure.

Why is a state of the ledger, or for a device that was told nothing the reason of its last exchange.
"""

from eas_redirect.policy import reasons

# Ledger states → what it means, what to do.
_STATES = {
    "stuck": ("told to go, and keep coming back", "Each is listed below with its likely cause."),
    "returned": ("told to go, and came back", "Wait: some ask a few times before they go."),
    "redirected": ("told to go just now", "Wait: it is too early to say."),
    "quiet": (
        "followed (presumed), and silent for less than a week",
        "Nothing: a week of silence takes them off this list.",
    ),
    "confirmed": (
        "seen at the target, and silent here for less than a week",
        "Nothing: a week of silence takes them off this list.",
    ),
}


def meaning(why: str) -> str:
    """Why a device still calls, for people."""
    return _STATES[why][0] if why in _STATES else reasons.of_callers(why)


def what_to_do(why: str) -> str:
    """A sentence or two, or nothing where nobody knows."""
    return _STATES[why][1] if why in _STATES else reasons.advice(why)
