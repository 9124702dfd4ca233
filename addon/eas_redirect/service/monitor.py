"""What `metrics.listen` shows of a running service: makes the site and feeds it.

The proxy hands in what only it knows (`Proxy`). Imports neither mitmproxy nor ldap3.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from eas_redirect.certificates.front import SOON_DAYS
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
from eas_redirect.policy.relationship import relationship_of
from eas_redirect.policy.target import leads_to
from eas_redirect.service.service import Service
from eas_redirect.service.upstream import Answered, Upstream, UpstreamOutcome
from eas_redirect.service.whereabouts import Whereabouts
from eas_redirect.telemetry.metrics import Gauges, Metrics
from eas_redirect.telemetry.record import Record, account_id
from eas_redirect.telemetry.site import MetricsSite, views
from eas_redirect.telemetry.status import (
    CertificateLine,
    ConfigurationLine,
    DirectoryLine,
    ErrorLine,
    ErrorMemory,
    Facts,
    LastDecisions,
    RelationshipLine,
    Status,
    build_status,
    directory_state,
)
from eas_redirect.telemetry.web import parse_listen, why_not_served
from eas_redirect.telemetry.writing import lost_of_log

# Whether file descriptors are left for further connections. A waiting phone holds two.

LOOK_S = 1.0  # counting tens of thousands takes milliseconds
FEWEST = 16  # left; with as many again it is enough
SHARE = 0.02  # of the limit, where that is more, up to
MOST = 200


def open_descriptors(folder: Path = Path("/proc/self/fd")) -> int:
    """Of this process; 0 if the system does not say. Linux does, from 6.2 on in one call."""
    try:
        return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - tens of thousands
    except OSError:
        return 0


def limit() -> int:
    """How many this process may have; 0 if there is no limit."""
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Descriptors:
    """Counts at most once in LOOK_S."""

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
        """Whether another connection may find none left. Short until twice as many are free."""
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

DAY_S = 86400.0


async def _nobody(_timeout_s: float) -> UpstreamOutcome:
    return Answered(status=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFacts:
    """What the proxy knows and the service does not. `peer`: the one server behind a reverse
    proxy, `ask` a request of our own to it. `open_waits`: of the open exchanges those that hang on
    purpose. `questions_refused`: of a HAProxy's, where one asks. `front_expires`: when the
    certificate that phones see ends; `front_refused`: why its renewal is not in force."""

    config_path: Callable[[], str] = lambda: ""
    engine_parts: Callable[[], Iterable[tuple[str, str, str]]] = tuple  # engine, part, its state
    listen: Callable[[], str] = lambda: ""  # overrides metrics.listen; "off": nowhere
    peer: Callable[[], Peer | None] = lambda: None
    ask: Callable[[float], Awaitable[UpstreamOutcome]] = _nobody
    front_expires: Callable[[], datetime | None] = lambda: None
    front_refused: Callable[[], str | None] = lambda: None
    open_exchanges: Callable[[], int] = lambda: 0
    open_waits: Callable[[], int] = lambda: 0
    watched_waits: Callable[[], WaitStatistics] = WaitStatistics
    waiting_accounts: Callable[[], Mapping[str, int]] = dict  # by DN
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
        self.upstream = Upstream(proxy.peer, proxy.ask)
        self._descriptors = Descriptors()
        self._snapshot_errors = ErrorMemory()
        self._front_errors = ErrorMemory()
        self._known: tuple[OrganizationRelationship, ...] = ()
        self._lines: tuple[RelationshipLine, ...] = ()
        self._lines_of: tuple[object, object] | None = None  # what they were made of
        self._unseen: tuple[Remark, ...] = ()
        self._site: MetricsSite | None = None
        self._listen: str | None = None
        self._following: asyncio.Task[bool] | None = None
        self.metrics = Metrics(self._gauges())
        self._last = LastDecisions(self._redacted)
        self._whereabouts = Whereabouts(self._redacted)
        service.sinks += [
            self.metrics.observe,
            self.upstream.observe,
            self._trouble.observe,
            self._last.observe,
            self._whereabouts.observe,
            self._configured,
        ]

    async def follow(self) -> bool:
        """Serve where the option or the configuration says. If that address cannot be used, this
        is logged, the last good address stays, and the result is False."""
        wanted = self._proxy.listen() or self._service.config.metrics.listen
        try:
            await self._listen_at(None if wanted == "off" else wanted)
        except (OSError, ValueError) as error:
            logger.error(
                "eas-redirect: cannot serve metrics at %s: %s", wanted, why_not_served(error)
            )
            return False
        return True

    async def _listen_at(self, address: str | None) -> None:
        if address == self._listen:
            return
        site = None
        if address is not None:
            site = MetricsSite(
                views(self.metrics, self.status, self._look, self._waits),
                lambda: self._service.config.metrics.host_names,
            )
            await site.start(parse_listen(address))
            logger.info("eas-redirect: metrics and status page at %s", site)
        self._close_site()
        self._site, self._listen = site, address

    @property
    def port(self) -> int:
        """The TCP port of the site; 0 if there is none."""
        return 0 if self._site is None else self._site.port

    def close(self) -> None:
        """Also ends the asking: of a script that is loaded again, only the new one asks."""
        self.upstream.close()
        if self._following is not None and not self._following.get_loop().is_closed():
            self._following.cancel()
        self._close_site()

    def _close_site(self) -> None:
        if self._site is not None:
            self._site.close()
        self._site = self._listen = None

    def status(self) -> Status:
        facts = Facts(
            directory=self._directory_line,
            configuration=self._configuration_line,
            relationships=lambda: self._lines,
            upstream=self.upstream.line,
            certificates=self._certificate_lines,
            stuck=self._whereabouts.stuck,
            moved=self._whereabouts.moved,
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
            relationships=lambda: len(self._lines),
            open_exchanges=proxy.open_exchanges,
            open_waits=proxy.open_waits,
            watched_waits=proxy.watched_waits,
            questions_refused=proxy.questions_refused,
            configuration_good=lambda: service.refusals.now is None,
            snapshot_good=lambda: self._snapshot_problem() is None,
            configuration_loaded_s=lambda: self._loaded_s,
            journal_lost=lambda: service.journal_lost,
            log_lost=lost_of_log,
            ready=lambda: self.status().ready,
            certificates=self._certificates,
        )

    def _waits(self) -> dict[str, int]:
        """With `journal.users = "drop"` nobody is named."""
        name = self._service.redaction.name
        ids = {name(account_id(dn)): n for dn, n in self._proxy.waiting_accounts().items()}
        return {account: n for account, n in ids.items() if account is not None}

    def _redacted(self, record: Record) -> Record:
        return self._service.redaction.apply(record)

    def _certificates(self) -> dict[str, float]:
        ends = {"phones": self._proxy.front_expires(), "exchange": self.upstream.expires}
        return {whose: end.timestamp() for whose, end in ends.items() if end is not None}

    def _cache(self) -> CacheStatistics:
        return self._service.judge.directory.statistics()

    async def _look(self) -> None:
        """Before anything is shown: does Exchange answer, and which relationships are known?"""
        await self.upstream.look()
        directory = self._service.judge.directory
        if directory.statistics().age_s is not None:
            answer: RelationshipsAnswer = await directory.relationships()
            if isinstance(answer.relationships, tuple):
                self._known = answer.relationships
            if answer.sight is not None:
                self._unseen = answer.sight.remarks()
        known, policy = self._known, self._service.judge.policy
        if self._lines_of is None or self._lines_of[0] is not known or self._lines_of[1] != policy:
            self._lines = await asyncio.to_thread(relationship_lines, known, policy)
            self._lines_of = (known, policy)

    def _configured(self, record: Record) -> None:
        if record.action != "eas.config":
            return
        self._snapshot_errors.see(self._snapshot_problem(), record.timestamp_s)
        if record.outcome == "success":
            self._loaded_s = record.timestamp_s
            with contextlib.suppress(
                RuntimeError
            ):  # no event loop yet: it will follow at the start
                self._following = asyncio.get_running_loop().create_task(self.follow())

    def _configuration_line(self) -> ConfigurationLine:
        path = self._proxy.config_path()
        return ConfigurationLine(
            path=path,
            meant=self._service.meant,
            loaded_s=self._loaded_s,
            problem=self._service.refusals.now,
            error=self._service.refusals.last,
        )

    def _certificate_lines(self) -> tuple[CertificateLine, ...]:
        """Those whose end is known, and the phones' certificate if its renewal was refused."""
        now_s = self._clock()
        self._front_errors.see(self._proxy.front_refused(), now_s)
        ends = self._certificates()
        lines = [_ending(whose, ends.get(whose), now_s) for whose in ("phones", "exchange")]
        if self._front_errors.now is not None and not lines[0].grave:
            lines[0] = replace(lines[0], error=self._front_errors.last, grave=True)
        return tuple(line for line in lines if line.ends_s is not None or line.error is not None)

    def _directory_line(self) -> DirectoryLine:
        cache, directory = self._service.config.cache, self._service.judge.directory
        age_s = directory.statistics().age_s
        self._snapshot_errors.see(self._snapshot_problem(), self._clock())
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
            error=_latest(self._snapshot_errors.last, self._trouble.errors.last),
        )

    def _snapshot_problem(self) -> str | None:
        """Why the current snapshot file is not in force."""
        file = self._service.snapshot
        return None if file is None else file.problem


