"""The password of the account that asks: read anew at each bind, kept nowhere.

A password that was refused is not tried again for a while: every try counts towards a lock-out of
the account (MS-SAMR 3.1.1.7.1). A rotated one is tried at once. Standard library only.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from eas_redirect.directory.faults import Fault
from eas_redirect.directory.values import DirectorySettings

# Two tries in half an hour, the usual window of a lock-out policy, stay below any threshold.
HOLD_WRONG_S = 900.0
HOLD_S = 30.0  # an expired password, a disabled or locked account: trying does not count


class Credentials:
    """Safe to use from several threads."""

    def __init__(
        self, settings: DirectorySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: tuple[bytes, Fault, float] | None = None  # digest, why, until when

    def password(self) -> str:
        """The password as it stands now; raises `Fault` when there is none or it was refused."""
        password = self._read()
        with self._lock:
            if self._refused is not None:
                digest, fault, until = self._refused
                if digest == _digest(password) and self._clock() < until:
                    raise fault.anew()
        return password

    def refused(self, password: str, fault: Fault) -> None:
        hold = HOLD_WRONG_S if fault.error_type == "invalid_credentials" else HOLD_S
        with self._lock:
            self._refused = (_digest(password), fault.anew(), self._clock() + hold)

    def accepted(self) -> None:
        with self._lock:
            self._refused = None

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
    """The file's first line, so that editors and `echo` may end it as they like."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _no_password(
            f"directory.password_file ({file}) cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise _no_password(f"directory.password_file ({file}) is not UTF-8") from None
    return text.partition("\n")[0].rstrip("\r")


def _no_password(message: str) -> Fault:
    return Fault("no_password", f"no password to bind with: {message}", "account")


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
