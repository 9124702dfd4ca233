"""Reads journals into a DuckDB database on disk, bounded in memory, whatever the lines hold.

Imports DuckDB.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from eas_redirect.report.duck import literal
from eas_redirect.report.iis_source import journal_from_iis
from eas_redirect.report.lines import (
    ADOPT,
    COUNTS,
    DOUBLED,
    INSERT,
    LOST,
    SAID,
    SCHEMA,
    TORN,
    LineClass,
    Lines,
)
from eas_redirect.report.packing import Encoding, Packing, unpack, zstd_is_whole
from eas_redirect.report.sources import Kind, Source
from eas_redirect.report.users import join_logons

MEMORY = "1GB"  # of DuckDB; with Python and the answers the whole stays below 2 GiB
THREADS = 2
FUTURE_MS = 86_400_000  # what is dated further ahead of now than a day has a wrong clock
_TICK_S = 0.2  # of the progress bar
_FOR_DUCKDB = frozenset({Packing.NONE, Packing.GZIP, Packing.ZSTD})

type Progress = Callable[[int], None]
"""Called with the bytes that were read since the last call."""


class StoreError(Exception):
    """A file that could not be read, or no room to count in; the text says what to do."""


@contextmanager
def open_store(
    sources: Sequence[Source], now_ms: int, progress: Progress | None = None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Lines]]:
    """A database with the table `lines` of all the sources; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="eas-report-") as folder:
        connection = duckdb.connect(
            str(Path(folder) / "lines.db"),
            config={
                "memory_limit": MEMORY,
                "threads": THREADS,
                "temp_directory": folder,
                "preserve_insertion_order": False,
                # Nothing is fetched from anywhere: what this needs is in DuckDB itself.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")  # of times that name no zone
            # DuckDB would draw its own bar, on the standard output: it counts, and we show it.
            connection.execute("SET enable_progress_bar = true")
            connection.execute("SET enable_progress_bar_print = false")
            reader = _Reader(connection, Path(folder), now_ms + FUTURE_MS, progress)
            journals = any(source.kind is Kind.JOURNAL and source.size for source in sources)
            for source in sources:
                if source.kind is Kind.TWIN and journals:
                    reader.lines.twins.append(source.name)
                else:
                    reader.read(source)
            yield connection, reader.finish()
        finally:
            connection.close()


class _Reader:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        folder: Path,
        newest_ms: int,
        progress: Progress | None,
    ) -> None:
        self.lines = Lines()
        self._connection = connection
        self._folder = folder
        self._newest_ms = newest_ms
        self._progress = progress or (lambda _: None)
        connection.execute(SAID)
        connection.execute(SCHEMA)

    def read(self, source: Source) -> None:
        """Raises StoreError."""
        try:
            if not _is_direct(source):
                self._read_unpacked(source)
                return
            try:
                self._take(source, source.path, source.packing)
            except duckdb.Error:
                if source.packing is Packing.NONE:
                    raise
                self._read_unpacked(source)
        except (duckdb.Error, OSError) as error:
            raise StoreError(_advice(source, error)) from error

    def _read_unpacked(self, source: Source) -> None:
        plain = self._folder / "plain"
        if not unpack(source.path, source.packing, source.encoding, plain):
            self.lines.broken_files.append(source.name)
        self._take(source, plain, Packing.NONE)
        plain.unlink()

    def _take(self, source: Source, path: Path, packing: Packing) -> None:
        if source.kind is Kind.JOURNAL:
            self._read_journal(path, packing, source.size)
            return
        journal, half = self._folder / "iis.jsonl", source.size // 2
        told = 0

        def tell(share: float) -> None:
            nonlocal told
            read = max(told, min(half, int(half * share)))
            self._progress(read - told)
            told = read

        foreign = journal_from_iis(path, packing, journal, tell)
        tell(1.0)
        self._read_journal(journal, Packing.NONE, source.size - half)
        self.lines.foreign += foreign
        journal.unlink()

    def _read_journal(self, path: Path, packing: Packing, size: int) -> None:
        values = {"path": literal(path), "compression": packing.value}
        self._run(INSERT, {**values, "newest": self._newest_ms}, size)
        strange = self._all(f"SELECT count(*) FROM lines WHERE class = {LineClass.FOREIGN:d}")[0][0]
        if strange:
            torn, blank = self._all(TORN, values)[0]
            self.lines.torn += torn
            self.lines.foreign += max(0, strange - torn - blank)
            self._connection.execute(f"DELETE FROM lines WHERE class = {LineClass.FOREIGN:d}")

    def finish(self) -> Lines:
        """What the files say together."""
        lines = self.lines
        lines.doubled = self._all(DOUBLED)[0][0]
        lines.renamed, lines.shared_devices = join_logons(self._connection)
        self._connection.execute(ADOPT)
        counts = dict(self._all(COUNTS))
        lines.exchanges = counts.get(LineClass.EXCHANGE, 0)
        lines.events = counts.get(LineClass.EVENT, 0)
        lines.untimed = counts.get(LineClass.UNTIMED, 0)
        lines.future = counts.get(LineClass.FUTURE, 0)
        lines.lost = self._all(LOST)[0][0]
        return lines

    def _all(self, sql: str, values: dict[str, str] | None = None) -> list[Any]:
        return self._connection.execute(sql, values or {}).fetchall()

    def _run(self, sql: str, values: dict[str, str | int], size: int) -> None:
        """In a thread, so that the bar moves and an interrupt is heard."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(self._connection.execute, sql, values)
            told = 0
            try:
                while not running.done():
                    wait((running,), timeout=_TICK_S)
                    read = int(size * max(0.0, self._connection.query_progress()) / 100)
                    self._progress(max(0, min(read, size) - told))
                    told = max(told, min(read, size))
            except BaseException:
                self._connection.interrupt()
                raise
            running.result()
        self._progress(size - told)


def _is_direct(source: Source) -> bool:
    """Whether DuckDB can read the file as it lies there, and would see that it breaks off."""
    if source.packing not in _FOR_DUCKDB or source.encoding is not Encoding.UTF8:
        return False
    return source.packing is not Packing.ZSTD or zstd_is_whole(source.path)


def _advice(source: Source, error: duckdb.Error | OSError) -> str:
    first = str(error).splitlines()[0]
    if "space" in first or "write" in first or isinstance(error, duckdb.OutOfMemoryException):
        return f"There is no room to count in ({first}). Set TMPDIR to a folder with more."
    return f"{source.name} cannot be read ({first}). Leave it out, or unpack it first."
