"""The running parts under one configuration: judge, journal and what listens to records.

Knows no mitmproxy, so that commands and tests can run it too.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from eas_redirect.configuration.config import (
    Config,
    ConfigError,
    cache_settings,
    directory_settings,
    name_remarks,
    policy,
)
from eas_redirect.configuration.sources import set_by_environment
from eas_redirect.directory.adoption import SETTLE_S, SIBLINGS, HeldBack, SnapshotFile
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.open import open_directory, remarks
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Directory, Drift
from eas_redirect.judging.ended_waits import EndedWaits
from eas_redirect.judging.judge import GRACE_S, Judge, whereabouts
from eas_redirect.judging.wave_names import ask_names, doubts, in_doubt
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.reasons import everyday
from eas_redirect.policy.relationship import findings
from eas_redirect.policy.waves import Network
from eas_redirect.telemetry.clients import client_families
from eas_redirect.telemetry.journal import Journals, Redaction
from eas_redirect.telemetry.ledger import Ledger
from eas_redirect.telemetry.record import JSONLine, Record, drift_record, fault_record
from eas_redirect.telemetry.status import ErrorMemory

logger = logging.getLogger(__name__)

NAMES_S = 10.0  # how long a start or a reload waits until the names of waves are told
RETRY_S = 15.0  # until names are asked again that could not be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A configuration with what it needs, ready to be adopted."""

    config: Config
    policy: Policy
    directory: CachedDirectory
    snapshot: SnapshotFile | None
    journal: Journals
    ended_waits: EndedWaits


