"""A phone's question to Autodiscover: method, path and body in, the address out. Pure.

Sources: MS-ASCMD 2.2.1.1.1 (the request), MS-OXDISCO 3.1.5 (where clients look).
"""

from dataclasses import dataclass

from eas_redirect.autodiscover.document import MAX_BYTES, DocumentError, read_document

PATH = "/autodiscover/autodiscover.xml"
REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006"
RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"

_MAX_ADDRESS = 256  # characters; RFC 5321 4.5.3.1.3 allows 254 for a path without its brackets


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneRequest:
    """A request in the phones' schema. `email_address` identifies the mailbox: usually an
    address, sometimes a bare name (clients that were refused once try that)."""

    email_address: str


@dataclass(frozen=True, slots=True)
class NotForPhones:
    """Any other request to Autodiscover; `why` is one plain sentence without content."""

    why: str


def is_autodiscover(method: str, target: str) -> bool:
    """Whether a request may be a phone's: a POST to the one path, whatever its case (RFC 9110 4.2.3
    has paths with case, IIS has none). GET, SOAP and JSON have other methods or paths."""
    return method.upper() == "POST" and target.partition("?")[0].lower() == PATH


def is_outlooks(body: bytes) -> bool:
    """Whether a body is one of Outlook's own questions (MS-OXDSCLI), which is left alone."""
    return b"/outlook/requestschema/" in body[:MAX_BYTES].replace(b"\0", b"")


def read_phone_request(body: bytes, content_type: str = "") -> PhoneRequest | NotForPhones:
    """The question in a body. Total: anything that is not exactly a phone's question is
    NotForPhones."""
    try:
        root = read_document(body, content_type)
    except DocumentError as error:
        return NotForPhones(f"The request could not be read: {error}.")
    if (root.namespace, root.name) != (REQUEST, "Autodiscover"):
        return NotForPhones("The request is not in the phones' schema.")
    if len(root.children) != 1 or (request := root.one(REQUEST, "Request")) is None:
        return NotForPhones("The request does not hold exactly one Request.")
    schema = request.one(REQUEST, "AcceptableResponseSchema")
    if schema is None or schema.text.strip() != RESPONSE or schema.children:
        return NotForPhones("The request does not ask for the phones' schema, and for it alone.")
    address = request.one(REQUEST, "EMailAddress")
    if address is None or address.children or len(request.children) != 2:
        return NotForPhones("The request does not name exactly one address.")
    name = address.text.strip()
    if not name or len(name) > _MAX_ADDRESS or not name.isprintable():
        return NotForPhones("The request's address is empty, too long or not printable.")
    return PhoneRequest(email_address=name)
