"""What is wrong with a device of a capture, and what to do about it. Pure.

Each look takes what one server said to one device, finds one kind of trouble, and says which
exchanges that explains; the looks after it see the rest. The order of the looks is the order of
`_LOOKS`: the gravest first.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from eas_redirect.activesync.host_name import is_inner_name
from eas_redirect.activesync.meanings import http_meaning, item_meaning, status_meaning
from eas_redirect.activesync.request import is_eas_path
from eas_redirect.captures.device_timeline import (
    DISCOVERED,
    NOT_ASKED,
    Decision,
    Timeline,
    TimelineEntry,
    skew_of,
    total,
)
from eas_redirect.captures.signs import MOST_REPEATS, MOST_RESTARTS, MOST_RETURNS
from eas_redirect.policy.exchange_online import is_eas_host
from eas_redirect.policy.reasons import advice, in_order

CAME_BACK = 2  # redirects after which a device that still calls has not followed
LOOPING = 3  # answers of one kind after which a device is stuck
MANY = 5  # of what happens once in a while anyway
_SHARE, _SHARE_OF_SYNCS, _SHARE_OF_ALL = 4, 10, 100  # one in so many
_OFTEN, _OFTEN_S = 20, 10.0  # the same question, and how many seconds apart it would be in order
_SAME_AGE_S = 5.0  # waits that end at one age, whatever was asked, are cut by a clock
_LONG_S = 25.0  # what ends sooner waits for nothing; everything but waits should end by 30 s
_TCP_TIMEOUT_S = (595.0, 605.0)  # mitmproxy's default tcp_timeout is 600 s

_WIPE, _DETAILS = 140, 165
_NOT_PROVISIONABLE, _TOO_MANY_DEVICES = 139, 177
_PROVISION_PAGE = 14
_PROVISIONING = frozenset({139, 141, 142, 143, 144, 145})
_BLOCKED = frozenset({126, 127, 128, 129, 130, 131, 177})
# Of Exchange, and of fronts that do not reach it: 52x are those of content delivery networks.
_BUSY = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 527})
_CUT = frozenset({408, 502, 504, 524})  # how a front ends a wait
_BUSY_STATUSES = frozenset({110, 111, 114, 133})
_WAITS = frozenset({"Ping", "Sync"})
_PROBES = frozenset({"GET", "HEAD"})
# Commands that may take their time: they wait, or carry mail and attachments.
_LONG = frozenset(
    {"Ping", "Sync", "SendMail", "SmartForward", "SmartReply", "ItemOperations", "GetAttachment"}
)
_PATIENCE_S = 14.0  # the shortest time after which a phone gives a command up
_LATE_S = 30.0
_SENT_WITHIN_S = 120.0
_SLOW_ADVICE = (
    "phones wait half a minute for anything but mail: look at the load of Exchange and of its"
    " disks, at domain controllers that do not answer, and at what inspects traffic on the way"
)
_GAVE_UP = "client disconnected"  # as mitmproxy says it


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong, and what to do."""

    kind: str
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A finding with the entries that it explains."""

    finding: Complaint
    explains: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class _Server:
    """What one server said to the device: all of it, and what no look has explained yet."""

    entries: list[TimelineEntry]
    left: list[TimelineEntry]
    targets: frozenset[str]  # hosts to which the device was redirected
    is_target: bool
    followed: bool  # the device called a host to which it was redirected
    host: str | None = None
    clock_told: bool = False  # its clock is told at another device
    settled: bool = False  # Autodiscover, here or elsewhere, told the device its settings


type _Look = Callable[[_Server], Iterator[_Found]]


def complaints(timeline: Timeline) -> list[Complaint]:
    """What a person should look at, the gravest first. GET and HEAD are ignored: they come from
    browsers and from load balancers that check whether anybody is there."""
    hosts: dict[str | None, list[TimelineEntry]] = {}
    for entry in timeline.entries:
        if entry.method in _PROBES and entry.command is None:
            continue
        hosts.setdefault(entry.signs.called, []).append(entry)
    targets = frozenset(host for e in timeline.entries if (host := _target(e)) is not None)
    told: list[Complaint] = []
    for between in (*_circles(timeline.entries), *_not_kept(timeline.entries), *_shared(timeline)):
        told.append(between.finding)
        taken = set(map(id, between.explains))
        for host, entries in hosts.items():
            hosts[host] = [entry for entry in entries if id(entry) not in taken]
    hosts = {host: entries for host, entries in hosts.items() if entries}
    settled = any(e.signs.discovered == "settings" for e in timeline.entries)
    for host, entries in hosts.items():
        is_target = host in targets
        if all(entry.foreign for entry in entries) and not is_target:
            told += [found.finding for found in _not_named(entries)]
            continue
        where = f"at {host}: " if len(hosts) > 1 else ""
        questions = [entry for entry in entries if entry.autodiscover is not None]
        others = [entry for entry in entries if entry.autodiscover is None]
        followed = any(other in targets for other in hosts if other != host)
        for looks, met in ((_LOOKS, others), (_AUTODISCOVER_LOOKS, questions)):
            server = _Server(
                entries=met,
                left=list(met),
                targets=targets,
                is_target=is_target,
                followed=followed,
                host=host,
                clock_told=host in timeline.clocks_told,
                settled=settled,
            )
            for finding in _at(looks, server):
                told.append(Complaint(finding.kind, where + finding.text, finding.advice))
    return told


def _at(looks: "tuple[_Look, ...]", server: _Server) -> Iterator[Complaint]:
    for look in looks:
        for found in look(server):
            if found.finding is not _NOTHING:
                yield found.finding
            taken = set(map(id, found.explains))
            server.left[:] = [entry for entry in server.left if id(entry) not in taken]


def _taken(kind: str, text: str, advised: str, explains: Sequence[TimelineEntry]) -> _Found:
    return _Found(Complaint(kind, text, advised), tuple(explains))


# -- redirects and decisions ----------------------------------------------------------------------


def _circles(entries: list[TimelineEntry]) -> Iterator[_Found]:
    """Servers that send the device to one another. A mailbox may move there and back, so it is
    not a circle if there was mail in between or afterwards."""
    edges: dict[str, dict[str, list[TimelineEntry]]] = {}
    for entry in entries:
        called = entry.signs.called
        if called is not None and (target := _target(entry)) is not None and target != called:
            edges.setdefault(called, {}).setdefault(target, []).append(entry)
    told: set[str] = set()
    for start in edges:
        circle = [] if start in told else _circle(edges, start)
        if not circle:
            continue
        ways = [edges[one][other] for one, other in pairwise([*circle, start])]
        sent = [entry for way in ways for entry in way]
        ids = set(map(id, sent))
        first = next(entry for entry in entries if id(entry) in ids)
        if min(map(total, ways)) < LOOPING and _leads_on(entries, first):
            continue
        told.update(circle)
        yield _taken(
            "redirect_circle",
            f"servers send the device round in a circle, {_times(total(sent))} (451):"
            f" {' → '.join([*circle, start])}",
            "each believes that the mailbox is at the next, as when a move is half finished: look"
            " where it is, and at targetAddress and the organization relationship (TargetOwaURL) on"
            " both sides; then finish the move or undo it",
            sent,
        )


def _circle(edges: dict[str, dict[str, list[TimelineEntry]]], start: str) -> list[str]:
    """The shortest path back to `start`, which comes first; empty if there is none."""
    ways, seen = deque([[start]]), {start}
    while ways:
        way = ways.popleft()
        for target in edges.get(way[-1], ()):
            if target == start:
                return way
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def _not_kept(entries: list[TimelineEntry]) -> Iterator[_Found]:
    """Devices that follow a redirect and call the old server again, each time. If they were sent
    round in a circle, that is the finding."""
    if any(True for _ in _circles(entries)):
        return
    last: dict[str | None, str] = {}  # by server, where it sent the device
    back: dict[str | None, list[TimelineEntry]] = {}
    arrived: set[str | None] = set()  # servers whose redirect has been followed since
    for entry in entries:
        called, target = entry.signs.called, _target(entry)
        if entry.got_status_code != 451:
            target = None  # a configuration would send it there, and nobody has
        if _leads_to_mail(entry) and target is None:
            arrived |= {server for server, there in last.items() if there == called}
        if target is None or target == called:
            continue
        if called in arrived:
            back.setdefault(called, []).append(entry)
            arrived.discard(called)
        last[called] = target
    for server, said in back.items():
        if total(said) >= LOOPING:
            yield _taken(
                "redirect_not_kept",
                f"followed the redirect of {server} to {last[server]}, and came back"
                f" {_times(total(said))}",
                "the client does not keep the new server, or something sets the old one again: look"
                " at the profile of the device management (MDM), then set the server name by hand",
                [e for e in entries if e.signs.called == server and _target(e) is not None],
            )


def _shared(timeline: Timeline) -> Iterator[_Found]:
    """Exchange keeps one state for an id: what one phone has fetched, the other one misses."""
    if any(entry.signs.agent_returns == MOST_RETURNS for entry in timeline.entries):
        agents = dict.fromkeys(
            e.signs.agent or "no name" for e in timeline.entries if e.signs.agent is not None
        )
        yield _taken(
            "device_id_shared",
            f"programs take turns under this device id: {', '.join(agents)}",
            "two phones share an id, as after a restored backup, or two apps of one phone do: add"
            " the account again on one of them, and look for what it missed",
            (),
        )


def _not_named(entries: list[TimelineEntry]) -> Iterator[_Found]:
    said = [e for e in entries if e.evidence == "certain" and e.recorded is None]
    if said:
        yield _taken(
            "server_not_named",
            f"Exchange said UserHasNoMailbox {_times(total(said))}, and the configuration does not"
            " name this server",
            "if it is yours, add its name to exchange.host_names; other servers' traffic passes",
            said,
        )


def _decisions(server: _Server) -> Iterator[_Found]:
    """Passes that somebody can do something about, one finding per reason."""
    groups: dict[str, list[TimelineEntry]] = {}
    for entry in server.left:
        decided = entry.decided or entry.recorded
        if decided is not None and not in_order(decided.reason):
            groups.setdefault(decided.reason, []).append(entry)
    for reason, entries in groups.items():
        detail = _decided(entries[0]).detail
        text = f"not redirected {_times(total(entries))}: {reason}. {detail}".rstrip(". ")
        yield _taken(reason, text, advice(reason) or "see docs/reference.md", entries)


def _decided(entry: TimelineEntry) -> Decision:
    found = entry.decided or entry.recorded
    assert found is not None  # noqa: S101 - asked only of entries that have one
    return found


def _undecided(server: _Server) -> Iterator[_Found]:
    """UserHasNoMailbox, without a configuration that would say what to do."""
    said = [e for e in server.left if e.evidence == "certain" and _is_undecided(e)]
    if said:
        yield _taken(
            "user_has_no_mailbox",
            f"Exchange said UserHasNoMailbox {_times(total(said))}",
            "name a configuration with --config to see what comes of it",
            said,
        )


def _is_undecided(entry: TimelineEntry) -> bool:
    return entry.decided is None and entry.recorded is None


def _bad_redirect(server: _Server) -> Iterator[_Found]:
    """A 451 from Exchange itself that leads nowhere."""
    own = [e for e in server.left if e.status_code == 451]
    bare = [e for e in own if not e.location]
    if bare:
        yield _taken(
            "redirect_without_location",
            f"Exchange answered 451 {_times(total(bare))} without X-MS-Location",
            "the device cannot follow: look for a box on the way that drops the header, and at the"
            " external address of the ActiveSync virtual directory",
            bare,
        )
    wrong = [e for e in own if e.location and not _is_for_phones(e.location)]
    if wrong:
        yield _taken(
            "redirect_location_wrong",
            f"Exchange answered 451 {_times(total(wrong))} with an X-MS-Location that phones cannot"
            f" use: {wrong[0].location}",
            "set ExternalUrl of the ActiveSync virtual directory where the mailbox is to"
            " https://NAME/Microsoft-Server-ActiveSync",
            wrong,
        )
    whole = [e for e in own if e.location and _is_for_phones(e.location)]
    inside = [e for e in whole if is_inner_name(_host(e.location or "") or "")]
    if inside and not server.followed:
        yield _taken(
            "redirect_to_internal_name",
            f"Exchange answered 451 {_times(total(inside))} with a name of the inner network:"
            f" {_host(inside[0].location or '')}",
            "phones outside do not find it, and no public certificate bears it: set ExternalUrl of"
            " the ActiveSync virtual directory where the mailbox is",
            inside,
        )
    back = [e for e in whole if _host(e.location or "") == e.signs.called]
    if back:
        yield _taken(
            "redirect_to_itself",
            f"Exchange answered 451 {_times(total(back))} with the very name that was called",
            "set ExternalUrl of the ActiveSync virtual directory where the mailbox is",
            back,
        )


def _is_for_phones(location: str) -> bool:
    """Some take the address as it is (MS-ASHTTP 3.1.5.2.2): it must be whole."""
    path = location.partition("://")[2].partition("/")[2]
    return _host(location) is not None and is_eas_path(f"/{path}")


def _not_followed(server: _Server) -> Iterator[_Found]:
    """Only if it was given a place to go to."""
    got = [e for e in server.left if e.got_status_code == 451 and _is_good(e)]
    count = total(got)
    if got and count > CAME_BACK and not server.followed:
        yield _taken(
            "redirect_not_followed",
            f"was answered 451 {_times(count)} and came back",
            "the client does not follow: set the server name by hand, or add the account again",
            got,
        )


def _is_good(entry: TimelineEntry) -> bool:
    target = _target(entry)
    return target is not None and target != entry.signs.called


def _target(entry: TimelineEntry) -> str | None:
    """Where an entry sends the device, or None."""
    decided = entry.recorded if entry.got_status_code == 451 else entry.decided
    if decided is not None and decided.location:
        return _host(decided.location)
    return _host(entry.location) if entry.status_code == 451 and entry.location else None


def _host(location: str) -> str | None:
    scheme, _, rest = location.partition("://")
    host = rest.partition("/")[0].partition(":")[0].lower().removesuffix(".")
    return host if scheme.lower() == "https" and host else None


# -- logging on -----------------------------------------------------------------------------------


def _unauthenticated(server: _Server) -> Iterator[_Found]:
    refused = [e for e in server.left if e.status_code == 401]
    if not refused:
        return
    if skew := _clock_refuses(server):
        yield _taken(
            "clock_skew",
            f"was refused {_times(total(refused))} (401) with a token, and {_clock(skew)}",
            "set the clocks: a token is valid from a time and for a time, so that a server whose"
            " clock is wrong takes it for too early or too late",
            refused,
        )
        return
    count, after = total(refused), _after_last(server.entries, lambda e: e.status_code != 401)
    if len(after) == len(server.entries):
        bare = all(not e.signs.logon_sent and e.signs.logon_wanted for e in refused)
        if bare and count >= LOOPING:
            yield _taken(
                "authorization_missing",
                f"was asked for a logon {_times(count)} (401), and no request has an Authorization",
                "look for a box on the way that takes the header away, and whether the client knows"
                " any of the offered schemes; browsers leave it out of a HAR, unless it is exported"
                " with sensitive data",
                refused,
            )
            return
        text = f"was refused {_times(count)} (401) and never logged on"
        handshake = any(e.signs.handshake_sent for e in refused)
        if server.is_target:
            yield _taken(
                "new_server_refuses_logon",
                f"the new server {text.removeprefix('was ')}".replace("refused", "refused it"),
                "Exchange Online takes no passwords for ActiveSync: the client must sign in again"
                " with modern authentication, or the account be added again"
                if is_eas_host(server.host)
                else "does the new server know this account and password, and how does it let"
                " clients log on? Enter the account's password of there on the device",
                refused,
            )
            return
        yield _taken(
            "never_logged_on",
            text,
            "look at the password, the account, and the authentication that the server offers"
            + (_ONE_CONNECTION if handshake else ""),
            refused,
        )
    elif total(after) >= LOOPING:
        yield _taken(
            "password_changed",
            f"logged on before, and was then refused {_times(total(after))} (401)",
            "the password has changed or has expired, or the account is locked: enter it again on"
            " the device",
            refused,
        )
    elif (times := _refusals_between(server.entries)) >= LOOPING and (
        times * _SHARE_OF_ALL >= total(server.entries)
    ):
        yield _taken(
            "logon_refused_at_times",
            f"was refused {_times(times)} (401) with a password that was accepted before and after",
            "one of several servers behind a balancer refuses: compare the authentication of their"
            " virtual directories, and whether each reaches a domain controller",
            refused,
        )
    elif all(not e.signs.logon_sent for e in after):
        yield _explained(refused)  # a handshake of NTLM, or the first question
    elif after:
        yield _taken(
            "logon_refused",
            f"was refused {_times(total(after))} (401) in the end",
            "if it goes on, look at the password and the account",
            refused,
        )
    else:
        yield _explained(refused)


_ONE_CONNECTION = (
    "; NTLM logs a connection on, so look for a proxy or a balancer that spreads the requests of"
    " one connection over several"
)


def _refusals_between(entries: list[TimelineEntry]) -> int:
    """How often a password was refused between two good answers. Tokens run out, and a handshake
    begins with refusals."""
    times, before, refused = 0, False, False
    for entry in entries:
        signs = entry.signs
        if entry.status_code == 401:
            password = signs.logon_sent and not (signs.token_sent or signs.handshake_sent)
            refused = refused or (before and password)
        elif _leads_to_mail(entry):
            times, before, refused = times + refused, True, False
    return times


def _blocked_logon(server: _Server) -> Iterator[_Found]:
    new = "the new server" if server.is_target else "the server"
    for code, kind, why, what in (
        (456, "account_blocked", "the account is blocked", "unblock the user's sign-in"),
        (457, "password_expired", "the password has expired", "set a new password"),
    ):
        said = [e for e in server.left if e.status_code == code]
        if said:
            yield _taken(
                kind,
                f"{new} answered {code} {_times(total(said))}: {why}",
                f"{what}, then sign in again on the device",
                said,
            )


def _explained(entries: Sequence[TimelineEntry]) -> _Found:
    """Something in order that needs no attention."""
    return _Found(_NOTHING, tuple(entries))


_NOTHING = Complaint("", "", "")


# -- policies, access, wipes ----------------------------------------------------------------------


def _wiped(server: _Server) -> Iterator[_Found]:
    """The order, the answers 140 before it, and the handshake that delivers it are one cause."""
    account = [e for e in server.left if e.signs.wipe == "account"]
    device = [e for e in server.left if e.signs.wipe == "device" or e.eas_status == _WIPE]
    provision = [
        e for e in server.left if e.command == "Provision" or _wants_policy(e) or e in device
    ]
    said = next((e.signs.wiped for e in reversed(server.left) if e.signs.wiped), None)
    done = {None: "", 1: "; the device says that it did"}.get(
        said, "; the device says that it could not"
    )
    if account:
        yield _taken(
            "account_wipe",
            f"Exchange orders the device to remove this account (account-only remote wipe){done}",
            "cancel the wipe at the mailbox if it is not wanted, and remove the device there",
            [*account, *provision],
        )
    elif device:
        yield _taken(
            "remote_wipe",
            f"Exchange orders the device to erase itself (140), {_times(total(device))}{done}",
            "keep the device off the network if it is not wanted; cancel the wipe at the mailbox"
            " and remove the device there",
            provision,
        )


def _wants_policy(entry: TimelineEntry) -> bool:
    return entry.status_code == 449 or entry.eas_status in _PROVISIONING


def _policies(server: _Server) -> Iterator[_Found]:
    """The command succeeds, but a policy in it does not (MS-ASPROV 2.2.2.54.1)."""
    refused = [e for e in server.left if e.signs.policy_statuses]
    if not refused:
        return
    if total(refused) < LOOPING and _leads_on(server.entries, refused[-1]):
        yield _explained(refused)  # 2: there is no policy for this user, so that none is needed
        return
    status = refused[-1].signs.policy_statuses[0]
    meaning = status_meaning(_PROVISION_PAGE, status)
    yield _taken(
        "policy_refused",
        f"Provision was answered {_times(total(refused))} with status {status} for the policy"
        f"{f' ({meaning})' if meaning else ''}",
        "the device and Exchange do not agree on a policy: look at the ActiveSync mailbox policy;"
        " remove the device at the mailbox and let it start over",
        [*refused, *(e for e in server.left if _wants_policy(e))],
    )


def _only_provisions(server: _Server) -> Iterator[_Found]:
    """The device accepts a policy, and nothing follows."""
    said = [e for e in server.left if e.command == "Provision"]
    others = [e for e in server.entries if e.command not in (None, "Provision")]
    if not others and total(said) > MANY:
        yield _taken(
            "provisions_only",
            f"asked for its policy {_times(total(said))} (Provision), and for nothing else",
            "the device does not take on the policy: look at the ActiveSync mailbox policy; add the"
            " account again",
            said,
        )


def _provisioning(server: _Server) -> Iterator[_Found]:
    told = [e for e in server.left if _wants_policy(e)]
    count = total(told)
    if count >= LOOPING:
        kind, why, what = _why_again(server, told)
        text = f"was told {_times(count)} to take on a policy (449, 139-145){why}"
        yield _taken(kind, text, what, told)
    elif told and (_leads_on(server.entries, told[-1]) or _goes_on(server.entries, told[-1])):
        yield _explained(told)
    elif told:
        yield _taken(
            "policy_wanted",
            f"was told {_times(count)} to take on a policy (449, 139-145), and no mail followed",
            "look at the Provision that should follow, and at the ActiveSync mailbox policy",
            told,
        )


def _goes_on(entries: list[TimelineEntry], told: TimelineEntry) -> bool:
    """Whether the device got its policy, and then another trouble."""
    at = next(n for n, entry in enumerate(entries) if entry is told)
    after = entries[at + 1 :]
    got = next((n for n, entry in enumerate(after) if entry.command == "Provision"), None)
    if got is None or not _leads_to_mail(after[got]):
        return False
    return any(e.command not in (None, "Provision") for e in after[got + 1 :])


def _why_again(server: _Server, told: list[TimelineEntry]) -> tuple[str, str, str]:
    """What is known about a loop: its kind and what to do. The device acknowledges a policy as a
    whole, and sends the key that it gets for that with all later requests (MS-ASPROV 3.1.5.1.2)."""
    at = next((n for n, e in enumerate(server.entries) if _is_taken_on(e)), None)
    posts = [e for e in server.entries if e.method == "POST"]
    refused = any(e.signs.acknowledged not in (None, 1) for e in posts)
    if at is not None and not refused and all(e.eas_status != _NOT_PROVISIONABLE for e in told):
        if all(e.signs.policy_key == "missing" for e in posts):
            return (
                "policy_key_stripped",
                ", acknowledged it, and no request has an X-MS-PolicyKey",
                "look for a box on the way that takes the header away",
            )
        if any(_wants_policy(e) and e.signs.policy_key == "sent" for e in server.entries[at:]):
            return (
                "policy_key_lost",
                ", though it has acknowledged it and sends the key of it",
                "Exchange does not know the key that it gave: look whether a balancer spreads the"
                " device over servers that do not share it, and at the health of the mailbox;"
                " remove the device at the mailbox and let it start over",
            )
    return (
        "provisioning_loop",
        "",
        "the device does not accept the policy: look at the ActiveSync mailbox policy",
    )


def _is_taken_on(entry: TimelineEntry) -> bool:
    return entry.signs.acknowledged == 1 and entry.status_code == 200 and _leads_to_mail(entry)


def _details_wanted(server: _Server) -> Iterator[_Found]:
    """MS-ASCMD 2.2.2: from 14.1 on, DeviceInformation belongs in the first Provision."""
    told = [e for e in server.left if e.eas_status == _DETAILS]
    if told and _leads_on(server.entries, told[-1]):
        yield _explained(told)
    elif told:
        yield _taken(
            "device_information_wanted",
            f"was asked {_times(total(told))} for the device's details (165), and no mail followed",
            "the client must send DeviceInformation with its first Provision: update it",
            told,
        )


def _blocked(server: _Server) -> Iterator[_Found]:
    for status in sorted({e.eas_status for e in server.left if e.eas_status in _BLOCKED}):
        said = [e for e in server.left if e.eas_status == status]
        if status == _TOO_MANY_DEVICES:
            yield _taken(
                "too_many_devices",
                f"Exchange refuses the device, for the user has as many as are allowed: {status}"
                f" ({said[0].meaning})",
                "remove devices that are no longer used from the mailbox, or raise EasMaxDevices of"
                " the throttling policy",
                said,
            )
            continue
        yield _taken(
            "blocked",
            f"Exchange refuses the device or the user: {status} ({said[0].meaning})",
            "look at device access rules, quarantine and the mailbox's ActiveSync settings",
            said,
        )


# -- what is not ActiveSync ------------------------------------------------------------------------


def _pages(server: _Server) -> Iterator[_Found]:
    moved = [e for e in server.left if e.signs.page_at is not None]
    onward = [e for e in moved if is_eas_path(e.signs.page_at or "")]
    if onward:
        yield _taken(
            "web_redirect",
            f"was sent on {_times(total(onward))} ({onward[0].status_code}) to"
            f" {onward[0].signs.page_at}",
            "clients of ActiveSync follow the X-MS-Location of a 451, few follow redirects of the"
            " web: give them that address, or let the front pass the request on",
            onward,
        )
    moved = [e for e in moved if e not in onward]
    asked = [e for e in server.left if e.status_code == 511]
    if asked:
        yield _taken(
            "captive_portal",
            f"was asked {_times(total(asked))} to sign on to the network (511)",
            "a guest network's portal answers in Exchange's place: sign on to the network",
            asked,
        )
    away = [e for e in moved if _is_elsewhere(e)]
    if away:
        yield _taken(
            "captive_portal",
            f"was led to another place of the web {_times(total(away))}: {away[0].signs.page_at}",
            "a guest network's portal or a sign-on gateway answers in Exchange's place: sign on to"
            " the network, or let the ActiveSync path pass the gateway",
            away,
        )
    here = [e for e in moved if e not in away]
    if here:
        yield _taken(
            "logon_page",
            f"was led to a page {_times(total(here))} ({here[0].status_code}):"
            f" {here[0].signs.page_at}",
            "a log-on form stands before ActiveSync: publish /Microsoft-Server-ActiveSync without"
            " forms and without pre-authentication",
            here,
        )
    pages = [e for e in server.left if e.signs.page]
    if pages:
        yield _taken(
            "web_page",
            f"got 200 {_times(total(pages))} with something else than ActiveSync:"
            f" {', '.join(dict.fromkeys(str(e.signs.page) for e in pages))}",
            "no Exchange answers so: look for a log-on form, a portal or a filter on the way",
            pages,
        )


def _is_elsewhere(entry: TimelineEntry) -> bool:
    at = entry.signs.page_at or ""
    rest = at.partition("://")[2]
    return bool(rest) and rest.partition("/")[0].partition(":")[0].lower() != entry.signs.called


_CLIENT_CERTIFICATE = (
    "the server asks for a certificate of the client, and a proxy that ends TLS cannot pass the"
    " device's on: let the server accept other logons, too"
)
_FILTERED = (
    "no Exchange answers so: a firewall for web applications (WAF) or a front refuses; let the"
    " path, the methods and the types of ActiveSync pass it"
)
_CODES = {
    400: (
        "bad_request",
        "the request does not suit this server: compare version, query and body with those that it"
        " takes; look for a box that changes requests",
    ),
    403: (
        "forbidden",
        "the user may not use ActiveSync here, the device is blocked, or IIS refuses it (TLS"
        " needed, a client certificate required, address restricted): look at the mailbox's"
        " settings and at the log of IIS",
    ),
    405: (
        "method_not_allowed",
        "another web server or a box on the way answers: ActiveSync takes POST and OPTIONS",
    ),
    407: (
        "proxy_logon",
        "a web proxy on the device's way wants a logon: let ActiveSync's hosts pass it, or take the"
        " proxy out of the device's network settings",
    ),
    404: (
        "not_found",
        "there is no ActiveSync at this address: look at the virtual directory and at the front's"
        " paths",
    ),
    413: ("too_large", "raise the limits of message size of IIS, of the front and of Exchange"),
    406: ("filtered", _FILTERED),
    411: (
        "length_missing",
        "a box on the way takes Content-Length out of the request, or sends it in chunks: look for"
        " what changes requests",
    ),
    415: ("filtered", _FILTERED),
    417: (
        "expectation_failed",
        "a box on the way does not know Expect: 100-continue: update it, or let it take the header"
        " out",
    ),
    421: (
        "misdirected",
        "the front serves several names over one connection: give each its certificate, or turn"
        " HTTP/2 off for ActiveSync",
    ),
    431: (
        "head_too_large",
        "cookies or a long Kerberos ticket make the request's head too long: raise the front's"
        " limit, or put the user into fewer groups",
    ),
    440: (
        "logon_page",
        "a log-on form stands before ActiveSync: publish /Microsoft-Server-ActiveSync without"
        " forms and without pre-authentication",
    ),
    495: ("client_certificate_wanted", _CLIENT_CERTIFICATE),
    496: ("client_certificate_wanted", _CLIENT_CERTIFICATE),
    501: ("not_implemented", "the server does not know this command or version"),
    505: ("version_not_supported", "the server does not know this version: look who changes it"),
}


_SENDING = frozenset({"SendMail", "SmartForward", "SmartReply"})


def _too_long(server: _Server) -> Iterator[_Found]:
    """IIS refuses a request above maxAllowedContentLength with 404 (404.13 in its log)."""
    said = [e for e in server.left if e.status_code == 404 and e.command in _SENDING]
    if said and any(e.status_code == 200 for e in server.entries):
        yield _taken(
            "too_large",
            f"{_were(said)} answered 404 {_times(total(said))}, though the server takes other"
            " commands",
            "IIS refuses large messages so (404.13 in its log): raise maxAllowedContentLength of"
            " the ActiveSync virtual directory, on the web site of the front and of the back end",
            said,
        )


def _codes(server: _Server) -> Iterator[_Found]:
    yield from _too_long(server)
    for code, (kind, what) in _CODES.items():
        said = [e for e in server.left if e.status_code == code and not _redirects(e)]
        if said:
            meaning = f" ({said[0].meaning})" if said[0].meaning else ""
            yield _taken(kind, f"was answered {code}{meaning} {_times(total(said))}", what, said)


def _redirects(entry: TimelineEntry) -> bool:
    decided = entry.decided or entry.recorded
    return decided is not None and decided.decision in ("redirect", "would_redirect")


def _stripped(server: _Server) -> Iterator[_Found]:
    silent = [e for e in server.left if e.signs.versions_missing]
    if silent:
        yield _taken(
            "versions_missing",
            f"OPTIONS was answered 200 {_times(total(silent))} without MS-ASProtocolVersions",
            "a front or a filter answers in Exchange's place, or takes headers away: clients then"
            " fall back to an old version or give up",
            silent,
        )
    bare = [e for e in server.left if not e.signs.version_sent and e.status_code != 401]
    if bare:
        yield _taken(
            "version_missing",
            f"sent no MS-ASProtocolVersion {_times(total(bare))}",
            "every client sends it: look for a box on the way that takes headers away",
            bare,
        )


# -- the server's troubles ------------------------------------------------------------------------


def _cut_waits(server: _Server) -> Iterator[_Found]:
    """Waits that something on the path cuts by a timer: none of them, or all, reach the
    requested time."""
    cut = _of_one_age(
        [
            e
            for e in server.left
            if e.command in _WAITS
            and (not (e.status_code or e.got_status_code) or e.status_code in _CUT)
            and (e.least_s or 0.0) >= _LONG_S
        ]
    )
    if not cut:
        return
    ages = [age for e in cut for age in (e.least_s, e.waited_s) if age is not None]
    oldest, count = max(ages), total(cut)
    if _TCP_TIMEOUT_S[0] <= min(ages) and oldest <= _TCP_TIMEOUT_S[1]:
        yield _taken(
            "wait_cut_short",
            f"a waiting {cut[0].command} was cut after {oldest:.0f} s",
            "start mitmproxy with tcp_timeout=4200: devices wait up to an hour",
            cut,
        )
    elif count > 1 and oldest - min(ages) <= _SAME_AGE_S:
        asked = max((e.signs.asked_s for e in cut if e.signs.asked_s), default=None)
        against = f", though {asked} s were asked for" if asked and asked > oldest else ""
        yield _taken(
            "wait_cut_short",
            f"waits were cut {_times(count)} at the same age, {oldest:.0f} s{against}",
            "a firewall, a balancer or a proxy ends idle connections then: raise its limit above"
            " what devices ask for, an hour at most",
            cut,
        )


def _of_one_age(cut: list[TimelineEntry]) -> list[TimelineEntry]:
    """Most of them, if most end at the same age; otherwise all. In between, a device ends some
    of its waits itself."""
    groups = [
        [e for e in cut if start <= (e.least_s or 0.0) and (e.waited_s or 0.0) <= end]
        for start, end in ((e.least_s or 0.0, (e.least_s or 0.0) + _SAME_AGE_S) for e in cut)
    ]
    largest = max(groups, key=total, default=[])
    return largest if 2 * total(largest) > total(cut) else cut


_FULL, _SEND_QUOTA, _FULL_SYNC = 113, 115, 9


def _full_number(entry: TimelineEntry) -> int:
    return entry.status_code if entry.status_code != 200 else entry.eas_status or _FULL_SYNC


def _full(server: _Server) -> Iterator[_Found]:
    """One cause, which each command has its own number for."""
    said = [
        e
        for e in server.left
        if e.status_code == 507
        or e.eas_status == _FULL
        or _is_sync(e, _FULL_SYNC)
        or _FULL_SYNC in e.signs.collection_statuses
    ]
    if said:
        numbers = dict.fromkeys(f"{e.command or e.method} {_full_number(e)}" for e in said)
        yield _taken(
            "mailbox_full",
            f"was answered {_times(total(said))} that the mailbox is full ({', '.join(numbers)})",
            "raise its quota or remove mail",
            said,
        )
    unsent = [e for e in server.left if e.eas_status == _SEND_QUOTA]
    if unsent:
        yield _taken(
            "send_quota",
            f"{_were(unsent)} answered {_SEND_QUOTA} {_times(total(unsent))}: the mailbox may send"
            " nothing, for it is over its quota",
            "raise its quota (ProhibitSendQuota) or remove mail",
            unsent,
        )


def _is_obeyed(server: _Server, said: list[TimelineEntry]) -> bool:
    """Whether each was sent away once, stayed away for the requested time, and then had mail.
    Retry-After is in seconds (RFC 9110 10.2.3), and device clocks are not exact."""
    if total(said) >= LOOPING:
        return False
    for entry in said:
        at = next(n for n, other in enumerate(server.entries) if other is entry)
        wait, after = entry.signs.retry_after or "", server.entries[at + 1 : at + 2]
        if entry.count > 1 or not (wait.isdecimal() and len(wait) <= 6 and after):
            return False
        stayed = after[0].time_s - entry.time_s
        if stayed < 0.9 * int(wait) or not _leads_on(server.entries, entry):
            return False
    return True


def _busy(server: _Server) -> Iterator[_Found]:
    said = [e for e in server.left if e.status_code in _BUSY or e.eas_status in _BUSY_STATUSES]
    if not said:
        return
    if _is_obeyed(server, said):
        yield _explained(said)
        return
    waits = [e.signs.retry_after for e in said if e.signs.retry_after]
    held = [e for e in said if e.signs.throttle]
    if held:
        wait = f", Retry-After {waits[-1]}" if waits else ""
        yield _taken(
            "device_throttled",
            f"Exchange holds the device off {_times(total(said))} ({held[-1].status_code}{wait},"
            f" X-MS-ASThrottle {held[-1].signs.throttle})",
            "the device asks the same too often, and Exchange lets it in again after a while: look"
            " at what it repeats, update the client, or remove the device at the mailbox and let it"
            " start over",
            said,
        )
        return
    if waits:
        yield _taken(
            "server_busy",
            f"Exchange sent the device away {_times(total(said))}"
            f" ({said[0].status_code}, Retry-After {waits[-1]})",
            "Exchange throttles this user or is overloaded: look at its throttling policy, its"
            " health, and at what the device asks for so often",
            said,
        )
        return
    yield _taken(
        "server_errors",
        f"Exchange failed {_times(total(said))} ({_numbers(said)})",
        "just after a move this ends by itself in minutes; otherwise look at the server",
        said,
    )


def _numbers(said: list[TimelineEntry]) -> str:
    """Codes and statuses, each once."""
    each = (f"{e.status_code}" if e.status_code != 200 else f"status {e.eas_status}" for e in said)
    return ", ".join(dict.fromkeys(each))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """Why there was no answer, if the error says so."""

    kind: str
    words: re.Pattern[str]
    text: str  # with the host's name
    advice: str
    advice_new: str  # where a redirect led the device there

    def found(self, server: _Server, said: list[TimelineEntry]) -> _Found:
        name = server.host or "the server"
        led = ", to which the device was redirected," if server.is_target else ""
        text = f"{self.text.format(name + led)} ({_times(total(said))}: {said[0].error})"
        advised = self.advice_new if server.is_target else self.advice
        return _taken(self.kind, text, advised, said)


# As mitmproxy, OpenSSL, resolvers and browsers say it; a redacted text keeps fewer of the words.
_CAUSES = (
    _Cause(
        kind="name_not_resolved",
        words=re.compile(
            r"not known|failure in name|no such host|getaddrinfo|not resolve|(?:unable|failed) to"
            r" resolve|name_not_resolved|unknown_host|nxdomain",
            re.IGNORECASE,
        ),
        text="the name {} is not resolved",
        advice="look at the name and at the DNS that is asked for it",
        advice_new="the name in X-MS-Location must be in the DNS that devices ask: put it there, or"
        " correct it (TargetOwaURL of the organization relationship, ExternalUrl of the ActiveSync"
        " virtual directory)",
    ),
    _Cause(
        kind="certificate_expired",
        words=re.compile(
            r"certificate(?: has|_has)?[ _]expired|cert_date|expired_cert|not yet valid",
            re.IGNORECASE,
        ),
        text="the certificate of {} has expired",
        advice="renew the certificate, and look at the clocks",
        advice_new="renew the certificate there, and look at the clocks",
    ),
    _Cause(
        kind="client_certificate_wanted",
        words=re.compile(r"alert certificate required|certificate_required", re.IGNORECASE),
        text="{} asks for a certificate of the client",
        advice=_CLIENT_CERTIFICATE,
        advice_new=_CLIENT_CERTIFICATE,
    ),
    _Cause(
        kind="certificate_not_trusted",
        words=re.compile(r"certificate|unknown[ _]ca\b|err_cert|unknown_issuer", re.IGNORECASE),
        text="the certificate of {} is not accepted",
        advice="it must bear the name that is called, and come with its chain from an authority"
        " that whoever calls knows; upstream_ca under [proxy] names the one of an old Exchange",
        advice_new="it must bear the name in X-MS-Location, and come with its chain from an"
        " authority that devices know",
    ),
    _Cause(
        kind="tls_not_agreed",
        words=re.compile(
            r"agree on a TLS version|not speak TLS|unsupported protocol|protocol version|wrong"
            r" version number|handshake failure|too small|legacy renegotiation|err_ssl|ssl_error",
            re.IGNORECASE,
        ),
        text="TLS with {} does not come about",
        advice="an old Windows speaks TLS 1.0 at most: set upstream_tls_min under [proxy]; or the"
        " port does not speak TLS at all, or the server asks for a certificate of the client:"
        " eas-redirect check says which",
        advice_new="try the address with openssl s_client: which versions of TLS does it speak?",
    ),
    _Cause(
        kind="not_http",
        words=re.compile(r"bad http response|cannot parse http|invalid_http", re.IGNORECASE),
        text="what {} says is not HTTP",
        advice="another service listens at this port: look at the address and the port",
        advice_new="another service listens there: X-MS-Location must name a server that speaks"
        " ActiveSync on port 443",
    ),
    _Cause(
        kind="server_unreachable",
        words=re.compile(
            r"connect \S+ failed|connection[ _]refused|unreachable|no route|connection_timed_out",
            re.IGNORECASE,
        ),
        text="{} does not take connections",
        advice="nothing listens there, or a firewall refuses: look at the address, at the port, at"
        " the service behind it and at the way to it",
        advice_new="nothing listens there, or a firewall refuses: X-MS-Location must name a server"
        " that devices reach on port 443",
    ),
)


def _unanswered(server: _Server) -> Iterator[_Found]:
    """A device ends its own wait whenever it has something else to ask."""
    groups: dict[str, list[TimelineEntry]] = {}  # by the error
    for entry in server.left:
        if entry.status_code or entry.got_status_code:
            continue
        if entry.command in _WAITS and _gave_up(entry) and _leads_on(server.entries, entry):
            yield _explained([entry])
        else:
            groups.setdefault(entry.error or "", []).append(entry)
    for cause in _CAUSES:
        told = {error: es for error, es in groups.items() if error and cause.words.search(error)}
        if told:
            yield cause.found(server, [entry for entries in told.values() for entry in entries])
            groups = {error: entries for error, entries in groups.items() if error not in told}
    late = [e for es in groups.values() for e in es if _is_too_late(e)]
    if total(late) > 1:
        commands = _commands(late)
        yield _taken(
            "too_slow",
            f"the device gave up waiting for the answer to {commands} {_times(total(late))}, after"
            f" {max(e.waited_s or 0.0 for e in late):.0f} s",
            _SLOW_ADVICE,
            late,
        )
        groups = {error: [e for e in es if not _is_too_late(e)] for error, es in groups.items()}
    for error, entries in groups.items():
        if not entries:
            continue
        why = f" ({error})" if error else ""
        yield _taken(
            "no_answer",
            f"{_were(entries)} not answered {_times(total(entries))}{why}",
            "the device or Exchange went away: look at the network and at time limits",
            entries,
        )


def _is_too_late(entry: TimelineEntry) -> bool:
    return _gave_up(entry) and entry.command not in _LONG and (entry.least_s or 0.0) >= _PATIENCE_S


def _slow(server: _Server) -> Iterator[_Found]:
    """Answers that came later than phones wait for them."""
    said = [
        e
        for e in server.entries
        if e.status_code == 200 and e.command not in _LONG and (e.least_s or 0.0) >= _LATE_S
    ]
    if _is_often(server, said, _SHARE):
        commands = _commands(said)
        yield _taken(
            "slow_answers",
            f"the answer to {commands} took {max(e.waited_s or 0.0 for e in said):.0f} s"
            f" and the like {_times(total(said))}",
            _SLOW_ADVICE,
            (),
        )


def _gave_up(entry: TimelineEntry) -> bool:
    return _GAVE_UP in (entry.error or "").lower()


def _cut_answers(server: _Server) -> Iterator[_Found]:
    """Answers that began and did not end."""
    cut = [e for e in server.left if e.signs.cut_off and e.status_code == 200]
    said = []
    for entry in cut:  # a phone goes out of reach, and comes back
        if _gave_up(entry) and _leads_on(server.entries, entry):
            yield _explained([entry])
        else:
            said.append(entry)
    if not said:
        return
    if total(said) < LOOPING and _leads_on(server.entries, said[-1]):
        yield _explained(said)
        return
    commands = _commands(said)
    yield _taken(
        "answer_cut_off",
        f"the answer to {commands} broke off {_times(total(said))} ({said[0].error})",
        "Exchange or a box on the way ended the connection in the middle of an answer: look at time"
        " limits and limits of size on the way, and at Exchange's log",
        said,
    )


# -- synchronization ------------------------------------------------------------------------------


def _keys(server: _Server) -> Iterator[_Found]:
    """Keys that the server does not know: the device starts over, which is normal once."""
    folders = [e for e in server.left if e.command == "FolderSync" and e.eas_status == 9]
    sync = [e for e in server.left if 3 in e.signs.collection_statuses or _is_sync(e, 3)]
    for kind, said, what in (
        ("folder_key_loop", folders, "FolderSync 9, synchronization key mismatch"),
        ("sync_key_loop", sync, "Sync 3, invalid synchronization key"),
    ):
        if total(said) >= LOOPING:
            yield _taken(
                kind,
                f"lost its place {_times(total(said))} ({what})",
                "remove the device at the mailbox and let it start over; if it comes back, look for"
                " answers that do not arrive",
                [*said, *_beginnings(server)],
            )
        elif said and _leads_on(server.entries, said[-1]):
            yield _explained(said)


def _beginnings(server: _Server) -> list[TimelineEntry]:
    return [e for e in server.left if e.signs.first_key]


def _repeats(server: _Server) -> Iterator[_Found]:
    """Good answers without effect: the device asks the same again."""
    again = [e for e in server.left if e.signs.repeats]
    begins = _beginnings(server)
    if any(e.signs.repeats == MOST_REPEATS and not e.signs.first_key for e in again):
        again = [e for e in again if not e.signs.first_key]
        yield _taken(
            "answers_not_taken",
            f"sent {_times(total(again))} the SyncKey of before again, though Exchange had answered"
            " with the next one",
            "the answers do not arrive, or the device cannot keep them: look for a box on the way"
            " that cuts or changes answers, and at the device's free space; then add the account"
            " again",
            again,
        )
    elif any(e.signs.repeats == MOST_REPEATS or e.signs.restarts == MOST_RESTARTS for e in begins):
        folders = [e for e in begins if e.command == "FolderSync"]
        syncs = [e for e in begins if e not in folders]
        yield _taken(
            "starts_over",
            f"started over {_times(max(total(folders), total(syncs)))} (SyncKey 0), though Exchange"
            " had answered",
            "the answers do not arrive, or the device cannot keep them: look for a box on the way"
            " that cuts or changes answers, and at the device's free space; then add the account"
            " again",
            begins,
        )


def _empty(server: _Server) -> Iterator[_Found]:
    """Answers without the body that they should always have."""
    said = [e for e in server.left if e.signs.empty]
    if said:
        yield _taken(
            "empty_answers",
            f"{_were(said)} answered 200 {_times(total(said))} with nothing in it",
            "Exchange always sends a body here: look for a box on the way that takes it out or"
            " answers in Exchange's place, and at Exchange's log",
            said,
        )


def _is_sync(entry: TimelineEntry, status: int) -> bool:
    return entry.command == "Sync" and entry.eas_status == status


_OF_SYNC = {
    4: ("sync_protocol_error", "the request breaks the protocol", "update the client"),
    5: ("sync_server_error", "the server failed", "look at the server and at the folder"),
    6: ("sync_item_refused", "an item cannot be converted", "remove the item or add it again"),
    7: ("sync_conflict", "both sides changed an item", "the server's version counts: nothing"),
    8: ("sync_object_gone", "an object was not found", "the device should FolderSync again"),
    12: (
        "sync_folders_changed",
        "the folders have changed",
        "the device must ask FolderSync: if it does not, add the account again",
    ),
    13: (
        "sync_incomplete",
        "an empty Sync whose predecessor the server does not know",
        "the device must send the whole request: if it does not, update the client",
    ),
    14: ("sync_wait_invalid", "the wait is out of range", "update the client"),
    15: ("sync_too_many_folders", "too many folders", "let the device synchronize fewer folders"),
    16: (
        "sync_retry",
        "the server asks to be asked again",
        "look at the server's health and at Exchange's log; if it goes on, remove the device at the"
        " mailbox and let it start over",
    ),
}


# The client's next question is another one, and then the server answers it (MS-ASCMD 2.2.3.177).
_CORRECTED = frozenset({8, 12, 13, 14, 16})


def _is_corrected(server: _Server, said: list[TimelineEntry]) -> bool:
    if not said or total(said) >= LOOPING:
        return False
    at = next(n for n, entry in enumerate(server.entries) if entry is said[-1])
    return any(
        entry.command == said[-1].command and entry not in said and _leads_to_mail(entry)
        for entry in server.entries[at + 1 :]
    )


def _sync_statuses(server: _Server) -> Iterator[_Found]:
    for status, (kind, why, what) in _OF_SYNC.items():
        said = [
            e for e in server.left if status in e.signs.collection_statuses or _is_sync(e, status)
        ]
        if status in _CORRECTED and _is_corrected(server, said):
            yield _explained(said)
        elif said:
            text = f"Sync was answered {status} {_times(total(said))}: {why}"
            yield _taken(kind, text, what, said)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What statuses of all commands have in common (MS-ASCMD 2.2.2)."""

    statuses: frozenset[int]
    kind: str
    advice: str
    commands: frozenset[str] | None = None  # None: all


