"""Does an answer say UserHasNoMailbox? Status, headers and body in, `Answer` out. Pure.

Sources: MS-ASCMD 2.2.2 (common status codes: 123 UserHasNoMailbox), 2.2.3.177 (Status), MS-ASHTTP
2.2.2.1.1 (status line).
"""

from dataclasses import dataclass
from enum import StrEnum

from eas_redirect.activesync.request import EASRequest, Headers

MAX_BODY = 64 * 1024  # bytes, before and after inflating: a global status is tens of bytes


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


def may_hold_evidence(request: EASRequest, status_code: int, headers: Headers) -> bool:
    """From the head alone: must the body be read to judge this answer? False: stream it."""
    raise NotImplementedError


def read_answer(
    request: EASRequest,
    status_code: int,
    headers: Headers,
    body: bytes | None,
    weak_statuses: frozenset[int] = frozenset({403}),
) -> Answer:
    """Total: any answer gives a value. `body` is as it came over the wire (`Content-Encoding` not
    undone), or None when it was streamed unread."""
    raise NotImplementedError
