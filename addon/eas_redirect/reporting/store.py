"""Reads journals into a DuckDB database on disk, bounded in memory, whatever the lines hold.

One row per EAS exchange, users and devices as hashes beside their names. Lines that are not ours
are counted. Imports DuckDB and the standard library.
"""

import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import duckdb

from eas_redirect.reporting.duck import READ_TEXT, literal
from eas_redirect.reporting.iis_source import journal_from_iis
from eas_redirect.reporting.sources import Kind, Source

MEMORY = "1GB"  # of DuckDB; with Python and the answers the whole stays below 2 GiB
THREADS = 2
OLDEST_MS = 946_684_800_000  # 2000-01-01: no ActiveSync journal is older
_TICK_S = 0.2  # of the progress bar
FUTURE_MS = 86_400_000  # what is dated further ahead of now than a day has a wrong clock

type Progress = Callable[[int], None]
"""Called with the bytes that were read since the last call."""

# Keys that are read, as DuckDB's types. What is absent or has another type is NULL.
_COLUMNS = """{
  '@timestamp': 'VARCHAR',
  ecs: 'STRUCT(version VARCHAR)',
  event: 'STRUCT(action VARCHAR, reason VARCHAR, duration BIGINT)',
  "user": 'STRUCT("name" VARCHAR, "domain" VARCHAR, email VARCHAR)',
  user_agent: 'STRUCT(original VARCHAR)',
  http: 'STRUCT(response STRUCT(status_code INTEGER))',
  url: 'STRUCT("domain" VARCHAR)',
  eas: 'STRUCT(command VARCHAR, protocol_version VARCHAR, client_family VARCHAR,
    decision VARCHAR, wave VARCHAR, mode VARCHAR,
    device STRUCT(id VARCHAR, "type" VARCHAR),
    auth STRUCT(scheme VARCHAR, logon_format VARCHAR),
    redirect STRUCT(location VARCHAR),
    directory STRUCT(duration_ms DOUBLE, "cache" VARCHAR, target_domain VARCHAR))'
}"""

_SCHEMA = """
CREATE TABLE lines (
  class UTINYINT,     -- see LineClass
  ts BIGINT,          -- when the exchange ended, Unix milliseconds
  began BIGINT,       -- when the client sent it
  key UBIGINT,        -- of the device: user and device id, or user and User-Agent
  agent UBIGINT,      -- of user and User-Agent: where a request that names no device belongs
  named BOOLEAN,      -- the request named its device
  user_key UBIGINT,
  user_name VARCHAR, user_domain VARCHAR, user_email VARCHAR,
  device_id VARCHAR, device_type VARCHAR, user_agent VARCHAR, family VARCHAR,
  reason VARCHAR, decision VARCHAR, wave VARCHAR, status INTEGER,
  version VARCHAR, scheme VARCHAR, logon_format VARCHAR,
  host VARCHAR, location VARCHAR, location_host VARCHAR,
  lookup_ms DOUBLE, cache VARCHAR, target_domain VARCHAR,
  schema VARCHAR, zone VARCHAR
)
"""


class LineClass(IntEnum):
    """What a line is to the report."""

    EXCHANGE = 0
    EVENT = 1  # ours, but no exchange: a ledger, directory or configuration line
    UNTIMED = 2  # ours, but with no time that can be read, or one before any journal
    FUTURE = 3
    FOREIGN = 4  # no line of a journal; torn ones are told apart afterwards


_INSERT = f"""
INSERT INTO lines
WITH journal AS (
  SELECT *, epoch_ms(try_cast("@timestamp" AS TIMESTAMPTZ)) AS ts FROM read_json(
    $path, format = 'newline_delimited', columns = {_COLUMNS}, compression = $compression,
    ignore_errors = true)
), who AS (
  SELECT *,
    lower("user".name) || chr(0) || lower(coalesce("user".domain, '')) AS who,
    nullif(eas.device.id, '') AS device,
    user_agent.original AS agent
  FROM journal
)
SELECT
  CASE WHEN event.action IS NULL OR NOT starts_with(event.action, 'eas.') THEN 4
       WHEN ts IS NULL OR ts < {OLDEST_MS} THEN 2
       WHEN ts > $newest THEN 3
       WHEN event.action IN ('eas.exchange', 'eas.redirect', 'eas.would_redirect') THEN 0
       ELSE 1 END,
  ts, ts - coalesce(event.duration // 1000000, 0),
  CASE WHEN who IS NULL THEN NULL
       WHEN device IS NOT NULL THEN hash(who, device)
       WHEN agent IS NOT NULL THEN hash(who, '', agent) END,
  hash(who, agent), device IS NOT NULL,
  CASE WHEN who IS NOT NULL THEN hash(coalesce(lower("user".email), who)) END,
  "user".name, "user".domain, "user".email,
  device, eas.device.type, agent, eas.client_family,
  event.reason, eas.decision, eas.wave, http.response.status_code,
  eas.protocol_version, eas.auth.scheme, eas.auth.logon_format,
  lower(url.domain), eas.redirect.location,
  nullif(lower(regexp_extract(eas.redirect.location, '^https?://([^/:?#]+)', 1)), ''),
  eas.directory.duration_ms, eas.directory.cache, eas.directory.target_domain,
  ecs.version, regexp_extract("@timestamp", '(Z|[+-][0-9:]+)$', 1)
FROM who
"""