_REFUSALS = (
    _Refusal(
        frozenset({*range(101, 110), 149}),
        "request_refused",
        "the request is not as it must be: update the client, and look for a box on the way that"
        " changes requests",
    ),
    _Refusal(
        frozenset({112}),
        "directory_access_denied",
        "Exchange may not write to the user's object in Active Directory: enable inheritance of its"
        " permissions, which accounts that are or were administrators lose (AdminSDHolder)",
    ),
    _Refusal(
        frozenset({*range(116, 123), 150, 166, 167}),
        "message_not_sent",
        "the message stays in the device's outbox: look at its recipients, its size, the message"
        " that it answers and what the account may send; then delete it and write it again",
        _SENDING,
    ),
    _Refusal(
        frozenset({124, 125}),
        "account_unknown",
        "Exchange does not find the account of this logon: look at the user name on the device, and"
        " at anonymous access of the virtual directory",
    ),
    _Refusal(
        frozenset({132, 134, 135, 136}),
        "sync_state_broken",
        "what Exchange remembers of the device is damaged: remove the device at the mailbox and let"
        " it start over",
    ),
    _Refusal(
        frozenset({137, 138}),
        "version_not_supported",
        "the server does not know this command or version: the client must ask OPTIONS again; look"
        " who changes MS-ASProtocolVersions",
    ),
    _Refusal(
        frozenset(range(168, 173)),
        "rights_management",
        "protected mail cannot be opened: look at the rights management (IRM) of Exchange and at"
        " its templates",
    ),
)


