"""LDIF (RFC 2849) as ldifde and ldapsearch write it: bytes in, entries out. Standard library only.

Beyond the RFC it takes a byte order mark and UTF-16 (`ldifde -u`), the `search:`, `result:` and
`ref:` blocks of ldapsearch, and an entry written as `changetype: add` (ldifde). A malformed entry
spoils only that entry, and what could be read of it is kept, above all its names. It also reads
what the tool that wrote the file says about it (a result, a cookie for the next page), because an
incomplete file must not pass for a complete one.
"""

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from eas_redirect.directory.entries import SID_ATTRIBUTES, Entry, unfinished, value_range
from eas_redirect.directory.names import sid_text

# Files with a byte order mark that were joined have one in the middle, too.
_BLANK = re.compile(r"\n(?:\n+\ufeff?|\ufeff)")
# What may open a block that is not an entry: ldapsearch's trailer and its continuation references.
_NO_ENTRY = frozenset(
    {
        *("search", "result", "ref", "version", "pagedresults", "control", "matcheddn", "text"),
        *("extended", "partial"),
    }
)
# The signs of a mailbox as RFC 4512 2.5 allows them to be named, too: by their numbers.
_BY_NUMBER = {
    "1.2.840.113556.1.2.244": "homemdb",
    "1.2.840.113556.1.4.7000.102.47": "msexchhomeservername",
}
_SIDS = frozenset(map(str.lower, SID_ATTRIBUTES))
_NAME = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)(?:;[A-Za-z0-9=*-]+)*\Z")

# How ldapsearch ends a search; `-L` makes comments of it.
_RESULT = re.compile(r"(?:# )?result: *(\d+)(.*)")
_SEARCH = re.compile(r"(?:# )?search: *(\d+)")
_COOKIE = re.compile(r"(?:# )?pagedresults:.*\bcookie=(\S*)")
_COUNTS = re.compile(
    r"# (?:numResponses|numEntries|numReferences|numExtended|numPartial|pagedresults)\b"
    r"|# (?:returned )?\d+ (?:records|entries|referrals)\b"
)
# What tools say when they give up. It ends up in the file with `2>&1`, anywhere in it, since their
# two outputs are buffered apart: `Size limit exceeded (4)`, `ldap_result: Can't contact … (-1)`.
_GAVE_UP = re.compile(
    r"(?:ldap_\w+(?:\([\w-]*\))?: )?[A-Z][A-Za-z'/ -]* \(-?[1-9]\d*\)\Z"
    r"|.*\b(?:limit exceeded|an error has occurred|timed out|server is not operational)\b",
    re.IGNORECASE,
)
_DN = re.compile(r"^dn:", re.IGNORECASE | re.MULTILINE)
# The question that `ldapsearch -E pr=…` asks between two pages.
_PROMPT = re.compile(r"Press \[size\] Enter for the next ")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An unusable entry: where it begins (the first line is 1), and why. `entry` is what could
    be read of it, with an empty DN if the DN could not be read. `unread`: the unreadable
    attributes, in lower case."""

    line: int
    reason: str
    entry: Entry = field(default_factory=lambda: Entry(""))
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cut:
    """The file itself says, on this line, that it is incomplete."""

    line: int
    reason: str


class _MalformedError(Exception):
    """Ends one entry; never leaves this module."""


def decode(data: bytes) -> str:
    """The text of a file. Bytes that are not UTF-8 become lone surrogates, which spoil only
    their entry."""
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


def read_entries(text: str, wanted: frozenset[str]) -> Iterator[Entry | LeftOut | Cut]:
    """The entries, those that were left out, and where the file says that it is incomplete. Of
    the attributes, those in `wanted` (lower case)."""
    names: dict[str, str] = {}  # as written → lower case without options
    line, counted = 1, 0
    pages = _Pages()
    for start, block in _blocks(text):
        malformed: str | None = None
        try:
            entry = _read_block(block, names, wanted)
        except _MalformedError as error:
            malformed = str(error)
        else:
            if entry is not None:
                yield entry
                continue
        line += text.count("\n", counted, start)
        counted = start
        first = line + _lines_above(block)
        if malformed is not None:
            said = next(filter(_GAVE_UP.match, block.split("\n")), None)
            if said is not None:
                yield Cut(first, f"the tool that wrote it gave up: {_shown(said)}")
            if not _PROMPT.match(block):
                for above, part in _parts_at_dns(block):
                    yield _left_out(max(first, line + above), malformed, part, names, wanted)
        elif (cut := pages.read(line, block)) is not None:
            yield cut
    if (cut := pages.end()) is not None:
        yield cut


def ends_whole(text: str) -> bool:
    """Whether the file ends as its writer ends one: with a blank line after the last entry, or
    with a tool's trailer. A truncated file, or one still being written, does not."""
    if text.endswith("\n\n"):
        return True
    *_, last = (block for _, block in _blocks(text))
    lines = [line for line in last.split("\n") if line]
    if not text.endswith("\n") or any(re.match(r"dn::? ?", line) for line in lines):
        return False
    if any(map(_RESULT.match, lines)):
        return True
    # With -L the result stands on the other output, where it is an error.
    if any(line.startswith("# search result") for line in lines):
        return False
    return any(map(_COUNTS.match, lines[-1:]))


