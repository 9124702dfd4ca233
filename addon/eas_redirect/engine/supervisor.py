"""Several proxy processes on one port: starts them, keeps them alive, stops them, sums their
figures.

The kernel spreads connections over the workers (SO_REUSEPORT). The supervisor handles no traffic;
it serves `metrics.listen` with the sum of what the workers tell it. No mitmproxy here.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from eas_redirect.directory.adoption import SIBLINGS
from eas_redirect.engine import hangups
from eas_redirect.telemetry.merge import merge_statuses, sum_expositions
from eas_redirect.telemetry.printable import Printable
from eas_redirect.telemetry.site import STATUS, WAITS, MetricsSite, Views
from eas_redirect.telemetry.status import Status
from eas_redirect.telemetry.web import parse_listen, why_not_served
from eas_redirect.telemetry.writing import queue_standard_streams

# One worker process as its supervisor sees it: started, asked, restarted.

_log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 3.0
LONGEST_ANSWER = 4 * 1024 * 1024  # bytes of an exposition or a status

PACKAGE_PARENT = Path(__file__).resolve().parent.parent.parent


class Worker:
    """A process that answers over a Unix socket. `snapshot` is its last known exposition."""

    def __init__(self, number: int, arguments: Sequence[str], socket: Path) -> None:
        self.number = number
        self.snapshot: str | None = None
        self.served = False  # has answered since it was started
        self.silent = False  # took the last question and left it unanswered
        self._arguments = arguments
        self._socket = socket
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    async def start(self) -> None:
        """Its standard input is our pipe: if we end in any way, it stops by itself."""
        path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
        self._started_at = time.monotonic()
        self.served = self.silent = False
        with hangups.held():  # it inherits that, and a hangup is not its end before it listens
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "eas_redirect.engine.proxy_process",
                *self._arguments,
                "--set",
                f"eas_metrics=unix:{self._socket}",
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, SIBLINGS: str(self._socket.parent)},
                start_new_session=True,  # a Ctrl-C at the terminal reaches only the supervisor
            )

    async def wait(self) -> int:
        """The exit code; negative: the signal that ended it."""
        assert self._process is not None  # noqa: S101 - started before
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def ask(self, path: str, timeout_s: float | None = None) -> str | None:
        """The body of one of its pages; None if there is no good answer in time."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S if timeout_s is None else timeout_s):
                answer = await _get(self._socket, path)
        except TimeoutError:
            self.silent = True
            return None
        except (OSError, ValueError):  # nobody is there, or it hung up: not silent
            self.silent = False
            return None
        self.silent = False
        return answer

    async def refresh(self, timeout_s: float | None = None) -> bool:
        """Take a new snapshot; whether it answered."""
        text = await self.ask("/metrics", timeout_s)
        if text is None:
            return False
        self.snapshot, self.served = text, True
        return True


async def _get(socket: Path, path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=LONGEST_ANSWER)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode("ascii"))
        answer = await reader.read(LONGEST_ANSWER)
        while more := await reader.read(LONGEST_ANSWER):
            answer += more
            if len(answer) > LONGEST_ANSWER:
                raise ValueError("the answer is too long")
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError("not a good answer")
    return body.decode()


class Backoff:
    """How long to wait before a worker that ended is started again."""

    FIRST_S = 0.5
    LONGEST_S = 30.0
    LIVED_LONG_S = 60.0  # after running this long, the next end counts as the first

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def after(self, lived_s: float) -> float:
        if lived_s >= self.LIVED_LONG_S:
            self._next_s = self.FIRST_S
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self.LONGEST_S)
        return wait_s


logger = logging.getLogger(__name__)

START_S = 300.0  # until a worker serves: many on few cores with a large snapshot take a while
LOOK_S = 5.0  # between two looks at a worker: counts since the last look are lost in a crash
# A worker that is silent this long hangs. A busy one has taken 3 s, with 1,500 phones at once.
HUNG_S = 25.0
ENDED_EARLY = 5  # times that a signal may end a starting worker before it counts as unable to
KILL_GRACE_S = 10.0  # on top of the workers' own time for a stop
NOT_READY = "# TYPE eas_ready gauge\neas_ready 0\n"  # the worst of several counts


