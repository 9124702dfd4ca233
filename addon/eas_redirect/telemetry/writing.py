"""Writing that nobody waits for: a bounded queue and a thread for each place that takes lines.

A full disk, a missing or stalled reader and a hung mount must not affect mail, so the event loop
only ever appends to a queue. Lines that do not fit are counted as lost, and the log itself says so
once writing works again. Imports no other part of the project but `printable`.
"""

import atexit
import contextlib
import errno
import io
import itertools
import logging
import os
import select
import stat
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, BinaryIO, TextIO, cast, override

from eas_redirect.telemetry.printable import WORDS

logger = logging.getLogger(__name__)

MAX_QUEUE = 16 * 1024 * 1024  # bytes that wait for one place
LINE_COST = 128  # bytes that Python needs for a line besides its own
BATCH = 64 * 1024  # bytes handed to one write of a file
PIPE_BATCH = 4096  # PIPE_BUF: several processes write to one pipe, and their lines must not mix
GATHER_S = 0.02  # a woken thread waits this long for more, so that a busy loop wakes it rarely
RETRY_S = 1.0
COMPLAIN_S = 60.0
REMARK_S = 1.0  # between two remarks about lost lines in the place itself
STOP_S = 5.0  # for what is queued when the process ends and nobody said how long it may take
STOP_AT_LEAST_S = 1.0
LAST_TRIES, LAST_TRY_S = 10, 0.1  # at a stop, of a place that fails

# Binary where there is another way: Windows would write \r\n. No O_CLOEXEC, which it lacks, and
# which os.open sets by itself.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


class Outlet:
    """Where bytes go. `write` may block for as long as it likes: only a `Writer` calls it."""

    def __init__(self, name: str, fd: int, head: Callable[[], bytes] | None = None) -> None:
        """`head`: what an empty file, or a stream, begins with."""
        self.name = name
        self._fd = fd
        self._head = head
        self._begun = head is None
        self._torn = False

    def ready(self) -> None:
        """Called before each batch. Raises OSError while nothing can be written."""
        if not self._begun and self._head is not None:
            if not os.fstat(self._fd).st_size:
                os.write(self._fd, self._head())
            self._begun = True

    def write(self, data: bytes) -> int:
        """Takes as much of some whole lines as it can, and returns how many bytes were used.
        Raises OSError if none were."""
        if self._is_stream():
            return os.write(self._fd, whole_lines(data, PIPE_BATCH))
        # A full disk may have taken half a line, from us or from another worker. An empty line
        # more harms no reader; two lines in one would be lost to all of them.
        first, self._torn = b"\n" if self._torn else b"", True
        written = os.write(self._fd, first + whole_lines(data, BATCH)) - len(first)
        used = data.rfind(b"\n", 0, max(0, written)) + 1  # a half-written line is written again
        self._torn = used != written
        if not used:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        return used

    def wait(self, timeout_s: float) -> None:
        """Until a pipe that must not block takes more, or the time is over."""
        _takes_more(self._fd, timeout_s)

    def close(self) -> None:
        """Standard streams stay open: others may hold them."""

    def _is_stream(self) -> bool:
        return not stat.S_ISREG(os.fstat(self._fd).st_mode)


class FileOutlet(Outlet):
    """A file to append to. If it is rotated away, removed or lost with its folder, it opens it
    again."""

    def __init__(self, path: str, head: Callable[[], bytes] | None = None) -> None:
        """Opens at once. Raises OSError."""
        super().__init__(path, os.open(path, _FLAGS, 0o640), head)

    @override
    def ready(self) -> None:
        if not self._is_in_place():
            self._reopen()
        super().ready()

    @override
    def write(self, data: bytes) -> int:
        used = super().write(data)
        held = os.fstat(self._fd)
        if stat.S_ISREG(held.st_mode) and not held.st_nlink:
            # Removed meanwhile: nobody will ever read what was just written.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        return used

    @override
    def close(self) -> None:
        os.close(self._fd)

    def _reopen(self) -> None:
        """Raises OSError where there is no file to write to: the path cannot be opened, and what
        was open has been removed. One that was only moved away is still good."""
        try:
            fd = os.open(self.name, _FLAGS, 0o640)
        except OSError:
            if os.fstat(self._fd).st_nlink:
                return
            raise
        os.close(self._fd)
        self._fd, self._torn, self._begun = fd, False, False

    def _is_in_place(self) -> bool:
        try:
            found = os.stat(self.name)  # noqa: PTH116 - Path.stat costs twice as much
        except OSError:
            return False
        held = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


