"""The commands that the addon gives to mitmproxy's console: `eas.cache.clear`, `eas.reload`,
`eas.lookup`, `eas.explain`, `eas.diff`. They report in the event log."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Protocol

from mitmproxy import command, flow, http

from eas_redirect.captures.capture import Captured, Seen, captured
from eas_redirect.captures.recorded import RecordedExchange
from eas_redirect.judging.explanation import (
    AskedDevice,
    Explanation,
    explain_user,
    explanation_lines,
)
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Step
from eas_redirect.proxy import flows
from eas_redirect.service.service import Service
from eas_redirect.service.watching import Watcher
from eas_redirect.view.contentview import differences
from eas_redirect.view.summary import answer_lines, question_lines, request_lines, told_lines

# `eas.explain`: why flows in mitmproxy were redirected or passed, by the configuration at hand.


async def explained(chosen: Iterable[flow.Flow], judge: Judge) -> AsyncIterator[str]:
    """Several lines per flow: what was asked and answered, what was decided, and each step of
    it."""
    seen = Seen()
    for shown in chosen:
        if not isinstance(shown, http.HTTPFlow) or not flows.is_exchange(shown):
            yield f"{shown.type} flow {shown.id[:8]}: no ActiveSync"
            continue
        exchange = captured(shown, seen, judge.policy.weak_statuses, servers=judge.policy.servers)
        if exchange.discovery is None:
            first, *others = request_lines(exchange.exchange.request, shown)
        else:
            first, *others = question_lines(shown)
        yield first
        for line in others:
            yield f"  {line}"
        async for line in _lines(exchange, judge):
            yield f"  {line}"


async def _lines(found: Captured, judge: Judge) -> AsyncIterator[str]:
    if not found.answered:
        yield f"no answer: {found.error or 'not yet'}"
        return
    if found.discovery is None:
        for line in answer_lines(found.exchange.request, found.exchange.answer):
            yield line
    else:
        for line in told_lines(found.exchange.answer.status_code, found.discovery.said):
            yield line
    if found.recorded is not None and found.recorded.decision is not None:
        yield _decided_then(found.recorded)
    if found.discovery is not None and judge.policy.discovery.phones == "off":
        yield "→ passes: autodiscover.phones is off"
        return
    if found.foreign:
        yield "→ no verdict: exchange.host_names and proxy.upstream do not name this server"
        return
    if found.replaced:
        yield "→ no verdict: what was asked, or what Exchange had said, is not in the capture"
        return
    steps: list[Step] = []
    judgement = await found.judged_by(judge, steps)
    if found.exchange.logon is None:
        yield f"→ {judgement.decision} ({judgement.verdict.reason}): {judgement.verdict.detail}"
        return
    explanation = Explanation(logon=found.exchange.logon, judgement=judgement, steps=tuple(steps))
    for line in explanation_lines(explanation):
        yield line


def _decided_then(recorded: RecordedExchange) -> str:
    where = f" → {recorded.location}" if recorded.location else ""
    return f"decided when it came: {recorded.decision} ({recorded.reason}){where}"


logger = logging.getLogger(__name__)


class Running(Protocol):
    """What the commands work on; either is None before the start and after a failed one."""

    service: Service | None
    watcher: Watcher | None


class ConsoleCommands:
    """Part of the addon, loaded and unloaded with it."""

    name = "eas-commands"

    def __init__(self, running: Running) -> None:
        self._running = running
        self._tasks: set[asyncio.Task[None]] = set()

    @command.command("eas.cache.clear")
    def cache_clear(self) -> None:
        """Forget every user that the directory was asked for."""
        if self._running.service is not None:
            self._running.service.judge.directory.clear()
            logger.info("eas-redirect: the cache is empty")

    @command.command("eas.reload")
    def reload(self) -> None:
        """Read the configuration and the files that it names again."""
        if self._running.watcher is not None:
            self._later(self._running.watcher.reload())

    @command.command("eas.lookup")
    def lookup(self, user: str) -> None:
        """Log each step from a user's logon to the location."""
        if self._running.service is not None:
            self._later(_explain(self._running.service.judge, user))

    @command.command("eas.explain")
    def explain(self, flows: Sequence[flow.Flow]) -> None:
        """Log why each flow was redirected or passed, step by step."""
        if self._running.service is not None:
            self._later(_explain_flows(self._running.service.judge, flows))

    @command.command("eas.diff")
    def diff(self, flows: Sequence[flow.Flow]) -> None:
        """Log in what two flows differ: the requests, then the answers, as the view shows them."""
        if len(flows) != 2:
            logger.error("eas-redirect: eas.diff compares two flows, and %d were named", len(flows))
            return
        lines = list(differences(*flows))
        logger.info("eas-redirect: %s", "\n".join(lines) or "the two flows say the same")

    def _later(self, work: Coroutine[None, None, None]) -> None:
        """Commands are not awaited; a task that nobody holds could vanish half-way."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _explain(judge: Judge, user: str) -> None:
    explanation = await explain_user(judge, user, AskedDevice())
    lines = explanation_lines(explanation) if explanation else ("This is no logon.",)
    logger.info("eas-redirect: %s", "\n".join(lines))


async def _explain_flows(judge: Judge, flows: Sequence[flow.Flow]) -> None:
    lines = [line async for line in explained(flows, judge)]
    logger.info("eas-redirect: %s", "\n".join(lines) or "no flows were named")
