"""XML for people and back: nothing of a document is lost, and mistakes have their sentence."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given

from eas_redirect.activesync.wbxml import (
    Document,
    Element,
    WBXMLError,
    element,
    parse,
    write,
)
from eas_redirect.view.xml_text import MAX_VALUE, XMLText, document_from_xml
from tests.activesync.documents import documents
from tests.activesync.vectors import VECTORS

HEADER = b"\x03\x01\x6a\x00"


def xml_of(root: Element) -> str:
    return "\n".join(XMLText(Document(root)).lines())


@given(documents)
def test_xml_stands_for_the_very_document(document: Document) -> None:
    text = "\n".join(XMLText(document).lines())
    assert document_from_xml(text) == document
    assert write(document_from_xml(text)) == write(document)


@given(documents)
def test_xml_is_well_formed_and_safe_to_show(document: Document) -> None:
    text = "\n".join(XMLText(document).lines())
    ET.fromstring(f"<all>{text}</all>")  # noqa: S314 - our own text
    assert all(c in "\t\n" or c >= " " for c in text)
    assert not any("\x7f" <= c < "\xa0" for c in text)


@pytest.mark.parametrize("command", VECTORS)
def test_statuses_have_their_meaning_beside_them(command: str) -> None:
    lines = XMLText(parse(VECTORS[command])).lines()
    assert lines[1] == "  <Status>123</Status><!-- UserHasNoMailbox -->"


def test_namespaces_are_the_code_pages() -> None:
    root = element(0, "Sync", element(2, "Subject", "A & B"), Element(77, 0x3F))
    assert xml_of(root).splitlines() == [
        '<Sync xmlns="AirSync" xmlns:email="Email" xmlns:page-77="Page-77" xmlns:wbxml="wbxml">',
        "  <email:Subject>A &amp; B</email:Subject>",
        "  <page-77:Unknown-3F/>",
        "</Sync>",
    ]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"Subject: x\r\n\r\nHello\r\n", 'wbxml:opaque="crlf">Subject: x\n\nHello\n<'),
        (b"one\ntwo", 'wbxml:opaque="text">one\ntwo<'),
        (b"one\r\ntwo\n", 'wbxml:opaque="text">one&#13;\ntwo\n<'),
        (b"\0\xff", 'wbxml:opaque="hex">00 ff<'),
        (b"\0\xff" * 32, 'wbxml:opaque="base64">\nAP8A'),
        (b"", 'wbxml:opaque="text"><'),
    ],
)
def test_opaque_data_is_text_where_it_is_text(data: bytes, shown: str) -> None:
    root = element(21, "Mime", data)
    assert shown in xml_of(root)
    assert document_from_xml(xml_of(root)).root == root


def test_long_values_are_cut_and_it_is_said() -> None:
    text = XMLText(Document(element(21, "Mime", b"x" * (MAX_VALUE + 1))))
    assert len(text.lines()[0]) < MAX_VALUE + 200
    assert text.cut


def test_an_edited_text() -> None:
    text = xml_of(parse(VECTORS["FolderSync"]).root).replace("123", "1")
    assert document_from_xml(text).root == element(7, "FolderSync", element(7, "Status", "1"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "exactly one root"),
        ("<Sync", "not well-formed"),
        ('<Sync xmlns="AirSync"/><Sync xmlns="AirSync"/>', "exactly one root"),
        ("<Sync/>", "has no tag Sync"),
        ('<Nonsense xmlns="AirSync"/>', "namespace AirSync has no tag Nonsense"),
        ('<Sync xmlns="Nonsense"/>', "has no tag Sync"),
        ('<Unknown-05 xmlns="Page-300"/>', "has no tag"),
        ('<Sync xmlns="AirSync">text<Add/></Sync>', "text beside elements"),
        ('<!DOCTYPE x [<!ENTITY e "x">]><Sync xmlns="AirSync">&e;</Sync>', "document type"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml"><w:x/></Sync>', "unknown"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml" w:opaque="base64">!</Sync>', "base64"),
        ('<?wbxml strings="ü"?><Sync xmlns="AirSync"/>', "base64"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml" w:opaque="octal">00</Sync>', "none of text"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml" w:opaque="hex">0</Sync>', "marked as hex"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml" w:opaque="text"><Add/></Sync>', "no elements"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml"><w:entity code="x"/></Sync>', "no number"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml"><w:string offset="3"/></Sync>', "no string at"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml"><w:value page="0" token="9"/></Sync>', "belongs"),
        ('<Sync xmlns="AirSync" xmlns:w="wbxml"><w:instruction/></Sync>', "holds one"),
    ],
)
def test_mistakes_are_named(text: str, problem: str) -> None:
    with pytest.raises(WBXMLError, match=problem):
        document_from_xml(text)