class _Pages:
    """What ldapsearch's trailers say, one after the other."""

    def __init__(self) -> None:
        self._number = 0  # of the search, which rises within one call of the tool
        self._left: int | None = None  # the line of a cookie that nothing has followed yet

    def read(self, line: int, block: str) -> Cut | None:
        """A block that is not an entry, which begins on this line."""
        abandoned = None
        for at, text in enumerate(block.split("\n"), line):
            if search := _SEARCH.match(text):
                number = int(search[1])
                abandoned = self.end() if number <= self._number else None
                self._number = number
            elif result := _RESULT.match(text):
                if int(result[1]):
                    return Cut(at, f"its trailer says: result {result[1]}{result[2].rstrip()}")
            elif cookie := _COOKIE.match(text):
                self._left = at if cookie[1] else None
        return abandoned

    def end(self) -> Cut | None:
        left, self._left = self._left, None
        if left is None:
            return None
        return Cut(left, "its trailer has the cookie of a further page, which is not there")


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """The text between blank lines, with its position. The first and the last may be empty."""
    start = 0
    for blank in _BLANK.finditer(text):
        yield start, text[start : blank.start()]
        start = blank.end()
    yield start, text[start:]


def _lines_above(block: str) -> int:
    """How many lines precede the entry itself in its block."""
    count = 0
    for line in block.split("\n"):
        if line and not line.startswith(("#", " ", "version:")):
            break
        count += 1
    return count


def _parts_at_dns(block: str) -> Iterator[tuple[int, str]]:
    """A malformed block, which ends at each `dn:` in it: where a blank line is missing, several
    objects stand in one. With how many lines of the block are above."""
    starts = [found.start() for found in _DN.finditer(block)]
    if starts and _lines_above(head := block[: starts[0]]) >= head.count("\n"):
        starts[0] = 0  # comments alone
    above = 0
    for start, end in pairwise(dict.fromkeys((0, *starts, len(block)))):
        part = block[start:end]
        yield above, part
        above += part.count("\n")


def _read_block(block: str, names: dict[str, str], wanted: frozenset[str]) -> Entry | None:
    entry: Entry | None = None
    ranges: list[tuple[str, int, int | None]] = []
    for line in block.replace("\n ", "").split("\n"):  # RFC 2849, note 2: unfolding
        if not line or line[0] == "#":
            continue
        written, colon, value = line.partition(":")
        if not colon:
            raise _MalformedError(f"no colon in {_shown(line)}")
        name = names.get(written) or _attribute_name(written, names, ranges)
        if entry is not None and name in wanted and value[:1] == " " and value.isascii():
            entry.attributes.setdefault(name, []).append(value.lstrip(" "))  # nearly every line
        elif entry is None:
            if name == "dn":
                entry = Entry(_text(_value(value, name), name))
            elif name not in _NO_ENTRY:
                raise _MalformedError(f"an entry begins with dn:, not with {_shown(line)}")
        else:
            _add(entry, name, value, wanted)
    if ranges and entry is not None:
        return Entry(entry.dn, entry.attributes, unfinished(ranges, wanted))
    return entry


def _left_out(
    line: int, reason: str, block: str, names: dict[str, str], wanted: frozenset[str]
) -> LeftOut:
    """What can be read of a malformed entry, line by line."""
    dn, attributes, unread = "", dict[str, list[str]](), set[str]()
    for text in block.replace("\n ", "").split("\n"):
        written, _, value = text.partition(":")
        try:
            name = _attribute_name(written, names, [])
        except _MalformedError:
            continue
        try:
            if name == "dn":
                dn = dn or _text(_value(value, name), name)
            elif name in wanted:
                read = _text(_value(value, name), name)
                attributes.setdefault(name, []).append(read)
        except _MalformedError:
            unread.add(name)
    return LeftOut(line, reason, Entry(dn, attributes), frozenset(unread))


def _add(entry: Entry, name: str, value: str, wanted: frozenset[str]) -> None:
    """An attribute that nobody needs may be malformed."""
    match name:
        case "dn":
            raise _MalformedError("a second dn: before a blank line")
        case "changetype":
            _check_change(value)
        case _ if name in wanted:
            entry.attributes.setdefault(name, []).append(_text(_value(value, name), name))
        case _:
            pass


def _attribute_name(
    written: str, names: dict[str, str], ranges: list[tuple[str, int, int | None]]
) -> str:
    """In lower case, without options; a range of its values is noted in `ranges`."""
    if not _NAME.match(written):
        raise _MalformedError(f"not the name of an attribute: {_shown(written)}")
    name = written.partition(";")[0].lower()
    name = _BY_NUMBER.get(name, name)
    if (came := value_range(written)) is not None:
        ranges.append((name, *came))
    else:
        names[written] = name
    return name


def _check_change(value: str) -> None:
    if value.strip().lower() != "add":
        raise _MalformedError(f"a change ({value.strip()}), not an entry")


def _value(value: str, name: str) -> str | bytes:
    """What follows the first colon: text, `:` and base64, or `<` and a URL."""
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
            return (name in _SIDS and sid_text(value)) or value.decode("utf-8")
        if value.isascii():
            return value
        value.encode("utf-8")  # lone surrogates: the file held no UTF-8 here
    except UnicodeError:
        raise _MalformedError(f"{name} is not UTF-8") from None
    return value


def _shown(text: str) -> str:
    """A short, printable part of a malformed line."""
    return ascii(text[:40])
