"""Exchanges as lines of an IIS log, and back: the W3C extended form with Exchange's own `Log=`
tokens, as IIS, its Advanced Logging and this addon write it. Pure.

`read_line` is the inverse of `iis_line` as far as the form goes. Sources: W3C Extended Log File
Format (WD-logfile-960323); "Understanding Exchange ActiveSync reporting services" (Exchange 2007
and 2010 documentation) for the tokens. No passwords, policy keys or bodies.

An Exchange 2013 logs what it said in the log of its back end only (port 444, usually W3SVC2); the
front end's lines of the same requests end in `cafeReqId=`.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote

from eas_redirect.activesync.authorization import Logon, parse_logon
from eas_redirect.activesync.request import EASRequest, encoding_of, is_eas_path, read_request
from eas_redirect.policy.reasons import NO_MAILBOX_REASON
from eas_redirect.telemetry.clients import client_family
from eas_redirect.telemetry.record import Record

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

_PATH = "/Microsoft-Server-ActiveSync"
_SAFE = "/:@.,-~*'()!$"  # what stands unescaped in a query, as IIS writes it


def directives(now: datetime) -> bytes:
    """The lines that a new file begins with."""
    lines = (
        "#Software: eas-redirect",
        "#Version: 1.0",
        f"#Date: {now:%Y-%m-%d %H:%M:%S}",
        f"#Fields: {' '.join(FIELDS)}",
    )
    return "\n".join(lines).encode() + b"\n"


def iis_line(record: Record) -> str | None:
    """One line without its end, or None for a record that is not an exchange."""
    named = record.action.endswith(("exchange", "redirect", "autodiscover"))
    is_exchange = named or record.decision == "end_wait"
    if record.method is None or not is_exchange:
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


# -- reading ----------------------------------------------------------------------------------

EAS_STEM = "/microsoft-server-activesync"
_MAX_REASON = 60  # characters of a word that another program wrote
MAX_USUAL = 512  # characters; what is longer is read, and not kept
_BACK_END = re.compile(
    r"/proxy(?=/)", re.IGNORECASE
)  # /Microsoft-Server-ActiveSync/Proxy/default.eas
_TOKEN = re.compile(
    r"(?:^|_)(V(?:er1:)?[0-9]{2,3}|(?:Error|RdirTo|PrxFrom|HH|Reason):[^_]*)(?=_|$)"
)
_VERSION = re.compile(r"V(?:er1:)?([0-9]{1,2})([0-9])")
_LOG = re.compile(r"(?:^|&)Log(=|%3[dD])([^&]*)")
_BLANKS = re.compile(r"[ \t]+")
# What grep, findstr and Select-String write before a line: `u_ex.log:`, `C:\\u_ex.log:12:`, `12-`.
_FOUND_IN = re.compile(
    r".{0,400}?[:-](?=[0-9]{4}-[0-9]{2}-[0-9]{2}[ \t]+[0-9]{2}:[0-9]{2}:[0-9]{2}[. \t]"
    r"|#(?:Software|Version|Date|Start-Date|Fields):)"
)
_DATED = re.compile(r"#|[0-9]{4}-[0-9]{2}-[0-9]{2}[ \t]")
_MACHINE = re.compile(r"[^@]*\$(?:@.*)?", re.DOTALL)  # MS-ADTS 6.4.2: a computer's name ends in $
_QUOTED = re.compile(r'"(?:[^"]|"")*"(?=[ \t]|$)|[^ \t]+')


type Side = Literal["inner", "front", "ours", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTokens:
    """What of Exchange's `Log=` matters here; `reason` is our own token."""

    version: str | None = None  # V141, or Ver1:141 since Exchange 2013: 14.1
    error: str | None = None  # Error:UserHasNoMailbox
    redirected_to: str | None = None  # RdirTo:
    proxied_from: str | None = None  # PrxFrom: the server that passed the request on
    host: str | None = None  # HH: the Host header
    reason: str | None = None  # Reason: event.reason of a journal, with hyphens


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A line that is an exchange, and which server wrote it: the `inner` one of two that it passed
    through, an Exchange 2013's `front` end, which does not say what came of it, this addon
    (`ours`), or any other."""

    record: Record
    side: Side


@dataclass(slots=True)
class ForeignLog:
    """A log in W3C form that does not say what this needs: `missing` fields. `reasons` counts the
    ActiveSync requests in a log of http.sys errors by why they ended."""

    software: str
    names: tuple[str, ...]
    missing: tuple[str, ...]
    lines: int = 0  # that name ActiveSync's path
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, line: str) -> None:
        self.lines += 1
        row = _row(self.names, line) or {}
        if reason := row.get("s-reason"):
            self.reasons[reason[:_MAX_REASON]] += 1

    @property
    def title(self) -> str:
        """What writes such logs."""
        lower = {name.lower() for name in self.names}
        if "s-reason" in lower or "Microsoft HTTP API" in self.software:
            return "a log of http.sys errors"
        if "cs-uri" in lower and lower & {"s-computername", "s-object-source", "rule", "r-host"}:
            return "a log of the web proxy of Forefront TMG or ISA Server"
        if "x-fullpath" in lower or "x-session" in lower:
            return "an FTP log"
        if any("," in name for name in self.names):
            return f"a log of Exchange's own ({self.software or 'no #Software:'})"
        return f"a log of {self.software[:_MAX_REASON] or 'a program that it does not name'}"

    @property
    def sentence(self) -> str:
        """What it is, what it lacks, what it says anyway, and what to do."""
        *others, last = self.missing
        listed = f"{', '.join(others)} and {last}" if others else last
        said = ""
        if self.reasons:
            reasons = ", ".join(
                f"{count} {reason}" for reason, count in self.reasons.most_common(5)
            )
            said = (
                f" Of ActiveSync it says how http.sys ended requests without Exchange: {reasons}."
            )
        elif self.lines:
            said = f" {self.lines} of its lines name ActiveSync's path."
        return (
            f"is {self.title}: without {listed} it does not tell whose devices"
            f" called.{said} Name the logs of IIS, usually inetpub\\logs\\LogFiles\\W3SVC*."
        )


@dataclass(slots=True)
class W3CReader:
    """The lines of one log in their order.

    `candidates`: what the fields of lines may be that no `#Fields:` names, as in an excerpt. They
    are read under the one that fits; where none does, or several that differ do, they are not.
    """

    candidates: tuple[tuple[str, ...], ...] = ()
    unread: int = 0  # lines that should have been exchanges and are not as their fields say
    headless: int = 0  # lines that lack the fields to be read by
    guessed: tuple[str, ...] = ()  # the candidate that lines were read under
    machines: int = 0  # lines under the account of a server
    seen_fields: list[tuple[str, ...]] = field(default_factory=list)
    foreign: ForeignLog | None = None
    _names: tuple[str, ...] | None = None
    _day: str | None = None
    _software: str = ""
    _foreign_now: bool = False

    def read(self, line: str) -> LogEntry | None:
        """None for directives, for other paths than ActiveSync's and for what is unread."""
        if not _DATED.match(line) and (found := _FOUND_IN.match(line)):
            line = line[found.end() :]
        if line.startswith("#"):
            self._direct(line)
            return None
        if self._foreign_now and self.foreign is not None:
            self.foreign.count(line)
            return None
        names = self._names or self._fitting(line)
        if not names:
            self.headless += 1
            return None
        row = self._dated(names, line)
        at = None if row is None else _time(row)
        if row is None or at is None:
            self.unread += 1
            return None
        entry = _entry(row, at, ours=self._software == "eas-redirect")
        self.machines += entry is not None and _is_machine(row.get("cs-username"))
        return entry

    def _dated(self, names: tuple[str, ...], line: str) -> dict[str, str] | None:
        row = _row(names, line, "Advanced Logging" in self._software)
        if row is not None and "date" not in row and self._day:
            row["date"] = self._day
        return row

    def _fitting(self, line: str) -> tuple[str, ...]:
        if not self.guessed:
            fitting = {names for names in self.candidates if self._fits(names, line)}
            if len(fitting) == 1:
                (self.guessed,) = fitting
        return self.guessed

    def _fits(self, names: tuple[str, ...], line: str) -> bool:
        row = self._dated(names, line)
        if row is None or _time(row) is None:
            return False
        return is_eas_path(_BACK_END.sub("", row.get("cs-uri-stem", ""), count=1))

    def _direct(self, line: str) -> None:
        name, _, value = line.partition(":")
        match name:
            case "#Fields":
                self._name_fields(tuple(value.split()))
            case "#Software":
                self._software = value.strip()
            case "#Date" | "#Start-Date":
                self._day = next(iter(value.split()), None)
            case _:
                pass

    def _name_fields(self, names: tuple[str, ...]) -> None:
        self._names = names
        missing = missing_fields(names)
        self._foreign_now = bool(missing)
        if not missing:
            self.seen_fields.append(names)
        elif self.foreign is None:
            self.foreign = ForeignLog(software=self._software, names=names, missing=missing)