class Supervisor:
    """Runs `workers` processes until a signal."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        workers: int,
        stop_timeout_s: float,
        metrics_listen: str | None,
        metrics_host_names: Sequence[str] = (),
    ) -> None:
        """`arguments`: those of `engine.proxy_process`, without the address for metrics."""
        self._arguments = arguments
        self._count = workers
        self._stop_timeout_s = stop_timeout_s
        self._metrics_listen = metrics_listen
        self._metrics_host_names = metrics_host_names
        self._workers: list[Worker] = []
        self._gone: list[str] = []  # last expositions of workers that ended
        self._restarts = 0
        self._stop = asyncio.Event()
        self._failed = False
        self._served = False  # any worker, ever
        self._attempts: Counter[int] = Counter()  # to start, by worker, as `_cannot_start` counts

    def run(self) -> int:
        """Exit code: 0 stopped by a signal, 1 the start failed."""
        queue_standard_streams()
        logging.basicConfig(
            level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S"
        )
        for handler in logging.getLogger().handlers:
            handler.addFilter(Printable())
        with tempfile.TemporaryDirectory(prefix="eas-redirect-") as folder:
            return asyncio.run(self._main(Path(folder)))

    async def _main(self, folder: Path) -> int:
        self._on_signals()
        try:
            site = await self._open_site()
        except (OSError, ValueError) as error:
            logger.error(
                "eas-redirect: cannot serve metrics at %s: %s",
                self._metrics_listen,
                why_not_served(error),
            )
            return 1
        self._workers = [
            Worker(number, self._arguments, folder / str(number))
            for number in range(1, self._count + 1)
        ]
        kept = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        looks = [asyncio.create_task(self._look_after(worker)) for worker in self._workers]
        try:
            await self._stop.wait()
            for look in looks:
                look.cancel()
            await self._end(kept)
        finally:
            if site is not None:
                site.close()
        return 1 if self._failed else 0

    async def _open_site(self) -> MetricsSite | None:
        if self._metrics_listen is None:
            return None
        views = Views(status=self._status, metrics=self._metrics, waits=self._waits)
        site = MetricsSite(views, lambda: self._metrics_host_names)
        await site.start(parse_listen(self._metrics_listen))
        logger.info("eas-redirect: metrics and status page at %s", site)
        return site

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)
        hangups.release()

    def _asked_to_stop(self) -> None:
        """Gracefully the first time; workers take a second signal as "at once"."""
        self._stop.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(number)

    async def _keep(self, worker: Worker) -> None:
        """Start a worker, and start it again whenever it ends, until the stop."""
        backoff = Backoff()
        while not self._stop.is_set():
            await worker.start()
            code = await worker.wait()
            self._bury(worker)
            if self._stop.is_set():
                return
            self._served |= worker.served
            if not self._served and self._cannot_start(worker, code):
                logger.error("eas-redirect: no worker can start; see above")
                self._failed = True
                self._asked_to_stop()
                return
            self._restarts += 1
            wait_s = backoff.after(worker.age_s)
            logger.error(
                "eas-redirect: worker %d %s; starting it again in %g s",
                worker.number,
                _how(code),
                wait_s,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)

    def _cannot_start(self, worker: Worker, code: int) -> bool:
        """Whether no worker can start, judging by each one's last attempt. A worker that somebody
        killed while it started (a negative code) says nothing about the others, unless that goes
        on."""
        self._attempts[worker.number] += 1 if code < 0 else ENDED_EARLY
        return all(self._attempts[w.number] >= ENDED_EARLY for w in self._workers)

    def _bury(self, worker: Worker) -> None:
        """Keep its counts."""
        worker.silent = False  # it holds no connection any more
        if worker.snapshot is not None:
            self._gone = [sum_expositions((), (*self._gone, worker.snapshot)).decode()]
            worker.snapshot = None

    async def _look_after(self, worker: Worker) -> None:
        """Keep its snapshot fresh, and kill it if it hangs: `_keep` starts it again."""
        while not self._stop.is_set():
            if not await worker.refresh() and await self._hangs(worker):
                logger.error("eas-redirect: worker %d hangs; ending it", worker.number)
                worker.send(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_S)

    async def _hangs(self, worker: Worker) -> bool:
        """Whether it has been silent for HUNG_S, or has not begun to serve within START_S."""
        if not worker.served:
            return worker.age_s > START_S
        # Then once more: our own pause, or the machine's, is not the worker's fault.
        for timeout_s in (HUNG_S, None):
            if not worker.silent or await worker.refresh(timeout_s):
                return False
        return worker.silent

    async def _end(self, kept: Sequence[asyncio.Task[None]]) -> None:
        _, alive = await asyncio.wait(kept, timeout=self._stop_timeout_s + KILL_GRACE_S)
        if alive:
            logger.error("eas-redirect: %d workers did not stop in time; ending them", len(alive))
            self._send(signal.SIGKILL)
            await asyncio.wait(alive)

    async def _status(self) -> Status:
        answers = await asyncio.gather(*(worker.ask("/status") for worker in self._speaking()))
        statuses = [STATUS.validate_json(answer) for answer in answers if answer is not None]
        merged = merge_statuses(statuses) if statuses else _nobody(self._stop.is_set())
        return replace(merged, hanging=self._hanging)

    async def _waits(self) -> Counter[str]:
        answers = await asyncio.gather(*(worker.ask("/waits") for worker in self._speaking()))
        found = [WAITS.validate_json(answer) for answer in answers if answer is not None]
        return sum((Counter(accounts) for accounts in found), Counter())

    async def _metrics(self) -> bytes:
        await asyncio.gather(*(worker.refresh() for worker in self._speaking()))
        living = [worker.snapshot for worker in self._workers if worker.snapshot is not None]
        if self._hanging or not living:
            living.append(NOT_READY)
        return sum_expositions(living, self._gone, self._own_metrics())

    def _speaking(self) -> list[Worker]:
        """Nobody waits for a worker that is silent; `_look_after` notices when it comes back."""
        return [worker for worker in self._workers if not worker.silent]

    @property
    def _hanging(self) -> int:
        return sum(worker.silent for worker in self._workers)

    def _own_metrics(self) -> list[Metric]:
        answering = sum(worker.served and not worker.silent for worker in self._workers)
        return [
            GaugeMetricFamily("eas_workers", "Workers that answer.", value=answering),
            CounterMetricFamily(
                "eas_worker_restarts", "Workers that ended by themselves.", value=self._restarts
            ),
        ]


def _nobody(stopping: bool) -> Status:
    """The answer while no worker responds."""
    now_s = time.time()
    return Status(now_s=now_s, started_s=now_s, mode="no worker answers", draining=stopping)


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
