"""Devices counted by what they have in common, and the users behind them. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from eas_redirect.report.report_values import STATES, Device, Group, Totals
from eas_redirect.report.words import NAMELESS
from eas_redirect.telemetry.ledger import LedgerState

GROUPS = 40  # of a kind; the smaller ones are put together
OTHERS = "(others)"

# A user is where the worst of the redirected devices is.
RANKS = {
    LedgerState.SEEN: 0,
    LedgerState.CONFIRMED: 1,
    LedgerState.QUIET: 2,
    LedgerState.REDIRECTED: 3,
    LedgerState.RETURNED: 4,
    LedgerState.STUCK: 5,
}
FOLLOWED = (LedgerState.QUIET, LedgerState.CONFIRMED)
_STATES = {rank: state for state, rank in RANKS.items()}


def group_by(devices: Sequence[Device], name: Callable[[Device], str | None]) -> tuple[Group, ...]:
    """The devices by what `name` says of them, the largest group first."""
    sizes = Counter(name(device) or NAMELESS for device in devices)
    named = {group for group, _ in sizes.most_common(GROUPS)}
    members: dict[str, list[Device]] = {}
    for device in devices:
        group = name(device) or NAMELESS
        members.setdefault(group if group in named else OTHERS, []).append(device)
    groups = (_group(group, found) for group, found in members.items())
    return tuple(sorted(groups, key=lambda g: (g.name == OTHERS, -g.devices, g.name)))


def totals(
    devices: Sequence[Device], *, exchanges: int, redirects: int, would_redirects: int
) -> Totals:
    """All of them together."""
    users = users_by_state(devices)
    states = Counter(device.state for device in devices)
    return Totals(
        exchanges=exchanges,
        users=users.total(),
        devices=len(devices),
        redirects=redirects,
        would_redirects=would_redirects,
        users_redirected=users.total() - users[LedgerState.SEEN],
        users_followed=sum(users[state] for state in FOLLOWED),
        users_returned=users[LedgerState.RETURNED],
        users_stuck=users[LedgerState.STUCK],
        devices_redirected=sum(1 for device in devices if device.redirects),
        devices_confirmed=states[LedgerState.CONFIRMED],
        states={state.value: states[state] for state in STATES},
    )


def users_by_state(devices: Sequence[Device]) -> Counter[LedgerState]:
    worst: dict[int, int] = {}
    for device in devices:
        rank = RANKS[device.state]
        worst[device.user_key] = max(rank, worst.get(device.user_key, rank))
    return Counter(_STATES[rank] for rank in worst.values())


def _group(name: str, devices: Sequence[Device]) -> Group:
    states = Counter(device.state for device in devices)
    users = users_by_state(devices)
    return Group(
        name=name,
        devices=len(devices),
        redirected=sum(1 for device in devices if device.redirects),
        followed=sum(states[state] for state in FOLLOWED),
        confirmed=states[LedgerState.CONFIRMED],
        returned=states[LedgerState.RETURNED],
        stuck=states[LedgerState.STUCK],
        users=users.total(),
        users_redirected=users.total() - users[LedgerState.SEEN],
        users_followed=sum(users[state] for state in FOLLOWED),
        users_returned=users[LedgerState.RETURNED],
        users_stuck=users[LedgerState.STUCK],
    )
