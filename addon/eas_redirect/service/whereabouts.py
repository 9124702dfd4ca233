"""Which devices are stuck, which moved lately, and what was decided about them last.

Fed like any sink with every record, it keeps no more than the status page shows, bounded in number
and in bytes; the ledger has all devices. Imports neither mitmproxy nor ldap3.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import getsizeof
from urllib.parse import urlsplit

from eas_redirect.activesync.request import caseless
from eas_redirect.policy.reasons import Reason
from eas_redirect.report.readiness import Behaviour, Readiness, likely_cause, readiness_of
from eas_redirect.telemetry.clients import client_of
from eas_redirect.telemetry.ledger import NOT_LET_IN, LedgerState
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.status import (
    LISTED_DEVICES,
    MOVED_DEVICES,
    DecisionLine,
    DeviceLine,
    user_in_words,
)

MAX_FOLLOWED = 2_000  # devices whose decisions are kept, in each of the two lots below
MAX_TEXT = 200  # characters of what else a client says of itself
MAX_TEXTS = 2048  # bytes of one device's names and ids: longer ones are nobody's
DECISIONS = 8  # kept of each device

_BACK = frozenset({LedgerState.RETURNED, LedgerState.STUCK})
_AWAITED = frozenset({LedgerState.REDIRECTED, *_BACK})
_NEWS_OF_EXCHANGES = frozenset({LedgerState.SEEN, LedgerState.REDIRECTED})  # they say it all
_MOVED = frozenset({LedgerState.QUIET, LedgerState.CONFIRMED})

type DeviceKey = tuple[str, str, str]


@dataclass(slots=True)
class _Followed:
    """What is kept about a device since its 451, with users and ids as they came."""

    named: Record  # who and what it is
    state: str
    since_s: float
    last_s: float
    redirected_s: float | None = None
    location: str | None = None
    agent: str = ""
    version: str = ""
    scheme: str | None = None
    comebacks: int = 0
    refused: int = 0
    served: int = 0
    unasked: int = 0  # the directory could not be
    reason: str | None = None
    decisions: deque[tuple[float, str, str, str | None, str | None]] = field(
        default_factory=lambda: deque(maxlen=DECISIONS)
    )


class Whereabouts:
    """A sink. `redact` is the journal's own: what the journal may not hold is shown to nobody."""

    def __init__(self, redact: Callable[[Record], Record]) -> None:
        self._redact = redact
        self._awaited: OrderedDict[DeviceKey, _Followed] = OrderedDict()  # not stuck
        self._stuck: OrderedDict[DeviceKey, _Followed] = OrderedDict()
        self._moved: OrderedDict[DeviceKey, Record] = OrderedDict()

    def observe(self, record: Record) -> None:
        if record.action == "eas.ledger":
            if record.ledger_state not in _NEWS_OF_EXCHANGES:
                self._changed(record)
        elif record.ledger_state in _AWAITED and record.action == "eas.exchange":
            self._decided(record)

    def stuck(self) -> tuple[DeviceLine, ...]:
        """The one that came back last comes first."""
        found = sorted(self._stuck.values(), key=lambda one: -one.last_s)[:LISTED_DEVICES]
        return tuple(map(self._line, found))

    def moved(self) -> tuple[DeviceLine, ...]:
        """The latest first."""
        return tuple(map(self._moved_line, reversed(self._moved.values())))

    def _changed(self, record: Record) -> None:
        """A device has a new state."""
        key = _key(record)
        if key is None:
            return
        known = self._stuck.pop(key, None) or self._awaited.pop(key, None)
        self._moved.pop(key, None)
        if record.ledger_state not in _AWAITED:
            if record.ledger_state in _MOVED:
                self._moved[key] = _stub(record)
                if len(self._moved) > MOVED_DEVICES:
                    self._moved.popitem(last=False)
            return
        state = record.ledger_state or ""
        one = known or _Followed(
            named=_stub(record), state=state, since_s=record.timestamp_s, last_s=record.timestamp_s
        )
        if one.state != state:
            one.state, one.since_s = state, record.timestamp_s
        one.location = record.redirect_location or one.location
        _put(self._stuck if state == LedgerState.STUCK else self._awaited, key, one)

    def _decided(self, record: Record) -> None:
        """An exchange of a device that should be elsewhere."""
        key = _key(record)
        if key is None:
            return
        lot = self._stuck if record.ledger_state == LedgerState.STUCK else self._awaited
        if (one := lot.get(key)) is not None:
            lot.move_to_end(key)
        else:
            if record.device_id is None:
                return  # of which device is not known: the ledger has found it, and does not say
            one = _Followed(
                named=_stub(record),
                state=record.ledger_state or "",
                since_s=record.timestamp_s,
                last_s=record.timestamp_s,
            )
            _put(lot, key, one)
        _take_in(one, record)

    def _line(self, one: _Followed) -> DeviceLine:
        named = self._redact(one.named)
        return DeviceLine(
            user=user_in_words(named),
            device_id=named.device_id,
            device=named.device_type or named.client_family,
            state=one.state,
            since_s=one.since_s,
            last_s=one.last_s,
            returns=one.comebacks,
            redirected_s=one.redirected_s,
            location=one.location,
            advice=likely_cause(_behaviour(one), _readiness(one)),
            decisions=tuple(_decision(row) for row in reversed(one.decisions)),
        )

    def _moved_line(self, record: Record) -> DeviceLine:
        named = self._redact(record)
        return DeviceLine(
            user=user_in_words(named),
            device_id=named.device_id,
            device=named.device_type or named.client_family,
            state=record.ledger_state or "",
            since_s=record.timestamp_s,
            last_s=record.timestamp_s,
            location=record.redirect_location,
        )


