"""The directory objects of users whose devices wait: looked up at a limited pace, once for all
workers.

To ask the directory about waiting users, the proxy must know their objects. It looks each user up
when it first sees them, and again every hour. A thousand devices that come back at once must not
cause a thousand look-ups at once. The workers of one proxy share what they learn, and the pace,
through a file; without one, each process works alone. Imports no ldap3.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from eas_redirect.activesync.authorization import MAX_LOGON, Logon
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.names import fold
from eas_redirect.directory.values import Found, Unavailable, Watched
from eas_redirect.directory.watch import watched

with contextlib.suppress(ImportError):  # Windows: several workers do not share a port there
    import fcntl

logger = logging.getLogger(__name__)

PER_SECOND = 100  # first look-ups of all workers
KEPT_S = 3600.0
MOST_BYTES = 16 * 1024**2  # of what is known, here and in the file
LONGEST = 4096  # bytes of one line of the file; who needs more is nobody
AT_ONCE = 2  # questions: look-ups of devices that were told UserHasNoMailbox go on beside them
_TURN = 20  # look-ups for which a worker may go ahead
_TURN_S = 1.0  # until a worker looks again whom the others have looked up
_CLAIMED_S = 30.0  # for so long nobody else looks up whom a worker has begun to
_FURTHEST_S = 60.0  # ahead: whoever's turn is later still has been told nonsense
_LOCK_S = 1.0
_LOOK_S = 0.01

_NAMES = ("object_guid", "sam_account_name", "user_principal_name")  # of `Watched`, after its DN

type _Key = str  # a logon, as it is compared


@dataclass(frozen=True, slots=True)
class _Known:
    """`user` None: nobody to ask about (no such user, more than one, or found only by an
    address); `claimed`: somebody is asking. `until`: by the clock."""

    user: Watched | None
    until: float
    claimed: bool = False
    size: int = 0


class KnownUsers:
    """Used on one event loop. All processes of the machine share `clock`."""

    def __init__(
        self,
        directory: Callable[[], CachedDirectory],
        folder: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`folder`: shared with other workers; None: there are none."""
        self._directory = directory
        self._clock = clock
        self._sleep = sleep
        self._register = _Register(clock) if folder is None else _SharedRegister(clock, folder)
        self._wanted: dict[_Key, Logon] = {}
        self._task: asyncio.Task[None] | None = None
        self._said: str | None = None

    def known(self, logons: Sequence[Logon]) -> Mapping[Logon, Watched]:
        """Those that are known now. The others are looked up meanwhile, in the given order; the
        next call finds them. Needs a running event loop."""
        now = self._clock()
        found: dict[Logon, Watched] = {}
        wanted: dict[_Key, Logon] = {}
        for logon in logons:
            if len(logon.text) > MAX_LOGON:
                continue  # nobody
            key = _key(logon)
            entry = self._register.get(key, now)
            if entry is None:
                wanted[key] = logon
            elif entry.user is not None:
                found[logon] = entry.user
        self._wanted = wanted
        if wanted and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._learn())
        return found

    def close(self) -> None:
        """Idempotent."""
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()

    async def _learn(self) -> None:
        """Look up everybody who is wanted, until all are known or the directory does not answer."""
        try:
            while self._wanted and await self._take_turn():
                pass
            self._said = None
        except OSError as error:
            self._say(
                f"who waits cannot be shared with the other workers ({error.strerror or error}), "
                "so no further user is looked up whose wait might end: look whether the disk of "
                "the folder for temporary files is full"
            )
        except Exception:  # a bug must not end more than this
            logger.exception("eas-redirect: those who wait could not be looked up")

    async def _take_turn(self) -> bool:
        """Some look-ups. False: the directory cannot be asked."""
        directory = self._directory()
        keys, paced = tuple(self._wanted), directory.source != "snapshot"
        turn = await asyncio.to_thread(self._register.take_turn, keys, paced=paced)
        for key in turn.known:
            self._wanted.pop(key, None)
        mine = {key: logon for key in turn.claimed if (logon := self._wanted.pop(key, None))}
        if not mine:  # others look them up
            await self._sleep(_TURN_S)
            return True
        await self._sleep(max(0.0, turn.at - self._clock()))
        limit = asyncio.Semaphore(AT_ONCE)
        asked = (self._look_up(directory, key, logon, limit) for key, logon in mine.items())
        learnt = [one for one in await asyncio.gather(*asked) if one is not None]
        await asyncio.to_thread(self._register.learn, learnt)
        return len(learnt) == len(mine)

    async def _look_up(
        self, directory: CachedDirectory, key: _Key, logon: Logon, limit: asyncio.Semaphore
    ) -> "tuple[_Key, Watched | None] | None":
        """The user; None if the directory could not be asked."""
        async with limit:
            match (await directory.recipient(logon, fresh=False)).lookup:
                case Found(by_address=False, recipient=recipient):
                    return key, watched(recipient)
                case Unavailable():
                    return None
                case _:
                    return key, None

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.warning("eas-redirect: %s", text)


