"""The record of one event, and the JSON line that says it: names, units, absent keys. Pure.

Field names are those of the Elastic Common Schema where it has one; ours are under `eas.`.
"""

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import Literal, NamedTuple, assert_never

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.values import DirectoryAnswer, Drift, Found
from eas_redirect.judging.judge import Judgement
from eas_redirect.judging.wait_watch import WaitOutcome
from eas_redirect.policy.decision import Pass, Redirect, Verdict
from eas_redirect.policy.reasons import Reason
from eas_redirect.telemetry.clients import client_family

ECS_VERSION = "8.11"
MAX_TEXT = 512  # characters of any one value: a hostile header must not make a hostile line

type JSONValue = str | int | float | bool | dict[str, "JSONValue"]
type JSONLine = dict[str, JSONValue]


def _key[T](name: str, default: T = None) -> T:  # type: ignore[assignment]
    """A field that stands in the journal under a dotted key."""
    return field(default=default, metadata={"key": name})


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything one journal line can say. None is an absent key. Durations in the units named.

    Whoever makes a record may fill it in; once it was handed on it is only read.
    """

    timestamp_s: float  # Unix time; rendered as @timestamp
    action: str = field(metadata={"key": "event.action"})
    message: str = field(metadata={"key": "message"})
    level: str = _key("log.level", "info")
    reason: str | None = _key("event.reason")
    outcome: str | None = _key("event.outcome")  # success, failure, unknown
    duration_ns: int | None = _key("event.duration")
    client_address: str | None = _key("client.address")  # the peer of the TCP connection
    client_port: int | None = _key("client.port")
    forwarded_ip: str | None = _key("network.forwarded_ip")
    server_address: str | None = _key("server.address")
    server_port: int | None = _key("server.port")
    method: str | None = _key("http.request.method")
    status_code: int | None = _key("http.response.status_code")  # what the client got
    url_domain: str | None = _key("url.domain")
    url_path: str | None = _key("url.path")
    user_agent: str | None = _key("user_agent.original")
    user_name: str | None = _key("user.name")
    user_domain: str | None = _key("user.domain")
    user_email: str | None = _key("user.email")
    user_id: str | None = _key("user.id")  # of the account in the directory, under any logon
    error_type: str | None = _key("error.type")
    error_message: str | None = _key("error.message")
    command: str | None = _key("eas.command")
    protocol_version: str | None = _key("eas.protocol_version")
    query_encoding: str | None = _key("eas.query_encoding")
    device_id: str | None = _key("eas.device.id")
    device_type: str | None = _key("eas.device.type")
    client_family: str | None = _key("eas.client_family")
    auth_scheme: str | None = _key("eas.auth.scheme")
    logon_format: str | None = _key("eas.auth.logon_format")
    auth_contradiction: bool | None = _key("eas.auth.contradiction")  # User= names another account
    upstream_status_code: int | None = _key("eas.upstream.status_code")
    upstream_status: int | None = _key("eas.upstream.status")  # the global Status of the body
    upstream_duration_ms: float | None = _key("eas.upstream.duration_ms")
    evidence: str | None = _key("eas.evidence")
    autodiscover: str | None = _key("eas.autodiscover")  # what it said: redirect, no_mailbox, other
    carrier: str | None = _key("eas.carrier")  # who carried the bytes: mitmproxy, haproxy
    mode: str | None = _key("eas.mode")
    decision: str | None = _key("eas.decision")  # redirect, would_redirect, end_wait, …
    redirect_location: str | None = _key("eas.redirect.location")
    redirect_count: int | None = _key("eas.redirect.count")  # of this device so far
    redirect_confirmed: bool | None = _key("eas.redirect.confirmed")
    directory_source: str | None = _key("eas.directory.source")
    directory_cache: str | None = _key("eas.directory.cache")
    directory_server: str | None = _key("eas.directory.server")
    directory_duration_ms: float | None = _key("eas.directory.duration_ms")
    directory_target_domain: str | None = _key("eas.directory.target_domain")
    directory_relationship: str | None = _key("eas.directory.relationship")
    directory_change: str | None = _key("eas.directory.change")  # the kind of a drift
    wave: str | None = _key("eas.wave")
    wait_s: float | None = _key("eas.wait_s")  # how long a device has waited
    wait_seen_s: float | None = _key("eas.wait_seen_s")  # since the directory said that it moved
    wait_held_back: str | None = _key("eas.wait_held_back")  # why the wait goes on all the same
    ledger_state: str | None = _key("eas.ledger.state")
    ledger_previous: str | None = _key("eas.ledger.previous")
    lost: int | None = _key("eas.lost")  # lines before this one that could not be written


def split_key(key: str) -> tuple[tuple[str, ...], str]:
    """`eas.device.id` → `(("eas", "device"), "id")`."""
    *path, last = key.split(".")
    return tuple(path), last


_KEYED = tuple(f for f in fields(Record) if "key" in f.metadata)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode

FIELD_NAMES: tuple[str, ...] = (
    "@timestamp",
    "ecs.version",
    *(f.metadata["key"] for f in _KEYED),
)
"""Every key that a journal line can have, dotted."""


def to_json(record: Record) -> JSONLine:
    """The record as nested plain values; absent facts are absent keys."""
    # As `datetime` does it: a product of the whole time would round twice.
    whole, part = divmod(record.timestamp_s, 1)
    carry, microsecond = divmod(round(part * 1e6), 1_000_000)
    second = int(whole) + carry
    return {
        "@timestamp": f"{_second(second)}.{microsecond // 1000:03d}Z",
        "ecs": {"version": ECS_VERSION},
        **_tables(record),
    }


@lru_cache(maxsize=4)
def _second(unix: int) -> str:
    """A second of Unix time as ISO 8601 writes it; many lines share it."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_values = attrgetter(*(f.name for f in _KEYED))
