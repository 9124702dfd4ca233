"""USERS.csv: logons from whatever an administrator has at hand. Standard library only.

With a head: the column that names users, as in the files of Exchange's migration batches
(`EmailAddress`) or of `Export-Csv`. With another head, or none: the column of addresses or
`DOMAIN\\user`, else the first one.
"""

import codecs
import csv
import re
from pathlib import Path

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
    "name",
    "identity",
    "alias",
)
_DELIMITERS = (",", ";", "\t")
_EXCEL = re.compile(
    r"sep=([,;|\t])", re.IGNORECASE
)  # the first line of a file that Excel is to open
_FULL = re.compile(r"[^@\\\s]+[@\\][^@\\\s]+")  # an address or DOMAIN\user


class UserListError(Exception):
    """A list that cannot be used; the text says what to do."""


def read_users(path: Path) -> tuple[str, ...]:
    """The logons, each once whatever its case, in their order. Raises UserListError."""
    lines = [line for line in _text(path).splitlines() if line.strip() and line[0] != "#"]
    told = _EXCEL.fullmatch(lines[0].strip(" ")) if lines else None
    try:
        rows = list(csv.reader(lines[1:] if told else lines, delimiter=_delimiter(lines, told)))
    except csv.Error as error:
        raise UserListError(f"{path}: is no CSV ({error}).") from None
    if not rows:
        raise UserListError(f"{path}: names nobody. Write one user a line.")
    column, below = _column(rows)
    users = (row[column].strip() for row in rows[below:] if len(row) > column)
    found: dict[str, str] = {}
    for user in filter(None, users):
        found.setdefault(user.lower(), user)
    if not found:
        raise UserListError(f"{path}: names nobody below its head. Write one user a line.")
    return tuple(found.values())


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16" if marked else "utf-8-sig")  # PowerShell writes UTF-16
    except OSError as error:
        raise UserListError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserListError(f"{path}: is not UTF-8. Save it as CSV UTF-8.") from None
    if "\0" in text:
        raise UserListError(f"{path}: is not a text file. Save it as CSV UTF-8.")
    return text


def _delimiter(lines: list[str], told: re.Match[str] | None) -> str:
    if told is not None:
        return told[1]
    return max(_DELIMITERS, key=lines[0].count) if lines else ","


def _column(rows: list[list[str]]) -> tuple[int, int]:
    """Where the users stand: the column, and the row they begin in."""
    names = [re.sub(r"[\s_-]", "", name).lower() for name in rows[0]]
    known = next((names.index(name) for name in COLUMNS if name in names), None)
    full = [sum(_is_full(row, at) for row in rows) for at in range(len(rows[0]))]
    best = max(range(len(full)), key=full.__getitem__)
    if known is not None:
        # A display name is no logon where another column holds some.
        named = names[known] in ("name", "identity") and full[best] > full[known]
        return (best if named else known), 1
    # A column of which half is full names users; a head above them is none itself.
    if full[best] * 2 < len(rows) - 1 or not full[best]:
        return 0, 0
    return best, 0 if _is_full(rows[0], best) else 1


def _is_full(row: list[str], at: int) -> bool:
    return len(row) > at and _FULL.fullmatch(row[at].strip()) is not None
