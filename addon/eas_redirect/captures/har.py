"""HAR files as flows, entry by entry, and flows as a HAR. What an entry lacks stays absent.

Source: HTTP Archive 1.2. mitmproxy reads HAR too, but as a whole, and gives up at the first entry
without a body or a field.

Binary bodies belong in base64. Many tools write them as text: one character per byte, or decoded as
UTF-8, with U+FFFD in place of invalid bytes. `size` tells which. A body that cannot be restored
counts as missing: then the capture is at fault, not Exchange.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import BinaryIO, TextIO

from mitmproxy import connection, http
from mitmproxy import flow as mitmproxy_flow

from eas_redirect import __version__
from eas_redirect.activesync.wbxml import WBXMLError, parse

# The entries of a HAR file one by one, in bounded memory.

CHUNK = 1 << 20  # characters read at a time
MAX_ENTRY = 256 << 20  # characters of one entry; Exchange's largest message in base64, twice


class HARError(ValueError):
    """One sentence about a file or an entry."""


def entries(file: TextIO, progress: Callable[[int], None]) -> Iterator[Mapping[str, object]]:
    """The objects in `log.entries`; raises HARError if nothing more can be read."""
    window = _Window(file, progress)
    found = window.enter("{") and window.member("log", "entries")
    if found == "log":
        found = window.enter("{") and window.member("entries")
    if not found:
        raise HARError("the file is no HAR: it has no entries")
    yield from _items(window, "the file is no HAR: it has no entries")


def items(file: TextIO, progress: Callable[[int], None]) -> Iterator[Mapping[str, object]]:
    """Like `entries`, for a file that is one list of objects."""
    yield from _items(_Window(file, progress), "the file is no list")


def _items(window: "_Window", otherwise: str) -> Iterator[Mapping[str, object]]:
    if not window.enter("["):
        raise HARError(otherwise)
    while (first := window.next_sign(",")) != "]":
        if first != "{":
            raise HARError("the HAR is cut short or damaged")
        entry = window.take()
        yield entry if isinstance(entry, dict) else {}


class _Window:
    """The part of the file in memory; it grows only until a value is complete."""

    def __init__(self, file: TextIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def enter(self, bracket: str) -> bool:
        if self.next_sign() != bracket:
            return False
        self._at += 1
        return True

    def member(self, *wanted: str) -> str | None:
        """Inside an object: skip to the value of one of these keys."""
        while self.next_sign(",") == '"':
            key = self.take()
            if not self.enter(":"):
                return None
            if key in wanted:
                return str(key)
            self.next_sign()
            self.take()
        return None

    def next_sign(self, separators: str = "") -> str:
        """The next character that is neither white space nor a separator; "" at the end."""
        skipped = " \t\r\n" + separators
        while True:
            while self._at < len(self._text) and self._text[self._at] in skipped:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self) -> object:
        """The value that begins here. Reading twice as much after each failed attempt keeps the
        work linear."""
        wanted = CHUNK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise HARError("the HAR is nested too deeply") from None
            except ValueError:
                if len(self._text) - self._at > MAX_ENTRY or not self._more(wanted):
                    raise HARError("the HAR is cut short or damaged") from None
                wanted *= 2
            else:
                # A number may go on where the window ends.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return found

    def _more(self, count: int = CHUNK) -> bool:
        read = self._file.read(count)
        if read:
            self._text = self._text[self._at :] + read
            self._at = 0
        self._progress(len(read))
        return bool(read)


# The text of a HAR body has been decoded already (HTTP Archive 1.2, content).
_ENTITY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
_GZIP = b"\x1f\x8b"  # RFC 1952 2.3.1; no WBXML begins like this
_WBXML = "\x03\x01j"  # the header of MS-ASWBXML 2.1.1
_ZONE_S = 900
_DAMAGED = (
    "bodies of the HAR are not as they crossed the wire: text stands in place of their bytes."
    " Export it with bodies in base64, or capture with mitmdump -w"
)
_WBXML_IN_BASE64 = "AwFqA"  # the header of MS-ASWBXML 2.1.1; no WBXML begins with a letter


def read_har(file: TextIO, progress: Callable[[int], None]) -> Iterator[http.HTTPFlow | HARError]:
    """Each entry as a flow, or as what is wrong with it. Raises HARError if nothing more can be
    read."""
    told = False
    for entry in entries(file, progress):
        try:
            flow = flow_of(entry)
            if not told and _is_damaged(flow, entry):
                told = True
                yield HARError(_DAMAGED)
            yield flow
        except (HARError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            yield HARError(f"an entry of the HAR cannot be read ({type(error).__name__})")


def flow_of(entry: Mapping[str, object]) -> http.HTTPFlow:
    """One entry. Raises if method, address or time are missing; everything else may be."""
    started = _started(entry)
    took_ms = _number(entry.get("time"))
    ended = None if took_ms is None else started + max(0.0, took_ms) / 1000
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
    said = _broken_off(entry, answered)
    if said is not None or (flow.response is None and ended is not None):
        flow.error = mitmproxy_flow.Error(said or "", started if ended is None else ended)
    return flow


def _started(entry: Mapping[str, object]) -> float:
    """Some tools write milliseconds since 1970, some a time without its zone. Then the answer's
    Date tells the zone: zones differ by quarters of an hour."""
    if (number := _number(entry.get("startedDateTime"))) is not None:
        return number / 1000
    read = datetime.fromisoformat(_string(entry, "startedDateTime"))
    if read.tzinfo is not None:
        return read.timestamp()
    started = read.replace(tzinfo=UTC).timestamp()
    headers = _headers(_object(entry, "response"))
    try:
        date = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return started
    took_ms = _number(entry.get("time")) or 0.0
    return started + round((date - started - took_ms / 1000) / _ZONE_S) * _ZONE_S


def _broken_off(entry: Mapping[str, object], answered: Mapping[str, object]) -> str | None:
    """What went wrong, if the file says that the exchange did not end: as browsers write it, or
    Charles, whose status stays at what had been sent."""
    said = answered.get("_error") or entry.get("_error")
    if isinstance(said, str) and said:
        return said
    state = answered.get("_charlesStatus")
    broken = isinstance(state, str) and state.upper() not in ("", "COMPLETE")
    return "the connection was lost" if broken else None


def _is_damaged(flow: http.HTTPFlow, entry: Mapping[str, object]) -> bool:
    """Whether the file holds a body that could not be restored."""
    sent, answered = _object(entry, "request"), _object(entry, "response")
    asked, told = _sent(sent).get("text"), _object(answered, "content").get("text")
    lost = isinstance(told, str) and flow.response is not None and flow.response.raw_content is None
    return lost or (isinstance(asked, str) and flow.request.raw_content is None)


def _request(sent: Mapping[str, object], started: float) -> http.Request:
    request = http.Request.make(_string(sent, "method"), _string(sent, "url"), b"", ())
    request.headers = _headers(sent)
    if "Host" not in request.headers:
        request.headers["Host"] = request.host
    request.raw_content = _body(_sent(sent), sent, request.headers)
    request.timestamp_start = request.timestamp_end = started
    return request


def _sent(sent: Mapping[str, object]) -> Mapping[str, object]:
    """The body of a request. The format has no base64 here; HTTP Toolkit writes `_content`."""
    content = _object(sent, "_content")
    return content if "text" in content else _object(sent, "postData")


def _response(
    answered: Mapping[str, object], started: float, ended: float | None
) -> http.Response | None:
    """None for a request without an answer: browsers write status 0."""
    status = _number(answered.get("status"))
    if status is None or not 100 <= status <= 999:
        return None
    if _broken_off({}, answered) is not None and not answered.get("headers"):
        return None  # not even its head has come
    response = http.Response.make(int(status), b"", ())
    content = _object(answered, "content")
    body = _body(content, answered, _headers(answered, as_sent=True))
    response.headers = _headers(answered, as_sent=(body or b"").startswith(_GZIP))
    if not body:  # what cannot be had is often written as empty
        empty = body == b"" or content.get("size") == 0
        lost = _size(content, answered, _headers(answered, as_sent=True)) is not None
        body = b"" if empty and not lost else None
    response.raw_content = body
    response.timestamp_start = response.timestamp_end = ended or started
    return response


def _headers(message: Mapping[str, object], *, as_sent: bool = False) -> http.Headers:
    """`as_sent`: the file holds the body as it crossed the wire, against the specification. Some
    tools write an object of names and values instead of the list."""
    fields = []
    listed = message.get("headers")
    if isinstance(listed, dict):
        listed = [{"name": name, "value": value} for name, value in listed.items()]
    for item in listed if isinstance(listed, list) else []:
        name, value = (item.get("name"), item.get("value")) if isinstance(item, dict) else (0, 0)
        if not isinstance(name, str) or name.startswith((":", " ")) or not name:
            continue  # of HTTP/2 (RFC 9113 8.3), or none
        if as_sent or name.lower() not in _ENTITY_HEADERS:
            text = "" if value is None else str(value)
            fields.append((name.encode(), text.encode("utf-8", "surrogateescape")))
    return http.Headers(fields)


def _body(
    content: Mapping[str, object], message: Mapping[str, object], headers: http.Headers
) -> bytes | None:
    """The bytes of a body, even if a tool wrote base64 without saying so. None: missing."""
    text, encoding = content.get("text"), content.get("encoding")
    if not isinstance(text, str):
        return None
    said = isinstance(encoding, str) and encoding.lower() == "base64"
    if said or text.startswith(_WBXML_IN_BASE64):
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            if said:
                return None
    kind = str(content.get("mimeType") or headers.get("Content-Type", ""))
    if not text.startswith(_WBXML) and "ms-sync" not in kind and "wbxml" not in kind:
        return _utf8(text)
    return _bytes_of_text(text, _size(content, message, headers))


def _size(
    content: Mapping[str, object], message: Mapping[str, object], headers: http.Headers
) -> int | None:
    """How many bytes a body had; -1 and 0 mean that it is not known."""
    said = (
        _number(content.get("size")),
        None if "Content-Encoding" in headers else _number(message.get("bodySize")),
        None if "Content-Encoding" in headers else _number(headers.get("Content-Length")),
    )
    return next((int(size) for size in said if size is not None and size > 0), None)


def _bytes_of_text(text: str, size: int | None) -> bytes | None:
    """WBXML that was written as text: restored by its size, or else by what parses. None: lost."""
    ways = [_utf8(text)]
    if any("\udc80" <= c <= "\udcff" for c in text):
        return ways[0]
    if text.isascii():
        if size is None or size == len(text):
            return ways[0]
    elif max(text) <= "\xff":
        ways.insert(0, text.encode("latin-1"))
    fitting = [way for way in ways if len(way) == size]
    if fitting:
        return fitting[0]
    if "\ufffd" in text:
        return None
    return next((way for way in ways if _is_whole(way)), None)


def _utf8(text: str) -> bytes:
    """mitmproxy writes bytes that are not UTF-8 as lone surrogates (PEP 383)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _is_whole(data: bytes) -> bool:
    try:
        parse(data)
    except WBXMLError:
        return False
    return True