class ConsoleOutlet(Outlet):
    """A Windows console, which takes bytes only through Python's own stream. Marking text in its
    window blocks whoever writes to it."""

    def __init__(self, name: str, raw: io.RawIOBase) -> None:
        super().__init__(name, -1)
        self._raw = raw

    @override
    def write(self, data: bytes) -> int:
        return self._raw.write(whole_lines(data, PIPE_BATCH)) or 0


def standard_output(name: str = "-", head: Callable[[], bytes] | None = None) -> Outlet:
    """Raises OSError if the process has none."""
    try:
        fd = sys.stdout.fileno()
        os.fstat(fd)
    except (AttributeError, ValueError, OSError) as error:
        raise OSError(errno.EBADF, "there is no standard output", name) from error
    return Outlet(name, fd, head)


def whole_lines(data: bytes, size: int) -> bytes:
    """The lines of `data` that fit into `size` bytes; always at least the first."""
    if len(data) <= size:
        return data
    end = data.rfind(b"\n", 0, size) + 1 or data.find(b"\n", size) + 1
    return data[: end or len(data)]


@dataclass(slots=True)
class _Line:
    number: int
    data: bytes

    @property
    def cost(self) -> int:
        return len(self.data) + LINE_COST


class Writer:
    """Takes lines for an outlet and never makes anybody wait. Thread-safe.

    `remark(n)` makes a line that says how many were lost. `mine`: these lines are the log itself,
    so trouble with them cannot be logged.
    """

    def __init__(
        self,
        outlet: Outlet,
        what: str,
        remark: Callable[[int], bytes],
        *,
        mine: bool = False,
        limit: int = MAX_QUEUE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0  # lines that will never be written
        self._outlet = outlet
        self._what = what
        self._remark = remark
        self._mine = mine
        self._limit = limit
        self._clock = clock
        self._wake = threading.Condition()
        self._numbers = itertools.count()
        self._ordinary: deque[_Line] = deque()
        self._kept: deque[_Line] = deque()
        self._in_hand = b""  # lines on their way out, counted in `_size`
        self._size = 0
        self._unsaid = 0  # lost lines that no remark has mentioned
        self._remarked_at = self._complained_at = float("-inf")
        self._why: str | None = None  # what the last try failed with
        self._idle = True
        self._last_tries = LAST_TRIES
        self._hurry = False
        self._reopen = False
        self._close_by: float | None = None
        self._thread: threading.Thread | None = None
        _writers.add(self)

    def put(self, data: bytes, *, keep: bool = False) -> None:
        """Queue whole lines. If there is no room, the less important ones go first."""
        complain = False
        with self._wake:
            if self._close_by is not None:
                self.lost += 1
                return
            cost = len(data) + LINE_COST
            if self._size + cost <= self._limit or self._make_room(cost, keep=keep):
                line = _Line(next(self._numbers), data)
                (self._kept if keep else self._ordinary).append(line)
                self._size += cost
                complain = self._size > self._limit // 2
            else:
                self._count_lost(data)
                complain = True
            if self._idle or self._thread is None:
                self._start()
        if complain:
            self._complain()

    def reopen(self) -> None:
        """Look after a rotated file now."""
        with self._wake:
            self._reopen = True
            self._wake.notify_all()
            self._start()

    def flush(self, within_s: float = STOP_S) -> bool:
        """Wait until all is written; whether it was, in that time."""
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            try:
                return self._wake.wait_for(lambda: self._idle and self._empty(), within_s)
            finally:
                self._hurry = False

    def close(self, *, wait: bool = True, within_s: float | None = None) -> None:
        """Write what is queued, then close. What cannot be written in the time counts as lost.
        Without `wait` the thread does so by itself; whatever comes later is lost. Idempotent."""
        within_s = _time_to_stop() if within_s is None else within_s
        with self._wake:
            if self._close_by is None:
                self._close_by = time.monotonic() + within_s
                if self._thread is None:
                    self._outlet.close()
            self._wake.notify_all()
        if wait and self._thread is not None:
            self._thread.join(within_s)
            self._abandon()

    @property
    def is_log(self) -> bool:
        return self._mine

    # -- the queue, under the lock ---------------------------------------------------------------

    def _make_room(self, cost: int, *, keep: bool) -> bool:
        while self._size + cost > self._limit:
            if not keep or not self._ordinary:
                return False
            given_up = self._ordinary.pop()
            self._size -= given_up.cost
            self._count_lost(given_up.data)
        return True

    def _count_lost(self, data: bytes) -> None:
        lines = data.count(b"\n") or 1
        self.lost += lines
        self._unsaid += lines

    def _empty(self) -> bool:
        return not (self._in_hand or self._ordinary or self._kept)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"eas-redirect: {self._what}", daemon=True
            )
            self._thread.start()
        if self._idle:
            self._idle = False
            self._wake.notify_all()

    def _take(self) -> None:
        """The next lines, in the order in which they came, into the hand."""
        if self._remark_is_due():
            self._in_hand = self._remark(self._unsaid)
            self._size += len(self._in_hand)
            self._unsaid, self._remarked_at = 0, self._clock()
        taken: list[bytes] = []
        size = 0
        while size < BATCH and (self._ordinary or self._kept):
            source = self._ordinary
            if not source or (self._kept and self._kept[0].number < source[0].number):
                source = self._kept
            line = source.popleft()
            taken.append(line.data)
            size += len(line.data)
            self._size -= LINE_COST
        self._in_hand += b"".join(taken)

    def _abandon(self) -> None:
        """The time is over: what is left is lost."""
        with self._wake:
            left = [self._in_hand, *(line.data for line in (*self._kept, *self._ordinary))]
            lines = sum(data.count(b"\n") for data in left)
            self._in_hand, self._size = b"", 0
            self._ordinary.clear()
            self._kept.clear()
            self.lost += lines
        if lines:
            self._complain(now=True)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._next():
            try:
                self._outlet.ready()
                self._write()
            except OSError as error:
                if not self._wait_for_better(error):
                    break
            else:
                self._recovered()
        self._abandon()
        self._outlet.close()
        with self._wake:
            self._idle = True
            self._wake.notify_all()

    def _next(self) -> bool:
        """Wait for something to do; False when there will be nothing more."""
        with self._wake:
            while not self._has_work():
                if self._close_by is not None:
                    return False
                self._idle = True
                self._wake.notify_all()  # those who flush
                self._wake.wait(REMARK_S if self._unsaid else None)
            self._idle = self._reopen = False
            if not self._in_hand:
                # More is about to come, and each wake-up takes a turn from the event loop.
                self._wake.wait_for(lambda: self._hurry or self._close_by is not None, GATHER_S)
                self._take()
            return True

    def _has_work(self) -> bool:
        return not self._empty() or self._reopen or self._remark_is_due()

    def _remark_is_due(self) -> bool:
        waited = self._clock() - self._remarked_at >= REMARK_S
        return self._unsaid > 0 and (waited or self._close_by is not None)

    def _write(self) -> None:
        while self._in_hand:
            try:
                used = self._outlet.write(self._in_hand)
            except BlockingIOError:
                self._outlet.wait(RETRY_S)
                if self._is_over():
                    raise
                continue
            with self._wake:
                self._in_hand = self._in_hand[used:]
                self._size = max(0, self._size - used)

    def _wait_for_better(self, error: OSError) -> bool:
        """After an error, until the next try; False when the time for a stop is over."""
        self._why = error.strerror or str(error)
        self._complain()
        with self._wake:
            if self._close_by is None:
                self._wake.wait_for(lambda: self._close_by is not None or self._reopen, RETRY_S)
                return True
        # A place that fails at once will hardly recover by the end of a long stop.
        self._last_tries -= 1
        time.sleep(LAST_TRY_S)
        return self._last_tries > 0 and not self._is_over()

    def _is_over(self) -> bool:
        return self._close_by is not None and time.monotonic() > self._close_by

    # -- what is said ----------------------------------------------------------------------------

    def _recovered(self) -> None:
        if self._why is not None:
            self._why = None
            self._complained_at = float("-inf")
            self._say(logging.INFO, "%s can be written again; %d lines lost.", self.lost)

    def _complain(self, *, now: bool = False) -> None:
        at = self._clock()
        if not now and at - self._complained_at < COMPLAIN_S:
            return
        self._complained_at = at
        self._say(
            logging.WARNING,
            "%s cannot be written (%s); %d bytes wait, %d lines lost so far. Mail is not affected. "
            "Make room, correct the path, or let its reader read.",
            self._why or "nobody takes what is written",
            self._size,
            self.lost,
        )

    def _say(self, level: int, text: str, *values: object) -> None:
        if self._mine:
            return
        try:
            logger.log(level, f"eas-redirect: {text}", self._what, *values)
        except Exception:  # somebody else's log handler, perhaps of a loop that has ended
            return


