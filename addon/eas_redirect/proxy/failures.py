"""What went wrong with an exchange, from mitmproxy's message, without anything that was sent."""

import re
from dataclasses import dataclass
from typing import Literal

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.mode_specs import ReverseMode

from eas_redirect.activesync.request import is_eas_path
from eas_redirect.proxy.part import is_in_place

type FailureType = Literal["client_left", "proxy_stopped", "request_refused", "upstream_failed"]

RETRY_AFTER_S = 30  # after which a device tries again while Exchange is down
ASK_ELSEWHERE = 425  # Exchange never sends it, and HAProxy and nginx can retry on it
STOPPED = "the proxy is stopping"  # flow.error if the stop answered, not Exchange

_REFUSAL = re.compile(
    "Received .* from client|Invalid request scheme|mitmproxy received an HTTP CONNECT", re.DOTALL
)
_PROTOCOL_ERROR = "HTTP/1 protocol error: "
_QUOTED_BYTES = re.compile(r"""\bb(['"]).*\1""", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """`status_code`: what the client got, from mitmproxy or from an answer that had begun; None:
    nothing."""

    type: FailureType
    message: str
    status_code: int | None


def failure_of(flow: http.HTTPFlow) -> Failure | None:
    """Why there is no complete answer; None if there is one."""
    if flow.error is None:
        return None
    kind = _type(flow, flow.error.msg)
    status = {"request_refused": 400, "upstream_failed": _status_of_absence(flow)}.get(kind)
    if flow.response is not None and (flow.response.stream or kind == "proxy_stopped"):
        status = flow.response.status_code  # its head had gone on before the rest failed
    return Failure(type=kind, message=without_bytes(flow.error.msg), status_code=status)


def _status_of_absence(flow: http.HTTPFlow) -> int:
    """The status that a client gets when Exchange is down: see `fixes/http1.py`."""
    if not isinstance(flow.client_conn.proxy_mode, ReverseMode) or not is_in_place("fixes"):
        return 502
    server = flow.server_conn
    reached = server.timestamp_tls_setup if server.tls else server.timestamp_tcp_setup
    if reached is None and has_by_pass(flow.request):
        return ASK_ELSEWHERE
    return 503 if is_eas_path(flow.request.path) else 502


def has_by_pass(request: http.Request) -> bool:
    """Whether a front says that it can send the request straight to Exchange if we cannot."""
    return request.headers.get("X-EAS-Bypass") == str(ASK_ELSEWHERE)


def stopped(flow: http.HTTPFlow) -> bool:
    """Whether a stopping proxy gave the answer."""
    return flow.error is not None and flow.error.msg == STOPPED


def without_bytes(text: str) -> str:
    """A message from mitmproxy without the bytes that it quotes: they can hold passwords."""
    return _QUOTED_BYTES.sub("…", text)


def _type(flow: http.HTTPFlow, message: str) -> FailureType:
    if message == STOPPED:
        return "proxy_stopped"
    if _REFUSAL.match(message):
        return "request_refused"
    if "lient disconnected" in message:
        return "client_left"
    if flow.client_conn.state is not ConnectionState.CLOSED:  # a half-closed client still waits
        return "upstream_failed"
    # mitmproxy also reports a client that leaves in the middle of its request as a protocol error.
    broken = message.startswith(_PROTOCOL_ERROR) and "peer closed connection" not in message
    return "request_refused" if broken else "client_left"
