"""What may stay in a shared capture stays by its form; whatever is filled keeps its shape alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.redaction.forms import (
    HEADERS,
    Form,
    all_of,
    device_words,
    either,
    filled,
    filled_bytes,
    is_date,
    is_device_text,
    is_error_word,
    is_id,
    is_media_type,
    is_number,
    is_technical,
    one_of,
)


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_filled_is_as_long_and_tells_nothing(text: str) -> None:
    clean = filled(text)
    assert len(clean.encode()) == len(text.encode())
    assert not re.search(r"[^\W_x0]", clean), "no letter but x, no digit but 0"
    assert filled(clean) == clean


@given(st.binary())
def test_filled_bytes_are_as_many(data: bytes) -> None:
    clean = filled_bytes(data)
    assert len(clean) == len(data)
    try:
        assert clean.decode() == filled(data.decode())
    except UnicodeDecodeError:
        assert not any(clean)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("anna.moved@contoso.example", "xxxx.xxxxx@xxxxxxx.xxxxxxx"),
        ("Bär 42", "xxxx 00"),
        ("²٣", "xxxx"),  # digits of no ASCII, and as many bytes
        ("caf\udce9", "xxx_"),  # a byte of another character set
        ("a\u200bb", "x\u200bx"),  # it tells nothing, and makes a request a malformed one
    ],
    ids=["an address", "an umlaut", "other digits", "another character set", "an unseen sign"],
)  # fmt: skip
def test_words_are_filled(text: str, clean: str) -> None:
    assert filled(text) == clean


YES: list[tuple[Form, tuple[str, ...], tuple[str, ...]]] = [
    (is_number, ("0", "-1", " 141 "), ("01", "1234567890", "1.5", "", "0x1f", "²")),
    (is_id, ("5", "RI", "5:12", "1:2:3:4"), ("anna", "1:2:3:4:5", "1234567890", "INBOX", "5:")),
    (
        is_date,
        ("Mon, 02 Mar 2026 08:00:00 GMT", "0", "-1"),
        ("2026-03-02", "Mon, 02 Mar 2026 08:00:00 anna", "Mon"),
    ),
    (
        is_technical,
        ("gzip, deflate", "no-cache", "Microsoft-IIS/8.5", "timeout=5, max=100"),
        ("contoso", "gzip, anna", "Microsoft-IIS/10.1.2.3", "timeout=1234567890"),
    ),
    (is_media_type, ("text/html", "charset=utf-8"), ("text/anna", "name=letter.doc", "charset=")),
    (is_error_word, ("refused", "Certificate"), ("ex07", "anna")),
    (one_of(frozenset({"GET", "Post"})), ("get", " POST "), ("GET x", "")),
    (all_of(frozenset({"GET", "POST"})), ("GET, POST", "post"), ("GET, anna", "GET,,POST")),
    (either(is_number, is_date), ("5", "0"), ("anna",)),
    (HEADERS["content-length"], ("0", "65536"), ("five",)),
]


@pytest.mark.parametrize("row", range(len(YES)))
def test_what_has_the_form_and_what_only_looks_like_it(row: int) -> None:
    form, these, others = YES[row]
    for text in these:
        assert form(text), text
    for text in others:
        assert not form(text), text


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Apple-iPhone14C5/2105.90", []),
        ("Samsung SM-G900F Android 6.0.1", []),
        ("Anna's iPhone", ["Anna", "s"]),
        ("iPhone 0171 2345678", ["0171", "2345678"]),
        ("iPhone 192.168.2.1", ["192", "168", "2", "1"]),
        ("iPhone 00:1B:44:11:3A:B7", ["00", "1B", "44", "11", "3A", "B7"]),
        ("Contoso-Tablet", ["Contoso"]),
    ],
    ids=["an iPhone", "a Samsung", "a name", "a telephone", "an address", "a MAC", "a company"],
)
def test_of_what_a_device_calls_itself_only_makers_models_and_versions_stay(
    text: str, gone: list[str]
) -> None:
    assert [word for word, kept in device_words(text) if not kept] == gone
    assert is_device_text(text) is (gone == [])


@given(st.sampled_from(sorted(HEADERS)), st.text(), st.text())
def test_no_header_keeps_a_word_that_is_not_known(header: str, before: str, after: str) -> None:
    assert not HEADERS[header](f"{before}Zq7SecretZq{after}")
