"""Several workers as one: their expositions summed, their statuses merged. Pure.

Counters, histograms and sizes add up. A state is the worst of all workers', and what is the same
everywhere appears once; the tables below list both.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from eas_redirect.activesync.request import caseless
from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.status import (
    LAST_DECISIONS,
    LISTED_DEVICES,
    MOVED_DEVICES,
    CertificateLine,
    DeviceLine,
    DirectoryLine,
    ErrorLine,
    ReasonCount,
    Status,
    UpstreamLine,
    WaitLine,
)

WORST_IS_LEAST = frozenset(
    {
        "eas_ready",
        "eas_config_good",
        "eas_snapshot_good",
        "eas_wait_watch_good",
        "eas_certificate_expiry_timestamp_seconds",
        "process_start_time_seconds",
    }
)
SAID_ONCE = frozenset(
    {
        "eas_build_info",
        "eas_enforcing",
        "eas_engine_part",
        "eas_meant_info",
        "eas_wave_names",
        "eas_config_loaded_timestamp_seconds",
        "eas_relationships",
        "eas_relationships_age_seconds",
    }
)
LASTING = frozenset({"counter", "histogram"})

_WORST_LAST = ("answering", "stale", "unknown", "blind", "unavailable")


def sum_expositions(
    living: Iterable[str], gone: Iterable[str] = (), further: Iterable[Metric] = ()
) -> bytes:
    """One exposition out of several. Of processes that are `gone` only what lasts is counted, so
    that counters never fall."""
    sums: dict[str, _Sum] = {}
    for text in living:
        _add(sums, text_string_to_metric_families(text))
    for text in gone:
        lasting = (f for f in text_string_to_metric_families(text) if f.type in LASTING)
        _add(sums, lasting)
    registry = CollectorRegistry()
    registry.register(_Families([*(total.metric() for total in sums.values()), *further]))
    return generate_latest(registry)


def merge_statuses(statuses: Sequence[Status]) -> Status:
    """One status out of at least one."""
    first = statuses[0]
    troubled = [s.configuration for s in statuses if s.configuration.problem]
    stuck = _merge_stuck(statuses)
    return replace(
        first,
        started_s=min(s.started_s for s in statuses),
        draining=any(s.draining for s in statuses),
        full=any(s.full for s in statuses),
        upstream=_merge_upstreams([s.upstream for s in statuses]),
        directory=replace(
            max((s.directory for s in statuses), key=_badness),
            error=_merge_errors(s.directory.error for s in statuses),
        ),
        configuration=replace(
            troubled[0] if troubled else first.configuration,
            error=_merge_errors(s.configuration.error for s in statuses),
        ),
        cache=_add_caches([s.cache for s in statuses]),
        relationships=max((s.relationships for s in statuses), key=len),
        reasons=_add_reasons(statuses),
        ledger=dict(sum((Counter(s.ledger) for s in statuses), Counter())),
        open_exchanges=sum(s.open_exchanges for s in statuses),
        open_waits=sum(s.open_waits for s in statuses),
        waits=_add_waits([s.waits for s in statuses]),
        errors=sum(s.errors for s in statuses),
        last=tuple(
            sorted(
                (line for s in statuses for line in s.last),
                key=lambda line: line.timestamp_s,
                reverse=True,
            )[:LAST_DECISIONS]
        ),
        certificates=_merge_certificates(statuses),
        stuck=stuck,
        moved=_merge_moved(statuses, stuck),
        workers=len(statuses),
    )


class _Sum:
    """A family whose samples are being added up."""

    def __init__(self, family: Metric) -> None:
        self._family = family
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, family: Metric) -> None:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            known = self._values.get(key)
            self._values[key] = (
                sample.value if known is None else _together(family.name, known, sample.value)
            )

    def metric(self) -> Metric:
        total = Metric(self._family.name, self._family.documentation, self._family.type)
        for (name, labels), value in self._values.items():
            total.add_sample(name, dict(labels), value)
        return total


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _add(sums: dict[str, _Sum], families: Iterable[Metric]) -> None:
    for family in families:
        sums.setdefault(family.name, _Sum(family)).add(family)


def _together(name: str, one: float, other: float) -> float:
    if name in WORST_IS_LEAST:
        return min(one, other)
    return max(one, other) if name in SAID_ONCE else one + other


def _badness(line: DirectoryLine) -> int:
    return _WORST_LAST.index(line.state)


def _merge_upstreams(lines: Sequence[UpstreamLine]) -> UpstreamLine:
    """The kernel spreads the phones over all workers: what one cannot reach, some phones cannot."""
    ages = [line.age_s for line in lines if line.age_s is not None]
    return UpstreamLine(
        address=lines[0].address,
        age_s=min(ages, default=None),
        reachable=all(line.reachable for line in lines),
        problem=next((line.problem for line in lines if line.problem), None),
        error=_merge_errors(line.error for line in lines),
    )


def _merge_errors(errors: Iterable[ErrorLine | None]) -> ErrorLine | None:
    """One that lasts before one that is over; of those the one that began first, of these the
    latest."""
    known = [error for error in errors if error is not None]
    lasting = [error for error in known if error.until_s is None]
    if lasting:
        return min(lasting, key=lambda error: error.since_s)
    return max(known, key=lambda error: error.since_s, default=None)


def _merge_certificates(statuses: Sequence[Status]) -> tuple[CertificateLine, ...]:
    """Of each the one that ends first, or that is refused."""
    found: dict[str, CertificateLine] = {}
    for line in (line for status in statuses for line in status.certificates):
        known = found.setdefault(line.whose, line)
        if (not line.grave, line.ends_s or 0.0) < (not known.grave, known.ends_s or 0.0):
            found[line.whose] = line
    return tuple(found.values())


def _merge_stuck(statuses: Sequence[Status]) -> tuple[DeviceLine, ...]:
    """A phone's connections may lie in several workers; each knows a part of what it did."""
    found: dict[tuple[str, str], DeviceLine] = {}
    nameless = []
    for line in (line for status in statuses for line in status.stuck):
        if line.user is None or line.device_id is None:  # `journal.users` drops names
            nameless.append(line)
            continue
        key = _names(line)
        found[key] = _as_one(found[key], line) if key in found else line
    lines = sorted((*found.values(), *nameless), key=lambda line: -line.last_s)
    return tuple(lines[:LISTED_DEVICES])


