"""Targets of captured traffic: the EAS view and what a person edits in it."""

import struct
from functools import cache

from mitmproxy import http
from mitmproxy.contentviews import Metadata
from mitmproxy.test import tflow

from eas_redirect.activesync.multipart import MULTIPART
from eas_redirect.activesync.wbxml import WBXML_TYPE, WBXMLError, parse, parse_partly, write
from eas_redirect.view.contentview import WBXMLContentview
from eas_redirect.view.xml_text import XMLText, document_from_xml
from tests.fuzz.target import target
from tests.fuzz.targets_activesync import HEADER, TARGET_TOKENS, WBXML_TOKENS, vectors

VIEW = WBXMLContentview()
BASIC = b"Basic YW5uYTpodW50ZXIy"


def multipart(*parts: bytes) -> bytes:
    """An answer of MS-ASCMD 2.2.2.10.1."""
    places, start = [], 4 + 8 * len(parts)
    for part in parts:
        places += [start, len(part)]
        start += len(part)
    return struct.pack(f"<{1 + len(places)}I", len(parts), *places) + b"".join(parts)


def bodies() -> list[bytes]:
    freezing = HEADER + b"\x45\x4b\x03abc"  # what mitmproxy's own view does not end on
    return [freezing, multipart(vectors()[0], b"an attachment"), *vectors()]


@target(seeds=bodies, tokens=WBXML_TOKENS, per_byte_us=10, per_byte=4096)
def fuzz_view(data: bytes) -> None:
    """Any body is shown as text, of whatever type it claims to be; what was not edited gives the
    very bytes it came from."""
    for content_type in (WBXML_TYPE, MULTIPART):
        metadata = Metadata(content_type=content_type, original_data=data)
        text = VIEW.prettify(data, metadata)
        text.encode("utf-8")
        assert VIEW.reencode(text, metadata) == data


@cache
def _flow() -> http.HTTPFlow:
    return tflow.tflow(resp=True)


def heads() -> list[bytes]:
    target_ = b"/Microsoft-Server-ActiveSync?Cmd=Sync&User=anna&DeviceId=D1&DeviceType=Phone"
    return [b"\n".join((target_, BASIC, b"14.1", b"Phone/1.0"))]


@target(seeds=heads, tokens=(*TARGET_TOKENS, b"-->", b"--", b"Bearer ", b"\xff"))
def fuzz_view_summary(data: bytes) -> None:
    """Whatever the head of a request says, the comments above a body stay comments; they never
    hold the password."""
    flow = _flow()
    target_, authorization, version, agent = (data.split(b"\n", 3) + [b""] * 4)[:4]
    flow.request.data.path = target_
    flow.request.data.headers = http.Headers(
        [
            (b"Authorization", authorization),
            (b"MS-ASProtocolVersion", version),
            (b"User-Agent", agent),
        ]
    )
    text = VIEW.prettify(b"", Metadata(flow=flow, http_message=flow.request))
    for line in text.splitlines():
        assert line.startswith("<!-- ")
        assert line.endswith(" -->")
        assert "--" not in line[4:-3]
    assert authorization != BASIC or "hunter2" not in text


def xml_texts() -> list[bytes]:
    documents = (parse_partly(data)[0] for data in vectors())
    return ["\n".join(XMLText(found).lines()).encode() for found in documents if found]


XML_TOKENS = (b"<!DOCTYPE a>", b"<?wbxml ", b' strings="', b"<Status>", b"&#0;", b"<wbxml:opaque>")


@target(seeds=xml_texts, tokens=(*XML_TOKENS, b"<a>" * 2000, b"9" * 5000), per_byte=4096)
def fuzz_xml_edit(data: bytes) -> None:
    """Any edited text becomes bytes that can be read, or is a WBXMLError."""
    try:
        written = write(document_from_xml(data.decode("utf-8", "replace")))
    except WBXMLError:
        return
    parse(written)
