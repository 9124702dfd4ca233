"""Text for people: nothing that a stranger wrote may control a terminal or a spreadsheet.

The one place for it: commands, the log, CSV and JSON on a terminal all come through here. Imports
the standard library only.
"""

import codecs
import logging
import re

REPLACED = "\N{REPLACEMENT CHARACTER}"
_KEPT = "\n\t\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_C1 = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Signs that we use and older encodings lack, as words or in ASCII.
_WORDS = {
    "✓": "ok",
    "✗": "NO",
    "→": "->",
    "…": "...",
    "–": "-",
    "·": "-",
    "“": '"',
    "”": '"',
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{ZERO WIDTH NO-BREAK SPACE}": "",  # a byte order mark
    "\N{NO-BREAK SPACE}": " ",
    REPLACED: "?",
}
WORDS = "eas-words"
"""The name of the codec error handler that uses them."""


def printable(text: str) -> str:
    """The text with invisible characters replaced: terminal escapes, turns of the direction,
    halves of surrogate pairs. Lines, tabs and spaces stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else REPLACED for c in text)


def number(value: int) -> str:
    """With narrow spaces between thousands, as in ISO 80000-1."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def printable_json(text: str) -> str:
    """JSON as text; the same characters outside ASCII become escapes, which mean the same."""
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Printable(logging.Filter):
    """For a log's handler: makes printable what a message quotes."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # a message that does not fit its values: the handler says so
            return True
        if not message.isprintable():
            record.msg, record.args = printable(message), None
        return True


def _in_words(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_WORDS.get(sign, "?") for sign in lacking), error.end


codecs.register_error(WORDS, _in_words)
