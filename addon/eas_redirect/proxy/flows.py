"""mitmproxy flows as values of the protocol, and the 451 as a response. Changes no flow.

Beside `addon.py` the only top-level module that imports mitmproxy; captures use it too.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from mitmproxy import ctx, http
from mitmproxy.proxy import mode_specs

from eas_redirect.activesync.authorization import (
    Credentials,
    Logon,
    choose_logon,
    contradicts,
    read_authorization,
)
from eas_redirect.activesync.request import EASRequest, Headers, is_eas_path, read_request
from eas_redirect.activesync.response import Answer, Evidence, read_answer
from eas_redirect.proxy.failures import failure_of
from eas_redirect.proxy.forwarded import Network, device_address, forwarded_address
from eas_redirect.telemetry.records import WireFacts

METADATA = "eas"  # flow.metadata key: the journal record, in plain JSON types
REDIRECT = 451
REDIRECT_PHRASE = b"Redirect"  # MS-ASHTTP 3.1.5.2.2; the IANA phrase would be wrong here

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


def is_eas(flow: http.HTTPFlow) -> bool:
    return is_eas_path(flow.request.path)


def answered_here(flow: http.HTTPFlow) -> bool:
    """Whether something in this mitmproxy has answered in Exchange's place: the request was not
    sent. A recorded answer that is replayed counts as Exchange's."""
    return flow.live and not flow.is_replay and flow.server_conn.timestamp_start is None


def headers_of(message: http.Message) -> Headers:
    """Every header in its order. Bytes that are no UTF-8 become surrogates, as mitmproxy reads."""
    return tuple(
        [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in message.headers.fields
        ]
    )


def header_values(message: http.Message, name: bytes) -> list[str]:
    """All values of a header (`name` in lower case). mitmproxy's own way lowers every name each
    time, and every exchange asks for several."""
    size = len(name)
    return [
        value.decode("utf-8", "surrogateescape")
        for key, value in message.headers.fields
        if len(key) == size and key.lower() == name
    ]


def request_of(flow: http.HTTPFlow) -> EASRequest:
    return read_request(flow.request.method, flow.request.path, headers_of(flow.request))


def credentials_of(flow: http.HTTPFlow) -> Credentials:
    """From the one Authorization header; two of them name nobody."""
    values = header_values(flow.request, b"authorization")
    if len(values) > 1:
        return Credentials(scheme="other", problem="the request has several Authorization headers")
    return read_authorization(values[0] if values else None)


def logon_of(
    request: EASRequest, credentials: Credentials, remembered: Logon | None
) -> Logon | None:
    """Authorization, then what this connection authenticated as (NTLM), then the query."""
    if credentials.logon is None and credentials.problem is None and remembered is not None:
        return remembered
    return choose_logon(request, credentials)


def called_host(flow: http.HTTPFlow) -> str | None:
    """The one name by which the client called: lower case, no port, no trailing dot, else None."""
    named = header_values(flow.request, b"host")
    if len(named) > 1:
        return None
    if authority := flow.request.data.authority:  # HTTP/2, and the absolute form
        named.append(authority.decode("utf-8", "surrogateescape"))
    hosts = {bare_host(name) for name in named}
    return hosts.pop() if len(hosts) == 1 else None


def further_names(flow: http.HTTPFlow) -> tuple[str, ...]:
    """Other names of this proxy and of the server behind it: the TLS name and the upstream."""
    upstream = flow.server_conn.address[0] if flow.server_conn.address else None
    names = (bare_host(flow.client_conn.sni), bare_host(upstream), bare_host(flow.request.host))
    return tuple(dict.fromkeys(name for name in names if name))


def reverse_upstream() -> mode_specs.ReverseMode | None:
    """The mode that names the server behind a reverse proxy, when there is exactly one."""
    modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
    only = modes[0] if len(modes) == 1 else None
    return only if isinstance(only, mode_specs.ReverseMode) else None


@lru_cache(maxsize=1024)
def bare_host(authority: str | None) -> str | None:
    if not authority:
        return None
    host = authority.lower()
    if not host.endswith("]"):
        host = re.sub(r":[0-9]*\Z", "", host)
    host = host.removesuffix(".")
    return host if _HOST.fullmatch(host) else None


