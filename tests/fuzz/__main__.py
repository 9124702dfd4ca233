"""`python -m tests.fuzz`: every target in turn, a line each; exit 1 when there are findings.

`make fuzz MINUTES=n` runs this. A finding is saved as a file and shown with how to replay it.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import targets
from tests.fuzz.fuzzer import Finding, Run, failure, fuzz
from tests.fuzz.target import Target
from tests.support import ROOT

MEMORY = 4 * 1024**3  # bytes of address space: what asks for more gets a MemoryError, a finding
KEPT_BYTES = 512  # longest input that goes into the corpus


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    known = targets.load()
    if options.list:
        for target in known.values():
            print(f"{target.name}: {target.invariant}")
        return 0
    if options.replay:
        return _replay(known, options.replay)
    unknown = sorted(set(options.target) - known.keys())
    if unknown:
        print(f"no such target: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    chosen = [known[name] for name in options.target] or list(known.values())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    return _run(chosen, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--target", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=None, help="of all chance (default: the time)")
    parser.add_argument("--findings", type=Path, default=ROOT / "fuzz-findings")
    parser.add_argument(
        "--keep", action="store_true", help="add to tests/data/fuzz what found code"
    )
    parser.add_argument("--replay", type=Path, help="run one saved input again")
    parser.add_argument("--list", action="store_true", help="the targets and their invariants")
    return parser


def _run(chosen: Sequence[Target], options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {seed}; {options.minutes:g} minutes over {len(chosen)} targets", flush=True)
    runs: list[Run] = []
    try:
        for target in chosen:
            seconds = options.minutes * 60 / len(chosen)
            run = fuzz(target, seed, seconds=seconds)
            runs.append(run)
            print(_line(run), flush=True)
            for finding in run.findings.values():
                _report(finding, options.findings)
            if options.keep:
                _keep(run)
    except KeyboardInterrupt:
        print("stopped")
    found = sum(len(run.findings) for run in runs)
    total = sum(run.inputs for run in runs)
    print(f"{total} inputs, {len(runs)} of {len(chosen)} targets, {found} findings")
    return 1 if found else 0


def _line(run: Run) -> str:
    return (
        f"{run.target.name:<16} {run.inputs:>9} inputs {run.rate:>7.0f}/s "
        f"{run.reached:>6} instructions {len(run.findings):>3} findings"
    )


def _report(finding: Finding, directory: Path) -> None:
    path = finding.save(directory)
    print(f"\nFINDING {finding.error}: {len(finding.data)} bytes in {path}")
    print(f"  replay: make fuzz REPLAY={path}\n{finding.trace}\n", flush=True)


def _keep(run: Run) -> None:
    """Inputs that found code beyond the corpus, the short ones; reviewed and committed by hand."""
    known = set(run.target.corpus())
    for data in run.kept:
        if data not in known and len(data) <= KEPT_BYTES:
            Finding(run.target.name, data, "", "").save(run.target.directory)


def _replay(known: dict[str, Target], path: Path) -> int:
    name = path.name.rpartition("-")[0]
    if name not in known:
        print(f"{path}: the name must begin with a target's: {', '.join(known)}")
        return 2
    data = path.read_bytes()
    finding = failure(known[name], data) or failure(known[name], data, memory=False)
    print(finding.trace if finding else f"{name}: the invariant holds for {path}")
    return 1 if finding else 0


if __name__ == "__main__":
    sys.exit(main())