# Of each fact, in the same order: the tables above it, its key in the last of them, is it text?
_PLACES = tuple((*split_key(f.metadata["key"]), "str" in str(f.type)) for f in _KEYED)


def _tables(record: Record) -> JSONLine:
    """The facts in their tables. Long texts are cut."""
    line: JSONLine = {}
    for value, (path, key, is_text) in zip(_values(record), _PLACES, strict=True):
        if value is not None:
            table: JSONLine = line
            for part in path:
                table = table.setdefault(part, {})  # type: ignore[assignment]  # tables alone
            table[key] = value[:MAX_TEXT] if is_text and len(value) > MAX_TEXT else value
    return line


def journal_line(record: Record) -> bytes:
    """One line of UTF-8 with its newline. What UTF-8 cannot say becomes a question mark."""
    return encoded(to_json(record))


def encoded(line: JSONLine) -> bytes:
    return _encode(line).encode("utf-8", "replace") + b"\n"


# Judgements and wire facts become journal records.

_UNBOUNDED = (
    "method",
    "url_domain",
    "url_path",
    "user_agent",
    "error_message",
    "command",
    "redirect_location",
)
MAX_PROBLEMS = 2000  # characters of a journal line about a configuration
_ACTIONS = {
    "redirect": "eas.redirect",
    "would_redirect": "eas.would_redirect",
    "pass": "eas.exchange",
}


KEPT_LONGEST = frozenset({"eas.redirect", "eas.would_redirect"})
"""Actions whose lines a journal that cannot be written gives up last."""

type Carrier = Literal["mitmproxy", "haproxy"]


class WireFacts(NamedTuple):
    """What the connection and the clock say about one exchange. Times are Unix seconds. A tuple,
    because every exchange makes one, and a frozen dataclass of that many fields costs thrice."""

    started_s: float
    carrier: Carrier = "mitmproxy"
    ended_s: float | None = None
    upstream_started_s: float | None = None
    upstream_ended_s: float | None = None
    client_address: str | None = None
    client_port: int | None = None
    forwarded_ip: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    url_domain: str | None = None
    url_path: str | None = None
    user_agent: str | None = None
    contradiction: bool = False
    proxy_status: int | None = None  # what the client got when there was no whole answer
    error_type: str | None = None
    error_message: str | None = None


