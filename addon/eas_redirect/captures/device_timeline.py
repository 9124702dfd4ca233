"""What each device of a capture did, in order, and what is decided about it.

Equal exchanges in a row are one entry with a count, so that hours of Pings stay readable; an entry
takes a few hundred bytes of memory. No mitmproxy here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from eas_redirect.activesync.meanings import global_meaning, http_meaning
from eas_redirect.activesync.request import EASRequest
from eas_redirect.captures.capture import Captured, CaptureTrouble
from eas_redirect.captures.signs import Signs
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.policy.decision import Redirect
from eas_redirect.policy.discovery import Said
from eas_redirect.telemetry.clients import client_family

DISCOVERED = {"redirect": "another address", "no_mailbox": "no mailbox here"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a configuration decides about an exchange, or what was decided live."""

    decision: str
    reason: str
    location: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One exchange, or `count` equal ones in a row. `status_code` is Exchange's, 0 for none."""

    time_s: float
    last_s: float
    count: int = 1
    method: str
    command: str | None
    protocol_version: str | None
    status_code: int
    got_status_code: int | None
    eas_status: int | None
    evidence: str
    waited_s: float | None  # the longest of them
    least_s: float | None = None  # the shortest of them
    decided: Decision | None  # by the configuration at hand
    recorded: Decision | None  # when the flow was live
    location: str | None  # X-MS-Location of Exchange itself
    problem: str | None
    error: str | None
    body_missing: bool
    contradiction: bool
    foreign: bool = False  # the configuration at hand does not name the server
    autodiscover: Said | None = None  # what Autodiscover said, where it was asked
    signs: Signs = field(default_factory=Signs)

    @property
    def meaning(self) -> str | None:
        """What the answer says, in words."""
        if self.autodiscover is not None and self.autodiscover in DISCOVERED:
            return DISCOVERED[self.autodiscover]
        if self.eas_status is not None:
            return global_meaning(self.command, self.eas_status)
        return http_meaning(self.status_code) if self.status_code else "no answer"


@dataclass(slots=True, kw_only=True)
class Timeline:
    """A device and its entries. It is identified by its id and user, or else by where it calls
    from."""

    device_id: str | None
    device_type: str | None
    user: str | None
    user_agent: str | None
    client_address: str | None
    entries: list[TimelineEntry] = field(default_factory=list)
    clocks_told: frozenset[str | None] = frozenset()  # hosts whose clock is told at another device
    _kinds: dict[TimelineEntry, TimelineEntry] = field(default_factory=dict, repr=False)
    _last_kind: TimelineEntry | None = None

    @property
    def client_family(self) -> str | None:
        return client_family(self.user_agent, self.device_type)

    @property
    def exchanges(self) -> int:
        return sum(entry.count for entry in self.entries)

    def add(self, entry: TimelineEntry) -> None:
        """Entries of one kind share their content: a capture of gigabytes has many entries."""
        kind = _timeless(entry)
        kind = self._kinds.setdefault(kind, kind)
        if kind is self._last_kind:
            self.entries[-1] = _joined(self.entries[-1], entry)
        else:
            self.entries.append(
                replace(
                    kind,
                    time_s=entry.time_s,
                    last_s=entry.last_s,
                    waited_s=entry.waited_s,
                    least_s=entry.waited_s,
                )
            )
        self._last_kind = kind


@dataclass(slots=True)
class CaptureReport:
    """All timelines of a capture, and what could not be read."""

    timelines: list[Timeline] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Whose exchanges to look at. None: everybody's. Compared without regard to case."""

    device: str | None = None
    user: str | None = None

    def admits(self, captured: Captured) -> bool:
        request, logon = captured.exchange.request, captured.exchange.logon
        if self.device is not None and _folded(request.device_id) != self.device.casefold():
            return False
        names = () if logon is None else (logon.text, logon.user)
        return self.user is None or self.user.casefold() in map(_folded, names)


# What is decided about a question to Autodiscover while nobody is to be told.
NOT_ASKED = Decision(decision="pass", reason="other_answer", detail="autodiscover.phones is off.")