_stand_ins: "weakref.WeakKeyDictionary[IO[str], QueuedText]" = weakref.WeakKeyDictionary()
_log_writers: "weakref.WeakValueDictionary[tuple[int, int], Writer]" = weakref.WeakValueDictionary()
_writers: "weakref.WeakSet[Writer]" = weakref.WeakSet()
_stop_by: list[float] = []


def stop_within(seconds: float) -> None:
    """The process is stopping: this is the time to write everything that is queued. The first
    call counts."""
    if not _stop_by:
        _stop_by.append(time.monotonic() + seconds)


def _time_to_stop() -> float:
    if not _stop_by:
        return STOP_S
    return max(STOP_AT_LEAST_S, _stop_by[0] - time.monotonic())


def flush_all(within_s: float = STOP_S) -> bool:
    """Wait until every place has received its lines; whether it has."""
    deadline = time.monotonic() + within_s
    written = [w.flush(max(0.0, deadline - time.monotonic())) for w in tuple(_writers)]
    return all(written)


def _finish() -> None:
    """The process ends. The logs come last, since they report on the others."""
    for writer in sorted(_writers, key=lambda writer: writer.is_log):
        writer.close()


atexit.register(_finish)


class QueuedText(io.TextIOBase):
    """Replaces a text stream, such as standard output, that others print to."""

    def __init__(self, stream: IO[str]) -> None:
        """`stream` must have a file descriptor."""
        super().__init__()
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._part = ""
        self._writer = _writer_for(stream)

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def name(self) -> str:
        return str(self._stream.name)

    @property
    def lost(self) -> int:
        """Lines that will never be written."""
        return self._writer.lost

    @property
    def buffer(self) -> BinaryIO:
        return cast("TextIO", self._stream).buffer

    @override
    def write(self, text: str) -> int:
        whole, newline, self._part = (self._part + text).rpartition("\n")
        if newline:
            self._put(whole + newline)
        elif len(self._part) > PIPE_BATCH:
            self.flush()
        return len(text)

    @override
    def flush(self) -> None:
        part, self._part = self._part, ""
        if part:
            self._put(part)

    @override
    def isatty(self) -> bool:
        return self._stream.isatty()

    @override
    def fileno(self) -> int:
        return self._stream.fileno()

    @override
    def writable(self) -> bool:
        return True

    @override
    def close(self) -> None:
        """The stream stays open; what was printed is written when the process ends."""
        self.flush()

    def _put(self, text: str) -> None:
        self._writer.put(text.encode(self._encoding, WORDS))


