"""Failures in the journal's words: whose it was, what the client got, and nothing that was sent."""

import pytest
from mitmproxy.connection import ConnectionState
from mitmproxy.flow import Error
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from eas_redirect.fixes.http1 import FIXES
from eas_redirect.proxy.failures import failure_of, without_bytes

REFUSED = (
    "Received invalid header name: b'Authorization Basic c2VjcmV0' from client, refusing to"
    " prevent request smuggling attacks."
)


def failed(message: str, *, client_stays: bool = True) -> HTTPFlow:
    flow = tflow.tflow(resp=False)
    flow.error = Error(message)
    flow.client_conn.state = ConnectionState.OPEN if client_stays else ConnectionState.CLOSED
    return flow


def test_no_failure_is_none() -> None:
    assert failure_of(tflow.tflow(resp=True)) is None


@pytest.mark.parametrize(
    ("message", "client_stays", "kind", "status"),
    [
        ("Client disconnected.", True, "client_left", None),
        ("HTTP/1 protocol error: peer closed connection", False, "client_left", None),
        ("HTTP/1 protocol error: peer closed connection", True, "upstream_failed", 502),
        ("server closed connection", True, "upstream_failed", 502),
        ("[Errno 111] Connect call failed ('127.0.0.1', 1)", True, "upstream_failed", 502),
        ("HTTP/1 protocol error: illegal chunk header", False, "request_refused", 400),
        ("HTTP/1 protocol error: illegal chunk header", True, "upstream_failed", 502),
        ("Invalid request scheme: ftp", True, "request_refused", 400),
        ("mitmproxy received an HTTP CONNECT request even though", True, "request_refused", 400),
        (REFUSED, True, "request_refused", 400),
        (REFUSED, False, "request_refused", 400),
    ],
)
def test_whose_failure_it_is(
    message: str, client_stays: bool, kind: str, status: int | None
) -> None:
    failure = failure_of(failed(message, client_stays=client_stays))
    assert failure is not None
    assert (failure.type, failure.status_code) == (kind, status)


def test_a_client_that_waits_with_its_half_closed_has_not_left() -> None:
    flow = failed("server closed connection")
    flow.client_conn.state = ConnectionState.CAN_WRITE
    failure = failure_of(flow)
    assert failure is not None
    assert (failure.type, failure.status_code) == ("upstream_failed", 502)


def test_an_answer_under_way_keeps_its_status() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.error = Error("server closed connection")
    flow.client_conn.state = ConnectionState.OPEN
    flow.response.stream = True
    failure = failure_of(flow)
    assert failure is not None
    assert failure.status_code == 200


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("unexpected server response: b'Set-Cookie: x'", "unexpected server response: …"),
        (REFUSED, "Received invalid header name: … from client, refusing to prevent request"
         " smuggling attacks."),
        ("""Bad HTTP request line: b"POST /?User='a' HTTP/9" """, "Bad HTTP request line: … "),
        ("multiple content-length headers: [b'1', b'2']", "multiple content-length headers: […]"),
        ("b'two\nlines'", "…"),
        ("nothing quoted: 'web' and \"rib\"", "nothing quoted: 'web' and \"rib\""),
    ],
)  # fmt: skip
def test_what_was_sent_is_left_out(text: str, left: str) -> None:
    assert without_bytes(text) == left


def test_a_device_whose_exchange_is_away_gets_503() -> None:
    """Where the fix is in place that sends it: before a server of one's own."""
    flow = failed("server closed connection", client_stays=True)
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://ex07.contoso.example")
    expected = {False: 502, True: 503}
    for path, is_eas in (("/owa/", False), ("/Microsoft-Server-ActiveSync?Cmd=Sync", True)):
        flow.request.path = path
        FIXES.put_back()
        failure = failure_of(flow)
        assert failure is not None
        assert failure.status_code == 502
        FIXES.put()
        failure = failure_of(flow)
        FIXES.put_back()
        assert failure is not None
        assert failure.status_code == expected[is_eas]
