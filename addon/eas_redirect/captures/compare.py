"""Two configurations over one capture: only what the second would decide otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass

from eas_redirect.captures.capture import Captured, Trouble
from eas_redirect.captures.timeline import Decision, Filter, decided
from eas_redirect.judging.judge import Judge

# A configuration that does not name the server decides nothing about it.
_NONE = Decision(decision="pass", reason="server_not_named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One exchange about which they differ; `then` is what the second configuration decides."""

    time_s: float
    device: str
    user: str
    command: str
    now: Decision
    then: Decision


async def compare(
    before: Iterable[Captured | Trouble],
    now: Judge,
    after: Iterable[Captured | Trouble],
    then: Judge,
    wanted: Filter,
) -> tuple[list[Change], list[str]]:
    """The changes, and what of the capture could not be read.

    `before` and `after` are the same capture, each read as its configuration reads answers.
    """
    changes: list[Change] = []
    troubles: list[str] = []
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Trouble) or isinstance(other, Trouble):
            troubles.extend(item.text for item in (one,) if isinstance(item, Trouble))
        elif wanted.admits(one):
            first = await decided(one, now) or _NONE
            second = await decided(other, then) or _NONE
            if _differ(first, second):
                changes.append(_change(one, first, second))
    return changes, troubles


def _differ(one: Decision, other: Decision) -> bool:
    return (one.decision, one.reason, one.location) != (
        other.decision,
        other.reason,
        other.location,
    )


def _change(captured: Captured, now: Decision, then: Decision) -> Change:
    request, logon = captured.exchange.request, captured.exchange.logon
    return Change(
        time_s=captured.time_s,
        device=request.device_id or captured.exchange.client_address or "unknown",
        user=logon.text if logon else "nobody",
        command=request.command or request.method,
        now=now,
        then=then,
    )
