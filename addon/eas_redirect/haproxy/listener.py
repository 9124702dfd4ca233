"""Where questions come in: a Unix socket that belongs to HAProxy's group, or a loopback port.

One question per connection. Number, bytes and time are bounded: whoever exceeds a bound is sent
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
ACCEPTS = 32  # questions taken in one turn of the loop
ACCEPT_AGAIN_S = 0.2
READ = 65536  # bytes at once


class ListenError(Exception):
    """Why the judge cannot listen there: a sentence that says what to do."""


class Listener:
    """Takes questions and hands them to `answer`."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self._listening: socket.socket | None = None
        self._socket_file: Path | None = None
        self._inode = 0
        self._asking: set[_Asking] = set()
        self._nobody_asks = asyncio.Event()
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
        if address.startswith("unix:"):
            self._socket_file = Path(address.removeprefix("unix:"))
            self._inode = self._socket_file.stat().st_ino
        self._listening = listening
        asyncio.get_running_loop().add_reader(listening, self._accept)

    async def stop(self, within_s: float) -> None:
        """Accept no more, and answer what is under way, including connections that were waiting."""
        if self._socket_file is not None:
            # A judge that has taken our place already keeps its own.
            with contextlib.suppress(OSError):
                if self._socket_file.stat().st_ino == self._inode:
                    self._socket_file.unlink()
        if self._listening is not None:
            while self._accept():
                pass
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        if self._asking and within_s > 0:
            self._nobody_asks.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._nobody_asks.wait()
        for asking in tuple(self._asking):
            asking.give_up()

    def _accept(self) -> bool:
        """Accept some waiting connections; whether there may be more."""
        if self._listening is None:
            return False
        for _ in range(ACCEPTS):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return False
            except OSError as error:
                self._cannot_accept(error)
                return False
            connection.setblocking(False)
            if len(self._asking) >= AT_ONCE:
                connection.close()
                self.refuse(f"{AT_ONCE} questions are under way; what comes beyond passes unjudged")
                continue
            asking = _Asking(self, connection)
            self._asking.add(asking)
            asking.read()
        return True

    def _cannot_accept(self, error: OSError) -> None:
        """No descriptor is left, for example: waiting connections are accepted a little later."""
        self.refuse(f"a question cannot be taken ({error.strerror}); its answer passes unjudged")
        listening, loop = self._listening, asyncio.get_running_loop()
        if listening is None:
            return
        loop.remove_reader(listening)

        def again() -> None:
            if self._listening is listening:
                loop.add_reader(listening, self._accept)

        loop.call_later(ACCEPT_AGAIN_S, again)

    def end(self, asking: "_Asking") -> None:
        self._asking.discard(asking)
        if not self._asking:
            self._nobody_asks.set()

    def refuse(self, why: str) -> None:
        """Counted, and logged once a minute for each cause."""
        self.refused += 1
        now = time.monotonic()
        if now - self._said.get(why, float("-inf")) >= SAY_EVERY_S:
            self._said[why] = now
            logger.warning("eas-redirect: %s (%d so far)", why, self.refused)


class _Asking:
    """One connection: its question, then its answer. It uses the bare socket, because a transport
    and its protocol cost twice as much as judging from a warm cache. Usually the question has
    arrived when the connection is accepted, and is answered in the same turn."""

    __slots__ = ("_came", "_connection", "_listener", "_loop", "_task", "_timer", "_wanted")

    def __init__(self, listener: Listener, connection: socket.socket) -> None:
        self._listener = listener
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._came = bytearray()
        self._wanted: int | None = None  # bytes up to the question's end, once its head is here
        self._task: asyncio.Task[None] | None = None

    def read(self) -> None:
        """Read what has arrived of the question; answer it when it is complete, else wait."""
        try:
            data = self._connection.recv(READ)
        except BlockingIOError:
            self._wait()
            return
        except OSError:
            data = b""
        if not data:
            self._leave_half()
            return
        self._came += data
        try:
            if self._wanted is None:
                self._wanted = _end_of_question(self._came)
            if self._wanted is None or len(self._came) < self._wanted:
                self._wait()
                return
            start = self._came.index(b"\n") + 1
            question = read_question(bytes(self._came[start : self._wanted]))
        except QuestionError as error:
            self._listener.refuse(f"{error}: is eas.lua of this version? Write it again")
            self.close()
            return
        self._came = bytearray()
        self._wait_no_more()
        self._task = asyncio.Task(self._reply(question), loop=self._loop, eager_start=True)

    async def _reply(self, question: Question) -> None:
        try:
            reply = await self._listener.answer(question, self._is_there)
            if reply is not None:
                await self._send(written_reply(reply))
        finally:
            self.close()

    async def _send(self, data: bytes) -> None:
        """Do not wait for a HAProxy that does not take its reply."""
        try:
            sent = self._connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it has left
        if sent < len(data):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(READ_S):
                    await self._loop.sock_sendall(self._connection, data[sent:])

    def _is_there(self) -> bool:
        try:
            return self._connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def give_up(self) -> None:
        """Close without an answer."""
        if self._task is not None:
            self._task.cancel()
        self.close()

    def close(self) -> None:
        self._wait_no_more()
        self._connection.close()
        self._listener.end(self)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(READ_S, self._leave_half)
            self._loop.add_reader(self._connection, self.read)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._loop.remove_reader(self._connection)

    def _leave_half(self) -> None:
        if self._came:
            self._listener.refuse("a question did not come whole; its answer passed unjudged")
        self.close()


def _end_of_question(came: bytearray) -> int | None:
    """How many bytes there are including the first line; None until that line is here."""
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
    """Create it under another name first, so that HAProxy never meets a socket that it may not
    open."""
    if not path.parent.is_dir():
        raise ListenError(
            f"judge.listen: there is no folder {path.parent}: make it (install -d -o eas-redirect"
            f" -g {GROUP} -m 0750 {path.parent}); one in /run systemd makes"
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
