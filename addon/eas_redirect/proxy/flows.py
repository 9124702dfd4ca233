"""mitmproxy flows as values of the protocol, and the 451 as a response. Changes no flow.

Captures use it too.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from mitmproxy import ctx, http
from mitmproxy.flow import Flow
from mitmproxy.proxy import mode_specs

from eas_redirect.activesync.authorization import Credentials, contradicts, read_authorizations
from eas_redirect.activesync.host_name import same_host
from eas_redirect.activesync.request import (
    EASRequest,
    Headers,
    header_values,
    is_eas_path,
    read_request,
)
from eas_redirect.activesync.response import Answer, Evidence, read_answer
from eas_redirect.autodiscover.answer import (
    CONTENT_TYPE,
    AutodiscoverEvidence,
    read_discovery_answer,
)
from eas_redirect.autodiscover.phone_request import (
    NotForPhones,
    PhoneRequest,
    is_autodiscover,
    is_outlooks,
    read_phone_request,
)
from eas_redirect.judging import callers
from eas_redirect.judging.callers import bare_host
from eas_redirect.policy.waves import Network
from eas_redirect.proxy.failures import failure_of
from eas_redirect.proxy.profile import advice_on_udp
from eas_redirect.telemetry.record import WireFacts

METADATA = "eas"  # flow.metadata key: the journal record, in plain JSON types
WAIT_ENDED = "the wait was ended: the mailbox has moved"  # the comment of its flow
REDIRECT = 451
# How the flow lists of mitmproxy and mitmweb tell commands apart (MS-ASHTTP 2.2.1.1.1.2.2). A
# redirect, a would-be redirect and an ended wait have their own marks.
COMMAND_MARKS = {
    "OPTIONS": ":grey_question:",
    "FolderSync": ":file_folder:",
    "FolderCreate": ":open_file_folder:",
    "FolderDelete": ":open_file_folder:",
    "FolderUpdate": ":open_file_folder:",
    "GetHierarchy": ":open_file_folder:",
    "CreateCollection": ":open_file_folder:",
    "DeleteCollection": ":open_file_folder:",
    "MoveCollection": ":open_file_folder:",
    "Sync": ":arrows_counterclockwise:",
    "Ping": ":bell:",
    "Provision": ":shield:",
    "Settings": ":gear:",
    "SendMail": ":outbox_tray:",
    "SmartReply": ":leftwards_arrow_with_hook:",
    "SmartForward": ":arrow_right_hook:",
    "GetItemEstimate": ":1234:",
    "ItemOperations": ":inbox_tray:",
    "GetAttachment": ":paperclip:",
    "MoveItems": ":twisted_rightwards_arrows:",
    "Search": ":mag:",
    "Find": ":mag_right:",
    "MeetingResponse": ":calendar:",
    "ResolveRecipients": ":busts_in_silhouette:",
    "ValidateCert": ":scroll:",
}
OTHER_MARK = ":mailbox:"
_CREDENTIAL = b"x-ms-credential"
REDIRECT_PHRASE = b"Redirect"  # MS-ASHTTP 3.1.5.2.2; the IANA phrase would be wrong here


def is_captured(met: Flow) -> bool:
    """Whether a flow comes from a file, told by its request's headers: later a live one may have
    ended. A replay is live."""
    return not met.live


def is_eas(flow: http.HTTPFlow) -> bool:
    return is_eas_path(flow.request.path)


def is_discovery(flow: http.HTTPFlow) -> bool:
    """Whether a phone may be asking Autodiscover."""
    return is_autodiscover(flow.request.method, flow.request.path)


def asks_autodiscover(flow: http.HTTPFlow) -> bool:
    """The same of a flow whose body may be there: Outlook's own questions are none."""
    return is_discovery(flow) and not is_outlooks(flow.request.raw_content or b"")


def is_exchange(flow: http.HTTPFlow) -> bool:
    """What captures are read for."""
    return is_eas(flow) or asks_autodiscover(flow)


def asked_of_autodiscover(request: http.Request) -> PhoneRequest | NotForPhones:
    if request.raw_content is None:
        return NotForPhones("The body of the request was not kept.")
    content_type = ", ".join(field_values(request, b"content-type"))
    return read_phone_request(request.raw_content, content_type)


