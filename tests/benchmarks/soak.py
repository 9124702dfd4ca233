"""`python -m tests.benchmarks.soak`: mixed traffic for long, with a look at the proxy in between.

Prints a line for each look, draws them all as SVG, and ends with a verdict: exit 1 when memory,
descriptors or threads have grown, or when an answer was lost.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from pathlib import Path

from tests.benchmarks.__main__ import missing
from tests.benchmarks.subjects import exchange
from tests.benchmarks.usage import usage_with_children
from tests.benchmarks.wrk import Load, drive
from tests.integration.running import Running, run
from tests.support import ROOT

SETTLED = 20_000  # exchanges until caches are full and memory is what it will be
GROWTH = 1.05
SPARE_DESCRIPTORS, SPARE_THREADS = 8, 2
CALM_S = 0.5  # for connections that a load has left to be closed
DEVICES = 500

# What comes and goes: phones that stay, phones that call once, browsers, TLS.
MIX = (
    Load(every=10, devices=DEVICES),
    Load(every=10, keep_alive=False, connections=16, devices=DEVICES),
    Load(kind="owa", connections=16),
    Load(every=10, tls=True, connections=8, devices=DEVICES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The proxy between two loads, when nothing is under way."""

    seconds: float
    exchanges: int
    memory_mib: float
    descriptors: int
    threads: int
    journal_mib: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How long: seconds, or so many exchanges if they come first. `slice_s`: of each load."""

    seconds: float
    exchanges: int = sys.maxsize
    slice_s: int = 10


def soak(running: Running, limit: Limit, say: Callable[[str], None]) -> list[Look]:
    """Loads in turn up to the limit; a look after each."""
    looks, began, exchanges, errors = [_look(running, 0.0, 0, 0)], time.monotonic(), 0, 0
    for load in cycle(MIX):
        outcome = drive(running.port, load, limit.slice_s)
        exchanges += outcome.requests
        errors += outcome.errors
        time.sleep(CALM_S)
        elapsed = time.monotonic() - began
        looks.append(_look(running, elapsed, exchanges, errors))
        say(line(looks[-1]))
        if elapsed >= limit.seconds or exchanges >= limit.exchanges:
            break
    return looks


def _look(running: Running, seconds: float, exchanges: int, errors: int) -> Look:
    found = usage_with_children(running.process.pid)
    journal = running.directory / "journal.jsonl"
    return Look(
        seconds=seconds,
        exchanges=exchanges,
        memory_mib=found.resident_bytes / 2**20,
        descriptors=found.descriptors,
        threads=found.threads,
        journal_mib=journal.stat().st_size / 2**20 if journal.exists() else 0.0,
        errors=errors,
    )


def line(look: Look) -> str:
    return (
        f"{look.seconds:>7.0f} s {look.exchanges:>9} exchanges {look.memory_mib:>7.1f} MiB "
        f"{look.descriptors:>4} descriptors {look.threads:>3} threads "
        f"{look.journal_mib:>8.1f} MiB of journal {look.errors:>3} errors"
    )


def grown(looks: Sequence[Look]) -> list[str]:
    """What is not flat since the proxy had settled; empty when all is, or too little was seen."""
    last = looks[-1]
    problems = [f"{last.errors} connections failed"] if last.errors else []
    settled = next((look for look in looks if look.exchanges >= SETTLED), None)
    if settled is None or settled is last:
        return problems
    if last.memory_mib > settled.memory_mib * GROWTH:
        problems.append(f"memory: {settled.memory_mib:.1f} MiB, then {last.memory_mib:.1f}")
    if last.descriptors > settled.descriptors + SPARE_DESCRIPTORS:
        problems.append(f"descriptors: {settled.descriptors}, then {last.descriptors}")
    if last.threads > settled.threads + SPARE_THREADS:
        problems.append(f"threads: {settled.threads}, then {last.threads}")
    return problems


def verdict(looks: Sequence[Look]) -> str:
    last, problems = looks[-1], grown(looks)
    if problems:
        return "NOT FLAT: " + "; ".join(problems)
    settled = next((look for look in looks if look.exchanges >= SETTLED), None)
    if settled is None or settled is last:
        return f"too short to tell: {last.exchanges} exchanges, {SETTLED} fill the caches"
    change = 100 * (last.memory_mib / settled.memory_mib - 1)
    return (
        f"flat over {last.exchanges} exchanges: memory {change:+.1f} % since exchange "
        f"{settled.exchanges}"
    )


def plot(looks: Sequence[Look]) -> str:
    """One small diagram for each of what must be flat, and for the journal, which grows."""
    wanted: tuple[tuple[str, Callable[[Look], float]], ...] = (
        ("memory, MiB", lambda look: look.memory_mib),
        ("descriptors", lambda look: look.descriptors),
        ("threads", lambda look: look.threads),
        ("journal, MiB", lambda look: look.journal_mib),
    )
    panels = [_panel(30 + 110 * n, title, looks, of) for n, (title, of) in enumerate(wanted)]
    head = f'<text x="10" y="18" font-weight="bold">{escape(verdict(looks))}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {40 + 110 * len(wanted)}" '
        'width="680" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/>{head}{"".join(panels)}</svg>\n'
    )


def _panel(top: int, title: str, looks: Sequence[Look], of: Callable[[Look], float]) -> str:
    """Exchanges to the right, the value upwards from zero."""
    right = max(look.exchanges for look in looks) or 1
    most = max(of(look) for look in looks) or 1.0
    points = " ".join(
        f"{120 + 540 * look.exchanges / right:.1f},{top + 90 - 80 * of(look) / most:.1f}"
        for look in looks
    )
    return (
        f'<text x="10" y="{top + 20}">{title}</text>'
        f'<text x="10" y="{top + 36}">{of(looks[-1]):.1f} at the end</text>'
        f'<line x1="120" y1="{top + 90}" x2="660" y2="{top + 90}" stroke="#9aa5b1"/>'
        f'<polyline points="{points}" fill="none" stroke="#2b6cb0" stroke-width="1.5"/>'
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--exchanges", type=int, default=sys.maxsize, help="end behind so many")
    parser.add_argument("--slice", type=int, default=10, help="seconds of each kind of load")
    parser.add_argument("--svg", type=Path, default=ROOT / "docs" / "soak.svg")
    options = parser.parse_args(arguments)
    if lacking := missing():
        print(lacking, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="eas-soak-") as name:
        folder = Path(name)
        try:
            with (
                exchange(folder / "exchange") as port,
                run(folder / "run", f"http://127.0.0.1:{port}") as running,
            ):
                limit = Limit(
                    seconds=options.minutes * 60,
                    exchanges=options.exchanges,
                    slice_s=options.slice,
                )
                looks = soak(running, limit, _say)
        except KeyboardInterrupt:
            print("stopped; nothing was written", file=sys.stderr)
            return 130
    options.svg.write_text(plot(looks), "utf-8")
    print(f"{verdict(looks)}\nplot: {options.svg}")
    return 1 if grown(looks) else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
