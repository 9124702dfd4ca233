"""Who is asking: the Authorization header in, `Credentials` out. Pure; standard library only.

Never keeps a password, a token or a hash. Sources: RFC 7617 (Basic), MS-NLMP 2.2.1.3 (NTLM type 3),
RFC 6750 and RFC 7519 (Bearer), RFC 4559 and RFC 4178 (Negotiate).
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from eas_redirect.activesync.request import EASRequest, legacy_text

type Scheme = Literal["basic", "ntlm", "bearer", "negotiate", "other", "none"]
type LogonFormat = Literal["upn", "down_level", "bare"]
type LogonSource = Literal["authorization", "connection", "query"]

MAX_LOGON = 256  # characters; longer names are refused before a filter is ever built
MAX_CREDENTIALS = 64 * 1024  # characters; Kerberos tickets with large PACs stay below

NTLM_SIGNATURE = b"NTLMSSP\0"
_NTLM_AUTHENTICATE = 3
NTLM_FIXED = 64  # bytes up to and with NegotiateFlags
_NTLM_DOMAIN, _NTLM_USER, _NTLM_FLAGS = 28, 36, 60  # offsets of the fields
_NTLM_UNICODE = 0x00000001
# RFC 4178 4.2.2 (NegTokenResp), X.690 8.1 and 10.1 (DER).
_NEG_TOKEN_RESP, _SEQUENCE, _RESPONSE_TOKEN, _OCTET_STRING = 0xA1, 0x30, 0xA2, 0x04
_MAX_LENGTH_BYTES = 4
_CLAIMS = ("upn", "preferred_username", "smtp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logon:
    """A name that somebody logs on with.

    `text` is what was written (`CONTOSO\\anna`, `anna@contoso.example`, `anna`) without an empty
    domain and with a backslash for a slash, `user` the part that names the account, `domain` the
    part before the backslash or after the last `@`.
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


