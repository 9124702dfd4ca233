"""`eas.explain`: why flows in mitmproxy were redirected or passed, by the configuration at hand."""

from collections.abc import AsyncIterator, Iterable

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http

from eas_redirect.captures.capture import Captured, Seen, captured
from eas_redirect.captures.recorded import RecordedExchange
from eas_redirect.judging.explanation import Explanation, in_lines
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Step
from eas_redirect.proxy import flows
from eas_redirect.view.summary import answer_lines, question_lines, request_lines, told_lines


async def explained(chosen: Iterable[mitmproxy_flow.Flow], judge: Judge) -> AsyncIterator[str]:
    """Several lines a flow: what was asked and answered, what was decided, and each step of it."""
    seen = Seen()
    for flow in chosen:
        if not isinstance(flow, http.HTTPFlow) or not flows.is_exchange(flow):
            yield f"{flow.type} flow {flow.id[:8]}: no ActiveSync"
            continue
        exchange = captured(flow, seen, judge.policy.weak_statuses, servers=judge.policy.servers)
        if exchange.discovery is None:
            first, *others = request_lines(exchange.exchange.request, flow)
        else:
            first, *others = question_lines(flow)
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
    for line in in_lines(explanation):
        yield line


def _decided_then(recorded: RecordedExchange) -> str:
    where = f" → {recorded.location}" if recorded.location else ""
    return f"decided when it came: {recorded.decision} ({recorded.reason}){where}"
