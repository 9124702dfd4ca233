"""The exchanges under way: what was asked, what came of it. The only module that changes an answer.

An exception here leaves Exchange's answer as it is: whatever changes a flow is assigned once,
before anything is written about it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace

from mitmproxy import http

from eas_redirect.activesync.authorization import Credentials, Identity, identify
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import (
    MAX_BODY,
    Answer,
    AnswerHead,
    Evidence,
    read_body,
    read_head,
)
from eas_redirect.activesync.wait import WaitKind, may_wait
from eas_redirect.judging.callers import ConnectionLogons, DeviceNames
from eas_redirect.judging.challenges import Challenges, shared_folder
from eas_redirect.judging.early_look_ups import EarlyLookUp, EarlyLookUps, SentUp
from eas_redirect.judging.ended_waits import EndedWaits
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.judging.wait_watch import Wait, WaitOutcome
from eas_redirect.policy.decision import Ask, Redirect
from eas_redirect.proxy import flows, open_waits
from eas_redirect.proxy.discoveries import Discoveries
from eas_redirect.proxy.failures import stopped
from eas_redirect.proxy.flows import METADATA, WAIT_ENDED
from eas_redirect.proxy.open_waits import KeptBodies, SyncBody
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import (
    WireFacts,
    exchange_record,
    wait_record,
)

logger = logging.getLogger(__name__)

WAITING = ("Ping", "Sync")  # commands that may hang on purpose
AT_ONCE = 250  # open waits that are looked at without a pause
MAX_FOREIGN = 16  # how many foreign servers are reported
# For a waiting request: judged like weak evidence, which proves less than any answer.
_NO_ANSWER_YET = Answer(status_code=0, evidence=Evidence.WEAK)

type Fields = tuple[tuple[bytes, bytes], ...]
type Look = Callable[[http.HTTPFlow], Awaitable[None]]


@dataclass(slots=True)
class Asked:
    """What was read of a request when its headers came, and of its answer's head when that did."""

    request: EASRequest
    credentials: Credentials
    ours: bool  # the administrator is responsible for the server
    fields: Fields  # of the request, as it came
    head: tuple[Fields, AnswerHead] | None = None  # of the answer: as it came, and read
    early: EarlyLookUp | None = None

    def head_of(self, response: http.Response) -> AnswerHead:
        """Read once, unless somebody has changed it since."""
        fields, status_code = response.headers.fields, response.status_code
        if self.head is not None and self.head[0] is fields:
            head = self.head[1]
            if head.status_code == status_code:
                return head
        head = read_head(self.request, status_code, flows.headers_of(response))
        self.head = fields, head
        return head


@dataclass(slots=True)
class Waiting:
    """A request that may wait on purpose. `body`: of a Sync that is streamed. `wait`: once it is
    known that it does, and for whom; `outcome`: once it is being ended."""

    flow: http.HTTPFlow
    asked: Asked
    kind: WaitKind
    body: SyncBody | None = None
    wait: Wait | None = None
    outcome: WaitOutcome | None = None


