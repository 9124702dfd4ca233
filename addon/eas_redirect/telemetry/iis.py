"""The W3C log beside the journal (`journal.iis_path`), so that existing log tools keep working."""

import os
from datetime import UTC, datetime
from typing import override

from eas_redirect.telemetry import w3c
from eas_redirect.telemetry.journal import Journal, Redaction
from eas_redirect.telemetry.record import JSONLine, Record


class IISLog(Journal):
    """A journal of another form: the same writing, rotation and redaction. Each new file begins
    with the directives that name its fields."""

    @override
    def _rendered(self, record: Record, line: JSONLine | None) -> bytes | None:
        text = w3c.render(self.redaction.apply(record))
        return None if text is None else text.encode("utf-8", "replace") + b"\n"

    def _open(self) -> None:
        super()._open()
        if self.path == "-" or os.fstat(self._fd).st_size == 0:
            os.write(self._fd, _directives(datetime.now(UTC)))


class Journals:
    """The journal, and the W3C log beside it when there is one, as one thing to write to."""

    def __init__(self, path: str, iis_path: str | None, redaction: Redaction) -> None:
        """Opens both or neither. Raises OSError."""
        self.redaction = redaction
        self._journal = Journal(path, redaction)
        self._iis: IISLog | None = None
        if iis_path is not None:
            try:
                self._iis = IISLog(iis_path, redaction)
            except OSError:
                self._journal.close()
                raise

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return sum(log.lost for log in self._logs)

    def line(self, record: Record) -> JSONLine:
        """What the journal says of a record: redacted."""
        return self._journal.line(record)

    def write(self, record: Record, line: JSONLine | None = None) -> None:
        for log in self._logs:
            log.write(record, line)

    def reopen(self) -> None:
        for log in self._logs:
            log.reopen()

    def close(self) -> None:
        for log in self._logs:
            log.close()

    @property
    def _logs(self) -> tuple[Journal, ...]:
        return (self._journal,) if self._iis is None else (self._journal, self._iis)


def _directives(now: datetime) -> bytes:
    lines = (
        "#Software: eas-redirect",
        "#Version: 1.0",
        f"#Date: {now:%Y-%m-%d %H:%M:%S}",
        f"#Fields: {' '.join(w3c.FIELDS)}",
    )
    return "\n".join(lines).encode() + b"\n"
