"""A small XML document: bytes in, elements out, within bounds. Pure; standard library only.

A DOCTYPE is refused before anything in it is read, so the sender can define no entities and refer
to nothing external. This module chooses the encoding, not the parser: UTF-8,
UTF-16 with a byte order mark, and Latin-1 where it is declared (XML 1.0 4.3.3, RFC 7303 3).
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from xml.parsers import expat

MAX_BYTES = 64 * 1024
_MAX_DEPTH = 16  # the deepest document of the schema has six levels
# Characters: the longest of the schema has 82. The parser puts it before every name, so that a long
# one in a small document would take hundreds of megabytes.
_MAX_NAMESPACE = 256

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""^<\?xml\s[^>]*?\bencoding\s*=\s*(?:"([A-Za-z][\w.-]*)"|'([A-Za-z][\w.-]*)')"""
)
_READ_WITHOUT_MARK = {"utf-8": "utf-8", "ascii": "utf-8", "iso8859-1": "iso8859-1"}


class DocumentError(ValueError):
    """One plain sentence about an unreadable document. It holds nothing of its content."""


@dataclass(frozen=True, slots=True)
class XMLElement:
    """An element. `text` is the text directly in it; attributes are not kept."""

    namespace: str
    name: str
    text: str
    children: tuple["XMLElement", ...]

    def all(self, namespace: str, name: str) -> tuple["XMLElement", ...]:
        """The children of this name."""
        return tuple(c for c in self.children if (c.namespace, c.name) == (namespace, name))

    def one(self, namespace: str, name: str) -> "XMLElement | None":
        """The only child of this name; None if there are none or several."""
        found = self.all(namespace, name)
        return found[0] if len(found) == 1 else None


def read_document(data: bytes, content_type: str = "") -> XMLElement:
    """The root of a document of at most MAX_BYTES; anything else is a DocumentError.

    `content_type` is the header's value: its charset must not contradict the document.
    """
    if len(data) > MAX_BYTES:
        raise DocumentError(f"the document is longer than {MAX_BYTES} bytes")
    return _Reader().read(_text(data, content_type))


def _text(data: bytes, content_type: str) -> str:
    """The characters of the document, if everything that names an encoding agrees."""
    mark, encoding = next(
        ((mark, name) for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), (b"", None)
    )
    data = data[len(mark) :]
    named = list(_named(data if encoding is None else _ascii_head(data, encoding), content_type))
    if encoding is None:
        encoding = _READ_WITHOUT_MARK.get(named[0] if named else "utf-8")
        if encoding is None:
            raise DocumentError("the document's encoding is none that is read here")
    if not all(_agrees(name, encoding) for name in named):
        raise DocumentError("the document's encoding is named in two ways that contradict")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise DocumentError("the document is not in the encoding that it names") from None
    if "\0" in text or text.startswith("\ufeff"):
        # The parser would take either as a sign of another encoding, whatever it was told.
        raise DocumentError("the document holds a NUL or a second byte order mark")
    return text


def _named(head: bytes, content_type: str) -> Iterator[str]:
    """The encodings that the XML declaration and the header name, as Python's codecs call them."""
    declared = _DECLARED.match(head)
    if declared:
        yield _codec(declared[1] or declared[2])
    header = Message()
    header["Content-Type"] = content_type
    charset = header.get_content_charset()
    if charset is not None:
        yield _codec(charset.encode("ascii", "replace"))


def _ascii_head(data: bytes, encoding: str) -> bytes:
    """The XML declaration of a document whose byte order mark gives its encoding."""
    return data[:400].decode(encoding, "replace").encode("ascii", "replace")


def _codec(name: bytes) -> str:
    try:
        return codecs.lookup(name.decode("ascii")).name
    except (LookupError, UnicodeDecodeError, ValueError):
        raise DocumentError("the document's encoding is none that is read here") from None


def _agrees(named: str, encoding: str) -> bool:
    if encoding.startswith("utf-16"):
        return named in ("utf-16", encoding)
    return _READ_WITHOUT_MARK.get(named) == encoding


class _Reader:
    """Builds elements from the parser's events."""

    def __init__(self) -> None:
        self._open: list[tuple[str, list[str], list[XMLElement]]] = []
        self._root: XMLElement | None = None

    def read(self, text: str) -> XMLElement:
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(text.encode(), True)
        except expat.ExpatError as error:
            place = f"line {error.lineno}, column {error.offset + 1}"
            raise DocumentError(f"the document is not well-formed XML ({place})") from None
        if self._root is None:
            raise DocumentError("the document has no element")
        return self._root

    def _doctype(self, *_: object) -> None:
        raise DocumentError("the document has a DOCTYPE")

    def _namespace(self, _: str | None, uri: str | None) -> None:
        if len(uri or "") > _MAX_NAMESPACE:
            raise DocumentError(f"a namespace is longer than {_MAX_NAMESPACE} characters")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise DocumentError(f"the document nests more than {_MAX_DEPTH} levels")
        self._open.append((name, [], []))

    def _characters(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, _: str) -> None:
        name, texts, children = self._open.pop()
        namespace, _, local = name.rpartition(" ")
        element = XMLElement(namespace, local, "".join(texts), tuple(children))
        if self._open:
            self._open[-1][2].append(element)
        else:
            self._root = element
