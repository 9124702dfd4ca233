"""What mitmproxy's own `hardump` wrote gives back the very bytes."""

import base64
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.captures.capture import read_flows
from eas_redirect.captures.har import HARWriter, flow_of, read_har
from tests.captures.captures import START, WBXML, eas_flow, har_entry


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize(
    "data",
    [
        b"only ASCII " * 20,
        "Grüße 🎂 ".encode() * 9,
        "Grüße ".encode("latin-1") * 9,
        bytes(range(256)),
        b"\xff\xfe\x80 and a long text " * 50,
    ],
)
def test_bodies_are_the_very_bytes(data: bytes, coding: str, tmp_path: Path) -> None:
    body = write(Document(element(0, "Sync", element(17, "Data", data))))
    flow = eas_flow(0, "Sync", body=body, sent=body, asked={"Content-Type": WBXML})
    assert flow.response is not None
    if coding == "gzip":
        flow.response.raw_content = gzip.compress(body)
        flow.response.headers["Content-Encoding"] = "gzip"
    path = tmp_path / "dump.har"
    path.write_text(json.dumps(SaveHar().make_har([flow])))
    [found] = read_flows(path)
    assert isinstance(found, http.HTTPFlow)
    assert found.response is not None
    assert found.response.content == body
    assert found.request.raw_content == body


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    bodies = (b"", None, b"plain", b"AwFqAAAA", b"\x03\x01j\0E", bytes(range(256)), "é".encode())
    flows = [eas_flow(n, body=body, sent=body or b"") for n, body in enumerate(bodies)]
    packed = eas_flow(50, body=b"", headers={"Content-Encoding": "gzip"})
    assert packed.response is not None
    packed.response.raw_content = gzip.compress(bodies[-2] or b"")
    flows += [packed, eas_flow(60, None, code=403), eas_flow(70, code=None, waited=3.0)]
    with (tmp_path / "written.har").open("wb") as file:
        writer = HARWriter(file)
        for flow in flows:
            writer.add(flow)
        writer.end()
    with (tmp_path / "written.har").open(encoding="utf-8") as text:
        read = list(read_har(text, lambda _: None))
    for wrote, got in zip(flows, read, strict=True):
        assert isinstance(got, http.HTTPFlow)
        assert got.request.url == wrote.request.url
        if wrote.request.method == "POST":
            assert got.request.raw_content == wrote.request.raw_content
        assert got.request.timestamp_start == pytest.approx(wrote.request.timestamp_start)
        if wrote.response is None:
            assert got.response is None
            assert got.error is not None
            assert wrote.error is not None
            assert got.error.msg == wrote.error.msg
            assert got.error.timestamp == pytest.approx(wrote.error.timestamp)
        else:
            assert got.response is not None
            assert got.response.status_code == wrote.response.status_code
            assert got.response.content == wrote.response.content


@pytest.mark.parametrize(
    ("content", "size", "body"),
    [
        ({"size": 0}, 0, b""),
        ({"size": 0, "text": ""}, -1, b""),
        ({"size": 0}, 15, None),
        ({"size": 0, "text": ""}, 15, None),
        ({"size": 15, "text": ""}, -1, None),
        ({}, -1, None),
    ],
)
def test_what_a_tool_could_not_get_is_missing_and_not_empty(
    content: dict[str, object], size: int, body: bytes | None
) -> None:
    entry = har_entry(eas_flow(0))
    entry["response"] = {"status": 200, "headers": [], "content": content, "bodySize": size}
    response = flow_of(entry).response
    assert response is not None
    assert response.raw_content == body


def har_of(flow: http.HTTPFlow, change: Callable[[dict[str, Any]], object]) -> str:
    entry: dict[str, Any] = har_entry(flow)
    change(entry)
    return json.dumps({"log": {"entries": [entry]}})


def read_one(tmp_path: Path, text: str) -> http.HTTPFlow:
    path = tmp_path / "one.har"
    path.write_text(text, encoding="utf-8")
    [found] = read_flows(path)
    assert isinstance(found, http.HTTPFlow)
    return found


def test_what_a_device_sent_where_http_toolkit_keeps_it(tmp_path: Path) -> None:
    sent = write(Document(element(13, "Ping", element(13, "HeartbeatInterval", "900"))))
    content = {"text": base64.b64encode(sent).decode(), "size": len(sent), "encoding": "base64"}
    extended = {"_requestBodyStatus": "discarded:not-representable", "_content": content}
    text = har_of(eas_flow(0, "Ping"), lambda entry: entry["request"].update(extended))
    assert read_one(tmp_path, text).request.raw_content == sent


@pytest.mark.parametrize("zone_h", [0, -5, 5.5, 13])
def test_a_time_without_its_zone_is_told_by_the_answer(zone_h: float, tmp_path: Path) -> None:
    date = format_datetime(datetime.fromtimestamp(START + 40.5, UTC), usegmt=True)
    local = datetime.fromtimestamp(START + zone_h * 3600, UTC).replace(tzinfo=None).isoformat()
    flow = eas_flow(0, headers={"Date": date})
    text = har_of(flow, lambda entry: entry.update(startedDateTime=local))
    assert read_one(tmp_path, text).request.timestamp_start == START


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"_error": "net::ERR_CONTENT_LENGTH_MISMATCH"}, 200, "net::ERR_CONTENT_LENGTH_MISMATCH"),
        ({"_error": ""}, 200, None),
        ({"_charlesStatus": "COMPLETE"}, 200, None),
        ({"_charlesStatus": "EXCEPTION"}, 200, "the connection was lost"),
        ({"_charlesStatus": "EXCEPTION", "headers": []}, None, "the connection was lost"),
    ],
)
def test_an_answer_that_broke_off(
    change: dict[str, object], status: int | None, error: str | None, tmp_path: Path
) -> None:
    text = har_of(eas_flow(0), lambda entry: entry["response"].update(change))
    found = read_one(tmp_path, text)
    assert (found.response and found.response.status_code) == status
    assert (found.error and found.error.msg) == error
