"""Counts for Prometheus: a sink for journal records that remembers what it saw.

`Metrics.observe` runs once per exchange on the proxy's event loop, so it only adds to plain
dictionaries; `Exposition` renders them when somebody asks. A label never holds a user, a device
or a location, and a value that a client can choose is folded to `other` when it is not one of a
fixed set, so that nobody can make the series grow. Imports neither mitmproxy nor ldap3.
"""

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from eas_redirect import __version__
from eas_redirect.activesync.request import COMMAND_CODES
from eas_redirect.directory.values import CacheStatistics
from eas_redirect.judging.wait_watch import HELD_BACK, WaitStatistics
from eas_redirect.policy.reasons import REASONS, Reason
from eas_redirect.telemetry.ledger import LedgerState
from eas_redirect.telemetry.record import Record

SPECIAL_STATUSES = frozenset({401, 403, 449, 451, 503})  # those that say something in EAS
MODES = frozenset({"observe", "enforce"})
DECISIONS = frozenset({"redirect", "would_redirect", "pass"})
WAIT_DECISIONS = frozenset({"end_wait", "would_end_wait", "pass"})
SOURCES = frozenset({"ldap", "snapshot"})
CACHE_RESULTS = frozenset({"hit", "miss", "stale", "negative"})
OUTCOMES = frozenset({"success", "failure"})
COMMANDS = frozenset(COMMAND_CODES.values())
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
    """Where to read current values; each is asked once per rendering."""

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
    watched_waits: Callable[[], WaitStatistics] = WaitStatistics
    questions_refused: Callable[[], int | None] = lambda: None  # of HAProxy's; None: nobody asks
    configuration_good: Callable[[], bool] = lambda: True
    snapshot_good: Callable[[], bool] = lambda: True
    configuration_loaded_s: Callable[[], float] = lambda: 0.0
    journal_lost: Callable[[], int] = lambda: 0
    log_lost: Callable[[], int] = lambda: 0
    ready: Callable[[], bool] = lambda: False
    certificates: Callable[[], Mapping[str, float]] = dict  # whose → Unix time of its end


class Metrics:
    """What has happened since the start. `observe` is a sink for the journal's records."""

    def __init__(self, gauges: Gauges | None = None) -> None:
        self.gauges = gauges or Gauges()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.decisions: Counter[tuple[str, str, str]] = Counter()
        self.discoveries: Counter[tuple[str, str, str]] = Counter()
        self.waits: Counter[tuple[str, str, str]] = Counter()
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
            case "eas.wait":
                self._observe_wait(record)
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

    def _observe_wait(self, record: Record) -> None:
        decision = _fold(record.decision, WAIT_DECISIONS)
        held_back = _fold(record.wait_held_back, HELD_BACK)
        self.waits[_fold(record.mode, MODES), decision, held_back] += 1
        if decision == "end_wait":  # its exchange has no other line
            self.requests[fold_command(record.command, record.method), "none"] += 1
        if record.directory_source is not None:
            self._observe_lookup(record, record.reason or "")

    def _observe_decision(self, counts: Counter[tuple[str, str, str]], record: Record) -> str:
        """Returns the label for the reason."""
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
    return command if command in COMMANDS else "other"


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


# The exposition of `Metrics` in Prometheus's text format, by prometheus-client.
#
# Each of our metrics is named here, and nowhere else.


class Exposition:
    """Renders one `Metrics`, with the figures of the process."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collected(lambda: metric_families(metrics)))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text format that `CONTENT_TYPE_LATEST` names."""
        return generate_latest(self._registry)


def metric_families(metrics: Metrics) -> Iterator[Metric]:
    """Each of our metrics, in the order of the page."""
    yield from _counted(metrics)
    yield from _measured(metrics)
    yield from _cache_families(metrics.gauges.cache())
    yield from _gauged(metrics.gauges)
    yield _build_family()


def _counted(metrics: Metrics) -> Iterator[Metric]:
    yield _counter(
        "eas_requests", "EAS exchanges.", ("command", "upstream_class"), metrics.requests
    )
    yield _counter(
        "eas_decisions",
        "Decisions by mode, decision and reason.",
        ("mode", "decision", "reason"),
        metrics.decisions,
    )
    yield _counter(
        "eas_autodiscover",
        "Questions of phones to Autodiscover by mode, decision and reason.",
        ("mode", "decision", "reason"),
        metrics.discoveries,
    )
    yield _counter(
        "eas_waits",
        "Waits whose user looked moved, by mode, decision and why they went on.",
        ("mode", "decision", "held_back"),
        metrics.waits,
    )
    yield _counter(
        "eas_directory_lookups",
        "Questions about a user by where the answer came from.",
        ("source", "result"),
        metrics.lookups,
    )
    yield _counter(
        "eas_directory_events",
        "Readings of the relationships that changed or failed.",
        ("outcome",),
        _single(metrics.directory_events),
    )
    yield _counter(
        "eas_config_loads",
        "Readings of the configuration.",
        ("outcome",),
        _single(metrics.reloads),
    )
    yield _counter(
        "eas_ledger_changes",
        "Devices that changed their state in the follow ledger, by the new state.",
        ("state",),
        _single(metrics.ledger_changes),
    )
    yield CounterMetricFamily(
        "eas_addon_errors",
        "Errors inside the addon; the exchange passed unchanged.",
        value=metrics.errors,
    )


