"""Reads journals into a DuckDB database on disk, bounded in memory, whatever the lines hold.

Imports DuckDB.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from eas_redirect.configuration.foreign_files import kind_of
from eas_redirect.report.groups import join_logons
from eas_redirect.report.inputs import InputKind, Source, is_array
from eas_redirect.report.lines import (
    ADOPT,
    CASELESS,
    COUNTS,
    INSERT,
    LOST,
    NO_PHONES,
    SAID,
    SCHEMA,
    TORN,
    LineClass,
    Lines,
)
from eas_redirect.report.packing import READ_TEXT, Encoding, Packing, literal, unpack, zstd_is_whole
from eas_redirect.report.same_exchanges import count_once, logs_of
from eas_redirect.telemetry.record import encoded, to_json
from eas_redirect.telemetry.w3c import EAS_STEM, W3CReader

# IIS logs as journals: their ActiveSync lines as records, in a file that the store reads.

type FieldNames = tuple[str, ...]

# A program that found lines may have written the name of the file before each.
_LINES = f"""
SELECT line FROM {READ_TEXT}
WHERE starts_with(line, '#') OR contains(line, ':#Fields:') OR contains(line, ':#Date:')
  OR contains(line, ':#Software:') OR contains(lower(line), '{EAS_STEM}')
  OR starts_with(line, '{{"@timestamp":')
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


MEMORY = "1GB"  # of DuckDB; with Python and the answers the whole stays below 2 GiB
THREADS = 2
FUTURE_MS = 86_400_000  # what is dated further ahead of now than a day has a wrong clock
_CAPTURE = re.compile(
    rb"[0-9]+:[0-9]+:[a-z_]+;"  # a tnetstring of names and values, as mitmproxy writes flows
    rb"|(?:\xef\xbb\xbf)?\s*\{\s*\"log\"\s*:\s*\{"  # HTTP Archive 1.2
)
_NCSA = re.compile(rb"\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:")  # a common log's time
_IIS_FORM = re.compile(rb"[0-9a-fA-F.:]+, [^,\n]*, [0-9/.-]+, [0-9:]+, ")
_TICK_S = 0.2  # of the progress bar
_FOR_DUCKDB = frozenset({Packing.NONE, Packing.GZIP, Packing.ZSTD})

type Progress = Callable[[int], None]
"""Called with the bytes that were read since the last call."""


class StoreError(Exception):
    """A file that could not be read, or no room to count in; the text says what to do."""


@contextmanager
def open_store(
    sources: Sequence[Source],
    now_ms: int,
    progress: Progress | None = None,
    iis_fields: FieldNames = (),
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Lines]]:
    """A database with the table `lines` of all the sources; it is gone afterwards.

    `iis_fields`: what `#Fields:` would say in the IIS logs that have none.
    """
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
            reader = _Reader(connection, Path(folder), now_ms + FUTURE_MS, progress, iis_fields)
            journals = any(source.kind is InputKind.JOURNAL and source.size for source in sources)
            # Excerpts come last: they are read under the fields of the others.
            numbered = zip(sources, enumerate(logs_of(sources)), strict=True)
            for source, (number, log) in sorted(
                numbered, key=lambda one: one[0].kind is InputKind.EXCERPT
            ):
                if source.kind is InputKind.TWIN and journals:
                    reader.lines.twins.append(source.name)
                else:
                    reader.read(source, number, log)
            yield connection, reader.finish(sources)
        finally:
            connection.close()


