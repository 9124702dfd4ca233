"""What a target's PowerShell exports of its mobile devices: CSV in, `TargetRow` values out. Pure.

`Get-MobileDevice`, `Get-MobileDeviceStatistics` and their forerunners, through `Export-Csv` in any
of PowerShell's encodings, separators and cultures. What is ambiguous is refused, never guessed.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from sys import intern
from typing import Literal

from eas_redirect.activesync.request import caseless
from eas_redirect.report.words import moment

MAX_BYTES = 200 * 1000**2
MAX_ROWS = 1_000_000
MAX_CELL = 64 * 1024  # characters
CHUNK = 1 << 20

type DateOrder = Literal["day-first", "month-first"]
DATE_ORDERS: tuple[DateOrder, ...] = ("day-first", "month-first")

DEVICE_ID = "deviceid"
_USERS = (  # columns that hold a name to log on with, in order of preference
    "user",
    "userprincipalname",
    "upn",
    "mailbox",
    "primarysmtpaddress",
    "emailaddress",
    "windowsemailaddress",
    "windowsliveid",
    "mail",
    "samaccountname",
)
_DISPLAYED = ("userdisplayname",)
_TIMES = ("firstsynctime", "lastsyncattempttime", "lastsuccesssync")
_PATHS = ("distinguishedname", "identity")
_KNOWN = {
    *(DEVICE_ID, "devicetype", "deviceaccessstate", "deviceaccessstatereason", "clienttype"),
    *(*_USERS, *_DISPLAYED, *_TIMES, *_PATHS),
}
_PROBES = frozenset({"testactivesyncconnectivity", "easprobedevicetype"})
_DELIMITERS = (",", ";", "\t", "|")
_TYPE_LINE = "#type"
_LACKING = {  # what a file without these columns cannot say
    frozenset({"lastsuccesssync"}): "LastSuccessSync: who arrived is not known from it. Export"
    " Get-MobileDeviceStatistics",
    frozenset({"deviceaccessstate"}): "DeviceAccessState: who is quarantined or blocked is not"
    " known from it",
    frozenset({"firstsynctime"}): "FirstSyncTime: whose account was added again is not known"
    " from it",
    frozenset({*_USERS, *_DISPLAYED, *_PATHS}): "column that tells the user: its rows are joined"
    " by the device id alone",
}
_ADVICE = (
    "Export with: Get-MobileDevice -ResultSize Unlimited | Export-Csv FILE -NoTypeInformation"
    " -Encoding UTF8 (docs/report.md has a command that adds each user's address)"
)

# The device's object below its user. Export-Csv of Windows PowerShell writes ASCII unless told
# otherwise, and then the section sign between type and id arrives as a question mark.
_CANONICAL = re.compile(
    r"((?:.*[/\\])?([^/\\]+))[/\\]ExchangeActiveSyncDevices[/\\](.+)$", re.IGNORECASE
)
_DN = re.compile(
    r"CN=(.+?),CN=ExchangeActiveSyncDevices,(CN=((?:\\.|[^,\\])+).*)", re.IGNORECASE | re.DOTALL
)
_MARK = re.compile(r".*[\xa7\x15?\ufffd]", re.DOTALL)  # a section sign, or what became of it
# In a file of one byte a letter the byte of that sign tells the code page, and it is the same one
# in Windows-1250 to 1258.
_MARKED = re.compile(
    rb"(?:ExchangeActiveSyncDevices[/\\]|CN=)[0-9A-Za-z _.-]{1,64}([\xa7\xf5\x15])[0-9A-Za-z]"
)
_CODE_PAGES = {b"\xa7": "cp1252", b"\xf5": "cp850", b"\x15": "cp437"}
_CODE_PAGE_NAMES = {
    "cp1252": "Windows-1252 (ANSI)",
    "cp850": "code page 850 (OEM)",
    "cp437": "code page 437 (OEM)",
}
_TIME = re.compile(
    r"(\d{1,4})([./-]) ?(\d{1,2})\2 ?(\d{1,4})\.?[ T,]*(?:(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?"
    r"(?:[.,]\d+)?[\s\N{NARROW NO-BREAK SPACE}]*([AaPp])?\.?(?:[Mm]\.?)?)?"
)
_NEVER = frozenset({1, 1600, 1601})  # years of a time that was never set, as PowerShell prints it
_OLDEST_YEAR = 2000
_AHEAD_S = 86_400.0  # what is dated further ahead of now is of another calendar, or a wrong clock


class TargetError(Exception):
    """A file that cannot be used; each sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """A device as the target knows it. Times are Unix seconds."""

    device_id: str
    device_type: str | None = None
    users: tuple[str, ...] = ()  # names to log on with
    shown_names: tuple[str, ...] = ()  # names for people, which several users may bear
    owner: str | None = None  # the place of the user's object in the target's directory, folded
    state: str | None = None  # DeviceAccessState, lower case without blanks
    reason: str | None = None  # DeviceAccessStateReason, as it stands
    first_s: float | None = None
    attempt_s: float | None = None
    success_s: float | None = None
    tells_success: bool = True  # the file has LastSuccessSync, or is a log
    refused_only: bool = False  # of a log: every request was answered 401
    from_log: bool = False
    file: "TargetFile"


