"""The XML text of `xml_view`, edited or not, as WBXML values again. Imports the protocol only."""

import base64
import re
import xml.etree.ElementTree as ET

from eas_redirect.activesync.code_pages import PAGES
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
    WBXMLError,
)
from eas_redirect.activesync.wbxml_values import CHARSETS, LITERAL, token_of
from eas_redirect.view.xml_view import WBXML_NAMESPACE

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
    """The document that a text of `xml_view` stands for; WBXMLError says what is wrong with it."""
    header = _HEADER.search(text)
    settings = dict(_SETTING.findall(header[1])) if header else {}
    return _Builder(settings).document(_top_level(_HEADER.sub("", text, count=1)))


def _top_level(text: str) -> list[ET.Element]:
    """The elements that stand side by side: instructions and the root."""
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
                return Extension(_number(xml.get("token", "")), _carried(xml))
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
        case "base64":
            return _from_base64(text)
        case other:
            raise WBXMLError(
                f"wbxml:opaque={other!r} is none of text, crlf, latin-1, latin-1-crlf, base64"
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


def _carried(xml: ET.Element) -> str | int | None:
    if "number" in xml.attrib:
        return _number(xml.attrib["number"])
    if "base64" in xml.attrib:
        return _decoded(_from_base64(xml.attrib["base64"]))
    return xml.get("text")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 10:
        raise WBXMLError(f"{text!r} is no number")
    return int(text)


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