def missing_fields(names: Collection[str]) -> tuple[str, ...]:
    """What a log needs to tell who called when, and these names lack."""
    missing = [name for name in ("time", "cs-uri-stem") if name not in names]
    if "cs-uri-query" not in names and "cs-username" not in names:
        missing.append("cs-uri-query (or cs-username)")
    return tuple(missing)


def read_line(names: tuple[str, ...], line: str) -> Record | None:
    """One line under the names of its `#Fields:`; None when it is not an ActiveSync exchange, or
    has not what the names promise."""
    row = _row(names, line)
    at = None if row is None else _time(row)
    entry = None if row is None or at is None else _entry(row, at, ours=False)
    return entry.record if entry else None


def read_tokens(query: str) -> LogTokens:
    """The tokens of a cs-uri-query. Total; the first of a kind counts."""
    found = _LOG.search(query)
    text = found[2] if found else ""
    if found and found[1] != "=":  # something on the way escaped the whole
        text = unquote(text)
    values: dict[str, str] = {}
    for token in _TOKEN.findall(text):
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


def _row(names: tuple[str, ...], line: str, quoted: bool = False) -> dict[str, str] | None:
    """Name → value; a hyphen is not a value."""
    values = [] if quoted else line.split(" ")
    if len(values) != len(names) and not quoted:
        values = _BLANKS.split(line.strip(" \t"))
    if len(values) != len(names):
        values = [_unquoted(value) for value in _QUOTED.findall(line)]
    if len(values) != len(names):
        return None
    return {name: value for name, value in zip(names, values, strict=True) if value != "-"}


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace('""', '"')
    return value