# What a request without a device id belongs to: OPTIONS names none (MS-ASHTTP 2.2.3).
_ADOPT = """
UPDATE lines SET key = named.key
FROM (SELECT agent, arg_max(key, ts) AS key FROM lines WHERE named AND key IS NOT NULL
      GROUP BY agent) AS named
WHERE NOT lines.named AND lines.key IS NOT NULL AND lines.agent = named.agent
"""

# Two kinds of lines that are no journal's: cut short, and another program's.
_TORN = f"""
SELECT count(*) FILTER (starts_with(trim(line), '{{') AND NOT json_valid(line)),
       count(*) FILTER (line IS NULL OR trim(line) = '')
FROM {READ_TEXT}
"""


@dataclass(slots=True)
class Lines:
    """How many lines there were, of which sort."""

    total: int = 0
    exchanges: int = 0
    events: int = 0
    untimed: int = 0
    future: int = 0
    torn: int = 0
    foreign: int = 0
    broken_files: list[str] = field(default_factory=list)
    """Packed files that break off; they were read up to there."""


class StoreError(Exception):
    """A file that could not be read, or no room to count in; the text says what to do."""


@contextmanager
def open_store(
    sources: Iterable[Source], now_ms: int, progress: Progress | None = None
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
            # DuckDB would draw its own bar, on the standard output: it counts, and we show it.
            connection.execute("SET enable_progress_bar = true")
            connection.execute("SET enable_progress_bar_print = false")
            reader = _Reader(connection, Path(folder), now_ms + FUTURE_MS, progress)
            for source in sources:
                reader.read(source)
            connection.execute(_ADOPT)
            yield connection, reader.lines
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
        connection.execute(_SCHEMA)

    def read(self, source: Source) -> None:
        if source.kind is Kind.IIS:
            path = self._folder / "iis.jsonl"
            self.lines.foreign += journal_from_iis(source, path)
            self._read_journal(path, "none", source.size)
            path.unlink()
            return
        try:
            self._read_journal(source.path, source.compression, source.size)
        except duckdb.Error as error:
            if source.compression != "gzip":
                raise StoreError(_advice(source.path, error)) from error
            self.lines.broken_files.append(str(source.path))
            whole = self._folder / "unpacked.jsonl"
            _unpack(source.path, whole)
            self._read_journal(whole, "none", source.size)
            whole.unlink()

    def _read_journal(self, path: Path, compression: str, size: int) -> None:
        values = {"path": literal(path), "compression": compression}
        self._run(_INSERT, {**values, "newest": self._newest_ms}, size)
        counts = dict(
            self._connection.execute(
                "SELECT class, count(*) FROM lines GROUP BY class ORDER BY class"
            ).fetchall()
        )
        lines = self.lines
        strange = counts.get(LineClass.FOREIGN, 0)
        lines.exchanges = counts.get(LineClass.EXCHANGE, 0)
        lines.events = counts.get(LineClass.EVENT, 0)
        lines.untimed = counts.get(LineClass.UNTIMED, 0)
        lines.future = counts.get(LineClass.FUTURE, 0)
        if strange:
            torn, blank = self._connection.execute(_TORN, values).fetchall()[0]
            lines.torn += torn
            lines.foreign += max(0, strange - torn - blank)
            self._connection.execute(f"DELETE FROM lines WHERE class = {LineClass.FOREIGN:d}")

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


def _advice(path: Path, error: duckdb.Error) -> str:
    first = str(error).splitlines()[0]
    if "space" in first or "write" in first or isinstance(error, duckdb.OutOfMemoryException):
        return f"There is no room to count in ({first}). Set TMPDIR to a folder with more."
    return f"{path} cannot be read ({first}). Leave it out, or unpack it first."


def _unpack(path: Path, target: Path) -> None:
    """As much of a gzip file (RFC 1952: of members one after another) as there is."""
    with path.open("rb") as packed, target.open("wb") as plain:
        member = zlib.decompressobj(wbits=31)
        rest = b""
        while chunk := rest or packed.read(1 << 20):
            try:
                plain.write(member.decompress(chunk))
            except zlib.error:
                return
            rest = member.unused_data
            if member.eof:
                member = zlib.decompressobj(wbits=31)