class Exchanges:
    """Requests under way and logons of connections, judged and journalled by a service."""

    def __init__(self, service: Service, look: Look) -> None:
        """`look`: at a flow of a capture, which is judged for the eye alone."""
        self._service = service
        self._look_at = look
        self._asked: dict[str, Asked] = {}  # by flow id, from request headers to the answer
        self._waiting: dict[str, Waiting] = {}  # of these, by the same ids
        self._kept = KeptBodies()
        self._logons = ConnectionLogons()
        self._foreign: set[str] = set()  # foreign servers that were reported
        pool_size = lambda: service.config.directory.pool_size  # noqa: E731 - as it is configured
        self._early = EarlyLookUps(lambda: service.judge, pool_size)
        self.challenges = Challenges(shared_folder())
        self.device_names = DeviceNames()
        self.discoveries = Discoveries(service, self.device_names)

    def __len__(self) -> int:
        return len(self._asked) + len(self.discoveries)

    @property
    def waits(self) -> int:
        """How many of them hang on purpose."""
        return sum(asked.request.command in WAITING for asked in self._asked.values())

    def forget_client(self, connection_id: str) -> None:
        self._logons.forget(connection_id)

    def passed_by(self, flow: http.HTTPFlow) -> None:
        """Something else on a connection: whoever logs on by it is not the one that is remembered,
        and what follows on the connection may be about that one."""
        if flows.field_values(flow.request, b"authorization"):
            self._logons.somebody(flow.client_conn.id)

    def begin(self, flow: http.HTTPFlow) -> SyncBody | None:
        """Read an EAS request as soon as its headers are there. What has to see its body pass."""
        flow.metadata.pop(METADATA, None)  # a replayed capture is asked again
        asked = self._asked[flow.id] = self._read(flow)
        flows.mark_command(flow, asked.request)
        if asked.ours and asked.request.command not in WAITING:
            asked.early = self._early.begin(flow.id, lambda: self._sent_up(flow, asked))
        ended = self._service.config.redirect.end_waits
        kind = None if ended == "off" or not asked.ours else may_wait(asked.request)
        if kind is None or (kind == "sync" and ended != "ping_and_sync"):
            return None
        body = SyncBody(self._kept) if kind == "sync" else None
        self._waiting[flow.id] = Waiting(flow, asked, kind, body)
        return body

    def has_begun(self, flow: http.HTTPFlow) -> bool:
        """Whether the request of this answer was read as one of ActiveSync."""
        return flow.id in self._asked

    def _over(self, flow: http.HTTPFlow) -> tuple[Asked | None, WaitOutcome | None]:
        """What was read of an exchange that ends now, and how we ended its wait, if we did."""
        self._early.end(flow.id)
        waiting = self._waiting.pop(flow.id, None)
        if waiting is not None and waiting.body is not None:
            waiting.body.drop()
        return self._asked.pop(flow.id, None), waiting.outcome if waiting else None

    def may_stream(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        """Whether an answer may pass as it comes, judging by its head. False where it has to wait
        here: its body may be evidence, or its head is already."""
        asked = self._asked.get(flow.id)
        if asked is None:
            return not flows.is_eas(flow)
        if not asked.ours:
            return True
        head = asked.head_of(response)
        if head.may_hold_evidence:
            return False
        if head.status_code == 200:
            return True
        said = read_body(head, None, self._service.judge.policy.weak_statuses)
        return said.evidence is Evidence.NONE or _is_longer_than(response, MAX_BODY)

    def answered(self, flow: http.HTTPFlow) -> Coroutine[None, None, None] | None:
        """Judge an answer, and give it its new form. What is left to be awaited, if anything."""
        if flows.answered_here(flow):
            self.failed(flow)
            return None
        asked, ended = self._over(flow)
        if asked is not None and ended is not None:
            self._journal_wait(flow, asked, ended)
            return None
        if asked is None and (judging := self.discoveries.answered(flow)) is not None:
            return self._guarded(judging)
        if flow.response is None:
            return None
        if asked is None and flows.is_captured(flow) and flows.is_exchange(flow):
            return self._look(flow)
        if asked is None and not flows.is_eas(flow):
            return None
        try:
            return self._judge(flow, flow.response, asked or self._read(flow))
        except Exception as error:
            self.fault(error)
            return None

    async def _look(self, flow: http.HTTPFlow) -> None:
        """At a flow of a capture. What cannot be read of it is said and leaves it as it is."""
        try:
            await self._look_at(flow)
        except Exception as error:
            logger.warning(
                "eas-redirect: a flow of the capture is damaged (%s); it has no verdict.",
                type(error).__name__,
            )

    def failed(self, flow: http.HTTPFlow) -> None:
        """No whole answer of Exchange's: the client left, Exchange did, or something in this
        mitmproxy answered in its place. Journalled; what the client gets is not ours."""
        asked, _ = self._over(flow)
        if asked is None:
            self.discoveries.failed(flow)
            return
        not_exchanges = stopped(flow) or flows.answered_here(flow)
        status = flow.response.status_code if flow.response and not not_exchanges else 0
        answer = Answer(status_code=status, evidence=Evidence.NONE)
        exchange = self._exchange(flow, asked, answer)
        self._journal(flow, asked, self._service.judge.unanswered(exchange))

    def judge(self) -> Judge:
        """The one in force."""
        return self._service.judge

    def ended_waits(self) -> EndedWaits:
        return self._service.ended_waits

    # -- waits (`judging/wait_watch.py` says which of them are ended) ----------------------------

    async def open_waits(self) -> list[Wait]:
        """Those that wait now, whose user is known by a logon that Exchange has checked."""
        waits = []
        for number, waiting in enumerate(tuple(self._waiting.values())):
            if (wait := self._as_wait(waiting)) is not None:
                waits.append(wait)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)  # thousands may wait, and others must get their turn
        return waits

    def _as_wait(self, waiting: Waiting) -> Wait | None:
        flow, asked, body = waiting.flow, waiting.asked, waiting.body
        if waiting.wait is not None or not open_waits.is_whole(flow):
            return waiting.wait
        identity = self._identity(flow, asked)
        waits = body is None or body.waits(flow.request, flows.headers_of(flow.request))
        ends = waits and open_waits.is_http1(flow)
        if identity.logon is None or not identity.proven or not ends:
            self._waiting.pop(flow.id, None)
            return None
        now, sent_s = time.monotonic(), flow.request.timestamp_end or time.time()
        waiting.wait = Wait(
            id=flow.id,
            kind=waiting.kind,
            logon=identity.logon,
            began_s=now - max(0.0, time.time() - sent_s),
            exchange=lambda: self._exchange(flow, _as_sent(flow, asked), _NO_ANSWER_YET),
        )
        return waiting.wait

    def is_open(self, wait: Wait) -> bool:
        """Whether nothing has come of it yet."""
        return wait.id in self._waiting

    async def end_wait(self, outcome: WaitOutcome) -> bool:
        """False: it was over already."""
        waiting = self._waiting.get(outcome.wait.id)
        if waiting is None:
            return False
        waiting.outcome = outcome  # the `response` hook comes before this returns
        ended = False
        try:
            ended = await open_waits.end(waiting.flow, waiting.kind)
        except Exception as error:
            self.fault(error)
        finally:
            if not ended:
                waiting.outcome = None
        return ended

    def wait_goes_on(self, outcome: WaitOutcome) -> None:
        """Although its user looks moved: held back, or only observed."""
        waiting = self._waiting.get(outcome.wait.id)
        if waiting is not None:
            wire = self._wire_facts(waiting.flow, waiting.asked)
            self._service.record(wait_record(outcome, wire))

    def _journal_wait(self, flow: http.HTTPFlow, asked: Asked, outcome: WaitOutcome) -> None:
        record = wait_record(outcome, self._wire_facts(flow, asked))
        flow.metadata[METADATA] = self._service.exchange(record)
        flow.marked, flow.comment = ":hourglass:", WAIT_ENDED

    def _judge(
        self, flow: http.HTTPFlow, response: http.Response, asked: Asked
    ) -> Coroutine[None, None, None] | None:
        answer = self._answer(flow, response, asked)
        if answer.evidence is not Evidence.NONE:
            asked = _as_sent(flow, asked)
        exchange = self._exchange(flow, asked, answer)
        connections = (flow.client_conn.id, flow.server_conn.id)
        self._logons.answered(*connections, asked.credentials, answer.status_code)
        if answer.status_code == 401:
            self.challenges.answered(flows.server_of(flow), asked.credentials, 401)
        judge = self._service.judge
        if judge.policy.discovery.phones != "off":
            names = flows.called_names(flow, self._service.trusted_proxies)
            self.device_names.learn(exchange, names)
        screened = judge.screened(exchange)
        if isinstance(screened, Ask):
            begun, now = asked.early, time.monotonic()
            early = begun.answer_to(screened, judge.directory, now) if begun else None
            return self._finish_later(flow, asked, judge.decided(screened, early=early))
        self._finish(flow, asked, screened)
        return None

    def _sent_up(self, flow: http.HTTPFlow, asked: Asked) -> SentUp | None:
        ended_s = flow.request.timestamp_end
        if flow.response is not None:
            return SentUp(None, 0.0)
        if ended_s is None:
            return None
        identity = self._identity(flow, asked)
        return SentUp(identity.logon if identity.proven else None, time.time() - ended_s)

    async def _finish_later(
        self, flow: http.HTTPFlow, asked: Asked, judging: Coroutine[None, None, Judgement]
    ) -> None:
        try:
            self._finish(flow, asked, await judging)
        except Exception as error:
            self.fault(error)

    async def _guarded(self, judging: Coroutine[None, None, None]) -> None:
        try:
            await judging
        except Exception as error:
            self.fault(error)

    def _answer(self, flow: http.HTTPFlow, response: http.Response, asked: Asked) -> Answer:
        weak = self._service.judge.policy.weak_statuses
        if METADATA in flow.metadata:
            return flows.answer_in_capture(flow, response, asked.request, weak)
        answer = read_body(asked.head_of(response), response.raw_content, weak)
        if response.stream and answer.evidence is not Evidence.NONE:
            # Its headers have already left (a mitmproxy option streamed it): too late.
            return replace(answer, evidence=Evidence.NONE)
        if not asked.ours and answer.evidence is not Evidence.NONE:
            self._tell_foreign(flow)
            return replace(answer, evidence=Evidence.NONE)
        return answer

    def _read(self, flow: http.HTTPFlow) -> Asked:
        headers = flows.headers_of(flow.request)
        ours = flows.is_ours(flow, self._service.judge.policy.servers)
        request, credentials = flows.request_of(flow, headers), flows.credentials_of(headers)
        return Asked(request, credentials, ours, flow.request.headers.fields)

    def _identity(self, flow: http.HTTPFlow, asked: Asked) -> Identity:
        connections = (flow.client_conn.id, flow.server_conn.id)
        remembered = self._logons.recall(*connections, asked.credentials)
        return identify(asked.request, asked.credentials, remembered)

    def _exchange(self, flow: http.HTTPFlow, asked: Asked, answer: Answer) -> Exchange:
        identity = self._identity(flow, asked)
        if answer.evidence is Evidence.NONE:  # then its origin decides nothing
            return Exchange(
                request=asked.request,
                credentials=asked.credentials,
                identity=identity,
                answer=answer,
            )
        trusted = self._service.trusted_proxies
        return Exchange(
            request=asked.request,
            credentials=asked.credentials,
            identity=identity,
            answer=answer,
            called_names=flows.called_names(flow, trusted),
            further_names=flows.further_names(flow),
            client_address=flows.client_address(flow, trusted),
            challenged=(  # nothing else hangs on it
                answer.evidence is Evidence.WEAK and self.challenges.known(flows.server_of(flow))
            ),
        )

    def _finish(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        """Change the answer, whole and at once; then journal and mark."""
        verdict = judgement.verdict
        decided_before = METADATA in flow.metadata
        if isinstance(verdict, Redirect) and not decided_before and flow.response is not None:
            enforced = judgement.decision == "redirect"
            if enforced:
                flow.response = flows.redirect_response(verdict.location, flow.response)
            host = verdict.location.split("/")[2]
            flow.marked = ":arrow_right:" if enforced else ":eyes:"
            flow.comment = f"{'451' if enforced else 'would be 451'} → {host} ({verdict.reason})"
        self._journal(flow, asked, judgement)

    def _journal(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        record = exchange_record(judgement, self._wire_facts(flow, asked))
        flow.metadata[METADATA] = self._service.exchange(record)

    def _wire_facts(self, flow: http.HTTPFlow, asked: Asked) -> WireFacts:
        trusted = self._service.trusted_proxies
        return flows.wire_facts(flow, asked.request, asked.credentials, trusted)

    def fault(self, error: Exception) -> None:
        """A bug outside the decision: logged, journalled and counted."""
        self._service.fault(error, time.time())

    def _tell_foreign(self, flow: http.HTTPFlow) -> None:
        """Once for each server: an administrator may have forgotten to name it."""
        server = flows.called_host(flow) or flow.request.host
        if server in self._foreign or len(self._foreign) >= MAX_FOREIGN:
            return
        self._foreign.add(server)
        logger.warning(
            "eas-redirect: %s said that a user has no mailbox; that passes, since the configuration"
            " does not name this server. If it is yours, add its name to exchange.host_names.",
            server,
        )


def _as_sent(flow: http.HTTPFlow, asked: Asked) -> Asked:
    """A script or an option of mitmproxy's (stickyauth, modify_headers) may have put another logon
    in place of the client's: then the answer is about somebody whom the client has not named."""
    if flow.request.headers.fields is asked.fields:
        return asked  # nobody has touched them
    if flows.credentials_of(flows.headers_of(flow.request)) == asked.credentials:
        return asked
    problem = "another took its place on the way to Exchange"
    return replace(asked, credentials=Credentials(scheme="other", problem=problem))


def _is_longer_than(response: http.Response, limit: int) -> bool:
    length = response.headers.get("Content-Length", "")
    return length.isdecimal() and int(length) > limit
