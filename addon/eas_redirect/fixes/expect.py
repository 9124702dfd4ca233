"""`Expect: 100-continue` crosses: Exchange says whether the body is to come (RFC 9110 10.1.1).

mitmproxy answers with a 100 of its own and takes the header away. So a client sends a mail of many
megabytes only to learn that it has to log on first, and one whose Exchange sends a 100 gets two.
"""

from collections.abc import Callable, Generator
from typing import Any

from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders, ResponseHeaders

type Commands = Generator[commands.Command, Any, None]

_wait_for_request_headers: Callable[..., Commands] = HttpStream.state_wait_for_request_headers


def _request_headers(self: HttpStream, event: RequestHeaders) -> Commands:
    request = event.request
    if "expect" in request.headers and not (request.is_http2 or request.is_http3):
        return _with_expectation(self, event)
    return _wait_for_request_headers(self, event)


def _with_expectation(self: HttpStream, event: RequestHeaders) -> Commands:
    """Leave mitmproxy's 100 out, and put the header back that it takes away after that."""
    headers, fields = event.request.headers, None
    original, reply = _wait_for_request_headers(self, event), None
    try:
        while True:
            command = original.send(reply)
            if fields is not None:
                headers.fields = fields
            if _is_continue(command) and (event.request.stream or event.end_stream):
                fields, reply = headers.fields, None
            else:
                reply = yield command
    except StopIteration:
        if fields is not None:
            headers.fields = fields


def _is_continue(command: commands.Command) -> bool:
    return (
        isinstance(command, SendHttp)
        and isinstance(command.event, ResponseHeaders)
        and command.event.response.status_code == 100
    )


MENDS: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (HttpStream, "state_wait_for_request_headers", _request_headers),
)
