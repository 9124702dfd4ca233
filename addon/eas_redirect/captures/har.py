"""HAR files as flows, entry by entry. What an entry lacks stays absent.

Source: HTTP Archive 1.2. mitmproxy reads HAR too, but as a whole, and gives up at the first entry
without a body or a field.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TextIO

from mitmproxy import connection, http

from eas_redirect.captures.har_text import HARError, entries

# The text of a HAR body has been decoded already (HTTP Archive 1.2, content).
_ENTITY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
_GZIP = b"\x1f\x8b"  # RFC 1952 2.3.1; no WBXML begins like this
_WBXML_IN_BASE64 = "AwFqA"  # the header of MS-ASWBXML 2.1.1; no WBXML begins with a letter


def read_har(file: TextIO, progress: Callable[[int], None]) -> Iterator[http.HTTPFlow | HARError]:
    """Each entry as a flow or as what is wrong with it; HARError is raised when nothing follows."""
    for entry in entries(file, progress):
        try:
            yield flow_of(entry)
        except (HARError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            yield HARError(f"an entry of the HAR cannot be read ({type(error).__name__})")


def flow_of(entry: Mapping[str, object]) -> http.HTTPFlow:
    """One entry. Raises when method, address or time are missing; everything else may be."""
    started = datetime.fromisoformat(_string(entry, "startedDateTime")).timestamp()
    took_ms = entry.get("time")
    ended = started + max(0.0, float(took_ms)) / 1000 if isinstance(took_ms, int | float) else None
    sent, answered = _object(entry, "request"), _object(entry, "response")
    client = connection.Client(
        peername=("0.0.0.0", 0),  # noqa: S104 - a HAR does not say
        sockname=("0.0.0.0", 0),  # noqa: S104
        timestamp_start=started,
        id=_string(entry, "connection", "") or str(started),
    )
    flow = http.HTTPFlow(client, connection.Server(address=None))
    flow.request = _request(sent, started)
    flow.response = _response(answered, started, ended)
    return flow


def _request(sent: Mapping[str, object], started: float) -> http.Request:
    request = http.Request.make(_string(sent, "method"), _string(sent, "url"), b"", ())
    request.headers = _headers(sent)
    if "Host" not in request.headers:
        request.headers["Host"] = request.host
    request.raw_content = _text_bytes(_object(sent, "postData"))
    request.timestamp_start = request.timestamp_end = started
    return request


def _response(
    answered: Mapping[str, object], started: float, ended: float | None
) -> http.Response | None:
    """None for a request that was not answered: browsers write status 0."""
    status = answered.get("status")
    if not isinstance(status, int) or not 100 <= status <= 999:
        return None
    response = http.Response.make(status, b"", ())
    content = _object(answered, "content")
    body = _text_bytes(content)
    response.headers = _headers(answered, as_sent=(body or b"").startswith(_GZIP))
    response.raw_content = b"" if body is None and content.get("size") == 0 else body
    response.timestamp_start = response.timestamp_end = ended or started
    return response


def _headers(message: Mapping[str, object], *, as_sent: bool = False) -> http.Headers:
    """`as_sent`: the body stands in the file as it crossed the wire, against the specification."""
    fields = []
    listed = message.get("headers")
    for item in listed if isinstance(listed, list) else []:
        name, value = _string(item, "name"), _string(item, "value", "")
        if not name.startswith(":") and (as_sent or name.lower() not in _ENTITY_HEADERS):
            fields.append((name.encode(), value.encode("utf-8", "surrogateescape")))
    return http.Headers(fields)


def _text_bytes(content: Mapping[str, object]) -> bytes | None:
    """The bytes of a body, also where a tool wrote base64 and forgot to say so."""
    text, encoding = content.get("text"), content.get("encoding")
    if not isinstance(text, str):
        return None
    said = isinstance(encoding, str) and encoding.lower() == "base64"
    if not said and (encoding or not text.startswith(_WBXML_IN_BASE64)):
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None if said else text.encode("utf-8", "replace")


def _object(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _string(value: object, key: str, default: str | None = None) -> str:
    found = value.get(key, default) if isinstance(value, dict) else default
    if not isinstance(found, str):
        raise HARError(f"{key} is missing")
    return found
