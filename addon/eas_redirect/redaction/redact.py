"""Captures that can be shared: EAS flows without credentials, names, addresses and contents.

Structure, statuses, times and sizes stay, and a device or a user has the same stand-in everywhere.
What was written is read again and searched for everything that was taken out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.net import encoding
from mitmproxy.net.http.status_codes import RESPONSES

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.captures.capture import CaptureTrouble, ReadProgress, read_flows
from eas_redirect.proxy import flows
from eas_redirect.redaction.filling import filled_bytes
from eas_redirect.redaction.forms import METHODS
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_body import redacted_multipart, redacted_wbxml
from eas_redirect.redaction.redact_head import redacted_header, redacted_header_name
from eas_redirect.redaction.redact_notes import port, redact_connections, redact_notes
from eas_redirect.redaction.redact_target import redacted_target
from eas_redirect.redaction.secrets_search import MAX_INFLATED, leaks

MULTIPART = "application/vnd.ms-sync.multipart"
_WBXML = ("application/vnd.ms-sync.wbxml", "application/vnd.ms-sync", "application/vnd.wap.wbxml")
# What Exchange says where HTTP has no phrase of its own (MS-ASHTTP 2.2.2.1.1), and what we say.
_HTTP_VERSION = re.compile(r"HTTP/[0-9](\.[0-9])?", re.ASCII)
_REASONS = frozenset({"", "Redirect", "Retry after sending a PROVISION command"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """What became of a capture. `leaks`: kinds of places where something was found again."""

    kept: int
    left_out: int  # flows that are no ActiveSync
    troubles: tuple[str, ...]
    leaks: tuple[str, ...]


def redact(source: Path, target: Path, progress: ReadProgress) -> Redacted:
    """Write `target` anew. Raises OSError when it cannot be written.

    What is not finished, or not searched to its end, is removed.
    """
    with target.open("xb") as file:
        try:
            return _write(source, file, target, progress)
        except BaseException:
            target.unlink()
            raise


def _write(source: Path, file: BinaryIO, target: Path, progress: ReadProgress) -> Redacted:
    names, writer = Pseudonyms(), FlowWriter(file)
    kept = left_out = 0
    troubles: list[str] = []
    for found in read_flows(source, progress):
        if isinstance(found, CaptureTrouble):
            troubles.append(found.text)
        elif isinstance(found, http.HTTPFlow) and flows.is_eas(found):
            try:
                writer.add(redacted(found, names))
            except Exception as error:  # a damaged state, which mitmproxy loads all the same
                troubles.append(f"a flow was left out: it is damaged ({type(error).__name__})")
            else:
                kept += 1
        else:
            left_out += 1
    file.flush()
    return Redacted(
        kept=kept,
        left_out=left_out,
        troubles=tuple(troubles),
        leaks=tuple(leaks(_flows_of(target), names)),
    )


def redacted(flow: http.HTTPFlow, names: Pseudonyms) -> http.HTTPFlow:
    """A flow of its own with nothing of the old one but what is listed here."""
    clean = _unedited(flow)
    clean.id = names.identifier(flow.id)
    clean.request.path = redacted_target(flow.request.path, names)
    # The properties of these would change the Host header too.
    clean.request.data.host = names.host(flow.request.host)
    clean.request.data.authority = names.host(flow.request.authority).encode("utf-8", "replace")
    for message in (clean.request, clean.response):
        if message is not None:
            _redact_message(message, names)
    _redact_first_line(clean, names)
    redact_connections(clean, names)
    redact_notes(flow, clean, names)
    return clean


def _unedited(flow: http.HTTPFlow) -> http.HTTPFlow:
    """A copy without the state before an edit, which mitmproxy saves with a flow that somebody
    changed: all that is taken out here would still stand there."""
    clean: http.HTTPFlow = flow.copy()
    clean._backup = None  # noqa: SLF001 - mitmproxy has no other way to forget it
    clean.websocket = None
    return clean


def _redact_first_line(clean: http.HTTPFlow, names: Pseudonyms) -> None:
    request = clean.request.data
    method, scheme = _text(request.method), _text(request.scheme)
    if method not in METHODS:
        request.method = names.secret(method).encode("utf-8", "replace")
    if scheme not in ("http", "https"):
        request.scheme = b"http"
    request.port = port(request.port)


def _version(version: str, names: Pseudonyms) -> str:
    return version if _HTTP_VERSION.fullmatch(version) else names.secret(version)


def _redact_message(message: http.Request | http.Response, names: Pseudonyms) -> None:
    content_type = message.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    message.headers = http.Headers(
        [
            (
                redacted_header_name(_text(name), names).encode("utf-8", "replace"),
                redacted_header(_text(name), _text(value), names).encode("utf-8", "replace"),
            )
            for name, value in message.headers.fields
        ]
    )
    message.data.http_version = _version(_text(message.data.http_version), names).encode()
    message.trailers = None
    if isinstance(message, http.Response):
        message.data.reason = _reason(message, names).encode("utf-8", "replace")
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


def _reason(response: http.Response, names: Pseudonyms) -> str:
    reason = _text(response.data.reason)
    usual = reason in _REASONS or reason == RESPONSES.get(response.status_code)
    return reason if usual else names.secret(reason)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _flows_of(path: Path) -> Iterator[http.HTTPFlow]:
    return (found for found in read_flows(path) if isinstance(found, http.HTTPFlow))
