"""Compressed bodies undone within a bound. Standard library only."""

import zlib

MAX_INFLATED = 64 * 1024 * 1024  # bytes; above any message size limit of Exchange that is in use


def inflated(body: bytes, coding: str) -> bytes | None:
    """None for codings other than gzip and deflate, for damage, and for more than MAX_INFLATED."""
    match coding:
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _bounded(body, 16 + zlib.MAX_WBITS)
        case "deflate":
            return _bounded(body, zlib.MAX_WBITS) or _bounded(body, -zlib.MAX_WBITS)
        case _:
            return None


def _bounded(body: bytes, window_bits: int) -> bytes | None:
    inflater = zlib.decompressobj(window_bits)
    try:
        data = inflater.decompress(body, MAX_INFLATED)
    except zlib.error:
        return None
    return data if inflater.eof else None
