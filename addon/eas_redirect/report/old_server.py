"""Can the old server go, and who keeps it? Pure."""

from collections.abc import Sequence
from datetime import timedelta

from eas_redirect.report.report_values import Arrivals, Device, StillCalling
from eas_redirect.report.words import counted, day
from eas_redirect.telemetry.ledger import LedgerState

SILENCE_S = timedelta(days=7).total_seconds()  # nobody for a week, and the old server can go
_UNTOLD = "other_answer"


def judge_old_server(
    devices: Sequence[Device], until_s: float | None, nameless: int = 0
) -> Arrivals:
    """It can go when no person's device called it for a week, up to the end of the journals.

    `nameless`: exchanges of that week that belong to no device, and might be anybody's.
    """
    people = [device for device in devices if not device.machine]
    if until_s is None or not (people or nameless):
        return unknown("Nobody called: the journals say nothing about the old server.")
    callers = _callers(people)
    calls = sorted(device.last_seen_s for device in callers)
    last_s = max((device.last_seen_s for device in people), default=None)
    earliest_s = (until_s if nameless or last_s is None else last_s) + SILENCE_S
    users = len({device.user_key for device in callers})
    can_go = not (callers or nameless)
    return Arrivals(
        window_s=SILENCE_S,
        devices=len(callers),
        users=users,
        nameless=nameless,
        first_s=calls[0] if calls else None,
        last_s=last_s,
        earliest_s=None if can_go else earliest_s,
        can_go=can_go,
        verdict=_verdict(len(callers), users, nameless, earliest_s),
        still_calling=still_calling(devices),
    )


def unknown(verdict: str) -> Arrivals:
    """For journals that cannot tell."""
    return Arrivals(window_s=SILENCE_S, verdict=verdict)


def why(device: Device) -> str:
    """Why a device still calls: what became of its redirect, or why it got none."""
    return device.answer or _UNTOLD if device.state is LedgerState.SEEN else device.state.value


def _verdict(callers: int, users: int, nameless: int, earliest_s: float) -> str:
    if callers:
        return (
            f"Not yet: {counted(callers, 'device')} of {counted(users, 'user')} called it in the"
            f" last 7 days. If nobody calls any more, it can go on {day(earliest_s)}."
        )
    if nameless:
        return (
            f"Not known: nobody called it by name in the last 7 days, and"
            f" {counted(nameless, 'exchange')} without a name may be anybody's."
        )
    return "It can go: nobody called it in the last 7 days of the journals."


def _callers(devices: Sequence[Device]) -> list[Device]:
    return [one for one in devices if not one.machine and one.silent_s < SILENCE_S]


def still_calling(devices: Sequence[Device]) -> tuple[StillCalling, ...]:
    """People's devices of the last week by cause, the most common first."""
    found: dict[str, list[Device]] = {}
    for device in _callers(devices):
        found.setdefault(why(device), []).append(device)
    rows = (
        StillCalling(why=cause, devices=len(some), users=len({d.user_key for d in some}))
        for cause, some in found.items()
    )
    return tuple(sorted(rows, key=lambda row: (-row.devices, row.why)))
