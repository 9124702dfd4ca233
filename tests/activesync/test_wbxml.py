"""WBXML. The invariants: any bytes are a document or a WBXMLError, in time linear in their number;
`parse(write(x)) == x`; every proper prefix of a document fails cleanly."""

import dataclasses
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync import wbxml
from eas_redirect.activesync.wbxml import (
    MAX_DEPTH,
    Attribute,
    AttributeValue,
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    TableText,
    WBXMLError,
    element,
    parse,
    parse_partly,
    write,
)
from tests.activesync.documents import documents
from tests.activesync.vectors import VECTORS

HEADER = b"\x03\x01\x6a\x00"


def root_of(text: str) -> Element:
    """The root of a document whose body is given in hexadecimal."""
    return parse(HEADER + bytes.fromhex(text)).root


def with_table(table: bytes, text: str) -> bytes:
    return b"\x03\x01\x6a" + bytes([len(table)]) + table + bytes.fromhex(text)


NO_NAME = TableText(0, "")


def with_attribute(attribute: Attribute) -> Document:
    return Document(Element(0, 5, (), (attribute,)), string_table=b"\0")


@pytest.mark.parametrize("command", VECTORS)
def test_each_vector_is_read_and_written_back(command: str) -> None:
    document = parse(VECTORS[command])
    assert document.root.name == command
    assert [(child.name, child.text) for child in document.root.elements] == [("Status", "123")]
    assert write(document) == VECTORS[command]


@pytest.mark.parametrize("command", VECTORS)
def test_each_vector_byte_by_byte(command: str) -> None:
    """Only the last byte completes it."""
    vector = VECTORS[command]
    for length in range(len(vector)):
        with pytest.raises(WBXMLError):
            parse(vector[:length])


@pytest.mark.parametrize("command", VECTORS)
def test_trailing_bytes_are_refused(command: str) -> None:
    for extra in (b"\0", b"\x01", b"\x45", b"\x00\x07", b"\x43", b"<html>"):
        with pytest.raises(WBXMLError):
            parse(VECTORS[command] + extra)


@given(st.binary())
def test_any_bytes_are_a_document_or_one_error(data: bytes) -> None:
    try:
        document = parse(data)
    except WBXMLError:
        return
    assert parse(write(document)) == document


@given(st.binary())
def test_any_body_is_a_document_or_one_error(body: bytes) -> None:
    """The same behind a good header, so that more of the grammar is reached."""
    document, problem = parse_partly(HEADER + body)
    if problem is None:
        assert document is not None
        assert document == parse(HEADER + body)
        assert parse(write(document)) == document
    else:
        with pytest.raises(WBXMLError, match=re.escape(str(problem))):
            parse(HEADER + body)


@given(documents)
def test_what_is_written_is_read_back(document: Document) -> None:
    assert parse(write(document)) == document


@given(documents)
def test_written_bytes_are_canonical(document: Document) -> None:
    data = write(document)
    assert write(parse(data)) == data


@given(documents, st.data())
def test_a_proper_prefix_fails_cleanly(document: Document, data: st.DataObject) -> None:
    """Unless only processing instructions behind the root were cut away."""
    written = write(dataclasses.replace(document, after=()))
    length = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(WBXMLError):
        parse(written[:length])


def test_pages_switch_and_stay() -> None:
    root = root_of("45 00 02 54 03 41 00 01 00 00 4e 03 31 00 01 01")
    assert [(e.page, e.name, e.text) for e in root.elements] == [
        (2, "Subject", "A"),
        (0, "Status", "1"),
    ]


def test_redundant_switches_carry_no_meaning() -> None:
    plain = root_of("45 4e 03 31 00 01 01")
    assert root_of("00 07 00 00 45 00 00 4e 03 31 00 00 05 00 00 01 00 07 01") == plain


def test_unknown_tags_and_pages_have_names_and_survive() -> None:
    data = HEADER + bytes.fromhex("00 4d 45 7f 01 00 19 5a 01 01")
    document = parse(data)
    assert [(e.page, e.name) for e in (document.root, *document.root.elements)] == [
        (77, "Unknown-05"),
        (77, "Unknown-3F"),
        (25, "Unknown-1A"),
    ]
    assert write(document) == data


def test_empty_elements_keep_how_they_were_written() -> None:
    root = root_of("45 07 47 01 01")
    assert root.children == (Element(0, 0x07), Element(0, 0x07, hollow=True))
    assert root_of("05") == Element(0, 0x05)


