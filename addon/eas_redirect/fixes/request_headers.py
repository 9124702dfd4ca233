"""What mitmproxy does between a request's headers and its body.

`Expect: 100-continue` crosses: Exchange says whether the body is to come (RFC 9110 10.1.1).
mitmproxy answers with a 100 of its own and takes the header away. So a client sends a mail of many
megabytes only to learn that it has to log on first, and one whose Exchange sends a 100 gets two.

A script may answer when the headers come. mitmproxy cannot do that and stream the body: it crashes.
The body is read to its end then, and what of it is too long to be kept is dropped.
"""

from collections.abc import Callable, Generator
from typing import Any

from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    HttpEvent,
    RequestData,
    RequestHeaders,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook

from eas_redirect.proxy.part import Replacement

type HeaderCommands = Generator[commands.Command, Any, None]

MAX_KEPT = 64 * 1024  # bytes of a body that nobody sends on

_wait_for_request_headers: Callable[..., HeaderCommands] = HttpStream.state_wait_for_request_headers
_consume_request_body: Callable[..., HeaderCommands] = HttpStream.state_consume_request_body


def _request_headers(self: HttpStream, event: RequestHeaders) -> HeaderCommands:
    """Leave mitmproxy's 100 out, and put the header back that it takes away after that; do not
    stream what is answered already."""
    request = event.request
    headers, fields = request.headers, None
    expects = "expect" in headers and not (request.is_http2 or request.is_http3)
    original, reply = _wait_for_request_headers(self, event), None
    try:
        while True:
            command = original.send(reply)
            if fields is not None:
                headers.fields = fields
            if expects and _is_continue(command) and (request.stream or event.end_stream):
                fields, reply = headers.fields, None
                continue
            reply = yield command
            if isinstance(command, HttpRequestHeadersHook) and self.flow.response is not None:
                request.stream = False
    except StopIteration:
        if fields is not None:
            headers.fields = fields


def _is_continue(command: commands.Command) -> bool:
    return (
        isinstance(command, SendHttp)
        and isinstance(command.event, ResponseHeaders)
        and command.event.response.status_code == 100
    )


def _body(self: HttpStream, event: HttpEvent) -> HeaderCommands:
    if isinstance(event, RequestData) and self.flow.response is not None:
        if len(self.request_body_buf) + len(event.data) <= MAX_KEPT:
            self.request_body_buf += event.data
        return
    yield from _consume_request_body(self, event)


REPLACEMENTS: tuple[Replacement, ...] = (
    (HttpStream, "state_wait_for_request_headers", _request_headers),
    (HttpStream, "state_consume_request_body", _body),
)
