"""Does an answer say UserHasNoMailbox? Status, headers and body in, `Answer` out. Pure.

Sources: MS-ASCMD 2.2.2 (common status codes: 123 UserHasNoMailbox), 2.2.3.177 (Status), MS-ASHTTP
2.2.2.1.1 (status line).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.request import EASRequest, Headers, header_values
from eas_redirect.activesync.wbxml import (
    ACTIVESYNC_TYPES,
    Element,
    Entity,
    TableText,
    WBXMLError,
    parse,
)

MAX_BODY = 64 * 1024  # bytes, before and after inflating: a global status is tens of bytes
SHORT_BODY = 128  # bytes; "nothing has changed" is the same few bytes all day, and read once
USER_HAS_NO_MAILBOX = 123  # MS-ASCMD 2.2.2

# The root of each command's answer and the Status directly inside it (MS-ASWBXML 2.1.2.1):
# command → (page, root token, Status token). Commands without an XML root are not here.
ROOTS: dict[str, tuple[int, int, int]] = {
    "Sync": (0, 0x05, 0x0E),
    "MoveItems": (5, 0x05, 0x0B),
    "GetItemEstimate": (6, 0x05, 0x0E),
    "FolderSync": (7, 0x16, 0x0C),
    "FolderCreate": (7, 0x13, 0x0C),
    "FolderDelete": (7, 0x14, 0x0C),
    "FolderUpdate": (7, 0x15, 0x0C),
    "MeetingResponse": (8, 0x07, 0x0B),
    "ResolveRecipients": (10, 0x05, 0x07),
    "ValidateCert": (11, 0x05, 0x0A),
    "Ping": (13, 0x05, 0x07),
    "Provision": (14, 0x05, 0x0B),
    "Search": (15, 0x05, 0x0C),
    "Settings": (18, 0x05, 0x06),
    "ItemOperations": (20, 0x05, 0x0D),
    "SendMail": (21, 0x05, 0x12),
    "SmartForward": (21, 0x06, 0x12),
    "SmartReply": (21, 0x07, 0x12),
    "Find": (25, 0x05, 0x0A),
}

DIAGNOSTICS = ("x-ms-diagnostics", "x-exceptiondiagnostics")
# A word of its own: Exchange's diagnostics join entries with punctuation and underscores.
_USER_HAS_NO_MAILBOX = re.compile(r"(?<![A-Za-z0-9])UserHasNoMailbox(?![A-Za-z0-9])")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_SPACE = " \t\r\n"
# Never about a mailbox, whatever a configuration counts as weak: success, the demand to log on,
# and Exchange's own redirect.
_NEVER_WEAK = frozenset({200, 401, 451})


class Evidence(StrEnum):
    """How sure an answer makes us that the user has no mailbox on this server."""

    NONE = "none"
    WEAK = "weak"
    CERTAIN = "certain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was read from one answer of the legacy Exchange.

    `eas_status` is the global Status of the body (an integer), when there is one. `problem` is a
    plain sentence about a body that could not be read; the evidence is then NONE (unless the
    headers alone are certain).
    """

    status_code: int
    evidence: Evidence
    eas_status: int | None = None
    location: str | None = None  # X-MS-Location, when Exchange redirects by itself
    problem: str | None = None