def _is_sent_after(server: _Server, refused: TimelineEntry) -> bool:
    """Whether the device sent it another way at once: as a new message where the one that it
    answers is gone."""
    at = next(n for n, entry in enumerate(server.entries) if entry is refused)
    after = next((e for e in server.entries[at + 1 :] if e.command in _SENDING), None)
    if refused.count > 1 or after is None or after.time_s - refused.time_s > _SENT_WITHIN_S:
        return False
    return after.status_code == 200 and after.eas_status in (None, 1)


def _refused(server: _Server) -> Iterator[_Found]:
    for refusal in _REFUSALS:
        said = [
            e
            for e in server.left
            if e.eas_status in refusal.statuses
            and (refusal.commands is None or e.command in refusal.commands)
        ]
        if refusal.commands is _SENDING:
            yield _explained([e for e in said if _is_sent_after(server, e)])
            said = [e for e in said if not _is_sent_after(server, e)]
        elif (
            said
            and _leads_on(server.entries, said[-1])
            and not _is_often(server, said, _SHARE_OF_SYNCS)
        ):
            yield _explained(said)
            continue
        if said:
            statuses = ", ".join(dict.fromkeys(f"{e.eas_status} {e.meaning}" for e in said))
            text = f"{_were(said)} answered {statuses} {_times(total(said))}"
            yield _taken(refusal.kind, text, refusal.advice, said)