def said_by_autodiscover(response: http.Response) -> AutodiscoverEvidence:
    return read_discovery_answer(
        response.status_code,
        ", ".join(field_values(response, b"content-type")),
        ", ".join(field_values(response, b"content-encoding")),
        response.raw_content,
    )


def answered_here(flow: http.HTTPFlow) -> bool:
    """Whether something in this mitmproxy has answered in Exchange's place: the request was not
    sent. A recorded answer that is replayed counts as Exchange's."""
    return flow.live and not flow.is_replay and flow.server_conn.timestamp_start is None


def headers_of(message: http.Message) -> Headers:
    """Every header in its order. Bytes that are not UTF-8 become surrogates, as mitmproxy reads."""
    return tuple(
        [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in message.headers.fields
        ]
    )


def field_values(message: http.Message, name: bytes) -> list[str]:
    """All values of a header (`name` in lower case). mitmproxy's own way lowers every name each
    time, and every exchange asks for several."""
    size = len(name)
    return [
        value.decode("utf-8", "surrogateescape")
        for key, value in message.headers.fields
        if len(key) == size and key.lower() == name
    ]


def is_ours(flow: http.HTTPFlow, servers: Collection[str]) -> bool:
    """Whether the administrator answers for the server: the one behind a reverse proxy, or one that
    the configuration names (`servers`). Whoever sees a whole network sees other companies' too."""
    if isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
        return True
    return any(same_host(name, own) for name in _server_names(flow) for own in servers)


def _server_names(flow: http.HTTPFlow) -> tuple[str, ...]:
    """By what a client that knows of no proxy, or of a regular one, names the server: the address
    that it asked for; on a transparent proxy, where that is a number, the name that the server's
    certificate must bear, and without TLS the Host."""
    address = bare_host(flow.request.host)
    if flow.request.scheme == "https":
        name = bare_host(flow.server_conn.sni or flow.client_conn.sni)
    elif isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode):
        name = None
    else:
        name = called_host(flow)
    return tuple(found for found in (address, name) if found)


def server_of(flow: http.HTTPFlow) -> str:
    """The server that answers, in one spelling."""
    address = flow.server_conn.address or (flow.request.host, flow.request.port)
    return f"{address[0]}:{address[1]}"


def request_of(flow: http.HTTPFlow, headers: Headers | None = None) -> EASRequest:
    """`headers`: those of the request, where `headers_of` has given them already."""
    headers = headers_of(flow.request) if headers is None else headers
    return read_request(flow.request.method, flow.request.path, headers)


def mark_command(flow: http.HTTPFlow, request: EASRequest) -> None:
    """Only where there is a list to look at: mitmproxy's console and mitmweb, not mitmdump."""
    master = getattr(ctx, "master", None)
    if flow.marked or master is None or master.addons.get("view") is None:
        return
    name = "OPTIONS" if request.method == "OPTIONS" else request.command or ""
    flow.marked = COMMAND_MARKS.get(name, OTHER_MARK)


def credentials_of(headers: Headers) -> Credentials:
    return read_authorizations(header_values(headers, "authorization"))


def called_host(flow: http.HTTPFlow) -> str | None:
    """The one name by which the client called: lower case, no port, no trailing dot, else None."""
    named = field_values(flow.request, b"host")
    if len(named) > 1:
        return None
    if authority := flow.request.data.authority:  # HTTP/2, and the absolute form
        named.append(authority.decode("utf-8", "surrogateescape"))
    return callers.agreed_host(named)


def called_names(flow: http.HTTPFlow, trusted: Sequence[Network] = ()) -> tuple[str, ...]:
    """Names by which the client called, as it says itself and as trusted proxies say."""
    called, peer = called_host(flow), flow.client_conn.peername
    told = () if called is None else (called,)
    if not trusted or not peer:
        return told
    named = [v for name in callers.NAME_HEADERS for v in field_values(flow.request, name.encode())]
    forwarded = field_values(flow.request, b"forwarded")
    return (*told, *callers.forwarded_names(peer[0], named, forwarded, trusted))


