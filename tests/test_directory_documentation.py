"""docs/directory.md knows every error type and every change that the directory can tell."""

import re
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "addon" / "eas_redirect"
DOCUMENTED = set(
    re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "directory.md").read_text(encoding="utf-8"))
)


def words(pattern: str, *rooms: str) -> set[str]:
    files = [file for room in rooms for file in (PACKAGE / room).glob("*.py")]
    return {word for file in files for word in re.findall(pattern, Path(file).read_text("utf-8"))}


@pytest.mark.parametrize(
    "found",
    [
        words(r'\bFault\(\s*"([a-z_]+)"', "directory/ldap"),
        words(r'"[0-9a-f]{3}": \(\s*"([a-z_]+)"', "directory/ldap"),
        words(r'kind="([a-z_]+)"', "directory", "policy"),
        words(r'_drift\(\s*"([a-z_]+)"', "directory"),
    ],
    ids=["faults", "sub-codes of binds", "findings", "changes"],
)
def test_each_word_is_documented(found: set[str]) -> None:
    assert len(found) >= 4
    assert found <= DOCUMENTED
