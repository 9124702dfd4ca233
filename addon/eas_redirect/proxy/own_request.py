"""A request of our own to Exchange, over the same TLS as the phones': does it answer at all?

OPTIONS without a logon changes nothing on any server, and every Exchange answers it. The same holds
for an Autodiscover POST without a question.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from mitmproxy import connection, ctx, tls
from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.context import Context
from OpenSSL import SSL

from eas_redirect import __version__
from eas_redirect.certificates.trouble import Peer
from eas_redirect.certificates.x509 import CertificateFileError
from eas_redirect.configuration.config import Config
from eas_redirect.proxy import flows, upstream_names
from eas_redirect.proxy.certificates import OLD_VERSIONS, UpstreamTrust
from eas_redirect.service.upstream import (
    AUTODISCOVER,
    OPTIONS,
    Answered,
    NoAnswer,
    UpstreamOutcome,
)

logger = logging.getLogger(__name__)

MAX_HEAD = 16 * 1024  # bytes of an answer that are looked at
_CHUNK = 16 * 1024
_GONE = "it closed the connection without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTarget:
    """The server behind a reverse proxy. `host` goes into our Host header. `only` is the configured
    name of its certificate; without it, `also` lists further valid names."""

    mode: mode_specs.ReverseMode
    host: str
    only: str | None = None
    also: tuple[str, ...] = ()
    trust: str | None = None  # the file that it is verified with


class Behind:
    """The Exchange behind this proxy, as a configuration names it and as phones have found it."""

    def __init__(self, config: Callable[[], Config | None]) -> None:
        self._config = config
        self._called: str | None = None  # a name by which a phone has reached it over TLS
        self.trust = UpstreamTrust()

    def reached(self, sni: str | None) -> None:
        self._called = sni or self._called

    @property
    def only_name(self) -> str | None:
        """`proxy.upstream_name`."""
        config = self._config()
        return None if config is None else config.proxy.upstream_name

    def peer(self) -> Peer | None:
        """What can be asked of it without mitmproxy; None unless there is exactly one server."""
        if (target := self._target()) is None:
            return None
        options, host = ctx.options, target.mode.address[0]
        return Peer(
            host=host,
            port=target.mode.address[1],
            tls=target.mode.scheme == "https",
            names=(target.only,) if target.only else (host, *target.also),
            ca_file=self.trust.source,
            old=options.tls_version_server_min in OLD_VERSIONS,
        )

    async def ask(self, timeout_s: float, line: str = OPTIONS) -> UpstreamOutcome:
        """Send one request of our own, given by method and path. If it fails and the file of
        trusted certificates has changed, adopt the new ones and try again, since the old ones do
        not work."""
        target = self._target()
        if target is None:
            return NoAnswer(why="there is not one server behind this proxy")
        outcome = await self._try(target, timeout_s, line)
        if isinstance(outcome, NoAnswer) and (new := self._changed_trust()) is not None:
            self.trust.use(new)
            outcome = await self._try(replace(target, trust=new), timeout_s, line)
        return outcome

    async def renew_trust(self, timeout_s: float) -> NoAnswer | None:
        """Adopt the changed file of trusted certificates, unless Exchange answers with the old ones
        and not with the new. Returns the failure with the new ones, if any."""
        target, new = self._target(), self._changed_trust()
        if target is None or new is None:
            return None
        outcome = await self._try(replace(target, trust=new), timeout_s)
        if isinstance(outcome, NoAnswer) and isinstance(
            await self._try(target, timeout_s), Answered
        ):
            logger.error(
                "eas-redirect: %s does not fit Exchange (%s): the certificates that it held before"
                " stay in force",
                self.trust.source,
                outcome.why,
            )
            return None
        self.trust.use(new)
        logger.info("eas-redirect: %s was read again", self.trust.source)
        return outcome if isinstance(outcome, NoAnswer) else None

    def _changed_trust(self) -> str | None:
        """A copy of the file, if it has changed and can be read."""
        if not self.trust.has_changed():
            return None
        try:
            return self.trust.read()
        except CertificateFileError as error:
            logger.error("eas-redirect: the certificates that it held before stay: %s", error)
            return None

    async def _try(
        self, target: OwnTarget, timeout_s: float, line: str = OPTIONS
    ) -> UpstreamOutcome:
        try:
            async with asyncio.timeout(timeout_s):
                return await _ask(target, line, lambda: self._prepared(target))
        except TimeoutError:
            return NoAnswer(why=f"no answer within {timeout_s:g} s")
        except SSL.Error as error:
            return NoAnswer(why=_openssl(error))
        except (OSError, RuntimeError) as error:  # RuntimeError: mitmproxy cannot use the CA file
            return NoAnswer(why=getattr(error, "strerror", None) or str(error))

    def _target(self) -> OwnTarget | None:
        mode, config = flows.reverse_upstream(), self._config()
        if mode is None or config is None:
            return None
        names = tuple(filter(None, (*config.exchange.host_names, self._called)))
        only = config.proxy.upstream_name
        host = only or next(iter(names), mode.address[0])
        return OwnTarget(mode=mode, host=host, only=only, also=names, trust=self.trust.in_force)

    def _prepared(self, target: OwnTarget) -> SSL.Connection:
        with self.trust.tried(target.trust):
            return _prepared(target)


async def _ask(
    target: OwnTarget, line: str, prepare: Callable[[], SSL.Connection]
) -> UpstreamOutcome:
    host, port = target.mode.address[:2]
    reader, writer = await asyncio.open_connection(host, port)
    expires = None
    body = "Content-Type: text/xml\r\nContent-Length: 0\r\n" if line == AUTODISCOVER else ""
    request = (
        f"{line} HTTP/1.1\r\nHost: {target.host}\r\n{body}"
        f"User-Agent: eas-redirect/{__version__}\r\nConnection: close\r\n\r\n"
    ).encode("latin-1", "replace")
    try:
        wire = _Plain(reader, writer)
        if target.mode.scheme == "https":
            wire = secured = _Secured(reader, writer, prepare())
            if (fault := await secured.handshake()) is not None:
                return NoAnswer(why=fault)
            expires = secured.expires
        await wire.send(request)
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MAX_HEAD and (more := await wire.receive()):
            head += more
        return _answer(head, expires)
    finally:
        writer.transport.abort()


def _answer(head: bytes, expires: datetime | None) -> UpstreamOutcome:
    words = head.partition(b"\r\n")[0].split(b" ", 2)
    if len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1].isdigit():
        text = head.partition(b"\r\n\r\n")[0].decode("latin-1")
        return Answered(status=int(words[1]), head=text, expires=expires)
    return NoAnswer(why="what it answers is not HTTP" if head else _GONE)


def _prepared(target: OwnTarget) -> SSL.Connection:
    """TLS as a phone's exchange would have it that names no server."""
    mode = target.mode
    client = connection.Client(
        peername=("127.0.0.1", 0), sockname=("127.0.0.1", 0), timestamp_start=0.0, proxy_mode=mode
    )
    context = Context(client, ctx.options)
    context.server = connection.Server(address=mode.address)
    data = tls.TlsData(context.server, context)
    upstream_names.accept_both(data, target.only, target.also)
    if data.ssl_conn is None:
        raise RuntimeError("mitmproxy has not prepared TLS")
    return data.ssl_conn


