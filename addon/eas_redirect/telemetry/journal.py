"""The journal: a line for each record, redacted, in a file that may be rotated or fill its disk.

Writing never raises: a full disk must not cost a mail.
"""

import hashlib
import hmac
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from eas_redirect.telemetry.record import JSONLine, Record, encoded, to_json

logger = logging.getLogger(__name__)
# Binary where there is another way: Windows would write \r\n. No O_CLOEXEC, which it lacks, and
# which os.open sets by itself.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)

type Users = Literal["clear", "hash", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """How users and devices are named: as they are, by a keyed hash, or not at all.

    A hash is 16 hexadecimal digits of HMAC-SHA-256 over the lower-cased name, so that one user has
    one pseudonym in every journal that is written with the same key.
    """

    users: Users = "clear"
    key: bytes = field(default=b"", repr=False)

    def name(self, value: str | None) -> str | None:
        if value is None or self.users == "drop":
            return None
        if self.users == "clear":
            return value
        text = value.lower().encode("utf-8", "surrogateescape")
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()[:16]

    def apply(self, record: Record) -> Record:
        if self.users == "clear":
            return record
        return replace(
            record,
            user_name=self.name(record.user_name),
            user_domain=record.user_domain if self.users == "hash" else None,
            user_email=self.name(record.user_email),
            user_id=self.name(record.user_id),
            device_id=self.name(record.device_id),
        )


class Journal:
    """Appends records to a file (`-`: standard output), one `write` a line, so that the lines of
    several processes do not tear. A file that was rotated away is reopened by itself."""

    CHECK_S = 1.0  # how often the path is compared with the open file
    COMPLAIN_S = 60.0

    def __init__(
        self,
        path: str,
        redaction: Redaction | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens at once. Raises OSError: a journal that cannot be written refuses the start."""
        self.path = path
        self.redaction = redaction or Redaction()
        self.lost = 0  # lines that could not be written
        self._clock = clock
        self._fd = -1
        self._torn = False
        self._checked_at = clock()
        self._complained_at = float("-inf")
        self._open()

    def line(self, record: Record) -> JSONLine:
        """What the journal says of a record: redacted."""
        return to_json(self.redaction.apply(record))

    def write(self, record: Record, line: JSONLine | None = None) -> None:
        """Never raises; what cannot be written is counted in `lost`, and said once a minute.

        `line` is what `line` made of the record, where somebody has needed it already.
        """
        try:
            self._follow_rotation()
            data = self._rendered(record, line)
            if data is not None:
                self._append(data)
        except OSError as error:
            self._complain(error)

    def reopen(self) -> None:
        """Open the path anew (after a rotation). The old file stays when that fails."""
        try:
            self._open()
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1

    def _rendered(self, record: Record, line: JSONLine | None) -> bytes | None:
        """The bytes of a line; None for a record that this journal leaves out."""
        return encoded(self.line(record) if line is None else line)

    def _open(self) -> None:
        if self.path == "-":
            self._fd = sys.stdout.fileno()
            return
        fd = os.open(self.path, _FLAGS, 0o640)
        self.close()
        self._fd = fd

    def _append(self, line: bytes) -> None:
        data = b"\n" + line if self._torn else line
        written = os.write(self._fd, data)
        # A full disk may take half a line: the next one then begins on a line of its own.
        self._torn = written < len(data)
        if self._torn:
            raise OSError(28, "the line was cut short")

    def _follow_rotation(self) -> None:
        now = self._clock()
        if self.path == "-" or now - self._checked_at < self.CHECK_S:
            return
        self._checked_at = now
        try:
            same = Path(self.path).stat().st_ino == os.fstat(self._fd).st_ino
        except OSError:
            same = False
        if not same:
            self._open()

    def _complain(self, error: OSError) -> None:
        self.lost += 1
        if self._clock() - self._complained_at >= self.COMPLAIN_S:
            self._complained_at = self._clock()
            logger.warning(
                "eas-redirect: the journal %s cannot be written (%s); %d lines lost so far. "
                "Mail is not affected. Make room or mend the path.",
                self.path,
                error.strerror,
                self.lost,
            )
