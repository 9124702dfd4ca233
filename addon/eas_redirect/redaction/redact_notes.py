"""What stands around the messages of a flow, without what it tells: connections, marks, comment,
error and the journal record."""

import re
from typing import cast

from mitmproxy import connection, http
from mitmproxy import flow as mitmproxy_flow
from mitmproxy.proxy import mode_specs
from mitmproxy.utils import emoji

from eas_redirect.policy.reasons import REASONS
from eas_redirect.proxy import flows
from eas_redirect.proxy.flows import METADATA
from eas_redirect.redaction.filling import WORD
from eas_redirect.redaction.forms import is_error_word
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_target import redacted_url
from eas_redirect.view.recorded import RecordedExchange, recorded_exchange

_DECISIONS = frozenset({"redirect", "would_redirect", "pass"})
_OUR_COMMENT = re.compile(
    r"(?P<said>(?:today: )?(?:(?:would be )?451 → |pass|no verdict))(?P<host>\S*) "
    r"\((?P<reason>[a-z_]+)\)"
)
# In a sentence of mitmproxy: what it quotes, IPv6 addresses, and whatever has a dot inside.
_NAMED = re.compile(
    r"""'([^']*)'|"([^"]*)"|([0-9A-Fa-f]*(?::[0-9A-Fa-f.]*){2,})|([\w-]+(?:\.[\w-]+)+)"""
)
_NUMBERED = re.compile(r"(?i:\b(?:errno|error|code|status|alert|after|http))[ /=]{1,2}[0-9]{1,4}\Z")
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
    """Words of mitmproxy and of the journal stay; what a person wrote does not."""
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
    ours = _OUR_COMMENT.fullmatch(part)
    if ours is None or ours["reason"] not in REASONS:
        return names.prose(part)
    return f"{ours['said']}{names.host(ours['host']) if ours['host'] else ''} ({ours['reason']})"


def _sentence(text: str, names: Pseudonyms) -> str:
    """What is quoted or looks like a host or an address is replaced, and so is every word that
    mitmproxy does not use."""
    names.taken.take_prose(text)
    whole, at = "", 0
    for found in _NAMED.finditer(text):
        whole += _known_words(text[at : found.start()], names) + _named(found, names)
        at = found.end()
    return whole + _known_words(text[at:], names)


def _known_words(text: str, names: Pseudonyms) -> str:
    """A number stays behind the word that says what it counts; others may be a telephone's."""

    def known(word: re.Match[str]) -> str:
        if is_error_word(word[0]) or _NUMBERED.search(text, 0, word.end()):
            return word[0]
        return names.name(word[0])

    return WORD.sub(known, text)


def _named(found: re.Match[str], names: Pseudonyms) -> str:
    inner = next(part for part in found.groups() if part is not None)
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
            **({"decision": record.decision} if record.decision in _DECISIONS else {}),
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
    """A HAR may hold any number here."""
    return number if 0 <= number <= _LAST_PORT else 0
