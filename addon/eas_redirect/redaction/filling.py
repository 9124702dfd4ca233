"""Text without what it says: letters become `x`, digits `0`, its shape and its size stay.

Standard library only.
"""

import re
import string

WORD = re.compile(r"[^\W_]+")  # letters and digits of any script
# Vowels of some scripts are no letters to `re`, emoji tell much, and bytes that are no UTF-8 come
# as surrogates (PEP 383). What cannot be seen tells nothing, and makes a request a malformed one.
_SIGNS = re.compile(r"[^\x00-\x7f\w]+")
_ASCII = str.maketrans(dict.fromkeys(string.ascii_letters, "x") | dict.fromkeys(string.digits, "0"))


def filled(text: str) -> str:
    """`x` for letters, `0` for digits, as many bytes as before; signs and spaces stay."""
    if text.isascii():
        return text.translate(_ASCII)
    return WORD.sub(lambda word: _filled_word(word[0]), without_signs(text))


def filled_bytes(data: bytes) -> bytes:
    """The same for bytes: text keeps its shape, anything else becomes zeros."""
    try:
        return filled(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return bytes(len(data))


def without_signs(text: str) -> str:
    """`_` for every byte of the signs beyond ASCII that can be seen."""
    return text if text.isascii() else _SIGNS.sub(lambda found: _without(found[0]), text)


def _without(signs: str) -> str:
    return "".join(
        "_" if "\udc80" <= sign <= "\udcff" else "_" * _size(sign) if sign.isprintable() else sign
        for sign in signs
    )


def _filled_word(word: str) -> str:
    return "".join("0" if c in "0123456789" else "x" * _size(c) for c in word)


def _size(text: str) -> int:
    return len(text.encode("utf-8"))
