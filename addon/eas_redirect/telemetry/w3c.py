"""Exchanges as lines of an IIS log: the W3C extended form, with Exchange's own `Log=` tokens. Pure.

`w3c_reader.read_line` is the inverse of `render` as far as the form goes. Sources: W3C Extended Log
File Format (WD-logfile-960323); "Understanding Exchange ActiveSync reporting services" (Exchange
2007 and 2010 documentation) for the tokens. No passwords, policy keys or bodies.
"""

import re
from datetime import UTC, datetime
from urllib.parse import quote

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
