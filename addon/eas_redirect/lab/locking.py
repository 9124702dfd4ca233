"""Directories that one lab at a time works in. POSIX."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InUseError(Exception):
    """Somebody else holds the lock."""


@contextmanager
def locked(directory: Path, *, wait: bool) -> Iterator[None]:
    """Hold `directory/lock`, made on first use; InUseError when it is held and `wait` is False.

    The system lets go of it however this process ends.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise InUseError(str(directory)) from error
        yield
