"""Which waits were ended, and when: a small file that all workers of a machine share.

Some clients load all mail again when a wait is ended too often, so a device's wait is ended once
for a move, once more at the earliest four minutes later, and never a third time. Each line is
one ended wait: whose, as a keyed hash, and when. The first line holds the key if the
configuration names none. If the file cannot be read as such, no wait is ended.
"""

import fcntl
import hmac
import os
import re
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

AGAIN_S = 240.0  # Exchange believes for about three minutes after a move that the mailbox is here
MOST_ENDED = 2  # times, of one device for one move
PER_SECOND = 20  # of all workers: each ending makes a device ask three questions at once
KEPT_S = 90 * 86400.0  # then a full file forgets
MAX_LINES = 100_000  # endings: 3.4 MB

type Ending = Literal["end", "again_later", "ended_twice", "later"]

_HEAD = "eas-redirect waits 1 "
_HEAD_LINE = re.compile(re.escape(_HEAD) + r"([0-9a-f]{32}) [0-9a-f]{8}\n", re.ASCII)
_HEAD_BYTES = len(_HEAD) + 42
_LINE = re.compile(r"([0-9a-f]{20}) ([0-9]{10}\.[0-9])\n", re.ASCII)
_LINE_BYTES = 34
_LONGEST = _HEAD_BYTES + MAX_LINES * _LINE_BYTES
_LOCK_S = 1.0
_LOOK_S = 0.01


class EndedWaitsError(Exception):
    """Why the file cannot be used, and what to do, in one sentence."""


