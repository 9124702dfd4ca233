"""Who asks: the Authorization header in, `Credentials` out. Pure; standard library only.

Never keeps a password, a token or a hash. Sources: RFC 7617 (Basic), MS-NLMP 2.2.1.3 (NTLM type 3),
RFC 6750 (Bearer), RFC 4559 (Negotiate).
"""

from dataclasses import dataclass
from typing import Literal

from eas_redirect.activesync.request import EASRequest

type Scheme = Literal["basic", "ntlm", "bearer", "negotiate", "other", "none"]
type LogonFormat = Literal["upn", "down_level", "bare"]

MAX_LOGON = 256  # characters; longer names are refused before a filter is ever built


@dataclass(frozen=True, slots=True, kw_only=True)
class Logon:
    """A name that somebody logs on with.

    `text` is what was written (`CONTOSO\\anna`, `anna@contoso.example`, `anna`), `user` the part
    that names the account, `domain` the part before the backslash or after the last `@`.
    """

    text: str
    user: str
    domain: str | None
    format: LogonFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What an Authorization header says; `problem` is a plain sentence when it is malformed."""

    scheme: Scheme
    logon: Logon | None = None
    problem: str | None = None


def parse_logon(text: str) -> Logon | None:
    """A logon from its text, or None: empty, control characters, NUL, over MAX_LOGON."""
    raise NotImplementedError


def read_authorization(value: str | None) -> Credentials:
    """Total: any header value gives credentials. None means that there was no header."""
    raise NotImplementedError


def choose_logon(request: EASRequest, credentials: Credentials) -> Logon | None:
    """Authorization first, then the query's user (MS-ASHTTP 2.2.1.1.1.1.3, tag 8, or `User=`)."""
    raise NotImplementedError


def contradicts(request: EASRequest, credentials: Credentials) -> bool:
    """Whether the query names another account than Authorization does, as far as can be told."""
    raise NotImplementedError
