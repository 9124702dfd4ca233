"""IIS logs as journals: their ActiveSync lines as records, in a file that the store reads.

Imports DuckDB, which unpacks and picks the lines; a month of an Exchange server is mostly others.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb

from eas_redirect.report.packing import READ_TEXT, Packing, literal
from eas_redirect.telemetry.record import encoded, to_json
from eas_redirect.telemetry.w3c import EAS_STEM, W3CReader

type FieldNames = tuple[str, ...]

# A program that found lines may have written the name of the file before each.
_LINES = f"""
SELECT line FROM {READ_TEXT}
WHERE starts_with(line, '#') OR contains(line, ':#Fields:') OR contains(line, ':#Date:')
  OR contains(line, ':#Software:') OR contains(lower(line), '{EAS_STEM}')
"""
_BATCH = 10_000


def journal_from_iis(
    source: Path,
    packing: Packing,
    path: Path,
    progress: Callable[[float], None] = lambda _: None,
    candidates: tuple[FieldNames, ...] = (),
) -> W3CReader:
    """Write the ActiveSync lines of an IIS log as a journal; the reader says what it met.

    `eas.iis` is the side of a pair of servers on which a line was written. `progress` is told now
    and then what share of the log has been read.
    """
    reader = W3CReader(candidates)
    with duckdb.connect() as connection, path.open("wb") as journal:
        connection.execute("SET enable_progress_bar = true")
        connection.execute("SET enable_progress_bar_print = false")
        values = {"path": literal(source), "compression": packing.value}
        found = connection.execute(_LINES, values)
        while rows := found.fetchmany(_BATCH):
            progress(max(0.0, connection.query_progress()) / 100)
            for (line,) in rows:
                entry = reader.read(_text(line.rstrip("\r")))
                if entry is not None:
                    row = to_json(entry.record)
                    eas = row["eas"]
                    assert isinstance(eas, dict)  # noqa: S101 - ours: a decision is always there
                    eas["iis"] = entry.side
                    journal.write(encoded(row))
    return reader


def _text(line: str) -> str:
    """IIS writes UTF-8, or the server's code page where it was told so."""
    raw = line.encode("latin-1", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
