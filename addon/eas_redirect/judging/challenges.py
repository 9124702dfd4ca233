"""Which servers are known to ask for a logon, which decides what a 403 is worth. Pure except for
files.

A 403 says something about the user who logged on only if the server checks logons. It is known to,
once it has answered 401 to a request without Authorization, a client's or our own. That knowledge
lasts for 15 minutes, and the workers of one proxy share it through a file.
"""

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from eas_redirect.activesync.authorization import Credentials
from eas_redirect.directory.adoption import SIBLINGS

KNOWN_S = 15 * 60.0
MAX_SERVERS = 64
_LOOK_AGAIN_S = 1.0
_WRITE_AGAIN_S = 60.0


class Challenges:
    """When each server last asked for a logon. All processes of the machine share `clock`."""

    def __init__(
        self,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "challenge",
    ) -> None:
        """`folder`: shared with other processes; None: not shared. `name`: of the file in it,
        one for each path that asks for logons separately."""
        self.name = name
        self._file = None if folder is None else folder / name
        self._clock = clock
        self._met: OrderedDict[str, float] = OrderedDict()
        self._looked_at = self._wrote_at = float("-inf")

    def __len__(self) -> int:
        return len(self._met)

    def answered(self, server: str, credentials: Credentials, status_code: int) -> None:
        """Take in an answer to an ActiveSync request."""
        if status_code == 401 and credentials.scheme == "none":
            self.met(server)

    def met(self, server: str) -> None:
        now = self._clock()
        self._remember(server, now)
        if self._file is not None and now - self._wrote_at >= _WRITE_AGAIN_S:
            self._wrote_at = now
            _write(self._file, f"{now} {server}")

    def known(self, server: str) -> bool:
        if self._lately(server):
            return True
        now = self._clock()
        if self._file is not None and now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = now
            for shared, at in _read(self._file):
                self._remember(shared, at)
        return self._lately(server)

    def _lately(self, server: str) -> bool:
        return 0 <= self._clock() - self._met.get(server, float("-inf")) <= KNOWN_S

    def _remember(self, server: str, at: float) -> None:
        self._met[server] = max(at, self._met.get(server, at))
        self._met.move_to_end(server)
        while len(self._met) > MAX_SERVERS:
            self._met.popitem(last=False)


def shared_folder() -> Path | None:
    """The folder that a supervisor has made for its workers, if this is a worker."""
    named = os.environ.get(SIBLINGS)
    return Path(named) if named else None


def _write(file: Path, text: str) -> None:
    """Completely or not at all. What cannot be written is simply not shared."""
    with contextlib.suppress(OSError):
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        beside.write_text(text, "utf-8")
        beside.replace(file)


def _read(file: Path) -> list[tuple[str, float]]:
    try:
        at, _, server = file.read_text("utf-8").partition(" ")
        return [(server, float(at))] if server else []
    except (OSError, ValueError):
        return []
