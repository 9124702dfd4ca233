"""Holds SIGHUP back while a process starts, so that it never ends one. No mitmproxy here.

Its default action ends a process. A blocked SIGHUP stays pending until somebody listens for it, so
none is lost. A child program inherits the block.
"""

import contextlib
import signal
from collections.abc import Iterator


def hold() -> None:
    """From now on it waits for `release`."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, which has no SIGHUP either
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def release() -> None:
    """Somebody listens now: deliver what has come meanwhile."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextlib.contextmanager
def held() -> Iterator[None]:
    """For starting a program that calls `release` itself."""
    hold()
    try:
        yield
    finally:
        release()