# Statuses below the global one, by command: once is a message that somebody else has deleted.
_OF_ITEMS = {
    "Sync": (
        "sync_items_refused",
        "the device sends a change that Exchange does not take, again and again: undo it on the"
        " device, or add the account again",
    ),
    "MoveItems": (
        "items_not_moved",
        "the folder or the message is not there: ask FolderSync again",
    ),
    "GetItemEstimate": ("not_estimated", "a folder or its key is wrong: ask FolderSync again"),
    "MeetingResponse": (
        "meeting_response_refused",
        "the invitation is gone or damaged: answer it in Outlook",
    ),
    "Search": (
        "search_failed",
        "look at the address lists and the content index of Exchange, and at the folders that the"
        " device names",
    ),
    "Settings": (
        "settings_refused",
        "look at what the device wants to set (out of office, device information, password) and"
        " whether a policy forbids it",
    ),
    "ItemOperations": (
        "items_not_fetched",
        "the messages, attachments or documents are gone, too large, or need rights of their own:"
        " look at what the device asks for, and at the limits of attachments in the policy",
    ),
}


def _is_often(server: _Server, said: list[TimelineEntry], share: int) -> bool:
    """Whether it is one in `share` of such commands at least: in a capture of weeks, a few of
    anything happen."""
    commands = {e.command for e in said}
    every = total([e for e in server.entries if e.command in commands])
    return total(said) >= LOOPING and share * total(said) >= every