def _names(line: DeviceLine) -> tuple[str, str]:
    return caseless(line.user or ""), caseless(line.device_id or "")


def _as_one(one: DeviceLine, other: DeviceLine) -> DeviceLine:
    redirected = [at for at in (one.redirected_s, other.redirected_s) if at is not None]
    decisions = sorted(
        (*one.decisions, *other.decisions), key=lambda line: line.timestamp_s, reverse=True
    )
    return replace(
        max(one, other, key=lambda line: line.last_s),
        since_s=min(one.since_s, other.since_s),
        returns=one.returns + other.returns,
        redirected_s=min(redirected, default=None),
        decisions=tuple(decisions[: max(len(one.decisions), len(other.decisions))]),
    )


def _merge_moved(statuses: Sequence[Status], stuck: Sequence[DeviceLine]) -> tuple[DeviceLine, ...]:
    """Silent in one worker, and stuck in another: stuck."""
    still = {_names(line) for line in stuck if line.user and line.device_id}
    lines = (line for s in statuses for line in s.moved if _names(line) not in still)
    return tuple(sorted(lines, key=lambda line: -line.since_s)[:MOVED_DEVICES])


def _add_caches(caches: Sequence[CacheStatistics]) -> CacheStatistics:
    counts = [f.name for f in fields(CacheStatistics) if f.name != "age_s"]
    ages = [cache.age_s for cache in caches if cache.age_s is not None]
    return CacheStatistics(
        **{name: sum(getattr(cache, name) for cache in caches) for name in counts},
        age_s=max(ages, default=None),
    )


def _add_waits(lines: Sequence[WaitLine]) -> WaitLine:
    return WaitLine(
        watched=sum(line.watched for line in lines),
        moved=sum(line.moved for line in lines),
        ended=sum(line.ended for line in lines),
        problem=next((line.problem for line in lines if line.problem), None),
    )


def _add_reasons(statuses: Sequence[Status]) -> tuple[ReasonCount, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for status in statuses:
        for line in status.reasons:
            counts[line.decision, line.reason] += line.count
    return tuple(
        ReasonCount(decision=decision, reason=reason, count=count)
        for (decision, reason), count in counts.most_common()
    )
