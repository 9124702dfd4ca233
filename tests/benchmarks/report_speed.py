"""How fast a report is, and how much memory it takes: `python -m tests.benchmarks.report_speed`.

The figure: 10 million lines in under 60 s and under 2 GiB on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.crowd import Crowd

_MEASURED = """
import json, resource, sys, time
from eas_redirect.report.figures import make_report
from eas_redirect.report.page import render
from eas_redirect.report.sources import find_sources
began = time.perf_counter()
report = make_report(find_sources(sys.argv[1:]), time.time())
render(report)
print(json.dumps({
    "seconds": time.perf_counter() - began,
    "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "exchanges": report.totals.exchanges,
    "states": report.totals.states,
}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    peak_kib: int
    exchanges: int
    states: dict[str, int]


def measure(journal: Path) -> Measured:
    """In a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(journal)], capture_output=True, text=True, check=True
    )
    return Measured(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--devices", type=int, default=50_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        journal = Crowd(asked.lines, asked.devices).write(Path(folder) / "crowd.jsonl")
        size = journal.stat().st_size / 1e9
        print(f"wrote {size:.1f} GB in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        found = measure(journal)
    print(f"{found.exchanges:,} exchanges: {found.seconds:.1f} s, {found.peak_kib / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
