"""Times, lengths and states in words, the same on the page and in the CSV; and what to do. Pure."""

from datetime import UTC, datetime

from eas_redirect.policy import reasons
from eas_redirect.report.report_values import Silence
from eas_redirect.telemetry.clients import family
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number

STATE_TITLES = {
    LedgerState.SEEN: "not redirected",
    LedgerState.REDIRECTED: "redirected just now",
    LedgerState.RETURNED: "came back",
    LedgerState.STUCK: "stuck",
    LedgerState.QUIET: "followed (presumed)",
    LedgerState.CONFIRMED: "arrived (confirmed)",
}

VERDICT_TITLES = {
    "ready": "ready",
    "asked_to_sign_in": "will be asked to sign in",
    "refused": "will be refused",
    "unknown": "unknown",
}

SILENCE_WORDS = {  # what it is, what to do
    Silence.UPSTREAM_FAILED: (
        "Exchange could not be reached, or hung up",
        "Look at Exchange and the way to it: `eas-redirect check` tries it.",
    ),
    Silence.CLIENT_LEFT: ("the device left first", "Nothing: phones come and go."),
    Silence.PROXY_STOPPED: ("the proxy was being stopped", "Nothing: phones ask again."),
    Silence.REQUEST_REFUSED: (
        "the request was no good HTTP, and the proxy refused it",
        "Nothing, if few: scanners do this. See `error.message` in the journal.",
    ),
    Silence.NOT_SAID: ("no answer; the journal does not say why", "See the log of the carrier."),
    Silence.OWN_503: (
        "Exchange itself answered 503: it is busy, or its application pool stands",
        "Look at Exchange's event log and the pool MSExchangeSyncAppPool.",
    ),
}

NAMELESS = "(none)"  # of a group: the journals have no name for it


def whole_seconds(seconds: float) -> str:
    return "less than 1 s" if seconds < 1 else f"{seconds:.0f} s"


def counted(value: int, noun: str) -> str:
    """`1 user`, `2 users`."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def moment(at_s: float | None) -> str:
    """A UTC time to the minute, as ISO 8601 has it, with a space."""
    return "" if at_s is None else _utc(at_s).strftime("%Y-%m-%d %H:%M")


def day(at_s: float) -> str:
    return _utc(at_s).strftime("%Y-%m-%d")


def stamp(at_s: float | None) -> str | None:
    """A UTC time for machines."""
    if at_s is None:
        return None
    return _utc(at_s).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def length(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under 1 min"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"


def milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} ms"


def size(count: int) -> str:
    """Bytes in the unit that fits."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def client_title(name: str | None) -> str:
    """What people call a client family."""
    if name is None or name == NAMELESS:
        return "unknown client"
    row = family(name)
    return row.title if row else name


def _utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


# What to do about devices that still call the old server, by why they do.
#
# Why is a state of the ledger, or for a device that was told nothing the reason of its last
# exchange.

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
