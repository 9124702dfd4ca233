"""The EAS view. The invariant: any bytes end in text, in time linear in their number."""

import gzip
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import contentviews, http
from mitmproxy.contentviews import InteractiveContentview, Metadata
from mitmproxy.contentviews._registry import ContentviewRegistry
from mitmproxy.contentviews._view_wbxml import wbxml
from mitmproxy.test import taddons, tflow

from eas_redirect.activesync.multipart import MULTIPART
from eas_redirect.activesync.wbxml import Document, WBXMLError, element, write
from eas_redirect.addon import EASRedirect
from eas_redirect.view.contentview import WBXMLContentview, register
from tests.activesync.documents import documents
from tests.activesync.vectors import VECTORS
from tests.captures.captures import eas_flow as captured_flow
from tests.cli.test_redact_command import mail, provision, sent_mail
from tests.conftest import Golden
from tests.support import DATA

VIEW = WBXMLContentview()
HEADER = b"\x03\x01\x6a\x00"
FREEZING = bytes.fromhex("03016a00454b03616263")  # mitmproxy's own view never returns on this
QUERY = "Cmd=FolderSync&User=CONTOSO%5Canna&DeviceId=ApplDEVICE1&DeviceType=iPhone"


def eas_flow(
    body: bytes = VECTORS["FolderSync"], content_type: str = "application/vnd.ms-sync.wbxml"
) -> http.HTTPFlow:
    flow = tflow.tflow(
        req=http.Request.make(
            "POST",
            f"https://mail.contoso.example/Microsoft-Server-ActiveSync?{QUERY}",
            b"",
            http.Headers(MS_ASProtocolVersion="14.1", X_MS_PolicyKey="3141592653"),
        ),
        resp=http.Response.make(200, body, http.Headers(Content_Type=content_type)),
    )
    assert flow.response is not None
    return flow


def metadata(
    flow: http.HTTPFlow | None = None, content_type: str = "application/vnd.ms-sync.wbxml"
) -> Metadata:
    message = flow.response if flow else None
    return Metadata(flow=flow, http_message=message, content_type=content_type)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ContentviewRegistry:
    """mitmproxy's registry, given back as it was."""
    monkeypatch.setattr(contentviews.registry, "_by_name", dict(contentviews.registry))
    register()
    return contentviews.registry


def test_it_replaces_the_view_of_mitmproxy(registry: ContentviewRegistry) -> None:
    assert isinstance(registry["wbxml"], WBXMLContentview)
    assert isinstance(registry["WBXML"], InteractiveContentview)
    flow = eas_flow()
    chosen = registry.get_view(VECTORS["Sync"], metadata(flow))
    assert isinstance(chosen, WBXMLContentview)


def test_the_whole_text_of_an_answer() -> None:
    flow = eas_flow()
    flow.metadata["eas"] = {
        "message": "451 to https://outlook.office365.com/x: the mailbox has moved",
        "event": {"reason": "mailbox_moved"},
        "eas": {"decision": "redirect", "upstream": {"status_code": 200, "status": 123}},
    }
    assert VIEW.prettify(VECTORS["FolderSync"], metadata(flow)).splitlines() == [
        "<!-- POST FolderSync, version 14.1, user CONTOSO\\anna -->",
        "<!-- device ApplDEVICE1 (iPhone), policy key present, plain query -->",
        "<!-- decision: redirect (mailbox_moved) -->",
        "<!-- Exchange answered 200, status 123 -->",
        "<!-- answer 200 (OK), status 123 (UserHasNoMailbox), evidence certain -->",
        "<!-- body of 15 bytes -->",
        '<FolderSync xmlns="FolderHierarchy" xmlns:wbxml="wbxml">',
        "  <Status>123</Status><!-- UserHasNoMailbox -->",
        "</FolderSync>",
    ]


def test_no_policy_key_is_shown() -> None:
    assert "3141592653" not in VIEW.prettify(VECTORS["Sync"], metadata(eas_flow()))


@given(st.binary(), st.sampled_from([MULTIPART, "application/vnd.ms-sync.wbxml", "text/html"]))
def test_any_bytes_end_in_text(data: bytes, content_type: str) -> None:
    for body in (data, HEADER + data, HEADER + b"\x45" + data):
        text = VIEW.prettify(body, metadata(content_type=content_type))
        text.encode("utf-8")
        assert text or not body


@given(st.text(), st.text(), st.recursive(st.text() | st.integers(), st.lists))
def test_any_flow_ends_in_text(user: str, device: str, record: object) -> None:
    flow = eas_flow()
    flow.request.query["User"], flow.request.query["DeviceId"] = user, device
    flow.metadata["eas"] = record
    text = VIEW.prettify(b"", metadata(flow))
    text.encode("utf-8")
    assert text.startswith("<!-- POST")


def test_the_body_that_freezes_the_view_of_mitmproxy() -> None:
    start = time.process_time()
    assert "cut short" in VIEW.prettify(FREEZING, metadata())
    assert time.process_time() - start < 1


