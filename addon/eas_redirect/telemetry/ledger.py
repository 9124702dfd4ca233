"""The follow ledger: which device was redirected, which came back, which fell silent.

Fed with the record of each exchange, it answers with the state changes to journal. In memory only,
bounded in number and in bytes, on an injected clock. Only Exchange's answers other than 401 add a
device or change its state. A proxy sees who still calls it, not who arrived elsewhere: `quiet` is
an assumption. A request to the target, where both sides pass through the proxy, is `confirmed`.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from math import inf
from sys import getsizeof, intern
from typing import assert_never
from urllib.parse import urlsplit

from eas_redirect.activesync.request import caseless
from eas_redirect.telemetry.record import Record

RETURNS_UNTIL_STUCK = 3  # comebacks
STUCK_SPAN_S = 600.0  # between the first comeback and the latest
VISIT_S = 60.0  # exchanges closer together than this are one visit
QUIET_AFTER_S = 3600.0  # silence before it means anything: the longest usual Ping
QUIET_INTERVALS = 3  # and in the device's own usual intervals
SETTLED_AT_ONCE = 500  # records of one call: a whole wave falls silent at about the same time
MAX_TEXTS = 80 * 1024 * 1024  # bytes of names and ids in all: who may log on may make them up
_SEPARATOR = "\x00"  # cannot stand in a logon or a query value that was accepted


class LedgerState(StrEnum):
    """What is known about a device. Stable: journals and tools rely on the words."""

    SEEN = "seen"
    REDIRECTED = "redirected"
    RETURNED = "returned"  # came back after a 451
    STUCK = "stuck"  # came back three times or more, over at least ten minutes
    QUIET = "quiet"  # redirected and silent since: presumed to have followed
    CONFIRMED = "confirmed"  # redirected, and seen at its target


NOT_LET_IN = frozenset({"unauthenticated", "no_answer"})
"""Reasons that say nothing of a device: anybody can send made-up names, and they must neither push
out real devices nor make one look as if it had come back."""

_LEVELS = {LedgerState.STUCK: "warning"}
_AWAITED = frozenset({LedgerState.REDIRECTED, LedgerState.RETURNED, LedgerState.STUCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatistics:
    """Devices by state now; `evicted` and `confirmed` are counts since the start."""

    states: Mapping[LedgerState, int]
    evicted: int = 0
    confirmed: int = 0

    @property
    def devices(self) -> int:
        return sum(self.states.values())


@dataclass(slots=True)
class _Device:
    """What is kept about a device: 200,000 of them must fit into 150 MiB. Unix times."""

    last_seen: float
    agent: int  # of user and User-Agent: where a request that names no device belongs
    written: str  # user, domain and id as it wrote them last
    state: LedgerState = LedgerState.SEEN
    gaps: int = 0  # between visits
    between_s: float = 0.0  # all of them together
    redirects: int = 0
    returns: int = 0
    redirected_at: float = 0.0
    first_return: float = 0.0
    location: str | None = None
    email: str | None = None
    device_type: str | None = None
    family: str | None = None
    texts: int = 0  # bytes of its names and ids
    queued_at: float = inf  # its place in the queue; an older one of the same device is void

    @property
    def interval_s(self) -> float | None:
        """The usual time between visits: their mean, which a report counts the same way."""
        return self.between_s / self.gaps if self.gaps else None

    @property
    def quiet_at(self) -> float:
        return self.last_seen + quiet_after(self.interval_s)


def quiet_after(interval_s: float | None) -> float:
    """Seconds of silence after which a device with that usual interval counts as quiet."""
    return max(QUIET_AFTER_S, QUIET_INTERVALS * (interval_s or 0.0))


@dataclass(slots=True)
class Ledger:
    """The states of the devices seen last. Not thread-safe: one event loop feeds it.

    `clock` gives Unix time; a record's own timestamp says when its exchange ended.
    """

    clock: Callable[[], float]
    max_devices: int = 200_000
    max_texts: int = MAX_TEXTS
    _devices: OrderedDict[int, _Device] = field(default_factory=OrderedDict)
    _by_agent: dict[int, int] = field(default_factory=dict)
    _awaited: list[tuple[float, int]] = field(default_factory=list)  # a heap by quiet_at
    _states: Counter[LedgerState] = field(default_factory=Counter)
    _texts: int = 0
    _evicted: int = 0
    _confirmed: int = 0

    def observe(self, record: Record) -> tuple[Record, ...]:
        """Take in an exchange, and add what the ledger knows about its device to its record.
        Returns the `eas.ledger` records of all changes, including those by mere time."""
        changes = self.settle()
        if record.action == "eas.autodiscover":  # which names no device
            return changes
        redirected = record.decision == "redirect"
        record.redirect_count = 1 if redirected else None
        if record.user_name is None or not (record.device_id or record.user_agent):
            return changes
        key, device = self._find(record)
        # A target that asks a device to sign in again, as Exchange Online does, has been reached.
        if record.reason in NOT_LET_IN and not (device and _arrives(device, record)):
            record.ledger_state = device.state.value if device else None
            return changes
        if device is None:
            device = self._adopt(key, record)
        if device is None:
            device = self._enter(key, record)
            changes += (self._change(device, None),)
        elif record.device_id:
            device.written = _written(record)
        previous = device.state
        if _arrives(device, record):
            self._confirmed += device.state is not LedgerState.CONFIRMED
            device.state = LedgerState.CONFIRMED
            record.redirect_confirmed = None if redirected else True
        else:
            self._devices.move_to_end(key)
            _take_in(device, record)
        self._weigh(device)
        if redirected:
            record.redirect_count = max(1, device.redirects)
        record.ledger_state = device.state.value
        if device.state is not previous:
            changes += (self._move(device, previous),)
        self._await(key, device)
        return changes

    def settle(self) -> tuple[Record, ...]:
        """The devices that have become quiet since the last call, at most SETTLED_AT_ONCE of them;
        cheap when there are none."""
        changes: list[Record] = []
        now = self.clock()
        while self._awaited and self._awaited[0][0] <= now and len(changes) < SETTLED_AT_ONCE:
            at, key = heapq.heappop(self._awaited)
            device = self._devices.get(key)
            if device is None or device.queued_at != at:
                continue
            device.queued_at = inf
            if device.state in _AWAITED and device.quiet_at <= now:
                previous, device.state = device.state, LedgerState.QUIET
                changes.append(self._move(device, previous))
            self._await(key, device)
        return tuple(changes)

    def state(self, record: Record) -> LedgerState | None:
        """The state of this record's device; None: never seen, or forgotten."""
        device = self._find(record)[1]
        return device.state if device else None

    def statistics(self) -> LedgerStatistics:
        states = {state: self._states[state] for state in LedgerState}
        return LedgerStatistics(states=states, evicted=self._evicted, confirmed=self._confirmed)

    def _find(self, record: Record) -> tuple[int, _Device | None]:
        """The key, and the device if it is known. OPTIONS names no device (MS-ASHTTP 2.2.3):
        it belongs to the device of this user that last wrote the same User-Agent."""
        if record.device_id:
            key = _key(record)
        else:
            key = self._by_agent.get(agent := _agent(record), agent)
        return key, self._devices.get(key)

    def _adopt(self, key: int, record: Record) -> _Device | None:
        """A device that so far asked OPTIONS only, now that it says its name."""
        device = self._devices.pop(_agent(record), None)
        if device is not None:
            device.queued_at = inf
            self._devices[key] = device
            self._by_agent[device.agent] = key
        return device

    def _enter(self, key: int, record: Record) -> _Device:
        while self._devices and (
            len(self._devices) >= self.max_devices or self._texts >= self.max_texts
        ):
            self._evict()
        device = _Device(
            last_seen=record.timestamp_s, agent=_agent(record), written=_written(record)
        )
        self._devices[key] = device
        self._states[device.state] += 1
        if record.device_id:
            self._by_agent[device.agent] = key
        return device

    def _evict(self) -> None:
        key, device = self._devices.popitem(last=False)
        self._states[device.state] -= 1
        self._texts -= device.texts
        self._evicted += 1
        if self._by_agent.get(device.agent) == key:
            del self._by_agent[device.agent]

    def _weigh(self, device: _Device) -> None:
        held = getsizeof(device.written) + getsizeof(device.email) + getsizeof(device.device_type)
        self._texts += held - device.texts
        device.texts = held

    def _await(self, key: int, device: _Device) -> None:
        if device.state in _AWAITED and device.quiet_at < device.queued_at:
            device.queued_at = device.quiet_at
            heapq.heappush(self._awaited, (device.queued_at, key))
        if len(self._awaited) > 2 * self.max_devices:
            self._awaited = [
                (d.queued_at, k) for k, d in self._devices.items() if d.queued_at < inf
            ]
            heapq.heapify(self._awaited)

    def _move(self, device: _Device, previous: LedgerState) -> Record:
        self._states[previous] -= 1
        self._states[device.state] += 1
        return self._change(device, previous)

    def _change(self, device: _Device, previous: LedgerState | None) -> Record:
        name, domain, device_id = device.written.split(_SEPARATOR)[:3]
        return Record(
            timestamp_s=self.clock(),
            action="eas.ledger",
            message=self._message(device),
            level=_LEVELS.get(device.state, "info"),
            user_name=name,
            user_domain=domain or None,
            user_email=device.email,
            device_id=device_id or None,
            device_type=device.device_type,
            client_family=device.family,
            redirect_location=device.location,
            redirect_count=device.redirects or None,
            redirect_confirmed=device.state is LedgerState.CONFIRMED or None,
            ledger_state=device.state.value,
            ledger_previous=previous.value if previous else None,
        )

    def _message(self, device: _Device) -> str:
        match device.state:
            case LedgerState.SEEN:
                return "first seen"
            case LedgerState.REDIRECTED:
                return "redirected"
            case LedgerState.RETURNED:
                return f"came back after a redirect ({device.returns} times)"
            case LedgerState.STUCK:
                return f"stuck: came back {device.returns} times"
            case LedgerState.CONFIRMED:
                return "arrived at the target"
            case LedgerState.QUIET:
                silent = (self.clock() - device.last_seen) / 60
                usual = f"{device.interval_s / 60:.0f}" if device.interval_s else "unknown"
                return f"silent for {silent:.0f} min (usual interval: {usual} min): presumed gone"
            case _ as unreachable:
                assert_never(unreachable)


