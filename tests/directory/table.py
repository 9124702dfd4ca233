"""The table of logons, and how its outcomes are told from answers."""

import csv

from eas_redirect.directory.values import Ambiguous, DirectoryAnswer, Found, NotFound, Unavailable
from tests.support import DATA


def rows() -> list[dict[str, str]]:
    with (DATA / "logons.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def row_name(row: dict[str, str]) -> str:
    return f"{row['logon']}/{row['default_domain']}"


def outcome(answer: DirectoryAnswer) -> tuple[str, str]:
    """The kind of the look-up, and the text that tells which object or why none."""
    match answer.lookup:
        case Found(recipient=found):
            return "found", found.dn
        case Ambiguous(dns=dns):
            return "ambiguous", " ".join(dns)
        case NotFound():
            return "not_found", " ".join(answer.steps)
        case Unavailable(error_type=error_type, message=message):
            return "unavailable", f"{error_type}: {message}"
