"""Keeps a running service in step with its configuration: notices changes, prepares, adopts at
once.

Nothing in flight is disturbed: an exchange keeps the judge that it began with. Whatever cannot be
used changes nothing, and is journalled. Knows no mitmproxy.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import assert_never

from eas_redirect.configuration.config import (
    Config,
    ConfigError,
    brake,
    load_config,
    users_files,
)
from eas_redirect.configuration.sources import ENVIRONMENT_ALONE, Override
from eas_redirect.directory.adoption import SETTLE_S, SnapshotFile
from eas_redirect.directory.snapshot import Snapshot, SnapshotError
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.waves import Wave
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import MAX_PROBLEMS, config_record

logger = logging.getLogger(__name__)

# The configuration and the files that it names, watched: what a change leads to, as values.
#
# Knows no event loop and no mitmproxy: whoever runs it asks `look` every second or so, and adopts
# what it gives. A file that cannot be used changes nothing.

# Modification and change times in ns, size, inode. A copy may keep the time and the size of what it
# replaces (`cp -p`), never the time of the change.
type Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A good configuration to adopt."""

    config: Config
    changed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused:
    """Something must be corrected; the last good configuration stays in force."""

    problems: tuple[str, ...]
    changed: tuple[Path, ...] = ()


type ReloadOutcome = Loaded | ReloadRefused


class Reloader:
    """Looks after one configuration file and the files of users that it names. The snapshot is
    followed by itself (`directory/adoption.py`).

    A change counts once the files have been the same for SETTLE_S and two looks, so that a file
    that is still being written is left alone: its first half may well be a good configuration,
    without the brakes of the second. That goes for a file of users, too, that is named only now.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        overrides: Mapping[str, Override],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`config` is in force; it was loaded from `path` with `overrides`."""
        self._clock = clock
        self._path = path
        self._overrides = dict(overrides)
        self._config = config
        self._problems: tuple[str, ...] | None = None
        self._asked: Signature | None = None  # of the file when it was asked whom it names
        self._named: tuple[Path, ...] = ()
        self._read = self._seen = self._signatures()
        self._still_since = clock()

    def look(self) -> ReloadOutcome | None:
        """The result of a change; None if there is nothing new to say."""
        settled = self._signatures()
        self._seen, before = settled, self._seen
        if settled != before:
            self._still_since = self._clock()
            return None
        if settled == self._read and self._problems is None:
            return None
        if settled != self._read and self._clock() - self._still_since < SETTLE_S:
            return None
        known = self._problems
        outcome = self._load(settled)
        if isinstance(outcome, ReloadRefused) and outcome.problems == known and not outcome.changed:
            return None
        return outcome

    def reload(self) -> ReloadOutcome:
        """Read everything now, changed or not, because somebody asked for it."""
        self._seen = self._signatures()
        return self._load(self._seen)

    def brake(self, in_force: Wave) -> str | None:
        """Why nobody may be redirected while the file is refused, as a clause. A missing file
        holds no brake."""
        if self._path != ENVIRONMENT_ALONE and not self._path.exists():
            return None
        return brake(self._path, in_force, self._overrides)

    def _load(self, signatures: Mapping[Path, Signature | None]) -> ReloadOutcome:
        changed = tuple(p for p, s in signatures.items() if self._read.get(p) != s)
        self._read = dict(signatures)
        try:
            config = load_config(self._path, self._overrides)
        except ConfigError as error:
            self._problems = error.problems
            return ReloadRefused(problems=error.problems, changed=changed)
        except Exception as error:  # a bug must not hide a brake
            problems = (_internal(error, "keeps the file from being read"),)
            if problems != self._problems:  # it is read again until it can be
                logger.exception("eas-redirect: %s", problems[0])
            self._problems = problems
            return ReloadRefused(problems=problems, changed=changed)
        self._config, self._problems = config, None
        # The new configuration may name other files; those just read keep the state they had then.
        self._read = {p: signatures.get(p, s) for p, s in self._signatures().items()}
        self._seen = self._read
        return Loaded(config=config, changed=changed)

    def _signatures(self) -> dict[Path, Signature | None]:
        """Of the files in force, and of those that the file names as it is now."""
        found = {path: _signature(path) for path in watched_files(self._path, self._config)}
        if found[self._path] != self._asked:
            self._asked = found[self._path]
            self._named = users_files(self._path, self._overrides)
        return {**{path: _signature(path) for path in self._named}, **found}


def watched_files(path: Path, config: Config) -> tuple[Path, ...]:
    """The files whose changes matter. Passwords are read at each connect and need no watching."""
    tables = (config.redirect.only, config.redirect.except_)
    named = [table.users_file for table in tables if table is not None]
    return (path, *(file for file in named if file is not None))


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


LOOK_EVERY_S = 1.0

