"""Questions of phones to Autodiscover that are under way, judged and journalled.

A question passes as it comes, and the facts read from it are kept. Only answers that may say where
a mailbox went are held. As in `exchanges.py`, an exception leaves Exchange's answer as it is.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from mitmproxy import http

from eas_redirect.activesync.authorization import Credentials
from eas_redirect.activesync.request import header_values
from eas_redirect.autodiscover.answer import (
    AutodiscoverEvidence,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
    may_say_more,
)
from eas_redirect.autodiscover.document import MAX_BYTES
from eas_redirect.autodiscover.phone_request import NotForPhones, PhoneRequest, read_phone_request
from eas_redirect.judging.challenges import Challenges, shared_folder
from eas_redirect.judging.judge import Judgement
from eas_redirect.policy.decision import Redirect
from eas_redirect.policy.discovery import Discovery, discovery
from eas_redirect.proxy import flows
from eas_redirect.proxy.failures import stopped
from eas_redirect.proxy.flows import METADATA
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import exchange_record

_NOT_WHOLE = NotForPhones("The request was not there whole when its answer came.")


@dataclass(slots=True)
class OpenDiscovery:
    """The facts of a question. Its body is collected while it passes, up to MAX_BYTES."""

    content_type: str
    credentials: Credentials
    ours: bool  # the administrator is responsible for the server
    asked: PhoneRequest | NotForPhones = field(default=_NOT_WHOLE)
    whole: bool = False
    _body: bytearray = field(default_factory=bytearray)

    def passes(self, data: bytes) -> bytes:
        """mitmproxy calls this with each piece of a streamed body: it returns the same bytes. An
        empty piece is the end."""
        if not data:
            self.ends(bytes(self._body))
        elif len(self._body) <= MAX_BYTES:
            self._body += data[: MAX_BYTES + 1 - len(self._body)]
        return data

    def ends(self, body: bytes) -> None:
        if not self.whole:
            self.whole = True
            self.asked = read_phone_request(body, self.content_type)
            self._body.clear()


class Discoveries:
    """Open questions by flow id, from a question's head to its answer."""

    def __init__(self, service: Service, device_names: Callable[[], tuple[str, ...]]) -> None:
        """`device_names`: the names by which devices have called this server for ActiveSync."""
        self._service = service
        self._device_names = device_names
        self._asked: dict[str, OpenDiscovery] = {}
        self.challenges = Challenges(shared_folder(), name="challenge-autodiscover")

    def __len__(self) -> int:
        return len(self._asked)

    def begin(self, flow: http.HTTPFlow) -> OpenDiscovery | None:
        """Begin, if phones are told by Autodiscover and this may be a phone's question."""
        policy = self._service.judge.policy
        if policy.discovery.phones == "off" or not flows.is_discovery(flow):
            return None
        if flow.live or flow.is_replay:
            flow.metadata.pop(METADATA, None)
        headers = flows.headers_of(flow.request)
        question = OpenDiscovery(
            content_type=", ".join(header_values(headers, "content-type")),
            credentials=flows.credentials_of(headers),
            ours=flows.is_ours(flow, policy.servers),
        )
        self._asked[flow.id] = question
        return question

    def may_stream(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        """Whether an answer may pass as it comes, judging by its head."""
        question = self._asked.get(flow.id)
        if question is None or not question.ours:
            return True
        self._end(flow, question)
        if not isinstance(question.asked, PhoneRequest):
            return True
        if response.status_code == 403 and not self._service.judge.policy.discovery.weak:
            return True
        return not may_say_more(response.status_code, flows.headers_of(response))

    def answered(self, flow: http.HTTPFlow) -> Coroutine[None, None, None] | None:
        """Judge an answer. None if no question was begun here."""
        question = self._asked.pop(flow.id, None)
        if question is None or flow.response is None:
            return None
        server, status = flows.server_of(flow), flow.response.status_code
        self.challenges.answered(server, question.credentials, status)
        if status == 401:  # one step of logging on; the answer to it counts
            return None
        self._end(flow, question)
        return self._judge(flow, flow.response, question)

    def failed(self, flow: http.HTTPFlow) -> None:
        """Exchange gave no complete answer."""
        question = self._asked.pop(flow.id, None)
        if question is None:
            return
        not_exchanges = stopped(flow) or flows.answered_here(flow)
        status = flow.response.status_code if flow.response and not not_exchanges else 0
        found = self._discovery(flow, question, OtherAnswer("There was no whole answer."), status)
        self._journal(flow, self._service.judge.undiscovered(found))

    def _end(self, flow: http.HTTPFlow, question: OpenDiscovery) -> None:
        """For a question whose body another addon had held, so that it did not pass here."""
        if not flow.request.stream and flow.request.raw_content is not None:
            question.ends(flow.request.raw_content)

    async def _judge(
        self, flow: http.HTTPFlow, response: http.Response, question: OpenDiscovery
    ) -> None:
        found = self._discovery(flow, question, self._said(response, question))
        judgement = await self._service.judge.discover(found)
        verdict, settings = judgement.verdict, judgement.settings
        if isinstance(verdict, Redirect):
            host = verdict.location.split("/")[2]
            if settings is not None:
                flow.response = flows.settings_response(settings, response)
            flow.marked = ":arrow_right:" if settings is not None else ":eyes:"
            flow.comment = f"{'' if settings else 'would be '}Settings → {host} ({verdict.reason})"
        self._journal(flow, judgement)

    def _said(self, response: http.Response, question: OpenDiscovery) -> AutodiscoverEvidence:
        said = flows.said_by_autodiscover(response)
        match said:
            case RedirectAddress() | NoMailboxHere() if not question.ours:
                return OtherAnswer("The configuration does not name this server.")
            case RedirectAddress() | NoMailboxHere() if response.stream:
                return OtherAnswer("The answer had left before it was judged.")
            case _:
                return said

    def _discovery(
        self,
        flow: http.HTTPFlow,
        question: OpenDiscovery,
        said: AutodiscoverEvidence,
        status_code: int | None = None,
    ) -> Discovery:
        trusted = self._service.trusted_proxies
        status = flow.response.status_code if flow.response else 0
        return discovery(
            question.asked,
            said,
            status_code=status if status_code is None else status_code,
            credentials=question.credentials,
            user_agent=", ".join(flows.field_values(flow.request, b"user-agent")),
            device_names=self._device_names(),
            called_names=(*flows.called_names(flow, trusted), *flows.further_names(flow)),
            client_address=flows.client_address(flow, trusted),
            challenged=self.challenges.known(flows.server_of(flow)),
        )

    def _journal(self, flow: http.HTTPFlow, judgement: Judgement) -> None:
        exchange, trusted = judgement.exchange, self._service.trusted_proxies
        wire = flows.wire_facts(flow, exchange.request, exchange.credentials, trusted)
        flow.metadata[METADATA] = self._service.exchange(exchange_record(judgement, wire))
