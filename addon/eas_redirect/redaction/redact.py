"""Makes captures safe to share: EAS flows without credentials, names, addresses and contents.

Structure, statuses, times and sizes stay, and a device or a user has the same stand-in everywhere.
The output is read again and searched for everything that was taken out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mitmproxy import connection, http
from mitmproxy import flow as mitmproxy_flow
from mitmproxy.io import FlowWriter
from mitmproxy.net import encoding
from mitmproxy.net.http.status_codes import RESPONSES
from mitmproxy.proxy import mode_specs
from mitmproxy.utils import emoji

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.multipart import MULTIPART
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.activesync.wbxml import WBXML_TYPES
from eas_redirect.captures.capture import CaptureTrouble, ReadProgress, read_flows
from eas_redirect.captures.har import HARWriter, entries, flow_of
from eas_redirect.captures.recorded import RecordedExchange, recorded_exchange
from eas_redirect.policy.reasons import REASONS
from eas_redirect.proxy import flows
from eas_redirect.proxy.flows import METADATA, WAIT_ENDED
from eas_redirect.redaction.forms import METHODS, WORD, filled_bytes, is_error_word
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_body import redacted_multipart, redacted_wbxml, redacted_xml
from eas_redirect.redaction.redact_head import (
    redacted_header,
    redacted_header_name,
    redacted_target,
    redacted_url,
)
from eas_redirect.redaction.secrets_search import MAX_INFLATED, leaks
from eas_redirect.telemetry.metrics import DECISIONS

# What stands around the messages of a flow, without what it tells: connections, marks, comment,
# error and the journal record.

_OUR_COMMENT = re.compile(
    r"(?P<said>(?:today: )?(?:(?:would be )?(?:451|Settings) → |pass|no verdict))(?P<host>\S*) "
    r"\((?P<reason>[a-z_]+)\)"
)
# In a sentence of mitmproxy: what it quotes, IPv6 addresses, and whatever has a dot inside.
_NAMED = re.compile(
    r"""'([^']*)'|"([^"]*)"|(?<!\w)([0-9A-Fa-f]*(?::[0-9A-Fa-f.]*){2,})|([\w-]+(?:\.[\w-]+)+)"""
)
_NUMBERED = re.compile(
    r"(?i:\b(?:errno|error|code|status|alert|after|http))[ /=]{1,2}-?[0-9]{1,4}\Z"
)
_PROTOCOLS = frozenset({b"http/1.0", b"http/1.1", b"h2", b"h3", b""})
_TLS_VERSIONS = frozenset(
    {"SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", "DTLSv0.9", "DTLSv1", "DTLSv1.2", "QUICv1"}
)
_LAST_PORT, _LAST_STATUS = 65535, 999
_BETWEEN = " · "  # the comment of then, and the verdict of a later look


def redact_connections(clean: http.HTTPFlow, names: Pseudonyms) -> None:
    client, server = clean.client_conn, clean.server_conn
    client.peername = _peer(client.peername, names) or ("0.0.0.0", 0)  # noqa: S104
    client.sockname = _peer(client.sockname, names) or ("0.0.0.0", 0)  # noqa: S104
    client.mitmcert = None
    client.proxy_mode = mode_specs.ProxyMode.parse("regular")  # a reverse one names the server
    server.address = _peer(server.address, names)
    server.peername = _peer(server.peername, names)
    server.sockname = _peer(server.sockname, names)
    server.via = None
    for end in (client, server):
        _redact_connection(end, names)


def _redact_connection(end: connection.Connection, names: Pseudonyms) -> None:
    end.id = names.identifier(end.id)
    end.sni = names.host(end.sni) if end.sni else None
    end.certificate_list = ()
    end.error = None
    end.cipher = None
    end.cipher_list = ()
    end.alpn = end.alpn if end.alpn in _PROTOCOLS else None
    end.alpn_offers = tuple(offer for offer in end.alpn_offers if offer in _PROTOCOLS)
    end.tls_version = end.tls_version if end.tls_version in _TLS_VERSIONS else None
    end.transport_protocol = "udp" if end.transport_protocol == "udp" else "tcp"


def redact_notes(flow: http.HTTPFlow, clean: http.HTTPFlow, names: Pseudonyms) -> None:
    """Words of mitmproxy and of the journal stay; whatever a person wrote goes."""
    clean.comment = _comment(flow.comment, names)
    if flow.marked not in emoji.emoji:
        clean.marked = ":default:" if flow.marked else ""
    clean.is_replay = flow.is_replay if flow.is_replay in ("request", "response") else None
    if flow.error is not None:
        text = _sentence(flow.error.msg, names)
        clean.error = mitmproxy_flow.Error(text, flow.error.timestamp)
    clean.metadata = {}
    record = recorded_exchange(flow)
    if record is not None:
        clean.metadata[METADATA] = _record(flow, record, names)


