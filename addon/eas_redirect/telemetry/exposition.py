"""The exposition of `Metrics` in Prometheus's text format, by prometheus-client.

Every metric of ours is named here, and nowhere else. Imports neither mitmproxy nor ldap3.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from eas_redirect import __version__
from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.metrics import LEDGER_STATES, Gauges, Metrics

__all__ = ["CONTENT_TYPE", "Exposition", "families"]


class Exposition:
    """Renders one `Metrics`, with the figures of the process."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collected(lambda: families(metrics)))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text format that `CONTENT_TYPE` names."""
        return generate_latest(self._registry)


def families(metrics: Metrics) -> Iterator[Metric]:
    """Every metric of ours, in the order of the page."""
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
    """A collector out of a function, so that `Metrics` itself need not look like one."""

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
