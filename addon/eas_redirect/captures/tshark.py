"""What tshark exports of a capture as flows: `tshark -T json -x --no-duplicate-keys -j "frame tcp
http"`, one packet with HTTP after the other.

The `_raw` fields hold the bodies, reassembled, dechunked and decompressed. An answer belongs to the
oldest request of its TCP stream that has none (RFC 9112 9.3.2).
"""

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TextIO

from mitmproxy import http

from eas_redirect.captures.har import HARError, flow_of, items

MAX_WAITING = 10_000  # requests without an answer that are remembered
WRITE_IT = (
    'write it with tshark -T json -x --no-duplicate-keys -j "frame tcp http" -Y http, and the keys'
    " of TLS"
)
_HOW = f"the file is no export of tshark with HTTP in it: {WRITE_IT}"
_LOST = f"this export of tshark lacks headers or bodies: {WRITE_IT}"

type JSON = Mapping[str, object]
type TsharkMessage = dict[str, object]


def read_tshark(
    file: TextIO, progress: Callable[[int], None]
) -> Iterator[http.HTTPFlow | HARError]:
    """Each exchange as a flow, or as what is wrong with it. Raises HARError if nothing more can
    be read."""
    waiting: deque[tuple[str, TsharkMessage]] = deque()
    found = False
    for packet in items(file, progress):
        for stream, time_s, message in _messages(packet):
            found = True
            if message.pop("lost"):
                raise HARError(_LOST)
            if "method" in message:
                waiting.append((stream, _entry(time_s, message)))
                if len(waiting) > MAX_WAITING:
                    yield _flow(waiting.popleft()[1])
                continue
            if str(message["status"]).startswith("1"):  # 100 Continue: the answer comes later
                continue
            asked = next((one for one in waiting if one[0] == stream), None)
            if asked is not None:
                waiting.remove(asked)
                yield _flow(_answered(asked[1], time_s, message))
    if not found:
        raise HARError(_HOW)
    for _, entry in waiting:
        yield _flow(entry)


def _messages(packet: JSON) -> Iterator[tuple[str, float, TsharkMessage]]:
    """TCP stream, Unix time and HTTP message (in HAR form) for each message in a packet."""
    layers = _object(_object(packet, "_source"), "layers")
    stream = str(_object(layers, "tcp").get("tcp.stream"))
    try:
        time_s = float(str(_object(layers, "frame").get("frame.time_epoch")))
    except ValueError:
        return
    of_http = layers.get("http")
    for layer in of_http if isinstance(of_http, list) else [of_http]:
        if isinstance(layer, dict) and (message := _message(layer)) is not None:
            yield stream, time_s, message


def _message(layer: JSON) -> TsharkMessage | None:
    """None without a first line and a head, for example for a body alone."""
    first = next(iter(layer), "").removesuffix("\\r\\n").split(" ")
    raw = layer.get("http.file_data_raw")
    body = str(raw[0]) if isinstance(raw, list) and raw else ""
    try:
        data = bytes.fromhex(body)
    except ValueError:
        return None
    if "http.request.full_uri" in layer:
        headers = _headers(layer, "http.request.line")
        address = layer["http.request.full_uri"]
        said = {"method": first[0], "url": address, "headers": headers, "body": data}
        return {**said, "lost": _has_lost(layer, "http.request.line")}
    if first[0].startswith("HTTP/") and len(first) > 1:
        headers = _headers(layer, "http.response.line")
        said = {"status": first[1], "headers": headers, "body": data}
        return {**said, "lost": _has_lost(layer, "http.response.line")}
    return None


def _has_lost(layer: JSON, lines: str) -> bool:
    """Whether a body is there as text only (without -x), or of equal keys only the last one stands
    in the file (without --no-duplicate-keys): the one line is not the Host that there is."""
    only, host = layer.get(lines), layer.get("http.host")
    kept_one = (
        isinstance(only, str) and isinstance(host, str) and not only.lower().startswith("host")
    )
    return kept_one or ("http.file_data" in layer and "http.file_data_raw" not in layer)


def _headers(layer: JSON, key: str) -> list[dict[str, str]]:
    lines = layer.get(key)
    split = (
        str(line).rstrip("\r\n").partition(":")
        for line in (lines if isinstance(lines, list) else [lines])
        if line
    )
    return [{"name": name, "value": value.strip()} for name, _, value in split]


def _entry(time_s: float, message: TsharkMessage) -> TsharkMessage:
    started = datetime.fromtimestamp(time_s, UTC).isoformat()
    sent = {**message, "postData": _content(message)}
    return {"startedDateTime": started, "request": sent, "began": time_s}


def _answered(entry: TsharkMessage, time_s: float, message: TsharkMessage) -> TsharkMessage:
    began = entry["began"]
    assert isinstance(began, float)  # noqa: S101 - ours
    took_ms = (time_s - began) * 1000
    return {**entry, "time": took_ms, "response": {**message, "content": _content(message)}}


def _content(message: TsharkMessage) -> TsharkMessage:
    data = message.pop("body")
    assert isinstance(data, bytes)  # noqa: S101 - ours
    return {"size": len(data), "encoding": "base64", "text": b64encode(data).decode()}


def _flow(entry: TsharkMessage) -> http.HTTPFlow | HARError:
    try:
        return flow_of(entry)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        return HARError(f"an exchange of the export cannot be read ({type(error).__name__})")


def _object(value: JSON, key: str) -> JSON:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
