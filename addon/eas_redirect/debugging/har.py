"""HAR files as flows, entry by entry in bounded memory. What an entry lacks stays absent.

Source: HTTP Archive 1.2. mitmproxy reads HAR too, but as a whole, and gives up at the first entry
without a body or a field.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TextIO

from mitmproxy import connection, http

CHUNK = 1 << 20  # characters read at a time
MAX_ENTRY = 256 << 20  # characters of one entry; Exchange's largest message in base64, twice

# The text of a HAR body has been decoded already (HTTP Archive 1.2, content).
_ENTITY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")


class HARError(ValueError):
    """One sentence about a file or an entry."""


def read_har(file: TextIO, progress: Callable[[int], None]) -> Iterator[http.HTTPFlow | HARError]:
    """Each entry as a flow or as what is wrong with it; HARError is raised when nothing follows."""
    for entry in _entries(file, progress):
        try:
            yield flow_of(entry)
        except (HARError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            yield HARError(f"an entry of the HAR cannot be read ({type(error).__name__})")


def _entries(file: TextIO, progress: Callable[[int], None]) -> Iterator[Mapping[str, object]]:
    """The objects of `log.entries`, decoded one by one."""
    window = _Window(file, progress)
    if not window.skip_past('"entries"') or not window.skip_past("["):
        raise HARError("the file is no HAR: it has no entries")
    decoder = json.JSONDecoder()
    while (first := window.next_sign(",")) != "]":
        if first != "{":
            raise HARError("the HAR is cut short or damaged")
        yield window.take_object(decoder)


class _Window:
    """The part of the file that is looked at; grows only until an entry is whole."""

    def __init__(self, file: TextIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._text = ""
        self._at = 0

    def skip_past(self, word: str) -> bool:
        while (found := self._text.find(word, self._at)) < 0:
            self._at = max(self._at, len(self._text) - len(word))
            if not self._more():
                return False
        self._at = found + len(word)
        return True

    def next_sign(self, separators: str) -> str:
        """The next character that is neither white space nor a separator; "" at the end."""
        skipped = " \t\r\n" + separators
        while True:
            while self._at < len(self._text) and self._text[self._at] in skipped:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take_object(self, decoder: json.JSONDecoder) -> Mapping[str, object]:
        """Reading twice as much after each failed try keeps the work linear."""
        wanted = CHUNK
        while True:
            try:
                found, self._at = decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise HARError("the HAR is nested too deeply") from None
            except ValueError:
                if len(self._text) - self._at > MAX_ENTRY or not self._more(wanted):
                    raise HARError("the HAR is cut short or damaged") from None
                wanted *= 2
            else:
                return found if isinstance(found, dict) else {}

    def _more(self, count: int = CHUNK) -> bool:
        read = self._file.read(count)
        self._text = self._text[self._at :] + read
        self._at = 0
        self._progress(len(read))
        return bool(read)


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
    response.headers = _headers(answered)
    content = _object(answered, "content")
    response.raw_content = _text_bytes(content)
    if response.raw_content is None and content.get("size") in (0, None, -1):
        response.raw_content = b"" if content.get("size") == 0 else None
    response.timestamp_start = response.timestamp_end = ended or started
    return response


def _headers(message: Mapping[str, object]) -> http.Headers:
    fields = []
    listed = message.get("headers")
    for item in listed if isinstance(listed, list) else []:
        name, value = _string(item, "name"), _string(item, "value", "")
        if name.lower() not in _ENTITY_HEADERS and not name.startswith(":"):
            fields.append((name.encode(), value.encode("utf-8", "surrogateescape")))
    return http.Headers(fields)


def _text_bytes(content: Mapping[str, object]) -> bytes | None:
    text = content.get("text")
    if not isinstance(text, str):
        return None
    if content.get("encoding") != "base64":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _object(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _string(value: object, key: str, default: str | None = None) -> str:
    found = value.get(key, default) if isinstance(value, dict) else default
    if not isinstance(found, str):
        raise HARError(f"{key} is missing")
    return found
