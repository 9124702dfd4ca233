"""What is written here is read alike by pyactivesync's decoder, and the other way round."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyactivesync._codepages import CODEPAGES, PAGE_INDEX
from pyactivesync._wbxml import WBXMLReader, WBXMLWriter, wtag

from eas_redirect.activesync import wbxml
from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.lab.legacy_exchange import ROOTS, ordinary_answer, status_answer

PAGE_NAMES = {number: name for name, number in PAGE_INDEX.items()}
type Tree = tuple[str, str | tuple["Tree", ...]]

COMMON = sorted(
    (PAGE_INDEX[page], name)
    for page, tags in CODEPAGES.items()
    for name, token in tags.items()
    if TAGS[PAGE_INDEX[page]].get(token) == name
)


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> wbxml.Element:
    """Elements that both know by name, holding text, elements or nothing."""
    page, name = draw(st.sampled_from(COMMON))
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
    inner = st.lists(trees(depth - 1), max_size=4) if depth else st.just([])
    children = draw(st.one_of(text.map(lambda value: [value]), inner))
    return wbxml.element(page, name, *children)


def ours(element: wbxml.Element) -> Tree:
    """An element in the words that both share; no content is the same as empty content."""
    texts = [child for child in element.children if isinstance(child, str)]
    inner = [child for child in element.children if isinstance(child, wbxml.Element)]
    content = "".join(texts) if texts else tuple(ours(child) for child in inner)
    page = PAGE_NAMES.get(element.page)
    if page is None:  # pyactivesync has no table of it and shows numbers.
        return f"page{element.page}.0x{element.token:02X}", content
    return f"{page}.{element.name}", content


def theirs(data: bytes) -> Tree:
    (root,) = WBXMLReader(data).parse()
    return _plain(root)


def _plain(node: tuple[str, str | bytes | None, list[object]]) -> Tree:
    name, _, children = node
    texts = [child[1] for child in children if child[0] == "#text"]  # type: ignore[index]
    if texts:
        return name, "".join(texts)
    return name, tuple(_plain(child) for child in children)  # type: ignore[arg-type]


@given(trees())
def test_what_we_write_it_reads(root: wbxml.Element) -> None:
    assert theirs(wbxml.write(wbxml.Document(root))) == ours(root)


@given(trees())
def test_what_it_writes_we_read(root: wbxml.Element) -> None:
    writer = WBXMLWriter()
    builder(root)(writer)
    data = writer.render()
    assert ours(wbxml.parse(data).root) == ours(root)


def builder(element: wbxml.Element) -> Callable[[WBXMLWriter], None]:
    """The element as pyactivesync builds one."""
    texts = [child for child in element.children if isinstance(child, str)]
    inner = [builder(child) for child in element.children if isinstance(child, wbxml.Element)]
    text = "".join(texts) if texts else None
    return wtag(PAGE_NAMES[element.page], str(element.name), inner or None, text)


@pytest.mark.parametrize("command", ROOTS)
def test_the_answers_of_the_lab(command: str) -> None:
    for body in (status_answer(command, 123), ordinary_answer(command)):
        if body:
            assert theirs(body) == ours(wbxml.parse(body).root)


def test_the_tables_agree_but_for_what_the_specification_says_otherwise() -> None:
    """MS-ASWBXML 2.1.2.1.22 spells Mime, 2.1.2.1.26 GalSearchCriterion; and there the pictures'
    tokens are 0x20 to 0x22, where pyactivesync goes on counting."""
    differences = {
        (page, name, token)
        for page, tags in CODEPAGES.items()
        for name, token in tags.items()
        if TAGS[PAGE_INDEX[page]].get(token) != name
    }
    assert differences == {
        ("ComposeMail", "MIME", 0x10),
        ("Find", "GALSearchCriterion", 0x19),
        ("Find", "MaxPictures", 0x1A),
        ("Find", "MaxSize", 0x1B),
        ("Find", "Picture", 0x1C),
    }
    assert len(COMMON) > 250
