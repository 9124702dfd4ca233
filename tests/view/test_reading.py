"""What a person reads of values: text as text, what else is by its name, mails decoded."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.wbxml import Document, WBXMLError, element, parse, write
from eas_redirect.view.contentview import WBXMLContentview
from eas_redirect.view.reading import mail_as_read
from eas_redirect.view.xml_text import MAX_HEX, XMLText, document_from_xml
from tests.view.test_contentview import metadata

SEND_MAIL, BODIES = 21, 17  # code pages ComposeMail and AirSyncBase
LATIN = "Grüße aus Köln, der schöne Rhein läßt grüßen".encode("latin-1")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
MAIL = """\
From: =?utf-8?B?QmVydGEgTcO8bGxlcg==?= <berta@fabrikam.example>
Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=
MIME-Version: 1.0
Content-Type: multipart/mixed;
 boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

R3LDvMOfZSBhdXMgS8O2bG4=
--b1
Content-Type: text/html; charset="windows-1252"
Content-Transfer-Encoding: quoted-printable

<p>sch=F6n</p>
--b1
Content-Type: image/png; name="a.png"
Content-Transfer-Encoding: base64

iVBORw0KGgo=
--b1--
""".replace("\n", "\r\n")


def shown(value: str | bytes, name: str = "Mime", page: int = SEND_MAIL) -> str:
    """The text of a document with that value, checked to give the same bytes back."""
    root = "SendMail" if page == SEND_MAIL else "Body"
    document = Document(element(page, root, element(page, name, value)))
    text = "\n".join(XMLText(document).lines())
    assert write(document_from_xml(text)) == write(document)
    return text


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Dear Anna,\r\nsee you.\r\n", ["Dear Anna,", "see you."]),
        ("Dear Anna,\nsee you.\n", ["Dear Anna,", "see you."]),
        ("mixed\r\nends\n", ["mixed&#13;", "ends"]),
        ("old Mac\rends", ["old Mac&#13;ends"]),
        ("cut at the CR\r\nhere\r", ["cut at the CR&#13;", "here&#13;"]),
        ("page\x0cbreak and \x1b$B escape", ['page<wbxml:char code="12"/>break and']),
        ("next\x85line", ["next&#133;line"]),
        ("a < b & c > d ]]>", ["a &lt; b &amp; c &gt; d ]]&gt;"]),
        ("&#13; as it was typed", ["&amp;#13; as it was typed"]),
    ],
)
def test_text_is_shown_as_text(kind: type, text: str, lines: list[str]) -> None:
    found = shown(text if kind is str else text.encode())
    assert [line for line in lines if line not in found] == []
    assert "base64" not in found


def test_a_string_with_a_control_character_is_still_a_text() -> None:
    assert '<Mime>a<wbxml:char code="1"/>b</Mime>' in shown("a\x01b")


def test_text_of_an_older_character_set_is_text() -> None:
    found = shown(b"Subject: x\r\n\r\n" + LATIN + b"\r\n")
    assert 'wbxml:opaque="latin-1-crlf"' in found
    assert LATIN.decode("latin-1") in found
    assert 'wbxml:opaque="latin-1">' in shown(LATIN)


def test_an_edit_outside_of_the_character_set_is_refused_with_what_to_do() -> None:
    with pytest.raises(WBXMLError, match='wbxml:opaque="text"'):
        document_from_xml(shown(LATIN).replace("Rhein", "Rhein \N{SNOWMAN}"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PNG, "image/png, 48 bytes"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg, 11 bytes"),
        (b"%PDF-1.7\n\x00\xff\xfe", "application/pdf, 12 bytes"),
        (b"\xde\xad\xbe\xef", "no text, 4 bytes"),
        (b"\0", "no text, 1 byte"),
        (b"\x01\x02abc", "no text, 5 bytes"),
    ],
)
def test_what_is_no_text_stands_in_hexadecimal_with_type_and_size(data: bytes, said: str) -> None:
    """Long values in base64, with their beginning."""
    found = shown(data)
    assert f'wbxml:opaque="hex">{data.hex(" ")}<' in found
    assert f"<!-- {said} -->" in found
    long = data + bytes(MAX_HEX)
    found = shown(long)
    assert base64.b64encode(long).decode()[:70] in found
    assert f"bytes: {long[:16].hex(' ')} … -->" in found


@pytest.mark.parametrize(
    ("page", "name"), [(SEND_MAIL, "Mime"), (BODIES, "Data")], ids=["SendMail", "Body type 4"]
)
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_mail_is_headers_and_text(page: int, name: str, kind: type) -> None:
    found = shown(MAIL if kind is str else MAIL.encode(), name, page).splitlines()
    assert "MIME-Version: 1.0" in found
    assert [line.strip() for line in found if "<!--" in line] == [
        "<!-- From: Berta Müller <berta@fabrikam.example> -->",
        "<!-- Subject: Grüße -->",
        "<!-- text/plain, base64, decoded: -->",
        "<!-- Grüße aus Köln -->",
        "<!-- text/html, quoted-printable, decoded: -->",
        "<!-- <p>schön</p> -->",
        "<!-- image/png 'a.png', base64, 12 characters -->",
    ]


@pytest.mark.parametrize("text", ["Hello", "Note: this is no mail", "", "12:30 at the bar"])
def test_what_is_no_mail_has_no_headers(text: str) -> None:
    assert mail_as_read(text) == []


def test_an_edit_keeps_the_line_ends_of_what_was_not_touched() -> None:
    edited = document_from_xml(shown("one\r\ntwo\r\n").replace("two", "2"))
    assert write(edited) == write(
        Document(element(SEND_MAIL, "SendMail", element(SEND_MAIL, "Mime", "one\r\n2\r\n")))
    )


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.binary())
def test_any_value_comes_back(value: str | bytes) -> None:
    assert shown(value).startswith("<")


@given(st.text())
def test_any_text_is_read_in_single_lines(text: str) -> None:
    mail = f"From: {text}\nSubject: =?utf-8?B?{text}?=\nContent-Type: {text}\n\n{text}"
    for line in (*mail_as_read(text), *mail_as_read(mail)):
        assert "\n" not in line


NESTED = "".join(f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(2000))


@pytest.mark.parametrize(
    "value",
    [
        "line\r\n" * 16_000,
        "\r" * 100_000,
        "\x01" * 100_000,
        "x\x01" * 250 + "x" * 100_000,
        NESTED,
        "Subject: " + "=?utf-8?B?" * 10_000,
        "From: x\n" * 12_000,
        "From: x\n" + "a" * 100_000,
        'Content-Type: multipart/mixed; boundary="b"\n\n' + "--b\nContent-Type: a/b\n\n" * 4000,
        "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + "YWJj" * 25_000,
    ],
    ids=["CRLF", "CR", "controls", "odd", "nested", "words", "headers", "line", "parts", "base64"],
)
def test_a_hundred_kilobytes_take_milliseconds(value: str) -> None:
    """Aimed at 10 ms on an idle machine; the limit leaves room for a busy one."""
    body = write(Document(element(SEND_MAIL, "SendMail", element(SEND_MAIL, "Mime", value))))
    assert parse(body)
    view = WBXMLContentview()
    took = []
    for _ in range(3):
        start = time.thread_time()
        view.prettify(body, metadata())
        took.append(time.thread_time() - start)
    assert min(took) < 0.05
