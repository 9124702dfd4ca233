"""The journal: a line for each record, redacted; and the W3C log beside it (`journal.iis_path`),
so that existing log tools keep working. `writing.py` handles a full disk or a stalled reader.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, override

from eas_redirect.telemetry import w3c
from eas_redirect.telemetry.record import (
    KEPT_LONGEST,
    JSONLine,
    Record,
    encoded,
    lost_record,
    to_json,
)
from eas_redirect.telemetry.writing import MAX_QUEUE, FileOutlet, Writer, standard_output

type Users = Literal["clear", "hash", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """How users and devices are named: in clear, by a keyed hash, or not at all.

    A hash is 16 hexadecimal digits of HMAC-SHA-256 over the lower-cased name, so that one user has
    one pseudonym in every journal written with the same key.
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
    """Appends records to a file (`-`: standard output), in its own thread."""

    what = "journal"

    def __init__(
        self,
        path: str,
        redaction: Redaction | None = None,
        clock: Callable[[], float] = time.monotonic,
        limit: int = MAX_QUEUE,
    ) -> None:
        """Opens at once. Raises OSError: a journal that cannot be written refuses the start."""
        self.redaction = redaction or Redaction()
        outlet = standard_output(path, self._head) if path == "-" else FileOutlet(path, self._head)
        what = f"the {self.what} {path}"
        self._writer = Writer(outlet, what, self._lost, limit=limit, clock=clock)

    @property
    def lost(self) -> int:
        """Lines that could not be written, and will not be."""
        return self._writer.lost

    def line(self, record: Record) -> JSONLine:
        """What the journal says of a record: redacted."""
        return to_json(self.redaction.apply(record))

    def write(self, record: Record, line: JSONLine | None = None) -> None:
        """Never waits, never raises. What cannot be written is counted in `lost`, and reported
        once a minute. `line` is the result of `line` for this record, if somebody has already
        needed it."""
        data = self._rendered(record, line)
        if data is not None:
            self._writer.put(data, keep=record.action in KEPT_LONGEST)

    def reopen(self) -> None:
        """Check for a rotated file now. If the new one cannot be opened, the old one stays."""
        self._writer.reopen()

    def flush(self) -> bool:
        """Wait a short while until everything is written; whether it is."""
        return self._writer.flush()

    def close(self, *, wait: bool = True) -> None:
        """Write what is left, within the time that a stop has; without `wait` in the background."""
        self._writer.close(wait=wait)

    def _rendered(self, record: Record, line: JSONLine | None) -> bytes | None:
        """The bytes of a line; None for a record that this journal leaves out."""
        return encoded(self.line(record) if line is None else line)

    def _head(self) -> bytes:
        """What a new file begins with."""
        return b""

    def _lost(self, lines: int) -> bytes:
        return encoded(to_json(lost_record(lines, time.time())))


class IISLog(Journal):
    """A journal in another form, with the same writing, rotation and redaction. Each new file
    begins with the directives that name its fields."""

    what = "W3C log"

    @override
    def _rendered(self, record: Record, line: JSONLine | None) -> bytes | None:
        text = w3c.iis_line(self.redaction.apply(record))
        return None if text is None else text.encode("utf-8", "replace") + b"\n"

    @override
    def _head(self) -> bytes:
        return w3c.directives(datetime.now(UTC))

    @override
    def _lost(self, lines: int) -> bytes:
        return f"#Remark: {lines} lines could not be written\n".encode()


class Journals:
    """The journal, and the W3C log if there is one, as one thing to write to."""

    def __init__(self, path: str | None, iis_path: str | None, redaction: Redaction) -> None:
        """Opens both or neither; a path of None is a log that is not kept. Raises OSError."""
        self.redaction = redaction
        self._logs: list[Journal] = []
        try:
            if path is not None:
                self._logs.append(Journal(path, redaction))
            if iis_path is not None:
                self._logs.append(IISLog(iis_path, redaction))
        except OSError:
            self.close()
            raise

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return sum(log.lost for log in self._logs)

    def line(self, record: Record) -> JSONLine:
        """What the journal says of a record: redacted."""
        return to_json(self.redaction.apply(record))

    def write(self, record: Record, line: JSONLine | None = None) -> None:
        for log in self._logs:
            log.write(record, line)

    def reopen(self) -> None:
        for log in self._logs:
            log.reopen()

    def flush(self) -> bool:
        written = [log.flush() for log in self._logs]
        return all(written)

    def close(self, *, wait: bool = True) -> None:
        for log in self._logs:
            log.close(wait=wait)
