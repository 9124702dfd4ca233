"""Exchanges as lines of an IIS log: the W3C extended form, with Exchange's own `Log=` tokens. Pure.

`render` and `read_line` are each other's inverse as far as the form goes. Sources: W3C Extended Log
File Format (WD-logfile-960323); "Understanding Exchange ActiveSync reporting services" (Exchange
2007 and 2010 documentation) for the tokens. Neither holds passwords, policy keys or bodies.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from eas_redirect.activesync.authorization import parse_logon
from eas_redirect.activesync.request import is_eas_path, read_request
from eas_redirect.telemetry.clients import client_family
from eas_redirect.telemetry.journal import Record

FIELDS = (
    "date",
    "time",
    "s-ip",
    "cs-method",
    "cs-uri-stem",
    "cs-uri-query",
    "s-port",
    "cs-username",
    "c-ip",
    "cs(User-Agent)",
    "cs-host",
    "sc-status",
    "time-taken",
)
NO_MAILBOX = "UserHasNoMailbox"
NO_MAILBOX_REASON = "user_has_no_mailbox"  # what Exchange said, where no proxy decided anything

_PATH = "/Microsoft-Server-ActiveSync"
_SAFE = "/:@.,-~*'()!$"  # what stands unescaped in a query, as IIS writes it
_TOKEN = re.compile(r"(?:^|_)(V[0-9]{2,3}|(?:Error|RdirTo|PrxFrom|HH|Reason):[^_]*)(?=_|$)")
_VERSION = re.compile(r"V([0-9]{1,2})([0-9])")
_LOG = re.compile(r"(?:^|&)Log=([^&]*)")
_STATUS_OK = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTokens:
    """What of Exchange's `Log=` matters here; `reason` is a token of ours."""

    version: str | None = None  # V141: 14.1
    error: str | None = None  # Error:UserHasNoMailbox
    redirected_to: str | None = None  # RdirTo:
    proxied_from: str | None = None  # PrxFrom:
    host: str | None = None  # HH: the Host header
    reason: str | None = None  # Reason: event.reason of a journal, with hyphens


def read_tokens(query: str) -> LogTokens:
    """The tokens of a cs-uri-query. Total; the first of a kind counts."""
    found = _LOG.search(query)
    values: dict[str, str] = {}
    for token in _TOKEN.findall(found.group(1) if found else ""):
        name, _, value = token.partition(":")
        if version := _VERSION.fullmatch(token):
            name, value = "V", f"{version[1]}.{version[2]}"
        values.setdefault(name, unquote(value))
    return LogTokens(
        version=values.get("V"),
        error=values.get("Error") or None,
        redirected_to=values.get("RdirTo") or None,
        proxied_from=values.get("PrxFrom") or None,
        host=values.get("HH") or None,
        reason=(values.get("Reason") or "").replace("-", "_") or None,
    )


def render(record: Record) -> str | None:
    """One line without its end, or None for a record that is no exchange."""
    if record.method is None or not record.action.endswith(("exchange", "redirect")):
        return None
    at = datetime.fromtimestamp(record.timestamp_s, UTC)
    values = (
        at.strftime("%Y-%m-%d"),
        at.strftime("%H:%M:%S"),
        record.server_address,
        record.method,
        record.url_path or _PATH,
        _query(record),
        record.server_port,
        _user(record),
        record.forwarded_ip or record.client_address,
        record.user_agent,
        record.url_domain,
        record.status_code,
        None if record.duration_ns is None else record.duration_ns // 1_000_000,
    )
    return " ".join(_field(value) for value in values)


def read_line(names: tuple[str, ...], line: str) -> Record | None:
    """One line under the names of its `#Fields:`; None when it is no ActiveSync exchange, or has
    not what the names promise."""
    values = line.split(" ")
    if len(values) != len(names):
        return None
    row = {name: value for name, value in zip(names, values, strict=True) if value != "-"}
    path, at = row.get("cs-uri-stem", ""), _time(row)
    if at is None or not is_eas_path(path):
        return None
    query = row.get("cs-uri-query", "")
    return _record(row, path, at, query, read_tokens(query))


