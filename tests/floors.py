"""`python -m tests.floors`: how much of each room the tests run, and where it must not be less.

Reads what `make coverage` has gathered from all the processes that the tests started, and the
floors in tests/data/coverage.tsv. Exit code 1: a room is below its floor.
"""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.support import DATA, ROOT

FLOORS = DATA / "coverage.tsv"
OTHERS = "*"  # the row of the rooms that have none


@dataclass(slots=True)
class Lines:
    """How many there are in a room, and how many have run."""

    all: int = 0
    run: int = 0

    @property
    def percent(self) -> float:
        return 100 * self.run / self.all if self.all else 100.0


def floors() -> dict[str, float]:
    rows = (line.split("\t") for line in FLOORS.read_text("utf-8").splitlines()[1:])
    return {room: float(percent) for room, percent in rows}


def rooms(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, Lines]:
    """Of coverage.py's JSON. What is in no room counts under its own name."""
    found = defaultdict[str, Lines](Lines)
    for file, facts in report["files"].items():
        parts = Path(file).parts
        after = parts[parts.index("eas_redirect") + 1 :]
        room = "/".join(after[:2]) if after[:2] == ("directory", "ldap") else after[0]
        found[room].all += facts["summary"]["num_statements"]
        found[room].run += facts["summary"]["covered_lines"]
    return dict(found)


def below(found: dict[str, Lines], at_least: dict[str, float]) -> list[str]:
    """What is wrong, a sentence a room."""
    return [
        f"{room} is below its floor of {floor:.0f} %: {lines.percent:.1f} %"
        for room, lines in sorted(found.items())
        if lines.percent < (floor := at_least.get(room, at_least[OTHERS]))
    ]


def main() -> int:
    report = ROOT / ".coverage.d" / "report.json"
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "combine", "-q", str(report.parent)], cwd=ROOT, check=True)
    subprocess.run([*command, "json", "-q", "-o", str(report)], cwd=ROOT, check=True)
    found = rooms(json.loads(report.read_text("utf-8")))
    at_least = floors()
    for room, lines in sorted(found.items()):
        floor = at_least.get(room, at_least[OTHERS])
        print(f"{room:18}{lines.percent:6.1f} % of {lines.all:5} lines   floor {floor:.0f} %")
    wrong = below(found, at_least)
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