def _comment(comment: str, names: Pseudonyms) -> str:
    return _BETWEEN.join(_part_of_comment(part, names) for part in comment.split(_BETWEEN))


def _part_of_comment(part: str, names: Pseudonyms) -> str:
    if part == WAIT_ENDED:
        return part
    ours = _OUR_COMMENT.fullmatch(part)
    if ours is None or ours["reason"] not in REASONS:
        return names.prose(part)
    return f"{ours['said']}{names.host(ours['host']) if ours['host'] else ''} ({ours['reason']})"


def _sentence(text: str, names: Pseudonyms) -> str:
    """Replace whatever is quoted or looks like a host or an address, and every word that
    mitmproxy does not use."""
    names.taken.take_prose(text)
    whole, at = "", 0
    for found in _NAMED.finditer(text):
        whole += _known_words(text[at : found.start()], names) + _named(found, names)
        at = found.end()
    return whole + _known_words(text[at:], names)


def _known_words(text: str, names: Pseudonyms) -> str:
    """A number stays after the word that says what it counts; other numbers may be a
    telephone's."""

    def known(word: re.Match[str]) -> str:
        if is_error_word(word[0]) or _NUMBERED.search(text, 0, word.end()):
            return word[0]
        return names.name(word[0])

    return WORD.sub(known, text)


def _named(found: re.Match[str], names: Pseudonyms) -> str:
    inner = next(part for part in found.groups() if part is not None)
    if found[3] is None and all(map(is_error_word, WORD.findall(inner))):
        return found[0]  # OpenSSL quotes its reasons
    return found[0].replace(inner, names.host(inner)) if inner else found[0]


def _record(flow: http.HTTPFlow, record: RecordedExchange, names: Pseudonyms) -> dict[str, object]:
    stored = flows.stored_answer(
        cast("dict[str, object]", flow.metadata[METADATA]), record.status_code or 0
    )
    location = redacted_url(record.location, names) if record.location else None
    domain = names.host(record.target_domain) if record.target_domain else None
    relationship = names.name(record.relationship) if record.relationship else None
    status, code = stored.eas_status, record.status_code
    return {
        "event": {"reason": record.reason} if record.reason in REASONS else {},
        "eas": {
            **({"decision": record.decision} if record.decision in DECISIONS else {}),
            "evidence": str(stored.evidence),
            "upstream": {
                **({"status_code": code} if code is not None and 0 <= code <= _LAST_STATUS else {}),
                **(
                    {"status": status} if status is not None and 0 <= status <= _LAST_STATUS else {}
                ),
            },
            **({"redirect": {"location": location}} if location else {}),
            "directory": {
                name: value
                for name, value in {"target_domain": domain, "relationship": relationship}.items()
                if value is not None
            },
        },
    }


def _peer(peer: tuple[str, int] | None, names: Pseudonyms) -> tuple[str, int] | None:
    return None if peer is None else (names.host(peer[0]), port(peer[1]))


def port(number: int) -> int:
    """A HAR file may hold any number here."""
    return number if 0 <= number <= _LAST_PORT else 0


