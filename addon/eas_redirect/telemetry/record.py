"""The record of one event, and the JSON line that says it: names, units, absent keys. Pure.

Field names are those of the Elastic Common Schema where it has one; ours are under `eas.`.
Imports nothing of the project.
"""

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter

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
    decision: str | None = _key("eas.decision")  # redirect, would_redirect, pass
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


def render(record: Record) -> bytes:
    """One line of UTF-8 with its newline. What UTF-8 cannot say becomes a question mark."""
    return encoded(to_json(record))


def encoded(line: JSONLine) -> bytes:
    return _encode(line).encode("utf-8", "replace") + b"\n"