def _entry(row: dict[str, str], at: float, *, ours: bool) -> LogEntry | None:
    path = row.get("cs-uri-stem", "")
    asked = _BACK_END.sub("", path, count=1)
    if not is_eas_path(asked):
        return None
    query = row.get("cs-uri-query", "")
    tokens = read_tokens(query)
    side: Side = "front" if "&cafeReqId=" in query else "ours" if ours else "other"
    if tokens.proxied_from is not None or asked != path or _is_machine(row.get("cs-username")):
        side = "inner"
    return LogEntry(record=_record(row, at, asked, query, tokens), side=side)


def _record(row: dict[str, str], at: float, path: str, query: str, tokens: LogTokens) -> Record:
    method = row.get("cs-method", "POST")
    request = _request(method, path, _LOG.sub("", query))
    logon = _logon(row.get("cs-username"), request.user)
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


def _request(method: str, path: str, query: str) -> EASRequest:
    usual = len(method) + len(path) + len(query) <= MAX_USUAL
    return (_usual_request if usual else _read_request)(method, path, query)


def _read_request(method: str, path: str, query: str) -> EASRequest:
    """What the client asked. Exchange appends to a query, and what follows a base64 one is its."""
    first, _, rest = query.partition("&")
    if encoding_of(first) == "base64":
        request = read_request(method, f"{path}?{first}", ())
        if request.problem is None:
            return request
        query = rest
    return read_request(method, f"{path}?{query.strip('&')}", ())


# A month of a server is some thousands of devices that ask for the same again and again.
_usual_request = lru_cache(maxsize=16_384)(_read_request)


def _logon(named: str | None, asked: str | None) -> Logon | None:
    return _usual_logon(named, asked) if len(named or "") <= MAX_USUAL else None


@lru_cache(maxsize=16_384)
def _usual_logon(named: str | None, asked: str | None) -> Logon | None:
    """A server that passes a request on logs on as itself: who called is in the query then."""
    return parse_logon((None if _is_machine(named) else _name(named)) or asked or "")


def _is_machine(named: str | None) -> bool:
    return named is not None and _MACHINE.fullmatch(named) is not None


def _reason(status: int | None, tokens: LogTokens) -> str:
    if tokens.reason:
        return tokens.reason
    if status == 451 or tokens.redirected_to:
        return "native_redirect"
    if tokens.error == NO_MAILBOX:
        return NO_MAILBOX_REASON
    return "unauthenticated" if status == 401 else "other_answer"


def _name(text: str | None) -> str | None:
    """IIS writes a blank as a plus, which no account name may hold (an address may)."""
    if text is None:
        return None
    return unquote(text if "@" in text else text.replace("+", " "))


def _spaced(text: str | None) -> str | None:
    """IIS writes a space of a header as a plus."""
    return text.replace("+", " ").replace("%2B", "+") if text else None


def _time(row: dict[str, str]) -> float | None:
    try:
        text = f"{row['date']}T{row['time']}+00:00"
        return datetime.fromisoformat(text).timestamp()
    except (KeyError, ValueError):
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None
