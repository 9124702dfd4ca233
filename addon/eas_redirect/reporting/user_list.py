"""USERS.csv: logons from whatever an administrator has at hand. Standard library only.

With a head: the column that names users, as in the files of Exchange's migration batches
(`EmailAddress`) or of `Export-Csv`. Without one: the first column, which may be the only one.
"""

import csv
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


class UserListError(Exception):
    """A list that cannot be used; the text says what to do."""


def read_users(path: Path) -> tuple[str, ...]:
    """The logons, each once, in their order. Raises UserListError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserListError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserListError(f"{path}: is not UTF-8. Save it as CSV UTF-8.") from None
    if "\0" in text:
        raise UserListError(f"{path}: is not a text file. Save it as CSV UTF-8.")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise UserListError(f"{path}: names nobody. Write one user a line.")
    rows = list(csv.reader(lines, delimiter=_delimiter(lines[0])))
    column = _column(rows[0])
    named = rows if column is None else rows[1:]
    users = (row[column or 0].strip() for row in named if len(row) > (column or 0))
    found = tuple(dict.fromkeys(user for user in users if user))
    if not found:
        raise UserListError(f"{path}: names nobody below its head. Write one user a line.")
    return found


def _delimiter(head: str) -> str:
    return max(_DELIMITERS, key=head.count)


def _column(head: list[str]) -> int | None:
    """Where the users stand, or None when the first row is no head."""
    names = [name.strip().lower().replace(" ", "") for name in head]
    return next((names.index(known) for known in COLUMNS if known in names), None)
