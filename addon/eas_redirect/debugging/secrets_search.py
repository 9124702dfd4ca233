"""Searches flows for what was taken out of them, also behind compression and base64."""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator

from mitmproxy import http

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.query import COMMAND_CODES
from eas_redirect.debugging.pseudonyms import Pseudonyms, all_runs

# What every capture says: a user may be named as a command is.
_VOCABULARY = frozenset(
    {name.casefold() for tags in TAGS.values() for name in tags.values()}
    | {name.casefold() for name in COMMAND_CODES.values()}
    | {"microsoft server activesync", "userhasnomailbox"}
)
MAX_INFLATED = 64 * 1024 * 1024  # bytes; above any message size limit of Exchange that is in use
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}")


def leaks(flows: Iterable[http.HTTPFlow], names: Pseudonyms) -> Iterator[str]:
    """Where something was found again: a sentence each, which does not repeat it.

    Linear: the words of each place are looked up, however many were taken out.
    """
    wanted = names.taken - names.kept - _VOCABULARY
    for number, flow in enumerate(flows, 1):
        for place, data in _places(flow):
            if any(not wanted.isdisjoint(all_runs(text)) for text in _readings(data)):
                yield f"flow {number}: something is left in the {place}"


def _readings(data: bytes) -> Iterator[str]:
    """As text, and as NTLM writes it (UTF-16, at either parity)."""
    yield data.decode("utf-8", "replace")
    if b"\0" in data:
        yield data.decode("utf-16-le", "replace")
        yield data[1:].decode("utf-16-le", "replace")


def _places(flow: http.HTTPFlow) -> Iterator[tuple[str, bytes]]:
    yield "request target", flow.request.data.path
    for connection in (flow.client_conn, flow.server_conn):
        yield from (("connections", text) for text in _texts(connection.get_state()))
    notes = (flow.comment, flow.error.msg if flow.error else "", flow.metadata)
    yield from (("notes", text) for text in _texts(notes))
    yield from _decoded("request target", flow.request.data.path)
    for name, message in (("request", flow.request), ("answer", flow.response)):
        if message is None:
            continue
        for _, value in message.headers.fields:
            yield f"headers of the {name}", value
            yield from _decoded(f"headers of the {name}", value)
        body = message.raw_content or b""
        yield f"body of the {name}", body
        coding = message.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity"):
            with contextlib.suppress(InflateError):
                yield f"body of the {name}", inflated(body, coding, MAX_INFLATED)


def _texts(state: object) -> Iterator[bytes]:
    """The texts in a state of mitmproxy, without the names of its fields."""
    match state:
        case str():
            yield state.encode("utf-8", "replace")
        case bytes():
            yield state
        case dict():
            for value in state.values():
                yield from _texts(value)
        case list() | tuple():
            for value in state:
                yield from _texts(value)


def _decoded(place: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    for found in _BASE64.findall(data):
        with contextlib.suppress(binascii.Error):
            yield place, base64.b64decode(found.rstrip(b"=") + b"==", altchars=b"-_")
