"""The entries of a HAR file one by one, in bounded memory. Standard library only."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

CHUNK = 1 << 20  # characters read at a time
MAX_ENTRY = 256 << 20  # characters of one entry; Exchange's largest message in base64, twice


class HARError(ValueError):
    """One sentence about a file or an entry."""


def entries(file: TextIO, progress: Callable[[int], None]) -> Iterator[Mapping[str, object]]:
    """The objects of `log.entries`; raises HARError when nothing can follow."""
    window = _Window(file, progress)
    found = window.enter("{") and window.member("log", "entries")
    if found == "log":
        found = window.enter("{") and window.member("entries")
    if not found:
        raise HARError("the file is no HAR: it has no entries")
    yield from _items(window, "the file is no HAR: it has no entries")


def items(file: TextIO, progress: Callable[[int], None]) -> Iterator[Mapping[str, object]]:
    """The objects of a file that is one list of them, as `entries`."""
    yield from _items(_Window(file, progress), "the file is no list")


def _items(window: "_Window", otherwise: str) -> Iterator[Mapping[str, object]]:
    if not window.enter("["):
        raise HARError(otherwise)
    while (first := window.next_sign(",")) != "]":
        if first != "{":
            raise HARError("the HAR is cut short or damaged")
        entry = window.take()
        yield entry if isinstance(entry, dict) else {}


class _Window:
    """The part of the file that is looked at; grows only until a value is whole."""

    def __init__(self, file: TextIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def enter(self, bracket: str) -> bool:
        if self.next_sign() != bracket:
            return False
        self._at += 1
        return True

    def member(self, *wanted: str) -> str | None:
        """Inside an object: on to the value of one of these keys, over whatever comes before."""
        while self.next_sign(",") == '"':
            key = self.take()
            if not self.enter(":"):
                return None
            if key in wanted:
                return str(key)
            self.next_sign()
            self.take()
        return None

    def next_sign(self, separators: str = "") -> str:
        """The next character that is neither white space nor a separator; "" at the end."""
        skipped = " \t\r\n" + separators
        while True:
            while self._at < len(self._text) and self._text[self._at] in skipped:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self) -> object:
        """The value that begins here. Reading twice as much after each failed try keeps the work
        linear."""
        wanted = CHUNK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise HARError("the HAR is nested too deeply") from None
            except ValueError:
                if len(self._text) - self._at > MAX_ENTRY or not self._more(wanted):
                    raise HARError("the HAR is cut short or damaged") from None
                wanted *= 2
            else:
                # A number may go on where the window ends.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return found

    def _more(self, count: int = CHUNK) -> bool:
        read = self._file.read(count)
        if read:
            self._text = self._text[self._at :] + read
            self._at = 0
        self._progress(len(read))
        return bool(read)
