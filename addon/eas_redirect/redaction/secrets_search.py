"""Searches flows for what was taken out of them, even behind compression and other encodings."""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from mitmproxy import http

from eas_redirect.activesync.authorization import NTLM_FIXED, NTLM_SIGNATURE
from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.redaction.pseudonyms import Pseudonyms

MAX_INFLATED = 64 * 1024 * 1024  # bytes; above any message size limit of Exchange that is in use
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}")
_PLACES = {
    "request/path": "request target",
    "request/headers": "headers of the request",
    "response/headers": "headers of the answer",
    "request/content": "body of the request",
    "response/content": "body of the answer",
}
_CONNECTIONS = ("client_conn", "server_conn")


def leaks(flows: Iterable[http.HTTPFlow], names: Pseudonyms) -> Iterator[str]:
    """Where something was found again: one sentence each, which does not repeat it. Linear: the
    words of each place are looked up, however many were taken out."""
    for number, flow in enumerate(flows, 1):
        for place, data in _places(flow):
            if any(map(names.taken.holds, _readings(data))):
                yield f"flow {number}: something is left in the {place}"


def _readings(data: bytes) -> Iterator[str]:
    """As text, and as NTLM writes it (UTF-16, at either parity)."""
    yield data.decode("utf-8", "replace")
    if b"\0" in data:
        yield data.decode("utf-16-le", "replace")
        yield data[1:].decode("utf-16-le", "replace")


def _places(flow: http.HTTPFlow) -> Iterator[tuple[str, bytes]]:
    """Everything that mitmproxy writes about a flow, and what is hidden in it."""
    for path, text in _texts(flow.get_state()):
        place = "connections" if path[0] in _CONNECTIONS else _PLACES.get("/".join(path[:2]))
        yield place or "notes", text
        if path[1:2] != ("content",):
            yield from ((place or "notes", hidden) for hidden in _hidden(text))
    yield from _inflated_body("body of the request", flow.request)
    if flow.response is not None:
        yield from _inflated_body("body of the answer", flow.response)


def _inflated_body(place: str, message: http.Message) -> Iterator[tuple[str, bytes]]:
    coding = message.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        with contextlib.suppress(InflateError):
            yield place, inflated(message.raw_content or b"", coding, MAX_INFLATED)


def _texts(state: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """The texts in a mitmproxy state, each with its place, without the field names."""
    match state:
        case str():
            yield path, state.encode("utf-8", "surrogatepass")
        case bytes():
            yield path, state
        case dict():
            for key, value in state.items():
                yield from _texts(value, (*path, str(key)))
        case list() | tuple():
            for value in state:
                yield from _texts(value, path)


def _hidden(data: bytes) -> Iterator[bytes]:
    """Behind percent-encoding and base64, and in the fields of an NTLM logon, which follow one
    another without a gap (MS-NLMP 2.2.1.3)."""
    for text in _decoded(data):
        yield text
        if text.startswith(NTLM_SIGNATURE):
            yield from _ntlm_fields(text)


def _ntlm_fields(message: bytes) -> Iterator[bytes]:
    """Where they are, by the lengths and offsets at the front."""
    for at in range(len(NTLM_SIGNATURE) + 4, min(len(message), NTLM_FIXED), 8):
        length = int.from_bytes(message[at : at + 2], "little")
        start = int.from_bytes(message[at + 4 : at + 8], "little")
        yield message[start : start + length]


def _decoded(data: bytes) -> Iterator[bytes]:
    plain = unquote_to_bytes(data)
    if plain != data:
        yield plain
    for found in _BASE64.findall(plain):
        with contextlib.suppress(binascii.Error):
            yield base64.b64decode(found.rstrip(b"=") + b"==", altchars=b"-_")
        with contextlib.suppress(binascii.Error):
            yield base64.b64decode(found.rstrip(b"=") + b"==")