def exchange_record(judgement: Judgement, wire: WireFacts) -> Record:
    """The journal line of one EAS exchange that was answered."""
    exchange, verdict = judgement.exchange, judgement.verdict
    request, answer, logon = exchange.request, exchange.answer, exchange.logon
    decision, discovery = judgement.decision, judgement.discovery
    redirected = decision == "redirect"
    told = 451 if discovery is None else 200
    error_type = judgement.error_type or wire.error_type
    record = Record(
        timestamp_s=wire.ended_s or wire.started_s,
        action=_ACTIONS[decision] if discovery is None else "eas.autodiscover",
        message=message(judgement),
        level=_level(judgement, error_type),
        reason=str(verdict.reason),
        outcome="failure" if error_type else "success",
        duration_ns=_nanoseconds(wire.started_s, wire.ended_s),
        client_address=wire.client_address,
        client_port=wire.client_port,
        forwarded_ip=wire.forwarded_ip,
        server_address=wire.server_address,
        server_port=wire.server_port,
        method=request.method,
        status_code=told if redirected else _status_of_client(answer.status_code, wire),
        url_domain=wire.url_domain,
        url_path=wire.url_path,
        user_agent=wire.user_agent,
        user_name=logon.user if logon else None,
        user_domain=logon.domain if logon else None,
        user_email=logon.text if logon and logon.format == "upn" else None,
        error_type=error_type,
        error_message=judgement.error_message or wire.error_message or _problem(exchange),
        command=request.command or ("OPTIONS" if request.method == "OPTIONS" else None),
        protocol_version=request.protocol_version,
        query_encoding=request.query_encoding,
        device_id=request.device_id,
        device_type=request.device_type,
        client_family=client_family(wire.user_agent, request.device_type),
        auth_scheme=exchange.credentials.scheme,
        logon_format=logon.format if logon else None,
        auth_contradiction=True if wire.contradiction else None,
        upstream_status_code=answer.status_code or None,
        upstream_status=answer.eas_status,
        upstream_duration_ms=_milliseconds(wire.upstream_started_s, wire.upstream_ended_s),
        evidence=str(answer.evidence),
        autodiscover=None if discovery is None else discovery.kind,
        carrier=wire.carrier,
        mode=judgement.mode,
        decision=decision,
        redirect_location=_location(judgement),
        wave=verdict.wave,
    )
    if judgement.asked is not None:
        _add_look_up(record, judgement.asked, verdict)
    _clip(record)
    return record


def wait_record(outcome: WaitOutcome, wire: WireFacts) -> Record:
    """The journal line of a wait whose user looks moved: ended, to be ended, or held back."""
    record = exchange_record(outcome.judgement, wire)
    record.action = "eas.wait"
    record.decision = outcome.decision
    record.message = _wait_message(outcome)
    record.status_code = 200 if outcome.decision == "end_wait" else None
    record.upstream_duration_ms = record.evidence = record.redirect_location = None
    record.wait_s = round(outcome.waited_s, 3)
    record.wait_seen_s = round(outcome.seen_s, 3)
    record.wait_held_back = outcome.held_back
    if outcome.held_back == "state_file":
        record.level = "warning"
    return record


def _wait_message(outcome: WaitOutcome) -> str:
    what = "Ping" if outcome.wait.kind == "ping" else "Sync"
    match outcome.decision:
        case "end_wait":
            return f"ended the wait of a {what}: the mailbox has moved"
        case "would_end_wait":
            return f"would end the wait of a {what} (observe mode): the mailbox has moved"
        case "pass" if outcome.held_back == "decision":
            return f"left a {what} waiting: {outcome.judgement.verdict.reason}"
        case "pass":
            return f"left a {what} waiting: {outcome.held_back}"


def _clip(record: Record) -> None:
    """Cut what others wrote and nobody has bounded: sinks may keep a record."""
    for name in _UNBOUNDED:
        text = getattr(record, name)
        if text is not None and len(text) > MAX_TEXT:
            setattr(record, name, text[:MAX_TEXT])


def _status_of_client(upstream: int, wire: WireFacts) -> int | None:
    if wire.error_type is not None:
        return wire.proxy_status
    return upstream or None