class Service:
    """Everything that lives as long as a configuration. A new one is adopted whole or not at all.

    Making one raises ConfigError for a journal that cannot be written and for a name of
    `redirect.except` that tells nobody or several, SnapshotError for a snapshot that cannot be
    used; a directory that is down raises nothing, and neither does a snapshot that is still being
    written or not whole: until it is, nobody is looked up.
    """

    def __init__(self, config: Config, *, journalled: bool = True) -> None:
        """Without `journalled` it only looks at captures and writes nothing."""
        self.config = config
        self._journalled = journalled
        self.sinks: list[Callable[[Record], None]] = []  # told of every record, users in clear
        self.ledger = Ledger(time.time)
        self.refusals = ErrorMemory()  # of the configuration's file
        self._journal = self._open_journal(config)
        # Before anybody calls there is time to wait for a file that has just been written.
        directory, self.snapshot = self._open_directory(config, patience_s=SETTLE_S)
        try:
            made = _told(policy(config), directory)
            _refuse_doubts(made)
        except ConfigError:
            directory.close()
            self._journal.close()
            raise
        self.judge = _judge_of(config, made, directory)
        self.ended_waits = _ended_waits(config, self._journal)
        self._started = False
        self._retired: list[CachedDirectory] = []  # still asked by exchanges of before
        self._names: asyncio.Task[None] | None = None
        self._doubts: tuple[str, ...] = ()
        self._say_names(config)
        self._say_doubts()

    def prepare(self, config: Config) -> Prepared:
        """Make what another configuration needs. This may take seconds (a snapshot), so keep it
        off the event loop. It raises what creating a service raises, and then nothing has
        changed."""
        made = policy(config)
        self._say_names(config)
        made = replace(made, wave=made.wave.after(self.judge.policy.wave))
        journal, directory, snapshot = self._journal, self.judge.directory, self.snapshot
        ended_waits = self.ended_waits
        if not _same_directory(config, self.config):
            directory, snapshot = self._open_directory(config)
        if config.journal != self.config.journal:
            try:
                journal = self._open_journal(config)
            except ConfigError:
                if directory is not self.judge.directory:
                    directory.close()
                raise
        if (config.journal, config.mode) != (self.config.journal, self.config.mode):
            ended_waits = _ended_waits(config, journal)
        return Prepared(
            config=config,
            policy=_told(made, directory),
            directory=directory,
            snapshot=snapshot,
            journal=journal,
            ended_waits=ended_waits,
        )

    def adopt(self, prepared: Prepared) -> None:
        """Switch to another configuration at once. What it does not change (cache, journal)
        stays; exchanges under way keep what they began with."""
        old, old_journal = self.judge, self._journal
        self.config, self._journal = prepared.config, prepared.journal
        self.ended_waits = prepared.ended_waits
        self.snapshot = prepared.snapshot
        self.judge = _judge_of(prepared.config, prepared.policy, prepared.directory)
        if old_journal is not prepared.journal:
            old_journal.close(wait=False)  # phones do not wait for a disk
        if old.directory is not prepared.directory:
            self._take_over(old, prepared.directory)
        self._say_doubts()
        self._ask_names_again()

    def stop_redirecting(self) -> None:
        """Switch to observe mode with everything else unchanged: for a configuration that may
        hold somebody back and cannot be used. The next good one decides again. It reads no file:
        one that is gone may be why."""
        self.config = self.config.model_copy(update={"mode": "observe"})
        self.judge = replace(self.judge, mode="observe")
        self.ended_waits = _ended_waits(self.config, self._journal)

    def told_by(self, snapshot: Snapshot) -> Policy:
        """The policy, with its names looked up in another version of the snapshot. Blocks."""
        return _told(self.judge.policy, snapshot)

    def adopt_snapshot(self, snapshot: Snapshot, told: Policy) -> None:
        """Switch to another version of the snapshot, with the result of `told_by`."""
        self._remark(snapshot, self.config)
        old, new = self.judge, self._cached(snapshot, self.config)
        self.judge = replace(old, directory=new, policy=told)
        self._take_over(old, new)
        self._say_doubts()
        self._ask_names_again()

    def _take_over(self, old: Judge, new: CachedDirectory) -> None:
        """Look-ups under way end with the directory that they asked, which none outlasts."""
        old.directory.retire()
        self._retired.append(old.directory)
        with contextlib.suppress(RuntimeError):  # no event loop: it is closed with the service
            loop = asyncio.get_running_loop()
            loop.call_later(old.lookup_timeout_s + 2 * GRACE_S, self._end, old.directory)
        if self._started:
            new.start()

    def _end(self, retired: CachedDirectory) -> None:
        if retired in self._retired:
            self._retired.remove(retired)
            retired.close()

    def start(self) -> None:
        """Begin what needs the event loop: read the relationships and look up the names of waves
        in the background."""
        self._started = True
        client_families()  # reads a file once: later no descriptor may be left for it
        self.judge.directory.start()
        self._ask_names_again()

    @property
    def meant(self) -> str:
        """Who is redirected, in words: `enforce for 3 of 40 users`."""
        return f"{self.config.mode} for {self.judge.policy.wave.meant}"

    @property
    def redaction(self) -> Redaction:
        """How the journal names users; so must everything else that shows them."""
        return self._journal.redaction

    @property
    def journal_lost(self) -> int:
        """Lines that could not be written."""
        return self._journal.lost

    @property
    def trusted_proxies(self) -> tuple[Network, ...]:
        return self.config.exchange.trusted_proxies

    def exchange(self, record: Record) -> JSONLine:
        """Take in an exchange: ledger, journal, sinks. Returns its journal line."""
        changes = self.ledger.observe(record)
        line = self._journal.line(record)
        for change in changes:  # first, so that the exchange's own line ends what it caused
            self.record(change)
        self._pass_on(record, line)
        return line

    def settle(self) -> None:
        """Journal the devices that have become quiet by mere time."""
        for change in self.ledger.settle():
            self.record(change)

    def record(self, record: Record) -> None:
        """Journal a record and tell the sinks."""
        self._pass_on(record, self._journal.line(record))

    def fault(self, error: Exception, now_s: float) -> None:
        """A bug, while Exchange's answer goes through: logged, journalled and counted."""
        where = whereabouts(error)
        logger.error(
            "eas-redirect: an internal error (%s %s); the device got Exchange's own answer.",
            type(error).__name__,
            where,
        )
        with contextlib.suppress(Exception):
            self.record(fault_record(type(error).__name__, where, now_s))

    def _pass_on(self, record: Record, line: JSONLine) -> None:
        if self.config.journal.exchanges == "all" or is_decision(record):
            self._journal.write(record, line)
        for sink in self.sinks:
            sink(record)

    def flush(self) -> bool:
        """Wait a short while until the journal is written; whether it is."""
        return self._journal.flush()

    def reopen(self) -> None:
        """Open the journal's file again, after a rotation."""
        self._journal.reopen()

    def summary(self) -> str:
        """One line for the log at the start."""
        config = self.config
        where = config.directory.snapshot or ", ".join(config.directory.servers)
        keys = set_by_environment()
        said = f"; set by the environment: {', '.join(keys)}" if keys else ""
        journal = f"journal {config.journal.path}" if self._journalled else "nothing is journalled"
        return f"{self.meant}; directory {where}, {journal}{said}"

    def close(self, *, wait: bool = True) -> None:
        """Without `wait` the journal writes what is left in the background."""
        if self._names is not None and not self._names.get_loop().is_closed():
            self._names.cancel()
        for directory in (self.judge.directory, *self._retired):
            directory.close()
        self._retired.clear()
        self._journal.close(wait=wait)

    def _open_directory(
        self, config: Config, *, patience_s: float = 0.0
    ) -> tuple[CachedDirectory, SnapshotFile | None]:
        if config.directory.snapshot is None:
            servers = open_directory(directory_settings(config), None)
            self._remark(servers, config)
            return self._cached(servers, config), None
        siblings = os.environ.get(SIBLINGS)
        file = SnapshotFile(
            config.directory.snapshot,
            default_domain=config.exchange.default_domain,
            no_mailboxes_here=config.directory.no_mailboxes_here,
            account_domains=directory_settings(config).account_domains,
            memory=Path(siblings) if siblings else None,
        )
        opened = file.open(patience_s=patience_s)
        if opened is None:
            logger.warning("eas-redirect: until then nobody is looked up: %s", file.problem)
            return self._cached(HeldBack(lambda: file.problem), config), file
        self._remark(opened, config)
        return self._cached(opened, config), file

    def _open_journal(self, config: Config) -> Journals:
        return _open_journal(config) if self._journalled else Journals(None, None, Redaction())

    def _remark(self, directory: Directory, config: Config) -> None:
        for remark in remarks(directory, directory_settings(config)):
            logger.warning("eas-redirect: %s", remark)

    def _cached(self, directory: Directory, config: Config) -> CachedDirectory:
        return CachedDirectory(
            directory,
            cache_settings(config),
            on_drift=self._drifted,
            findings=lambda known: findings(known, self.judge.policy),
        )

    # -- the names of waves ----------------------------------------------------------------------

    def _ask_names_again(self) -> None:
        if not self._started:
            return
        if self._names is not None:
            self._names.cancel()
        self._names = asyncio.get_running_loop().create_task(self._keep_asking_names())

    async def _keep_asking_names(self) -> None:
        """At once if some could not be asked, then with each renewal of the relationships;
        sooner while some cannot be asked."""
        retry_s = 0.0
        while True:
            wave = self.judge.policy.wave
            late = any(t.users is not None and t.users.unasked for t in (wave.only, wave.exclude))
            life_s = self.config.cache.relationships_s
            await asyncio.sleep(min(retry_s, life_s) if late else life_s)
            retry_s = RETRY_S
            try:
                ask = self.judge.directory.meant_by
                told = await asyncio.to_thread(ask_names, wave, ask, life_s)
            except Exception:  # a bug must not end it
                logger.exception("eas-redirect: the names of waves could not be asked for")
                continue
            made = replace(self.judge.policy, wave=told)
            before = self.meant
            self.judge = replace(self.judge, policy=made)
            if self.meant != before:
                logger.info("eas-redirect: %s", self.meant)
            self._say_doubts()

    def _say_names(self, config: Config) -> None:
        """What is odd about the names as they are written, whatever the directory knows of them."""
        for key, found in name_remarks(config).items():
            for remark in found:
                logger.warning("eas-redirect: %s: %s", key, remark)

    def _say_doubts(self) -> None:
        """New doubts, once."""
        told = doubts(self.judge.policy.wave)
        for doubt in told:
            if doubt not in self._doubts:
                logger.warning("eas-redirect: %s", doubt)
        self._doubts = told

    def _drifted(self, drifts: tuple[Drift, ...]) -> None:
        for drift in drifts:
            record = drift_record(drift, time.time())
            self.record(record)
            logger.log(
                logging.WARNING if record.level == "warning" else logging.INFO,
                "eas-redirect: %s",
                drift.message,
            )


