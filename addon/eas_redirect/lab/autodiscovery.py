"""Autodiscover in the lab: what a phone asks, what servers answer, and what a phone reads of it.

Sources: MS-ASCMD 2.2.1.1.1 and 4.2 (both messages), MS-OXDISCO 3.1.5 (which host is asked).
"""

from xml.sax.saxutils import escape

from eas_redirect.autodiscover.answer import FRAMEWORK
from eas_redirect.autodiscover.document import DocumentError, XMLElement, read_document
from eas_redirect.autodiscover.phone_request import REQUEST, RESPONSE

XML_TYPE = "text/xml; charset=utf-8"
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


def host_of(address: str) -> str:
    """The host that a phone asks about an address."""
    return f"autodiscover.{address.rpartition('@')[2]}"


def question(address: str) -> bytes:
    return (
        f'{_DECLARATION}<Autodiscover xmlns="{REQUEST}"><Request>'
        f"<EMailAddress>{escape(address)}</EMailAddress>"
        f"<AcceptableResponseSchema>{RESPONSE}</AcceptableResponseSchema></Request></Autodiscover>"
    ).encode()


def redirect_answer(address: str, new_address: str) -> bytes:
    """An old Exchange's answer about a mailbox that has moved (MS-ASCMD 4.2.3)."""
    return _answer(address, f"<Redirect>{escape(new_address)}</Redirect>")


def settings_answer(address: str, url: str) -> bytes:
    """MS-ASCMD 4.2.4."""
    server = f"<Type>MobileSync</Type><Url>{escape(url)}</Url><Name>{escape(url)}</Name>"
    return _answer(address, f"<Settings><Server>{server}</Server></Settings>")


INVALID_REQUEST = (
    f'{_DECLARATION}<Autodiscover xmlns="{FRAMEWORK}"><Response>'
    '<Error Time="10:20:30.1234567" Id="1054084152"><ErrorCode>600</ErrorCode>'
    "<Message>Invalid Request</Message><DebugData /></Error></Response></Autodiscover>"
).encode()


def _answer(address: str, action: str) -> bytes:
    return (
        f'{_DECLARATION}<Autodiscover xmlns="{FRAMEWORK}"><Response xmlns="{RESPONSE}">'
        f"<Culture>en:us</Culture><User><EMailAddress>{escape(address)}</EMailAddress></User>"
        f"<Action>{action}</Action></Response></Autodiscover>"
    ).encode()


def server_url(answer: bytes) -> str | None:
    """The server that an answer's Settings name, or None."""
    return _text(answer, "Settings", "Server", "Url")


def other_address(answer: bytes) -> str | None:
    """The address that an answer's Redirect names."""
    return _text(answer, "Redirect")


def _text(answer: bytes, *names: str) -> str | None:
    found: XMLElement | None
    try:
        found = read_document(answer)
    except DocumentError:
        return None
    for name in ("Response", "Action", *names):
        found = found.one(RESPONSE, name) if found is not None else None
    return None if found is None else found.text