class _UnreadableError(Exception):
    """One plain sentence about a body."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """An answer without its body. What it says of the body is worked out once, when it comes.

    `may_be_status`: the body may be the command's own answer, and is short enough.
    """

    request: EASRequest
    status_code: int
    headers: Headers
    may_be_status: bool

    @property
    def may_hold_evidence(self) -> bool:
        """Must the body be read to judge this answer? False: stream it."""
        if self.may_be_status:
            return True
        if self.request.method != "POST" or self.status_code != 200:
            return False
        lengths = header_values(self.headers, "content-length")
        return all(length == "0" for length in lengths) and _diagnosed(self.headers)


def read_head(request: EASRequest, status_code: int, headers: Headers) -> AnswerHead:
    asked = request.method == "POST" and status_code == 200
    return AnswerHead(request, status_code, headers, asked and _may_be_status(request, headers))


def read_answer(
    request: EASRequest,
    status_code: int,
    headers: Headers,
    body: bytes | None,
    weak_statuses: frozenset[int] = frozenset({403}),
) -> Answer:
    """`read_body`, for whoever has the whole answer at once."""
    return read_body(read_head(request, status_code, headers), body, weak_statuses)


def read_body(head: AnswerHead, body: bytes | None, weak_statuses: frozenset[int]) -> Answer:
    """Total: any answer gives a value. `body` is as it came over the wire (`Content-Encoding` not
    undone), or None when it was streamed unread."""
    status_code = head.status_code
    if status_code == 200:
        return _read_success(head, body)
    locations = header_values(head.headers, "x-ms-location")
    return Answer(
        status_code=status_code,
        evidence=_error_evidence(head, weak_statuses),
        location=locations[0] if status_code == 451 and locations else None,
    )


def _error_evidence(head: AnswerHead, weak_statuses: frozenset[int]) -> Evidence:
    """The HTTP form: the body is IIS's and says nothing."""
    if head.request.method not in ("POST", "OPTIONS") or head.status_code in _NEVER_WEAK:
        return Evidence.NONE
    if head.status_code == 403 and _diagnosed(head.headers):
        return Evidence.CERTAIN
    return Evidence.WEAK if head.status_code in weak_statuses else Evidence.NONE


def _read_success(head: AnswerHead, body: bytes | None) -> Answer:
    """The in-band form: a global Status in the root of the command's own answer.

    An empty body is success (MS-ASCMD: SendMail, Sync without changes), unless the head says
    otherwise. Any other body is what was asked for (MS-ASCMD 2.2.1.10.1: a multipart, an
    attachment), whatever the head says about somebody.
    """
    problem, status, request = None, None, head.request
    certain = request.method == "POST" and body == b"" and _diagnosed(head.headers)
    if body and head.may_be_status:
        try:
            encoding = ",".join(header_values(head.headers, "content-encoding"))
            plain = inflated(body, encoding, MAX_BODY)
            short = len(plain) <= SHORT_BODY
            status = (_short_status if short else _global_status)(request.command, plain)
            certain = status == USER_HAS_NO_MAILBOX
        except (_UnreadableError, InflateError, WBXMLError) as error:
            problem = str(error)
    return Answer(
        status_code=200,
        evidence=Evidence.CERTAIN if certain else Evidence.NONE,
        eas_status=status,
        problem=problem,
    )


def _length_fits(length: str) -> bool:
    return len(length) < 10 and length.isdecimal() and 0 < int(length) <= MAX_BODY


def _diagnosed(headers: Headers) -> bool:
    return any(
        _USER_HAS_NO_MAILBOX.search(value)
        for name in DIAGNOSTICS
        for value in header_values(headers, name)
    )


def _may_be_status(request: EASRequest, headers: Headers) -> bool:
    """Whether the body is the command's own answer and short enough, as far as its head tells."""
    if not _is_wbxml(headers) or (request.command is not None and request.command not in ROOTS):
        return False
    return all(_length_fits(length) for length in header_values(headers, "content-length"))


def _is_wbxml(headers: Headers) -> bool:
    """One Content-Type, and that of MS-ASHTTP 2.2.2.2.3; parameters are allowed."""
    types = {v.partition(";")[0].strip().lower() for v in header_values(headers, "content-type")}
    return len(types) == 1 and types <= ACTIVESYNC_TYPES


def _global_status(command: str | None, body: bytes) -> int | None:
    """The Status directly inside the root, in the root's own code page; None without exactly one.

    A Status deeper down is about one item, and one of another page is about something else.
    """
    root = parse(body).root
    expected = ROOTS.get(command or "")
    if expected is None or (root.page, root.token) != expected[:2]:
        raise _UnreadableError("the root element is not that of the request's command")
    found = [e for e in root.elements if (e.page, e.token) == (root.page, expected[2])]
    return _number(found[0]) if len(found) == 1 else None


_short_status = lru_cache(maxsize=1024)(_global_status)


def _number(status: Element) -> int | None:
    if not all(isinstance(child, str | bytes | TableText | Entity) for child in status.children):
        return None  # an element, or an extension that only its sender understands
    text = status.text.strip(_SPACE)
    return int(text) if _NUMBER.fullmatch(text) else None
