"""`python -m tests.benchmarks`: the comparison of `make bench`.

Prints a table; unless `--short`, writes docs/performance.json, .svg and the generated part of .md.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.bench import Row, measure, rows
from tests.benchmarks.sizing import CARRIERS, HTTP, TLS, take_all_descriptors
from tests.benchmarks.sizing import measure as measure_waiting
from tests.benchmarks.subjects import subjects
from tests.support import ROOT

PROGRAMS = {"wrk": "wrk", "haproxy": "haproxy"}  # program → Debian package
PHONES = 1000  # that wait, for the figures of memory
DOCUMENT = ROOT / "docs" / "performance.md"
SEARCHED = "/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load for each figure")
    parser.add_argument("--short", action="store_true", help="one round of a second, no documents")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    if lacking := missing():
        print(lacking, file=sys.stderr)
        return 2
    take_all_descriptors()
    rounds, seconds = (1, 1) if options.short else (options.rounds, options.seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="eas-bench-") as folder:
            functions = function_figures(Path(folder), short=options.short)
            waiting = waiting_shares(Path(folder), 50 if options.short else PHONES)
            with subjects(Path(folder)) as running:
                found = rows(measure(running, rounds, seconds, _say))
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    print(report.table(found))
    for figure in report.figures(found, functions, waiting):
        mark = "reached" if figure.reached else "NOT REACHED"
        print(f"{figure.what}: {figure.measured} (wanted {figure.wanted}) {mark}")
    if not options.short:
        _write(options.document, found, functions, waiting, rounds, seconds)
    return 0


def missing() -> str | None:
    """What is not installed and how to get it, or None."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if not lacking:
        return None
    packages = " ".join(PROGRAMS[name] for name in lacking)
    return f"not installed: {', '.join(lacking)}. On Debian: apt-get install {packages}"


def function_figures(directory: Path, *, short: bool) -> dict[str, float]:
    """Medians in microseconds, from pytest-benchmark in a process of its own."""
    path = directory / "functions.json"
    command = [sys.executable, "-m", "pytest", "-q", "tests/benchmarks/test_functions.py"]
    command += [f"--benchmark-json={path}", *(["--benchmark-max-time=0.1"] if short else [])]
    _say("functions")
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = json.loads(path.read_text("utf-8"))["benchmarks"]
    medians = {b["name"].removeprefix("test_"): b["stats"]["median"] * 1e6 for b in found}
    beyond = medians["a_redirect"] - medians["an_ordinary_exchange"]
    return {**medians, "redirect_beyond_pass": beyond}


def waiting_shares(directory: Path, phones: int) -> dict[str, float]:
    """What a waiting phone takes with HAProxy and a judge, to what it takes with `run`, by legs."""
    shares = {}
    for legs in (TLS, HTTP):
        _say(f"{phones} waiting phones, {legs.name}")
        place = directory / legs.name.replace(" ", "-")
        one, other = (measure_waiting(place, legs, phones, carrier) for carrier in CARRIERS)
        shares[legs.name] = other.phone_kb / one.phone_kb
        _say(f"  {one.phone_kb:.1f} kB with run, {other.phone_kb:.1f} kB with HAProxy")
    return shares


def _write(
    document: Path,
    found: list[Row],
    functions: dict[str, float],
    waiting: dict[str, float],
    rounds: int,
    seconds: int,
) -> None:
    values = report.as_json(found, functions, waiting, rounds, seconds)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    document.with_suffix(".json").write_text(text + "\n", "utf-8")
    document.with_suffix(".svg").write_text(report.svg(found), "utf-8")
    report.put_into(document, report.markdown(found, functions, waiting, rounds, seconds))
    _say(f"written: {document} and .json, .svg beside it")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