def _take_in(device: _Device, record: Record) -> None:
    """A call at the old address: updates the interval, comebacks and redirects."""
    gap = record.timestamp_s - device.last_seen
    comeback = device.redirects > 0 and _began(record) > device.redirected_at
    # The silence that looked like following, and was none, is no usual one.
    if gap >= VISIT_S and not (comeback and device.returns == 0):
        device.gaps += 1
        device.between_s += gap
    device.last_seen = max(device.last_seen, record.timestamp_s)
    device.email = record.user_email or device.email
    device.device_type = _shared(record.device_type) or device.device_type
    device.family = _shared(record.client_family) or device.family
    if comeback:
        _count_return(device, record)
    if record.decision == "redirect":
        device.redirects += 1
        device.redirected_at = record.timestamp_s
        device.location = _shared(record.redirect_location) or device.location
        if device.state is LedgerState.SEEN:
            device.state = LedgerState.REDIRECTED


def _count_return(device: _Device, record: Record) -> None:
    device.returns += 1
    device.first_return = device.first_return or record.timestamp_s
    span = record.timestamp_s - device.first_return
    stuck = device.returns >= RETURNS_UNTIL_STUCK and span >= STUCK_SPAN_S
    device.state = LedgerState.STUCK if stuck else LedgerState.RETURNED