class EndedWaits:
    """The ended waits of one machine. It reads and writes files and waits for a lock, so keep it
    off the event loop. `clock` gives Unix time, which all workers share."""

    def __init__(
        self,
        journal: str | None,
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`journal`: the journal that the file belongs to; None if nothing is really ended
        (observe mode): then this process only remembers. `secret`: the key of the hashes; empty:
        the file holds one."""
        self._path = None if journal is None else beside(journal)
        self._is_piped = journal is not None and is_stream(journal)
        self._secret = secret
        self._clock = clock
        self._read = _Endings(head=_new_head(secrets.token_hex(16)))

    def claim(self, waits: Sequence[str]) -> tuple[Ending, ...]:
        """For each of `waits` (a name of device and move) whether it may be ended now.

        Those that may (`end`) are recorded as ended. `later`: enough were ended in this second.
        Raises EndedWaitsError; then none may be ended, and none is recorded.
        """
        if self._is_piped:
            raise EndedWaitsError(
                "The journal goes to standard output, and the file of ended waits stands beside "
                "the journal, so no wait is ended. Set journal.path to a file."
            )
        if self._path is None:
            if self._read.lines > MAX_LINES:
                self._read = _Endings(head=self._read.head)
            endings, lines = self._decided(waits)
            self._read.add(lines)
            return endings
        try:
            with _locked(self._path) as file:
                return self._claim_in(file, self._path, waits)
        except OSError as error:
            raise EndedWaitsError(
                f"{self._path} cannot be used ({error.strerror or error}), so no wait is ended. "
                "Make it, and the folder that it is in, writable for this process."
            ) from error

    def _claim_in(self, file: int, path: Path, waits: Sequence[str]) -> tuple[Ending, ...]:
        self._read = _read(file, path, self._read)
        if self._read.lines + len(waits) > MAX_LINES:
            self._forget_old(path)
            with _locked(path) as rewritten:
                return self._take_down(rewritten, waits)
        return self._take_down(file, waits)

    def _take_down(self, file: int, waits: Sequence[str]) -> tuple[Ending, ...]:
        endings, lines = self._decided(waits)
        if lines:
            head = "" if self._read.size else self._read.head
            _append(file, head + "".join(lines))  # and the next claim reads them
        return endings

    def _forget_old(self, path: Path) -> None:
        """Write a new file of the same name; siblings notice that it is new."""
        oldest = self._clock() - KEPT_S
        kept = {who: at for who, at in self._read.ended.items() if max(at) >= oldest}
        lines = [_line(who, at) for who, times in kept.items() for at in times]
        if len(lines) > MAX_LINES * 9 // 10:
            raise EndedWaitsError(
                f"{path} is full: {MAX_LINES} waits were ended in {KEPT_S / 86400:g} days. "
                "No further one is ended; devices are redirected when they ask by themselves."
            )
        endings = _Endings(head=_new_head(self._read.key))
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _append(file, endings.head + "".join(lines))
            fresh.replace(path)
        except OSError:
            fresh.unlink()
            raise
        finally:
            os.close(file)
        endings.size = len(endings.head)
        endings.add(lines)
        self._read = endings

    def _decided(self, waits: Sequence[str]) -> tuple[tuple[Ending, ...], list[str]]:
        """Whether each may be ended, and the lines of those that may."""
        now = self._clock()
        free = PER_SECOND - sum(now - 1 < at <= now + 1 for at in self._read.latest)
        claimed: set[str] = set()
        endings: list[Ending] = []
        lines: list[str] = []
        for wait in waits:
            who = self._hashed(wait, self._read.key)
            times = self._read.ended.get(who, [])
            if len(times) >= MOST_ENDED:
                endings.append("ended_twice")
            elif who in claimed or (times and now - max(times) < AGAIN_S):
                endings.append("again_later")
            elif free <= 0:
                endings.append("later")
            else:
                free -= 1
                claimed.add(who)
                lines.append(_line(who, now))
                endings.append("end")
        return tuple(endings), lines

    def _hashed(self, wait: str, key: str) -> str:
        secret = self._secret or bytes.fromhex(key)
        return hmac.new(secret, wait.encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:20]


def is_stream(journal: str) -> bool:
    """Whether a journal is not a file: beside `-` and `/dev/stdout` no file can be kept."""
    return journal == "-" or journal.startswith(("/dev/", "/proc/"))


def beside(journal: str) -> Path:
    """The file that belongs to a journal. `journal.jsonl*` does not match its name."""
    return Path(journal).with_suffix(".ended-waits")


def why_not_usable(file: Path) -> str | None:
    """In words, for `check`; creates no file."""
    if not file.parent.is_dir():
        return f"there is no directory {file.parent}"
    if not file.exists():
        return None if os.access(file.parent, os.W_OK) else f"{file} cannot be made"
    try:
        with _locked(file) as opened:
            _read(opened, file, _Endings(head=""))
    except EndedWaitsError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be used: {error.strerror or error}"
    return None


@dataclass(slots=True)
class _Endings:
    """What was read of a file: its first line, whose wait was ended and when, and how many bytes
    were read. `latest`: the last times overall."""

    head: str
    ended: dict[str, list[float]] = field(default_factory=dict)
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=PER_SECOND))
    lines: int = 0
    size: int = 0

    @property
    def key(self) -> str:
        return self.head.removeprefix(_HEAD)[:32]

    def add(self, lines: Sequence[str]) -> bool:
        """Whether every line is valid; those before an invalid one are added."""
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is None:
                return False
            self.ended.setdefault(found[1], []).append(float(found[2]))
            self.latest.append(float(found[2]))
            self.lines += 1
            self.size += len(line)
        return True


def _new_head(key: str) -> str:
    """The first line. Its end distinguishes files of the same name and key."""
    return f"{_HEAD}{key} {secrets.token_hex(4)}\n"


def _line(who: str, at: float) -> str:
    return f"{who} {at:.1f}\n"


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file of this name, created if necessary, and locked meanwhile. Raises OSError."""
    until = time.monotonic() + _LOCK_S
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        file = os.open(path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(0, "it is no regular file")
            if _lock(file) and _is_at(file, path):
                yield file
                return
        finally:
            os.close(file)
        if time.monotonic() >= until:
            raise OSError(0, "another process holds it")
        time.sleep(_LOOK_S)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(file: int, path: Path, known: _Endings) -> _Endings:
    """What the file holds; if it is already known, only what has been added."""
    size = os.fstat(file).st_size
    if size > _LONGEST:
        raise EndedWaitsError(
            f"{path} is longer than it ever gets, so no wait is ended. Look at it, and delete it."
        )
    if size == 0:
        return _Endings(head=_new_head(known.key))
    head = os.pread(file, _HEAD_BYTES, 0).decode("ascii", "replace")
    if head != known.head or not 0 < known.size <= size:
        known = _Endings(head=head, size=len(head))
    data = b""
    while more := os.pread(file, size - known.size - len(data), known.size + len(data)):
        data += more
    added = data.decode("ascii", "replace").splitlines(keepends=True)
    if not _HEAD_LINE.fullmatch(head) or not known.add(added):
        raise EndedWaitsError(
            f"{path} is damaged or another program's, so no wait is ended. Look at it, and delete "
            "it: devices that it knew may then have their wait ended again."
        )
    return known


def _append(file: int, text: str) -> None:
    """Everything, on the disk, or nothing. Raises OSError."""
    before = os.fstat(file).st_size
    data = text.encode("ascii")
    try:
        if os.write(file, data) != len(data):
            raise OSError(0, "the disk is full")
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise
