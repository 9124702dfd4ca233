"""Where questions come in: a Unix socket that belongs to HAProxy's group, or a loopback port.

One question a connection. Bounded in number, bytes and time: whoever comes beyond that is sent
away, and HAProxy lets Exchange's answer pass.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from eas_redirect.configuration.kinds import Listen
from eas_redirect.haproxy.question import (
    MAX_HEAD,
    JudgeReply,
    Question,
    QuestionError,
    question_length,
    read_question,
    written_reply,
)

logger = logging.getLogger(__name__)

type Answerer = Callable[[Question, Callable[[], bool]], Awaitable[JudgeReply | None]]

GROUP = "haproxy"  # who may ask, where the system knows such a group
MODE = 0o660
AT_ONCE = 256  # questions; with MAX_QUESTION some 64 MiB
READ_S = 5.0  # for a question from its first byte to its last, and for the reply to leave
SAY_EVERY_S = 60.0
BACKLOG = 1024


class ListenError(Exception):
    """Why nothing can be listened at: a sentence that says what to do."""


class Listener:
    """Takes questions and hands them to `answer`."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._socket_file: Path | None = None
        self._inode = 0
        self._asking: set[_Asking] = set()
        self._said: dict[str, float] = {}  # when each kind of trouble was said last
        self.refused = 0  # questions that were not answered

    @property
    def open(self) -> int:
        """Questions under way."""
        return len(self._asking)

    async def start(self, address: str) -> None:
        """`judge.listen`. Raises ListenError."""
        listening = _listening(address)
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        if address.startswith("unix:"):
            self._socket_file = Path(address.removeprefix("unix:"))
            self._inode = self._socket_file.stat().st_ino
            self._server = await loop.create_unix_server(
                lambda: _Asking(self), sock=listening, backlog=BACKLOG
            )
        else:
            self._server = await loop.create_server(
                lambda: _Asking(self), sock=listening, backlog=BACKLOG
            )

    async def stop(self, within_s: float) -> None:
        """Take no more, answer what is under way."""
        if self._server is not None:
            self._server.close()
        if self._socket_file is not None:
            # A judge that has taken our place already keeps its own.
            with contextlib.suppress(OSError):
                if self._socket_file.stat().st_ino == self._inode:
                    self._socket_file.unlink()
        tasks = {asking.task for asking in self._asking if asking.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for asking in tuple(self._asking):
            asking.give_up()

    def begin(self, asking: "_Asking") -> bool:
        """Whether there is room for one more."""
        if len(self._asking) >= AT_ONCE:
            self.refuse(f"{AT_ONCE} questions are under way; what comes beyond passes unjudged")
            return False
        self._asking.add(asking)
        return True

    def end(self, asking: "_Asking") -> None:
        self._asking.discard(asking)

    async def answer(
        self, question: Question, still_there: Callable[[], bool]
    ) -> JudgeReply | None:
        return await self._answer(question, still_there)

    def refuse(self, why: str) -> None:
        """Counted, and said once a minute for each cause."""
        self.refused += 1
        now = time.monotonic()
        if now - self._said.get(why, float("-inf")) >= SAY_EVERY_S:
            self._said[why] = now
            logger.warning("eas-redirect: %s (%d so far)", why, self.refused)


class _Asking(asyncio.Protocol):
    """One connection, which is one question. A stream of asyncio's would take as long as the
    judgement does."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._came = bytearray()
        self._wanted: int | None = None  # bytes up to the question's end, once its head is here
        self._gone = False
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream of bytes
        self._transport = transport
        if not self._listener.begin(self):
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(READ_S, self._late)

    def data_received(self, data: bytes) -> None:
        if self.task is not None:
            return  # one question a connection
        self._came += data
        try:
            if self._wanted is None:
                self._wanted = _end_of_question(self._came)
            if self._wanted is None or len(self._came) < self._wanted:
                return
            start = self._came.index(b"\n") + 1
            question = read_question(bytes(self._came[start : self._wanted]))
        except QuestionError as error:
            self._listener.refuse(f"{error}: is eas.lua of this version? Write it again")
            self.give_up()
            return
        self._came.clear()
        self._stop_timer()
        self.task = asyncio.get_running_loop().create_task(self._reply(question))

    async def _reply(self, question: Question) -> None:
        reply = await self._listener.answer(question, lambda: not self._gone)
        if reply is not None and self._transport is not None:
            self._transport.write(written_reply(reply))
        if self._transport is not None:
            self._transport.close()
            # HAProxy that does not take its reply is not waited for.
            self._timer = asyncio.get_running_loop().call_later(READ_S, self.give_up)

    def eof_received(self) -> bool:
        self._gone = True
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self._gone = True
        self._stop_timer()
        if self.task is None and self._came:
            self._listener.refuse("a question did not come whole; its answer passed unjudged")
        self._listener.end(self)

    def give_up(self) -> None:
        if self.task is not None:
            self.task.cancel()
        self._came.clear()
        if self._transport is not None:
            self._transport.abort()

    def _late(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _end_of_question(came: bytearray) -> int | None:
    """How many bytes there are with the first line; None until that is here."""
    at = came.find(b"\n", 0, MAX_HEAD)
    if at < 0:
        if len(came) >= MAX_HEAD:
            raise QuestionError("the first line of a question is none")
        return None
    return at + 1 + question_length(bytes(came[: at + 1]))


def _listening(address: str) -> socket.socket:
    try:
        if address.startswith("unix:"):
            return _unix_socket(Path(address.removeprefix("unix:")))
        where = Listen.parse(address)
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        return socket.create_server((where.host, where.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"judge.listen: {address} cannot be listened at: {error.strerror or error};"
            " choose another address, or end what has it"
        ) from error


def _unix_socket(path: Path) -> socket.socket:
    """Under another name first, so that HAProxy never meets a socket that it may not open."""
    if not path.parent.is_dir():
        raise ListenError(
            f"judge.listen: there is no folder {path.parent}: make it, or let systemd do it"
            " (RuntimeDirectory=eas-redirect)"
        )
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise ListenError(f"judge.listen: {path} is there and is no socket: choose another name")
    if _is_served(path):
        raise ListenError(f"judge.listen: another judge listens at {path} already: end it first")
    listening = socket.socket(socket.AF_UNIX)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        listening.bind(str(beside))
        # LookupError: no such group here. PermissionError: ours is the right one already, or the
        # folder's is (setgid).
        with contextlib.suppress(LookupError, PermissionError):
            shutil.chown(beside, group=GROUP)
        beside.chmod(MODE)
        listening.listen(BACKLOG)
        beside.replace(path)
    except OSError:
        listening.close()
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return listening


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1)
        try:
            asking.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
