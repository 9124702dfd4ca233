"""One page for signature: may the old server go, what is against it, what is unknown. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from eas_redirect.report.handover import TITLES, Accounts, local_part
from eas_redirect.report.old_server import SILENCE_S
from eas_redirect.report.page import PAGE_POLICY, PageSection, Paragraph, section
from eas_redirect.report.page_tables import Head, Piece, table
from eas_redirect.report.report_values import Device, Handover, Report
from eas_redirect.report.words import counted, length, moment
from eas_redirect.telemetry.html_pages import render_page
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.printable import number

LISTED = 20  # names that are shown of a group: it is one page, and the counts stand on it whole

ARRIVED = "arrived"
NEVER_CALLED = "never called"
PRESUMED = "followed (presumed from silence)"
_WORKING = frozenset({Handover.CONFIRMED, Handover.ELSEWHERE})
# Of a user's devices the first of these that one of them is.
_ORDER = (
    *(TITLES[Handover.STILL_HERE], TITLES[Handover.HELD], TITLES[Handover.ASKED_TO_SIGN_IN]),
    *(TITLES[Handover.RE_ADDED], TITLES[Handover.UNKNOWN], PRESUMED, ARRIVED),
)
_AGAINST = frozenset(_ORDER[:4])
_IN_DOUBT = frozenset({TITLES[Handover.UNKNOWN], PRESUMED})


class Outcome(StrEnum):
    """The sentence at the head of the page."""

    MAY_GO = "The old server may go."
    NOT_KNOWN = "Not known: nothing stands against it, and not everything is known."
    NOT_YET = "The old server may not go yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """`groups`: what became of the users → who. Together the groups hold everybody concerned."""

    outcome: Outcome
    groups: Mapping[str, tuple[str, ...]]
    against: tuple[str, ...]
    not_known: tuple[str, ...]
    users: int


def certify(
    report: Report,
    users: Sequence[str] | None,
    accounts: Accounts | None = None,
    redaction: Redaction | None = None,
) -> Certificate:
    """`users`: everybody concerned; None: only those who called, and the page says so."""
    people = [device for device in report.devices if not device.machine]
    callers: dict[int, list[Device]] = {}
    for device in people:
        callers.setdefault(device.user_key, []).append(device)
    found: dict[str, list[str]] = {}
    strangers: Counter[str] = Counter()  # what became of callers who are not on the list
    if users is None:
        for devices in callers.values():
            found.setdefault(_state(devices), []).append(devices[0].user)
    else:
        keys = _match(users, people, accounts or {}, redaction or Redaction())
        for user in users:
            of_user = [one for key in keys[user] for one in callers[key]]
            found.setdefault(_state(of_user), []).append(user)
        meant = {key for some in keys.values() for key in some}
        strangers.update(_state(some) for key, some in callers.items() if key not in meant)
    groups = {
        name: tuple(sorted(found[name], key=str.lower))
        for name in (*_ORDER, NEVER_CALLED)
        if name in found
    }
    against = tuple(_against(report, groups, strangers))
    not_known = tuple(_not_known(report, groups, users is None, strangers))
    doubt = users is None or not _IN_DOUBT.isdisjoint({*groups, *strangers})
    return Certificate(
        outcome=Outcome.NOT_YET if against else Outcome.NOT_KNOWN if doubt else Outcome.MAY_GO,
        groups=groups,
        against=against,
        not_known=not_known,
        users=sum(map(len, groups.values())),
    )


def _match(
    users: Sequence[str], people: Sequence[Device], accounts: Accounts, redaction: Redaction
) -> dict[str, set[int]]:
    """Which callers each listed user is: by the same name, by the directory, or by the account
    name if exactly one listed user and one caller have it and no domain contradicts."""
    hashed = redaction.users == "hash"
    by_name: dict[str, set[int]] = {}
    by_account: dict[str, set[int]] = {}
    domains: dict[int, set[str]] = {}
    for device in people:
        name = device.user.lower()
        by_name.setdefault(name, set()).add(device.user_key)
        if device.account_id:
            by_name.setdefault(device.account_id, set()).add(device.user_key)
        by_account.setdefault(local_part(name), set()).add(device.user_key)
        domains.setdefault(device.user_key, set()).add(_domain(name))
    listed = Counter(local_part(user) for user in users)
    found: dict[str, set[int]] = {}
    for user in users:
        names = {user.lower()}
        if (account := accounts.get(user)) is not None:
            names |= {*account.logons, account.account_id}
        if hashed:
            names |= {redaction.name(name) or "" for name in tuple(names)}
        keys = {key for name in names for key in by_name.get(name, ())}
        own_part = local_part(user)
        alike = by_account.get((redaction.name(own_part) or "") if hashed else own_part, set())
        if not keys and len(alike) == 1 and listed[local_part(user)] == 1:
            own = _domain(user.lower())
            others = {domain for key in alike for domain in domains[key]}
            if all(not own or not other or own[0] != other[0] or own == other for other in others):
                keys = alike
        found[user] = keys
    return found


def _domain(name: str) -> str:
    """With its separator: two UPN suffixes, or two domains, contradict each other."""
    if "@" in name:
        return "@" + name.rpartition("@")[2]
    return "\\" + name.rpartition("\\")[0] if "\\" in name else ""


def _state(devices: Sequence[Device]) -> str:
    states = set(map(_device_state, devices))
    return next((state for state in _ORDER if state in states), NEVER_CALLED)


def _device_state(device: Device) -> str:
    arrival = device.arrival
    if arrival is None:
        if device.state is LedgerState.CONFIRMED:
            return ARRIVED
        quiet = device.state is LedgerState.QUIET
        silent = device.silent_s >= SILENCE_S and device.state is LedgerState.SEEN
        if silent:
            return TITLES[Handover.UNKNOWN]
        return PRESUMED if quiet else TITLES[Handover.STILL_HERE]
    working = arrival.handover is Handover.RE_ADDED and arrival.success_s is not None
    if arrival.handover in _WORKING or working:
        return ARRIVED
    return TITLES[arrival.handover]


def _against(
    report: Report, groups: Mapping[str, Sequence[str]], strangers: Mapping[str, int]
) -> Iterable[str]:
    if not report.arrivals.can_go:
        yield report.arrivals.verdict
    for name in _ORDER:
        if name in _AGAINST and name in groups:
            yield f"{counted(len(groups[name]), 'user')}: {name}."
    for name in _ORDER:
        if name in _AGAINST and name in strangers:
            yield f"{counted(strangers[name], 'user')} who are not on the list: {name}."
    lost, until = report.input.lost_s, report.until_s
    if lost is not None and until is not None and until - lost < SILENCE_S:
        yield (
            f"Journal lines were lost, the last at {moment(lost)} UTC. Who called then is not"
            f" known: it may go on {moment(lost + SILENCE_S)} UTC at the earliest."
        )
    if report.input.unread_files:
        yield f"{counted(report.input.unread_files, 'file')} could not be read."
    if until is not None and report.now_s - until >= SILENCE_S:
        yield (
            f"The journals end {length(report.now_s - until)} ago: nothing is known since. If"
            " nobody has called since then and they are complete, say --until now."
        )


def _not_known(
    report: Report,
    groups: Mapping[str, Sequence[str]],
    no_list: bool,
    strangers: Mapping[str, int],
) -> Iterable[str]:
    if no_list:
        yield "No list of users was given (--users): only those who called are counted."
    if report.target is None:
        yield (
            "No list of the target was given (--target-devices): who arrived is presumed from"
            " silence."
        )
    else:
        yield from report.target.notes
    unstated = sum(
        1
        for device in report.devices
        if device.arrival and device.arrival.handover in _WORKING and not device.arrival.allowed
    )
    if unstated:
        yield (
            f"{counted(unstated, 'device')} arrived by what has no DeviceAccessState, such as a"
            " log, which does not show whether the target holds a device in quarantine."
        )
    if NEVER_CALLED in groups:
        yield (
            f"{counted(len(groups[NEVER_CALLED]), 'user')} of the list never called in these"
            " journals, or called under another name: whether they have a phone is not known."
        )
    if TITLES[Handover.UNKNOWN] in groups:
        users = counted(len(groups[TITLES[Handover.UNKNOWN]]), "user")
        yield f"{users} with a device of which it is not known whether it arrived."
    if strangers:
        told = ", ".join(f"{number(strangers[name])} {name}" for name in _ORDER if strangers[name])
        yield f"{counted(sum(strangers.values()), 'user')} called who are not on the list: {told}."
    given = report.input
    if unread := given.torn + given.foreign + given.untimed + given.future:
        yield (
            f"{counted(unread, 'line')} could not be read, or had no usable time: who called"
            " in them is not known."
        )
    if report.input.lost_s is not None:
        yield f"Lines of the journals were lost, the last at {moment(report.input.lost_s)} UTC."


def render_certificate(
    certificate: Certificate, report: Report, inputs: Sequence[tuple[str, str]]
) -> str:
    """The page. `inputs`: names of the files, and their SHA-256."""
    heads = (Head(title="Users"), Head(title="How many", kind="number"))
    named = [(name.capitalize(), users) for name, users in certificate.groups.items()]
    counts = [
        *((name, number(len(users))) for name, users in named),
        ("All users that are meant", number(certificate.users)),
    ]
    who = [(name, Piece(_names(users), "names")) for name, users in named]
    go = certificate.outcome is Outcome.MAY_GO
    files = (Head(title="File"), Head(title="SHA-256", kind="who"))
    return render_page(
        "report.html",
        {
            "title": "Certificate of the move",
            "heading": "Certificate of the move",
            "period": f"{moment(report.since_s)} to {moment(report.until_s)} UTC",
            "notes": (),
            "verdict": PageSection(
                title="May the old server go?",
                parts=(
                    Paragraph(text=certificate.outcome.value, style="answer"),
                    Paragraph(points=certificate.against),
                ),
                style="verdict go" if go else "verdict",
            ),
            "tiles": (),
            "sections": (
                section(
                    "The users",
                    None,
                    table("Users by what is known", heads, counts, paper=len(counts)),
                ),
                section(
                    "What is not known",
                    None if certificate.not_known else "Nothing that these files could tell.",
                    Paragraph(points=certificate.not_known),
                ),
                section(
                    "What this was made from",
                    None,
                    table("Files", files, inputs, paper=len(inputs)),
                ),
                section(
                    "Who they are",
                    f"The first {LISTED} of each group.",
                    table(
                        "Users by name",
                        (Head(title="Users"), Head(title="Who")),
                        who,
                        paper=len(who),
                    ),
                ),
                section("Signature", None, *(Paragraph(text=line) for line in _SIGNATURE)),
            ),
            "made": f"Made {moment(report.now_s)} UTC by eas-redirect report.",
            "policy": PAGE_POLICY,
        },
    )


_SIGNATURE = (
    "Name: ________________________________",
    "Place, date: ________________________________",
    "Signature: ________________________________",
)


def _names(users: Sequence[str]) -> str:
    more = f", and {number(len(users) - LISTED)} more" if len(users) > LISTED else ""
    return f"{', '.join(users[:LISTED])}{more}"