@pytest.mark.parametrize("length", range(1, len(VECTORS["FolderSync"])))
def test_bodies_cut_short_are_shown_as_far_as_they_go(length: int) -> None:
    text = VIEW.prettify(VECTORS["FolderSync"][:length], metadata())
    assert "cut short" in text or "no WBXML" in text


@pytest.mark.parametrize(
    "unit",
    [b"\x05", b"\x47\x01", b"\x4e\x03\x31\0\x01", b"\x03\0", b"\xc3\0", b"\x02\x41", b"\x85"],
)
def test_a_hundred_kilobytes_take_milliseconds_or_are_cut(unit: bytes) -> None:
    """Aimed at 10 ms on an idle machine; the limit leaves room for a busy one."""
    body = HEADER + b"\x45" + unit * (100_000 // len(unit)) + b"\x01"
    flow = eas_flow(body)
    start = time.process_time()
    text = VIEW.prettify(body, metadata(flow))
    assert time.process_time() - start < 0.5
    assert "<!--" in text


@pytest.mark.parametrize(
    "body",
    [
        HEADER + b"\xc5" + b"\x05" * 100_000 + b"\x01\x01",
        HEADER + b"\xc5\x05" + b"\x85" * 100_000 + b"\x01\x01",
        HEADER + b"\xc5\x05" + b"\x03\0" * 50_000 + b"\x01\x01",
        HEADER + b"\x43\x05\x01" * 33_000 + b"\x05",
        HEADER + b"\x45" + b"\x85" + b"\x05" * 100_000 + b"\x01\x01",
    ],
    ids=["attributes", "tokens", "strings", "instructions", "inner attributes"],
)
def test_what_activesync_does_not_use_is_cut_too(body: bytes) -> None:
    text = VIEW.prettify(body, metadata())
    assert "more than can be shown" in text
    assert len(text) < 20_000


def test_a_long_mail_is_shown_by_its_beginning_and_cannot_be_edited() -> None:
    body = write(Document(element(21, "SendMail", element(21, "Mime", b"x" * 1_000_000))))
    flow = eas_flow(body)
    text = VIEW.prettify(body, metadata(flow))
    assert "shown by their beginning" in text
    assert len(text) < 100_000
    assert VIEW.reencode(text, metadata(flow)) == body
    with pytest.raises(WBXMLError, match="use the raw view"):
        VIEW.reencode(text.replace("SendMail", "SmartReply"), metadata(flow))


@given(documents)
def test_unedited_text_gives_the_very_bytes(document: Document) -> None:
    body = write(document)
    flow = eas_flow(body)
    assert VIEW.reencode(VIEW.prettify(body, metadata(flow)), metadata(flow)) == body
    without_original = VIEW.reencode(VIEW.prettify(body, metadata(flow)), Metadata())
    assert without_original == body


def test_unedited_text_gives_even_bytes_that_are_not_canonical() -> None:
    body = HEADER + bytes.fromhex("0000 45 0000 4e 03 313233 00 01 01")
    flow = eas_flow(body)
    text = VIEW.prettify(body, metadata(flow))
    assert VIEW.reencode(text + "\n", metadata(flow)) == body
    edited = VIEW.reencode(text.replace("123", "1"), metadata(flow))
    assert edited == HEADER + bytes.fromhex("45 4e 03 31 00 01 01")


def test_a_compressed_answer_is_edited() -> None:
    flow = eas_flow(gzip.compress(VECTORS["Sync"]))
    assert flow.response is not None
    flow.response.headers["Content-Encoding"] = "gzip"
    text = VIEW.prettify(VECTORS["Sync"], metadata(flow))
    edited = VIEW.reencode(text.replace(">123<", ">1<"), metadata(flow))
    assert edited == write(Document(element(0, "Sync", element(0, "Status", "1"))))


def test_a_body_that_is_not_shown_whole_cannot_be_edited() -> None:
    flow = eas_flow(FREEZING)
    text = VIEW.prettify(FREEZING, metadata(flow))
    assert VIEW.reencode(text, metadata(flow)) == FREEZING
    with pytest.raises(WBXMLError, match="not shown whole"):
        VIEW.reencode(text.replace("SyncKey", "Status"), metadata(flow))


def multipart(*parts: bytes) -> bytes:
    at = 4 + 8 * len(parts)
    head = struct.pack("<I", len(parts))
    for part in parts:
        head += struct.pack("<II", at, len(part))
        at += len(part)
    return head + b"".join(parts)


def test_multipart_answers_show_their_parts() -> None:
    body = multipart(VECTORS["ItemOperations"], b"Hello\nworld", b"\xff\xd8\xff")
    flow = eas_flow(body, MULTIPART)
    text = VIEW.prettify(body, metadata(flow, MULTIPART))
    assert text.splitlines()[4:] == [
        "<!-- part 0 of 3: 15 bytes -->",
        '<ItemOperations xmlns="ItemOperations" xmlns:wbxml="wbxml">',
        "  <Status>123</Status><!-- UserHasNoMailbox -->",
        "</ItemOperations>",
        "<!-- part 1 of 3: 11 bytes -->",
        "Hello",
        "world",
        "<!-- part 2 of 3: 3 bytes -->",
        "ff d8 ff",
    ]
    assert VIEW.reencode(text, metadata(flow, MULTIPART)) == body
    with pytest.raises(WBXMLError, match="multipart"):
        VIEW.reencode(text.replace("123", "1"), metadata(flow, MULTIPART))


@pytest.mark.parametrize(
    "body",
    [
        b"\x01",
        multipart(b"x")[:-1],
        b"\xff\xff\xff\xff",
        bytes(4),
        struct.pack("<III", 1, 0, 4),
        struct.pack("<III", 1, 0xFFFFFFFF, 0xFFFFFFFF),
        struct.pack("<IIIII", 2, 20, 4, 20, 4) + b"four",
        struct.pack("<I", 1000) + struct.pack("<II", 8004, 9000) * 1000 + bytes(9000),
    ],
)
def test_malformed_multipart_answers(body: bytes) -> None:
    text = VIEW.prettify(body, metadata(content_type=MULTIPART))
    assert text.startswith("<!-- no multipart answer")


@pytest.mark.parametrize(
    ("content_type", "body", "where", "chosen"),
    [
        ("application/vnd.ms-sync.wbxml", b"x", "elsewhere", "yes"),
        ("application/vnd.ms-sync.wbxml", b"", "elsewhere", "no"),
        ("application/vnd.ms-sync.wbxml", b"", "eas", "yes"),
        ("application/vnd.wap.wbxml", b"x", "elsewhere", "yes"),
        (MULTIPART, b"x", "eas", "yes"),
        ("text/html", b"x", "eas", "no"),
        ("text/html", b"", "eas", "yes"),
        ("text/html", b"", "elsewhere", "no"),
    ],
)
def test_when_it_is_chosen(content_type: str, body: bytes, where: str, chosen: str) -> None:
    flow = eas_flow() if where == "eas" else tflow.tflow(resp=True)
    priority = VIEW.render_priority(body, metadata(flow, content_type))
    assert (priority > 0) is (chosen == "yes")


def test_html_of_iis_is_shown_as_text_when_the_view_is_named() -> None:
    text = VIEW.prettify(b"<html>403</html>", metadata(eas_flow(), "text/html"))
    assert text.splitlines()[-1] == "<html>403</html>"


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    body = "<p>\x1b[31m\x9b31m\u202eevil\tpage\r\nend</p>".encode()
    flow = eas_flow(body, "text/html")
    text = VIEW.prettify(body, metadata(flow, "text/html"))
    assert text.splitlines()[-2:] == ["<p>?[31m?31m?evil\tpage", "end</p>"]
    assert VIEW.reencode(text, metadata(flow, "text/html")) == body


def test_comments_cannot_be_ended_from_inside() -> None:
    flow = eas_flow()
    flow.request.query["DeviceId"] = "x-->--><Sync>"
    first = VIEW.prettify(b"", metadata(flow)).splitlines()[1]
    assert first.count("-->") == 1
    assert first.endswith("-->")


def test_the_addon_registers_it(registry: ContentviewRegistry) -> None:
    registry._by_name["wbxml"] = wbxml
    with taddons.context() as context:
        context.master.addons.add(EASRedirect())
    assert isinstance(registry["wbxml"], WBXMLContentview)


@pytest.mark.parametrize(
    ("name", "body", "command"),
    [
        ("view-sync.xml", mail(), "Sync"),
        ("view-provision.xml", provision(), "Provision"),
        ("view-sendmail.xml", sent_mail(), "SendMail"),
    ],
)
def test_golden_views(name: str, body: bytes, command: str, golden: Golden) -> None:
    flow = captured_flow(0, command, body=body)
    golden(DATA / "golden" / name, VIEW.prettify(body, metadata(flow)) + "\n")


def test_the_way_of_mitmproxys_editor(registry: ContentviewRegistry) -> None:
    """As its console does: prettify, edit, encode again, under the flow's own content coding."""
    flow = captured_flow(
        0, "Sync", body=gzip.compress(mail()), headers={"Content-Encoding": "gzip"}
    )
    assert flow.response is not None
    with taddons.context():
        shown = contentviews.prettify_message(flow.response, flow, registry=registry)
        assert shown.view_name == "WBXML"
        assert contentviews.reencode_message(shown.text, flow.response, flow, "WBXML") == mail()
        edited = shown.text.replace(">1</email:Read><!-- yes -->", ">0</email:Read><!-- no -->")
        flow.response.content = contentviews.reencode_message(edited, flow.response, flow, "WBXML")
        again = contentviews.prettify_message(flow.response, flow, registry=registry)
        assert f"<!-- body of {len(flow.response.raw_content or b'')} bytes, gzip -->" in again.text
        assert without_size(again.text) == without_size(edited)


def without_size(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("<!-- body of ")]