def _items(server: _Server) -> Iterator[_Found]:
    for command, (kind, what) in _OF_ITEMS.items():
        said = [e for e in server.left if e.command == command and e.signs.item_statuses]
        if not _is_often(server, said, _SHARE_OF_SYNCS if command == "Sync" else _SHARE):
            continue
        numbers = sorted({number for e in said for number in e.signs.item_statuses})
        meant = ", ".join(item_meaning(command, number) for number in numbers)
        text = f"{command} failed {_times(total(said))} for what was in it: {meant}"
        yield _taken(kind, text, what, said)


def _too_often(server: _Server) -> Iterator[_Found]:
    """Good answers to questions that nobody needs to ask all the time."""
    for entry in server.left:
        lasted_s = max(0.0, entry.last_s - entry.time_s)
        often = entry.count >= _OFTEN and lasted_s < _OFTEN_S * entry.count
        if often and entry.command in ("FolderSync", "Settings") and _leads_to_mail(entry):
            yield _taken(
                "asks_too_often",
                f"{entry.command} was asked {_times(entry.count)} in {lasted_s:.0f} s, though each"
                " was answered",
                "this drains batteries, and Exchange will throttle the device: update the client or"
                " add the account again",
                [entry],
            )


def _pings(server: _Server) -> Iterator[_Found]:
    pings = [e for e in server.left if e.command == "Ping" and e.status_code == 200]
    changes = [e for e in pings if e.eas_status == 2]
    syncs = [e for e in server.entries if e.command == "Sync" and e.status_code == 200]
    early = [e for e in server.left if e.signs.early and e.status_code == 200]
    waits = [e for e in server.left if e.command == "Sync" and e.signs.asked_s]
    if 2 * total([e for e in waits if e.signs.early]) <= total(waits):
        early = [e for e in early if e.command == "Ping"]  # a new Sync ends the one that waits
    bounds = [e for e in pings if e.eas_status == 5]
    if total(changes) >= MANY and not syncs:
        yield _taken(
            "ping_changes_loop",
            f"Ping told {_times(total(changes))} of changes (2), and no Sync fetched them",
            "the device does not fetch what has changed: add the account again, or take the folder"
            " that changes all the time out of what it synchronizes",
            [*changes, *early],
        )
    elif total(early) >= MANY:
        asked = max(e.signs.asked_s or 0 for e in early)
        commands = " and ".join(dict.fromkeys(str(e.command) for e in early))
        yield _taken(
            "ping_at_once",
            f"{commands} returned too soon {_times(total(early))}, though {asked} s were asked for",
            "this drains batteries: look for a folder that changes all the time, and for a box that"
            " answers in Exchange's place",
            early,
        )
    if total(bounds) >= LOOPING:
        yield _taken(
            "ping_heartbeat_loop",
            f"asked {_times(total(bounds))} for a wait that Exchange does not allow (5)",
            "the device does not take the allowed wait: look at the heartbeat limits of Exchange"
            " (MinHeartbeatInterval, MaxHeartbeatInterval)",
            bounds,
        )
    elif bounds:
        yield _explained(bounds)  # the answer names the limit, and the device takes it
    for status in (3, 6, 7):  # parameters, fewer folders, FolderSync: then it may wait
        asked_again = [e for e in pings if e.eas_status == status]
        if _is_corrected(server, asked_again):
            yield _explained(asked_again)