class _Reader:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        folder: Path,
        newest_ms: int,
        progress: Progress | None,
        iis_fields: FieldNames,
    ) -> None:
        self._iis_fields = iis_fields
        self._seen_fields: dict[FieldNames, None] = {}
        self._place: dict[str, int] = {}
        self.lines = Lines()
        self._connection = connection
        self._folder = folder
        self._newest_ms = newest_ms
        self._progress = progress or (lambda _: None)
        connection.execute(SAID)
        connection.execute(CASELESS)
        connection.execute(SCHEMA)

    def read(self, source: Source, number: int, log: int) -> None:
        """Raises StoreError."""
        self._place = {"source": number, "log": log}
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
        head = source.head.decode(source.encoding, "replace").encode()
        if _CAPTURE.match(head):
            self.lines.unread_files.append(
                f"{source.name} is a capture and no journal: eas-redirect explain reads it."
            )
            return
        if source.kind is InputKind.JOURNAL:
            self._read_journal(path, packing, source.size, source)
            return
        journal, half = self._folder / "iis.jsonl", source.size // 2
        told = 0

        def tell(share: float) -> None:
            nonlocal told
            read = max(told, min(half, int(half * share)))
            self._progress(read - told)
            told = read

        said = (self._iis_fields,) if self._iis_fields else tuple(self._seen_fields)
        met = journal_from_iis(path, packing, journal, tell, said)
        tell(1.0)
        self._read_journal(journal, Packing.NONE, source.size - half)
        journal.unlink()
        self._seen_fields.update(dict.fromkeys(met.seen_fields))
        self.lines.foreign += met.unread
        self.lines.machines += met.machines
        self.lines.headless += met.headless + (met.foreign.lines if met.foreign else 0)
        if met.foreign is not None and (met.foreign.lines or not met.seen_fields):
            self.lines.unread_files.append(f"{source.name} {met.foreign.sentence}")
        if met.headless:
            self.lines.unread_files.append(f"{source.name} {_headless(source, len(said))}")
        if met.guessed:
            self.lines.guessed_files.append(source.name)

    def _read_journal(
        self, path: Path, packing: Packing, size: int, source: Source | None = None
    ) -> None:
        """`source`: the file, if it should be a journal. One without a line of ours is said to be
        something else."""
        before = self._all("SELECT count(*) FROM lines")[0][0]
        values = {"path": literal(path), "compression": packing.value}
        self._run(INSERT, {**values, **self._place, "newest": self._newest_ms}, size)
        strange = self._all(f"SELECT count(*) FROM lines WHERE class = {LineClass.FOREIGN:d}")[0][0]
        if strange:
            torn, blank = self._all(TORN, values)[0]
            foreign = max(0, strange - torn - blank)
            is_all = self._all("SELECT count(*) FROM lines")[0][0] == before + strange
            if source is not None and foreign and is_all:
                self.lines.unread_files.append(f"{source.name} {_no_journal(source)}")
            self.lines.torn += torn
            self.lines.foreign += foreign
            self._connection.execute(f"DELETE FROM lines WHERE class = {LineClass.FOREIGN:d}")

    def finish(self, sources: Sequence[Source]) -> Lines:
        """What the files say together."""
        lines = self.lines
        count_once(self._connection, sources, lines)
        self._connection.execute(NO_PHONES)
        lines.renamed, lines.shared_devices = join_logons(self._connection)
        self._connection.execute(ADOPT)
        counts = dict(self._all(COUNTS))
        lines.exchanges = counts.get(LineClass.EXCHANGE, 0)
        of_ours = (LineClass.EVENT, LineClass.DISCOVERY, LineClass.WAIT)
        lines.events = sum(counts.get(one, 0) for one in of_ours)
        lines.untimed = counts.get(LineClass.UNTIMED, 0)
        lines.future = counts.get(LineClass.FUTURE, 0)
        lines.no_phones = counts.get(LineClass.NO_PHONE, 0)
        lines.lost, lines.lost_ms = self._all(LOST)[0]
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


def _no_journal(source: Source) -> str:
    if is_array(source.head.decode(source.encoding, "replace").encode()):
        return (
            "is a JSON array and no journal, which has a line for each record: write it so again,"
            " as with jq -c '.[]'."
        )
    kind = kind_of(source.head)
    named = f"{kind} and no journal" if kind else "no journal"
    return f"is {named}: not one line is from eas-redirect."


def _headless(source: Source, candidates: int) -> str:
    """Why lines of an IIS log could not be read, and what to do."""
    if _NCSA.search(source.head):
        return (
            "is an access log in NCSA form (IIS set so, Apache or nginx), which has no fields for"
            " this. Set the log format of the site to W3C."
        )
    if _IIS_FORM.match(source.head):
        return "is in IIS's own form with commas. Set the log format of the site to W3C."
    why = (
        f"and {candidates} different ones of the other files fit or none does"
        if candidates
        else "as in an excerpt made by grep or findstr"
    )
    return (
        f"has no line #Fields:, {why}, so nobody knows what its columns are. Name the whole log,"
        " name another log of the same server as well, or give that line with --iis-fields."
    )


def _advice(source: Source, error: duckdb.Error | OSError) -> str:
    first = str(error).splitlines()[0]
    if "space" in first or "write" in first or isinstance(error, duckdb.OutOfMemoryException):
        return f"There is no room to count in ({first}). Set TMPDIR to a folder with more."
    if "maximum_object_size" in first:
        return (
            f"{source.name} has a line that is longer than any of a journal: it is damaged or no"
            " journal. Leave it out."
        )
    return f"{source.name} cannot be read ({first}). Leave it out, or unpack it first."
