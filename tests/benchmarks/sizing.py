"""`python -m tests.benchmarks.sizing`: what waiting phones take: a table of docs/reference.md.

Phones hold a Ping each on a connection of their own, through a real `eas-redirect run`, to an
Exchange that answers none of them. They wait several times, since later waits may cost more.
"""

import argparse
import asyncio
import resource
import ssl
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.lab.authority import LabCertificates
from tests.benchmarks.usage import Usage, usage_with_children
from tests.haproxy.carrying import carried
from tests.integration.device import basic
from tests.integration.load import NOTHING_NEW
from tests.integration.messages import CONFIG, PING, head
from tests.integration.rawserver import CHALLENGE
from tests.integration.running import run

PATIENCE_S = 300
ROUNDS = 3  # of waiting on the same connections
DESCRIPTORS = 2  # of a phone: its own connection, and the one to Exchange
SPARE = 100  # descriptors of a process: files, the directory, connections that come and go
SIZES = ((500, 1), (2_000, 1), (3_000, 2), (10_000, 2), (30_000, 4))  # phones, workers


@dataclass(frozen=True, slots=True)
class Legs:
    """Where there is TLS."""

    name: str
    from_phones: bool
    to_exchange: bool


HTTP = Legs("http on both legs", from_phones=False, to_exchange=False)
INSIDE = Legs("http to the proxy, TLS to Exchange", from_phones=False, to_exchange=True)
TLS = Legs("TLS on both legs", from_phones=True, to_exchange=True)


@dataclass(frozen=True, slots=True)
class Costs:
    """What one more phone takes: memory while it waits, CPU when it comes."""

    phone_kb: float
    arrival_ms: float
    process_mb: float = 105.0  # a process without phones
    descriptors: float = DESCRIPTORS


