"""IIS logs as journals: their ActiveSync lines as records, in a file that the store reads.

Imports DuckDB, which unpacks and picks the lines; a month of an Exchange server is mostly others.
"""

from pathlib import Path

import duckdb

from eas_redirect.reporting.duck import READ_TEXT, literal
from eas_redirect.reporting.sources import Source
from eas_redirect.telemetry import w3c
from eas_redirect.telemetry.journal import render

_LINES = f"""
SELECT line FROM {READ_TEXT}
WHERE starts_with(line, '#Fields:') OR contains(lower(line), '/microsoft-server-activesync')
"""
_BATCH = 10_000


def journal_from_iis(source: Source, path: Path) -> int:
    """Write the ActiveSync lines of an IIS log as a journal; how many could not be read."""
    names: tuple[str, ...] = w3c.FIELDS
    unread = 0
    with duckdb.connect() as connection, path.open("wb") as journal:
        connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        values = {"path": literal(source.path), "compression": source.compression}
        found = connection.execute(_LINES, values)
        while rows := found.fetchmany(_BATCH):
            for (line,) in rows:
                if line.startswith("#"):
                    names = tuple(line.split()[1:])
                elif (record := w3c.read_line(names, line.rstrip("\r"))) is not None:
                    journal.write(render(record))
                else:
                    unread += 1
    return unread
