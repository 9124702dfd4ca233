"""How fast a report is, and how much memory it takes: `python -m tests.benchmarks.report_speed`.

The figures, on two cores and under 2 GiB: 10 million lines in under 60 s; with a target's list of
200,000 devices and a certificate (`--devices 200000 --target`) in under 90 s.
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
from eas_redirect.report.certificate import certify, render_certificate
from eas_redirect.report.exports import json_pieces
from eas_redirect.report.figures import make_report
from eas_redirect.report.handover import with_target
from eas_redirect.report.page import report_page
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.target_rows import read_target
journal, *target = sys.argv[1:]
began = time.perf_counter()
report = make_report(find_sources([journal]), time.time())
parts = {"journals": time.perf_counter() - began}
if target:
    rows = read_target(target, time.time())
    parts["target's list"] = time.perf_counter() - began - sum(parts.values())
    report = with_target(report, rows)
    parts["join"] = time.perf_counter() - began - sum(parts.values())
    render_certificate(certify(report, None), report, [])
    for piece in json_pieces(report):
        pass
    parts["certificate and JSON"] = time.perf_counter() - began - sum(parts.values())
report_page(report)
parts["page"] = time.perf_counter() - began - sum(parts.values())
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": time.perf_counter() - began,
    "cpu_s": used.ru_utime + used.ru_stime,
    "peak_kib": used.ru_maxrss,
    "exchanges": report.totals.exchanges,
    "states": report.totals.states,
    "verdicts": {c.handover.value: c.devices for c in report.target.counts} if target else {},
    "parts": parts,
}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    cpu_s: float  # of all its threads; on a busy machine the better figure
    peak_kib: int
    exchanges: int
    states: dict[str, int]
    verdicts: dict[str, int]
    parts: dict[str, float]  # what the seconds went to


def measure(journal: Path, *target: Path) -> Measured:
    """In a process of its own."""
    files = [str(path) for path in (journal, *target)]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *files], capture_output=True, text=True, check=True
    )
    return Measured(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--devices", type=int, default=50_000)
    parser.add_argument("--target", action="store_true", help="with a target's list of them all")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        crowd = Crowd(asked.lines, asked.devices)
        journal = crowd.write(Path(folder) / "crowd.jsonl")
        target = [crowd.write_target(Path(folder) / "devices.csv")] if asked.target else []
        size = journal.stat().st_size / 1e9
        print(f"wrote {size:.1f} GB in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        found = measure(journal, *target)
    print(
        f"{found.exchanges:,} exchanges: {found.seconds:.1f} s, {found.cpu_s:.1f} s of CPU,"
        f" {found.peak_kib / 1024:.0f} MiB"
    )
    for part, seconds in found.parts.items():
        print(f"  {part}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
