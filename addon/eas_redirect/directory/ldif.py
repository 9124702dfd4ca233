"""LDIF (RFC 2849) as ldifde and ldapsearch write it: bytes in, entries out. Standard library only.

Beyond the RFC it takes a byte order mark and UTF-16 (`ldifde -u`), the `search:`, `result:` and
`ref:` blocks of ldapsearch, and an entry written as `changetype: add` (ldifde). One malformed entry
costs that entry alone.
"""

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from eas_redirect.directory.entries import Entry

# Files with a byte order mark that were joined have one in the middle, too.
_BLANK = re.compile(r"\n(?:\n+\ufeff?|\ufeff)")
# What may open a block that is no entry: ldapsearch's trailer and its continuation references.
_NO_ENTRY = frozenset(
    {"search", "result", "ref", "version", "pagedresults", "control", "matcheddn"}
)
_NAME = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)(?:;[A-Za-z0-9=*-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the entry that begins on this line (the first is 1) was left out."""

    line: int
    reason: str


class _MalformedError(Exception):
    """Leaves one entry; never this module."""


def decode(data: bytes) -> str:
    """The text of a file. Bytes that are no UTF-8 become lone surrogates, which spoil their entry
    and no other."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return _decode(data[len(mark) :], encoding)
    # Without a mark: LDIF begins with ASCII, so a NUL in the first pair tells UTF-16.
    if data[1:2] == b"\0":
        return _decode(data, "utf-16-le")
    return _decode(data, "utf-16-be" if data[:1] == b"\0" else "utf-8")


def _decode(data: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        text = data.decode(encoding, "surrogateescape")
    else:
        text = data[: len(data) & ~1].decode(encoding, "surrogatepass")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_entries(text: str, wanted: frozenset[str]) -> Iterator[Entry | Problem]:
    """The entries and the problems. Of the attributes, those in `wanted` (lower case)."""
    names: dict[str, str] = {}  # as written → lower case without options
    line, counted = 1, 0
    for start, block in _blocks(text):
        try:
            entry = _read_block(block, names, wanted)
        except _MalformedError as error:
            line += text.count("\n", counted, start)
            counted = start
            yield Problem(line + _lines_above(block), str(error))
            continue
        if entry is not None:
            yield entry


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """What stands between blank lines, with its place in the text."""
    start = 0
    for blank in _BLANK.finditer(text):
        if start < blank.start():
            yield start, text[start : blank.start()]
        start = blank.end()
    if start < len(text):
        yield start, text[start:]


def _lines_above(block: str) -> int:
    """How many lines stand above the entry proper in its block."""
    count = 0
    for line in block.split("\n"):
        if line and not line.startswith(("#", " ", "version:")):
            break
        count += 1
    return count


def _read_block(block: str, names: dict[str, str], wanted: frozenset[str]) -> Entry | None:
    entry: Entry | None = None
    for line in block.replace("\n ", "").split("\n"):  # RFC 2849, note 2: unfolding
        if not line or line[0] == "#":
            continue
        written, colon, value = line.partition(":")
        if not colon:
            raise _MalformedError(f"no colon in {_shown(line)}")
        name = names.get(written) or _attribute_name(written, names)
        if entry is not None and name in wanted and value[:1] == " " and value.isascii():
            entry.attributes.setdefault(name, []).append(value.lstrip(" "))  # nearly every line
        elif entry is None:
            if name == "dn":
                entry = Entry(_text(_value(value, name), name))
            elif name not in _NO_ENTRY:
                raise _MalformedError(f"an entry begins with dn:, not with {_shown(line)}")
        else:
            _add(entry, name, value, wanted)
    return entry


def _add(entry: Entry, name: str, value: str, wanted: frozenset[str]) -> None:
    match name:
        case "dn":
            raise _MalformedError("a second dn: before a blank line")
        case "changetype":
            _check_change(value)
        case _ if name in wanted:
            entry.attributes.setdefault(name, []).append(_text(_value(value, name), name))
        case _ if value[:1] == ":":
            _value(value, name)
        case _:
            pass  # not asked for


def _attribute_name(written: str, names: dict[str, str]) -> str:
    if not _NAME.match(written):
        raise _MalformedError(f"not the name of an attribute: {_shown(written)}")
    # Options such as ;range=0-1499 tell how much came; the attribute is the same
    # (MS-ADTS 3.1.1.3.1.3.3).
    name = names[written] = written.partition(";")[0].lower()
    return name


def _check_change(value: str) -> None:
    if value.strip().lower() != "add":
        raise _MalformedError(f"a change ({value.strip()}), not an entry")


def _value(value: str, name: str) -> str | bytes:
    """What stands after the first colon: text, `:` and base64, or `<` and a URL."""
    match value[:1]:
        case ":":
            try:
                return binascii.a2b_base64(value[1:].strip(" "), strict_mode=True)
            except ValueError:
                raise _MalformedError(f"{name} is not valid base64") from None
        case "<":
            raise _MalformedError(f"{name} stands in another file, which is not read")
        case _:
            return value.lstrip(" ")


def _text(value: str | bytes, name: str) -> str:
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if value.isascii():
            return value
        value.encode("utf-8")  # lone surrogates: the file held no UTF-8 here
    except UnicodeError:
        raise _MalformedError(f"{name} is not UTF-8") from None
    return value


def _shown(text: str) -> str:
    """A short, printable part of a malformed line."""
    return ascii(text[:40])
