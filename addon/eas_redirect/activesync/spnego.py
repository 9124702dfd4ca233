"""What SPNEGO wraps: the token of an answer in, the mechanism's own message out. Pure.

Sources: RFC 4178 4.2.2 (NegTokenResp), of which one field is read; X.690 8.1 and 10.1 (DER).
"""

_NEG_TOKEN_RESP, _SEQUENCE, _RESPONSE_TOKEN, _OCTET_STRING = 0xA1, 0x30, 0xA2, 0x04
_MAX_LENGTH_BYTES = 4


class _MalformedError(Exception):
    """Bytes that are no DER."""


def response_token(token: bytes) -> bytes | None:
    """The responseToken of a NegTokenResp; None for every other token, a first one included."""
    try:
        found: bytes | None = token
        for tag in (_NEG_TOKEN_RESP, _SEQUENCE, _RESPONSE_TOKEN, _OCTET_STRING):
            found = None if found is None else _member(found, tag)
        return found
    except _MalformedError:
        return None


def _member(data: bytes, tag: int) -> bytes | None:
    """The content of the first element with this tag among those that stand side by side."""
    at = 0
    while at < len(data):
        found, start, end = _element(data, at)
        if found == tag:
            return data[start:end]
        at = end
    return None


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the content; tags of more than one byte do not occur here."""
    if at + 2 > len(data):
        raise _MalformedError
    length, start = data[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        start += size
        if not 1 <= size <= _MAX_LENGTH_BYTES or start > len(data):
            raise _MalformedError
        length = int.from_bytes(data[start - size : start])
    if start + length > len(data):
        raise _MalformedError
    return data[at], start, start + length