async def decided(captured: Captured, judge: Judge) -> Decision | None:
    """What the addon would decide about such an exchange live; None: nothing, since the
    configuration does not name the server."""
    if captured.foreign:
        return None
    if captured.discovery is not None and judge.policy.discovery.phones == "off":
        return NOT_ASKED
    if captured.replaced:
        return _recorded(captured)
    if not captured.answered:
        return decision_of(judge.unanswered(captured.exchange))
    return decision_of(await captured.judged_by(judge))


@dataclass(slots=True)
class _Waiting:
    """An exchange that names no device, until a device speaks that it may belong to."""

    captured: Captured
    entry: TimelineEntry
    is_placed: bool = False

    def place(self, timeline: Timeline) -> None:
        self.is_placed = True
        timeline.add(self.entry)


class _Gathering:
    """Timelines in the making. A place is a connection, or a User-Agent with its address or its
    user."""

    def __init__(self) -> None:
        self.timelines: dict[tuple[str | None, ...], Timeline] = {}
        self._users_of: dict[str, set[str]] = {}  # by device id, both folded
        self._waiting: dict[tuple[str | None, ...], list[_Waiting]] = {}  # by place
        self._speaking: dict[tuple[str | None, ...], Timeline] = {}  # the last one there

    def add(self, captured: Captured, entry: TimelineEntry) -> None:
        connection, *_ = places = _places(captured)
        before = self._speaking.get(connection)
        if captured.exchange.request.device_id is not None:
            timeline = self._of(captured)
            self._place_waiting(timeline, places)
            timeline.add(entry)
            self._speaking.update((place, timeline) for place in places)
        elif before is not None and _may_be(before, captured):
            before.add(entry)
        else:
            one = _Waiting(captured, entry)
            for place in places:
                self._waiting.setdefault(place, []).append(one)

    def end(self) -> list[Timeline]:
        """What still waits goes to the last device with its User-Agent and user, if there is
        one."""
        for one in _in_time([one for each in self._waiting.values() for one in each]):
            if not one.is_placed:
                last = self._speaking.get(_places(one.captured)[-1])
                may_be = last is not None and _may_be(last, one.captured)
                one.place(last if last is not None and may_be else self._of(one.captured))
        return sorted(self.timelines.values(), key=lambda each: each.entries[0].time_s)

    def _of(self, captured: Captured) -> Timeline:
        """What names a device but no user belongs to the one user of that device, before or after
        it: a phone may ask without a logon first, and a server may be asked without any."""
        device_id, user, *_ = key = _key(captured)
        if device_id is None or key in self.timelines:
            return self.timelines.setdefault(key, _timeline(captured))
        users = self._users_of.setdefault(device_id, set())
        if user is None:
            if len(users) == 1:
                return self.timelines[device_id, *users]
        else:
            nameless = None if users else self.timelines.pop((device_id, None), None)
            users.add(user)
            if nameless is not None:
                nameless.user = _timeline(captured).user
                self.timelines[key] = nameless
        return self.timelines.setdefault(key, _timeline(captured))

    def _place_waiting(self, timeline: Timeline, places: list[tuple[str | None, ...]]) -> None:
        for one in _in_time([x for place in places for x in self._waiting.pop(place, ())]):
            if one.is_placed:
                continue
            if _may_be(timeline, one.captured):
                one.place(timeline)
            else:
                self._waiting.setdefault(_places(one.captured)[-1], []).append(one)


def _in_time(waiting: list[_Waiting]) -> list[_Waiting]:
    return sorted(waiting, key=lambda one: one.entry.time_s)


async def capture_report(
    found: Iterable[Captured | CaptureTrouble], judge: Judge | None, wanted: Filter
) -> CaptureReport:
    """Timelines in the order in which the devices appear. An exchange that names no device
    (OPTIONS) belongs to the device that speaks on the same connection, before or after it;
    otherwise to the next device with the same User-Agent and user (or address, if it names no
    user), or the last one."""
    whole, gathering = CaptureReport(), _Gathering()
    for item in found:
        if isinstance(item, CaptureTrouble):
            whole.troubles.append(item.text)
        elif wanted.admits(item):
            decision = await decided(item, judge) if judge else None
            foreign = item.foreign and judge is not None
            gathering.add(item, entry_of(item, decision, foreign=foreign))
    whole.timelines.extend(gathering.end())
    _tell_clocks_once(whole.timelines)
    return whole


