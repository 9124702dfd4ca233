"""What `metrics.listen` shows of a running service: makes the site and feeds it.

The proxy hands in what only it knows (`Proxy`). Imports neither mitmproxy nor ldap3.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from eas_redirect.certificates.trouble import Peer
from eas_redirect.directory.sight import Remark
from eas_redirect.directory.values import (
    CacheStatistics,
    OrganizationRelationship,
    RelationshipsAnswer,
)
from eas_redirect.judging.wait_watch import WaitStatistics
from eas_redirect.policy.decision import Pass, Policy
from eas_redirect.policy.reasons import Reason, title
from eas_redirect.policy.target import leads_to
from eas_redirect.service.service import Service
from eas_redirect.service.upstream import Answered, Upstream, UpstreamOutcome
from eas_redirect.telemetry.metrics import Gauges, Metrics
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.site import MetricsSite, views
from eas_redirect.telemetry.status import (
    ConfigurationLine,
    DirectoryLine,
    Facts,
    LastDecisions,
    RelationshipLine,
    Status,
    build_status,
    directory_state,
)
from eas_redirect.telemetry.web import parse_address
from eas_redirect.telemetry.writing import lost_of_log

# Whether file descriptors are left for further connections. A waiting phone holds two.

LOOK_S = 1.0  # counting tens of thousands takes milliseconds
FEWEST = 16  # left; with as many again it is enough
SHARE = 0.02  # of the limit, where that is more, up to
MOST = 200


def open_descriptors() -> int:
    """Of this process; 0 where the system does not tell. Linux does, from 6.2 on in one call."""
    folder = Path("/proc/self/fd")
    try:
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - tens of thousands
    except OSError:
        return 0


def limit() -> int:
    """How many this process may have; 0 where there is no such limit."""
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Descriptors:
    """Looks at most once in LOOK_S."""

    def __init__(
        self,
        count: Callable[[], int] = open_descriptors,
        allowed: Callable[[], int] = limit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._allowed = allowed
        self._clock = clock
        self._looked_at = float("-inf")
        self._short = False

    def are_short(self) -> bool:
        """Whether another connection may find none. Short until twice as many are left."""
        if self._clock() - self._looked_at >= LOOK_S:
            self._looked_at = self._clock()
            self._short = self._look()
        return self._short

    def _look(self) -> bool:
        allowed = self._allowed()
        if allowed <= 0:
            return False
        enough = max(FEWEST, min(int(SHARE * allowed), MOST))
        return allowed - self._count() < enough * (2 if self._short else 1)


logger = logging.getLogger(__name__)


async def _nobody(_timeout_s: float) -> UpstreamOutcome:
    return Answered(status=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFacts:
    """What the proxy knows and the service does not. `peer`: the one server behind a reverse
    proxy, `ask` a request of our own to it. `open_waits`: of the open exchanges those that hang on
    purpose. `questions_refused`: of a HAProxy's, where one asks. `front_expires`: when the
    certificate that phones see ends."""

    config_path: Callable[[], str] = lambda: ""
    engine_parts: Callable[[], Iterable[tuple[str, str, str]]] = tuple  # engine, part, its state
    listen: Callable[[], str] = lambda: ""  # overrides metrics.listen; "off": nowhere
    peer: Callable[[], Peer | None] = lambda: None
    ask: Callable[[float], Awaitable[UpstreamOutcome]] = _nobody
    front_expires: Callable[[], datetime | None] = lambda: None
    open_exchanges: Callable[[], int] = lambda: 0
    open_waits: Callable[[], int] = lambda: 0
    watched_waits: Callable[[], WaitStatistics] = WaitStatistics
    questions_refused: Callable[[], int | None] = lambda: None
    draining: Callable[[], bool] = lambda: False


class Monitor:
    """The metrics and the site of one process."""

    def __init__(
        self, service: Service, proxy: ProxyFacts, clock: Callable[[], float] = time.time
    ) -> None:
        self._service = service
        self._proxy = proxy
        self._clock = clock
        self._started_s = clock()
        self._trouble = _Trouble()
        self._loaded_s = clock()
        self._refused: str | None = None
        self.upstream = Upstream(proxy.peer, proxy.ask)
        self._descriptors = Descriptors()
        self._known: tuple[OrganizationRelationship, ...] = ()
        self._unseen: tuple[Remark, ...] = ()
        self._site: MetricsSite | None = None
        self._listen: str | None = None
        self._following: asyncio.Task[bool] | None = None
        self.metrics = Metrics(self._gauges())
        self._last = LastDecisions(self._redacted)
        service.sinks += [
            self.metrics.observe,
            self.upstream.observe,
            self._trouble.observe,
            self._last.observe,
            self._configured,
        ]

    async def follow(self) -> bool:
        """Serve where the option or the configuration says. Where that cannot be had it is logged,
        the last good address stays, and the result is False."""
        wanted = self._proxy.listen() or self._service.config.metrics.listen
        try:
            await self._listen_at(None if wanted == "off" else wanted)
        except (OSError, ValueError) as error:
            logger.error("eas-redirect: cannot serve metrics at %s: %s", wanted, error)
            return False
        return True

    async def _listen_at(self, address: str | None) -> None:
        if address == self._listen:
            return
        site = None
        if address is not None:
            site = MetricsSite(
                views(self.metrics, self.status, self._look),
                lambda: self._service.config.metrics.host_names,
            )
            await site.start(parse_address(address))
            logger.info("eas-redirect: metrics and status page at %s", site)
        self.close()
        self._site, self._listen = site, address

    @property
    def port(self) -> int:
        """The TCP port of the site; 0 when there is none."""
        return 0 if self._site is None else self._site.port

    def close(self) -> None:
        if self._site is not None:
            self._site.close()
        self._site = self._listen = None

    def status(self) -> Status:
        facts = Facts(
            directory=self._directory_line,
            configuration=self._configuration_line,
            relationships=self._relationship_lines,
            upstream=self.upstream.line,
            draining=self._proxy.draining,
            full=self._descriptors.are_short,
        )
        return build_status(
            self.metrics, facts, self._last, started_s=self._started_s, clock=self._clock
        )

    def _gauges(self) -> Gauges:
        service, proxy = self._service, self._proxy
        return Gauges(
            mode=lambda: service.config.mode,
            meant=lambda: service.meant,
            wave_names=lambda: dict(service.judge.policy.wave.counts()),
            engine_parts=proxy.engine_parts,
            cache=self._cache,
            ledger=lambda: {str(k): n for k, n in service.ledger.statistics().states.items()},
            ledger_evicted=lambda: service.ledger.statistics().evicted,
            ledger_confirmed=lambda: service.ledger.statistics().confirmed,
            relationships=lambda: len(self._relationship_lines()),
            open_exchanges=proxy.open_exchanges,
            open_waits=proxy.open_waits,
            watched_waits=proxy.watched_waits,
            questions_refused=proxy.questions_refused,
            configuration_good=lambda: self._refused is None,
            snapshot_good=lambda: self._snapshot_problem() is None,
            configuration_loaded_s=lambda: self._loaded_s,
            journal_lost=lambda: service.journal_lost,
            log_lost=lost_of_log,
            ready=lambda: self.status().ready,
            certificates=self._certificates,
        )

    def _redacted(self, record: Record) -> Record:
        return self._service.redaction.apply(record)

    def _certificates(self) -> dict[str, float]:
        ends = {"phones": self._proxy.front_expires(), "exchange": self.upstream.expires}
        return {whose: end.timestamp() for whose, end in ends.items() if end is not None}

    def _cache(self) -> CacheStatistics:
        return self._service.judge.directory.statistics()

    async def _look(self) -> None:
        """Before anything is shown: is Exchange there, and which relationships are known?"""
        await self.upstream.look()
        directory = self._service.judge.directory
        if directory.statistics().age_s is None:
            return
        answer: RelationshipsAnswer = await directory.relationships()
        if isinstance(answer.relationships, tuple):
            self._known = answer.relationships
        if answer.sight is not None:
            self._unseen = answer.sight.remarks()

    def _configured(self, record: Record) -> None:
        if record.action != "eas.config":
            return
        if record.outcome == "success":
            self._loaded_s, self._refused = record.timestamp_s, None
            with contextlib.suppress(
                RuntimeError
            ):  # no event loop yet: it will follow at the start
                self._following = asyncio.get_running_loop().create_task(self.follow())
        else:
            self._refused = record.error_message or record.message

    def _configuration_line(self) -> ConfigurationLine:
        path = self._proxy.config_path()
        return ConfigurationLine(
            path=path,
            meant=self._service.meant,
            loaded_s=self._loaded_s,
            problem=self._refused,
        )

    def _directory_line(self) -> DirectoryLine:
        cache, directory = self._service.config.cache, self._service.judge.directory
        age_s = directory.statistics().age_s
        state = directory_state(
            age_s,
            refresh_s=cache.relationships_s,
            stale_s=cache.stale_s,
            failing=self._trouble.problem is not None,
        )
        if state in ("answering", "stale") and any(remark.blind for remark in self._unseen):
            state = "blind"
        return DirectoryLine(
            state=state,
            source=directory.source,
            server=self._trouble.server,
            age_s=age_s,
            problem=self._snapshot_problem() or self._trouble.problem,
            unseen=tuple(remark.message for remark in self._unseen),
        )

    def _snapshot_problem(self) -> str | None:
        """Why the snapshot's file, as it stands, is not in force."""
        file = self._service.snapshot
        return None if file is None else file.problem

    def _relationship_lines(self) -> tuple[RelationshipLine, ...]:
        policy = self._service.judge.policy
        return tuple(
            relationship_line(relationship, policy)
            for relationship in (*policy.relationships, *self._known)
        )


class _Trouble:
    """A sink: what is wrong with the directory now, and which server answered last."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.server: str | None = None

    def observe(self, record: Record) -> None:
        self.server = record.directory_server or self.server
        if record.directory_change == "unavailable" or (
            record.reason == Reason.DIRECTORY_UNAVAILABLE
        ):
            self.problem = record.error_message or record.message
        elif record.directory_change == "recovered" or record.directory_cache == "miss":
            self.problem = None


def relationship_line(relationship: OrganizationRelationship, policy: Policy) -> RelationshipLine:
    """A relationship with the host that phones are sent to, or why they are not."""
    line = RelationshipLine(
        name=relationship.name,
        domain_names=relationship.domain_names,
        target_owa_url=relationship.target_owa_url,
        enabled=relationship.enabled,
        source=relationship.source,
        note="from the configuration" if relationship.source == "configuration" else "",
    )
    if not relationship.enabled:
        return replace(line, note="disabled")
    target = leads_to(relationship, policy)
    if isinstance(target, Pass):
        return replace(line, note=title(target.reason))
    if target.mapped:
        return replace(line, eas_host=target.host, note=f"host map: {target.named_host}")
    return replace(line, eas_host=target.host)
