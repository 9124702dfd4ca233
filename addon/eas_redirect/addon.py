"""The mitmproxy hooks, in the order of an exchange.

Whatever is not Exchange ActiveSync is streamed both ways and never looked at again; `exchanges.py`
handles the rest.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Coroutine

from mitmproxy import ctx, exceptions, http, tcp, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Address, Client
from mitmproxy.optmanager import unset

from eas_redirect.captures.looking import Looking, only_looks
from eas_redirect.certificates.x509 import CertificateFileError
from eas_redirect.configuration.config import ConfigError, load_config
from eas_redirect.directory.known_users import KnownUsers
from eas_redirect.directory.snapshot import SnapshotError
from eas_redirect.engine import hangups, mitmproxy_log, replaced
from eas_redirect.engine.mitmproxy_log import LoopErrors, queue_printing
from eas_redirect.judging.challenges import shared_folder
from eas_redirect.judging.wait_watch import WaitStatistics, WaitWatch
from eas_redirect.proxy import flows, listeners, open_waits, profile, upstream_names
from eas_redirect.proxy.certificates import FrontCertificates, allow_old_versions, tls_advice
from eas_redirect.proxy.exchanges import Exchanges
from eas_redirect.proxy.failures import stopped
from eas_redirect.proxy.listeners import Listeners
from eas_redirect.proxy.options import (
    OPTIONS,
    Engine,
    options_without_one_value,
    read_options,
)
from eas_redirect.proxy.own_request import Behind
from eas_redirect.service.challenge_probe import OF_AUTODISCOVER, ChallengeProbe
from eas_redirect.service.monitor import Monitor, ProxyFacts
from eas_redirect.service.service import Service
from eas_redirect.service.upstream import ASK_TIMEOUT_S, AUTODISCOVER
from eas_redirect.service.watching import Reloader, Watcher
from eas_redirect.telemetry import writing
from eas_redirect.view import contentview
from eas_redirect.view.commands import ConsoleCommands

logger = logging.getLogger(__name__)


LISTENERS_S = 1.0
START_PATIENCE_S = 10.0  # then callers are served, whatever the start still waits for


MOST_ADVISED = 100  # servers; a client of a regular proxy may name any number of them


class EASRedirect:
    """The addon. Its state: the running service and the exchanges under way."""

    name = "eas-redirect"

    def __init__(self) -> None:
        self.service: Service | None = None
        self.monitor: Monitor | None = None
        self.watcher: Watcher | None = None
        self.exchanges: Exchanges | None = None
        self.probe: ChallengeProbe | None = None
        self.discovery_probe: ChallengeProbe | None = None
        self.wait_watch: WaitWatch | None = None
        self._waiting_users: KnownUsers | None = None
        self._advised: set[tuple[Address, str]] = set()  # what was logged about failed TLS
        self._keep_bodies = False
        self._engine: Engine | None = None
        self._parts: dict[str, replaced.PartState] = {}
        self._heard = Listeners()
        self._loop_errors = LoopErrors()
        self._listeners_until = 0.0
        self._said_unfit = False  # logged: waits cannot be ended here
        self._hung_up = False  # a SIGHUP came while it started
        self._started = asyncio.Event()  # mitmproxy has checked for errors of the start
        self._tasks: set[asyncio.Task[None]] = set()
        self._front = FrontCertificates()
        self._behind = Behind(lambda: None if self.service is None else self.service.config)
        self.addons = [ConsoleCommands(self)]

    # -- start and stop --------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        queue_printing(ctx.master.addons)
        self._follow_hangups()
        upstream_names.SAID_BY_US.install()
        contentview.register()
        for problem in options_without_one_value(ctx.options.deferred):
            logger.error("eas-redirect: %s", problem)
        for name, text in OPTIONS.items():
            loader.add_option(name, str, "", text)

    def configure(self, updated: set[str]) -> None:
        if not updated & OPTIONS.keys():
            return
        try:
            self._configure()
        except (OSError, ConfigError, SnapshotError, CertificateFileError) as error:
            if self.service is not None:
                raise exceptions.OptionsError(f"eas-redirect: {error}") from error
            # At the start an ERROR ends mitmproxy with exit code 1; raised, it would appear as a
            # traceback that hides the problems.
            problems = "\n  ".join(str(error).splitlines())
            logger.error("eas-redirect cannot start:\n  %s", problems)

    def _configure(self) -> None:
        settings = read_options({name: str(getattr(ctx.options, name)) for name in OPTIONS})
        config = load_config(settings.path, settings.overrides)
        reloader = Reloader(settings.path, config, settings.overrides)  # before anything that waits
        self._replace(settings.engine)
        if self.service is None:
            self._behind.trust.adopt(config.proxy.upstream_ca)
            if config.proxy.upstream_tls_min == "1.0":
                allow_old_versions()
            self._front.look(config.exchange.host_names)
            self.service = Service(config, journalled=not only_looks())
            self.exchanges = Exchanges(self.service, Looking(self.service).look)
            self.monitor = Monitor(self.service, self._proxy())
        else:
            self.service.adopt(self.service.prepare(config))
        self._keep_bodies = settings.keep_bodies
        self._adopt_profile()  # here, not in `running`: mitmproxy listens before that
        self._watch(reloader)

    def running(self) -> None:
        """Synchronous: while one hook of `running` waits, mitmproxy takes connections although its
        other addons have not started; and a script that is loaded again may not wait here."""
        for name in ctx.options.deferred:
            if name.startswith("eas_"):
                known = ", ".join(OPTIONS)
                logger.error("eas-redirect: unknown option %s; there are: %s", name, known)
        if self.service is not None:
            self.service.start()
            if self.watcher is not None:
                self.watcher.start()
            logger.info("eas-redirect: %s", self.service.summary())
            if not self.service.judge.policy.servers and not flows.has_reverse_mode():
                logger.warning(
                    "eas-redirect: this is no reverse proxy, and the configuration names no server:"
                    " nobody is redirected. Add the old server's name to exchange.host_names."
                )
        self._listeners()
        self._loop_errors.watch(asyncio.get_running_loop())
        self._later(self._finish_start(first=mitmproxy_log.is_checked()))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish_start(self, *, first: bool) -> None:
        """What has to be waited for: the pages, and mitmproxy's own look for errors of the start.
        Pages that cannot be served end the start, as any error does."""
        looks = only_looks()
        shown = self.monitor is None or await self.monitor.follow()
        if first and not shown:
            # Raised here, it would be a traceback: nobody asks a task how it ended.
            asyncio.get_running_loop().call_soon(sys.exit, 1)
            return
        if not await mitmproxy_log.over(START_PATIENCE_S):
            logger.warning(
                "eas-redirect: a script's `running` hook has not returned for %g s; "
                "clients are served all the same",
                START_PATIENCE_S,
            )
        self._started.set()
        if self.probe is None and self.exchanges is not None and not looks:
            self.probe = ChallengeProbe(
                self.exchanges.challenges, flows.upstream_server, self._behind.ask
            )
            self.probe.start()
            self.discovery_probe = ChallengeProbe(
                self.exchanges.discoveries.challenges,
                self._weak_discovery_server,
                lambda timeout_s: self._behind.ask(timeout_s, AUTODISCOVER),
                **OF_AUTODISCOVER,
            )
            self.discovery_probe.start()
            self._watch_waits(self.exchanges)
        if self._hung_up:
            self._hang_up()

    def _watch_waits(self, exchanges: Exchanges) -> None:
        judge = exchanges.judge
        self._waiting_users = KnownUsers(lambda: judge().directory, shared_folder())
        self.wait_watch = WaitWatch(exchanges, self._waiting_users, judge, exchanges.ended_waits)
        self._later(self.wait_watch.run(self._watch_s))

    def _watch_s(self) -> float | None:
        """How often to look at those who wait; None: not now."""
        config = None if self.service is None else self.service.config
        draining = bool(getattr(ctx.master, "draining", False))
        if config is None or config.redirect.end_waits == "off" or draining:
            return None
        if not open_waits.fits():
            if not self._said_unfit:
                self._said_unfit = True
                logger.warning(
                    "eas-redirect: redirect.end_waits does nothing: this mitmproxy is not one in "
                    "which a wait can be ended. %s",
                    replaced.ADVICE,
                )
            return None
        return config.directory.watch_s

    def _watched_waits(self) -> WaitStatistics:
        return WaitStatistics() if self.wait_watch is None else self.wait_watch.statistics

    def _weak_discovery_server(self) -> str | None:
        """Whom to ask whether Autodiscover checks logons; None where nothing hangs on it."""
        if self.service is None:
            return None
        return flows.upstream_server() if self.service.judge.policy.discovery.weighs_weak else None

    def client_connected(self, _client: Client) -> Coroutine[None, None, None] | None:
        """mitmproxy listens before its addons have started. A request that they meet half-way is
        an error, and an error at the start ends mitmproxy: whoever calls so early waits."""
        return None if self._started.is_set() else self._wait_for_start()

    async def _wait_for_start(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._started.wait(), START_PATIENCE_S)

    def done(self) -> None:
        for probe in (self.probe, self.discovery_probe):
            if probe is not None:
                probe.close()
        if self._waiting_users is not None:
            self._waiting_users.close()
        for task in tuple(self._tasks):
            if not task.get_loop().is_closed():
                task.cancel()
        upstream_names.SAID_BY_US.remove()
        self._behind.trust.close()
        if self.watcher is not None:
            self.watcher.close()
        if self.monitor is not None:
            self.monitor.close()
        if self.service is not None:
            if ctx.master.should_exit.is_set():
                writing.stop_within(self.service.config.proxy.stop_timeout_s)
            # Reloading a script must not hold mail up; a process that ends waits by itself.
            self.service.close(wait=False)
            self.service = self.exchanges = None
        self._loop_errors.leave()
        replaced.put_back(ctx.master.addons)

    def client_disconnected(self, client: Client) -> None:
        if self.exchanges is not None:
            self.exchanges.forget_client(client.id)

    def tls_established_client(self, _data: tls.TlsData) -> None:
        self._front.shown()

    def tls_start_server(self, data: tls.TlsData) -> None:
        upstream_names.accept_both(data, self._behind.only_name)

    def tls_established_server(self, data: tls.TlsData) -> None:
        self._behind.reached(data.conn.sni)
        if self.monitor is not None and data.conn.certificate_list:
            self.monitor.upstream.shown(data.conn.certificate_list[0].notafter)

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """Find out why, where it is the one Exchange; else say what helps, once for each cause and
        server."""
        if self.monitor is not None and self._behind.peer() is not None:
            self.monitor.upstream.doubt(data.conn.error or "TLS fails")
            return
        advice = tls_advice(data.conn.error or "", ctx.options.tls_version_server_min)
        address = data.context.server.address
        if advice is None or address is None or len(self._advised) >= MOST_ADVISED:
            return
        if (address, advice) in self._advised:
            return
        self._advised.add((address, advice))
        logger.warning("eas-redirect: no TLS with %s:%s: %s", address[0], address[1], advice)

    # -- the path of an exchange -----------------------------------------------------------------

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        try:
            self._begin(flow)
        except Exception as error:
            self._fault(error)

    def _begin(self, flow: http.HTTPFlow) -> None:
        if flows.is_captured(flow):
            return  # it is judged when its answer comes, and not changed
        keep, question, body = False, None, None
        if self.exchanges is not None:
            if flows.is_eas(flow):
                body = self.exchanges.begin(flow)
                keep = self._keep_bodies
            else:
                self.exchanges.passed_by(flow)
                question = self.exchanges.discoveries.begin(flow)
                keep = self._keep_bodies and question is not None
        answered = flow.response is not None  # by a script or another addon of mitmproxy's
        if not (keep or answered or self._listeners().want_request(flow.request)):
            flow.request.stream = (body or True) if question is None else question.passes

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        try:
            if flows.is_captured(flow):
                return
            if flow.response is not None and self._may_stream(flow, flow.response):
                flow.response.stream = True
        except Exception as error:
            self._fault(error)

    def _may_stream(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        if flows.answered_here(flow) or self._listeners().want_answer(flow.request, response):
            return False
        if self.exchanges is None:
            return True
        if self.exchanges.has_begun(flow) or flows.is_eas(flow):
            return not self._keep_bodies and self.exchanges.may_stream(flow, response)
        return self.exchanges.discoveries.may_stream(flow, response)

    def response(self, flow: http.HTTPFlow) -> Coroutine[None, None, None] | None:
        """What is left to be awaited: only where the directory must be asked."""
        try:
            if stopped(flow):
                self.error(flow)
            elif self.exchanges is not None:
                return self.exchanges.answered(flow)
        except Exception as error:
            self._fault(error)
        return None

    def error(self, flow: http.HTTPFlow) -> None:
        try:
            if self.exchanges is not None:
                self.exchanges.failed(flow)
        except Exception as error:
            self._fault(error)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """An upgraded connection is a tunnel; mitmproxy would keep all that passes through it."""
        if not (self._keep_bodies or flows.is_captured(flow)):
            flow.messages.clear()

    # -- inside ----------------------------------------------------------------------------------

    def _fault(self, error: Exception) -> None:
        """A hook never raises: mitmproxy would log what an exception says, which may be a client's
        secret."""
        if self.exchanges is not None:
            self.exchanges.fault(error)

    def _replace(self, engine: Engine) -> None:
        """As much of mitmproxy as is wanted and fits."""
        parts = replaced.replace(engine, ctx.master.addons)
        if (engine, parts) != (self._engine, self._parts):
            self._engine, self._parts = engine, parts
            replaced.say(engine, parts)

    def _listeners(self) -> Listeners:
        """Scripts come and go without a word to other addons, so they are looked for again."""
        now = time.monotonic()
        if now >= self._listeners_until:
            self._listeners_until = now + LISTENERS_S
            options = {name: option.current() for name, option in ctx.options.items()}
            found = listeners.find_listeners(ctx.master.addons.chain, options)
            for name in found.names:
                if name not in self._heard.names:
                    logger.warning(
                        "eas-redirect: %s has to see whole messages: bodies up to %d KiB are held "
                        "for it. %s.",
                        *(name, listeners.MAX_HELD // 1024, listeners.PASSES),
                    )
            self._heard = found
        return self._heard

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
        for warning in (*review.warnings, *flows.udp_advice()):
            logger.warning("eas-redirect: %s", warning)

    def _follow_hangups(self) -> None:
        """SIGHUP, which would end mitmdump. `run` holds it back until here."""
        if hasattr(signal, "SIGHUP"):
            with contextlib.suppress(ValueError, RuntimeError):  # a loop in a thread: no signals
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
                hangups.release()

    def _hang_up(self) -> None:
        """Open the journal again, and read the certificates again for connections to come."""
        self._hung_up = not self._started.is_set()
        if self._hung_up:
            return
        if self.service is not None:
            self.service.reopen()
            self._front.renew(self.service.config.exchange.host_names)
            self._later(self._renew_trust())

    async def _renew_trust(self) -> None:
        fault = await self._behind.renew_trust(ASK_TIMEOUT_S)
        if fault is not None and self.monitor is not None:
            self.monitor.upstream.doubt(fault.why)

    def _proxy(self) -> ProxyFacts:
        return ProxyFacts(
            config_path=lambda: str(ctx.options.eas_config),
            engine_parts=lambda: [
                (str(self._engine), name, state) for name, state in self._parts.items()
            ],
            listen=lambda: "off" if only_looks() else str(ctx.options.eas_metrics),
            peer=self._behind.peer,
            ask=self._behind.ask,
            front_expires=lambda: self._front.expires,
            front_refused=lambda: self._front.refused,
            open_exchanges=lambda: 0 if self.exchanges is None else len(self.exchanges),
            open_waits=lambda: 0 if self.exchanges is None else self.exchanges.waits,
            watched_waits=self._watched_waits,
            waiting_accounts=lambda: {} if self.wait_watch is None else self.wait_watch.accounts,
            draining=lambda: bool(getattr(ctx.master, "draining", False)),
        )
