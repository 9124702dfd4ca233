"""The configuration and the files that it names, watched: what a change leads to, as values.

Knows no event loop and no mitmproxy: whoever runs it asks `look` every second or so, and adopts
what it gives. A file that cannot be used changes nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.configuration.config import Config, ConfigError, load_config, policy
from eas_redirect.configuration.sources import Override
from eas_redirect.directory.adoption import SETTLE_S

type Signature = tuple[int, int, int]  # modification time in ns, size, inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A good configuration to adopt."""

    config: Config
    changed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused:
    """Something to mend; the last good configuration goes on."""

    problems: tuple[str, ...]
    changed: tuple[Path, ...] = ()


type ReloadOutcome = Loaded | ReloadRefused


class Reloader:
    """Looks after one configuration file and the files of users that it names. The snapshot is
    followed by itself (`directory/adoption.py`).

    A change counts once the files have been the same for SETTLE_S and two looks, so that a file
    that is still being written is left alone: its first half may well be a good configuration,
    without the brakes of the second.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        overrides: Mapping[str, Override],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`config` is what was loaded from `path` with `overrides` and is in force."""
        self._clock = clock
        self._path = path
        self._overrides = dict(overrides)
        self._config = config
        self._problems: tuple[str, ...] | None = None
        self._read = self._seen = self._signatures()
        self._still_since = clock()

    def look(self) -> ReloadOutcome | None:
        """What a change led to; None when there is nothing new to say."""
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

    def _load(self, signatures: Mapping[Path, Signature | None]) -> ReloadOutcome:
        changed = tuple(p for p, s in signatures.items() if self._read.get(p) != s)
        self._read = dict(signatures)
        try:
            config = load_config(self._path, self._overrides)
            policy(config)  # reads the files of users, too
        except ConfigError as error:
            self._problems = error.problems
            return ReloadRefused(problems=error.problems, changed=changed)
        self._config, self._problems = config, None
        # The new configuration may name other files; those just read keep the state they had then.
        self._read = {p: signatures.get(p, s) for p, s in self._signatures().items()}
        self._seen = self._read
        return Loaded(config=config, changed=changed)

    def _signatures(self) -> dict[Path, Signature | None]:
        return {path: _signature(path) for path in watched(self._path, self._config)}


def watched(path: Path, config: Config) -> tuple[Path, ...]:
    """The files whose change matters. Passwords are read at each connect and need no watch."""
    tables = (config.redirect.only, config.redirect.except_)
    named = [table.users_file for table in tables if table is not None]
    return (path, *(file for file in named if file is not None))


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
