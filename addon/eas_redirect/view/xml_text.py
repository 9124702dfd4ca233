"""WBXML values as XML text for people, and such text, edited or not, as values again.

Imports the protocol only.

Elements are in the namespace of their code page. Whatever XML cannot express is in the namespace
`wbxml`: opaque data, entities, extensions, literals, text beside elements. Text alone in its
element is written as it is, so white space between elements never has a meaning.

Text is shown as text: line ends of CR LF as `wbxml:lines="crlf"`, a lone CR and what a terminal
would obey as a character reference, what XML cannot hold as `<wbxml:char>`. Anything else is
written in hexadecimal digits, long values in base64. Comments say what it is, and show the decoded
parts of a mail.
"""

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from eas_redirect.activesync.code_pages import PAGES
from eas_redirect.activesync.meanings import value_meaning
from eas_redirect.activesync.wbxml import (
    CHARSETS,
    LITERAL,
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
    token_of,
)
from eas_redirect.view.reading import (
    beginning,
    comment,
    described,
    has_crlf_only,
    is_text,
    latin_text,
    mail_as_read,
    shows_as_text,
)

WBXML_NAMESPACE = "wbxml"
MAX_VALUE = 64 * 1024  # bytes or characters of one value that are shown
MAX_HEX = 48  # bytes: conversation ids and indexes are read that way, pictures are not
_BASE64_LINE = 76

# Elements whose text may be a whole mail (MS-ASCMD 2.2.3.109, MS-ASEMAIL 2.2.2.51, MS-ASAIRS
# 2.2.2.20).
_MAIL = frozenset({"Mime", "MIMEData", "Data"})