_WBXML_1_3 = b"\x03"  # WAP-192-WBXML 5.4; MS-ASWBXML 2.1.1
# What Exchange says where HTTP has no phrase of its own (MS-ASHTTP 2.2.2.1.1), and what we say.
_HTTP_VERSION = re.compile(r"HTTP/[0-9](\.[0-9])?", re.ASCII)
_REASONS = frozenset({"", "Redirect", "Retry after sending a PROVISION command"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """The result for a capture. `leaks`: the kinds of places where something was found again."""

    kept: int
    left_out: int  # flows that are neither ActiveSync nor a phone's question to Autodiscover
    records_lost: int  # what the proxy recorded of exchanges, for which a HAR has no place
    troubles: tuple[str, ...]
    leaks: tuple[str, ...]


def is_har(target: Path) -> bool:
    """Whether its name asks for a HAR; mitmproxy's own files have many endings."""
    return target.suffix.lower() == ".har"


def redact(source: Path, target: Path, progress: ReadProgress) -> Redacted:
    """Write the redacted capture to `target`, in the format of its name. Raises OSError if it
    cannot be written. An unfinished file, or one that was not searched to its end, is removed."""
    with target.open("xb") as file:
        try:
            return _write(source, file, target, progress)
        except BaseException:
            target.unlink()
            raise


def _write(source: Path, file: BinaryIO, target: Path, progress: ReadProgress) -> Redacted:
    names = Pseudonyms()
    writer = HARWriter(file) if is_har(target) else FlowWriter(file)
    kept = left_out = records_lost = 0
    troubles: list[str] = []
    for found in read_flows(source, progress):
        if isinstance(found, CaptureTrouble):
            troubles.append(found.text)
        elif isinstance(found, http.HTTPFlow) and flows.is_exchange(found):
            try:
                writer.add(redacted(found, names))
            except Exception as error:  # a damaged state, which mitmproxy loads all the same
                troubles.append(f"a flow was left out: it is damaged ({type(error).__name__})")
            else:
                kept += 1
                records_lost += is_har(target) and METADATA in found.metadata
        else:
            left_out += 1
    if isinstance(writer, HARWriter):
        writer.end()
    file.flush()
    return Redacted(
        kept=kept,
        left_out=left_out,
        records_lost=records_lost,
        troubles=tuple(troubles),
        leaks=tuple(leaks(_flows_of(target), names)),
    )


def redacted(flow: http.HTTPFlow, names: Pseudonyms) -> http.HTTPFlow:
    """A new flow that takes over from the old one only what is listed here."""
    clean = _unedited(flow)
    by_xml = flows.is_discovery(flow)
    clean.id = names.identifier(flow.id)
    clean.request.path = redacted_target(flow.request.path, names)
    # The properties of these would change the Host header too.
    clean.request.data.host = names.host(flow.request.host)
    clean.request.data.authority = names.host(flow.request.authority).encode("utf-8", "replace")
    for message in (clean.request, clean.response):
        if message is not None:
            _redact_message(message, names, by_xml=by_xml)
    _redact_first_line(clean, names)
    redact_connections(clean, names)
    redact_notes(flow, clean, names)
    return clean


def _unedited(flow: http.HTTPFlow) -> http.HTTPFlow:
    """A copy without the state before an edit. mitmproxy saves that with an edited flow, and it
    would still hold everything that is taken out here."""
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


def _redact_message(
    message: http.Request | http.Response, names: Pseudonyms, *, by_xml: bool
) -> None:
    """`by_xml`: whether the body is Autodiscover's."""
    said = ", ".join(message.headers.get_all("Content-Type"))
    content_type = said.partition(";")[0].strip().lower()
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
        of_xml = said if by_xml else None
        message.raw_content = _redacted_body(message, content_type, names, of_xml)


def _redacted_body(
    message: http.Message, content_type: str, names: Pseudonyms, of_xml: str | None
) -> bytes:
    """With the same Content-Encoding, so that readers read it the same way. `of_xml`: the whole
    Content-Type, if the body is Autodiscover's."""
    body = message.raw_content or b""
    coding = message.headers.get("Content-Encoding", "identity").strip().lower()
    try:
        plain = inflated(body, coding, MAX_INFLATED)
    except InflateError:
        return bytes(len(body))
    if content_type in WBXML_TYPES or (not content_type and plain.startswith(_WBXML_1_3)):
        clean = redacted_wbxml(plain, names)
    elif content_type == MULTIPART:
        clean = redacted_multipart(plain, names)
    elif of_xml is not None:
        clean = redacted_xml(plain, of_xml, names)
    else:
        names.prose(plain[:MAX_BODY].decode("utf-8", "replace"))
        clean = filled_bytes(plain)
    if coding in ("", "identity"):
        if of_xml is not None and "Content-Length" in message.headers:
            message.headers["Content-Length"] = str(len(clean))
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
    if is_har(path):
        return _entries_of(path)
    return (found for found in read_flows(path) if isinstance(found, http.HTTPFlow))


def _entries_of(path: Path) -> Iterator[http.HTTPFlow]:
    """Each with what else the HAR says of it."""
    with path.open(encoding="ascii") as file:
        for entry in entries(file, lambda _: None):
            flow = flow_of(entry)
            flow.metadata["har"] = _beside_the_bodies(entry)
            yield flow


def _beside_the_bodies(said: object) -> object:
    """Bodies are in the flow. A time of day is a number like any other."""
    if isinstance(said, dict):
        left_out = ("postData", "content", "startedDateTime")
        return {k: _beside_the_bodies(v) for k, v in said.items() if k not in left_out}
    return [_beside_the_bodies(each) for each in said] if isinstance(said, list) else said