def _problems(server: _Server) -> Iterator[_Found]:
    for problem in dict.fromkeys(entry.problem for entry in server.left if entry.problem):
        said = [e for e in server.left if e.problem == problem]
        commands = _commands(said)
        text = f"{commands} could not be read {_times(total(said))}: {problem}"
        advised = (
            "look for a box on the way that cuts or changes bodies, and at the flow in mitmweb"
        )
        yield _taken("malformed", text, advised, said)


def _contradictions(server: _Server) -> Iterator[_Found]:
    if any(entry.contradiction for entry in server.entries):
        yield _taken(
            "contradiction",
            "User= in the query names somebody else than the logon",
            "the logon counts; look at the account on the device",
            (),
        )


def _bodies(server: _Server) -> Iterator[_Found]:
    missing = [e for e in server.entries if e.body_missing]
    if missing:
        yield _taken(
            "bodies_missing",
            f"{total(missing)} of the answers are in the capture without their body",
            "capture with --set eas_bodies=keep, or export the HAR with content",
            missing,
        )


def _skew(server: _Server) -> Iterator[_Found]:
    skew = skew_of(server.entries)
    if skew and not server.clock_told and not _clock_refuses(server):
        yield _taken(
            "clock_skew",
            _clock(skew),
            "set the clocks: logons by Kerberos and certificates fail from five minutes on",
            (),
        )


