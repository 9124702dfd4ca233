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
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_target import redacted_url
from eas_redirect.view.recorded import RecordedExchange, recorded_exchange

_DECISIONS = frozenset({"redirect", "would_redirect", "pass"})
_OUR_COMMENT = re.compile(r"((?:would be )?451 → )(\S+)( \()([a-z_]+)(\))")
# In a sentence of mitmproxy: what it quotes, IPv6 addresses, and whatever has a dot inside.
_NAMED = re.compile(
    r"""'([^']*)'|"([^"]*)"|([0-9A-Fa-f]*(?::[0-9A-Fa-f.]*){2,})|([\w-]+(?:\.[\w-]+)+)"""
)
# Of a connection's state: words of TLS and of mitmproxy itself.
_TECHNICAL = ("alpn", "alpn_offers", "cipher", "cipher_list", "tls_version", "transport_protocol")


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
    names.keep(client.proxy_mode.full_spec)
    for end in (client, server):
        _redact_connection(end, names)


def _redact_connection(end: connection.Connection, names: Pseudonyms) -> None:
    end.id = names.identifier(end.id)
    end.sni = names.host(end.sni) if end.sni else None
    end.certificate_list = ()
    end.error = None
    state = end.get_state()
    for key in _TECHNICAL:
        names.keep(str(state.get(key)))


def redact_notes(flow: http.HTTPFlow, clean: http.HTTPFlow, names: Pseudonyms) -> None:
    """Words of mitmproxy and of the journal stay; what a person wrote does not."""
    clean.comment = _comment(flow.comment, names)
    if flow.marked not in emoji.emoji:
        clean.marked = ":default:" if flow.marked else ""
    names.keep(f"{clean.marked} {clean.is_replay}")
    if flow.error is not None:
        text = _sentence(flow.error.msg, names)
        clean.error = mitmproxy_flow.Error(text, flow.error.timestamp)
    clean.metadata = {}
    record = recorded_exchange(flow)
    if record is not None:
        clean.metadata[METADATA] = _record(flow, record, names)


def _comment(comment: str, names: Pseudonyms) -> str:
    ours = _OUR_COMMENT.fullmatch(comment)
    if ours is None or ours[4] not in REASONS:
        return names.prose(comment)
    names.keep(f"{ours[1]} {ours[4]}")
    return f"{ours[1]}{names.host(ours[2])}{ours[3]}{ours[4]}{ours[5]}"


def _sentence(text: str, names: Pseudonyms) -> str:
    """What is quoted or looks like a host or an address is replaced."""
    names.keep(_NAMED.sub(" ", text))
    return _NAMED.sub(lambda found: _named(found, names), text)


def _named(found: re.Match[str], names: Pseudonyms) -> str:
    inner = next(part for part in found.groups() if part is not None)
    return found[0].replace(inner, names.host(inner)) if inner else found[0]


def _record(flow: http.HTTPFlow, record: RecordedExchange, names: Pseudonyms) -> dict[str, object]:
    stored = flows.stored_answer(
        cast("dict[str, object]", flow.metadata[METADATA]), record.status_code or 0
    )
    location = redacted_url(record.location, names) if record.location else None
    reason = record.reason if record.reason in REASONS else ""
    decision = record.decision if record.decision in _DECISIONS else ""
    return {
        "event": {"reason": names.keep(reason or "")},
        "eas": {
            "decision": names.keep(decision or ""),
            "evidence": names.keep(str(stored.evidence)),
            "upstream": {
                "status_code": stored.status_code,
                **({} if stored.eas_status is None else {"status": stored.eas_status}),
            },
            **({"redirect": {"location": location}} if location else {}),
        },
    }


def _peer(peer: tuple[str, int] | None, names: Pseudonyms) -> tuple[str, int] | None:
    return None if peer is None else (names.host(peer[0]), peer[1])
