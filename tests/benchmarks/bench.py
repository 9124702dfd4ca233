"""Rounds of load, each subject in turn, so that what else the machine does hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.subjects import ADDON, BARE, CARRIED, HAPROXY, PLAIN, RUN, WORKERS, Subject
from tests.benchmarks.wrk import Load, Outcome, drive


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of load and who is put under it; the first one named is what others are held to."""

    name: str
    title: str
    load: Load
    subjects: Sequence[str]


SCENARIOS = (
    Scenario(
        name="nothing_to_redirect",
        title="EAS, nothing to redirect, keep-alive, 32 connections",
        load=Load(),
        subjects=(BARE, ADDON, RUN, WORKERS, CARRIED, PLAIN, HAPROXY),
    ),
    Scenario(
        name="every_tenth",
        title="EAS, every tenth answer redirected, keep-alive, 32 connections",
        load=Load(every=10),
        subjects=(BARE, ADDON, RUN, WORKERS, CARRIED, PLAIN, HAPROXY),
    ),
    Scenario(
        name="every_answer",
        title="EAS, every answer redirected, keep-alive, 32 connections",
        load=Load(every=1),
        subjects=(BARE, RUN, CARRIED, HAPROXY),
    ),
    Scenario(
        name="not_eas",
        title="not EAS, keep-alive, 32 connections",
        load=Load(kind="owa"),
        subjects=(BARE, ADDON, RUN, CARRIED, HAPROXY),
    ),
    Scenario(
        name="no_keep_alive",
        title="EAS, every tenth, a connection for each request",
        load=Load(every=10, keep_alive=False),
        subjects=(BARE, ADDON, RUN, WORKERS, CARRIED, HAPROXY),
    ),
    Scenario(
        name="tls",
        title="EAS, every tenth, keep-alive, TLS from the client",
        load=Load(every=10, tls=True),
        subjects=(BARE, ADDON, RUN, WORKERS, CARRIED, HAPROXY),
    ),
    Scenario(
        name="handshakes",
        title="EAS, nothing to redirect, a TLS connection for each request",
        load=Load(keep_alive=False, tls=True),
        subjects=(BARE, RUN, CARRIED, PLAIN),
    ),
    Scenario(
        name="one_connection",
        title="EAS, nothing to redirect, one connection",
        load=Load(connections=1),
        subjects=(BARE, ADDON, RUN, CARRIED, PLAIN, HAPROXY),
    ),
)


@dataclass(slots=True)
class Series:
    """What the rounds gave for one subject under one load."""

    outcomes: list[Outcome] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    resident_bytes: int = 0  # after the last round

    @property
    def rates(self) -> list[float]:
        return [outcome.rate for outcome in self.outcomes]

    @property
    def cpu_ms(self) -> list[float]:
        """CPU time of the proxy for each request."""
        return [
            cpu * 1e3 / max(1, outcome.requests)
            for cpu, outcome in zip(self.cpu_s, self.outcomes, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over the rounds; a ratio is the median of the rounds' ratios to the first subject."""

    scenario: str
    subject: str
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    memory_mib: float
    redirected: int
    errors: int
    rate_ratio: float
    cpu_ratio: float
    p99_ratio: float


type Results = dict[tuple[str, str], Series]


def measure(
    running: Mapping[str, Subject], rounds: int, seconds: int, say: Callable[[str], None]
) -> Results:
    """All scenarios, round after round."""
    results: Results = {
        (scenario.name, name): Series() for scenario in SCENARIOS for name in scenario.subjects
    }
    for number in range(rounds):
        for scenario in SCENARIOS:
            say(f"round {number + 1} of {rounds}: {scenario.title}")
            for name in scenario.subjects:
                _measure(running[name], scenario.load, seconds, results[scenario.name, name])
    return results


def _measure(subject: Subject, load: Load, seconds: int, series: Series) -> None:
    port = subject.tls_port if load.tls else subject.port
    before = subject.usage()
    series.outcomes.append(drive(port, load, seconds))
    after = subject.usage()
    series.cpu_s.append(after.cpu_s - before.cpu_s)
    series.resident_bytes = after.resident_bytes


def rows(results: Results) -> list[Row]:
    found = []
    for scenario in SCENARIOS:
        base = results[scenario.name, scenario.subjects[0]]
        for name in scenario.subjects:
            series = results[scenario.name, name]
            found.append(_row(scenario.name, name, series, base))
    return found


def _row(scenario: str, subject: str, series: Series, base: Series) -> Row:
    outcomes = series.outcomes
    return Row(
        scenario=scenario,
        subject=subject,
        rate=median(series.rates),
        p50_ms=median(outcome.p50_ms for outcome in outcomes),
        p99_ms=median(outcome.p99_ms for outcome in outcomes),
        cpu_ms=median(series.cpu_ms),
        memory_mib=series.resident_bytes / 2**20,
        redirected=sum(outcome.refused for outcome in outcomes),
        errors=sum(outcome.errors for outcome in outcomes),
        rate_ratio=_ratio(series.rates, base.rates),
        cpu_ratio=_ratio(series.cpu_ms, base.cpu_ms),
        p99_ratio=_ratio([o.p99_ms for o in outcomes], [o.p99_ms for o in base.outcomes]),
    )


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    pairs = zip(values, base, strict=True)
    return median(value / other if other else 0.0 for value, other in pairs)
