"""WBXML values to bytes; see `wbxml`. Standard library only."""

from collections.abc import Callable
from typing import assert_never

from eas_redirect.activesync.wbxml_values import (
    CHARSETS,
    END,
    ENTITY,
    EXT,
    EXT_I,
    EXT_T,
    FIRST_TAG,
    HAS_ATTRIBUTES,
    HAS_CONTENT,
    LITERAL,
    MAX_DEPTH,
    MAX_SIZE,
    OPAQUE,
    PI,
    STR_I,
    STR_T,
    SWITCH_PAGE,
    TOKEN_BITS,
    VERSIONS,
    Attribute,
    AttributeValue,
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    Node,
    TableText,
    WBXMLError,
    is_attribute_start,
    is_attribute_value,
    is_character,
)


class WBXMLWriter:
    """Canonical bytes: a SWITCH_PAGE only where the page changes, integers as short as can be."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._out = bytearray()
        self._tag_page = 0
        self._attribute_page = 0
        self._encoding = CHARSETS.get(document.charset, "")

    def written(self) -> bytes:
        document = self._document
        if document.version not in VERSIONS or not self._encoding:
            raise WBXMLError("a version or a character set that is not supported")
        self._out.append(document.version)
        self._public_id(document.public_id)
        self._integer(document.charset)
        self._integer(len(document.string_table))
        self._out += document.string_table
        for instruction in document.before:
            self._instruction(instruction)
        self._element(document.root, 1)
        for instruction in document.after:
            self._instruction(instruction)
        if len(self._out) > MAX_SIZE:
            raise WBXMLError(f"longer than {MAX_SIZE} bytes")
        return bytes(self._out)

    def _public_id(self, public_id: int | TableText) -> None:
        if isinstance(public_id, TableText):
            self._out.append(0)
            self._table_text(public_id)
        elif public_id:
            self._integer(public_id)
        else:
            raise WBXMLError("public identifier 0 stands for a string of the string table")

    def _element(self, element: Element, depth: int) -> None:
        """Recursive: the depth is bounded before each step."""
        content = bool(element.children) or element.hollow
        if depth > MAX_DEPTH and content:
            raise WBXMLError(f"nested deeper than {MAX_DEPTH} elements")
        flags = (HAS_ATTRIBUTES if element.attributes else 0) | (HAS_CONTENT if content else 0)
        self._tag(element, flags)
        if element.attributes:
            for attribute in element.attributes:
                self._attribute(attribute)
            self._out.append(END)
        if content:
            for child in element.children:
                self._node(child, depth)
            self._out.append(END)

    def _tag(self, element: Element, flags: int) -> None:
        if element.literal is not None:
            _check_literal(element.page, element.token)
            self._out.append(LITERAL | flags)
            self._table_text(element.literal)
            return
        if not FIRST_TAG <= element.token <= TOKEN_BITS or not 0 <= element.page <= 0xFF:
            raise WBXMLError(f"no tag has page {element.page} and token {element.token}")
        if element.page != self._tag_page:
            self._out += bytes((SWITCH_PAGE, element.page))
            self._tag_page = element.page
        self._out.append(element.token | flags)

    def _node(self, node: Node, depth: int) -> None:
        match node:
            case Element():
                self._element(node, depth + 1)
            case Instruction():
                self._instruction(node)
            case _:
                self._plain_value(node)

    def _instruction(self, instruction: Instruction) -> None:
        self._out.append(PI)
        self._attribute(instruction.attribute)
        self._out.append(END)

    def _attribute(self, attribute: Attribute) -> None:
        if attribute.literal is not None:
            _check_literal(attribute.page, attribute.token)
            self._out.append(LITERAL)
            self._table_text(attribute.literal)
        else:
            self._attribute_token(attribute.page, attribute.token, is_attribute_start)
        for value in attribute.values:
            if isinstance(value, AttributeValue):
                self._attribute_token(value.page, value.token, is_attribute_value)
            else:
                self._plain_value(value)

    def _attribute_token(self, page: int, token: int, fits: Callable[[int], bool]) -> None:
        if not 0 <= page <= 0xFF or not 0 <= token <= 0xFF or not fits(token):
            raise WBXMLError(f"no attribute token has page {page} and token {token}")
        if page != self._attribute_page:
            self._out += bytes((SWITCH_PAGE, page))
            self._attribute_page = page
        self._out.append(token)

    def _plain_value(self, value: str | bytes | TableText | Entity | Extension) -> None:
        match value:
            case str():
                self._out.append(STR_I)
                self._string(value)
            case bytes():
                self._out.append(OPAQUE)
                self._integer(len(value))
                self._out += value
            case TableText():
                self._out.append(STR_T)
                self._table_text(value)
            case Entity():
                if not is_character(value.code):
                    raise WBXMLError(f"entity {value.code} is no character")
                self._out.append(ENTITY)
                self._integer(value.code)
            case Extension():
                self._extension(value)
            case _:
                assert_never(value)

    def _extension(self, extension: Extension) -> None:
        self._out.append(extension.token & 0xFF)
        match extension.value:
            case str() as text if extension.token in EXT_I:
                self._string(text)
            case int() as number if extension.token in EXT_T:
                self._integer(number)
            case None if extension.token in EXT:
                pass
            case _:
                raise WBXMLError(f"no extension 0x{extension.token:02X} carries such a value")

    def _integer(self, value: int) -> None:
        if not 0 <= value <= 0xFFFFFFFF:
            raise WBXMLError("an integer of more than 32 bits")
        groups = [value & 0x7F]
        while value := value >> 7:
            groups.append(value & 0x7F | 0x80)
        self._out += bytes(reversed(groups))

    def _string(self, text: str) -> None:
        self._out += self._encoded(text) + b"\0"

    def _table_text(self, text: TableText) -> None:
        """The string table is written as it is, so it must hold what is referred to."""
        expected = self._encoded(text.text) + b"\0"
        if text.offset < 0 or not self._document.string_table.startswith(expected, text.offset):
            raise WBXMLError(f"the string table holds another string at offset {text.offset}")
        self._integer(text.offset)

    def _encoded(self, text: str) -> bytes:
        try:
            raw = text.encode(self._encoding)
        except UnicodeEncodeError:
            raise WBXMLError(f"text that {self._encoding.upper()} cannot write") from None
        if 0 in raw:
            raise WBXMLError("text with a NUL; only opaque data can hold one")
        return raw


def _check_literal(page: int, token: int) -> None:
    """A name from the string table has no token of its own, and no page."""
    if (page, token) != (0, LITERAL):
        raise WBXMLError(f"a name of the string table with page {page} and token {token}")
