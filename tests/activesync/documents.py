"""A hypothesis strategy for WBXML documents that use the whole grammar."""

from typing import Any

from hypothesis import strategies as st

from eas_redirect.activesync.wbxml import (
    Attribute,
    AttributeValue,
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    TableText,
    Value,
)

LITERAL = 0x04
STRINGS = ("", "Custom", "mailbox", "zwölf")
TABLE = b"".join(text.encode() + b"\0" for text in STRINGS)
TABLE_TEXTS = tuple(
    TableText(TABLE.index(text.encode() + b"\0"), text) if text else TableText(0, "")
    for text in STRINGS
)

pages = st.sampled_from([0, 1, 2, 7, 17, 25, 77, 254]) | st.integers(0, 255)
tag_tokens = st.integers(0x05, 0x3F)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
table_texts = st.sampled_from(TABLE_TEXTS)
entities = st.characters(codec="utf-8", exclude_characters="\0").map(lambda c: Entity(ord(c)))
extensions = (
    st.builds(Extension, st.sampled_from([0x40, 0x41, 0x42]), texts)
    | st.builds(Extension, st.sampled_from([0x80, 0x81, 0x82]), st.integers(0, 0xFFFFFFFF))
    | st.builds(Extension, st.sampled_from([0xC0, 0xC1, 0xC2]))
)
plain: st.SearchStrategy[str | bytes | TableText | Entity | Extension] = (
    texts | st.binary(max_size=12) | table_texts | entities | extensions
)
attribute_starts = st.integers(0x05, 0x3F) | st.integers(0x45, 0x7F)
attribute_values = st.builds(
    AttributeValue, pages, st.integers(0x85, 0xBF) | st.integers(0xC5, 0xFF)
)
values: st.SearchStrategy[tuple[Value, ...]] = st.lists(plain | attribute_values, max_size=3).map(
    tuple
)
attributes = st.builds(Attribute, pages, attribute_starts, values) | st.builds(
    Attribute, st.just(0), st.just(LITERAL), values, table_texts
)
instructions = st.builds(Instruction, attributes)
attribute_lists = st.lists(attributes, max_size=2).map(tuple)


def made(page: int, token: int, *rest: Any, **more: Any) -> Element:
    """Hypothesis makes up all fields of a named tuple, also those that have defaults."""
    return Element(page, token, *rest, **more)


leaves = st.builds(
    made, pages, tag_tokens, attributes=attribute_lists, hollow=st.booleans()
) | st.builds(made, st.just(0), st.just(LITERAL), attributes=attribute_lists, literal=table_texts)


def with_children(inner: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
    children = st.lists(inner | plain | instructions, min_size=1, max_size=5).map(tuple)
    return st.builds(made, pages, tag_tokens, children, attribute_lists) | st.builds(
        made, st.just(0), st.just(LITERAL), children, attribute_lists, table_texts
    )


elements = st.recursive(leaves, with_children, max_leaves=12)
documents = st.builds(
    Document,
    elements,
    version=st.sampled_from([1, 2, 3]),
    public_id=st.integers(1, 0xFFFFFFFF) | table_texts,
    charset=st.sampled_from([0, 106]),
    string_table=st.just(TABLE),
    before=st.lists(instructions, max_size=2).map(tuple),
    after=st.lists(instructions, max_size=2).map(tuple),
)