def queued(stream: IO[str]) -> IO[str]:
    """A replacement for the stream that never makes anybody wait; the stream itself if it
    already is one, or is not a real file (as under a test)."""
    if isinstance(stream, QueuedText):
        return stream
    try:
        stand_in = _stand_ins.get(stream) or _stand_ins.setdefault(stream, QueuedText(stream))
    except (OSError, ValueError, AttributeError, TypeError):
        return stream
    if _takes_more(stream.fileno()):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return stand_in  # type: ignore[return-value]  # an IO[str] in all that is used


def queue_standard_streams() -> None:
    """From here on, nothing that is printed or logged can block this process.

    A stream that our parent closed becomes the null device, so that no connection gets its
    descriptor.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = cast("TextIO", queued(sys.stdout))
    sys.stderr = cast("TextIO", queued(sys.stderr))


def lost_of_log() -> int:
    """Lines of the log that will never be written."""
    return sum(writer.lost for writer in tuple(_writers) if writer.is_log)


def _takes_more(fd: int, timeout_s: float = 0) -> bool:
    if not hasattr(select, "poll"):  # Windows, where no pipe refuses to block
        return True
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def _writer_for(stream: IO[str]) -> Writer:
    """If two streams lead to the same place, their lines must keep their order."""
    state = os.fstat(stream.fileno())
    place = (state.st_dev, state.st_ino)
    writer = _log_writers.get(place)
    if writer is None:
        writer = Writer(_outlet(stream), stream.name, _log_remark, mine=True)
        _log_writers[place] = writer
    return writer


def _outlet(stream: IO[str]) -> Outlet:
    fd = stream.fileno()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if os.name == "nt" and stream.isatty() and isinstance(raw, io.RawIOBase):
        return ConsoleOutlet(stream.name, raw)
    return Outlet(stream.name, fd)


def _log_remark(lost: int) -> bytes:
    return f"eas-redirect: {lost} lines of this log could not be written.\n".encode()
