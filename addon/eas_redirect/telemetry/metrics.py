"""Counts for Prometheus: a sink for journal records that remembers what it saw.

`Metrics.observe` runs once per exchange on the proxy's event loop, so it only adds to plain
dictionaries; `exposition.py` renders them when somebody asks. A label never holds a user, a device
or a location, and a value that a client can choose is folded to `other` when it is not one of a
fixed set, so that nobody can make the series grow. Imports neither mitmproxy nor ldap3.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from eas_redirect.activesync.query import COMMAND_CODES
from eas_redirect.directory.values import CacheStatistics
from eas_redirect.policy.reasons import REASONS, Reason
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.record import Record

SPECIAL_STATUSES = frozenset({401, 403, 449, 451, 503})  # those that say something in EAS
MODES = frozenset({"observe", "enforce"})
DECISIONS = frozenset({"redirect", "would_redirect", "pass"})
SOURCES = frozenset({"ldap", "snapshot"})
CACHE_RESULTS = frozenset({"hit", "miss", "stale", "negative"})
OUTCOMES = frozenset({"success", "failure"})
LEDGER_STATES = tuple(state.value for state in LedgerState)

LOOKUP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Up to the longest wait that a Ping may ask for, 3540 s (MS-ASCMD 2.2.3.79).
UPSTREAM_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)


@dataclass(slots=True)
class Histogram:
    """Observations in seconds: a count per bucket (the last one is +Inf) and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as the exposition format wants them."""
        names = [str(bound) for bound in self.bounds] + ["+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Where to read what is only true now; each is asked once per rendering."""

    mode: Callable[[], str] = lambda: "observe"
    meant: Callable[[], str] = lambda: ""
    wave_names: Callable[[], Mapping[tuple[str, str], int]] = dict  # by table and standing
    engine_parts: Callable[[], Iterable[tuple[str, str, str]]] = tuple  # engine, part, its state
    cache: Callable[[], CacheStatistics] = CacheStatistics
    ledger: Callable[[], Mapping[str, int]] = dict
    ledger_evicted: Callable[[], int] = lambda: 0
    ledger_confirmed: Callable[[], int] = lambda: 0
    relationships: Callable[[], int] = lambda: 0
    open_exchanges: Callable[[], int] = lambda: 0
    open_waits: Callable[[], int] = lambda: 0
    configuration_good: Callable[[], bool] = lambda: True
    snapshot_good: Callable[[], bool] = lambda: True
    configuration_loaded_s: Callable[[], float] = lambda: 0.0
    journal_lost: Callable[[], int] = lambda: 0
    log_lost: Callable[[], int] = lambda: 0
    ready: Callable[[], bool] = lambda: False
    certificates: Callable[[], Mapping[str, float]] = dict  # whose → Unix time of its end


class Metrics:
    """What happened since the start. `observe` is a sink of the journal's records."""

    def __init__(self, gauges: Gauges | None = None) -> None:
        self.gauges = gauges or Gauges()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.decisions: Counter[tuple[str, str, str]] = Counter()
        self.discoveries: Counter[tuple[str, str, str]] = Counter()
        self.lookups: Counter[tuple[str, str]] = Counter()
        self.lookup_s = Histogram(LOOKUP_BUCKETS_S)
        self.upstream_s: dict[str, Histogram] = {
            kind: Histogram(UPSTREAM_BUCKETS_S) for kind in ("wait", "other")
        }
        self.directory_events: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter()
        self.ledger_changes: Counter[str] = Counter()
        self.errors = 0

    def observe(self, record: Record) -> None:
        """Count one record of any action; total."""
        match record.action:
            case "eas.exchange" | "eas.redirect" | "eas.would_redirect":
                self._observe_exchange(record)
            case "eas.autodiscover":
                self._observe_decision(self.discoveries, record)
                if record.directory_source is not None:
                    self._observe_lookup(record, record.reason or "")
            case "eas.directory":
                self.directory_events[_fold(record.outcome, OUTCOMES)] += 1
            case "eas.config":
                self.reloads[_fold(record.outcome, OUTCOMES)] += 1
            case "eas.ledger":
                self.ledger_changes[_fold(record.ledger_state, LEDGER_STATES)] += 1
            case _:
                pass

    def _observe_exchange(self, record: Record) -> None:
        command = fold_command(record.command, record.method)
        self.requests[command, upstream_class(record.upstream_status_code)] += 1
        reason = self._observe_decision(self.decisions, record)
        if record.upstream_duration_ms is not None:
            kind = "wait" if command in ("Ping", "Sync") else "other"
            self.upstream_s[kind].observe(record.upstream_duration_ms / 1000)
        if record.directory_source is not None:
            self._observe_lookup(record, reason)

    def _observe_decision(self, counts: Counter[tuple[str, str, str]], record: Record) -> str:
        """Gives back the reason's label."""
        reason = _fold(record.reason, REASONS)
        decision = _fold(record.decision, DECISIONS)
        counts[_fold(record.mode, MODES), decision, reason] += 1
        if reason == Reason.INTERNAL_ERROR:
            self.errors += 1
        return reason

    def _observe_lookup(self, record: Record, reason: str) -> None:
        result = _fold(record.directory_cache, CACHE_RESULTS)
        if reason == Reason.DIRECTORY_UNAVAILABLE:
            result = "unavailable"
        self.lookups[_fold(record.directory_source, SOURCES), result] += 1
        if result in ("miss", "unavailable") and record.directory_duration_ms is not None:
            self.lookup_s.observe(record.directory_duration_ms / 1000)


def fold_command(command: str | None, method: str | None) -> str:
    """The `command` label: a command of the protocol, `OPTIONS`, `none` or `other`."""
    if command is None:
        return "OPTIONS" if method == "OPTIONS" else "none"
    return command if command in COMMAND_CODES.values() else "other"


def upstream_class(status_code: int | None) -> str:
    """The `upstream_class` label: `401`, `403`, `449`, `451`, `503`, else `2xx` and the like."""
    if status_code is None:
        return "none"
    if status_code in SPECIAL_STATUSES:
        return str(status_code)
    return f"{status_code // 100}xx" if 100 <= status_code <= 599 else "other"


def _fold(value: str | None, known: Iterable[str]) -> str:
    if value is None:
        return "none"
    return value if value in known else "other"
