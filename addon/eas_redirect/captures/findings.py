"""What is wrong with a device of a capture, and what to do about it. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eas_redirect.captures.timeline import Entry, Timeline
from eas_redirect.policy.reasons import advice, in_order

CAME_BACK = 2  # redirects after which a device that still calls has not followed
LOOPING = 3  # answers of one kind after which a device is stuck
_CUT_S = (595.0, 605.0)  # mitmproxy's default tcp_timeout is 600 s

_PROVISIONING = frozenset({139, 140, 141, 142, 143, 144, 145})
_BLOCKED = frozenset({126, 129, 130, 131, 177})
_BUSY = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do."""

    kind: str
    text: str
    advice: str


def findings(timeline: Timeline) -> list[Finding]:
    """What a person should look at, the gravest first."""
    return [found for look in _LOOKS for found in look(timeline.entries)]


def _decisions(entries: list[Entry]) -> Iterator[Finding]:
    """Passes that something can be done about, one finding a reason."""
    counts: dict[str, int] = {}
    details: dict[str, str] = {}
    for entry in entries:
        decided = entry.decided or entry.recorded
        if decided is not None and not in_order(decided.reason):
            counts[decided.reason] = counts.get(decided.reason, 0) + entry.count
            details.setdefault(decided.reason, decided.detail)
    for reason, count in counts.items():
        text = f"not redirected {_times(count)}: {reason}. {details[reason]}".rstrip(". ")
        yield Finding(reason, text, advice(reason) or "see docs/reference.md")


def _undecided(entries: list[Entry]) -> Iterator[Finding]:
    """UserHasNoMailbox, and no configuration that would say what to do."""

    def undecided(entry: Entry) -> bool:
        return entry.evidence == "certain" and entry.decided is None and entry.recorded is None

    if count := _count(entries, lambda e: undecided(e) and e.foreign):
        yield Finding(
            "server_not_named",
            f"Exchange said UserHasNoMailbox {_times(count)}, and the configuration does not name"
            " this server",
            "if it is yours, add its name to exchange.host_names; other servers' traffic passes",
        )
    if count := _count(entries, lambda e: undecided(e) and not e.foreign):
        yield Finding(
            "user_has_no_mailbox",
            f"Exchange said UserHasNoMailbox {_times(count)}",
            "name a configuration with --config to see what comes of it",
        )


def _not_followed(entries: list[Entry]) -> Iterator[Finding]:
    count = _count(entries, lambda e: e.got_status_code == 451)
    if count > CAME_BACK:
        yield Finding(
            "redirect_not_followed",
            f"was answered 451 {_times(count)} and came back",
            "the client does not follow: set the server name by hand, or add the account anew",
        )


def _unauthenticated(entries: list[Entry]) -> Iterator[Finding]:
    count = _count(entries, lambda e: e.status_code == 401)
    if count >= LOOPING and count == sum(e.count for e in entries):
        yield Finding(
            "never_logged_on",
            f"was refused {_times(count)} (401) and never logged on",
            "look at the password, the account, and the authentication that the server offers",
        )


def _provisioning(entries: list[Entry]) -> Iterator[Finding]:
    count = _count(entries, lambda e: e.status_code == 449 or e.eas_status in _PROVISIONING)
    if count >= LOOPING:
        yield Finding(
            "provisioning_loop",
            f"was told {_times(count)} to take on a policy (449, 139-145)",
            "the device does not accept the policy: look at the ActiveSync mailbox policy",
        )


def _blocked(entries: list[Entry]) -> Iterator[Finding]:
    for status in sorted({e.eas_status for e in entries if e.eas_status in _BLOCKED}):
        entry = next(e for e in entries if e.eas_status == status)
        yield Finding(
            "blocked",
            f"Exchange refuses the device or the user: {status} ({entry.meaning})",
            "look at device access rules, quarantine and the mailbox's ActiveSync settings",
        )


def _busy(entries: list[Entry]) -> Iterator[Finding]:
    count = _count(entries, lambda e: e.status_code in _BUSY or e.eas_status in (110, 111))
    if count >= LOOPING:
        yield Finding(
            "server_errors",
            f"Exchange failed {_times(count)} (500, 502, 503, 504, or status 110, 111)",
            "just after a move this ends by itself in minutes; otherwise look at the server",
        )


def _unanswered(entries: list[Entry]) -> Iterator[Finding]:
    for entry in entries:
        if entry.status_code or entry.got_status_code:
            continue
        if entry.waited_s is not None and _CUT_S[0] <= entry.waited_s <= _CUT_S[1]:
            yield Finding(
                "wait_cut_short",
                f"a waiting {entry.command} was cut after {entry.waited_s:.0f} s",
                "start mitmproxy with tcp_timeout=4200: devices wait up to an hour",
            )
        else:
            why = f" ({entry.error})" if entry.error else ""
            yield Finding(
                "no_answer",
                f"{entry.command or entry.method} was not answered {_times(entry.count)}{why}",
                "the device or Exchange went away: look at the network and at time limits",
            )


def _problems(entries: list[Entry]) -> Iterator[Finding]:
    for problem in dict.fromkeys(entry.problem for entry in entries if entry.problem):
        yield Finding("malformed", problem, "look at the flow in mitmweb")


def _contradictions(entries: list[Entry]) -> Iterator[Finding]:
    if any(entry.contradiction for entry in entries):
        yield Finding(
            "contradiction",
            "User= in the query names somebody else than the logon",
            "the logon counts; look at the account on the device",
        )


def _bodies(entries: list[Entry]) -> Iterator[Finding]:
    count = _count(entries, lambda e: e.body_missing)
    if count:
        yield Finding(
            "bodies_missing",
            f"{count} of the answers are in the capture without their body",
            "capture with --set eas_bodies=keep, or export the HAR with content",
        )


_LOOKS: tuple[Callable[[list[Entry]], Iterator[Finding]], ...] = (
    _decisions,
    _undecided,
    _not_followed,
    _unauthenticated,
    _provisioning,
    _blocked,
    _busy,
    _unanswered,
    _problems,
    _contradictions,
    _bodies,
)


def _count(entries: list[Entry], fits: Callable[[Entry], bool]) -> int:
    return sum(entry.count for entry in entries if fits(entry))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