def _add_look_up(record: Record, asked: DirectoryAnswer, verdict: Verdict) -> None:
    record.directory_source = asked.source
    record.directory_cache = asked.cache
    record.directory_server = asked.server
    record.directory_duration_ms = _rounded(asked.duration_ms)
    record.directory_target_domain = verdict.target_domain
    record.directory_relationship = verdict.relationship
    if isinstance(asked.lookup, Found):
        record.user_id = account_id(asked.lookup.recipient.dn)


@lru_cache(maxsize=4096)
def account_id(dn: str) -> str:
    """One account has many logons, and one DN; a report tells by it that they are one user."""
    return sha256(dn.lower().encode("utf-8", "replace")).hexdigest()[:16]


def fault_record(error_type: str, where: str, now_s: float) -> Record:
    """The journal line of an exchange that our own fault kept us from judging."""
    return Record(
        timestamp_s=now_s,
        action="eas.exchange",
        message="Exchange's answer went through unchanged: internal_error",
        level="error",
        reason=str(Reason.INTERNAL_ERROR),
        outcome="failure",
        decision="pass",
        error_type=error_type,
        error_message=where,
    )


def lost_record(lines: int, now_s: float) -> Record:
    """The journal line that stands for others: so many could not be written before it."""
    return Record(
        timestamp_s=now_s,
        action="eas.lost",
        message=f"{lines} lines could not be written",
        level="warning",
        outcome="failure",
        lost=lines,
    )


def drift_record(drift: Drift, now_s: float) -> Record:
    """The journal line of a change in the relationships, or of a finding about them."""
    return Record(
        timestamp_s=now_s,
        action="eas.directory",
        message=drift.message,
        level="info" if drift.kind in _QUIET_DRIFTS else "warning",
        outcome="failure" if drift.kind == "unavailable" else "success",
        directory_change=drift.kind,
        directory_relationship=drift.relationship,
        directory_target_domain=drift.domain,
    )


def config_record(
    changed: tuple[str, ...], problems: tuple[str, ...], mode: str, now_s: float, meant: str
) -> Record:
    """The journal line of a configuration that was read again. `changed`: names of files. `meant`:
    who is redirected, in words."""
    what = ", ".join(changed) or "again"
    taken = f"read {what}: the configuration is adopted: {meant}"
    kept = f"read {what}: the last good configuration goes on: {meant}"
    return Record(
        timestamp_s=now_s,
        action="eas.config",
        message=kept if problems else taken,
        level="warning" if problems else "info",
        outcome="failure" if problems else "success",
        mode=mode,
        error_type="configuration" if problems else None,
        error_message="; ".join(problems)[:MAX_PROBLEMS] or None,
    )


_QUIET_DRIFTS = frozenset({"added", "enabled", "recovered", "host_mapped"})


def message(judgement: Judgement) -> str:
    """The line's sentence. No user, no device: those have keys that redaction knows."""
    what = "451" if judgement.discovery is None else "Settings that lead"
    match judgement.verdict:
        case Redirect(location=location) if judgement.mode == "enforce":
            return f"{what} to {location}: the mailbox has moved"
        case Redirect(location=location):
            return f"would answer {what} to {location} (observe mode): the mailbox has moved"
        case Pass(reason=reason):
            status = judgement.exchange.answer.status_code
            if not status:
                return "there was no answer of Exchange's"
            return f"Exchange's {status} went through unchanged: {reason}"
        case _ as unreachable:
            assert_never(unreachable)


def _level(judgement: Judgement, error_type: str | None) -> str:
    if judgement.verdict.reason is Reason.INTERNAL_ERROR:
        return "error"
    return "warning" if error_type else "info"


def _problem(exchange: Exchange) -> str | None:
    """The first thing that could not be read; these sentences quote nothing that was sent."""
    return exchange.answer.problem or exchange.request.problem or exchange.credentials.problem


def _location(judgement: Judgement) -> str | None:
    if isinstance(judgement.verdict, Redirect):
        return judgement.verdict.location
    return judgement.exchange.answer.location


def _nanoseconds(start_s: float, end_s: float | None) -> int | None:
    return None if end_s is None else max(0, round((end_s - start_s) * 1e9))


def _milliseconds(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else _rounded(max(0.0, end_s - start_s) * 1e3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
