"""WBXML values as XML text for people; `xml_edit` reads it back. Imports the protocol only.

Elements are in the namespace of their code page. What XML has no word for is in the namespace
`wbxml`: opaque data, entities, extensions, literals, text beside elements. Text that stands alone
in its element is written as it is, so that white space between elements never means anything.
"""

import base64
import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from eas_redirect.activesync.wbxml import (
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
    page_name,
)
from eas_redirect.view.meanings import status_meaning

WBXML_NAMESPACE = "wbxml"
MAX_VALUE = 64 * 1024  # bytes or characters of one value that are shown
_BASE64_LINE = 76

# What XML 1.0 2.2 can hold, without CR, which its readers turn into LF, and without the control
# characters that a terminal would obey.
_SAFE = re.compile(r"[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


class XMLText:
    """Renders one document. `cut` says afterwards whether anything was left out."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._root_page = document.root.page
        self._lines: list[str] = []
        self.cut = False

    def lines(self) -> list[str]:
        """The XML, a line an element; a text of several lines is one item."""
        if (header := _header(self._document)) is not None:
            self._lines.append(header)
        for instruction in self._document.before:
            self._instruction(instruction, "")
        self._element(self._document.root, "", self._namespaces())
        for instruction in self._document.after:
            self._instruction(instruction, "")
        return self._lines

    def _namespaces(self) -> str:
        """Declarations for every page in use; that of the root is the default."""
        pages = set(_pages(self._document.root)) - {self._root_page}
        prefixed = "".join(
            f' xmlns:{page_name(page).lower()}="{page_name(page)}"' for page in sorted(pages)
        )
        return f' xmlns="{page_name(self._root_page)}"{prefixed} xmlns:wbxml="{WBXML_NAMESPACE}"'

    def _element(self, element: Element, indent: str, declared: str = "") -> None:
        name, start = self._start(element)
        start += declared
        match element.children:
            case () if not element.attributes:
                self._lines.append(f"{indent}<{start}{' wbxml:end="1"' * element.hollow}/>")
            case (str() as text,) if text and _is_safe(text) and not element.attributes:
                shown, meaning = escape(self._shortened(text)), _meaning(element, text)
                self._lines.append(f"{indent}<{start}>{shown}</{name}>{meaning}")
            case (bytes() as data,) if not element.attributes:
                encoding, shown = self._opaque(data)
                self._lines.append(f'{indent}<{start} wbxml:opaque="{encoding}">{shown}</{name}>')
            case children:
                self._lines.append(f"{indent}<{start}{' wbxml:end="1"' * element.hollow}>")
                for attribute in element.attributes:
                    self._attribute(attribute, indent + "  ")
                for child in children:
                    self._node(child, indent + "  ")
                self._lines.append(f"{indent}</{name}>")

    def _start(self, element: Element) -> tuple[str, str]:
        """The tag's name, and the name with the attributes that a literal needs."""
        if element.literal is not None:
            return "wbxml:literal", f"wbxml:literal{_reference(element.literal)}"
        if element.page == self._root_page:
            return element.name, element.name
        name = f"{page_name(element.page).lower()}:{element.name}"
        return name, name

    def _node(self, node: Node, indent: str) -> None:
        match node:
            case Element():
                self._element(node, indent)
            case Instruction():
                self._instruction(node, indent)
            case _:
                self._lines.append(indent + self._value(node))

    def _value(self, value: Value) -> str:
        match value:
            case str() as text if _is_safe(text):
                return f"<wbxml:text>{escape(self._shortened(text))}</wbxml:text>"
            case str() as text:
                encoded = _base64(self._shortened(text).encode("utf-8", "replace"))
                return f'<wbxml:text wbxml:opaque="base64">{encoded}</wbxml:text>'
            case bytes() as data:
                encoding, shown = self._opaque(data)
                return f'<wbxml:opaque wbxml:opaque="{encoding}">{shown}</wbxml:opaque>'
            case TableText():
                return f"<wbxml:string{_reference(value)}/>"
            case Entity(code=code):
                return f'<wbxml:entity code="{code}"/>'
            case Extension(token=token, value=carried):
                return f'<wbxml:extension token="{token}"{_carried(carried)}/>'
            case AttributeValue(page=page, token=token):
                return f'<wbxml:value page="{page}" token="{token}"/>'

    def _attribute(self, attribute: Attribute, indent: str) -> None:
        known = f' page="{attribute.page}" token="{attribute.token}"'
        identity = _reference(attribute.literal) if attribute.literal else known
        self._lines.append(f"{indent}<wbxml:attribute{identity}>")
        self._lines.extend(f"{indent}  {self._value(value)}" for value in attribute.values)
        self._lines.append(f"{indent}</wbxml:attribute>")

    def _instruction(self, instruction: Instruction, indent: str) -> None:
        self._lines.append(f"{indent}<wbxml:instruction{_declared(indent)}>")
        self._attribute(instruction.attribute, indent + "  ")
        self._lines.append(f"{indent}</wbxml:instruction>")

    def _shortened[T: (str, bytes)](self, value: T) -> T:
        if len(value) <= MAX_VALUE:
            return value
        self.cut = True
        return value[:MAX_VALUE]

    def _opaque(self, data: bytes) -> tuple[str, str]:
        """Opaque data as text where it is text. `crlf`: every line of it ends in CR LF."""
        data = self._shortened(data)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return "base64", _base64(data)
        if _is_safe(text):
            return "text", escape(text)
        bare = text.replace("\r\n", "")
        if "\n" not in bare and _is_safe(bare):
            return "crlf", escape(text.replace("\r\n", "\n"))
        return "base64", _base64(data)


def _pages(element: Element) -> Iterator[int]:
    if element.literal is None:
        yield element.page
    for child in element.elements:
        yield from _pages(child)


def _header(document: Document) -> str | None:
    """What differs from the header of MS-ASWBXML 2.1.1, as a processing instruction."""
    parts = []
    if document.version != 3:
        parts.append(f'version="{document.version}"')
    match document.public_id:
        case TableText() as text:
            parts.append(f'publicid-offset="{text.offset}"')
        case number if number != 1:
            parts.append(f'publicid="{number}"')
    if document.charset != 106:
        parts.append(f'charset="{document.charset}"')
    if document.string_table:
        parts.append(f'strings="{base64.b64encode(document.string_table).decode()}"')
    return f"<?wbxml {' '.join(parts)}?>" if parts else None


def _meaning(element: Element, text: str) -> str:
    if element.name != "Status" or not text.isdecimal() or len(text) > 5:
        return ""
    meaning = status_meaning(element.page, int(text))
    return f"<!-- {meaning} -->" if meaning else ""


def _reference(text: TableText) -> str:
    """A string of the string table: its place decides, its text is for the reader."""
    shown = text.text if _is_safe(text.text) else "?"
    return f' offset="{text.offset}" string={quoteattr(shown)}'


def _carried(value: str | int | None) -> str:
    match value:
        case None:
            return ""
        case int():
            return f' number="{value}"'
        case str() if _is_safe(value):
            return f" text={quoteattr(value)}"
        case str():
            return f' base64="{base64.b64encode(value.encode("utf-8")).decode()}"'


def _declared(indent: str) -> str:
    """Instructions around the root stand in no element that declares the namespace."""
    return "" if indent else f' xmlns:wbxml="{WBXML_NAMESPACE}"'


def _is_safe(text: str) -> bool:
    return _SAFE.fullmatch(text) is not None


def _base64(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    if len(text) <= _BASE64_LINE:
        return text
    lines = [text[i : i + _BASE64_LINE] for i in range(0, len(text), _BASE64_LINE)]
    return "\n" + "\n".join(lines) + "\n"
