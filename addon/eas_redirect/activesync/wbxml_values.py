"""What a WBXML document says: frozen values, and the tokens they stand for. Standard library only.

Sources: WAP Binary XML Content Format 1.3 (WAP-192) 5.3 and 7.1; MS-ASWBXML 2.1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, assert_never

from eas_redirect.activesync.code_pages import PAGES, TAGS

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
    """Bytes that are no WBXML document, or a document that cannot be written. One sentence."""


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
    unknown = _UNKNOWN_TAG.fullmatch(name)
    token = int(unknown[1], 16) if unknown else 0
    return token if FIRST_TAG <= token <= TOKEN_BITS else None


def is_character(code: int) -> bool:
    """A Unicode scalar value other than NUL."""
    return 0 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF


def is_attribute_start(token: int) -> bool:
    return 0x05 <= token < 0x80 and not 0x40 <= token <= 0x44


def is_attribute_value(token: int) -> bool:
    return token >= 0x85 and not 0xC0 <= token <= 0xC4


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
