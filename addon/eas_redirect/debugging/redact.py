"""Captures that can be shared: EAS flows without credentials, names, addresses and contents.

Structure, statuses, times and sizes stay, and a device or a user has the same stand-in everywhere.
What was written is read again and searched for everything that was taken out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.net import encoding
from mitmproxy.proxy import mode_specs

from eas_redirect import flows
from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.debugging.capture import Progress, Trouble, read_flows
from eas_redirect.debugging.pseudonyms import Pseudonyms, filled_bytes
from eas_redirect.debugging.recorded import recorded_exchange
from eas_redirect.debugging.redact_body import redacted_multipart, redacted_wbxml
from eas_redirect.debugging.redact_head import redacted_header, redacted_target
from eas_redirect.debugging.secrets_search import MAX_INFLATED, leaks
from eas_redirect.flows import METADATA

MULTIPART = "application/vnd.ms-sync.multipart"
_WBXML = ("application/vnd.ms-sync.wbxml", "application/vnd.ms-sync", "application/vnd.wap.wbxml")
_HOST_IN_TEXT = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """What became of a capture. `leaks`: kinds of places where something was found again."""

    kept: int
    left_out: int  # flows that are no ActiveSync
    troubles: tuple[str, ...]
    leaks: tuple[str, ...]


def redact(source: Path, target: Path, progress: Progress) -> Redacted:
    """Write `target` anew. Raises OSError when it cannot be written."""
    names = Pseudonyms()
    kept = left_out = 0
    troubles: list[str] = []
    with target.open("xb") as file:
        writer = FlowWriter(file)
        for found in read_flows(source, progress):
            if isinstance(found, Trouble):
                troubles.append(found.text)
            elif isinstance(found, http.HTTPFlow) and flows.is_eas(found):
                writer.add(redacted(found, names))
                kept += 1
            else:
                left_out += 1
    return Redacted(
        kept=kept,
        left_out=left_out,
        troubles=tuple(troubles),
        leaks=tuple(leaks(_flows_of(target), names)),
    )


def redacted(flow: http.HTTPFlow, names: Pseudonyms) -> http.HTTPFlow:
    """A flow of its own with nothing of the old one but what is listed here."""
    clean: http.HTTPFlow = flow.copy()
    clean.id = names.identifier(flow.id)
    clean.request.path = redacted_target(flow.request.path, names)
    # The properties of these would change the Host header too.
    clean.request.data.host = names.host(flow.request.host)
    clean.request.data.authority = names.host(flow.request.authority).encode("utf-8", "replace")
    for message in (clean.request, clean.response):
        if message is not None:
            _redact_message(message, names)
    _redact_connections(clean, names)
    _redact_notes(flow, clean, names)
    return clean


def _redact_message(message: http.Request | http.Response, names: Pseudonyms) -> None:
    content_type = message.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    message.headers = http.Headers(
        [
            (name, redacted_header(_text(name), _text(value), names).encode("utf-8", "replace"))
            for name, value in message.headers.fields
        ]
    )
    message.trailers = None
    if isinstance(message, http.Response):
        message.data.reason = message.data.reason[:64]
    if message.raw_content:
        message.raw_content = _redacted_body(message, content_type, names)


def _redacted_body(message: http.Message, content_type: str, names: Pseudonyms) -> bytes:
    """Under the same Content-Encoding, so that what reads it reads it the same way."""
    body = message.raw_content or b""
    coding = message.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        plain = inflated(body, coding, MAX_INFLATED)
    except InflateError:
        return bytes(len(body))
    if content_type in _WBXML:
        clean = redacted_wbxml(plain, names)
    elif content_type == MULTIPART:
        clean = redacted_multipart(plain, names)
    else:
        names.prose(plain[:MAX_BODY].decode("utf-8", "replace"))
        clean = filled_bytes(plain)
    if coding in ("", "identity"):
        return clean
    compressed = encoding.encode(clean, "gzip" if coding == "x-gzip" else coding)
    message.headers["Content-Length"] = str(len(compressed))
    return compressed


def _redact_connections(clean: http.HTTPFlow, names: Pseudonyms) -> None:
    client, server = clean.client_conn, clean.server_conn
    client.peername = _peer(client.peername, names) or ("0.0.0.0", 0)  # noqa: S104
    client.sockname = _peer(client.sockname, names) or ("0.0.0.0", 0)  # noqa: S104
    client.sni = names.host(client.sni) if client.sni else None
    client.mitmcert = None
    client.proxy_mode = mode_specs.ProxyMode.parse("regular")  # a reverse one names the server
    server.address = _peer(server.address, names)
    server.peername = _peer(server.peername, names)
    server.sockname = _peer(server.sockname, names)
    server.sni = names.host(server.sni) if server.sni else None
    server.via = None
    for connection in (client, server):
        connection.id = names.identifier(connection.id)
        connection.certificate_list = ()
        connection.error = None


def _peer(peer: tuple[str, int] | None, names: Pseudonyms) -> tuple[str, int] | None:
    return None if peer is None else (names.host(peer[0]), peer[1])


def _redact_notes(flow: http.HTTPFlow, clean: http.HTTPFlow, names: Pseudonyms) -> None:
    """Comment, error and the journal record: the words of the journal stay, names do not."""
    clean.comment = _without_hosts(flow.comment, names)
    if flow.error is not None:
        text = _without_hosts(flow.error.msg, names)
        clean.error = mitmproxy_flow.Error(text, flow.error.timestamp)
    clean.metadata = {}
    record = recorded_exchange(flow)
    if record is not None:
        stored = flows.stored_answer(flow.metadata[METADATA], record.status_code or 0)
        location = redacted_header("Location", record.location or "", names)
        clean.metadata[METADATA] = {
            "event": {"reason": names.keep(record.reason or "")},
            "eas": {
                "decision": names.keep(record.decision or ""),
                "evidence": str(stored.evidence),
                "upstream": {
                    "status_code": stored.status_code,
                    **({} if stored.eas_status is None else {"status": stored.eas_status}),
                },
                **({"redirect": {"location": location}} if location else {}),
            },
        }


def _without_hosts(text: str, names: Pseudonyms) -> str:
    """A sentence of mitmproxy or of ours, with its hosts replaced."""
    names.keep(_HOST_IN_TEXT.sub(" ", text))
    return _HOST_IN_TEXT.sub(lambda host: names.host(host[0]), text)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _flows_of(path: Path) -> Iterator[http.HTTPFlow]:
    return (found for found in read_flows(path) if isinstance(found, http.HTTPFlow))
