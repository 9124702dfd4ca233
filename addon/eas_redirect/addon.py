"""The mitmproxy hooks, in the order of an exchange: the only module that changes a live flow.

What is not Exchange ActiveSync is streamed both ways and never looked at again. An exception in
here leaves Exchange's answer as it is: whatever changes a flow is assigned once, last.
"""

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass, replace

from mitmproxy import ctx, exceptions, http, tcp, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Address, Client
from mitmproxy.optmanager import unset

from eas_redirect import flows, profile
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
from eas_redirect.commands import Commands
from eas_redirect.config import ConfigError, load_config
from eas_redirect.debugging import contentview
from eas_redirect.directory.snapshot import SnapshotError
from eas_redirect.engine import certificates, mends
from eas_redirect.engine.failures import stopped
from eas_redirect.engine.tls_advice import tls_advice
from eas_redirect.flows import METADATA
from eas_redirect.forwarded import Network
from eas_redirect.logons import ConnectionLogons
from eas_redirect.monitor import Monitor, Proxy
from eas_redirect.options import OPTIONS, read_options
from eas_redirect.policy.decision import Redirect as RedirectVerdict
from eas_redirect.redirector import Judgement, whereabouts
from eas_redirect.reload import Reloader
from eas_redirect.service import Service
from eas_redirect.telemetry.records import WireFacts, exchange_record, fault_record
from eas_redirect.watching import Watcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was read of a request when its headers came."""

    request: EASRequest
    credentials: Credentials


class Redirect:
    """The addon. Its state: the running service, requests under way, logons of connections."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self.monitor: Monitor | None = None
        self.watcher: Watcher | None = None
        self._asked: dict[str, Asked] = {}  # by flow id, from request headers to the answer
        self._logons = ConnectionLogons()
        self._advised: set[tuple[Address, str]] = set()  # what was said of a failed TLS
        self._keep_bodies = False
        self.addons = [Commands(self)]

    # -- start and stop --------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        mends.mend()
        contentview.register()
        for name, text in OPTIONS.items():
            loader.add_option(name, str, "", text)

    def configure(self, updated: set[str]) -> None:
        if not updated & OPTIONS.keys():
            return
        try:
            self._configure()
        except (OSError, ConfigError, SnapshotError) as error:
            if self.service is not None:
                raise exceptions.OptionsError(f"eas-redirect: {error}") from error
            # At the start an ERROR ends mitmproxy with exit code 1; raised, it would be shown as a
            # traceback in which nobody finds the problems.
            problems = "\n  ".join(str(error).splitlines())
            logger.error("eas-redirect cannot start:\n  %s", problems)

    def _configure(self) -> None:
        settings = read_options({name: str(getattr(ctx.options, name)) for name in OPTIONS})
        config = load_config(settings.path, settings.overrides)
        if self.service is None:
            self.service = Service(config)
            self.monitor = Monitor(self.service, self._proxy())
        else:
            self.service.adopt(self.service.prepare(config))
        self._keep_bodies = settings.keep_bodies
        self._adopt_profile()  # here, not in `running`: mitmproxy listens before that
        self._watch(Reloader(settings.path, config, settings.overrides))

    async def running(self) -> None:
        for name in ctx.options.deferred:
            if name.startswith("eas_"):
                known = ", ".join(OPTIONS)
                logger.error("eas-redirect: unknown option %s; there are: %s", name, known)
        if self.service is not None:
            self.service.start()
            if self.watcher is not None:
                self.watcher.start()
            self._follow_hangups()
            if self.monitor is not None:
                await self.monitor.follow()
            logger.info("eas-redirect: %s", self.service.summary())

    def done(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
        if self.monitor is not None:
            self.monitor.close()
        if self.service is not None:
            self.service.close()
            self.service = None

    def client_disconnected(self, client: Client) -> None:
        self._logons.forget(client.id)

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """Say what helps, once for each cause and server; the client gets mitmproxy's 502."""
        advice = tls_advice(data.conn.error or "", ctx.options.tls_version_server_min)
        address = data.context.server.address
        if advice is None or address is None or (address, advice) in self._advised:
            return
        self._advised.add((address, advice))
        logger.warning("eas-redirect: no TLS with %s:%s: %s", address[0], address[1], advice)

    # -- the way of an exchange ------------------------------------------------------------------

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flows.is_eas(flow):
            flow.request.stream = True
            return
        if flow.live or flow.is_replay:
            flow.metadata.pop(METADATA, None)  # a replayed capture is asked anew
        self._asked[flow.id] = _ask(flow)
        if not self._keep_bodies:
            flow.request.stream = True

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        asked = self._asked.get(flow.id)
        if flow.response is None:
            return
        if asked is None:
            if not flows.is_eas(flow):
                flow.response.stream = True
        elif not self._keep_bodies and not self._must_hold(asked, flow.response):
            flow.response.stream = True

    async def response(self, flow: http.HTTPFlow) -> None:
        if stopped(flow):
            self.error(flow)
            return
        asked = self._asked.pop(flow.id, None)
        if asked is None and not flows.is_eas(flow):
            return
        try:
            await self._judge(flow, asked or _ask(flow))
        except Exception as error:
            self._fault(error)

    async def _judge(self, flow: http.HTTPFlow, asked: Asked) -> None:
        if self.service is None or flow.response is None:
            return
        answer = self._answer(flow, flow.response, asked)
        exchange = self._exchange(flow, asked, answer)
        connections = (flow.client_conn.id, flow.server_conn.id)
        self._logons.answered(*connections, asked.credentials, answer.status_code)
        judgement = await self.service.redirector.judge(exchange)
        self._finish(flow, asked, judgement)

    def error(self, flow: http.HTTPFlow) -> None:
        """No whole answer: the client left, or Exchange did. Journalled; mitmproxy answers."""
        asked = self._asked.pop(flow.id, None)
        if asked is None or self.service is None:
            return
        status = flow.response.status_code if flow.response and not stopped(flow) else 0
        answer = Answer(status_code=status, evidence=Evidence.NONE)
        judgement = self.service.redirector.unanswered(self._exchange(flow, asked, answer))
        self._journal(flow, asked, judgement)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """An upgraded connection is a tunnel; mitmproxy would keep all that passes through it."""
        if not self._keep_bodies:
            flow.messages.clear()

    # -- inside ----------------------------------------------------------------------------------

    def _watch(self, reloader: Reloader) -> None:
        """Look after the files of this configuration, in place of those of an earlier one."""
        if self.service is None:
            return
        running = self.watcher is not None and self.watcher.running
        if self.watcher is not None:
            self.watcher.close()
        self.watcher = Watcher(self.service, reloader)
        if running:
            self.watcher.start()

    def _adopt_profile(self) -> None:
        """Set what this job needs where the user did not, and warn about the rest."""
        options = {name: option.current() for name, option in ctx.options.items()}
        review = profile.review(
            options,
            {name for name, option in ctx.options.items() if option.has_changed()},
            said={name for name, option in ctx.options.items() if option.value is not unset},
            reverse=any(str(mode).startswith("reverse") for mode in options.get("mode", ())),
            keep_bodies=self._keep_bodies,
        )
        if review.to_set:
            ctx.options.update(**review.to_set)
            said = ", ".join(f"{name}={value}" for name, value in review.to_set.items())
            logger.info("eas-redirect: set for this job: %s", said)
        for warning in review.warnings:
            logger.warning("eas-redirect: %s", warning)

    def _follow_hangups(self) -> None:
        """SIGHUP, which would end mitmdump."""
        if hasattr(signal, "SIGHUP"):
            with contextlib.suppress(ValueError, RuntimeError):  # a loop in a thread: no signals
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        """Open the journal anew, and read the certificates again for connections to come."""
        if self.service is not None:
            self.service.reopen()
        certificates.renew()

    def _proxy(self) -> Proxy:
        return Proxy(
            config_path=lambda: str(ctx.options.eas_config),
            listen=lambda: str(ctx.options.eas_metrics),
            upstream=flows.reverse_upstream,
            open_exchanges=lambda: len(self._asked),
            open_waits=lambda: sum(
                asked.request.command in ("Ping", "Sync") for asked in self._asked.values()
            ),
            draining=lambda: bool(getattr(ctx.master, "draining", False)),
        )

    def _weak_statuses(self) -> frozenset[int]:
        return self.service.redirector.policy.weak_statuses if self.service else frozenset()

    def _must_hold(self, asked: Asked, response: http.Response) -> bool:
        """Whether the answer has to wait here: its body is evidence, or its head is already."""
        headers, status = flows.headers_of(response), response.status_code
        if may_hold_evidence(asked.request, status, headers):
            return True
        head = read_answer(asked.request, status, headers, None, self._weak_statuses())
        return head.evidence is not Evidence.NONE and not _is_longer_than(response, MAX_BODY)

    def _answer(self, flow: http.HTTPFlow, response: http.Response, asked: Asked) -> Answer:
        if METADATA in flow.metadata:
            return flows.answer_in_capture(flow, response, asked.request, self._weak_statuses())
        answer = read_answer(
            asked.request,
            response.status_code,
            flows.headers_of(response),
            response.raw_content,
            self._weak_statuses(),
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
            client_address=flows.client_address(flow, self._trusted_proxies()),
        )

    def _finish(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        """Journal and mark, then change the answer: whole, once, last."""
        decided_before = METADATA in flow.metadata
        self._journal(flow, asked, judgement)
        verdict = judgement.verdict
        if not isinstance(verdict, RedirectVerdict) or decided_before or flow.response is None:
            return
        host = verdict.location.split("/")[2]
        enforced = judgement.decision == "redirect"
        flow.marked = ":arrow_right:" if enforced else ":eyes:"
        flow.comment = f"{'451' if enforced else 'would be 451'} → {host} ({verdict.reason})"
        if enforced:
            flow.response = flows.redirect_response(verdict.location, flow.response)

    def _journal(self, flow: http.HTTPFlow, asked: Asked, judgement: Judgement) -> None:
        assert self.service is not None  # noqa: S101 - both callers have looked
        record = exchange_record(judgement, self._wire(flow, asked))
        flow.metadata[METADATA] = self.service.exchange(record)

    def _fault(self, error: Exception) -> None:
        """A fault of ours outside the decision: said, journalled and counted."""
        where = whereabouts(error)
        logger.error(
            "eas-redirect: a fault of ours (%s %s); the answer is Exchange's, unchanged.",
            type(error).__name__,
            where,
        )
        if self.service is not None:
            with contextlib.suppress(Exception):
                self.service.record(fault_record(type(error).__name__, where, time.time()))

    def _wire(self, flow: http.HTTPFlow, asked: Asked) -> WireFacts:
        trusted = self._trusted_proxies()
        return flows.wire_facts(flow, asked.request, asked.credentials, trusted)

    def _trusted_proxies(self) -> tuple[Network, ...]:
        return self.service.trusted_proxies if self.service else ()


def _ask(flow: http.HTTPFlow) -> Asked:
    return Asked(flows.request_of(flow), flows.credentials_of(flow))


def _is_longer_than(response: http.Response, limit: int) -> bool:
    length = response.headers.get("Content-Length", "")
    return length.isdecimal() and int(length) > limit
