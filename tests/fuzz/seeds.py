"""Seeds from the tests' tables."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tests.support import DATA


def rows(name: str) -> list[dict[str, str]]:
    """A table of `tests/data`, tab-separated, `#` for comments."""
    with (DATA / name).open(encoding="utf-8", newline="") as table:
        lines = (line for line in table if not line.startswith("#"))
        return list(csv.DictReader(lines, delimiter="\t"))


def column(table: str, name: str) -> list[bytes]:
    return [(row[name] or "").encode() for row in rows(table)]


def hexadecimal(table: str, name: str) -> Iterator[bytes]:
    """A column of bytes; words that are no bytes (`-`, `unread`) are left out."""
    for row in rows(table):
        try:
            yield bytes.fromhex(row[name])
        except ValueError:
            continue


def lines(name: str) -> list[bytes]:
    text = (DATA / name).read_bytes()
    return [line for line in text.splitlines() if line and not line.startswith(b"#")]


def whole(*paths: Path | str) -> list[bytes]:
    return [(DATA / path).read_bytes() for path in paths]
