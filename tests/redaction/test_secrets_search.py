"""The search behind a redaction: whatever hides a word from the eye does not hide it from here."""

import base64
import gzip
from collections.abc import Callable
from urllib.parse import quote

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.secrets_search import leaks
from tests.test_addon import ntlm_type_3

_NTLM = b"NTLMSSP\0\3\0\0\0" + bytes(range(40))  # whose fields lie nowhere
SECRET = "Wolfeschlegelsteinhausen"


@pytest.fixture
def names() -> Pseudonyms:
    made = Pseudonyms()
    made.name(SECRET)
    return made


def clean() -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request.headers.clear()
    return flow


def body(data: bytes, content_encoding: str | None = None) -> http.HTTPFlow:
    flow = clean()
    assert flow.response is not None
    flow.response.headers.clear()
    if content_encoding is not None:
        flow.response.headers["Content-Encoding"] = content_encoding
    flow.response.raw_content = data
    return flow


def path(text: str) -> http.HTTPFlow:
    flow = clean()
    flow.request.path = text
    return flow


def header(value: str) -> http.HTTPFlow:
    flow = clean()
    flow.request.headers["X-Anything"] = value
    return flow


def comment(text: str) -> http.HTTPFlow:
    flow = clean()
    flow.comment = text
    return flow


def metadata(value: object) -> http.HTTPFlow:
    flow = clean()
    flow.metadata["eas_record"] = value
    return flow


def sni(text: str) -> http.HTTPFlow:
    flow = clean()
    flow.client_conn.sni = text
    return flow


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PLACES: dict[str, tuple[Callable[[], http.HTTPFlow], str]] = {
    "body": (lambda: body(f"Dear {SECRET},".encode()), "body of the answer"),
    "another case": (lambda: body(SECRET.upper().encode()), "body of the answer"),
    "UTF-16": (lambda: body(SECRET.encode("utf-16-le")), "body of the answer"),
    "UTF-16 at the odd byte": (
        lambda: body(b"x" + SECRET.encode("utf-16-le")),
        "body of the answer",
    ),
    "gzip": (
        lambda: body(gzip.compress(SECRET.encode()), content_encoding="gzip"),
        "body of the answer",
    ),
    "path": (lambda: path(f"/x?User={SECRET}"), "request target"),
    "percent-encoded": (
        lambda: path("/x?User=" + "".join(f"%{ord(c):02X}" for c in SECRET)),
        "target",
    ),
    "base64 in the path": (lambda: path("/x?" + quote(b64(f"a {SECRET}".encode()))), "target"),
    "header": (lambda: header(SECRET), "headers of the request"),
    "Basic": (lambda: header("Basic " + b64(f"{SECRET}:pw".encode())), "headers of the request"),
    "NTLM": (lambda: header("NTLM " + ntlm_type_3("CONTOSO", SECRET)), "headers"),
    "URL-safe base64": (
        lambda: header(base64.urlsafe_b64encode(f"\xff\xfe {SECRET}".encode()).decode()),
        "headers",
    ),
    "comment": (lambda: comment(f"asked by {SECRET}"), "notes"),
    "metadata": (lambda: metadata({"user": {"name": [SECRET]}}), "notes"),
    "connection": (lambda: sni(f"{SECRET}.example"), "connections"),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_it_stands_and_not_repeated(place: str, names: Pseudonyms) -> None:
    make, where = PLACES[place]
    found = list(leaks([clean(), make()], names))
    assert found
    for line in found:
        assert line.startswith("flow 2: something is left in the ")
        assert SECRET.lower() not in line.lower()
    assert any(where in line for line in found)


def test_what_was_not_taken_out_is_no_leak(names: Pseudonyms) -> None:
    flows = [
        clean(),
        body(b"Dear Anna,"),
        body(b"broken", content_encoding="gzip"),
        header("Basic !"),
    ]
    assert list(leaks(flows, names)) == []
