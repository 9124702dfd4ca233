"""What each device of a capture did, in order, and what is decided about it. No mitmproxy here.

Equal exchanges in a row are one entry with a count, so that hours of Pings stay readable; an entry
takes a few hundred bytes of memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from eas_redirect.activesync.request import EASRequest
from eas_redirect.captures.capture import Captured, Trouble
from eas_redirect.captures.signs import Signs
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.policy.decision import Redirect
from eas_redirect.telemetry.clients import client_family
from eas_redirect.view.meanings import global_meaning, http_meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a configuration decides about an exchange, or what was decided when it was live."""

    decision: str
    reason: str
    location: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
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
    signs: Signs = field(default_factory=Signs)

    @property
    def meaning(self) -> str | None:
        """What the answer says, in words."""
        if self.eas_status is not None:
            return global_meaning(self.command, self.eas_status)
        return http_meaning(self.status_code) if self.status_code else "no answer"


@dataclass(slots=True, kw_only=True)
class Timeline:
    """A device and its entries. It is known by its id and user, else by where it calls from."""

    device_id: str | None
    device_type: str | None
    user: str | None
    user_agent: str | None
    client_address: str | None
    entries: list[Entry] = field(default_factory=list)
    _kinds: dict[Entry, Entry] = field(default_factory=dict, repr=False)
    _last_kind: Entry | None = None

    @property
    def client_family(self) -> str | None:
        return client_family(self.user_agent, self.device_type)

    @property
    def exchanges(self) -> int:
        return sum(entry.count for entry in self.entries)

    def add(self, entry: Entry) -> None:
        """Entries of one kind share what they say: a capture of gigabytes has many entries."""
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
class Report:
    """All timelines of a capture, and what of it could not be read."""

    timelines: list[Timeline] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Whose exchanges are looked at. None: everybody's. Compared without regard to case."""

    device: str | None = None
    user: str | None = None

    def admits(self, captured: Captured) -> bool:
        request, logon = captured.exchange.request, captured.exchange.logon
        if self.device is not None and _folded(request.device_id) != self.device.casefold():
            return False
        names = () if logon is None else (logon.text, logon.user)
        return self.user is None or self.user.casefold() in map(_folded, names)


async def decided(captured: Captured, judge: Judge) -> Decision | None:
    """What the addon would decide about a live exchange like this one; None: nothing, since the
    configuration does not name the server."""
    if captured.foreign:
        return None
    if not captured.answered:
        return decision_of(judge.unanswered(captured.exchange))
    return decision_of(await judge.judge(captured.exchange))


async def report(
    found: Iterable[Captured | Trouble], judge: Judge | None, wanted: Filter
) -> Report:
    """Timelines in the order in which the devices appear. What names no device (OPTIONS) belongs to
    the one that speaks on the same connection, before or after it."""
    whole = Report()
    known: dict[tuple[str | None, ...], Timeline] = {}
    early: dict[str, list[tuple[Captured, Entry]]] = {}  # by connection: no device has spoken yet
    speaking: dict[str, Timeline] = {}
    for item in found:
        if isinstance(item, Trouble):
            whole.troubles.append(item.text)
        elif wanted.admits(item):
            decision = await decided(item, judge) if judge else None
            entry = entry_of(item, decision, foreign=item.foreign and judge is not None)
            before = speaking.get(item.connection)
            if item.exchange.request.device_id is not None:
                timeline = known.setdefault(_key(item), _timeline(item))
                for other, said in early.pop(item.connection, ()):
                    own = timeline if _may_be(timeline, other) else None
                    (own or known.setdefault(_key(other), _timeline(other))).add(said)
                timeline.add(entry)
                speaking[item.connection] = timeline
            elif before is not None and _may_be(before, item):
                before.add(entry)
            else:
                early.setdefault(item.connection, []).append((item, entry))
    for waiting in early.values():
        for item, entry in waiting:
            known.setdefault(_key(item), _timeline(item)).add(entry)
    whole.timelines.extend(sorted(known.values(), key=lambda each: each.entries[0].time_s))
    return whole


def _may_be(timeline: Timeline, captured: Captured) -> bool:
    """A front may carry several devices over one connection: the user must fit."""
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


def entry_of(captured: Captured, decided: Decision | None, *, foreign: bool = False) -> Entry:
    request, answer = captured.exchange.request, captured.exchange.answer
    return Entry(
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
        error=captured.error,
        body_missing=captured.body_missing,
        contradiction=captured.contradiction,
        foreign=foreign,
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


def _timeless(entry: Entry) -> Entry:
    """What equal entries have in common: everything but the time."""
    return replace(entry, time_s=0.0, last_s=0.0, count=1, waited_s=None, least_s=None)


def _joined(one: Entry, other: Entry) -> Entry:
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