def _told(made: Policy, directory: CachedDirectory | Snapshot) -> Policy:
    """The policy, with the names of its waves looked up in the directory. Blocks."""
    if made.wave.only.users is None and made.wave.exclude.users is None:
        return made
    return replace(made, wave=ask_names(made.wave, directory.meant_by, NAMES_S))


def _refuse_doubts(made: Policy) -> None:
    """A brake that may hold unknown people. Only at a start: a name that becomes doubtful later
    keeps back everybody whom it may mean."""
    users = made.wave.exclude.users
    if users is not None and (users.nobody or users.several):
        raise ConfigError(in_doubt("except", replace(users, unasked=()), starting=True))


def _open_journal(config: Config) -> Journals:
    settings = config.journal
    iis_path = None if settings.iis_path is None else str(settings.iis_path)
    redaction = redaction_of(config)
    try:
        return Journals(settings.path, iis_path, redaction)
    except OSError as error:
        key = "path" if error.filename == settings.path else "iis_path"
        advice = f"{error.filename} cannot be written: {error.strerror}"
        raise ConfigError((f"journal.{key}: {advice}",)) from error


def _ended_waits(config: Config, journal: Journals) -> EndedWaits:
    """They are named with the journal's key."""
    path = config.journal.path if config.mode == "enforce" else None
    return EndedWaits(path, journal.redaction.key)


def redaction_of(config: Config) -> Redaction:
    """How the journal of this configuration names users and devices. Raises ConfigError for a key
    that cannot be read any more."""
    file = config.journal.hash_key_file
    try:
        key = file.read_bytes().strip() if file else b""
    except OSError as error:
        advice = f"{file} cannot be read: {error.strerror}"
        raise ConfigError((f"journal.hash_key_file: {advice}",)) from error
    return Redaction(users=config.journal.users, key=key)


def _judge_of(config: Config, made: Policy, directory: CachedDirectory) -> Judge:
    return Judge(
        policy=made,
        directory=directory,
        mode=config.mode,
        lookup_timeout_s=config.directory.lookup_timeout_s,
    )


def _same_directory(one: Config, other: Config) -> bool:
    return (one.directory, one.cache, one.exchange.default_domain) == (
        other.directory,
        other.cache,
        other.exchange.default_domain,
    )


def is_decision(record: Record) -> bool:
    """Whether there was something to decide: evidence, a redirect by Exchange itself, a bug."""
    if record.action not in ("eas.exchange", "eas.autodiscover"):
        return True
    if record.decision in ("redirect", "would_redirect"):
        return True
    return not everyday(record.reason or "") or record.error_type is not None