# What XML 1.0 2.2 can hold, without CR, which its readers turn into LF, and without the control
# characters that a terminal would obey.
_ODD = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WHOLE_TEXT = re.compile(rb"(?:\r|[\xc2-\xf4][\x80-\xbf]{0,2})\Z")
_SAFE = re.compile(r"[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


class XMLText:
    """Renders one document. `cut` says afterwards whether anything was left out."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._root_page = document.root.page
        self._lines: list[str] = []
        self.cut = False

    def lines(self) -> list[str]:
        """The XML, one line per element; a text of several lines is one item."""
        if (header := _header(self._document)) is not None:
            self._lines.append(header)
        for instruction in self._document.before:
            self._instruction(instruction, "")
        self._element(self._document.root, "", self._namespaces())
        for instruction in self._document.after:
            self._instruction(instruction, "")
        return self._lines

    def _namespaces(self) -> str:
        """Declarations for every page in use; the root's is the default."""
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
            case (str() as text,) if text and shows_as_text(text) and not element.attributes:
                mark, shown = self._text(text)
                self._lines.append(
                    f"{indent}<{start}{mark}>{shown}</{name}>{_meaning(element, text)}"
                )
                self._mail(element, text, indent)
            case (bytes() as data,) if not element.attributes:
                mark, shown, told = self._opaque(data)
                self._lines.append(f"{indent}<{start}{mark}>{shown}</{name}>{told}")
                if not told:
                    self._mail(element, data[:MAX_VALUE].decode("latin-1"), indent)
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
            case str() as text if shows_as_text(text):
                mark, shown = self._text(text)
                return f"<wbxml:text{mark}>{shown}</wbxml:text>"
            case str() as text:
                encoded = _base64(self._shortened(text).encode("utf-8", "replace"))
                return f'<wbxml:text wbxml:opaque="base64">{encoded}</wbxml:text>'
            case bytes() as data:
                mark, shown, told = self._opaque(data)
                return f"<wbxml:opaque{mark}>{shown}</wbxml:opaque>{told}"
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
        beginning = value[:MAX_VALUE]
        if isinstance(beginning, bytes):  # no character and no line end is cut in two
            return _WHOLE_TEXT.sub(b"", beginning, count=1)
        return beginning.removesuffix("\r")

    def _text(self, text: str) -> tuple[str, str]:
        """The attribute that marks how its lines end, if it needs one, and the text."""
        text = self._shortened(text)
        if has_crlf_only(text):
            return ' wbxml:lines="crlf"', _written(text.replace("\r\n", "\n"))
        return "", _written(text)

    def _opaque(self, data: bytes) -> tuple[str, str, str]:
        """The attribute that says how opaque data is shown, the data, and a comment if it is not
        text. `latin-1`: text in an older character set. `crlf`: every line of it ends in CR LF."""
        shortened = self._shortened(data)
        encoding, text = "text", ""
        try:
            text = shortened.decode("utf-8")
        except UnicodeDecodeError:
            encoding, text = "latin-1", latin_text(shortened)
        if not is_text(text):
            told = described(data)
            if len(data) <= MAX_HEX:
                return ' wbxml:opaque="hex"', data.hex(" "), f"<!-- {told} -->"
            told = f"<!-- {told}: {beginning(data)} -->"
            return ' wbxml:opaque="base64"', _base64(shortened), told
        if has_crlf_only(text):
            text = text.replace("\r\n", "\n")
            encoding = "crlf" if encoding == "text" else "latin-1-crlf"
        return f' wbxml:opaque="{encoding}"', _written(text), ""

    def _mail(self, element: Element, text: str, indent: str) -> None:
        """The decoded parts of a mail, as comments, which are skipped when the text is read
        back."""
        if element.name in _MAIL:
            self._lines += [
                f"{indent}<!-- {comment(line)} -->" for line in mail_as_read(text[:MAX_VALUE])
            ]


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
    meaning = value_meaning(element.page, element.name, text)
    return f"<!-- {meaning} -->" if meaning else ""


def _reference(text: TableText) -> str:
    """A string of the string table: its offset counts, its text is for the reader."""
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
    """Instructions around the root are in no element that declares the namespace."""
    return "" if indent else f' xmlns:wbxml="{WBXML_NAMESPACE}"'


def _written(text: str) -> str:
    return _ODD.sub(_odd, escape(text).replace("\r", "&#13;"))


def _odd(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"&#{code};" if 0x7F <= code <= 0x9F else f'<wbxml:char code="{code}"/>'


def _is_safe(text: str) -> bool:
    return _SAFE.fullmatch(text) is not None


def _base64(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    if len(text) <= _BASE64_LINE:
        return text
    lines = [text[i : i + _BASE64_LINE] for i in range(0, len(text), _BASE64_LINE)]
    return "\n" + "\n".join(lines) + "\n"


# The XML text of `xml_view`, edited or not, as WBXML values again.

_PAGES = {name: page for page, name in PAGES.items()}
_UNNAMED_PAGE = re.compile(r"Page-([0-9]{1,3})", re.ASCII)
# Each in linear time: no beginning of a match is looked at twice.
_HEADER = re.compile(r"<\?wbxml\b([^?]*)\?>")
_XML_DECLARATION = re.compile(r"<\?xml\b[^?]*\?>")
_SETTING = re.compile(r'(?<![a-z-])([a-z-]+)="([^"]*)"')
_OWN = f"{{{WBXML_NAMESPACE}}}"
_OPAQUE = f"{_OWN}opaque"
_LINES = f"{_OWN}lines"
_CHAR = f"{_OWN}char"


def document_from_xml(text: str) -> Document:
    """The document that such a text stands for; WBXMLError says what is wrong with it."""
    header = _HEADER.search(text)
    settings = dict(_SETTING.findall(header[1])) if header else {}
    return _Builder(settings).document(_top_level(_HEADER.sub("", text, count=1)))


def _top_level(text: str) -> list[ET.Element]:
    """The top-level elements: instructions and the root."""
    if "<!DOCTYPE" in text:
        raise WBXMLError("a document type declaration has no place here")
    body = _XML_DECLARATION.sub("", text, count=1)
    try:
        # The text is what the person at the keyboard wrote, without entities of its own.
        whole = ET.fromstring(f"<all>{body}</all>")  # noqa: S314
    except ET.ParseError as error:
        raise WBXMLError(f"the XML is not well-formed: {error}") from None
    return list(whole)


class _Builder:
    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = settings
        self._charset = _number(settings.get("charset", "106"))
        self._table = _from_base64(settings.get("strings", ""))

    def document(self, parts: list[ET.Element]) -> Document:
        roots = [i for i, part in enumerate(parts) if part.tag != f"{_OWN}instruction"]
        if len(roots) != 1:
            raise WBXMLError("exactly one root element is needed")
        at = roots[0]
        return Document(
            self._element(parts[at]),
            version=_number(self._settings.get("version", "3")),
            public_id=self._public_id(),
            charset=self._charset,
            string_table=self._table,
            before=tuple(self._instruction(part) for part in parts[:at]),
            after=tuple(self._instruction(part) for part in parts[at + 1 :]),
        )

    def _public_id(self) -> int | TableText:
        if "publicid-offset" in self._settings:
            return self._string(_number(self._settings["publicid-offset"]))
        return _number(self._settings.get("publicid", "1"))

    def _element(self, xml: ET.Element) -> Element:
        page, token, literal = self._identity(xml)
        attributes = tuple(self._attribute(e) for e in xml if e.tag == f"{_OWN}attribute")
        children = self._children(xml)
        hollow = xml.get(f"{_OWN}end") == "1" and not children
        return Element(page, token, children, attributes, literal, hollow)

    def _identity(self, xml: ET.Element) -> tuple[int, int, TableText | None]:
        """Code page and token of a tag, or the literal that names it."""
        namespace, name = _split(xml.tag)
        if xml.tag == f"{_OWN}literal":
            return 0, LITERAL, self._reference(xml)
        unnamed = _UNNAMED_PAGE.fullmatch(namespace)
        page = int(unnamed[1]) if unnamed else _PAGES.get(namespace)
        token = None if page is None or page > 0xFF else token_of(page, name)
        if page is None or token is None:
            raise WBXMLError(f"the namespace {namespace or '(none)'!s} has no tag {name}")
        return page, token, None

    def _children(self, xml: ET.Element) -> tuple[Node, ...]:
        inner = [e for e in xml if e.tag != f"{_OWN}attribute"]
        if _OPAQUE in xml.attrib:
            return (_opaque(xml),)
        if len(xml) and not _is_text(xml):
            if any(text.strip() for text in (xml.text, *(e.tail for e in xml)) if text):
                raise WBXMLError("text beside elements needs <wbxml:text> around it")
            return tuple(self._node(e) for e in inner)
        return (text,) if (text := _text(xml)) else ()

    def _node(self, xml: ET.Element) -> Node:
        namespace, name = _split(xml.tag)
        if namespace != WBXML_NAMESPACE or name == "literal":
            return self._element(xml)
        if name == "instruction":
            return self._instruction(xml)
        value = self._value(xml)
        if isinstance(value, AttributeValue):
            raise WBXMLError("<wbxml:value> belongs into a <wbxml:attribute>")
        return value

    def _value(self, xml: ET.Element) -> Value:
        match _split(xml.tag)[1]:
            case "text" if _OPAQUE in xml.attrib:
                return _decoded(_opaque(xml))
            case "text":
                return _text(xml)
            case "opaque":
                return _opaque(xml)
            case "string":
                return self._reference(xml)
            case "entity":
                return Entity(_number(xml.get("code", "")))
            case "extension":
                return Extension(_number(xml.get("token", "")), _carried_by(xml))
            case "value":
                return AttributeValue(_number(xml.get("page", "")), _number(xml.get("token", "")))
            case other:
                raise WBXMLError(f"<wbxml:{other}> is unknown")

    def _attribute(self, xml: ET.Element) -> Attribute:
        values = tuple(self._value(e) for e in xml)
        if "offset" in xml.attrib:
            return Attribute(0, LITERAL, values, self._reference(xml))
        return Attribute(_number(xml.get("page", "")), _number(xml.get("token", "")), values)

    def _instruction(self, xml: ET.Element) -> Instruction:
        inner = list(xml)
        if xml.tag != f"{_OWN}instruction" or len(inner) != 1:
            raise WBXMLError("a <wbxml:instruction> holds one <wbxml:attribute>")
        return Instruction(self._attribute(inner[0]))

    def _reference(self, xml: ET.Element) -> TableText:
        return self._string(_number(xml.get("offset", "")))

    def _string(self, offset: int) -> TableText:
        end = self._table.find(0, offset)
        if end < 0:
            raise WBXMLError(f"no string at offset {offset} of the string table")
        return TableText(offset, _decoded(self._table[offset:end], CHARSETS.get(self._charset)))


def _split(tag: str) -> tuple[str, str]:
    """Namespace and name of ElementTree's `{namespace}name`."""
    namespace, _, name = tag.rpartition("}")
    return namespace.removeprefix("{"), name


def _opaque(xml: ET.Element) -> bytes:
    if not _is_text(xml):
        raise WBXMLError("opaque data holds no elements")
    text = _text(xml)
    match xml.get(_OPAQUE):
        case "text":
            return text.encode()
        case "crlf":
            return text.replace("\n", "\r\n").encode()
        case "latin-1":
            return _latin(text)
        case "latin-1-crlf":
            return _latin(text.replace("\n", "\r\n"))
        case "hex":
            return _from_hex(text)
        case "base64":
            return _from_base64(text)
        case other:
            raise WBXMLError(
                f"wbxml:opaque={other!r} is none of text, crlf, latin-1, latin-1-crlf, hex, base64"
            )


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise WBXMLError(
            f"{text[error.start]!r} is not in this text's character set; write"
            ' wbxml:opaque="text" to send it as UTF-8'
        ) from None


def _is_text(xml: ET.Element) -> bool:
    return all(inner.tag == _CHAR for inner in xml)


def _text(xml: ET.Element) -> str:
    """The text of an element that holds nothing else but `<wbxml:char>`."""
    pieces = [xml.text or ""]
    for inner in xml:
        code = _number(inner.get("code", ""))
        if code > 0x10FFFF:
            raise WBXMLError(f"there is no character {code}")
        pieces += [chr(code), inner.tail or ""]
    text = "".join(pieces)
    return text.replace("\n", "\r\n") if xml.get(_LINES) == "crlf" else text


def _carried_by(xml: ET.Element) -> str | int | None:
    if "number" in xml.attrib:
        return _number(xml.attrib["number"])
    if "base64" in xml.attrib:
        return _decoded(_from_base64(xml.attrib["base64"]))
    return xml.get("text")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 10:
        raise WBXMLError(f"{text!r} is no number")
    return int(text)


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise WBXMLError("what is marked as hex is not") from None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:  # binascii's own, and one for what is not ASCII
        raise WBXMLError("what is marked as base64 is not") from None


def _decoded(data: bytes, encoding: str | None = "utf-8") -> str:
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        raise WBXMLError(f"text that is not {(encoding or 'utf-8').upper()}") from None