class _Plain:
    """A plain TCP stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Some bytes; none at the end."""
        return await self._reader.read(_CHUNK)


class _Secured(_Plain):
    """TLS in memory over a stream."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secured: SSL.Connection
    ) -> None:
        super().__init__(reader, writer)
        self._tls = secured

    @property
    def expires(self) -> datetime | None:
        """When the server's certificate expires, after the handshake."""
        certificate = self._tls.get_peer_certificate()
        return None if certificate is None else certificate.to_cryptography().not_valid_after_utc

    async def handshake(self) -> str | None:
        """Why it failed; None when it did not."""
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                await self._flush()
                if not await self._fill():
                    return "it closed the connection during the handshake"
            except SSL.Error as error:
                await self._flush()
                return _openssl(error)
            else:
                await self._flush()
                return None

    async def send(self, data: bytes) -> None:
        self._tls.send(data)
        await self._flush()

    async def receive(self) -> bytes:
        while True:
            try:
                return self._tls.recv(_CHUNK)
            except SSL.WantReadError:
                if not await self._fill():
                    return b""
            except SSL.ZeroReturnError:
                return b""

    async def _fill(self) -> bool:
        data = await self._reader.read(_CHUNK)
        if data:
            self._tls.bio_write(data)
        return bool(data)

    async def _flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while data := self._tls.bio_read(_CHUNK):
                self._writer.write(data)
        await self._writer.drain()


def _openssl(error: SSL.Error) -> str:
    """The reason of the last OpenSSL error."""
    entries = error.args[0] if error.args else ()
    words = [str(entry[-1]) for entry in entries if entry] if isinstance(entries, list) else []
    return words[-1] if words else "the handshake failed"
