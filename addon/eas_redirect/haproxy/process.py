"""`eas-redirect judge` as a process: its service, its pages, its signals."""

import asyncio
import http.client
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import assert_never

from eas_redirect import __version__
from eas_redirect.certificates.handshake import ServerTLS, any_tls
from eas_redirect.certificates.trouble import Peer, Trouble, examine
from eas_redirect.configuration.config import Config
from eas_redirect.configuration.sources import Override
from eas_redirect.engine import hangups
from eas_redirect.haproxy.answering import Answering, LegacyServer
from eas_redirect.haproxy.listener import Listener, ListenError
from eas_redirect.judging.challenges import Challenges
from eas_redirect.service.challenge_probe import OF_AUTODISCOVER, ChallengeProbe
from eas_redirect.service.monitor import Monitor, ProxyFacts
from eas_redirect.service.service import Service
from eas_redirect.service.upstream import (
    AUTODISCOVER,
    OPTIONS,
    Answered,
    NoAnswer,
    UpstreamOutcome,
)
from eas_redirect.service.watching import Reloader, Watcher
from eas_redirect.telemetry.printable import Printable
from eas_redirect.telemetry.writing import queue_standard_streams, stop_within

logger = logging.getLogger(__name__)


def run_judge(path: Path, config: Config, overrides: Mapping[str, Override]) -> int:
    """Run until a signal ends it. Raises ConfigError, SnapshotError, OSError and ListenError if it
    cannot start."""
    queue_standard_streams()
    _set_up_logging()
    return asyncio.run(_main(path, config, overrides))


def _set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Printable())
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s] %(message)s", handlers=[handler], force=True
    )


async def _main(path: Path, config: Config, overrides: Mapping[str, Override]) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    reloader = Reloader(path, config, overrides)  # before the service, which may have to wait
    service = Service(config)
    try:
        await _serve(service, path, config, reloader, stopped)
    finally:
        service.close()
    return 0


async def _serve(
    service: Service,
    path: Path,
    config: Config,
    reloader: Reloader,
    stopped: asyncio.Event,
) -> None:
    server, challenges, of_autodiscover = legacy_server_of(config), Challenges(), Challenges()
    listener = Listener(Answering(service, server, challenges, of_autodiscover).reply)
    ask = asker(lambda: peer_of(service.config))
    monitor = Monitor(
        service,
        ProxyFacts(
            config_path=lambda: str(path),
            peer=lambda: peer_of(service.config),
            ask=ask,
            open_exchanges=lambda: listener.open,
            questions_refused=lambda: listener.refused,
            draining=stopped.is_set,
        ),
    )
    watcher = Watcher(service, reloader)
    probes = (
        ChallengeProbe(challenges, lambda: str(server), ask),
        ChallengeProbe(
            of_autodiscover,
            lambda: str(server) if service.judge.policy.discovery.weighs_weak else None,
            asker(lambda: peer_of(service.config), AUTODISCOVER),
            **OF_AUTODISCOVER,
        ),
    )
    try:
        service.start()
        await listener.start(config.judge.listen)
        watcher.start()
        for probe in probes:
            probe.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reopen)
        hangups.release()
        logger.info("eas-redirect: %s", service.summary())
        if await monitor.follow():
            logger.info("eas-redirect: judging at %s", config.judge.listen)
            await stopped.wait()
            await _stop(listener, service.config.proxy.stop_timeout_s)
        else:
            raise ListenError(f"metrics.listen: {config.metrics.listen} cannot be listened at")
    finally:
        await listener.stop(0)
        for probe in probes:
            probe.close()
        watcher.close()
        monitor.close()


async def _stop(listener: Listener, within_s: float) -> None:
    stop_within(within_s)
    logger.info(
        "eas-redirect: stopping; %d questions under way, at most %g s for them",
        listener.open,
        within_s,
    )
    await listener.stop(within_s)


# -- the Exchange behind HAProxy ----------------------------------------------------------------


def legacy_server_of(config: Config) -> LegacyServer:
    """From `proxy.upstream`, which a reload may have removed."""
    url = config.proxy.upstream_url
    host, port = url.address if url else ("", 443)
    return LegacyServer(host=host, port=port)


def peer_of(config: Config) -> Peer:
    server = legacy_server_of(config)
    name = config.proxy.upstream_name
    return Peer(
        host=server.host,
        port=server.port,
        tls=(config.proxy.upstream or "").startswith("https:"),
        names=(name,) if name else (server.host,),
        ca_file=config.proxy.upstream_ca,
        old=True,  # HAProxy's own configuration says how old it may be
    )


def asker(
    peer: Callable[[], Peer], line: str = OPTIONS
) -> Callable[[float], Awaitable[UpstreamOutcome]]:
    """One request of our own to Exchange, within so many seconds."""

    async def ask(timeout_s: float) -> UpstreamOutcome:
        return await asyncio.to_thread(_ask, peer(), timeout_s, line)

    return ask


def _ask(peer: Peer, timeout_s: float, line: str) -> UpstreamOutcome:
    """Without a logon, and only after checking the certificate. It changes nothing."""
    expires = None
    if peer.tls:
        match examine(peer, timeout_s / 2):
            case Trouble() as trouble:
                return NoAnswer(why=str(trouble))
            case ServerTLS(certificate=certificate):
                expires = None if certificate is None else certificate.not_valid_after_utc
            case None:
                pass
            case other:
                assert_never(other)
    connection = (
        http.client.HTTPSConnection(peer.host, peer.port, timeout=timeout_s / 2, context=any_tls())
        if peer.tls
        else http.client.HTTPConnection(peer.host, peer.port, timeout=timeout_s)
    )
    try:
        own = f"eas-redirect/{__version__}"
        name = peer.names[0] if peer.names else peer.host
        method, _, path = line.partition(" ")
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for field, value in (("Host", name), ("User-Agent", own), ("Connection", "close")):
            connection.putheader(field, value)
        if line == AUTODISCOVER:
            connection.putheader("Content-Type", "text/xml")
            connection.putheader("Content-Length", "0")
        connection.endheaders()
        return Answered(status=connection.getresponse().status, expires=expires)
    except OSError as error:
        return NoAnswer(why=error.strerror or str(error) or "no answer in time")
    except http.client.HTTPException:
        return NoAnswer(why="what it answers is not HTTP")
    finally:
        connection.close()