@dataclass(slots=True)
class TargetFile:
    """Where a row stands. `newest_s`: the latest time in the file; nothing later is known of those
    who stand in it."""

    name: str
    newest_s: float | None = None

    def reaches(self, *times: float | None) -> None:
        known = (at for at in (self.newest_s, *times) if at is not None)
        self.newest_s = max(known, default=None)


@dataclass(slots=True)
class TargetRows:
    """All rows of all files, and what was left out of them."""

    rows: list[TargetRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # why, in words → rows
    files: list[TargetFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def newest_s(self) -> float | None:
        """The latest time in any file."""
        return max((one.newest_s for one in self.files if one.newest_s is not None), default=None)


def folded_id(text: str) -> str:
    """A device id for comparisons: case, surrounding braces and blanks do not count."""
    return caseless(text.strip().strip("{}").strip())


def read_export(
    path: Path,
    name: str,
    into: TargetRows,
    order: DateOrder | None = None,
    now_s: float = inf,
) -> None:
    """Add the rows of one file. Raises TargetError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TargetError(f"{name}: is larger than 200 MB. Export fewer columns, or in parts.")
        export = _Export(path, TargetFile(name), _encoding(path), order, now_s)
        export.read(into)
    except OSError as error:
        raise TargetError(f"{name}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise TargetError(f"{name}: is not text throughout. {_ADVICE}.") from error
    into.notes += export.notes()
    into.files.append(export.file)


def is_export(head: bytes) -> bool:
    """By the first bytes of a file: neither a journal (JSON lines) nor a log in W3C form."""
    text = head.decode(_by_mark(head) or "utf-8", "replace").lstrip("\ufeff \r\n\t").lower()
    return text.startswith(_TYPE_LINE) or not text.startswith(("#", "{"))


def _by_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark says, or that the zero bytes of ASCII text give away."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) > 3 and not head[1] and not head[3] and head[0]:
        return "utf-16-le"
    if len(head) > 3 and not head[0] and not head[2] and head[1]:
        return "utf-16-be"
    return None


def _encoding(path: Path) -> str:
    """What the bytes prove, never what is likely: `ascii` is for a file of letters that cannot be
    told, whose names are left aside."""
    with path.open("rb") as file:
        if (marked := _by_mark(file.read(4))) is not None:
            return marked
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            file.seek(0)
            return _code_page(file.read(MAX_BYTES))
    return "utf-8"


def _code_page(content: bytes) -> str:
    found = {found[1] for found in _MARKED.finditer(content)}
    if not found and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", content):  # none in Windows-1252
        return "cp1252"
    return _CODE_PAGES[found.pop()] if len(found) == 1 else "ascii"


@dataclass(slots=True)
class _Export:
    path: Path
    file: TargetFile
    encoding: str
    order: DateOrder | None
    now_s: float
    _columns: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.file.name

    def read(self, into: TargetRows) -> None:
        if self.order is None:
            self.order = self._proven_order()
        for line, row in self._rows():
            made = self._row(line, row, into)
            if made is None:
                continue
            if len(into.rows) >= MAX_ROWS:
                raise TargetError(
                    f"{self.name}: more than a million rows in all. Read fewer files."
                )
            into.rows.append(made)
            self.file.reaches(made.first_s, made.attempt_s, made.success_s)

    def notes(self) -> Iterator[str]:
        """What is to be said of the file. Only after it was read."""
        if self.encoding == "ascii":
            yield (
                f"{self.name} is neither UTF-8 nor a code page that its bytes prove: names with"
                " other letters than ASCII are left aside. Export it with -Encoding UTF8."
            )
        elif self.encoding in _CODE_PAGE_NAMES:
            yield (
                f"{self.name} is not UTF-8: read as {_CODE_PAGE_NAMES[self.encoding]}. Where that"
                " is wrong, names with other letters than ASCII match nobody."
            )
        for names, words in _LACKING.items():
            if names.isdisjoint(self._columns):
                yield f"{self.name} has no {words}."

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each row below the head with its line, every time again."""
        csv.field_size_limit(MAX_CELL)
        errors = "replace" if self.encoding == "ascii" else "strict"
        with self.path.open(encoding=self.encoding, errors=errors, newline="") as file:
            head = ""
            skipped = 0
            for text in file:
                if text.strip("\ufeff \r\n\t\0") and not _is_preface(text):
                    head = text.lstrip("\ufeff")
                    break
                skipped += 1
            reader = csv.reader(file, delimiter=self._read_head(head))
            try:
                for row in reader:
                    if any(cell.strip() for cell in row) and not _is_preface(row[0]):
                        yield skipped + 1 + reader.line_num, row
            except csv.Error as error:
                line = skipped + 1 + reader.line_num
                raise TargetError(f"{self.name}:{line}: is no CSV ({error}). {_ADVICE}.") from error

    def _read_head(self, head: str) -> str:
        """The delimiter; and where each column stands."""
        if not head:
            raise TargetError(f"{self.name}: is empty. {_ADVICE}.")
        found: dict[str, list[str]] = {}
        for delimiter in _DELIMITERS:
            cells = next(csv.reader([head.rstrip("\r\n")], delimiter=delimiter), [])
            found[delimiter] = [re.sub(r"[\s_]", "", cell.strip('" ')).lower() for cell in cells]
        best = max(found, key=lambda delimiter: len(_KNOWN.intersection(found[delimiter])))
        names = found[best]
        if DEVICE_ID not in names and not set(_PATHS) & set(names):
            shown = ", ".join(found[max(found, key=lambda d: len(found[d]))][:6])[:200]
            raise TargetError(
                f"{self.name}: has no column DeviceId, which PowerShell names so in every"
                f" language. Its first line is: {shown}. {_ADVICE}."
            )
        self._columns = {}
        for at, name in enumerate(names):
            self._columns.setdefault(name, at)
        return best

    def _row(self, line: int, row: Sequence[str], into: TargetRows) -> TargetRow | None:
        """None, and counted, where it is not an ActiveSync device of a person."""
        kind = self._cell(row, "devicetype")
        client = self._cell(row, "clienttype")
        paths = [parted for name in _PATHS if (parted := _parted(self._cell(row, name) or ""))]
        device = self._cell(row, DEVICE_ID) or next((one.device_id for one in paths), "")
        if client is not None and client.lower() not in ("eas", "activesync", "0"):
            into.left_out["of another client than ActiveSync (ClientType)"] += 1
        elif kind is not None and kind.lower() in _PROBES:
            into.left_out["of Exchange's own probes"] += 1
        elif not folded_id(device):
            into.left_out["without a device id"] += 1
        else:
            users = (self._cell(row, name) for name in _USERS)
            shown = [self._cell(row, name) for name in _DISPLAYED] + [one.user for one in paths]
            state = self._cell(row, "deviceaccessstate")
            reason = self._cell(row, "deviceaccessstatereason")
            first, attempt, success = (self._time(line, row, name) for name in _TIMES)
            return TargetRow(
                device_id=device.strip().strip("{}"),
                device_type=intern(kind) if kind else None,
                users=tuple(dict.fromkeys(name for name in users if name and _whole(name))),
                shown_names=tuple(dict.fromkeys(name for name in shown if name and _whole(name))),
                owner=next((one.owner.lower() for one in paths if _whole(one.owner)), None),
                state=self._state(state),
                reason=intern(reason) if reason else None,
                first_s=first,
                attempt_s=attempt,
                success_s=success,
                tells_success="lastsuccesssync" in self._columns,
                file=self.file,
            )
        return None

    def _state(self, text: str | None) -> str | None:
        """None where there is no such column: an empty cell is not "allowed"."""
        if "deviceaccessstate" not in self._columns:
            return None
        plain = re.sub(r"[\s_]", "", text or "").lower() or "unknown"
        return intern(_STATES.get(plain, plain))

    def _cell(self, row: Sequence[str], name: str) -> str | None:
        at = self._columns.get(name)
        return (row[at].strip() or None) if at is not None and at < len(row) else None

    def _time(self, line: int, row: Sequence[str], name: str) -> float | None:
        text = self._cell(row, name)
        if text is None:
            return None
        try:
            at_s = read_time(text, self.order)
        except ValueError as error:
            raise TargetError(f"{self.name}:{line}: {name}: {error}") from None
        if at_s is not None and at_s > self.now_s + _AHEAD_S:
            raise TargetError(
                f"{self.name}:{line}: {name}: {text[:40]!r} is {moment(at_s)} UTC, which is still"
                " to come: another calendar, or a wrong clock. Export ISO times."
            )
        return at_s

    def _proven_order(self) -> DateOrder | None:
        """What the times of the whole file prove: one day above 12 tells for all."""
        proven: dict[DateOrder, int] = {}
        for line, row in self._rows():
            for name in _TIMES:
                found = _TIME.match(self._cell(row, name) or "")
                if found and found[2] != "." and len(found[1]) < 3:
                    first, second = int(found[1]), int(found[3])
                    if first > 12 >= second:
                        proven.setdefault("day-first", line)
                    elif second > 12 >= first:
                        proven.setdefault("month-first", line)
        if len(proven) > 1:
            lines = " and ".join(f"line {line} ({order})" for order, line in proven.items())
            raise TargetError(
                f"{self.name}: mixes two orders of day and month: {lines}. Export it again in one"
                " culture, or with ISO times."
            )
        return next(iter(proven), None)


def read_time(text: str, order: DateOrder | None) -> float | None:
    """Unix seconds of a time as a shell prints it, taken as UTC unless it names a zone; None for
    one that was never set. Raises ValueError where it cannot be read, or might mean two days."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = _printed(text, order)
    if at.year in _NEVER:
        return None
    if at.year < _OLDEST_YEAR:
        raise ValueError(f"{text[:40]!r} is before ActiveSync, or of another calendar.")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _printed(text: str, order: DateOrder | None) -> datetime:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time that can be read. Export ISO times.")
    first, second, third = int(found[1]), int(found[3]), int(found[4])
    if len(found[1]) == 4:
        year, month, day = first, second, third
    else:
        year = third
        day, month = (first, second) if _day_first(text, found, order) else (second, first)
    hour, minute, second_ = (int(found[part] or 0) for part in (5, 6, 7))
    if half := found[8]:
        hour = hour % 12 + (12 if half in "Pp" else 0)
    try:
        return datetime(year, month, day, hour, minute, second_, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no day of a calendar.") from None


def _day_first(text: str, found: re.Match[str], order: DateOrder | None) -> bool:
    """Dates with dots begin with the day in every culture; with other marks it depends."""
    first, second = int(found[1]), int(found[3])
    if found[2] == "." or first == second:
        return True
    if order is not None:
        return order == "day-first"
    if first > 12 or second > 12:
        return first > 12
    raise ValueError(
        f"{text[:40]!r} may be day first or month first, and no time in the file tells which."
        " Say --target-dates day-first or --target-dates month-first, or export ISO times."
    )


def _is_preface(line: str) -> bool:
    """`#TYPE …` of Windows PowerShell, `sep=;` for Excel."""
    text = line.strip('\ufeff" \r\n\t').lower()
    return text.startswith(_TYPE_LINE) or re.fullmatch(r"sep=[,;|\t]?", text) is not None


@dataclass(frozen=True, slots=True)
class _Path:
    """A device's object: whose it is (a name for people, and the place), and the device's id."""

    user: str
    owner: str
    device_id: str


def _parted(path: str) -> _Path | None:
    """Out of a DN or a canonical name."""
    if found := _DN.search(path):
        device, owner, user = found[1], found[2], re.sub(r"\\(.)", r"\1", found[3])
    elif found := _CANONICAL.search(path):
        owner, user, device = found[1], found[2], found[3]
    else:
        return None
    return _Path(user, owner, _MARK.sub("", device)) if _MARK.match(device) else None


_STATES = {
    "0": "unknown",
    "1": "allowed",
    "2": "blocked",
    "3": "quarantined",
    "4": "devicediscovery",
}


def _whole(name: str) -> bool:
    """Whether no letter of it became a question mark, or the sign for what is none."""
    return "?" not in name and "\ufffd" not in name