def _number(value: object) -> float | None:
    """A number, even if a tool wrote it as text or as a fraction."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return value


def _object(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _string(value: object, key: str, default: str | None = None) -> str:
    found = value.get(key, default) if isinstance(value, dict) else default
    if not isinstance(found, str):
        raise HARError(f"{key} is missing")
    return found


class HARWriter:
    """Writes a HAR that `read_har` reads as the same exchanges, one entry at a time.

    The format has no place for the client's address and for the journal record of a flow.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._between = b"\n"
        head = {"version": "1.2", "creator": {"name": "eas-redirect", "version": __version__}}
        self._file.write(b'{"log": ' + json.dumps(head).encode()[:-1] + b', "entries": [')

    def add(self, flow: http.HTTPFlow) -> None:
        self._file.write(self._between + json.dumps(read_har_entry(flow)).encode())
        self._between = b",\n"

    def end(self) -> None:
        self._file.write(b"\n]}}\n")


def read_har_entry(flow: http.HTTPFlow) -> dict[str, object]:
    """What `flow_of` reads. Bodies are written without their Content-Encoding, as browsers do."""
    request, response = flow.request, flow.response
    started = request.timestamp_start
    wait_ms, receive_ms = _times_ms(flow)
    entry: dict[str, object] = {
        "startedDateTime": datetime.fromtimestamp(started, UTC).isoformat(),
        "time": None if wait_ms is None else wait_ms + receive_ms,
        "connection": flow.client_conn.id,
        "request": {
            "method": request.method,
            "url": request.url,
            "httpVersion": request.http_version,
            "cookies": [],
            "headers": _listed(request.headers),
            "queryString": [{"name": n, "value": v} for n, v in request.query.items(multi=True)],
            "headersSize": -1,
            "bodySize": _length(request.raw_content),
            **({"postData": _content(request)} if _may_have_body(request) else {}),
        },
        "response": {"status": 0, "statusText": "", "headers": [], "content": {}},
        "cache": {},
        "timings": {"send": 0, "wait": wait_ms or 0, "receive": receive_ms},
    }
    if response is not None:
        entry["response"] = {
            "status": response.status_code,
            "statusText": response.reason,
            "httpVersion": response.http_version,
            "cookies": [],
            "headers": _listed(response.headers),
            "content": _content(response),
            "redirectURL": response.headers.get("Location", ""),
            "headersSize": -1,
            "bodySize": _length(response.raw_content),
        }
    if flow.error is not None:
        entry["response"] = {**_object(entry, "response"), "_error": flow.error.msg}
    if flow.comment:
        entry["comment"] = flow.comment
    return entry