# What a process has begun with and keeps. Certificates are read again (SIGHUP).
_FROM_THE_START = (
    "proxy.upstream",
    "proxy.listen",
    "proxy.upstream_tls_min",
    "proxy.workers",
    "proxy.engine",
    "metrics.listen",
    "judge.listen",
)


class Watcher:
    """One service and its files."""

    def __init__(self, service: Service, reloader: Reloader) -> None:
        self._service = service
        self._reloader = reloader
        self._said: str | None = None  # why the snapshot's file is not in force
        self._stopped: str | None = None  # why nobody is redirected while the file is refused
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Needs a running event loop."""
        self._task = asyncio.ensure_future(self._keep_looking())

    def close(self) -> None:
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()

    async def look(self) -> None:
        """Adopt what has changed, if anything has."""
        async with self._one_at_a_time:
            outcome = await asyncio.to_thread(self._reloader.look)
            if outcome is not None:
                await self._take(outcome)
            await self._follow_snapshot()

    async def reload(self) -> None:
        """Read everything again, changed or not."""
        async with self._one_at_a_time:
            await self._take(await asyncio.to_thread(self._reloader.reload))
            await self._follow_snapshot()

    async def tick(self) -> None:
        """What time alone brings: devices that fell silent, files that changed."""
        self._service.settle()
        await self.look()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.tick()
            except Exception:  # a bug must not end the watch
                logger.exception("eas-redirect: the configuration could not be looked at")

    async def _take(self, outcome: ReloadOutcome) -> None:
        match outcome:
            case Loaded():
                problems = await self._adopt(outcome)
            case ReloadRefused(problems=problems):
                pass
            case _:
                assert_never(outcome)
        if problems and self._service.config.mode == "enforce":
            await self._heed_brake()
        if not problems:
            self._stopped = None
        elif self._stopped is not None:
            problems = (self._stopped, *problems)
        # A snapshot that is read well later says nothing of the configuration's file.
        self._service.refusals.see("; ".join(problems)[:MAX_PROBLEMS] or None, time.time())
        self._tell(tuple(path.name for path in outcome.changed), problems)

    async def _heed_brake(self) -> None:
        """Somebody who writes `mode = "observe"`, or takes users out of the wave, must not see
        them redirected because of an error in another line. Exchange's own answer harms nobody
        meanwhile."""
        try:
            why = await asyncio.to_thread(self._reloader.brake, self._service.judge.policy.wave)
        except Exception as error:  # a bug must not hide a brake
            why = _internal(error, "hides what it says")
            logger.exception("eas-redirect: %s", why)
        if why is not None:
            self._service.stop_redirecting()
            self._stopped = f"nobody is redirected until the file can be used: {why}"

    def _tell(self, changed: tuple[str, ...], problems: tuple[str, ...]) -> None:
        record = config_record(
            changed, problems, self._service.config.mode, time.time(), self._service.meant
        )
        self._service.record(record)
        for problem in problems:
            logger.error("eas-redirect: %s", problem)
        logger.log(
            logging.WARNING if problems else logging.INFO, "eas-redirect: %s", record.message
        )

    async def _follow_snapshot(self) -> None:
        """Adopt a newer version of the snapshot, or say once why the file is not in force."""
        file = self._service.snapshot
        if file is None:
            return
        newer = await asyncio.to_thread(self._newer, file)
        if file is not self._service.snapshot:
            return  # another configuration was adopted meanwhile
        if newer is not None:
            self._service.adopt_snapshot(*newer)
        problem, said = file.problem, self._said
        self._said = problem
        if newer is not None or problem != said:
            self._tell((file.path.name,), (problem,) if problem is not None else ())

    def _newer(self, file: SnapshotFile) -> tuple[Snapshot, Policy] | None:
        """A newer version, and the policy with its names looked up in it. Blocks."""
        snapshot = file.look()
        return None if snapshot is None else (snapshot, self._service.told_by(snapshot))

    async def _adopt(self, loaded: Loaded) -> tuple[str, ...]:
        """Returns the problems that kept it from being adopted."""
        try:
            prepared = await asyncio.to_thread(self._service.prepare, loaded.config)
        except ConfigError as error:
            return error.problems
        except (OSError, SnapshotError) as error:
            return (str(error),)
        except Exception as error:  # a bug must not hide a brake
            problem = _internal(error, "keeps the configuration from being adopted")
            logger.exception("eas-redirect: %s", problem)
            return (problem,)
        if waiting := _for_the_next_start(self._service.config, loaded.config):
            logger.warning("eas-redirect: from the next start on: %s", ", ".join(waiting))
        self._service.adopt(prepared)
        return ()


def _internal(error: Exception, harm: str) -> str:
    """A bug as a clause."""
    return f"an internal error ({type(error).__name__}) {harm}; see the log"


def _for_the_next_start(old: Config, new: Config) -> list[str]:
    """The changed keys that need a restart."""
    return [key for key in _FROM_THE_START if attrgetter(key)(old) != attrgetter(key)(new)]
