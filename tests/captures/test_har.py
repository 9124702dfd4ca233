"""What mitmproxy's own `hardump` wrote gives back the very bytes."""

import gzip
import json
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.captures.capture import read_flows
from eas_redirect.captures.har import HARWriter, flow_of, read_har
from tests.captures.captures import WBXML, eas_flow, har_entry


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
