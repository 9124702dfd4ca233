"""One worker process as its supervisor sees it: started, asked, restarted. No mitmproxy here."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eas_redirect.directory.adoption import SIBLINGS
from eas_redirect.engine import hangups

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 3.0
LONGEST_ANSWER = 4 * 1024 * 1024  # bytes of an exposition or a status

PACKAGE_PARENT = Path(__file__).resolve().parent.parent.parent


class Worker:
    """A process that can be asked over a Unix socket. `snapshot` is its last known exposition."""

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
        """Its standard input is a pipe of ours: when we are gone, however, it stops by itself."""
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
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor alone
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
        """The body of one of its pages; None when there is no good answer in time."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S if timeout_s is None else timeout_s):
                answer = await _get(self._socket, path)
        except TimeoutError:
            self.silent = True
            return None
        except (OSError, ValueError):  # nobody is there, or somebody who hung up: not silent
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
    LIVED_LONG_S = 60.0  # after a life this long the next end counts as the first

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def after(self, lived_s: float) -> float:
        if lived_s >= self.LIVED_LONG_S:
            self._next_s = self.FIRST_S
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self.LONGEST_S)
        return wait_s