def _measured(metrics: Metrics) -> Iterator[Metric]:
    upstream = HistogramMetricFamily(
        "eas_upstream_duration_seconds",
        "Time until Exchange answered; kind wait: Ping and Sync, which may hang on purpose.",
        labels=("kind",),
    )
    for kind, histogram in metrics.upstream_s.items():
        upstream.add_metric((kind,), histogram.buckets(), histogram.total_s)
    yield upstream
    yield HistogramMetricFamily(
        "eas_directory_lookup_duration_seconds",
        "Time of the look-ups that the cache did not answer.",
        buckets=metrics.lookup_s.buckets(),
        sum_value=metrics.lookup_s.total_s,
    )


def _gauged(gauges: Gauges) -> Iterator[Metric]:
    yield _gauge("eas_ready", "1 when /ready says yes.", gauges.ready())
    enforcing = gauges.mode() == "enforce"
    yield _gauge("eas_enforcing", "1 in enforce mode, 0 in observe mode.", enforcing)
    meant = GaugeMetricFamily(
        "eas_meant_info", "Who is redirected, in words; always 1.", labels=("meant",)
    )
    meant.add_metric((gauges.meant(),), 1)
    yield meant
    names = GaugeMetricFamily(
        "eas_wave_names",
        "Names of redirect.only and redirect.except by what the directory says to them.",
        labels=("table", "standing"),
    )
    for labels, count in gauges.wave_names().items():
        names.add_metric(labels, count)
    yield names
    parts = GaugeMetricFamily(
        "eas_engine_part",
        "What of mitmproxy is replaced, by eas_engine; always 1.",
        labels=("engine", "part", "state"),
    )
    for part in gauges.engine_parts():
        parts.add_metric(part, 1)
    yield parts
    good = gauges.configuration_good()
    yield _gauge("eas_config_good", "1 when the last reading succeeded.", good)
    current = gauges.snapshot_good()
    yield _gauge("eas_snapshot_good", "0 while the snapshot's file is held back.", current)
    yield _gauge(
        "eas_config_loaded_timestamp_seconds",
        "When the configuration in force was read.",
        gauges.configuration_loaded_s(),
    )
    ends = GaugeMetricFamily(
        "eas_certificate_expiry_timestamp_seconds",
        "When a certificate ends: the one that phones see, the one that Exchange shows.",
        labels=("certificate",),
    )
    for whose, ends_s in gauges.certificates().items():
        ends.add_metric((whose,), ends_s)
    yield ends
    yield CounterMetricFamily(
        "eas_journal_lost_lines", "Lines that could not be written.", value=gauges.journal_lost()
    )
    yield CounterMetricFamily(
        "eas_log_lost_lines", "Lines of the log that were not written.", value=gauges.log_lost()
    )
    yield _gauge("eas_open_exchanges", "EAS exchanges under way.", gauges.open_exchanges())
    waits = gauges.open_waits()
    yield _gauge("eas_open_waits", "Of these: Ping or Sync, which may hang on purpose.", waits)
    watch = gauges.watched_waits()
    yield _gauge("eas_watched_waits", "Waits whose users are asked about.", watch.watched)
    yield _gauge("eas_moved_waits", "Of these: of users who look moved.", watch.moved)
    good = watch.problem is None
    yield _gauge("eas_wait_watch_good", "0 while nobody can be asked about those who wait.", good)
    refused = gauges.questions_refused()
    if refused is not None:
        yield CounterMetricFamily(
            "eas_judge_questions_refused",
            "Questions of HAProxy that the judge could not take: those answers passed.",
            value=refused,
        )
    yield _gauge("eas_relationships", "Relationships known.", gauges.relationships())
    devices = GaugeMetricFamily(
        "eas_ledger_devices", "Devices by state in the follow ledger.", labels=("state",)
    )
    ledger = gauges.ledger()
    for state in LEDGER_STATES:
        devices.add_metric((state,), ledger.get(state, 0))
    yield devices
    yield CounterMetricFamily(
        "eas_ledger_evicted",
        "Devices that the follow ledger forgot, least recently seen first, to stay in bounds.",
        value=gauges.ledger_evicted(),
    )
    yield CounterMetricFamily(
        "eas_ledger_confirmed",
        "Redirected devices that were seen at their target (transparent mode).",
        value=gauges.ledger_confirmed(),
    )


class _Collected(Collector):
    """A collector made from a function, so that `Metrics` itself need not look like one."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _single(counts: Counter[str]) -> Counter[tuple[str, ...]]:
    return Counter({(key,): count for key, count in counts.items()})


def _counter[K: tuple[str, ...]](
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[K, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _cache_families(cache: CacheStatistics) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "eas_cache_answers", "Answers of the directory cache.", labels=("result",)
    )
    for result in ("hits", "misses", "negative", "stale", "unavailable"):
        answers.add_metric((result,), getattr(cache, result))
    yield answers
    yield _gauge("eas_cache_entries", "Recipients in the cache.", cache.entries)
    yield _gauge("eas_cache_in_flight", "Questions to the directory under way.", cache.in_flight)
    if cache.age_s is not None:
        yield _gauge("eas_relationships_age_seconds", "Age of the relationships.", cache.age_s)


def _build_family() -> Metric:
    family = GaugeMetricFamily(
        "eas_build_info",
        "Always 1; the labels say what runs.",
        labels=("version", "mitmproxy", "python"),
    )
    family.add_metric((__version__, version("mitmproxy"), platform.python_version()), 1)
    return family
