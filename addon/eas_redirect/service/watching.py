"""A running service kept in step with its configuration: looks, prepares aside, adopts at once.

Nothing in flight is disturbed: an exchange keeps the judge that it began with. Whatever cannot
be used changes nothing, and is journalled. Knows no mitmproxy.
"""

import asyncio
import logging
import time
from typing import assert_never

from eas_redirect.configuration.config import ConfigError
from eas_redirect.directory.snapshot import SnapshotError
from eas_redirect.service.reload import Loaded, Reloader, ReloadOutcome, ReloadRefused
from eas_redirect.service.service import Service
from eas_redirect.telemetry.records import config_record

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Watcher:
    """One service and its files."""

    def __init__(self, service: Service, reloader: Reloader) -> None:
        self._service = service
        self._reloader = reloader
        self._said: str | None = None  # why the snapshot's file is not in force
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
        """Read everything anew, changed or not."""
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
            except Exception:  # a fault of ours must not end the watch
                logger.exception("eas-redirect: the configuration could not be looked at")

    async def _take(self, outcome: ReloadOutcome) -> None:
        match outcome:
            case Loaded():
                problems = await self._adopt(outcome)
            case ReloadRefused(problems=problems):
                pass
            case _:
                assert_never(outcome)
        self._tell(tuple(path.name for path in outcome.changed), problems)

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
        newer = await asyncio.to_thread(file.look)
        told = await asyncio.to_thread(self._service.told_by, newer) if newer else None
        if file is not self._service.snapshot:
            return  # another configuration was adopted meanwhile
        if newer is not None and told is not None:
            self._service.adopt_snapshot(newer, told)
        problem, said = file.problem, self._said
        self._said = problem
        if newer is not None or problem != said:
            self._tell((file.path.name,), (problem,) if problem is not None else ())

    async def _adopt(self, loaded: Loaded) -> tuple[str, ...]:
        """The problems that kept it from being adopted."""
        try:
            prepared = await asyncio.to_thread(self._service.prepare, loaded.config)
        except ConfigError as error:
            return error.problems
        except (OSError, SnapshotError) as error:
            return (str(error),)
        if loaded.config.metrics != self._service.config.metrics:
            logger.warning("eas-redirect: metrics.listen counts from the next start on")
        self._service.adopt(prepared)
        return ()