def _may_have_body(request: http.Request) -> bool:
    """A POST without one says so; a body that was not kept is absent."""
    body = request.raw_content
    return bool(body) or (body is not None and request.method == "POST")


def _times_ms(flow: http.HTTPFlow) -> tuple[float | None, float]:
    """Until the answer or the error, and from its beginning to its end."""
    started, response = flow.request.timestamp_start, flow.response
    if response is not None:
        ended = response.timestamp_end or response.timestamp_start
        began = 1000 * max(0.0, response.timestamp_start - started)
        return began, 1000 * max(0.0, ended - response.timestamp_start)
    if flow.error is not None:
        return 1000 * max(0.0, flow.error.timestamp - started), 0.0
    return None, 0.0


def _listed(headers: http.Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers.items(multi=True)]


def _length(body: bytes | None) -> int:
    return -1 if body is None else len(body)


def _content(message: http.Message) -> dict[str, object]:
    """Text where the body is ASCII, else base64."""
    kind = message.headers.get("Content-Type", "")
    if message.raw_content is None:
        return {"size": -1, "mimeType": kind}
    body = message.get_content(strict=False) or b""
    content = {"size": len(body), "mimeType": kind}
    if body.isascii() and not body.startswith((_WBXML.encode(), _WBXML_IN_BASE64.encode())):
        return {**content, "text": body.decode("ascii")}
    return {**content, "text": base64.b64encode(body).decode("ascii"), "encoding": "base64"}