def test_text_of_every_kind() -> None:
    data = with_table(b"x\0table\0", "45 03 61 00 c3 02 c3 a4 02 81 00 83 02 c0 01")
    root = parse(data).root
    assert root.children == (
        "a",
        "ä".encode(),
        Entity(0x80),
        TableText(2, "table"),
        Extension(0xC0),
    )
    assert root.text == "aä\x80table"
    assert write(parse(data)) == data


def test_texts_may_hold_what_would_be_tokens_elsewhere() -> None:
    """\x01 is END where a token stands; here it ends no element."""
    root = root_of("45 4e 03 31 00 03 01 00 01 4e 03 31 01 00 03 32 00 01 4e 02 01 01 01")
    assert [element.children for element in root.elements] == [
        ("1", "\x01"),
        ("1\x01", "2"),
        (Entity(1),),
    ]


def test_damaged_opaque_text_is_shown_with_replacements() -> None:
    assert root_of("45 c3 02 ff 41 01").text == "\ufffdA"


def test_literals_with_attributes_and_content() -> None:
    """LITERAL, LITERAL_C, LITERAL_A and LITERAL_AC; attribute pages switch on their own."""
    attributes_hex = "04 04 03 76 00 05 85 00 03 86 01"
    data = with_table(
        b"tag\0name\0", f"44 00 04 00 84 00 {attributes_hex} c4 00 {attributes_hex} 03 78 00 01 01"
    )
    tag, name = TableText(0, "tag"), TableText(4, "name")
    # The page of the last attribute value stays in force for the next attribute start.
    first = (
        Attribute(0, 4, ("v",), name),
        Attribute(0, 5, (AttributeValue(0, 0x85), AttributeValue(3, 0x86))),
    )
    second = (first[0], Attribute(3, 5, (AttributeValue(3, 0x85), AttributeValue(3, 0x86))))
    document = parse(data)
    assert document.root == Element(
        0,
        4,
        (
            Element(0, 4, literal=tag),
            Element(0, 4, (), first, tag),
            Element(0, 4, ("x",), second, tag),
        ),
        literal=tag,
    )
    assert document.root.name == "tag"
    assert [attribute.name for attribute in first] == ["name", "Attribute-0-05"]
    assert parse(write(document)) == document


def test_processing_instructions_before_inside_and_after() -> None:
    pi = "43 05 03 78 00 01"
    data = HEADER + bytes.fromhex(f"{pi} 45 {pi} 01 {pi}")
    document = parse(data)
    instruction = Instruction(Attribute(0, 5, ("x",)))
    assert document.before == document.after == document.root.children == (instruction,)
    assert write(document) == data


def test_a_public_identifier_in_the_string_table() -> None:
    data = b"\x03\x00\x00\x6a\x03AS\0\x05"
    assert parse(data).public_id == TableText(0, "AS")
    assert write(parse(data)) == data


@pytest.mark.parametrize(
    ("charset", "raw"), [(b"\x6a", "ä".encode()), (b"\x04", b"\xe4"), (b"\x00", "ä".encode())]
)
def test_character_sets(charset: bytes, raw: bytes) -> None:
    data = b"\x03\x01" + charset + b"\0\x45\x03" + raw + b"\0\x01"
    assert parse(data).root.text == "ä"
    assert write(parse(data)) == data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cut short"),
        ("00 01 6a 00 05", "no WBXML version"),
        ("04 01 6a 00 05", "no WBXML version"),
        ("3c 3f 78 6d 6c", "no WBXML version"),
        ("03 01 87 68 00 05", "character set 1000"),
        ("03 01 6a 05 61 62", "cut short"),
        ("03 01 6a 8f ff ff ff 7f", "cut short"),
        ("03 01 6a ff ff ff ff 7f", "more than 32 bits"),
        ("03 01 6a 90 80 80 80 00", "more than 32 bits"),
        ("03 01 6a 80 80 80 80 80 00 05", "more than 32 bits"),
        ("03 01 6a 00", "cut short"),
        ("03 01 6a 00 01", "no tag"),
        ("03 01 6a 00 03 61 00", "no tag"),
        ("03 01 6a 00 45 40 61", "cut short"),
        ("03 01 6a 00 45 03 61", "cut short"),
        ("01 01 6a 00 45 45 03 61", "cut short"),  # a version that looks like an END
        ("03 01 6a 00 45 03 c3 28 00 01", "not UTF-8"),
        ("03 01 6a 00 45 c3 8f ff ff ff 7f 01", "cut short"),
        ("03 01 6a 00 45 83 00 01", "no string at offset 0"),
        ("03 01 6a 02 61 62 45 83 00 01", "no string at offset 0"),
        ("03 01 6a 01 00 45 83 01 01", "no string at offset 1"),
        ("03 01 6a 00 45 02 00 01", "no character"),
        ("03 01 6a 00 45 02 83 b0 00 01", "no character"),
        ("03 01 6a 00 45 02 c4 80 00 01", "no character"),
        ("03 01 6a 00 c5 01 01", "empty list of attributes"),
        ("03 01 6a 00 85 85 01", "starts no attribute"),
        ("03 01 6a 00 85 05 40 61", "cut short"),
        ("03 01 6a 00 45 00", "cut short"),
        ("03 01 6a 00 85 05 c4 01", "no attribute value"),
        ("03 01 6a 00 43 01 05", "empty list of attributes"),
        ("03 01 6a 00 43 05 06 01 05", "holds one attribute"),
        ("03 01 6a 00 05 05", "after the end"),
    ],
)
def test_malformed_documents(text: str, problem: str) -> None:
    with pytest.raises(WBXMLError, match=problem):
        parse(bytes.fromhex(text))