def _clock(skew: int) -> str:
    way = "ahead of" if skew > 0 else "behind"
    return f"the server's clock is {abs(skew) // 60} minutes {way} the capture's"


def _clock_refuses(server: _Server) -> int:
    """The skew, if every logon is a token that the server refuses; else 0."""
    logons = [e for e in server.entries if e.signs.logon_sent and e.status_code]
    refused = all(e.status_code == 401 and e.signs.token_sent for e in logons)
    return skew_of(server.entries) if logons and refused else 0


_ORDINARY = {"FolderSync": (1,), "Ping": (1, 2), "MoveItems": (1, 2, 3)}


def _others(server: _Server) -> Iterator[_Found]:
    """Whatever else leads to no mail, reported as it is."""
    groups: dict[tuple[int, int | None, tuple[int, ...]], list[TimelineEntry]] = {}
    for entry in server.left:
        if not _leads_to_mail(entry):
            key = (entry.status_code, entry.eas_status, entry.signs.collection_statuses)
            groups.setdefault(key, []).append(entry)
    for (code, status, inner), said in groups.items():
        statuses = ", ".join(map(str, (status,) if status is not None else inner))
        number = f"{code}, status {statuses}" if statuses else f"{code}"
        told = None if status is None and inner else said[0].meaning
        meaning = f" ({told})" if told else ""
        yield _taken(
            "other_trouble",
            f"{said[0].command or said[0].method} was answered {number}{meaning}"
            f" {_times(total(said))}",
            "look at the flow in mitmweb, and at Exchange's log at that time",
            said,
        )


