"""Load on a running proxy: transfers, waiting Pings, and what they cost its process."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.messages import CONFIG, EMPTY, PING, head, post, wbxml
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import Wire, connected, framing

MIB = 1 << 20
PIECE = bytes(64 * 1024)
NOTHING_NEW = wbxml(bytes.fromhex("03016A00000D45" + "4703310001" + "01"))
TRANSFER_S = 300
OPENING = 100  # connections that are opened at a time


def transfer(wire: Wire) -> None:
    """A server's script: sends what a GET names, takes what a PUT announces."""
    wire.patience(TRANSFER_S)
    asked = wire.read_head()
    if asked.startswith(b"GET"):
        size = int(asked.split()[1].rpartition(b"/")[2])
        wire.stream(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            wire.stream(PIECE)
    else:
        length = framing(asked)
        assert isinstance(length, int)
        wire.skip(length)
        wire.stream(EMPTY)


def move(port: int, size: int, at_once: int) -> None:
    """So many downloads and as many uploads, all at the same time; every byte is counted."""

    def download() -> None:
        with connected(port, timeout_s=TRANSFER_S) as client:
            client.stream(head(b"GET /OAB/%d HTTP/1.1" % size))
            client.read_head()
            client.skip(size)

    def upload() -> None:
        with connected(port, timeout_s=TRANSFER_S) as client:
            client.stream(head(b"PUT /public/big HTTP/1.1", b"Content-Length: %d" % size))
            for _ in range(size // len(PIECE)):
                client.stream(PIECE)
            client.read_answer()

    with ThreadPoolExecutor(2 * at_once) as pool:
        jobs = [pool.submit(job) for job in (download, upload) for _ in range(at_once)]
        for job in jobs:
            job.result()


def peak_while(proxy: Mitmdump, work: Callable[[], None]) -> int:
    """By how many KiB the process's memory grew at most while work was done."""
    before, peak, done = proxy.resident_kib(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, proxy.resident_kib() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak


@dataclass(frozen=True, slots=True)
class Waiting:
    """What so many waiting Pings cost. `bystander_ms`: latencies of somebody else meanwhile."""

    pings: int
    answered: int
    kib_each: float
    descriptors: int
    bystander_ms: list[float]

    def percentile(self, share: float) -> float:
        ordered = sorted(self.bystander_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def wait(directory: Path, pings: int, glances: int) -> Waiting:
    """Open `pings` Pings, look `glances` times at OWA meanwhile, then have all answered."""
    async with _holding() as (port, release):
        mode = f"reverse:http://127.0.0.1:{port}"
        with mitmdump(directory, mode, config=CONFIG) as proxy:
            await _glances(proxy.port, 50)
            before, files = proxy.resident_kib(), proxy.descriptors()
            waiting = [await _open(proxy.port, n) for n in range(pings)]
            await asyncio.wait_for(release.all_held(pings), 120)
            kib = (proxy.resident_kib() - before) / pings
            latencies = await _glances(proxy.port, glances)
            files = proxy.descriptors() - files
            release.all()
            answers = await asyncio.gather(*(_answer(reader) for reader, _ in waiting))
            for _, writer in waiting:
                writer.close()
    return Waiting(pings, answers.count(NOTHING_NEW), kib, files, latencies)


class _Release:
    """Counts the Pings that are held and lets them go."""

    def __init__(self) -> None:
        self._held = asyncio.Semaphore(0)
        self._event = asyncio.Event()

    def all(self) -> None:
        self._event.set()

    async def hold(self) -> None:
        self._held.release()
        await self._event.wait()

    async def all_held(self, count: int) -> None:
        for _ in range(count):
            await self._held.acquire()


@asynccontextmanager
async def _holding() -> AsyncIterator[tuple[int, _Release]]:
    """A server that holds every Ping and answers all else at once."""
    release = _Release()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                if b"Cmd=Ping" in asked:
                    await release.hold()
                    writer.write(NOTHING_NEW)
                else:
                    writer.write(EMPTY)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    async with server:
        yield server.sockets[0].getsockname()[1], release


type _Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(port: int, number: int) -> _Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(PING.replace(b"DeviceId=d", b"DeviceId=d%d" % number)))
    if number % OPENING == 0:
        await asyncio.sleep(0.05)
    return reader, writer


async def _answer(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.readexactly(len(NOTHING_NEW)), 120)
    except (asyncio.IncompleteReadError, TimeoutError):
        return b""


async def _glances(port: int, count: int) -> list[float]:
    """One connection, one GET after the other; milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        writer.write(head(b"GET /owa/ HTTP/1.1"))
        await reader.readexactly(len(EMPTY))
        took.append((time.perf_counter() - began) * 1000)
    writer.close()
    return took
