"""WBXML as Exchange ActiveSync uses it: bytes to a `Document` and back. Pure.

Sources: WAP Binary XML Content Format 1.3 (WAP-192; the grammar in 5.3, global tokens in 7.1) and
MS-ASWBXML 2.1. ActiveSync uses a small part of it; the rest of the grammar is read anyway, so
that a document is either understood whole or refused with a `WBXMLError`, the only exception.

What a document says is kept in frozen values, so that `write(parse(data)) == data` for everything
that Exchange sends. Only what carries no meaning is lost: redundant SWITCH_PAGEs and multi-byte
integers with leading zeros.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, assert_never, cast

from eas_redirect.activesync.code_pages import PAGES, TAGS

# MS-ASHTTP 2.2.1.1.2.2 has the first, devices and servers of old the second as well.
WBXML_TYPE = "application/vnd.ms-sync.wbxml"
ACTIVESYNC_TYPES = frozenset({WBXML_TYPE, "application/vnd.ms-sync"})
WBXML_TYPES = ACTIVESYNC_TYPES | {"application/vnd.wap.wbxml"}  # as tools name any WBXML

# What a WBXML document says: frozen values, and the tokens they stand for.
#
# Sources: WAP Binary XML Content Format 1.3 (WAP-192) 5.3 and 7.1; MS-ASWBXML 2.1.

MAX_DEPTH = 100  # elements; the deepest message of MS-ASCMD has about twelve
MAX_SIZE = 64 * 1024 * 1024  # bytes; above any message size limit of Exchange that is in use

SWITCH_PAGE, END, ENTITY, STR_I, LITERAL = 0x00, 0x01, 0x02, 0x03, 0x04
PI, STR_T, OPAQUE = 0x43, 0x83, 0xC3
EXT_I, EXT_T, EXT = (0x40, 0x41, 0x42), (0x80, 0x81, 0x82), (0xC0, 0xC1, 0xC2)
HAS_ATTRIBUTES, HAS_CONTENT, TOKEN_BITS = 0x80, 0x40, 0x3F
FIRST_TAG = 0x05

VERSIONS = (0x01, 0x02, 0x03)  # WBXML 1.1 to 1.3; 1.0 has another header
# IANA MIBenums. 0 means unknown, and ActiveSync is UTF-8 throughout (MS-ASWBXML 2.1.1).
CHARSETS = {0: "utf-8", 3: "ascii", 4: "latin-1", 106: "utf-8"}


_UNKNOWN_TAG = re.compile(r"Unknown-([0-9A-F]{2})", re.ASCII)


class WBXMLError(ValueError):
    """Bytes that are not a WBXML document, or a document that cannot be written. One sentence."""


@dataclass(frozen=True, slots=True)
class TableText:
    """A string of the string table: STR_T, and the names of LITERALs. `offset` in bytes."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One character by its number (ENTITY)."""

    code: int

    @property
    def text(self) -> str:
        return chr(self.code)


@dataclass(frozen=True, slots=True)
class Extension:
    """An EXT token with what it carries: text (EXT_I), a number (EXT_T) or nothing (EXT)."""

    token: int
    value: str | int | None = None


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """A value token of the attribute code space. ActiveSync defines none, so it has no name."""

    page: int
    token: int


type Value = str | bytes | TableText | Entity | Extension | AttributeValue


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute start token, or a LITERAL (`token` is LITERAL, `page` 0), with its values."""

    page: int
    token: int
    values: tuple[Value, ...] = ()
    literal: TableText | None = None

    @property
    def name(self) -> str:
        return self.literal.text if self.literal else f"Attribute-{self.page}-{self.token:02X}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """A processing instruction (PI): one attribute."""

    attribute: Attribute


class Element(NamedTuple):
    """An element by its code page and token; a LITERAL has page 0 and token LITERAL.

    Text is `str` (STR_I), opaque data is `bytes` (OPAQUE). `hollow`: written with the content flag
    and an END although nothing is inside, as some devices do. A named tuple, since an answer can
    hold ten thousand of them and a frozen dataclass takes three times as long to make.
    """

    page: int
    token: int
    children: tuple["Node", ...] = ()
    attributes: tuple[Attribute, ...] = ()
    literal: TableText | None = None
    hollow: bool = False

    @property
    def name(self) -> str:
        """The name in MS-ASWBXML; `Unknown-2F` for a token that it does not define."""
        return self.literal.text if self.literal else tag_name(self.page, self.token)

    @property
    def elements(self) -> Iterator["Element"]:
        """The child elements."""
        return (child for child in self.children if isinstance(child, Element))

    @property
    def text(self) -> str:
        """The character data directly inside; opaque data as UTF-8, damaged bytes replaced."""
        return "".join(_text_of(child) for child in self.children)


type Node = Element | str | bytes | TableText | Entity | Extension | Instruction


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document. The defaults are the header of MS-ASWBXML 2.1.1: `03 01 6A 00`.

    `public_id` is a number, or a string of the string table.
    """

    root: Element
    version: int = 0x03
    public_id: int | TableText = 1
    charset: int = 106
    string_table: bytes = b""
    before: tuple[Instruction, ...] = ()
    after: tuple[Instruction, ...] = ()


def page_name(page: int) -> str:
    """The name of a code page in MS-ASWBXML; `Page-77` for one that it does not define."""
    return PAGES.get(page) or f"Page-{page}"


@lru_cache(maxsize=16384)  # 256 pages of 64 tokens
def tag_name(page: int, token: int) -> str:
    """The name of a tag in MS-ASWBXML; `Unknown-2F` for one that it does not define."""
    return TAGS.get(page, {}).get(token) or f"Unknown-{token:02X}"


def token_of(page: int, name: str) -> int | None:
    """The token of a name, the `Unknown-2F` of `tag_name` included; None when there is none."""
    for token, known in TAGS.get(page, {}).items():
        if known == name:
            return token
    if not (unknown := _UNKNOWN_TAG.fullmatch(name)):
        return None
    token = int(unknown[1], 16)
    return token if FIRST_TAG <= token <= TOKEN_BITS else None


def is_character(code: int) -> bool:
    """A Unicode scalar value other than NUL."""
    return 0 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF


def is_attribute_start(token: int) -> bool:
    return 0x05 <= token < 0x80 and not 0x40 <= token <= 0x44


def is_attribute_value(token: int) -> bool:
    return 0x85 <= token <= 0xFF and not 0xC0 <= token <= 0xC4


def _text_of(node: Node) -> str:
    match node:
        case str():
            return node
        case bytes():
            return node.decode("utf-8", "replace")
        case TableText() | Entity():
            return node.text
        case Element() | Extension() | Instruction():
            return ""
        case _:
            assert_never(node)


# Bytes to WBXML values.
#
# Every read is checked against the end, nesting and unfolding are bounded, and nothing is read
# twice: time and memory are linear in the input.

EXPANSION = 8  # string table references may unfold to this many times the input, and
MIN_EXPANSION = 64 * 1024  # to this many bytes in any case

FIRST_OPEN = FIRST_TAG | HAS_CONTENT  # below are global tokens
_END_BYTE = bytes([END])


_new = tuple.__new__


@lru_cache(maxsize=16384)
def leaf(page: int, token: int, hollow: bool) -> Element:
    """Elements without content are alike, and long runs of them are what makes input dear."""
    return Element(page, token, hollow=hollow)


def quick_element(page: int, token: int, children: tuple[Node, ...]) -> Element:
    """`Element(page, token, children)`, in half the time."""
    return _new(Element, (page, token, children, (), None, False))


type Open = tuple[list[Node], int, int, tuple[Attribute, ...], TableText | None]
"""An element whose END has not come yet: its children so far, page, token, attributes, literal."""


def closed(ended: Open) -> Element:
    """An open element, now that its END has come."""
    inside, page, token, attributes, literal = ended
    if attributes or literal is not None:
        return Element(page, token, tuple(inside), attributes, literal, not inside)
    return quick_element(page, token, tuple(inside)) if inside else leaf(page, token, True)


class Reader:
    """One pass over the bytes with a stack of our own; every read is checked against the end."""

    def __init__(self, data: bytes, max_nodes: int | None = None) -> None:
        self._data = data
        self._at = 0
        self._nodes_left = len(data) if max_nodes is None else max_nodes
        self._encoding = "utf-8"
        self._table = b""
        self._tag_page = 0
        self._attribute_page = 0
        self._budget = max(MIN_EXPANSION, EXPANSION * len(data))
        self._stack: list[Open] = []
        self._roots: list[Node] = []  # at most one

    def document(self) -> Document:
        """start = version publicid charset strtbl body; body = *pi element *pi."""
        if len(self._data) > MAX_SIZE:
            raise WBXMLError(f"longer than {MAX_SIZE} bytes")
        version = self._byte()
        if version not in VERSIONS:
            raise WBXMLError(f"the first byte 0x{version:02X} is no WBXML version from 1.1 to 1.3")
        public_id = self._integer()
        table_id = self._integer() if public_id == 0 else None
        charset = self._integer()
        if charset not in CHARSETS:
            raise WBXMLError(f"character set {charset} is not supported")
        self._encoding = CHARSETS[charset]
        self._table = self._take(self._integer())
        public = public_id if table_id is None else self._table_text(table_id)
        before = self._instructions()
        root = self._element()
        after = self._instructions()
        if self._at != len(self._data):
            raise self._error("bytes after the end of the document")
        return Document(root, version, public, charset, self._table, before, after)

    def partial_root(self) -> Element | None:
        """What was read before an error, with the open elements closed."""
        while self._stack:
            self._add(closed(self._stack.pop()))
        return self._root

    @property
    def _root(self) -> Element | None:
        return cast("Element", self._roots[0]) if self._roots else None

    def _element(self) -> Element:
        """The root and everything in it."""
        self._switch_pages()
        self._open(self._byte())
        self._contents()
        root = self._root
        if root is None:
            raise self._error("no root element")
        return root

    def _contents(self) -> None:
        """Everything up to the END of the root. The commonest steps are taken here at once, with
        variables of their own: an answer can hold thousands of them."""
        data, size, stack = self._data, len(self._data), self._stack
        at, page, left = self._at, self._tag_page, self._nodes_left
        inside = stack[-1][0] if stack else self._roots
        while stack:
            if at >= size:
                raise self._error("cut short")
            token = data[at]
            at = self._at = at + 1
            if FIRST_OPEN <= token < HAS_ATTRIBUTES:
                if len(stack) >= MAX_DEPTH:
                    raise self._too_deep()
                if (
                    at < size
                    and data[at] == STR_I
                    and (end := data.find(0, at)) != -1
                    and data.startswith(_END_BYTE, end + 1)
                ):
                    text = self._decoded(data[at + 1 : end])
                    inside.append(quick_element(page, token & TOKEN_BITS, (text,)))
                    at = self._at = end + 2
                    left -= 2
                else:
                    inside = []
                    stack.append((inside, page, token & TOKEN_BITS, (), None))
            elif token == END:
                ended = stack.pop()
                inside = stack[-1][0] if stack else self._roots
                inside.append(closed(ended))
            elif token == SWITCH_PAGE and at < size:
                page = data[at]
                at = self._at = at + 1
            elif FIRST_TAG <= token <= TOKEN_BITS:
                inside.append(leaf(page, token, False))
            else:
                self._tag_page = page
                self._content(token)
                at, page, inside = self._at, self._tag_page, stack[-1][0]
            left -= 1
            if left < 0:
                raise self._error("more than can be shown")

    def _content(self, token: int) -> None:
        """One step inside an element, other than END and tags without content."""
        if token == STR_I:
            self._stack[-1][0].append(self._string())
        elif token == SWITCH_PAGE:
            self._tag_page = self._byte()
        elif token == OPAQUE:
            self._stack[-1][0].append(self._take(self._integer()))
        elif token == PI:
            self._stack[-1][0].append(self._instruction())
        elif (special := self._special(token)) is not None:
            self._stack[-1][0].append(special)
        else:
            self._open(token)

    def _open(self, byte: int) -> None:
        """stag with the two flag bits: attributes, content."""
        token = byte & TOKEN_BITS
        if token < FIRST_TAG and token != LITERAL:
            raise self._error(f"0x{byte:02X} is no tag")
        literal = self._table_text(self._integer()) if token == LITERAL else None
        page = 0 if literal else self._tag_page
        attributes = self._attributes() if byte & HAS_ATTRIBUTES else ()
        if byte & HAS_CONTENT:
            if len(self._stack) >= MAX_DEPTH:
                raise self._too_deep()
            self._stack.append(([], page, token, attributes, literal))
        elif attributes or literal:
            self._add(Element(page, token, (), attributes, literal))
        else:
            self._add(leaf(page, token, False))

    def _add(self, element: Element) -> None:
        (self._stack[-1][0] if self._stack else self._roots).append(element)

    def _special(self, token: int) -> TableText | Entity | Extension | None:
        """STR_T, ENTITY and the extensions: allowed in content and in attribute values alike."""
        if token == STR_T:
            return self._table_text(self._integer())
        if token == ENTITY:
            return self._entity()
        if token in EXT_I:
            return Extension(token, self._string())
        if token in EXT_T:
            return Extension(token, self._integer())
        if token in EXT:
            return Extension(token)
        return None

    def _entity(self) -> Entity:
        code = self._integer()
        if not is_character(code):
            raise self._error(f"entity {code} is no character")
        return Entity(code)

    def _instructions(self) -> tuple[Instruction, ...]:
        found = []
        while self._peek() == PI:
            self._count()
            self._at += 1
            found.append(self._instruction())
        return tuple(found)

    def _instruction(self) -> Instruction:
        """pi = PI attrStart *attrValue END; PI has been read."""
        attributes = self._attributes()
        if len(attributes) != 1:
            raise self._error("a processing instruction holds one attribute")
        return Instruction(attributes[0])

    def _attributes(self) -> tuple[Attribute, ...]:
        """1*attribute END."""
        found: list[Attribute] = []
        while (token := self._byte()) != END:
            self._count()
            if token == SWITCH_PAGE:
                self._attribute_page = self._byte()
            elif token == LITERAL:
                name = self._table_text(self._integer())
                found.append(Attribute(0, LITERAL, self._values(), name))
            elif is_attribute_start(token):
                page = self._attribute_page
                found.append(Attribute(page, token, self._values()))
            else:
                raise self._error(f"0x{token:02X} starts no attribute")
        if not found:
            raise self._error("an empty list of attributes")
        return tuple(found)

    def _values(self) -> tuple[Value, ...]:
        """attrValue: everything up to the next attribute start or END."""
        found: list[Value] = []
        while True:
            token = self._peek()
            if token == SWITCH_PAGE:
                self._at += 1
                self._attribute_page = self._byte()
                continue
            if token is None or token in (END, LITERAL) or is_attribute_start(token):
                return tuple(found)
            self._count()
            self._at += 1
            found.append(self._value(token))

    def _value(self, token: int) -> Value:
        if token == STR_I:
            return self._string()
        if token == OPAQUE:
            return self._take(self._integer())
        if (special := self._special(token)) is not None:
            return special
        if is_attribute_value(token):
            return AttributeValue(self._attribute_page, token)
        raise self._error(f"0x{token:02X} is no attribute value")

    def _switch_pages(self) -> None:
        while self._peek() == SWITCH_PAGE:
            self._at += 1
            self._tag_page = self._byte()

    def _count(self) -> None:
        """One more of what ActiveSync does not use; `_contents` counts the rest itself."""
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise self._error("more than can be shown")

    def _peek(self) -> int | None:
        return self._data[self._at] if self._at < len(self._data) else None

    def _byte(self) -> int:
        at = self._at
        if at >= len(self._data):
            raise self._error("cut short")
        self._at = at + 1
        return self._data[at]

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise self._error("cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _integer(self) -> int:
        """mb_u_int32: seven bits a byte, the highest first, at most five bytes."""
        value = 0
        for _ in range(5):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                if value > 0xFFFFFFFF:
                    break
                return value
        raise self._error("an integer of more than 32 bits")

    def _string(self) -> str:
        """termstr: up to a zero byte."""
        end = self._data.find(0, self._at)
        if end < 0:
            raise self._error("cut short")
        raw = self._data[self._at : end]
        text = self._decoded(raw)
        self._at = end + 1
        return text

    def _table_text(self, offset: int) -> TableText:
        """A string of the string table; the budget keeps few bytes from unfolding to many."""
        end = self._table.find(0, offset)
        if end < 0:
            raise self._error(f"no string at offset {offset} of the string table")
        self._budget -= end - offset
        if self._budget < 0:
            raise self._error("the string table unfolds to too much text")
        return TableText(offset, self._decoded(self._table[offset:end]))

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError:
            raise self._error(f"text that is not {self._encoding.upper()}") from None

    def _too_deep(self) -> WBXMLError:
        return self._error(f"nested deeper than {MAX_DEPTH} elements")

    def _error(self, problem: str) -> WBXMLError:
        return WBXMLError(f"{problem} (byte {self._at} of {len(self._data)})")


# WBXML values to bytes.


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
        if not 0 <= page <= 0xFF or not fits(token):
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
