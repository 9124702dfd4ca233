"""Undoes the Content-Encoding of a body, within a bound. Pure; standard library only.

Source: RFC 9110 8.4.1. Old Exchange servers compress with gzip, some devices with deflate.
"""

import zlib


class InflateError(ValueError):
    """One plain sentence about a body that cannot be read."""


def inflated(body: bytes, content_encoding: str, limit: int) -> bytes:
    """At most `limit` bytes, before and after; more, damage and other codings are InflateErrors."""
    if len(body) > limit:
        raise InflateError(f"the body is longer than {limit} bytes")
    if not content_encoding:
        return body
    codings = [part.strip().lower() for part in content_encoding.split(",") if part.strip()]
    match [coding for coding in codings if coding != "identity"]:
        case []:
            return body
        case ["gzip" | "x-gzip"]:
            return _bounded(body, 16 + zlib.MAX_WBITS, limit)
        case ["deflate"]:
            # RFC 9110 8.4.1.2: zlib's format; some servers send it bare.
            zlib_header = bool(body) and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
            return _bounded(body, zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS, limit)
        case _:
            raise InflateError("the Content-Encoding is neither gzip nor deflate")


def _bounded(body: bytes, window_bits: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise InflateError("the compressed body is damaged") from None
    if len(data) > limit:
        raise InflateError(f"the body inflates to more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise InflateError("the compressed body is cut short or followed by other bytes")
    return data