class _Trouble:
    """A sink: what is wrong with the directory now, and which server answered last."""

    def __init__(self) -> None:
        self.errors = ErrorMemory()
        self.server: str | None = None

    @property
    def problem(self) -> str | None:
        return self.errors.now

    def observe(self, record: Record) -> None:
        self.server = record.directory_server or self.server
        if record.directory_change == "unavailable" or (
            record.reason == Reason.DIRECTORY_UNAVAILABLE
        ):
            self.errors.see(record.error_message or record.message, record.timestamp_s)
        elif record.directory_change == "recovered" or record.directory_cache == "miss":
            self.errors.see(None, record.timestamp_s)


def _latest(*errors: ErrorLine | None) -> ErrorLine | None:
    """An error that lasts before one that is over, then the one that began last."""
    known = [error for error in errors if error is not None]
    return max(known, key=lambda error: (error.until_s is None, error.since_s), default=None)


def _ending(
    whose: Literal["phones", "exchange"], ends_s: float | None, now_s: float
) -> CertificateLine:
    """What to say about a certificate's end: three weeks before, and after it."""
    if ends_s is None or ends_s - now_s > SOON_DAYS * DAY_S:
        return CertificateLine(whose=whose, ends_s=ends_s)
    day = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%d")
    if ends_s <= now_s:
        error = ErrorLine(text=f"it ended on {day}: renew it", since_s=ends_s)
        return CertificateLine(whose=whose, ends_s=ends_s, error=error, grave=True)
    error = ErrorLine(text=f"it ends on {day}: renew it", since_s=ends_s - SOON_DAYS * DAY_S)
    return CertificateLine(whose=whose, ends_s=ends_s, error=error)