def test_nesting_is_bounded() -> None:
    deepest = HEADER + b"\x45" * MAX_DEPTH + b"\x01" * MAX_DEPTH
    assert write(parse(deepest)) == deepest
    with pytest.raises(WBXMLError, match="nested deeper"):
        parse(HEADER + b"\x45" * (MAX_DEPTH + 1) + b"\x01" * (MAX_DEPTH + 1))
    with_attributes = b"\xc5\x05\x01"
    depth = MAX_DEPTH - 1
    data = HEADER + b"\x45" * depth + with_attributes + b"\x05" + b"\x01" * MAX_DEPTH
    assert write(parse(data)) == data, "what has no content may stand in the deepest element"
    with pytest.raises(WBXMLError, match="nested deeper"):
        parse(HEADER + b"\x45" * MAX_DEPTH + with_attributes + b"\x01" * (MAX_DEPTH + 1))
    too_deep = Element(0, 5, (parse(deepest).root,))
    with pytest.raises(WBXMLError, match="nested deeper"):
        write(Document(too_deep))


def test_the_string_table_does_not_unfold_without_bound() -> None:
    """Two bytes that refer to thirty thousand, thousands of times."""
    table = b"a" * 30_000 + b"\0"
    size = bytes([0x80 | len(table) >> 14, 0x80 | len(table) >> 7 & 0x7F, len(table) & 0x7F])
    body = b"\x03\x01\x6a" + size + table + b"\x45" + b"\x83\0" * 20_000 + b"\x01"
    with pytest.raises(WBXMLError, match="unfolds"):
        parse(body)


def test_a_document_may_refer_to_its_string_table_within_the_budget() -> None:
    """64 KiB of text and no more, for a small document; where it stands in the table is free."""
    table = b"a" * 4096 + b"\0x\0"
    start = b"\x03\x01\x6a\xa0\x03" + table + b"\x45"  # 0x20 * 128 + 3 bytes of table
    long, short = b"\x83\0", b"\x83\xa0\x01"
    assert len(parse(start + long * 16 + b"\x01").root.text) == 64 * 1024
    with pytest.raises(WBXMLError, match="unfolds"):
        parse(start + long * 16 + short + b"\x01")
    assert parse(start + short * 100 + b"\x01").root.text == "x" * 100


def test_the_longest_document(monkeypatch: pytest.MonkeyPatch) -> None:
    data = VECTORS["Sync"]
    document = parse(data)
    monkeypatch.setattr(wbxml, "MAX_SIZE", len(data))
    assert write(parse(data)) == data
    monkeypatch.setattr(wbxml, "MAX_SIZE", len(data) - 1)
    with pytest.raises(WBXMLError, match="longer than"):
        parse(data)
    with pytest.raises(WBXMLError, match="longer than"):
        write(document)


