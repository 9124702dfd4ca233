"""Authorization and its challenges without secrets and names: they keep their shape.

Standard library and protocol only.
"""

import base64
import binascii
import json
import struct

from eas_redirect.activesync.authorization import Logon, read_authorization, response_token
from eas_redirect.activesync.query import legacy_text
from eas_redirect.redaction.filling import filled
from eas_redirect.redaction.pseudonyms import Pseudonyms

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
_NTLM_NAMES = (28, 36, 44)  # MS-NLMP 2.2.1.3: domain, user, workstation; length and offset
_NTLM_FIXED = 64


def redacted_credentials(value: str, names: Pseudonyms) -> str:
    """The value of a header that carries a scheme and what belongs to it."""
    scheme, space, rest = value.partition(" ")
    if scheme.lower() not in _SCHEMES:
        return names.secret(value)  # a token may stand alone
    return scheme + space + (_redacted(scheme.lower(), rest, names) if rest else "")


def _redacted(scheme: str, rest: str, names: Pseudonyms) -> str:
    match scheme:
        case "basic" if "=" not in rest.rstrip("=") and " " not in rest:
            return _basic(rest, names)
        case "ntlm" | "negotiate":
            return _ntlm(rest, names)
        case "bearer":
            return _bearer(rest, names)
        case _:
            return names.secret(rest)


def _basic(rest: str, names: Pseudonyms) -> str:
    names.secret(rest)
    try:
        text = legacy_text(base64.b64decode(rest + "=="))
    except ValueError:
        return filled(rest)
    user, colon, password = text.partition(":")
    names.secret(password)
    clean = names.name(user) + colon + "x" * len(password.encode("utf-8"))
    return base64.b64encode(clean.encode("utf-8")).decode()


def _ntlm(rest: str, names: Pseudonyms) -> str:
    """Messages 1 and 2 keep their first bytes; message 3 keeps its shape with other names. It
    comes out of its SPNEGO for that: a signature of the whole exchange stands there too."""
    try:
        token = base64.b64decode(rest + "==")
    except binascii.Error:
        return names.secret(rest)
    if read_authorization(f"Negotiate {rest}").logon is None:
        shown = 12 if token.startswith(b"NTLMSSP\0") else 1  # the kind of message, or of token
        if len(token) > shown:
            names.secret(rest)
        return base64.b64encode(token[:shown] + bytes(len(token[shown:]))).decode()
    names.secret(rest)
    message = response_token(token) or token
    return base64.b64encode(_authenticate(message, names)).decode()


def _authenticate(message: bytes, names: Pseudonyms) -> bytes:
    """MS-NLMP 2.2.1.3: the fixed part, stand-ins where the names stood, no response to anything."""
    unicode = bool(struct.unpack_from("<I", message, 60)[0] & 1)
    codec = "utf-16-le" if unicode else "latin-1"
    clean = bytearray(message[:_NTLM_FIXED]) + bytes(len(message) - _NTLM_FIXED)
    for field in _NTLM_NAMES:
        length, start = _ntlm_field(message, field)
        text = names.name(message[start : start + length].decode(codec, "replace"))
        clean[start : start + length] = text.encode(codec, "replace")[:length].ljust(length, b"\0")
    return bytes(clean)


def _ntlm_field(message: bytes, field: int) -> tuple[int, int]:
    """Length and place; an empty one for what lies outside the message."""
    (length,) = struct.unpack_from("<H", message, field)
    (start,) = struct.unpack_from("<I", message, field + 4)
    inside = _NTLM_FIXED <= start <= len(message) - length
    return (length, start) if inside else (0, _NTLM_FIXED)


def _bearer(rest: str, names: Pseudonyms) -> str:
    """A token whose only claim is the stand-in of the name that it was for."""
    names.secret(rest)
    logon: Logon | None = read_authorization(f"Bearer {rest}").logon
    if logon is None:
        return filled(rest)
    claims = json.dumps({"upn": names.name(logon.text)}).encode()
    header, payload, signature = rest.split(".")
    clean = base64.urlsafe_b64encode(claims.ljust(len(payload) * 3 // 4)).decode().rstrip("=")
    return f"{filled(header)}.{clean}.{filled(signature)}"
