"""Turns a question into an exchange, has it judged like any other, and journals it.

This module decides nothing: it uses the same readers and the same judge as mitmproxy's side.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urlsplit

from eas_redirect.activesync.authorization import (
    ConnectionLogon,
    Credentials,
    contradicts,
    identify,
    read_authorization,
    read_authorizations,
)
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import (
    EASRequest,
    Headers,
    header_values,
    is_eas_path,
    read_request_line,
)
from eas_redirect.activesync.response import Evidence, read_answer
from eas_redirect.autodiscover import answer as autodiscover_answer
from eas_redirect.autodiscover import phone_request
from eas_redirect.autodiscover.phone_request import NotForPhones, PhoneRequest, is_autodiscover
from eas_redirect.haproxy.question import JudgeReply, Question
from eas_redirect.judging import callers
from eas_redirect.judging.callers import DeviceNames, bare_host
from eas_redirect.judging.challenges import Challenges
from eas_redirect.judging.judge import Judgement
from eas_redirect.policy.decision import Pass, Redirect
from eas_redirect.policy.discovery import Discovery, discovery
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.waves import Network
from eas_redirect.service.service import Service
from eas_redirect.telemetry.record import WireFacts, exchange_record

REMEMBERED_LINES = 4
"""Lines of one header that HAProxy remembers, from the last; it counts them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyServer:
    """The Exchange behind HAProxy, as the configuration names it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Answering:
    """Judges HAProxy's questions, for one service."""

    def __init__(
        self,
        service: Service,
        server: LegacyServer,
        challenges: Challenges,
        discovery_challenges: Challenges,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`discovery_challenges`: those on Autodiscover's path."""
        self._service = service
        self._server = server
        self._server_name = str(server)
        self._server_host = _unique(server.host)
        self._challenges = challenges
        self._discovery_challenges = discovery_challenges
        self._device_names = DeviceNames()
        self._clock = clock

    async def reply(self, question: Question, still_there: Callable[[], bool]) -> JudgeReply | None:
        """What HAProxy is to do. None if HAProxy has left meanwhile: then Exchange's answer has
        passed, and HAProxy's own log says so. Never raises."""
        try:
            return await self._reply(question, still_there)
        except Exception as error:
            self._service.fault(error, self._clock())
            return JudgeReply(word="pass", reason=str(Reason.INTERNAL_ERROR))

    async def _reply(
        self, question: Question, still_there: Callable[[], bool]
    ) -> JudgeReply | None:
        came_s = self._clock()
        target, judge = question.text("target") or "", self._service.judge
        credentials = _credentials(question)
        called, phones = _called(question), judge.policy.discovery.phones
        if is_eas_path(target):
            request = _request(question, target)
            exchange = self._exchange(question, request, credentials, called)
            if phones != "off":
                self._device_names.learn(exchange, exchange.called_names)
            judgement = await judge.judge(exchange)
        elif phones != "off" and is_autodiscover("POST", target) and "question" in question.facts:
            judgement = await judge.discover(self._discovery(question, credentials, called))
        else:  # HAProxy's test of the path is wider than ours
            return JudgeReply(word="pass", reason=str(Reason.OTHER_ANSWER))
        if not still_there():
            return None
        wire = self._wire(question, judgement.exchange.request, credentials, called, came_s)
        self._service.exchange(exchange_record(judgement, wire))
        return _in_words(judgement)

    def _exchange(
        self,
        question: Question,
        request: EASRequest,
        credentials: Credentials,
        called: str | None,
    ) -> Exchange:
        trusted = self._service.trusted_proxies
        answer = read_answer(
            request,
            question.number("status") or 0,
            _headers(question),
            _whole_body(question),
            self._service.judge.policy.weak_statuses,
        )
        return Exchange(
            request=request,
            credentials=credentials,
            identity=identify(request, credentials, _remembered(question)),
            answer=answer,
            called_names=_called_names(question, called, trusted),
            further_names=self._further_names(question),
            client_address=callers.device_address(
                question.text("src"), _lines(question, "forwarded_for"), trusted
            ),
            challenged=(  # nothing else hangs on it
                answer.evidence is Evidence.WEAK and self._challenges.known(self._server_name)
            ),
        )

    def _further_names(self, question: Question) -> tuple[str, ...]:
        name = question.text("sni")
        return _unique(name, self._server.host) if name else self._server_host

    def _discovery(
        self, question: Question, credentials: Credentials, called: str | None
    ) -> Discovery:
        headers, trusted = _headers(question), self._service.trusted_proxies
        status = question.number("status") or 0
        said = autodiscover_answer.read_discovery_answer(
            status,
            ", ".join(header_values(headers, "content-type")),
            ", ".join(header_values(headers, "content-encoding")),
            _whole_body(question),
        )
        return discovery(
            _asked(question),
            said,
            status_code=status,
            credentials=credentials,
            user_agent=question.text("user_agent") or "",
            device_names=self._device_names(),
            called_names=(
                *_called_names(question, called, trusted),
                *self._further_names(question),
            ),
            client_address=callers.device_address(
                question.text("src"), _lines(question, "forwarded_for"), trusted
            ),
            challenged=self._discovery_challenges.known(self._server_name),
        )

    def _wire(
        self,
        question: Question,
        request: EASRequest,
        credentials: Credentials,
        called: str | None,
        came_s: float,
    ) -> WireFacts:
        started_us = question.number("started")
        started_s = came_s if started_us is None else started_us / 1e6
        peer = question.text("src")
        return WireFacts(
            carrier="haproxy",
            started_s=started_s,
            ended_s=self._clock(),
            upstream_started_s=started_s,
            upstream_ended_s=came_s,
            client_address=peer,
            client_port=question.number("src_port"),
            forwarded_ip=callers.forwarded_address(
                peer, _lines(question, "forwarded_for"), self._service.trusted_proxies
            ),
            server_address=self._server.host,
            server_port=self._server.port,
            url_domain=called,
            url_path=(question.text("target") or "").partition("?")[0],
            user_agent=question.text("user_agent"),
            contradiction=contradicts(request, credentials),
        )


def _in_words(judgement: Judgement) -> JudgeReply:
    verdict = judgement.verdict
    match verdict:
        case Redirect() if judgement.discovery is not None:
            given = judgement.settings
            word = "pass" if given is None else "settings"
            return JudgeReply(word=word, reason=str(verdict.reason), given=given or b"")
        case Redirect() if judgement.decision == "redirect":
            return JudgeReply(
                word="redirect", reason=str(verdict.reason), given=verdict.location.encode()
            )
        case Redirect() | Pass():
            return JudgeReply(word="pass", reason=str(verdict.reason))
        case _ as unreachable:
            assert_never(unreachable)


def _request(question: Question, target: str) -> EASRequest:
    versions = tuple([value.strip() for value in _lines(question, "version")])
    has_policy_key = bool(question.facts.get("policy_key"))
    return read_request_line(
        question.text("method") or "", target, versions, has_policy_key=has_policy_key
    )


def _asked(question: Question) -> PhoneRequest | NotForPhones:
    """What the body of the request asks of Autodiscover."""
    if (question.number("question_types") or 0) > 1:
        return NotForPhones("The request names more than one type of its body.")
    body = question.facts.get("question", b"")
    return phone_request.read_phone_request(body, question.text("question_type") or "")


def _headers(question: Question) -> Headers:
    return tuple(
        (name, value.decode("utf-8", "surrogateescape")) for name, value in question.headers
    )


def _credentials(question: Question) -> Credentials:
    """The value is that of the last header. If there are several, that alone counts."""
    count = question.number("authorizations") or 0
    return read_authorizations([question.text("authorization") or ""] * min(count, 2))


def _remembered(question: Question) -> ConnectionLogon | None:
    """What HAProxy remembers of this pair of connections."""
    if question.facts.get("logon"):
        return ConnectionLogon(read_authorization(question.text("logon")).logon)
    return ConnectionLogon(None) if question.facts.get("somebody") else None


def _whole_body(question: Question) -> bytes | None:
    """None if HAProxy did not hold it, or held less than its head promises: a truncated body proves
    nothing."""
    body = question.facts.get("answer")
    if body is None:
        return None
    length = b"%d" % len(body)
    for name, promised in question.headers:
        if name == "content-length" and promised != length:
            return None
    return body


def _lines(question: Question, name: str) -> list[str]:
    """The lines of a request header, in order. If there are more than HAProxy remembers, an empty
    one stands for the rest."""
    count = question.number(name + "s")
    if not count:
        return []
    values = [question.text(f"{name}{n}") or "" for n in range(1, min(count, REMEMBERED_LINES) + 1)]
    return [*([""] if count > REMEMBERED_LINES else []), *reversed(values)]


def _called(question: Question) -> str | None:
    """The one name by which the client called: Host, and the authority of an absolute form."""
    if (question.number("hosts") or 0) > 1:
        return None
    url = question.text("url")
    named = (question.text("host"), url and _authority(url))
    return callers.agreed_host([name for name in named if name])


def _authority(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return "?"  # no host, so there is no single name


def _called_names(
    question: Question, called: str | None, trusted: tuple[Network, ...]
) -> tuple[str, ...]:
    told = () if called is None else (called,)
    if not trusted:
        return told
    names = ("forwarded_host", "original_host", "forwarded")
    if any((question.number(f"{name}s") or 0) > REMEMBERED_LINES for name in names):
        return ()  # an unknown one may name the target
    named = [value for name in names[:2] for value in _lines(question, name)]
    further = callers.forwarded_names(
        question.text("src"), named, _lines(question, "forwarded"), trusted
    )
    return (*told, *further)


def _unique(*names: str | None) -> tuple[str, ...]:
    hosts = (bare_host(name) for name in names)
    return tuple(dict.fromkeys(host for host in hosts if host))