SUPERVISOR_MB = 40.0
DOCUMENTED = {HTTP: Costs(40, 1.3), INSIDE: Costs(115, 2.5), TLS: Costs(180, 5)}
"""Measured, rounded up; docs/reference.md says the same, and a test keeps it so."""
DOCUMENTED_OF_HAPROXY = {HTTP: Costs(13, 0.1), INSIDE: Costs(46, 0.6), TLS: Costs(53, 1.5)}
HAPROXY_MB = 95.0  # with the judge, without phones


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sizing", description=__doc__)
    parser.add_argument("--phones", type=int, default=2000)
    parser.add_argument("--carrier", choices=CARRIERS, default="mitmproxy")
    options = parser.parse_args(arguments)
    phones = options.phones
    if phones > (most := take_all_descriptors()):
        print(f"--phones {phones}: the limit of descriptors here allows {most}", file=sys.stderr)
        return 2
    try:
        for legs in DOCUMENTED:
            with tempfile.TemporaryDirectory(prefix="eas-sizing-") as folder:
                costs = measure(Path(folder), legs, phones, options.carrier)
                print(described(legs, costs), flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print("\n".join(table()))
    return 0


def take_all_descriptors() -> int:
    """For how many phones they suffice: this process has both ends of what the proxy has."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return (hard - SPARE) // DESCRIPTORS


def described(legs: Legs, costs: Costs) -> str:
    return (
        f"{legs.name}: a process {costs.process_mb:.0f} MB, a phone {costs.phone_kb:.0f} kB and "
        f"{costs.descriptors:.2f} descriptors; its arrival {costs.arrival_ms:.1f} ms of CPU"
    )


def table() -> Iterator[str]:
    """The lines of docs/reference.md, computed from what it says of one phone."""
    for phones, workers in SIZES:
        memory = " | ".join(
            _megabytes(_memory_mb(phones, workers, costs)) for costs in DOCUMENTED.values()
        )
        descriptors = _hundreds(DESCRIPTORS * phones // workers + SPARE)
        back_s = phones * DOCUMENTED[TLS].arrival_ms / 1000 / workers
        yield f"| {phones:,} | {workers} | {memory} | {descriptors:,} | {back_s:.0f} s |"


def _memory_mb(phones: int, workers: int, costs: Costs) -> float:
    supervisor_mb = SUPERVISOR_MB if workers > 1 else 0
    return workers * costs.process_mb + supervisor_mb + phones * costs.phone_kb / 1000


def _megabytes(megabytes: float) -> str:
    if megabytes >= 1000:
        return f"{megabytes / 1000:.1f} GB"
    return f"{-(-megabytes // 10) * 10:.0f} MB"


def _hundreds(number: int) -> int:
    return -(-number // 100) * 100


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that runs: where phones call, and the processes that it is."""

    port: int
    pids: tuple[int, ...]

    def usage(self) -> Usage:
        return sum(map(usage_with_children, self.pids), Usage())


@contextmanager
def by_mitmproxy(
    folder: Path, url: str, ca: Path, certificate: Path | None, _phones: int
) -> Iterator[Proxy]:
    front = () if certificate is None else ("--cert", str(certificate))
    trust = {"ssl_verify_upstream_trusted_ca": str(ca)}
    with run(folder / "run", url, *front, options=trust) as running:
        yield Proxy(running.port, (running.process.pid,))


@contextmanager
def by_haproxy(
    folder: Path, url: str, ca: Path, certificate: Path | None, phones: int
) -> Iterator[Proxy]:
    """With the judge beside it, which these phones never ask."""
    proxy = f'upstream_ca = "{ca}"\n'
    proxy += "" if certificate is None else f'cert = "{certificate}"\n'
    words = ("--phones", str(phones + 100))
    with carried(folder / "carried", url, CONFIG, words, proxy=proxy) as running:
        assert running.haproxy is not None
        assert running.judge is not None
        yield Proxy(running.port, (running.haproxy.pid, running.judge.pid))


CARRIERS = {"mitmproxy": by_mitmproxy, "haproxy": by_haproxy}


def measure(folder: Path, legs: Legs, phones: int, carrier: str = "mitmproxy") -> Costs:
    lab = LabCertificates(folder / "certificates")
    exchange = lab.issue("ex07", ["localhost"])
    certificate = lab.issue("mail", ["localhost"]).file if legs.from_phones else None
    waiting = _Waiting()
    context = exchange.server_context() if legs.to_exchange else None
    with asyncio.Runner() as runner:
        server = runner.run(waiting.start(context))
        port = server.sockets[0].getsockname()[1]
        url = f"{'https' if legs.to_exchange else 'http'}://localhost:{port}"
        start = CARRIERS[carrier](folder, url, lab.ca_file, certificate, phones)
        try:
            with ExitStack() as ends:
                # In a thread: it asks Exchange before it says that it is ready.
                proxy = runner.run(asyncio.to_thread(ends.enter_context, start))
                costs = runner.run(_measure(proxy, waiting, phones, tls=legs.from_phones))
        finally:
            server.close()
    return costs


class _Waiting:
    """An Exchange that holds every request of a phone until all are let go."""

    def __init__(self) -> None:
        self._held = asyncio.Semaphore(0)
        self._let_go = asyncio.Event()

    async def start(self, context: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "localhost", 0, backlog=1024, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if b"User-Agent: eas-redirect/" in request:  # the proxy's own question
                    writer.write(CHALLENGE)
                    continue
                self._held.release()
                await self._let_go.wait()
                writer.write(NOTHING_NEW)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def hold(self, count: int) -> None:
        """So many requests are held from now on."""
        for _ in range(count):
            await asyncio.wait_for(self._held.acquire(), PATIENCE_S)

    @contextmanager
    def answering(self) -> Iterator[None]:
        self._let_go.set()
        yield
        self._let_go.clear()


async def _measure(proxy: Proxy, waiting: _Waiting, phones: int, *, tls: bool) -> Costs:
    context = _trusting() if tls else None
    early = await _connect(proxy.port, context, range(50))  # what the first ones load stays
    await waiting.hold(len(early))
    before = proxy.usage()
    later = await _connect(proxy.port, context, range(50, 50 + phones))
    await waiting.hold(phones)
    arrived = proxy.usage()
    for _ in range(ROUNDS):
        with waiting.answering():
            for reader, _ in (*early, *later):
                await asyncio.wait_for(reader.readexactly(len(NOTHING_NEW)), PATIENCE_S)
        for number, (_, writer) in enumerate((*early, *later)):
            writer.write(_ping(number))
        await waiting.hold(len(early) + phones)
    settled = proxy.usage()
    for _, writer in (*early, *later):
        writer.close()
    return Costs(
        phone_kb=(settled.resident_bytes - before.resident_bytes) / phones / 1000,
        arrival_ms=1000 * (arrived.cpu_s - before.cpu_s) / phones,
        process_mb=before.resident_bytes / 1e6,
        descriptors=(settled.descriptors - before.descriptors) / phones,
    )


type _Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(port: int, context: ssl.SSLContext | None, numbers: range) -> list[_Connection]:
    """One after another: a crowd would measure the queues."""
    opened = []
    for number in numbers:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(_ping(number))
        opened.append((reader, writer))
    return opened


def _ping(number: int) -> bytes:
    headers = (
        b"User-Agent: Apple-iPhone12C1/1801.394",
        b"Authorization: " + basic("anna@contoso.example").encode(),
        b"MS-ASProtocolVersion: 14.1",
        b"X-MS-PolicyKey: 1307199584",
        b"Content-Length: 0",
    )
    target = PING.replace(b"DeviceId=d", b"DeviceId=Appl%08d" % number)
    return head(b"POST " + target + b" HTTP/1.1", *headers)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
