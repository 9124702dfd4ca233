"""What the status page and `/ready` say, as values: one `Status` is everything there is to show.

A `Status` travels between processes as JSON, so that several workers appear as one. Every user and
device in it went through the journal's redaction before. Imports neither mitmproxy nor ldap3.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from eas_redirect import __version__
from eas_redirect.directory.values import CacheStatistics
from eas_redirect.policy.reasons import everyday
from eas_redirect.telemetry.metrics import Metrics
from eas_redirect.telemetry.record import Record

# `blind`: it answers, and shows so little that nobody can be redirected.
type DirectoryState = Literal["answering", "stale", "blind", "unavailable", "unknown"]

type ProcessState = Literal["serving", "draining", "hanging", "full"]

_PROCESS: dict[ProcessState, str] = {
    "draining": "it is being stopped",
    "hanging": "a worker does not answer",
    "full": "it is running out of file descriptors: raise LimitNOFILE, or start more workers",
}
LAST_DECISIONS = 40
LISTED_DEVICES = 100  # of those that are stuck
MOVED_DEVICES = 20  # of those that went last
_HIDDEN = "the reasons are in the log, and on this page when it is opened on the proxy itself"
# A directory counts as answering while its relationships are younger than this many refreshes.
REFRESHES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLine:
    """A part's last error in words, without a full stop; `until_s` None: it lasts."""

    text: str
    since_s: float
    until_s: float | None = None


