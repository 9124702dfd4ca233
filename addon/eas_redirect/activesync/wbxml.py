"""WBXML as Exchange ActiveSync uses it: bytes to a `Document` and back. Pure; no other imports.

Sources: WAP Binary XML Content Format 1.3 (WAP-192; the grammar in 5.3, global tokens in 7.1) and
MS-ASWBXML 2.1. ActiveSync uses a small part of it; the rest of the grammar is read all the same, so
that a document is either understood whole or refused with a `WBXMLError`, the only exception.

What a document says is kept in frozen values, so that `write(parse(data)) == data` for everything
that Exchange sends. Only what carries no meaning is lost: redundant SWITCH_PAGEs and multi-byte
integers with leading zeros.
"""

from eas_redirect.activesync.wbxml_reader import Reader
from eas_redirect.activesync.wbxml_values import (
    MAX_DEPTH,
    MAX_SIZE,
    Attribute,
    AttributeValue,
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    Node,
    TableText,
    Value,
    WBXMLError,
    page_name,
    tag_name,
    token_of,
)
from eas_redirect.activesync.wbxml_writer import WBXMLWriter

__all__ = [
    "MAX_DEPTH",
    "MAX_SIZE",
    "Attribute",
    "AttributeValue",
    "Document",
    "Element",
    "Entity",
    "Extension",
    "Instruction",
    "Node",
    "TableText",
    "Value",
    "WBXMLError",
    "element",
    "page_name",
    "parse",
    "parse_partly",
    "tag_name",
    "write",
]


def parse(data: bytes) -> Document:
    """The document in `data`; WBXMLError unless all of it is one well-formed document."""
    return Reader(data).document()


def parse_partly(
    data: bytes, max_nodes: int | None = None
) -> tuple[Document | None, WBXMLError | None]:
    """For people: the document as far as it could be read, and why no further. Never raises.

    `max_nodes` bounds the work: elements, ends, texts and whatever else stands in them.
    """
    reader = Reader(data, max_nodes)
    try:
        return reader.document(), None
    except WBXMLError as error:
        root = reader.partial_root()
        return Document(root) if root else None, error


def write(document: Document) -> bytes:
    """The bytes of a document; WBXMLError for one that no bytes can stand for."""
    return WBXMLWriter(document).written()


def element(page: int, name: str, *children: Node) -> Element:
    """An element by its name in MS-ASWBXML; WBXMLError for a name that the page does not have."""
    token = token_of(page, name)
    if token is None:
        raise WBXMLError(f"code page {page_name(page)} has no tag {name}")
    return Element(page, token, children)