def _record(row: dict[str, str], path: str, at: float, query: str, tokens: LogTokens) -> Record:
    method = row.get("cs-method", "POST")
    request = read_request(method, f"{path}?{_without_log(query)}", ())
    logon = parse_logon(unquote(row.get("cs-username") or request.user or ""))
    agent = _spaced(row.get("cs(User-Agent)"))
    status = _whole(row.get("sc-status"))
    told = status == 451 or tokens.redirected_to is not None
    return Record(
        timestamp_s=at,
        action="eas.redirect" if told else "eas.exchange",
        message="from an IIS log",
        reason=_reason(status, tokens),
        duration_ns=(_whole(row.get("time-taken")) or 0) * 1_000_000,
        client_address=row.get("c-ip"),
        method=method,
        status_code=status,
        url_domain=(tokens.host or row.get("cs-host") or "").partition(":")[0].lower() or None,
        url_path=path,
        user_agent=agent,
        user_name=logon.user if logon else None,
        user_domain=logon.domain if logon else None,
        user_email=logon.text if logon and logon.format == "upn" else None,
        command=request.command or ("OPTIONS" if method.upper() == "OPTIONS" else None),
        protocol_version=tokens.version or request.protocol_version,
        query_encoding=request.query_encoding,
        device_id=request.device_id,
        device_type=request.device_type,
        client_family=client_family(agent, request.device_type),
        logon_format=logon.format if logon else None,
        evidence="certain" if tokens.error == NO_MAILBOX else None,
        decision="redirect" if told else "pass",
        redirect_location=tokens.redirected_to,
    )


def _reason(status: int | None, tokens: LogTokens) -> str:
    if tokens.reason:
        return tokens.reason
    if status == 451 or tokens.redirected_to:
        return "native_redirect"
    if tokens.error == NO_MAILBOX:
        return NO_MAILBOX_REASON
    return "unauthenticated" if status == 401 else "other_answer"


def _query(record: Record) -> str:
    """As Exchange would log it: the decoded parameters, then `Log=`."""
    parameters = (
        ("Cmd", record.command),
        ("User", _user(record)),
        ("DeviceId", record.device_id),
        ("DeviceType", record.device_type),
    )
    parts = [f"{name}={_escaped(value)}" for name, value in parameters if value]
    return "&".join((*parts, f"Log={_log(record)}"))


def _log(record: Record) -> str:
    tokens = []
    if record.protocol_version and re.fullmatch(r"[0-9]{1,2}\.[0-9]", record.protocol_version):
        tokens.append(f"V{record.protocol_version.replace('.', '')}")
    if record.url_domain:
        tokens.append(f"HH:{_escaped(record.url_domain)}")
    if record.evidence == "certain":
        tokens.append(f"Error:{NO_MAILBOX}")
    if record.decision == "redirect" and record.redirect_location:
        tokens.append(f"RdirTo:{_escaped(record.redirect_location)}")
    if record.reason:
        tokens.append(f"Reason:{_escaped(record.reason.replace('_', '-'))}")
    return "_".join(tokens)


def _user(record: Record) -> str | None:
    if record.user_email:
        return record.user_email
    if record.user_name and record.user_domain:
        return f"{record.user_domain}\\{record.user_name}"
    return record.user_name


def _escaped(text: str) -> str:
    """Percent-encoded; an underscore too, since that parts the tokens."""
    return quote(text, safe=_SAFE, errors="replace").replace("_", "%5F")


def _field(value: str | int | None) -> str:
    """One field: no space, no control character, a hyphen for nothing."""
    if value is None or value == "":
        return "-"
    text = str(value).replace("+", "%2B").replace(" ", "+")
    return "".join(char if char.isprintable() else "?" for char in text)


def _spaced(text: str | None) -> str | None:
    """IIS writes a space of a header as a plus."""
    return text.replace("+", " ").replace("%2B", "+") if text else None


def _without_log(query: str) -> str:
    return _LOG.sub("", query).strip("&")


def _time(row: dict[str, str]) -> float | None:
    try:
        text = f"{row['date']}T{row['time']}+00:00"
        return datetime.fromisoformat(text).timestamp()
    except (KeyError, ValueError):
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None
