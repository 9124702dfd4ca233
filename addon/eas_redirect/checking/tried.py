"""The outcome of one thing tried. Standard library only."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_CLOCKS_AGREE_S = 300  # what Kerberos tolerates (RFC 4120 1.6)

# `warning`: works, and somebody should know. `failed`: does not work as it is. `unreachable`: a
# server does not answer. `skipped`: could not be tried because of an earlier one.
type Mark = Literal["good", "warning", "failed", "unreachable", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`subject` is what was tried, `finding` what was seen, `advice` what to do about it."""

    subject: str
    state: Mark
    finding: str
    advice: str | None = None


def good(subject: str, finding: str, advice: str | None = None) -> Check:
    return Check(subject=subject, state="good", finding=finding, advice=advice)


def warning(subject: str, finding: str, advice: str | None = None) -> Check:
    return Check(subject=subject, state="warning", finding=finding, advice=advice)


def failed(subject: str, finding: str, advice: str | None = None) -> Check:
    return Check(subject=subject, state="failed", finding=finding, advice=advice)


def unreachable(subject: str, finding: str, advice: str | None = None) -> Check:
    return Check(subject=subject, state="unreachable", finding=finding, advice=advice)


def skipped(subject: str, finding: str) -> Check:
    return Check(subject=subject, state="skipped", finding=finding)


def clock_check(
    subject: str, there: datetime.datetime, off: Callable[[str, str, str], Check]
) -> Check:
    """Whether a server's clock agrees with ours; `off` makes the line for one that does not."""
    away_s = abs((datetime.datetime.now(datetime.UTC) - there).total_seconds())
    if away_s > _CLOCKS_AGREE_S:
        finding = f"this machine's is {away_s / 60:.0f} minutes away from the server's"
        return off(subject, finding, "Let both follow the same time source.")
    return good(subject, "this machine's agrees with the server's")


def in_two(message: str) -> tuple[str, str | None]:
    """A message that says what happened, a colon, and what to do, as finding and advice."""
    what, colon, advice = message.rpartition(": ")
    if not colon:
        return message, None
    return what, f"{advice[:1].upper()}{advice[1:]}{'' if advice.endswith('?') else '.'}"