def further_names(flow: http.HTTPFlow) -> tuple[str, ...]:
    """Other names of this proxy and of the server behind it: the TLS name and the upstream."""
    upstream = flow.server_conn.address[0] if flow.server_conn.address else None
    told = dict.fromkeys((flow.client_conn.sni, upstream, flow.request.host))  # most are one
    return tuple(dict.fromkeys(name for text in told if text and (name := bare_host(text))))


def udp_advice() -> tuple[str, ...]:
    """A sentence for each UDP port that mitmproxy opens beside a TCP port; `run` opens none."""
    modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
    reverse = [m for m in modes if isinstance(m, mode_specs.ReverseMode) and m.scheme == "https"]
    open_ = [m for m in reverse if m.transport_protocol == "both"]
    return tuple(advice_on_udp(m.listen_port(ctx.options.listen_port) or 0) for m in open_)


def reverse_upstream() -> mode_specs.ReverseMode | None:
    """The mode that names the server behind a reverse proxy, when there is exactly one."""
    modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
    only = modes[0] if len(modes) == 1 else None
    return only if isinstance(only, mode_specs.ReverseMode) else None


def has_reverse_mode() -> bool:
    """Whether somebody may call as if this were Exchange."""
    return any(mode.startswith("reverse:") for mode in ctx.options.mode)


def upstream_server() -> str | None:
    """The server behind a reverse proxy, as `server_of` spells it, when there is exactly one."""
    mode = reverse_upstream()
    return None if mode is None else f"{mode.address[0]}:{mode.address[1]}"


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
        user_agent=", ".join(field_values(flow.request, b"user-agent")) or None,
        contradiction=contradicts(request, credentials),
        proxy_status=failure.status_code if failure else None,
        error_type=failure.type if failure else None,
        error_message=failure.message if failure else None,
    )


def client_address(flow: http.HTTPFlow, trusted: Sequence[Network]) -> str | None:
    """The device's own; None behind a trusted proxy that does not say it."""
    peer = flow.client_conn.peername
    forwarded_for = field_values(flow.request, b"x-forwarded-for")
    return callers.device_address(peer[0] if peer else None, forwarded_for, trusted)


def _forwarded_ip(flow: http.HTTPFlow, trusted: Sequence[Network]) -> str | None:
    peer = flow.client_conn.peername
    if not trusted or not peer:
        return None
    forwarded_for = field_values(flow.request, b"x-forwarded-for")
    return callers.forwarded_address(peer[0], forwarded_for, trusted)


def answer_in_capture(
    flow: http.HTTPFlow, response: http.Response, request: EASRequest, weak: frozenset[int]
) -> Answer:
    """What Exchange said in a captured flow.

    From the record where our own answer took the place of Exchange's, or where the body was
    streamed away; else read again. What is weak is for the configuration at hand to say.
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
    return _in_place_of(old, REDIRECT, REDIRECT_PHRASE, [(b"X-MS-Location", location.encode())])


def settings_response(settings: bytes, old: http.Response) -> http.Response:
    """A whole new 200 of Autodiscover's. Where clients that know X-MS-Credential headers find their
    logon (MS-ASHTTP 2.2.2.1.2) is kept too."""
    kept = [field for field in old.headers.fields if field[0].lower().startswith(_CREDENTIAL)]
    fields = [(b"Content-Type", CONTENT_TYPE.encode()), *kept]
    return _in_place_of(old, 200, b"OK", fields, settings)


def _in_place_of(
    old: http.Response,
    status_code: int,
    reason: bytes,
    own: list[tuple[bytes, bytes]],
    body: bytes = b"",
) -> http.Response:
    fields = [
        *(
            (b"Date", date.encode("utf-8", "surrogateescape"))
            for date in field_values(old, b"date")[:1]
        ),
        (b"Cache-Control", b"private"),
        *own,
        (b"Content-Length", b"%d" % len(body)),
    ]
    if "close" in ", ".join(field_values(old, b"connection")).lower():
        fields.append((b"Connection", b"close"))
    return http.Response(
        http_version=old.data.http_version,
        status_code=status_code,
        reason=reason,
        headers=http.Headers(fields),
        content=body,
        trailers=None,
        timestamp_start=old.timestamp_start,
        timestamp_end=old.timestamp_end,
    )
