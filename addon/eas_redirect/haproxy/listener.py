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

from eas_redirect.configuration.values import Listen
from eas_redirect.haproxy.question import (
    MAX_HEAD,
    Question,
    QuestionError,
    Reply,
    question_length,
    read_question,
    written_reply,
)

logger = logging.getLogger(__name__)

type Answer = Callable[[Question, Callable[[], bool]], Awaitable[Reply | None]]

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

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._socket_file: Path | None = None
        self._inode = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: dict[str, float] = {}  # when each kind of trouble was said last
        self.refused = 0  # questions that were not answered

    @property
    def open(self) -> int:
        """Questions under way."""
        return len(self._tasks)

    async def start(self, address: str) -> None:
        """`judge.listen`. Raises ListenError."""
        listening = _listening(address)
        if address.startswith("unix:"):
            self._socket_file = Path(address.removeprefix("unix:"))
            self._inode = self._socket_file.stat().st_ino
        listening.setblocking(False)
        start = asyncio.start_unix_server if self._socket_file else asyncio.start_server
        self._server = await start(self._accept, sock=listening, backlog=BACKLOG)

    async def stop(self, within_s: float) -> None:
        """Take no more, answer what is under way."""
        if self._server is not None:
            self._server.close()
        if self._socket_file is not None:
            # A judge that has taken our place already keeps its own.
            with contextlib.suppress(OSError):
                if self._socket_file.stat().st_ino == self._inode:
                    self._socket_file.unlink()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=within_s)
            for task in late:
                task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= AT_ONCE:
            self._refuse(f"{AT_ONCE} questions are under way; what comes beyond passes unjudged")
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_S):
                head = await reader.readline()
                if not head:  # only looked whether somebody is there, as `check` does
                    return
                question = read_question(await reader.readexactly(_length(head)))
            reply = await self._answer(question, lambda: not reader.at_eof())
            if reply is not None:
                writer.write(written_reply(reply))
                async with asyncio.timeout(READ_S):
                    await writer.drain()
        except QuestionError as error:
            self._refuse(
                f"{error}: is eas.lua of this version? Write it again (eas-redirect haproxy)"
            )
        except (TimeoutError, ValueError, asyncio.IncompleteReadError):
            self._refuse("a question did not come whole; its answer passed unjudged")
        except OSError:
            pass  # HAProxy has left: its client did
        finally:
            writer.close()

    def _refuse(self, why: str) -> None:
        """Counted, and said once a minute for each cause."""
        self.refused += 1
        now = time.monotonic()
        if now - self._said.get(why, float("-inf")) >= SAY_EVERY_S:
            self._said[why] = now
            logger.warning("eas-redirect: %s (%d so far)", why, self.refused)


def _length(head: bytes) -> int:
    if len(head) > MAX_HEAD or not head.endswith(b"\n"):
        raise QuestionError("the first line of a question is none")
    return question_length(head)


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