@dataclass(frozen=True, slots=True)
class ConnectionLogon:
    """What a connection has logged on as, where the logon belongs to the connection.

    None: somebody has logged on by it, and nobody knows who.
    """

    logon: Logon | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks, and how that is known.

    `problem`: a sentence that says why nobody may be looked up. `logon` may then still be what the
    query says, for a journal to show and for nothing else.
    """

    logon: Logon | None = None
    source: LogonSource | None = None
    problem: str | None = None

    @property
    def proven(self) -> bool:
        """Whether Exchange, when it lets the request in, has checked this very logon."""
        return self.problem is None and self.source in ("authorization", "connection")


class _MalformedError(Exception):
    """One plain sentence about a header, without anything of its content."""


class _DERError(Exception):
    """Bytes that are not DER."""


def parse_logon(text: str) -> Logon | None:
    """A logon from its text, or None: empty, control characters, NUL, over MAX_LOGON.

    The one reader of logons, wherever they stand. An empty domain is none: `\\anna` is `anna`. A
    slash stands for a backslash, since no account name holds one (MS-SAMR 3.1.1.8.4). Also None:
    no user, no domain behind an `@`, several backslashes.
    """
    text = text.strip(" ").replace("/", "\\").removeprefix("\\")
    if not text or len(text) > MAX_LOGON or not text.isprintable():
        return None
    return _split(text)


@lru_cache(maxsize=4096)
def _split(text: str) -> Logon | None:
    if "\\" in text:
        domain, _, user = text.partition("\\")
        form: LogonFormat = "down_level"
    elif "@" in text:
        user, _, domain = text.rpartition("@")
        form = "upn"
    else:
        return Logon(text=text, user=text, domain=None, format="bare")
    if not user or not domain or "\\" in user:
        return None
    return Logon(text=text, user=user, domain=domain, format=form)


def read_authorizations(values: Sequence[str]) -> Credentials:
    """From all Authorization headers of a request: two of them name nobody."""
    if len(values) > 1:
        return Credentials(scheme="other", problem="there are several of them")
    return read_authorization(values[0] if values else None)


def read_authorization(value: str | None) -> Credentials:
    """Total: any header value gives credentials. None means that there was no header."""
    if value is None:
        return Credentials(scheme="none")
    name, _, rest = value.strip().partition(" ")
    scheme = _scheme(name)
    try:
        return Credentials(scheme=scheme, logon=_logon(scheme, rest.strip()))
    except _MalformedError as error:
        return Credentials(scheme=scheme, problem=str(error))


def identify(
    request: EASRequest, credentials: Credentials, connection: ConnectionLogon | None = None
) -> Identity:
    """Authorization, then what the connection has logged on as, then the query's user (MS-ASHTTP
    2.2.1.1.1.1.3, tag 8, or `User=`).

    The query never overrules a logon that is there and that we cannot read: Exchange goes by the
    account that logged on, and anybody can write any name into a query.
    """
    if credentials.problem is not None:
        detail = f"The Authorization header could not be read: {credentials.problem}."
        return Identity(problem=detail)
    if credentials.logon is not None:
        return Identity(logon=credentials.logon, source="authorization")
    if credentials.scheme == "none" and connection is not None and connection.logon is not None:
        return Identity(logon=connection.logon, source="connection")
    asked = parse_logon(request.user) if request.user else None
    source: LogonSource | None = "query" if asked else None
    if credentials.scheme != "none":
        problem = "The Authorization header names nobody that can be read."
    elif connection is not None:
        problem = "Somebody has logged on by this connection, and it is not known who."
    elif asked is None:
        problem = "Neither the Authorization header nor the query tells who asks."
    else:
        return Identity(logon=asked, source=source)
    return Identity(logon=asked, source=source, problem=problem)


def contradicts(request: EASRequest, credentials: Credentials) -> bool:
    """Whether the query names another account than Authorization does, as far as can be told.

    Names of different kinds (an address and a `DOMAIN\\user`) may well be one account.
    """
    asked = parse_logon(request.user) if request.user else None
    logon = credentials.logon
    if asked is None or logon is None:
        return False
    if "upn" in (asked.format, logon.format):
        both_upn = asked.format == logon.format
        return both_upn and asked.text.casefold() != logon.text.casefold()
    return asked.user.casefold() != logon.user.casefold()


def _scheme(name: str) -> Scheme:
    match name.lower():
        case "basic" | "ntlm" | "bearer" | "negotiate" as known:
            return known
        case _:
            return "other"


def _logon(scheme: Scheme, rest: str) -> Logon | None:
    if len(rest) > MAX_CREDENTIALS:
        raise _MalformedError(f"the credentials are longer than {MAX_CREDENTIALS} characters")
    match scheme:
        case "basic":
            return _basic(rest)
        case "ntlm":
            return _ntlm(_base64(rest))
        case "negotiate":
            return _negotiate(rest)
        case "bearer":
            return _bearer(rest)
        case "other" | "none":
            return None


def _base64(text: str, altchars: bytes | None = None) -> bytes:
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars, validate=True)
    except ValueError:
        raise _MalformedError("the credentials are not base64") from None


def _usable(text: str) -> Logon:
    logon = parse_logon(text)
    if logon is None:
        raise _MalformedError("the credentials hold no usable user name")
    return logon


def _basic(rest: str) -> Logon:
    """RFC 7617 2: the user name ends at the first colon; the rest is dropped at once."""
    name, colon, _ = _base64(rest).partition(b":")
    if not colon:
        raise _MalformedError("the Basic credentials have no colon")
    return _usable(legacy_text(name))


def _negotiate(rest: str) -> Logon | None:
    """NTLM, bare as some clients send it here or in SPNEGO; Kerberos tickets cannot be read."""
    try:
        token = _base64(rest)
    except _MalformedError:
        return None
    message = token if token.startswith(NTLM_SIGNATURE) else response_token(token)
    return _ntlm(message) if message and message.startswith(NTLM_SIGNATURE) else None


def response_token(token: bytes) -> bytes | None:
    """The responseToken of a NegTokenResp; None for every other token, a first one included."""
    try:
        found: bytes | None = token
        for tag in (_NEG_TOKEN_RESP, _SEQUENCE, _RESPONSE_TOKEN, _OCTET_STRING):
            found = None if found is None else _der_member(found, tag)
        return found
    except _DERError:
        return None


def _der_member(data: bytes, tag: int) -> bytes | None:
    """The content of the first element with this tag among those that stand side by side."""
    at = 0
    while at < len(data):
        found, start, end = _der_element(data, at)
        if found == tag:
            return data[start:end]
        at = end
    return None


def _der_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the content; tags of more than one byte do not occur here."""
    if at + 2 > len(data):
        raise _DERError
    length, start = data[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        start += size
        if not 1 <= size <= _MAX_LENGTH_BYTES:
            raise _DERError
        length = int.from_bytes(data[start - size : start])
    if start + length > len(data):
        raise _DERError
    return data[at], start, start + length


def _ntlm(message: bytes) -> Logon | None:
    """MS-NLMP 2.2.1.3. None for the messages before the last one, which name nobody."""
    if not message.startswith(NTLM_SIGNATURE) or len(message) < len(NTLM_SIGNATURE) + 4:
        raise _MalformedError("the NTLM message has no signature")
    if _number(message, 8, 4) != _NTLM_AUTHENTICATE:
        return None
    if len(message) < NTLM_FIXED:
        raise _MalformedError("the NTLM message is cut short")
    unicode = bool(_number(message, _NTLM_FLAGS, 4) & _NTLM_UNICODE)
    domain = _ntlm_text(message, _NTLM_DOMAIN, unicode)
    user = _ntlm_text(message, _NTLM_USER, unicode)
    if not user:
        raise _MalformedError("the NTLM message is anonymous")
    return _usable(f"{domain}\\{user}" if domain else user)


def _number(message: bytes, at: int, size: int) -> int:
    return int.from_bytes(message[at : at + size], "little")


def _ntlm_text(message: bytes, field: int, unicode: bool) -> str:
    """One name: its length, and its place, which must lie behind the fixed part."""
    length, start = _number(message, field, 2), _number(message, field + 4, 4)
    if length == 0:
        return ""
    if start < NTLM_FIXED or start + length > len(message):
        raise _MalformedError("the NTLM message points outside itself")
    try:
        return message[start : start + length].decode("utf-16-le" if unicode else "latin-1")
    except UnicodeDecodeError:
        raise _MalformedError("the NTLM message holds a name that is not UTF-16") from None


def _bearer(rest: str) -> Logon | None:
    """RFC 7519 3: the claims of an unverified token; None for a token that is not a JWT."""
    parts = rest.split(".")
    if len(parts) != 3:
        return None
    claims = _claims(parts[1])
    for name in _CLAIMS:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return _usable(value)
    return None


def _claims(payload: str) -> dict[str, object]:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", payload):
        raise _MalformedError("the bearer token is not a readable JWT")
    try:
        claims = json.loads(_base64(payload, b"-_"))
    except (ValueError, RecursionError, binascii.Error):
        raise _MalformedError("the bearer token is not a readable JWT") from None
    if not isinstance(claims, dict):
        raise _MalformedError("the bearer token is not a readable JWT")
    return claims