# -- questions to Autodiscover --------------------------------------------------------------------


def _untold(server: _Server) -> Iterator[_Found]:
    """Exchange named another address, or no mailbox, and there is no decision about it."""
    for entry in server.left:
        said = DISCOVERED.get(entry.autodiscover or "")
        decided = entry.decided or entry.recorded
        if said is None or (decided is not None and decided != NOT_ASKED):
            continue
        yield _taken(
            "autodiscover_untold",
            f"Autodiscover said {_times(entry.count)}: {said}",
            "set autodiscover.phones, so that the phone is told its new server"
            if decided is not None
            else "name a configuration with --config to see whether the phone is told its server",
            [entry],
        )


def _failed_questions(server: _Server) -> Iterator[_Found]:
    """Phones ask at several addresses, most of which are not Autodiscover's; the one with the
    settings counts (MS-OXDISCO 3.1.5)."""
    said = [e for e in server.left if e.status_code not in (0, 200) and not _redirects(e)]
    wrong = [e for e in server.left if e.signs.discovered not in (None, "settings", "redirect")]
    wrong = [e for e in wrong if not _redirects(e) and e.autodiscover not in DISCOVERED]
    if server.settled:
        yield _explained([*said, *wrong])
        return
    for code in sorted({e.status_code for e in said}):
        these = [e for e in said if e.status_code == code]
        meaning = http_meaning(code)
        yield _taken(
            "autodiscover_failed",
            f"Autodiscover answered {code}{f' ({meaning})' if meaning else ''}"
            f" {_times(total(these))}",
            "is Autodiscover served there, and does the front send its path on?",
            these,
        )
    for what in dict.fromkeys(e.signs.discovered for e in wrong):
        these = [e for e in wrong if e.signs.discovered == what]
        yield _taken(
            "autodiscover_failed",
            f"Autodiscover answered {_times(total(these))} with {what}",
            _DISCOVERY_ERRORS.get(what or "", "look at Exchange's log at that time"),
            these,
        )


_DISCOVERY_ERRORS = {
    "error 600": "Exchange cannot read the question: look for a box on the way that changes it",
    "error 601": "Exchange does not offer this to phones: look at the ActiveSync virtual directory",
    "no answer of Autodiscover": "a page stands in its place: look for a log-on form, a portal or a"
    " web site that answers everything",
}


def _leads_to_mail(entry: TimelineEntry) -> bool:
    if _redirects(entry) or entry.got_status_code == 451 or entry.status_code == 451:
        return True
    if not 200 <= entry.status_code < 300:
        return False
    if entry.signs.collection_statuses or entry.signs.policy_statuses:
        return False
    usual = _ORDINARY.get(entry.command or "", (1,))
    return entry.eas_status is None or entry.eas_status in usual


def _leads_on(entries: list[TimelineEntry], last: TimelineEntry) -> bool:
    """Whether there was mail after this one."""
    at = next(n for n, entry in enumerate(entries) if entry is last)
    return any(
        _leads_to_mail(entry)
        and entry.status_code == 200
        and entry.command not in (None, "Provision")
        for entry in entries[at + 1 :]
    )


def _after_last(
    entries: list[TimelineEntry], fits: Callable[[TimelineEntry], bool]
) -> list[TimelineEntry]:
    """The entries after the last matching one."""
    at = max((n for n, entry in enumerate(entries) if fits(entry)), default=-1)
    return entries[at + 1 :]


_LOOKS: tuple[_Look, ...] = (
    _bodies,
    _decisions,
    _undecided,
    _bad_redirect,
    _not_followed,
    _blocked_logon,
    _unauthenticated,
    _wiped,
    _policies,
    _provisioning,
    _details_wanted,
    _blocked,
    _refused,
    _pages,
    _stripped,
    _codes,
    _cut_waits,
    _full,
    _busy,
    _unanswered,
    _cut_answers,
    _empty,
    _keys,
    _repeats,
    _sync_statuses,
    _items,
    _pings,
    _too_often,
    _slow,
    _only_provisions,
    _problems,
    _contradictions,
    _skew,
    _others,
)


_AUTODISCOVER_LOOKS: tuple[_Look, ...] = (
    _bodies,
    _decisions,
    _untold,
    _blocked_logon,
    _unauthenticated,
    _failed_questions,
    _unanswered,
    _contradictions,
    _skew,
)


def _commands(entries: Sequence[TimelineEntry]) -> str:
    """Each once."""
    return ", ".join(dict.fromkeys(e.command or e.method for e in entries))


def _were(entries: Sequence[TimelineEntry]) -> str:
    commands = _commands(entries)
    return f"{commands} {'were' if ', ' in commands else 'was'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