def _places(captured: Captured) -> list[tuple[str | None, ...]]:
    """Where to look for its device: its connection, the program at its address, since phones
    close a connection after the first 401, and, if the user is known, who calls."""
    logon, agent = captured.exchange.logon, captured.user_agent
    here = () if agent is None else ((captured.exchange.client_address, agent, "at"),)
    who = () if logon is None else ((agent, _folded(logon.text)),)
    return [(captured.connection,), *here, *who]


def _tell_clocks_once(timelines: list[Timeline]) -> None:
    """Report a server's clock only at the first device."""
    told: set[str | None] = set()
    for timeline in timelines:
        hosts: dict[str | None, list[TimelineEntry]] = {}
        for entry in timeline.entries:
            hosts.setdefault(entry.signs.called, []).append(entry)
        skewed = {host for host, entries in hosts.items() if skew_of(entries)}
        timeline.clocks_told = frozenset(skewed & told)
        told |= skewed


def _may_be(timeline: Timeline, captured: Captured) -> bool:
    """A front may carry several devices over one connection, so the user must fit."""
    logon = captured.exchange.logon
    return logon is None or _folded(logon.text) == _folded(timeline.user)


def decision_of(judgement: Judgement) -> Decision:
    verdict = judgement.verdict
    return Decision(
        decision=judgement.decision,
        reason=str(verdict.reason),
        location=verdict.location if isinstance(verdict, Redirect) else None,
        detail=verdict.detail,
    )


def entry_of(
    captured: Captured, decided: Decision | None, *, foreign: bool = False
) -> TimelineEntry:
    request, answer = captured.exchange.request, captured.exchange.answer
    return TimelineEntry(
        time_s=captured.time_s,
        last_s=captured.time_s,
        method=request.method,
        command=request.command,
        protocol_version=request.protocol_version,
        status_code=answer.status_code,
        got_status_code=captured.got_status_code,
        eas_status=answer.eas_status,
        evidence=str(answer.evidence),
        waited_s=captured.waited_s,
        decided=decided,
        recorded=_recorded(captured),
        location=answer.location,
        problem=_problem(request, captured),
        error=captured.error or None,
        body_missing=captured.body_missing,
        contradiction=captured.contradiction,
        foreign=foreign,
        autodiscover=None if captured.discovery is None else captured.discovery.kind,
        signs=captured.signs,
    )


def _recorded(captured: Captured) -> Decision | None:
    record = captured.recorded
    if record is None or record.decision is None or record.reason is None:
        return None
    return Decision(decision=record.decision, reason=record.reason, location=record.location)


def _problem(request: EASRequest, captured: Captured) -> str | None:
    exchange = captured.exchange
    return exchange.answer.problem or request.problem or exchange.credentials.problem


def _key(captured: Captured) -> tuple[str | None, ...]:
    request, logon = captured.exchange.request, captured.exchange.logon
    user = _folded(logon.user) if logon else None
    if request.device_id is not None:
        return (_folded(request.device_id), user)
    return (None, user, captured.exchange.client_address, captured.user_agent)


def _timeline(captured: Captured) -> Timeline:
    request, logon = captured.exchange.request, captured.exchange.logon
    return Timeline(
        device_id=request.device_id,
        device_type=request.device_type,
        user=logon.text if logon else None,
        user_agent=captured.user_agent,
        client_address=captured.exchange.client_address,
    )


def _timeless(entry: TimelineEntry) -> TimelineEntry:
    """What equal entries have in common: everything but the time."""
    return replace(entry, time_s=0.0, last_s=0.0, count=1, waited_s=None, least_s=None)


def _joined(one: TimelineEntry, other: TimelineEntry) -> TimelineEntry:
    waits = [s for s in (one.least_s, one.waited_s, other.waited_s) if s is not None]
    return replace(
        one,
        last_s=other.last_s,
        count=one.count + other.count,
        waited_s=max(waits, default=None),
        least_s=min(waits, default=None),
    )


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def skew_of(entries: list[TimelineEntry]) -> int:
    """By how many seconds most of the answers were off; 0 if most were not."""
    skewed = [e for e in entries if e.signs.skew_s]
    return skewed[-1].signs.skew_s if 2 * total(skewed) > total(entries) else 0


def total(entries: Sequence[TimelineEntry]) -> int:
    """How many exchanges they stand for."""
    return sum(entry.count for entry in entries)
