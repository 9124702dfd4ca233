"""The password of the account that asks: read again at each bind, kept nowhere.

A refused password is not tried again for a while: every attempt counts towards a lock-out of
the account (MS-SAMR 3.1.1.7.1). For the same reason one thread tries a password first, while the
others wait for the result. A changed password is tried at once. Standard library only.
"""

import codecs
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.values import DirectorySettings

# Two tries in half an hour, the usual window of a lock-out policy, stay below any threshold.
HOLD_WRONG_S = 900.0
HOLD_S = 30.0  # an expired password, a disabled or locked account: trying does not count
# So long after it was accepted a password is taken to be right still, by all threads at once.
PROVEN_S = 60.0


class BindCredentials:
    """Thread-safe."""

    def __init__(
        self, settings: DirectorySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: tuple[bytes, Fault, float] | None = None  # digest, why, until when
        self._accepted: tuple[bytes, float] | None = None  # digest, until when it is proven
        self._turn = threading.Lock()

    def password(self) -> str:
        """The current password; raises `Fault` if there is none or it was refused."""
        password = self._read()
        self._raise_if_refused(password)
        return password

    @contextmanager
    def trying(self, password: str, patience_s: float) -> Iterator[None]:
        """Wraps a bind with this password: waits for whoever is already trying it, `patience_s`
        at most. Raises `Fault` if that bind was refused, or did not end in time."""
        if self._is_proven(password):
            yield
            return
        if not self._turn.acquire(timeout=patience_s):
            raise Fault("timeout", "the server did not answer another bind in time")
        try:
            self._raise_if_refused(password)
            yield
        finally:
            self._turn.release()

    def refused(self, password: str, fault: Fault) -> None:
        hold = HOLD_WRONG_S if fault.error_type == "invalid_credentials" else HOLD_S
        with self._lock:
            self._refused = (_digest(password), fault.copied(), self._clock() + hold)
            self._accepted = None

    def accepted(self, password: str) -> None:
        with self._lock:
            self._refused = None
            self._accepted = _digest(password), self._clock() + PROVEN_S

    def _raise_if_refused(self, password: str) -> None:
        with self._lock:
            if self._refused is not None:
                digest, fault, until = self._refused
                if digest == _digest(password) and self._clock() < until:
                    raise fault.copied()

    def _is_proven(self, password: str) -> bool:
        with self._lock:
            if self._accepted is None:
                return False
            digest, until = self._accepted
            return digest == _digest(password) and self._clock() < until

    def _read(self) -> str:
        if self._settings.bind_user is None:  # ldap3 would bind anonymously
            raise Fault("no_password", "directory.bind_user is not set", "account")
        file, variable = self._settings.password_file, self._settings.password_env
        if file is not None:
            password = _read_file(file)
            place = f"directory.password_file ({file})"
        elif variable is not None:
            password = os.environ.get(variable, "")
            place = f"the environment variable {variable} (directory.password_env)"
        else:
            raise _no_password("neither directory.password_file nor directory.password_env is set")
        if not password:  # RFC 4513 5.1.2: a bind with an empty password is anonymous
            raise _no_password(f"{place} holds no password")
        return password


def _read_file(file: str) -> str:
    """The file's first line, because editors and `echo` add a line end."""
    try:
        text = password_text(Path(file).read_bytes())
    except OSError as error:
        raise _no_password(
            f"directory.password_file ({file}) cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise _no_password(f"directory.password_file ({file}) is not UTF-8") from None
    return text.partition("\n")[0].rstrip("\r")


def password_text(content: bytes) -> str:
    """A file of a password as text. Notepad and PowerShell write UTF-16. Raises
    UnicodeDecodeError."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")


def _no_password(message: str) -> Fault:
    return Fault("no_password", f"no password to bind with, as {message}", "account")


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
