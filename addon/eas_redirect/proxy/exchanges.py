"""The exchanges under way: what was asked, what came of it. The only module that changes an answer.

An exception in here leaves Exchange's answer as it is: whatever changes a flow is assigned once,
last.
"""

import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace

from mitmproxy import http

from eas_redirect.activesync.authorization import Credentials
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import (
    MAX_BODY,
    Answer,
    Evidence,
    may_hold_evidence,
    read_answer,
)
from eas_redirect.judging.judge import Judgement, whereabouts
from eas_redirect.policy.decision import Redirect
from eas_redirect.proxy import flows
from eas_redirect.proxy.connection_logons import ConnectionLogons
from eas_redirect.proxy.failures import stopped
from eas_redirect.proxy.flows import METADATA
from eas_redirect.service.service import Service
from eas_redirect.telemetry.records import exchange_record, fault_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was read of a request when its headers came."""

    request: EASRequest
    credentials: Credentials


class Exchanges:
    """Requests under way and logons of connections, judged and journalled by a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asked: dict[str, Asked] = {}  # by flow id, from request headers to the answer
        self._logons = ConnectionLogons()

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def waits(self) -> int:
        """How many of them hang on purpose."""
        return sum(asked.request.command in ("Ping", "Sync") for asked in self._asked.values())

    def forget_client(self, connection_id: str) -> None:
        self._logons.forget(connection_id)

    def passed_by(self, flow: http.HTTPFlow) -> None:
        """Something else on a connection that has logged on: whoever logs on anew by it is not the
        one that is remembered."""
        if self._logons and flows.header_values(flow.request, b"authorization"):
            self._logons.forget(flow.client_conn.id)

    def begin(self, flow: http.HTTPFlow) -> None:
        """Read an EAS request as soon as its headers are there."""
        if flow.live or flow.is_replay:
            flow.metadata.pop(METADATA, None)  # a replayed capture is asked anew
        self._asked[flow.id] = _ask(flow)

    def may_stream(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        """Whether an answer may pass as it comes, judging by its head. False where it has to wait
        here: its body may be evidence, or its head is already."""
        asked = self._asked.get(flow.id)
        if asked is None:
            return not flows.is_eas(flow)
        headers, status = flows.headers_of(response), response.status_code
        if may_hold_evidence(asked.request, status, headers):
            return False
        head = read_answer(asked.request, status, headers, None, self._weak_statuses)
        return head.evidence is Evidence.NONE or _is_longer_than(response, MAX_BODY)

    def answered(self, flow: http.HTTPFlow) -> Coroutine[None, None, None] | None:
        """Judge an answer, and give it its new form. What is left to be awaited, if anything."""
        if flows.answered_here(flow):
            self.failed(flow)
            return None
        asked = self._asked.pop(flow.id, None)
        if flow.response is None or (asked is None and not flows.is_eas(flow)):
            return None
        try:
            return self._judge(flow, flow.response, asked or _ask(flow))
        except Exception as error:
            self.fault(error)
            return None

    def failed(self, flow: http.HTTPFlow) -> None:
        """No whole answer of Exchange's: the client left, Exchange did, or something in this
        mitmproxy answered in its place. Journalled; what the client gets is not ours."""
        asked = self._asked.pop(flow.id, None)
        if asked is None:
            return
        not_exchanges = stopped(flow) or flows.answered_here(flow)
        status = flow.response.status_code if flow.response and not not_exchanges else 0
        answer = Answer(status_code=status, evidence=Evidence.NONE)
        exchange = self._exchange(flow, asked, answer)
        self._journal(flow, asked, self._service.redirector.unanswered(exchange))

    def _judge(
        self, flow: http.HTTPFlow, response: http.Response, asked: Asked
    ) -> Coroutine[None, None, None] | None:
        answer = self._answer(flow, response, asked)
        exchange = self._exchange(flow, asked, answer)
        connections = (flow.client_conn.id, flow.server_conn.id)
        self._logons.answered(*connections, asked.credentials, answer.status_code)
        redirector = self._service.redirector
        judgement = redirector.at_once(exchange)
        if judgement is None:
            return self._finish_later(flow, asked, redirector.judge(exchange))
        self._finish(flow, asked, judgement)
        return None

    async def _finish_later(
        self, flow: http.HTTPFlow, asked: Asked, judging: Coroutine[None, None, Judgement]
    ) -> None:
        try:
            self._finish(flow, asked, await judging)
        except Exception as error:
            self.fault(error)

    def _answer(self, flow: http.HTTPFlow, response: http.Response, asked: Asked) -> Answer:
        if METADATA in flow.metadata:
            return flows.answer_in_capture(flow, response, asked.request, self._weak_statuses)
        answer = read_answer(
            asked.request,
            response.status_code,
            flows.headers_of(response),
            response.raw_content,
            self._weak_statuses,
        )
        if response.stream and answer.evidence is not Evidence.NONE:
            # Its headers have left already (an option of mitmproxy's streamed it): too late.
            return replace(answer, evidence=Evidence.NONE)
        return answer

    def _exchange(self, flow: http.HTTPFlow, asked: Asked, answer: Answer) -> Exchange:
        connections = (flow.client_conn.id, flow.server_conn.id)
        remembered = self._logons.recall(*connections, asked.credentials)
        return Exchange(
            request=asked.request,
            credentials=asked.credentials,
            logon=flows.logon_of(asked.request, asked.credentials, remembered),
            answer=answer,
            called_host=flows.called_host(flow),
            further_names=flows.further_names(flow),
            client_address=flows.client_address(flow, self._service.trusted_proxies),
        )

    def _finish(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        """Journal and mark, then change the answer: whole, once, last."""
        decided_before = METADATA in flow.metadata
        self._journal(flow, asked, judgement)
        verdict = judgement.verdict
        if not isinstance(verdict, Redirect) or decided_before or flow.response is None:
            return
        host = verdict.location.split("/")[2]
        enforced = judgement.decision == "redirect"
        flow.marked = ":arrow_right:" if enforced else ":eyes:"
        flow.comment = f"{'451' if enforced else 'would be 451'} → {host} ({verdict.reason})"
        if enforced:
            flow.response = flows.redirect_response(verdict.location, flow.response)

    def _journal(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        trusted = self._service.trusted_proxies
        wire = flows.wire_facts(flow, asked.request, asked.credentials, trusted)
        flow.metadata[METADATA] = self._service.exchange(exchange_record(judgement, wire))

    def fault(self, error: Exception) -> None:
        """A fault of ours outside the decision: said, journalled and counted."""
        where = whereabouts(error)
        logger.error(
            "eas-redirect: a fault of ours (%s %s); the answer is Exchange's, unchanged.",
            type(error).__name__,
            where,
        )
        with contextlib.suppress(Exception):
            self._service.record(fault_record(type(error).__name__, where, time.time()))

    @property
    def _weak_statuses(self) -> frozenset[int]:
        return self._service.redirector.policy.weak_statuses


def _ask(flow: http.HTTPFlow) -> Asked:
    return Asked(flows.request_of(flow), flows.credentials_of(flow))


def _is_longer_than(response: http.Response, limit: int) -> bool:
    length = response.headers.get("Content-Length", "")
    return length.isdecimal() and int(length) > limit