class ErrorMemory:
    """Remembers a part's last error. If the text changes while it lasts, it is still one error."""

    def __init__(self) -> None:
        self.last: ErrorLine | None = None

    def see(self, text: str | None, at_s: float) -> None:
        """What is wrong now; None: nothing."""
        lasts = self.last is not None and self.last.until_s is None
        if text is not None:
            since_s = self.last.since_s if lasts and self.last is not None else at_s
            self.last = ErrorLine(text=text, since_s=since_s)
        elif lasts and self.last is not None:
            self.last = replace(self.last, until_s=at_s)

    @property
    def now(self) -> str | None:
        """What is wrong now."""
        return self.last.text if self.last is not None and self.last.until_s is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationshipLine:
    """A relationship with the host that the host map made of its URL; `eas_host` None: it
    redirects nobody. `contested`: domains that another enabled relationship also claims, so they
    redirect nobody."""

    name: str
    domain_names: tuple[str, ...]
    target_owa_url: str | None = None
    eas_host: str | None = None
    enabled: bool = True
    source: str = "directory"
    note: str = ""
    contested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryLine:
    """The directory's state; `age_s`: the age of the relationships; `problem`: the last one
    since it answered; `unseen`: what it cannot vouch for."""

    state: DirectoryState = "unknown"
    source: str = "ldap"
    server: str | None = None
    age_s: float | None = None
    problem: str | None = None
    unseen: tuple[str, ...] = ()
    error: ErrorLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationLine:
    """The configuration in force; `meant`: who is redirected, in words; `problem`: why the last
    reading of the file was refused."""

    path: str = ""
    meant: str = ""
    loaded_s: float = 0.0
    problem: str | None = None
    error: ErrorLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLine:
    """A certificate and when it expires. `error`: why phones or we refuse it, or soon will."""

    whose: Literal["phones", "exchange"]
    ends_s: float | None = None
    error: ErrorLine | None = None
    grave: bool = False  # refused already


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLine:
    """One decision worth seeing, already redacted."""

    timestamp_s: float
    decision: str
    reason: str
    user: str | None = None
    device: str | None = None
    command: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLine:
    """A redirected device, already redacted. `since_s`: when it entered its state; `advice`:
    what to do about it, a sentence or two; `decisions`: the newest first."""

    user: str | None
    device_id: str | None
    device: str | None  # its type or family
    state: str
    since_s: float
    last_s: float
    returns: int = 0
    redirected_s: float | None = None
    location: str | None = None
    advice: str = ""
    decisions: tuple[DecisionLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How often exchanges ended with a decision for one reason."""

    decision: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLine:
    """The legacy Exchange; `age_s`: seconds since it last answered, None for never; `problem`:
    why it cannot be reached."""

    address: str | None = None
    age_s: float | None = None
    reachable: bool = False
    problem: str | None = None
    error: ErrorLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """Waits that may be ended: how many are watched, how many belong to users who appear to have
    moved, and how many were ended since the start; `problem`: why the directory cannot be asked."""

    watched: int = 0
    moved: int = 0
    ended: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that the page shows. Times are Unix times. `named` False: names of users and
    devices were left out, see `elsewhere`."""

    now_s: float
    started_s: float
    mode: str
    version: str = __version__
    draining: bool = False
    upstream: UpstreamLine = field(default_factory=UpstreamLine)
    directory: DirectoryLine = field(default_factory=DirectoryLine)
    configuration: ConfigurationLine = field(default_factory=ConfigurationLine)
    cache: CacheStatistics = field(default_factory=CacheStatistics)
    relationships: tuple[RelationshipLine, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    ledger: dict[str, int] = field(default_factory=dict)
    open_exchanges: int = 0
    open_waits: int = 0
    waits: WaitLine = field(default_factory=WaitLine)
    errors: int = 0
    last: tuple[DecisionLine, ...] = ()
    certificates: tuple[CertificateLine, ...] = ()
    stuck: tuple[DeviceLine, ...] = ()  # those that came back last first
    moved: tuple[DeviceLine, ...] = ()  # the latest first
    named: bool = True
    workers: int = 1
    hanging: int = 0  # workers that do not answer, and still get their share of connections
    full: bool = False  # (nearly) no file descriptor is left for another connection

    @property
    def checks(self) -> dict[str, str]:
        """What `/ready` depends on, with the state of each in one word."""
        return {
            "directory": self.directory.state,
            "upstream": "reachable" if self.upstream.reachable else "unreachable",
            "process": self._process,
        }

    @property
    def ready(self) -> bool:
        """Whether it does its work. If not, a by-pass does better."""
        return self.directory.state in ("answering", "stale") and self.carries_mail

    @property
    def carries_mail(self) -> bool:
        """Whether phones reach Exchange through it, redirected or not."""
        return self.upstream.reachable and self._process == "serving"

    @property
    def why(self) -> tuple[str, ...]:
        """Why it is not ready, in sentences without a full stop."""
        found = []
        if self.directory.state not in ("answering", "stale"):
            found.append(self.directory.problem or "the directory has not answered yet")
        if not self.upstream.reachable:
            found.append(self.upstream.problem or "Exchange has not answered yet")
        if self._process != "serving":
            found.append(_PROCESS[self._process])
        return tuple(found)

    def elsewhere(self) -> "Status":
        """The same for readers on other machines: nothing that names a user or a device. Problems
        of the configuration quote the names in it."""
        error, problem = self.configuration.error, self.configuration.problem
        return replace(
            self,
            configuration=replace(
                self.configuration,
                problem=_HIDDEN if problem else None,
                error=replace(error, text=_HIDDEN) if error else None,
            ),
            last=(),
            stuck=(),
            moved=(),
            named=False,
        )

    @property
    def _process(self) -> ProcessState:
        if self.draining:
            return "draining"
        if self.hanging:
            return "hanging"
        return "full" if self.full else "serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Where the page gets what neither `Metrics` nor `LastDecisions` knows."""

    directory: Callable[[], DirectoryLine] = DirectoryLine
    configuration: Callable[[], ConfigurationLine] = ConfigurationLine
    relationships: Callable[[], tuple[RelationshipLine, ...]] = tuple
    upstream: Callable[[], UpstreamLine] = UpstreamLine
    certificates: Callable[[], tuple[CertificateLine, ...]] = tuple
    stuck: Callable[[], tuple[DeviceLine, ...]] = tuple
    moved: Callable[[], tuple[DeviceLine, ...]] = tuple
    draining: Callable[[], bool] = lambda: False
    full: Callable[[], bool] = lambda: False


class LastDecisions:
    """A sink that remembers the last decisions worth seeing: all except ordinary answers.
    `redact` is the journal's own function: what the journal may not hold, the page may not show."""

    def __init__(self, redact: Callable[[Record], Record], size: int = LAST_DECISIONS) -> None:
        self._redact = redact
        self._records: deque[Record] = deque(maxlen=size)

    def observe(self, record: Record) -> None:
        if record.decision is not None and not everyday(record.reason or ""):
            self._records.append(record)

    def lines(self) -> tuple[DecisionLine, ...]:
        """The newest first."""
        return tuple(decision_line(self._redact(record)) for record in reversed(self._records))


def directory_state(
    age_s: float | None, *, refresh_s: float, stale_s: float, failing: bool = False
) -> DirectoryState:
    """From the age of the relationships (None: never read) and whether the last look-up failed."""
    if age_s is None:
        return "unavailable" if failing else "unknown"
    if age_s > max(stale_s, refresh_s * REFRESHES):
        return "unavailable"
    return "stale" if failing or age_s > refresh_s * REFRESHES else "answering"


def build_status(
    metrics: Metrics,
    facts: Facts,
    last: LastDecisions,
    *,
    started_s: float,
    clock: Callable[[], float] = time.time,
) -> Status:
    """The status of this process now."""
    gauges = metrics.gauges
    return Status(
        now_s=clock(),
        started_s=started_s,
        mode=gauges.mode(),
        draining=facts.draining(),
        full=facts.full(),
        upstream=facts.upstream(),
        directory=facts.directory(),
        configuration=facts.configuration(),
        cache=gauges.cache(),
        relationships=facts.relationships(),
        reasons=_reason_counts(metrics),
        ledger=dict(gauges.ledger()),
        open_exchanges=gauges.open_exchanges(),
        open_waits=gauges.open_waits(),
        waits=_wait_line(metrics),
        errors=metrics.errors,
        last=last.lines(),
        certificates=facts.certificates(),
        stuck=facts.stuck(),
        moved=facts.moved(),
    )


def _wait_line(metrics: Metrics) -> WaitLine:
    watch = metrics.gauges.watched_waits()
    return WaitLine(
        watched=watch.watched,
        moved=watch.moved,
        ended=sum(n for (_, decision, _), n in metrics.waits.items() if decision == "end_wait"),
        problem=watch.problem,
    )


def _reason_counts(metrics: Metrics) -> tuple[ReasonCount, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for (_, decision, reason), count in metrics.decisions.items():
        counts[decision, reason] += count
    return tuple(
        ReasonCount(decision=decision, reason=reason, count=count)
        for (decision, reason), count in counts.most_common()
    )


def _why(record: Record) -> str:
    """A wait can go on for other reasons than the decision."""
    held_back = record.wait_held_back
    return (record.reason if held_back in (None, "decision") else held_back) or ""


def user_in_words(record: Record) -> str | None:
    """The user as a person would write the name."""
    user = record.user_email or record.user_name
    if user and record.user_domain and "@" not in user:
        return f"{record.user_domain}\\{user}"
    return user


def decision_line(record: Record) -> DecisionLine:
    """`record` is redacted already."""
    return DecisionLine(
        timestamp_s=record.timestamp_s,
        decision=record.decision or "",
        reason=_why(record),
        user=user_in_words(record),
        device=record.device_type or record.client_family,
        command=record.command or record.method,
        location=record.redirect_location,
    )