def _began(record: Record) -> float:
    """When the client sent it. What was already on its way at the redirect is not a comeback:
    phones keep a Ping waiting beside a Sync, and both end with the mailbox."""
    return record.timestamp_s - (record.duration_ns or 0) / 1e9


def _arrives(device: _Device, record: Record) -> bool:
    """If both sides pass through this proxy: the host of the request is that of the redirect."""
    if device.location is None or record.url_domain is None:
        return False
    return _host_of(device.location) == record.url_domain.lower()


@lru_cache(maxsize=256)
def _host_of(location: str) -> str | None:
    return urlsplit(location).hostname


def _shared(text: str | None) -> str | None:
    """Thousands of devices share a few words: keep each word once."""
    return intern(text) if text else None


def _written(record: Record) -> str:
    return _SEPARATOR.join(
        (record.user_name or "", record.user_domain or "", record.device_id or "")
    )


def _key(record: Record) -> int:
    """Of a device that names itself, in whatever case. A hash takes a third of the names' room,
    and nobody can aim at another's: Python keys it anew in each process."""
    return hash(caseless(_written(record)))


def _agent(record: Record) -> int:
    """For a device that has not named itself: its User-Agent stands for it."""
    user, domain = caseless(record.user_name or ""), caseless(record.user_domain or "")
    return hash((user, domain, record.user_agent))
