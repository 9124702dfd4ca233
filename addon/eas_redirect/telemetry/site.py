"""What `metrics.listen` serves: `/metrics`, `/health`, `/ready` and the status page.

One `Site` per process. The supervisor of several workers has one too, over the sum of theirs; the
workers then listen on Unix sockets of its own and also serve `/status`, the values behind the page.
Imports neither mitmproxy nor ldap3.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import TypeAdapter

from eas_redirect import __version__
from eas_redirect.telemetry.exposition import CONTENT_TYPE, Exposition
from eas_redirect.telemetry.metrics import Metrics
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.status import Status, UpstreamLine
from eas_redirect.telemetry.status_page import CONTENT_SECURITY_POLICY, render
from eas_redirect.telemetry.web import Address, Maker, Page, WebServer

JSON = "application/json"
HTML = "text/html; charset=utf-8"
STATUS = TypeAdapter(Status)

SEEN_S = 60.0  # an Exchange that answered within this time need not be tried
TRIED_S = 5.0  # how long the outcome of a try holds
TRY_TIMEOUT_S = 2.0


class Upstream:
    """Whether the legacy Exchange answers: seen in the traffic, else tried with a TCP connection.

    A try is what lets a fresh proxy become ready before anybody sends it traffic.
    """

    def __init__(
        self,
        address: Callable[[], tuple[str, int] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._clock = clock
        self._seen_at: float | None = None
        self._tried_at = float("-inf")
        self._reachable = False

    def observe(self, record: Record) -> None:
        """A sink: any answer of Exchange shows that it is there."""
        if record.upstream_status_code is not None:
            self._seen_at = self._clock()

    def line(self) -> UpstreamLine:
        address = self._address()
        age_s = None if self._seen_at is None else self._clock() - self._seen_at
        return UpstreamLine(
            address=None if address is None else f"{address[0]}:{address[1]}",
            age_s=age_s,
            reachable=self._seen_lately() or self._reachable,
        )

    async def look(self) -> None:
        """Try a connection, unless Exchange was seen or tried a short while ago."""
        address = self._address()
        if self._seen_lately() or self._clock() - self._tried_at < TRIED_S:
            return
        self._tried_at = self._clock()
        # Without one upstream (a regular or transparent proxy) there is nothing to try.
        self._reachable = address is None or await _connects(*address)
        if self._reachable and address is not None:
            self._seen_at = self._clock()

    def _seen_lately(self) -> bool:
        return self._seen_at is not None and self._clock() - self._seen_at < SEEN_S


async def _connects(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TRY_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The two things that a site shows, made when asked."""

    status: Callable[[], Awaitable[Status]]
    metrics: Callable[[], Awaitable[bytes]]


def views(
    metrics: Metrics, status: Callable[[], Status], look: Callable[[], Awaitable[None]]
) -> Views:
    """The views of one process. `look` gathers what has to be waited for, before each."""
    exposition = Exposition(metrics)

    async def current_status() -> Status:
        await look()
        return status()

    async def current_metrics() -> bytes:
        await look()
        return exposition.render()

    return Views(status=current_status, metrics=current_metrics)


class Site:
    """The pages over their server."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._server: WebServer | None = None

    async def start(self, address: Address) -> None:
        """Raises OSError when the address cannot be had."""
        pages: dict[str, Maker] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/health": _health,
            "/ready": self._ready,
        }
        if address.path is not None:
            pages["/status"] = self._status
        server = WebServer(pages)
        await server.start(address)
        self._server = server

    @property
    def port(self) -> int:
        return 0 if self._server is None else self._server.port

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _page(self) -> Page:
        status = await self._views.status()
        return Page(
            body=render(status).encode("utf-8", "replace"),
            content_type=HTML,
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        )

    async def _metrics(self) -> Page:
        return Page(body=await self._views.metrics(), content_type=CONTENT_TYPE)

    async def _ready(self) -> Page:
        status = await self._views.status()
        state = "ready" if status.ready else "not ready"
        return _json(
            {"status": state, "checks": status.checks},
            HTTPStatus.OK if status.ready else HTTPStatus.SERVICE_UNAVAILABLE,
        )

    async def _status(self) -> Page:
        return Page(body=STATUS.dump_json(await self._views.status()), content_type=JSON)


async def _health() -> Page:
    return _json({"status": "ok", "version": __version__})


def _json(value: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(body=json.dumps(value).encode() + b"\n", content_type=JSON, status=status)
