"""Bodies: the same tree, lengths and statuses; nothing of what was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.multipart import split_parts
from eas_redirect.activesync.wbxml import Document, Element, WBXMLError, element, parse, write
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_body import redacted_multipart, redacted_wbxml
from tests.activesync.documents import documents
from tests.activesync.test_multipart import joined
from tests.redaction.test_redact_head import names

AIR_SYNC, EMAIL, SETTINGS = 0, 2, 18


def mail(subject: str, sender: str, status: str = "1") -> bytes:
    return write(
        Document(
            element(
                AIR_SYNC,
                "Sync",
                element(AIR_SYNC, "Status", status),
                element(EMAIL, "Subject", subject),
                element(EMAIL, "From", sender),
            )
        )
    )


def texts(data: bytes) -> list[str]:
    found: list[str] = []

    def walk(node: Element) -> None:
        for child in node.children:
            if isinstance(child, Element):
                walk(child)
            elif isinstance(child, str):
                found.append(child)

    walk(parse(data).root)
    return found


def test_statuses_stay_and_words_go_letter_for_letter() -> None:
    original = mail("Wage cut for Bert", "bert@contoso.example", status="123")
    status, subject, sender = texts(redacted_wbxml(original, Pseudonyms()))
    assert status == "123"
    assert (subject, len(subject)) == ("xxxx xxx xxx xxxx", len("Wage cut for Bert"))
    assert sender != "bert@contoso.example"
    assert len(redacted_wbxml(original, Pseudonyms())) == len(original)


def test_equal_addresses_stay_equal_within_one_capture_and_in_no_other() -> None:
    names = Pseudonyms()
    first, again = (texts(redacted_wbxml(mail(s, "bert@contoso.example"), names)) for s in "ab")
    assert first[2] == again[2]
    elsewhere = texts(redacted_wbxml(mail("a", "bert@contoso.example"), Pseudonyms()))
    assert elsewhere[2] != first[2]


@pytest.mark.parametrize("status", ["1 Wage", "12345678901234567890x", "bert@contoso.example"])
def test_a_status_that_is_none_is_a_text_like_any_other(status: str) -> None:
    found = texts(redacted_wbxml(mail("s", "f", status=status), Pseudonyms()))[0]
    assert found != status
    assert len(found) == len(status)


@given(st.binary(max_size=60))
def test_what_is_no_document_is_filled_whole(data: bytes) -> None:
    """The letters x and the digit 0 are what a fill is made of, and are no secret."""
    clean = redacted_wbxml(b"Secret" + data, Pseudonyms())
    assert b"Secret" not in clean
    assert len(clean) == len(data) + 6


def test_parts_keep_their_places_and_lengths() -> None:
    original = joined(mail("Wage cut", "bert@contoso.example"), b"A wage of 4711", b"")
    clean = redacted_multipart(original, Pseudonyms())
    assert len(clean) == len(original)
    first, second, third = split_parts(clean)
    assert texts(first)[0] == "1"
    assert (second, third) == (b"x xxxx xx 0000", b"")
    assert b"4711" not in clean
    assert b"4711" not in redacted_multipart(original[:-1], Pseudonyms())


@given(st.binary())
def test_any_body_keeps_its_size(data: bytes) -> None:
    assert len(redacted_multipart(data, names())) == len(data)
    clean = redacted_wbxml(data, names())
    try:
        parse(data)
    except WBXMLError:
        assert len(clean) == len(data)


@given(documents)
def test_any_document_keeps_its_elements(document: Document) -> None:
    clean = parse(redacted_wbxml(write(document), names()))

    def shape(element: Element) -> object:
        known = element.literal is None
        return (element.page, element.token if known else 0x3F, [*map(shape, element.elements)])

    assert shape(clean.root) == shape(document.root)
    assert not clean.string_table