@pytest.mark.parametrize(
    "unit",
    [
        b"\x05",
        b"\x45\x01",
        b"\x4e\x03\x31\0\x01",
        b"\x00\x02\x05\x00\x00\x05",
        b"\x03\0",
        b"\xc3\0",
        b"\x02\x41",
        b"\x85\x05\x01",
        b"\x43\x05\x01",
    ],
)
def test_a_megabyte_of_the_dearest_input_is_read_in_linear_time(unit: bytes) -> None:
    """Quadratic work would take minutes; the limit leaves room for a busy machine."""
    body = HEADER + b"\x45" + unit * (1_000_000 // len(unit)) + b"\x01"
    start = time.process_time()
    assert len(parse(body).root.children) >= 1_000_000 // len(unit)
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (Document(Element(0, 5), version=0), "not supported"),
        (Document(Element(0, 5), charset=1000), "not supported"),
        (Document(Element(0, 5), public_id=0), "public identifier 0"),
        (Document(Element(0, 5), public_id=1 << 32), "more than 32 bits"),
        (Document(Element(0, 4)), "no tag"),
        (Document(Element(0, 0x40)), "no tag"),
        (Document(Element(256, 5)), "no tag"),
        (Document(Element(0, 5, ("a\0b",))), "NUL"),
        (Document(Element(0, 5, ("\ud800",))), "cannot write"),
        (Document(Element(0, 5, ("ä",)), charset=3), "cannot write"),
        (Document(Element(0, 5, (TableText(0, "x"),))), "another string"),
        (Document(Element(0, 5, (TableText(-1, ""),)), string_table=b"\0"), "another string"),
        (Document(Element(0, 5, (Entity(0xD800),))), "no character"),
        (Document(Element(0, 5, (Extension(0x40, 5),))), "no extension"),
        (Document(Element(0, 5, (Extension(0x1C0),))), "no extension"),
        (Document(Element(0, 5, literal=NO_NAME), string_table=b"\0"), "a name of the string"),
        (Document(Element(1, 4, literal=NO_NAME), string_table=b"\0"), "a name of the string"),
        (with_attribute(Attribute(0, 5, (), NO_NAME)), "a name of the string"),
        (with_attribute(Attribute(1, 4, (), NO_NAME)), "a name of the string"),
        (with_attribute(Attribute(-1, 5)), "no attribute token"),
        (with_attribute(Attribute(256, 5)), "no attribute token"),
        (with_attribute(Attribute(0, 4)), "no attribute token"),
        (with_attribute(Attribute(0, 0x80)), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(0, 0x05),))), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(0, 0x84),))), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(0, 0xC0),))), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(0, 0xC4),))), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(0, 0x100),))), "no attribute token"),
        (with_attribute(Attribute(0, 5, (AttributeValue(256, 0x85),))), "no attribute token"),
    ],
)
def test_what_no_bytes_can_stand_for(broken: Document, problem: str) -> None:
    with pytest.raises(WBXMLError, match=problem):
        write(broken)


def test_what_lies_beside_the_global_tokens_and_the_surrogates() -> None:
    """WAP-192 7.1: 40 to 44 and C0 to C4 are the same in every code space."""
    values = (AttributeValue(0, 0xBF), AttributeValue(0, 0xC5), Entity(0xD7FF), Entity(0xE000))
    attributes = (Attribute(0, 0x3F, values), Attribute(0, 0x45, values))
    document = Document(Element(0, 5, (), attributes))
    assert parse(write(document)) == document


def test_elements_by_name() -> None:
    built = element(7, "FolderSync", element(7, "Status", "123"))
    assert write(Document(built)) == VECTORS["FolderSync"]
    with pytest.raises(WBXMLError, match="FolderHierarchy has no tag Sync"):
        element(7, "Sync")


def test_a_document_cut_short_is_shown_as_far_as_it_goes() -> None:
    whole = Document(element(7, "FolderSync", element(7, "Status", "123")))
    document, problem = parse_partly(VECTORS["FolderSync"][:-2])
    assert document == whole
    assert "cut short" in str(problem)
    assert parse_partly(VECTORS["FolderSync"] + b"\0")[0] == whole
    assert parse_partly(b"")[0] is None
    opaque, _ = parse_partly(HEADER + bytes.fromhex("45 c3 02 61 62"))
    assert opaque == Document(Element(0, 5, (b"ab",)))


@pytest.mark.parametrize(
    ("body", "nodes"),
    [
        ("45 05 05 05 01", 4),  # three elements and the END
        ("45 4e 03 31 00 01 01", 4),  # an element, its text and two ENDs
        ("45 03 61 00 01", 2),
        ("85 05 03 78 00 06 01", 3),  # two attributes and a value
        ("43 05 03 78 00 01 05", 3),  # an instruction, its attribute and the value
    ],
)
def test_each_thing_in_a_document_counts(body: str, nodes: int) -> None:
    data = HEADER + bytes.fromhex(body)
    assert parse_partly(data, nodes) == (parse(data), None)
    assert "more than can be shown" in str(parse_partly(data, nodes - 1)[1])


def test_the_work_for_people_is_bounded() -> None:
    document, problem = parse_partly(HEADER + b"\x45" + b"\x05" * 10_000 + b"\x01", 100)
    assert document is not None
    assert 50 < len(document.root.children) <= 101
    assert "more than can be shown" in str(problem)