def relationship_lines(
    known: tuple[OrganizationRelationship, ...], policy: Policy
) -> tuple[RelationshipLine, ...]:
    """All relationships, each with where its domains lead, by the decision's own rule."""
    return tuple(
        _with_contested(relationship_line(one, policy), one, known, policy)
        for one in (*policy.relationships, *known)
    )


def _with_contested(
    line: RelationshipLine,
    relationship: OrganizationRelationship,
    known: tuple[OrganizationRelationship, ...],
    policy: Policy,
) -> RelationshipLine:
    if not relationship.enabled:
        return line
    stopped: dict[str, str] = {}  # domain → why nobody in it is redirected
    elsewhere: list[str] = []  # decided by a relationship of the configuration
    for domain in relationship.domain_names:
        match relationship_of(domain.lower(), known, policy, None):
            case Pass(reason=reason):
                stopped[domain] = title(reason)
            case claimed if claimed is not relationship:
                elsewhere.append(domain)
    if not (stopped or elsewhere):
        return line
    notes = [line.note] if line.note else []
    for why in dict.fromkeys(stopped.values()):
        domains = [domain for domain, said in stopped.items() if said == why]
        are = "is" if len(domains) == 1 else "are"
        notes.append(f"{_few(domains)} {are} sent to nobody: {why}")
    if elsewhere:
        notes.append(f"the configuration's relationship decides for {_few(elsewhere)}")
    served = len(stopped) + len(elsewhere) < len(relationship.domain_names)
    return replace(
        line,
        eas_host=line.eas_host if served else None,
        contested=tuple(stopped),
        note="; ".join(notes),
    )


def _few(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


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
