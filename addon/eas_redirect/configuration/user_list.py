"""Lists of users: the one reader for `users_file`, `plan USERS.csv` and `check --users`.

A list has one name per line, or is CSV with a head that names the column of users, as Exchange's
migration batches (`EmailAddress`) and `Export-Csv` write it. UTF-8 or UTF-16. A line that cannot be
read is refused, never skipped: it may be the one that keeps somebody out of a wave.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.activesync.authorization import MAX_LOGON, parse_logon
from eas_redirect.configuration.foreign_files import HEAD, kind_of
from eas_redirect.directory.names import is_dn

MAX_BYTES = 64 * 1024**2
MAX_DN = 1024  # characters
MAX_TOLD = 5  # lines that are refused one by one; the others are counted

# In order of preference: what a device may log on with comes before mere addresses.
COLUMNS = (
    "user",
    "logon",
    "userprincipalname",
    "upn",
    "emailaddress",
    "email",
    "primarysmtpaddress",
    "windowsemailaddress",
    "mail",
    "samaccountname",
    "username",
    "benutzername",
    "anmeldename",
    "anmeldung",
    "benutzer",
    "emailadresse",
    "name",
    "identity",
    "alias",
)
_DISPLAY = ("name", "identity")  # heads of columns that often hold no logons
_DELIMITERS = (",", ";", "\t")
_EXCEL = re.compile(
    r"sep=([,;|\t])", re.IGNORECASE
)  # the first line of a file that Excel is to open
_FULL = re.compile(r"[^@\\\s]+[@\\][^@\\\s]+")  # an address or DOMAIN\user
_ONE = "is not one name: write one user a line, without wildcards or quotes"
CONTROL = (
    "holds a control character (in TOML a backslash in double quotes makes one, as in"
    ' "CONTOSO\\bruno": use single quotes)'
)
_COMMENT = re.compile(r"\s+#.*")


class UserListError(Exception):
    """A list that cannot be used. One line per problem, with the file and what to do."""


def read_users(path: Path) -> tuple[str, ...]:
    """The names in order, each once regardless of case. Raises UserListError."""
    return read_list(path).names


@dataclass(frozen=True, slots=True)
class UserList:
    """`remarks`: what is probably not meant, a sentence each, with the line."""

    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_list(path: Path) -> UserList:
    """As `read_users`, with remarks."""
    text = _text(path)
    first = next(filter(None, map(_content, text.splitlines())), "")
    if not first:
        raise UserListError(f"{path}: names nobody: write one user a line")
    told = _EXCEL.fullmatch(first)
    delimiter = told[1] if told else max(_DELIMITERS, key=first.count)
    is_csv = told is not None or (delimiter in first and not is_dn(first))
    found: dict[str, str] = {}
    problems: list[str] = []
    remarks: list[str] = []
    odd: list[str] = []
    for number, cell in _cells(path, text, delimiter, remarks) if is_csv else _lines(text):
        try:
            name = read_name(cell)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
        else:
            found.setdefault(name.lower(), name)
            if (remark := blank_in(name)) is not None:
                odd.append(f"{path}:{number}: {remark}")
    if problems:
        raise UserListError("\n".join(_first(path, problems)))
    if not found:
        raise UserListError(f"{path}: names nobody below its head: write one user a line")
    return UserList(tuple(found.values()), (*remarks, *_first(path, odd)))


def _first(path: Path, sentences: list[str]) -> list[str]:
    more = len(sentences) - MAX_TOLD
    return sentences[:MAX_TOLD] + ([f"{path}: and {more} lines more"] if more > 0 else [])


def blank_in(name: str) -> str | None:
    """What is odd about a name with a blank in it; a DN may have some. Active Directory allows an
    account name to have one, so it is not refused."""
    if " " not in name or is_dn(name):
        return None
    return (
        f"{name} holds a blank, as display names do and hardly any name to log on with: write one"
        " user a line, by UPN, address or DOMAIN\\user"
    )


def read_name(text: str) -> str:
    """One user as an administrator writes it: a UPN, an address, `DOMAIN\\user`, an account name
    or a DN. Raises ValueError with the reason."""
    name = text.strip(" ")
    if name[:5].lower() == "smtp:":
        name = name[5:]
    if not name:
        raise ValueError("names nobody")
    if "\t" in name:
        raise ValueError(_ONE)
    if not name.isprintable():
        raise ValueError(CONTROL)
    if "\N{REPLACEMENT CHARACTER}" in name:
        raise ValueError("holds a character that was lost: save the list as UTF-8")
    if is_dn(name):
        if len(name) > MAX_DN:
            raise ValueError(f"is longer than {MAX_DN} characters")
        return name
    if any(mark in name for mark in '*?",;') or sum(map(_is_full, name.split(" "))) > 1:
        raise ValueError(_ONE)
    if len(name) > MAX_LOGON:
        raise ValueError(f"is longer than {MAX_LOGON} characters")
    if parse_logon(name) is None:
        raise ValueError(
            "is no name that anybody logs on with: write a UPN, an address, DOMAIN\\user or an"
            " account name"
        )
    return name


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserListError(f"{path}: is longer than {MAX_BYTES // 1024**2} MiB: no such list")
        raw = path.read_bytes()
        if (kind := kind_of(raw[:HEAD])) is not None:
            raise UserListError(f"{path}: is {kind} and no list of users")
        marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16" if marked else "utf-8-sig")  # PowerShell writes UTF-16
    except FileNotFoundError:
        raise UserListError(f"{path}: cannot be read: there is no such file") from None
    except IsADirectoryError:
        raise UserListError(f"{path}: is a folder: name a list of users in it") from None
    except OSError as error:
        raise UserListError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserListError(f"{path}: is not UTF-8: save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserListError(f"{path}: is not a text file: save it as CSV UTF-8")
    return text


def _content(line: str) -> str:
    """A line without the space around it; empty for a comment."""
    line = line.strip(" \r\n")
    return "" if line.startswith("#") else line


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each name with its line number. Only a head that is known is skipped."""
    is_first = True
    for number, line in enumerate(text.splitlines(), start=1):
        name = _content(line)
        if not name:
            continue
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = name[1:-1]
        if not is_dn(name):
            name = _COMMENT.sub("", name)
        if not (is_first and _plain(name) in COLUMNS):
            yield number, name
        is_first = False


def _cells(path: Path, text: str, delimiter: str, remarks: list[str]) -> Iterator[tuple[int, str]]:
    """The column of users of a CSV, with the number of the line on which each row ends."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserListError(f"{path}:{reader.line_num}: is no CSV ({error})") from None
    rows = [
        (number, row)
        for number, row in numbered
        if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
    ]
    if rows and _EXCEL.fullmatch(delimiter.join(rows[0][1]).strip(" ")):
        rows = rows[1:]
    column, below = _column([row for _, row in rows])
    if below == 0 and len(rows) > 1 and not any(map(_is_full, (c for _, r in rows for c in r))):
        remarks.append(
            f"{path}:{rows[0][0]}: no head names a column of users, so the first column counts,"
            " with this line: begin with a line of heads, such as UserPrincipalName"
        )
    for number, row in rows[below:]:
        others = [cell for at, cell in enumerate(row) if at != column and _is_full(cell)]
        if below == 0 and others:
            raise UserListError(
                f"{path}:{number}: holds two names: write one user a line, or a first line that"
                " names the column, such as UserPrincipalName"
            )
        yield number, row[column] if len(row) > column else ""


def _column(rows: list[list[str]]) -> tuple[int, int]:
    """Where the users stand: the column, and the row they begin in."""
    if not rows:
        return 0, 0
    heads = [_plain(name) for name in rows[0]]
    known = next((heads.index(name) for name in COLUMNS if name in heads), None)
    width = len(rows[0])
    full = [sum(len(row) > at and _is_full(row[at]) for row in rows) for at in range(width)]
    best = max(range(width), key=full.__getitem__)
    if known is None:
        return (best if full[best] else 0), 0
    # A display name is no logon where another column holds some.
    return (best if heads[known] in _DISPLAY and full[best] > full[known] else known), 1


def _plain(head: str) -> str:
    return re.sub(r"[\s_-]", "", head).lower()


def _is_full(cell: str) -> bool:
    return _FULL.fullmatch(cell.strip()) is not None