def wire_facts(
    flow: http.HTTPFlow,
    request: EASRequest,
    credentials: Credentials,
    trusted: Sequence[Network] = (),
) -> WireFacts:
    """What the connection, the clock and the headers say. Never the query, never a secret."""
    started = flow.request.timestamp_start
    answered = flow.response.timestamp_end if flow.response else None
    peer = flow.client_conn.peername
    upstream = flow.server_conn.address
    failure = failure_of(flow)
    return WireFacts(
        started_s=started,
        ended_s=time.time() if flow.live else answered,
        upstream_started_s=flow.request.timestamp_end or started,
        upstream_ended_s=answered,
        client_address=peer[0] if peer else None,
        client_port=peer[1] if peer else None,
        forwarded_ip=_forwarded_ip(flow, trusted),
        server_address=upstream[0] if upstream else None,
        server_port=upstream[1] if upstream else None,
        url_domain=called_host(flow),
        url_path=flow.request.path.partition("?")[0],
        user_agent=", ".join(header_values(flow.request, b"user-agent")) or None,
        contradiction=contradicts(request, credentials),
        proxy_status=failure.status_code if failure else None,
        error_type=failure.type if failure else None,
        error_message=failure.message if failure else None,
    )


def client_address(flow: http.HTTPFlow, trusted: Sequence[Network]) -> str | None:
    """The device's own: the peer's, or the one that trusted proxies forwarded, if any."""
    peer = flow.client_conn.peername
    hops = header_values(flow.request, b"x-forwarded-for") if trusted else ()
    return device_address(peer[0] if peer else None, hops, trusted)


def _forwarded_ip(flow: http.HTTPFlow, trusted: Sequence[Network]) -> str | None:
    peer = flow.client_conn.peername
    if not trusted or not peer:
        return None
    return forwarded_address(peer[0], header_values(flow.request, b"x-forwarded-for"), trusted)


def answer_in_capture(
    flow: http.HTTPFlow, response: http.Response, request: EASRequest, weak: frozenset[int]
) -> Answer:
    """What Exchange said in a captured flow.

    From the record where our own answer took the place of Exchange's, or where the body was
    streamed away; else read anew. What is weak is for the configuration at hand to say.
    """
    record, status = flow.metadata.get(METADATA), response.status_code
    stored = stored_answer(record, status) if isinstance(record, dict) else None
    if stored is None or (stored.status_code == status and response.raw_content is not None):
        return read_answer(request, status, headers_of(response), response.raw_content, weak)
    if stored.evidence is Evidence.CERTAIN:
        return stored
    head = read_answer(request, stored.status_code, (), None, weak)
    return replace(stored, evidence=head.evidence)


def stored_answer(record: dict[str, object], status_code: int) -> Answer:
    """What Exchange said, from the record that an earlier run left in a captured flow.

    A capture comes from anywhere: what is not as we write it says nothing.
    """
    eas = _table(record.get("eas"))
    upstream = _table(eas.get("upstream"))
    said, status = upstream.get("status_code"), upstream.get("status")
    evidence = {e.value: e for e in Evidence}.get(str(eas.get("evidence")), Evidence.NONE)
    return Answer(
        status_code=said if isinstance(said, int) else status_code,
        evidence=evidence,
        eas_status=status if isinstance(status, int) else None,
    )


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def redirect_response(location: str, old: http.Response) -> http.Response:
    """A whole new 451 (MS-ASHTTP 3.1.5.2.2): nothing of the old entity, no body, no type.

    Kept of the old answer: its date, and `Connection: close`, for a client that stayed on the line
    would find its connection-bound logon gone.
    """
    fields = [
        *(
            (b"Date", date.encode("utf-8", "surrogateescape"))
            for date in header_values(old, b"date")[:1]
        ),
        (b"Cache-Control", b"private"),
        (b"X-MS-Location", location.encode()),
        (b"Content-Length", b"0"),
    ]
    if "close" in ", ".join(header_values(old, b"connection")).lower():
        fields.append((b"Connection", b"close"))
    return http.Response(
        http_version=old.data.http_version,
        status_code=REDIRECT,
        reason=REDIRECT_PHRASE,
        headers=http.Headers(fields),
        content=b"",
        trailers=None,
        timestamp_start=old.timestamp_start,
        timestamp_end=old.timestamp_end,
    )
