"""What Autodiscover answers a phone: read as evidence, and written with the new server. Pure.

Sources: MS-ASCMD 2.2.1.1.2 (the answer), 2.2.3.146 (Redirect), 2.2.3.65.1 (Error), 4.2.4
(Settings).
"""

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.request import Headers, header_values
from eas_redirect.autodiscover.document import MAX_BYTES, DocumentError, XMLElement, read_document
from eas_redirect.autodiscover.phone_request import RESPONSE

FRAMEWORK = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
CONTENT_TYPE = "text/xml; charset=utf-8"
# Of every answer that is written here.
BEGINNING = (
    '<?xml version="1.0" encoding="utf-8"?>'
    f'<Autodiscover xmlns="{FRAMEWORK}"><Response xmlns="{RESPONSE}"><Culture>'
)

_XML_TYPES = frozenset({"text/xml", "application/xml"})
_MAX_COPIED = 256  # characters; displayName and mail of a directory hold no more (MS-ADA1, MS-ADA2)
_NOT_REACHED = "2"  # MS-ASCMD 2.2.3.177.1: the only status that the specification defines


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who the answer is for; `email_address` is the primary address (MS-ASCMD 2.2.3.183)."""

    email_address: str | None = None
    display_name: str | None = None
    culture: str | None = None  # such as `en:us`


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectAddress:
    """Exchange names the address to go on with: the strongest evidence that it can give here."""

    address: str
    user: User = field(default_factory=User)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMailboxHere:
    """Exchange names no new place, but says that it could not serve this user: an Error with
    Status 2, or a 403. That can mean a moved mailbox, or a dozen other things."""

    user: User = field(default_factory=User)


@dataclass(frozen=True, slots=True)
class OtherAnswer:
    """Says nothing about a moved mailbox; `why` is one plain sentence without content."""

    why: str


type AutodiscoverEvidence = RedirectAddress | NoMailboxHere | OtherAnswer


def may_say_more(status_code: int, headers: Headers) -> bool:
    """From the head alone: must the answer be held until its body is read, or until it is
    judged? False: it can say nothing about a moved mailbox."""
    lengths = header_values(headers, "content-length")
    if not all(value.isdecimal() and int(value[:9]) <= MAX_BYTES for value in lengths):
        return False
    if status_code == 403:
        return True
    types = header_values(headers, "content-type")
    return status_code == 200 and len(types) == 1 and _is_xml(types[0])


def read_discovery_answer(
    status_code: int, content_type: str, content_encoding: str, body: bytes | None
) -> AutodiscoverEvidence:
    """The evidence of an answer. Total.

    `body` is as it came over the wire, None if it was not kept. Settings of any kind, errors of the
    framework (600, 601) and every other status are OtherAnswer: they come before a logon, from an
    outage, or already tell the phone everything.
    """
    if status_code == 403:
        return NoMailboxHere()
    if status_code != 200:
        return OtherAnswer(f"The answer's status is {status_code}.")
    if not _is_xml(content_type) or body is None:
        return OtherAnswer("The answer is not XML.")
    try:
        root = read_document(inflated(body, content_encoding, MAX_BYTES), content_type)
    except (DocumentError, InflateError) as error:
        return OtherAnswer(f"The answer could not be read: {error}.")
    return _evidence(root)


def _is_xml(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in _XML_TYPES


def _evidence(root: XMLElement) -> AutodiscoverEvidence:
    response = root.one(RESPONSE, "Response")
    if (root.namespace, root.name) != (FRAMEWORK, "Autodiscover") or len(root.children) != 1:
        return OtherAnswer("The answer is not one of Autodiscover's.")
    if response is None:
        return OtherAnswer("The answer is not in the phones' schema.")
    action = response.one(RESPONSE, "Action")
    if action is None or len(action.children) != 1:
        return OtherAnswer("The answer has not exactly one action.")
    user = _user(response)
    said = action.children[0]
    if said.namespace != RESPONSE:
        return OtherAnswer("The answer's action is not in the phones' schema.")
    if said.name == "Redirect" and not said.children and said.text.strip():
        return RedirectAddress(address=said.text.strip(), user=user)
    if said.name == "Error":
        status = said.one(RESPONSE, "Status")
        if status is not None and status.text.strip() == _NOT_REACHED:
            return NoMailboxHere(user=user)
    return OtherAnswer("The answer says nothing of a moved mailbox.")


def _user(response: XMLElement) -> User:
    culture = response.one(RESPONSE, "Culture")
    user = response.one(RESPONSE, "User")
    return User(
        email_address=_content(user.one(RESPONSE, "EMailAddress")) if user else None,
        display_name=_content(user.one(RESPONSE, "DisplayName")) if user else None,
        culture=_content(culture),
    )


def _content(element: XMLElement | None) -> str | None:
    return (element.text.strip() or None) if element is not None else None


def write_settings(location: str, user: User) -> bytes:
    """The answer that a newer Exchange gives: the settings of `location` (MS-ASCMD 4.2.4).

    Clients are particular: one reads Url only after Type, two keep the white space around a URL,
    two know only default namespaces, one stumbles over a byte order mark.
    """
    address = _element("EMailAddress", user.email_address)
    name = _element("DisplayName", user.display_name)
    # EMailAddress is the one required child of User.
    person = f"<User>{name}{address}</User>" if address else ""
    url = escape(location)
    return (
        f"{BEGINNING}{_content_of(user.culture) or 'en:us'}</Culture>{person}"
        "<Action><Settings><Server>"
        f"<Type>MobileSync</Type><Url>{url}</Url><Name>{url}</Name>"
        "</Server></Settings></Action></Response></Autodiscover>"
    ).encode()


def _element(name: str, text: str | None) -> str:
    """An element with its text; nothing if there is none."""
    return f"<{name}>{content}</{name}>" if (content := _content_of(text)) else ""


def _content_of(text: str | None) -> str:
    """Without characters that XML cannot hold (XML 1.0 2.2); empty if the text is longer than
    any real one."""
    if not text or len(text) > _MAX_COPIED:
        return ""
    return escape("".join(c for c in text if _may_stand_in_xml(c)))


def _may_stand_in_xml(character: str) -> bool:
    code = ord(character)
    return code >= 0x20 and not 0xD800 <= code <= 0xDFFF and code not in (0xFFFE, 0xFFFF)
