"""Autodiscover's XML without what it says: elements, statuses and what is equal stay.

As in WBXML, a text stays by its form and never for where it stands. Imports the protocol only.
"""

import codecs
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from eas_redirect.autodiscover.answer import FRAMEWORK
from eas_redirect.autodiscover.document import DocumentError, XMLElement, read_document
from eas_redirect.autodiscover.phone_request import REQUEST, RESPONSE
from eas_redirect.redaction.forms import Form, filled_bytes, is_number, one_of
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_head import redacted_url

_NAMESPACES = frozenset({"", FRAMEWORK, REQUEST, RESPONSE})
_CULTURE = re.compile(r"[a-z]{2}[:-][a-z]{2}", re.ASCII)
# MS-ASCMD 2.2.3.44, .65.1, .177.1, .188: what is no name of anybody or of any server.
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
    """The same document with other words; what is no document is filled whole.

    In ASCII, which every encoding but UTF-16 has, and without a declaration: so that it stays
    readable by the same Content-Type. Attributes, which nothing reads, are left out.
    """
    try:
        root = read_document(data, content_type)
    except DocumentError:
        names.prose(data.decode("utf-8", "replace"))
        return filled_bytes(data)
    mark, codec = next((m for m in _MARKS if data.startswith(m[0])), (b"", "ascii"))
    text = _element(root, None, names)
    return mark + text.encode("ascii", "xmlcharrefreplace").decode("ascii").encode(codec)


def _element(element: XMLElement, around: str | None, names: Pseudonyms) -> str:
    name = element.name if element.name in _ELEMENTS else names.label(element.name)
    space = element.namespace
    named = "" if space == around else f" xmlns={quoteattr(_namespace(space, names))}"
    inner = "".join(_element(child, space, names) for child in element.children)
    text = element.text.strip()
    if text:
        inner = escape(_text(element.name, text, names)) + inner
    return f"<{name}{named}>{inner}</{name}>"


def _namespace(namespace: str, names: Pseudonyms) -> str:
    return namespace if namespace in _NAMESPACES else names.secret(namespace)


def _text(element: str, text: str, names: Pseudonyms) -> str:
    form = _FORMS.get(element)
    if form is not None and form(text):
        return text
    if element in _PEOPLE:
        return names.name(text)
    if element in _SERVERS:
        return redacted_url(text, names)
    return names.prose(text)