def _key(record: Record) -> DeviceKey | None:
    """None if it belongs to nobody, or is longer than any real one."""
    if record.user_name is None:
        return None
    key = (record.user_name, record.user_domain or "", record.device_id or "")
    if sum(map(getsizeof, key)) > MAX_TEXTS:
        return None
    name, domain, device_id = map(caseless, key)
    return name, domain, device_id


def _stub(record: Record) -> Record:
    """As much of a record as identifies its device; the rest may be long."""
    return Record(
        timestamp_s=record.timestamp_s,
        action=record.action,
        message="",
        user_name=record.user_name,
        user_domain=record.user_domain,
        user_email=record.user_email,
        device_id=record.device_id,
        device_type=(record.device_type or "")[:MAX_TEXT],
        client_family=record.client_family,
        ledger_state=record.ledger_state,
        redirect_location=record.redirect_location,
    )


def _put(lot: OrderedDict[DeviceKey, _Followed], key: DeviceKey, one: _Followed) -> None:
    lot[key] = one
    if len(lot) > MAX_FOLLOWED:
        lot.popitem(last=False)


def _take_in(one: _Followed, record: Record) -> None:
    at_s, reason, decision = record.timestamp_s, record.reason or "", record.decision or ""
    one.last_s, one.location = at_s, record.redirect_location or one.location
    one.agent = (record.user_agent or "")[:MAX_TEXT]
    one.version = (record.protocol_version or "")[:MAX_TEXT]
    one.scheme = record.auth_scheme or one.scheme
    command = (record.command or record.method or "")[:MAX_TEXT]
    one.decisions.append((at_s, decision, reason, command, record.redirect_location))
    one.redirected_s = one.redirected_s or (at_s if decision == "redirect" else None)
    if reason in NOT_LET_IN:
        one.refused += reason == Reason.UNAUTHENTICATED
        return
    one.reason = reason
    if record.ledger_state in _BACK:
        one.comebacks += 1
        one.served += reason == Reason.OTHER_ANSWER
        one.unasked += reason == Reason.DIRECTORY_UNAVAILABLE


def _behaviour(one: _Followed) -> Behaviour:
    return Behaviour(
        comebacks=one.comebacks,
        refused_logon=one.refused,
        served=one.served,
        directory_down=one.unasked,
        last_reason=one.reason,
        protocol_version=one.version or None,
    )


def _readiness(one: _Followed) -> Readiness | None:
    host = urlsplit(one.location or "").hostname
    if host is None:
        return None
    return readiness_of(
        client_of(one.agent or None, one.named.device_type or None),
        host=host,
        auth_scheme=one.scheme,
    )


def _decision(row: tuple[float, str, str, str | None, str | None]) -> DecisionLine:
    at_s, decision, reason, command, location = row
    return DecisionLine(
        timestamp_s=at_s, decision=decision, reason=reason, command=command, location=location
    )
