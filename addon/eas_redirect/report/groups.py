"""Devices counted by what they have in common, and the users behind them. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import duckdb

from eas_redirect.report.readiness import Prospect
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
    """The devices grouped by `name`, the largest group first."""
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


def readiness(devices: Sequence[Device]) -> dict[str, int]:
    """Verdicts on the devices that have a target and are not known to have reached it."""
    awaited = (device for device in devices if device.state is not LedgerState.CONFIRMED)
    counts = Counter(device.readiness.verdict for device in awaited if device.readiness)
    return {verdict.value: counts[verdict] for verdict in Prospect}


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


# One user under several logons: counted as one where that is known, told where it is not.
#
# A phone whose owner types another logon would else look as if it had followed under the first one.

_LOGONS = """
CREATE TEMP TABLE logons AS
SELECT DISTINCT user_key, account, device_id, caseless(user_name) AS name,
  CASE WHEN user_email IS NOT NULL THEN 'upn' WHEN user_domain IS NOT NULL THEN 'down_level'
    ELSE 'bare' END AS form
FROM lines
WHERE class = 0 AND user_key IS NOT NULL AND reason IS DISTINCT FROM 'unauthenticated'
"""

# The directory's word: it found the same account for both.
_SAME_ACCOUNT = """
SELECT list(DISTINCT user_key) FROM logons WHERE account IS NOT NULL
GROUP BY account HAVING count(DISTINCT user_key) > 1
"""

# On one device `anna@contoso.example`, `CONTOSO\\anna` and `anna` are one user; with two domains it
# is not clear whose the short name is, and two accounts are two by the directory's word.
_SAME_DEVICE = """
SELECT list(DISTINCT user_key) FROM logons WHERE device_id IS NOT NULL
GROUP BY caseless(device_id), name
HAVING count(DISTINCT user_key) > 1
  AND count(DISTINCT user_key) FILTER (form = 'upn') < 2
  AND count(DISTINCT user_key) FILTER (form = 'down_level') < 2
  AND count(DISTINCT account) < 2
"""

_RENAME = """
UPDATE lines SET user_key = names.user,
  key = CASE WHEN lines.key IS NULL THEN NULL
             WHEN named THEN hash(names.user, caseless(device_id))
             ELSE hash(names.user, '', user_agent) END,
  agent = hash(names.user, user_agent)
FROM (SELECT unnest($names::UBIGINT[]) AS name, unnest($users::UBIGINT[]) AS user) AS names
WHERE lines.user_key = names.name
"""

_SHARED = """
SELECT count(*) FROM (
  SELECT caseless(device_id) FROM lines
  WHERE class = 0 AND user_key IS NOT NULL AND device_id IS NOT NULL
    AND reason IS DISTINCT FROM 'unauthenticated'
  GROUP BY caseless(device_id) HAVING count(DISTINCT user_key) > 1)
"""


def join_logons(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Give each user one key. Returns how many logons were a second name, and how many device
    ids still belong to several users."""
    connection.execute(_LOGONS)
    same = [row[0] for sql in (_SAME_ACCOUNT, _SAME_DEVICE) for row in _all(connection, sql)]
    users = one_for_each(same)
    renamed = {name: user for name, user in users.items() if name != user}
    if renamed:
        values = {"names": list(renamed), "users": list(renamed.values())}
        connection.execute(_RENAME, values)
    connection.execute("DROP TABLE logons")
    shared: int = connection.execute(_SHARED).fetchall()[0][0]
    return len(renamed), shared


def one_for_each(same: Iterable[list[int]]) -> dict[int, int]:
    """For each name, the one that represents all names that are the same, directly or through
    others."""
    users: dict[int, int] = {}

    def find(name: int) -> int:
        while users.setdefault(name, name) != name:
            users[name] = users[users[name]]
            name = users[name]
        return name

    for names in same:
        roots = sorted(map(find, names))
        users.update(dict.fromkeys(roots, roots[0]))
    return {name: find(name) for name in list(users)}


def _all(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[list[int]]]:
    return connection.execute(sql).fetchall()
