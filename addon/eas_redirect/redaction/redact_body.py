"""Bodies without what they say: structure, statuses and sizes stay, in WBXML and in XML. Imports
the protocols only.
"""

import codecs
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from eas_redirect.activesync.multipart import split_parts
from eas_redirect.activesync.wbxml import (
    Document,
    Element,
    Entity,
    Extension,
    Instruction,
    Node,
    TableText,
    WBXMLError,
    parse,
    write,
)
from eas_redirect.autodiscover.answer import FRAMEWORK
from eas_redirect.autodiscover.document import DocumentError, XMLElement, read_document
from eas_redirect.autodiscover.phone_request import REQUEST, RESPONSE
from eas_redirect.redaction.forms import (
    ELEMENTS,
    Form,
    filled_bytes,
    is_device_text,
    is_number,
    one_of,
)
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_head import redacted_url

# Autodiscover's XML without what it says: elements, statuses and what is equal stay.
#
# As in WBXML, a text stays by its form and never for where it stands.

_NAMESPACES = frozenset({"", FRAMEWORK, REQUEST, RESPONSE})
_CULTURE = re.compile(r"[a-z]{2}[:-][a-z]{2}", re.ASCII)
# MS-ASCMD 2.2.3.44, .65.1, .177.1, .188: what is not a name of anybody or of any server.
_FORMS: Mapping[str, Form] = {
    "AcceptableResponseSchema": one_of(frozenset({RESPONSE})),
    "Culture": lambda text: _CULTURE.fullmatch(text) is not None,
    "Type": one_of(frozenset({"MobileSync", "CertEnroll"})),
    "Status": is_number,
    "ErrorCode": is_number,
    "DebugData": one_of(frozenset({"MailUser"})),
}
_PEOPLE = frozenset({"EMailAddress", "DisplayName", "Redirect"})
_SERVERS = frozenset({"Url", "Name", "ServerData"})
_ELEMENTS = frozenset(
    {
        *(*_FORMS, *_PEOPLE, *_SERVERS),
        *("Autodiscover", "Request", "Response", "User", "Action"),
        *("Settings", "Server", "Error", "Message"),
    }
)
_MARKS = (
    (codecs.BOM_UTF8, "ascii"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def redacted_xml(data: bytes, content_type: str, names: Pseudonyms) -> bytes:
    """The same document with other words; what is not a document is filled.

    It is written in ASCII, which every encoding except UTF-16 contains, and without a declaration,
    so that the same Content-Type still fits. Attributes, which nothing reads, are left out.
    """
    try:
        root = read_document(data, content_type)
    except DocumentError:
        names.prose(data.decode("utf-8", "replace"))
        return filled_bytes(data)
    mark, codec = next((m for m in _MARKS if data.startswith(m[0])), (b"", "ascii"))
    text = _xml_element(root, None, names)
    return mark + text.encode("ascii", "xmlcharrefreplace").decode("ascii").encode(codec)


def _xml_element(element: XMLElement, around: str | None, names: Pseudonyms) -> str:
    name = element.name if element.name in _ELEMENTS else names.label(element.name)
    space = element.namespace
    named = "" if space == around else f" xmlns={quoteattr(_namespace(space, names))}"
    inner = "".join(_xml_element(child, space, names) for child in element.children)
    text = element.text.strip()
    if text:
        inner = escape(_xml_text(element.name, text, names)) + inner
    return f"<{name}{named}>{inner}</{name}>"


def _namespace(namespace: str, names: Pseudonyms) -> str:
    return namespace if namespace in _NAMESPACES else names.secret(namespace)


def _xml_text(element: str, text: str, names: Pseudonyms) -> str:
    form = _FORMS.get(element)
    if form is not None and form(text):
        return text
    if element in _PEOPLE:
        return names.name(text)
    if element in _SERVERS:
        return redacted_url(text, names)
    return names.prose(text)


_PUBLIC_IDS = frozenset(range(1, 0x11))  # WAP-192-WBXML 7.2; ActiveSync writes 1
_CHARSETS = frozenset({0, 3, 4, 106, 1000, 1015})  # IANA MIBenum of ASCII, Latin-1, UTF-8, UCS-2


def redacted_wbxml(data: bytes, names: Pseudonyms) -> bytes:
    """The same document with other words; what is not a document is filled."""
    try:
        document = parse(data)
        clean = Document(
            _element(document.root, names),
            document.version,
            document.public_id if document.public_id in _PUBLIC_IDS else 1,
            document.charset if document.charset in _CHARSETS else 106,
        )
        return write(clean)
    except WBXMLError:
        return filled_bytes(data)


def redacted_multipart(data: bytes, names: Pseudonyms) -> bytes:
    """Part 0 is WBXML; the others are filled. Offsets and lengths stay as they are."""
    try:
        parts = split_parts(data)
    except ValueError:
        return filled_bytes(data)
    clean = [redacted_wbxml(parts[0], names), *(filled_bytes(part) for part in parts[1:])]
    at = 4 + 8 * len(clean)
    head = len(clean).to_bytes(4, "little")
    for part in clean:
        head += at.to_bytes(4, "little") + len(part).to_bytes(4, "little")
        at += len(part)
    return head + b"".join(clean)


def _element(element: Element, names: Pseudonyms) -> Element:
    """Literals, attributes and instructions, which ActiveSync does not use, are dropped."""
    form = None
    if element.literal is None:
        form = ELEMENTS.get(element.page, {}).get(element.name)
    children = tuple(
        clean for child in element.children if (clean := _node(child, form, names)) is not None
    )
    token = 0x3F if element.literal is not None else element.token
    return Element(element.page, token, children, hollow=element.hollow)


def _node(node: Node, form: Form | None, names: Pseudonyms) -> Node | None:
    match node:
        case Element():
            return _element(node, names)
        case str():
            return _text(node, form, names)
        case bytes():
            return _opaque(node, names)
        case TableText() | Entity():
            return _text(node.text, form, names)
        case Extension() | Instruction():
            return None


def _text(text: str, form: Form | None, names: Pseudonyms) -> str:
    """A text stays if it has the form of its element. Otherwise ids, models and addresses get
    stand-ins, so that equal ones stay equal, and other text is filled."""
    if form is is_device_text:
        return names.device(text)
    if form is not None and form(text):
        return text
    if form is not None or "@" in text:
        return names.name(text)
    return names.prose(text)


def _opaque(data: bytes, names: Pseudonyms) -> bytes:
    """Opaque statuses are text (MS-ASWBXML 2.1.1); everything else is filled."""
    if data.isdigit() and len(data) <= 3:
        return data
    clean = filled_bytes(data)
    if clean != bytes(len(data)):
        names.prose(data.decode("utf-8", "replace"))
    return clean
