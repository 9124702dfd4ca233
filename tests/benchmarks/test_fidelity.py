"""Fidelity in full: 1,000 exchanges of each kind, 100 MB bodies, 5,000 waiting Pings.

Prints its tables (`make bench`). Differences, memory and answers are asserted; times are printed
beside their goals, for the machine decides about them.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from pathlib import Path

import pytest

from tests.integration.crossing import Arrivals, Difference, cross
from tests.integration.kinds import KINDS
from tests.integration.load import MIB, move, peak_while, transfer, wait
from tests.integration.messages import CONFIG
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

EACH = 1000
CLIENTS = 8


type Say = Callable[..., None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print lines in spite of pytest's capture."""

    def show(*lines: str) -> None:
        with capsys.disabled():
            print("", *lines, sep="\n")

    return show


def crossed(proxy: Mitmdump, arrivals: Arrivals) -> list[Difference]:
    """All exchanges, mixed, over so many clients."""
    numbers = list(range(len(arrivals.exchanges)))
    random.Random(6).shuffle(numbers)  # noqa: S311 - the same order in every run
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = batched(numbers, len(numbers) // CLIENTS + 1)
        jobs = [pool.submit(cross, proxy.port, arrivals, share) for share in shares]
        return [difference for job in jobs for difference in job.result()]


def test_a_thousand_exchanges_of_each_kind(tmp_path: Path, say: Say) -> None:
    rng = random.Random(7)  # noqa: S311
    arrivals = Arrivals([make(rng) for make in KINDS.values() for _ in range(EACH)])
    began = time.perf_counter()
    with RawServer(arrivals.script) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, quiet=True) as proxy:
            found = crossed(proxy, arrivals)
            eas = sum(exchange.eas for exchange in arrivals.exchanges)
            lines = len(proxy.exchanges(eas, 60))
    rows = [f"{'exchanges':<22}{'sent':>8}{'different':>11}"]
    for index, kind in enumerate(KINDS):
        different = {d.number for d in found if d.number // EACH == index}
        rows.append(f"{kind:<22}{EACH:>8}{len(different):>11}")
    took = time.perf_counter() - began
    say(*rows, f"{len(arrivals.exchanges)} in {took:.0f} s; journal lines {lines}")
    assert not found, str(found[0])
    assert lines == eas


def test_eight_downloads_and_uploads_of_100_mb(tmp_path: Path, say: Say) -> None:
    size = 100 * MIB
    with RawServer(transfer) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, quiet=True) as proxy:
            move(proxy.port, MIB, at_once=8)
            began = time.perf_counter()
            peak = peak_while(proxy, lambda: move(proxy.port, size, at_once=8))
            took = time.perf_counter() - began
    say(
        f"8 downloads and 8 uploads of 100 MiB at once: {took:.0f} s, {1600 / took:.0f} MiB/s",
        f"memory grew by at most {peak / 1024:.1f} MiB (goal: less than 40)",
    )
    assert peak < 40 * 1024


async def test_five_thousand_waiting_pings(tmp_path: Path, say: Say) -> None:
    seen = await wait(tmp_path, pings=5000, glances=500)
    p50, p99 = seen.percentile(0.5), seen.percentile(0.99)
    say(
        f"waiting Pings {seen.pings}, answered {seen.answered}",
        f"memory {seen.kib_each:.1f} KiB each (goal: less than 40)",
        f"descriptors {seen.descriptors / seen.pings:.2f} each",
        f"a bystander meanwhile: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal: less than 50)",
    )
    assert seen.answered == seen.pings
    assert seen.kib_each < 40
