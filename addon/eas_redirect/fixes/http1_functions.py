"""Functions of mitmproxy's HTTP/1 that are replaced whole; see `http1.py`.

- the tokens of Connection are compared without regard to case;
- an error page tells nobody the address of Exchange, what it sent, or what stands here;
- an answer with a header whose name is no token passes, as an administrator of IIS can add one, and
  so does a 204 that names a transfer coding, as ASP.NET sends it; mitmproxy makes a 502 of both.
"""

from collections.abc import Callable

from mitmproxy import http
from mitmproxy.net.http import http1, status_codes, validate
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import _http1

_validate_headers = validate.validate_headers
_FRAMING = {b"content-length", b"transfer-encoding"}
_NO_CONTENT = 204


def error_page(status_code: int, _message: str = "") -> bytes:
    """A whole answer. mitmproxy's own quotes the message, which is for the journal and the log."""
    headers = http.Headers(Connection="close", Content_Type="text/plain")
    text = f"{status_code} {status_codes.RESPONSES.get(status_code, 'Error')}\n"
    page: bytes = http1.assemble_response(http.Response.make(status_code, text, headers))
    return page


def validate_headers(message: http.Message) -> None:
    """What mitmproxy refuses, but for two faults of an answer that mislead nobody: a name that is
    no token, and a transfer coding of a 204, which RFC 9112 6.1 forbids but which has no body
    whatever its head says (6.3)."""
    try:
        _validate_headers(message)
    except ValueError:
        if not isinstance(message, http.Response):
            raise
        _validate_headers(_framing_of(message))


def _framing_of(answer: http.Response) -> http.Response:
    """An answer with only those headers that say where it ends, or seem to."""
    names = _FRAMING if answer.status_code != _NO_CONTENT else {b"content-length"}
    framing = answer.copy()
    fields = answer.headers.fields
    framing.headers = http.Headers([f for f in fields if f[0].strip().lower() in names])
    return framing


def connection_close(http_version: str, headers: http.Headers) -> bool:
    """Whether a message ends its connection (RFC 9112 9.3)."""
    lists = headers.get_all("connection")
    tokens = {token.strip().lower() for value in lists for token in value.split(",")}
    if "close" in tokens:
        return True
    return http_version not in ("HTTP/1.1", "HTTP/2.0") and "keep-alive" not in tokens


MENDS: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (_http1, "make_error_response", error_page),
    (http1, "connection_close", connection_close),
    (http_layers, "validate_headers", validate_headers),
)