def _key(logon: Logon) -> _Key:
    return "\0".join((logon.format, fold(logon.domain or ""), fold(logon.user)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """Of those asked for, as far as they were gone through: who is known already, and whom this
    worker is to look up, at what time of the clock."""

    known: tuple[_Key, ...]
    claimed: tuple[_Key, ...]
    at: float


class _Register:
    """Who is known, by logon; the oldest are forgotten if there are too many. One thread at a
    time writes, any thread reads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[_Key, _Known] = {}
        self._size = 0  # bytes, as lines of a file
        self._next_turn = 0.0

    def get(self, key: _Key, now: float) -> _Known | None:
        known = self._known.get(key)
        return None if known is None or known.claimed or now >= known.until else known

    def take_turn(self, keys: Sequence[_Key], *, paced: bool) -> _Turn:
        """Raises OSError. Blocks on files."""
        with self._in_step() as lines:
            now = self._clock()
            known: list[_Key] = []
            claimed: list[_Key] = []
            for key in keys:
                if self.get(key, now) is not None:
                    known.append(key)
                elif self._is_free(key, now):
                    claimed.append(key)
                    if len(claimed) == _TURN:
                        break
            at = self._next_turn if now < self._next_turn <= now + _FURTHEST_S else now
            for key in claimed:
                lines.append(self._put(key, _Known(None, now + _CLAIMED_S, claimed=True)))
            if claimed and paced:
                self._next_turn = at + len(claimed) / PER_SECOND
                lines.append(_written("turn", self._next_turn))
        return _Turn(known=tuple(known), claimed=tuple(claimed), at=at if paced else now)

    def learn(self, users: Iterable[tuple[_Key, Watched | None]]) -> None:
        """Raises OSError. Blocks on files."""
        with self._in_step() as lines:
            until = self._clock() + KEPT_S
            lines.extend(self._put(key, _Known(user, until)) for key, user in users)

    @contextmanager
    def _in_step(self) -> Iterator[list[str]]:
        """With what siblings know; they are told of the lines."""
        yield []

    def _is_free(self, key: _Key, now: float) -> bool:
        known = self._known.get(key)
        return known is None or now >= known.until

    def _put(self, key: _Key, known: _Known) -> str:
        """The line for it. A user that does not fit into a line counts as nobody."""
        line = _line(key, known)
        if len(line) > LONGEST:
            known = replace(known, user=None)
            line = _line(key, known)
        before = self._known.pop(key, None)
        self._size += len(line) - (before.size if before is not None else 0)
        self._known[key] = replace(known, size=len(line))
        while self._size > MOST_BYTES:
            self._size -= self._known.pop(next(iter(self._known))).size
        return line

    def _read(self, line: str) -> None:
        """What a sibling wrote. An unreadable line (the sibling was killed, or its disk was
        full) says nothing."""
        with contextlib.suppress(ValueError, TypeError):
            kind, at, *rest = json.loads(line)
            until = min(float(at), self._clock() + KEPT_S)
            match kind, rest:
                case "turn", []:
                    self._next_turn = until
                case "claimed", [str() as key]:
                    self._put(key, _Known(None, until, claimed=True))
                case "nobody", [str() as key]:
                    self._put(key, _Known(None, until))
                case "user", [str() as key, str() as dn, *names] if len(names) == len(_NAMES):
                    user = Watched(dn=dn, **dict(zip(_NAMES, names, strict=True)))
                    self._put(key, _Known(user, until))


class _SharedRegister(_Register):
    """The same for all workers: lines are added to a file, and each worker reads what is new. A
    file that has grown too long is rewritten under the same name, without expired lines."""

    def __init__(self, clock: Callable[[], float], folder: Path) -> None:
        super().__init__(clock)
        self._file = folder / "known-users"
        self._lock = folder / "known-users.lock"
        self._inode = 0
        self._at = 0  # where the next line begins

    @contextmanager
    def _in_step(self) -> Iterator[list[str]]:
        with self._held(), self._file.open("a+b") as file:
            self._catch_up(file)
            lines: list[str] = []
            yield lines
            if not lines:
                return
            if self._at + sum(map(len, lines)) > 2 * MOST_BYTES:
                self._write_anew()
                return
            data = "".join(lines).encode("ascii")
            file.write(data)
            file.flush()
            self._at += len(data)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Alone with the file. A sibling that hangs here must not hold up the others."""
        give_up = time.monotonic() + _LOCK_S
        with self._lock.open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= give_up:
                        raise
                    time.sleep(_LOOK_S)
                else:
                    break
            yield

    def _catch_up(self, file: IO[bytes]) -> None:
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._at:
            self._inode, self._at = status.st_ino, 0
        file.seek(self._at)
        data = file.read(2 * MOST_BYTES)
        if data and not data.endswith(b"\n"):  # who wrote it was killed
            file.write(b"\n")
            data += b"\n"
        self._at += len(data)
        for line in data.decode("ascii", "replace").splitlines():
            self._read(line)

    def _write_anew(self) -> None:
        now = self._clock()
        live = [_line(key, known) for key, known in self._known.items() if now < known.until]
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        fresh.write_text("".join([*live, _written("turn", self._next_turn)]), "ascii")
        status = fresh.stat()
        fresh.replace(self._file)
        self._inode, self._at = status.st_ino, status.st_size


def _line(key: _Key, known: _Known) -> str:
    if known.user is None:
        return _written("claimed" if known.claimed else "nobody", known.until, key)
    names = (getattr(known.user, name) for name in _NAMES)
    return _written("user", known.until, key, known.user.dn, *names)


def _written(*values: float | str | None) -> str:
    return json.dumps(values) + "\n"
