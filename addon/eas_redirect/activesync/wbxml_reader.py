"""Bytes to WBXML values; see `wbxml`. Standard library only.

Every read is checked against the end, nesting and unfolding are bounded, and nothing is read twice:
time and memory are linear in the input.
"""

from functools import lru_cache
from typing import cast

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
    Value,
    WBXMLError,
    is_attribute_start,
    is_attribute_value,
    is_character,
)

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
                end = data.find(0, at) if at < size and data[at] == STR_I else -1
                if end > 0 and data[end + 1 : end + 2] == _END_BYTE:
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
        end = self._table.find(0, offset) if offset < len(self._table) else -1
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
