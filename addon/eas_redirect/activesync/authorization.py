"""Who asks: the Authorization header in, `Credentials` out. Pure; standard library only.

Never keeps a password, a token or a hash. Sources: RFC 7617 (Basic), MS-NLMP 2.2.1.3 (NTLM type 3),
RFC 6750 and RFC 7519 (Bearer), RFC 4559 and RFC 4178 (Negotiate).
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.spnego import response_token

type Scheme = Literal["basic", "ntlm", "bearer", "negotiate", "other", "none"]
type LogonFormat = Literal["upn", "down_level", "bare"]

MAX_LOGON = 256  # characters; longer names are refused before a filter is ever built
MAX_CREDENTIALS = 64 * 1024  # characters; Kerberos tickets with large PACs stay below

_SIGNATURE = b"NTLMSSP\0"
_NTLM_AUTHENTICATE = 3
_NTLM_FIXED = 64  # bytes up to and with NegotiateFlags
_NTLM_DOMAIN, _NTLM_USER, _NTLM_FLAGS = 28, 36, 60  # offsets of the fields
_NTLM_UNICODE = 0x00000001
_CLAIMS = ("upn", "preferred_username", "smtp")


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


class _MalformedError(Exception):
    """One plain sentence about a header, without anything of its content."""


def parse_logon(text: str) -> Logon | None:
    """A logon from its text, or None: empty, control characters, NUL, over MAX_LOGON.

    Also None: an empty user or domain around a separator, several backslashes.
    """
    text = text.strip(" ")
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


def read_authorization(value: str | None) -> Credentials:
    """Total: any header value gives credentials. None means that there was no header."""
    name, _, rest = (value or "").strip().partition(" ")
    scheme = _scheme(name)
    try:
        return Credentials(scheme=scheme, logon=_logon(scheme, rest.strip()))
    except _MalformedError as error:
        return Credentials(scheme=scheme, problem=str(error))


def choose_logon(request: EASRequest, credentials: Credentials) -> Logon | None:
    """Authorization first, then the query's user (MS-ASHTTP 2.2.1.1.1.1.3, tag 8, or `User=`).

    A malformed header is never overruled by the query: Exchange saw somebody in it that we do not.
    """
    if credentials.logon is not None or credentials.problem is not None:
        return credentials.logon
    return parse_logon(request.user) if request.user else None


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
        case "":
            return "none"
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
    try:
        return _usable(name.decode("utf-8"))
    except UnicodeDecodeError:
        return _usable(name.decode("latin-1"))


def _negotiate(rest: str) -> Logon | None:
    """NTLM, bare as some clients send it here or in SPNEGO; Kerberos tickets cannot be read."""
    try:
        token = _base64(rest)
    except _MalformedError:
        return None
    message = token if token.startswith(_SIGNATURE) else response_token(token)
    return _ntlm(message) if message and message.startswith(_SIGNATURE) else None


def _ntlm(message: bytes) -> Logon | None:
    """MS-NLMP 2.2.1.3. None for the messages before the last one, which name nobody."""
    if not message.startswith(_SIGNATURE) or len(message) < len(_SIGNATURE) + 4:
        raise _MalformedError("the NTLM message has no signature")
    if _number(message, 8, 4) != _NTLM_AUTHENTICATE:
        return None
    if len(message) < _NTLM_FIXED:
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
    if start < _NTLM_FIXED or start + length > len(message):
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
