"""`python -m tests.mutants`: make mutants, and say which ones no test has noticed.

Exit code: 1 when a survivor has no reason in survivors.tsv, or a reason no survivor. With
`--allowed`, when more survivors than that have none: a floor that is raised as tests get better.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pytest

from tests.mutants.mistakes import Mutant
from tests.mutants.plugin import Mutating
from tests.support import ROOT

PACKAGE = ROOT / "addon" / "eas_redirect"
ROOMS = ("policy", "judging", "activesync", "autodiscover", "directory", "service")
TESTS = (
    *(f"tests/{room}" for room in ROOMS),
    "tests/test_addon.py",
    "tests/checking",
    "tests/cli/test_explain_command.py",
    "tests/cli/test_explain_command_captures.py",
)
SURVIVORS = Path(__file__).with_name("survivors.tsv")

type Key = tuple[str, str, str, str]


def accepted() -> dict[Key, str]:
    """The survivors that have a reason: file, function, before, after, reason."""
    found = {}
    for line in SURVIVORS.read_text("utf-8").splitlines()[1:]:
        file, function, before, after, reason = line.split("\t")
        found[file, function, before, after] = reason
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--only", default="", help="a part of FILE:FUNCTION")
    parser.add_argument("--allowed", type=float, default=0, help="percent that may survive")
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS))
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="only these files, folders")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    began = time.monotonic()
    files = sorted(p for room in given.rooms for p in (PACKAGE / room).rglob("*.py"))
    mutating = Mutating(
        ROOT / "addon", files, began + given.minutes * 60, given.only, given.at_once
    )
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--benchmark-disable"]
    words += ["-o", "timeout=0", "-m", "not integration and not long and not bench"]
    code = pytest.main(
        [*words, *map(str, (ROOT / test for test in given.tests))], plugins=[mutating]
    )
    if code != pytest.ExitCode.OK:
        return int(code)
    outcome = mutating.outcome
    reasons = accepted()
    new = sorted((m for m in outcome.survivors if m.key not in reasons), key=lambda m: m.key)
    for mutant in new:
        print("\t".join(mutant.key))
    known = len(outcome.survivors) - len(new)
    print(
        f"{outcome.noticed} noticed, {len(new)} survived ({outcome.not_entered} of all in functions"
        f" that no test enters), {known} more with a reason, {outcome.left} not tried,"
        f" {time.monotonic() - began:.0f} s",
        file=sys.stderr,
    )
    whole = not (outcome.left or given.only) and given.tests == list(TESTS)
    stale = _stale(reasons, given.rooms, outcome.survivors) if whole else []
    for key in stale:
        print(f"no survivor any more, take its reason out: {' | '.join(key)}", file=sys.stderr)
    tried = outcome.noticed + len(outcome.survivors)
    return 1 if stale or len(new) > tried * given.allowed / 100 else 0


def _stale(reasons: dict[Key, str], rooms: list[str], survivors: list[Mutant]) -> list[Key]:
    tried = {key for key in reasons if Path(key[0]).parts[1] in rooms}
    return sorted(tried - {mutant.key for mutant in survivors})


if __name__ == "__main__":
    sys.exit(main())
