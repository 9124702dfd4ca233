"""How long the status page takes over a ledger of many devices, and how long the loop waits for it.

python -m tests.benchmarks.live_page [devices]
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from eas_redirect.configuration.config import load_config
from eas_redirect.service.monitor import Monitor, ProxyFacts
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import Record
from tests.integration.running import write_config
from tests.service.test_whereabouts import TARGET

DEVICES, STUCK, PAGES = 200_000, 2_000, 20


def fill(service: Service, devices: int) -> None:
    """Every tenth is redirected, and some of these keep coming back."""
    began = time.time() - 1300  # not long enough to count as silent
    for step in range(5):
        for number in range(devices if step == 0 else STUCK * 10):
            if step and number % 10:
                continue
            told = number % 10 == 0
            record = Record(
                timestamp_s=began + step * 300,
                action="eas.exchange",
                message="",
                reason="mailbox_moved" if told else "other_answer",
                decision="redirect" if told else "pass",
                redirect_location=TARGET if told else None,
                command="Sync",
                user_name=f"user{number}",
                user_domain="CONTOSO",
                device_id=f"ID{number:09d}",
                device_type="iPhone",
                user_agent="Apple-iPhone14C2/2001.50",
            )
            for change in (*service.ledger.observe(record), record):
                for sink in service.sinks:
                    sink(change)


@asynccontextmanager
async def stalls() -> AsyncIterator[list[float]]:
    """The longest that the loop was away from a task that only sleeps for a millisecond."""
    found = [0.0]

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            found[0] = max(found[0], time.perf_counter() - before - 0.001)

    task = asyncio.create_task(beat())
    yield found
    task.cancel()


async def measure(devices: int) -> None:
    with TemporaryDirectory() as folder:
        path = write_config(Path(folder))
        journal = str(Path(folder) / "journal.jsonl")
        service = Service(load_config(path, {"journal.path": journal}))
        monitor = Monitor(service, ProxyFacts(config_path=lambda: str(path)))
        fill(service, devices)
        service.start()
        await monitor.follow()
        taken: list[float] = []
        async with stalls() as longest:
            for _ in range(PAGES + 1):
                began = time.perf_counter()
                reader, writer = await asyncio.open_connection("127.0.0.1", monitor.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                size = len(await reader.read())
                taken.append(time.perf_counter() - began)
                writer.close()
                await asyncio.sleep(1.0)  # a page is kept for a second
        states = {state.value: n for state, n in service.ledger.statistics().states.items()}
        print(f"{devices:,} devices {states}, a page of {size:,} bytes")
        later = sorted(taken[1:])
        print(f"first page {taken[0] * 1e3:.0f} ms; then median {later[PAGES // 2] * 1e3:.0f} ms,")
        print(
            f"longest {later[-1] * 1e3:.0f} ms; the loop waited {longest[0] * 1e3:.0f} ms at most"
        )
        monitor.close()
        service.close()


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else DEVICES))
