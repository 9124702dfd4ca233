"""What mitmproxy's own `hardump` wrote gives back the very bytes."""

import gzip
import json
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.captures.capture import read_flows
from tests.captures.captures import WBXML, eas_flow


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
