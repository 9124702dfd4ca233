"""What `metrics.listen` serves: `/metrics`, `/health`, `/ready` and the status page, which names
users and devices to readers on this machine only.

One `MetricsSite` per process. The supervisor of several workers has one too, over the sum of
theirs; the workers then listen on Unix sockets of its own and also serve `/status`, the values
behind the page.
Imports neither mitmproxy nor ldap3.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import TypeAdapter

from eas_redirect import __version__
from eas_redirect.telemetry.metrics import Exposition, Metrics
from eas_redirect.telemetry.status import Status
from eas_redirect.telemetry.status_page import CONTENT_SECURITY_POLICY, render
from eas_redirect.telemetry.web import ListenAddress, Maker, Page, WebServer

JSON = "application/json"
HTML = "text/html; charset=utf-8"
STATUS = TypeAdapter(Status)
WAITS = TypeAdapter(dict[str, int])


async def _nobody_waits() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What a site shows, made when asked. `waits`: how many devices of an account wait, of those
    whose waits may be ended; accounts by their `user.id` of the journal."""

    status: Callable[[], Awaitable[Status]]
    metrics: Callable[[], Awaitable[bytes]]
    waits: Callable[[], Awaitable[Mapping[str, int]]] = _nobody_waits


def views(
    metrics: Metrics,
    status: Callable[[], Status],
    look: Callable[[], Awaitable[None]],
    waits: Callable[[], Mapping[str, int]] = dict,
) -> Views:
    """The views of one process. `look` gathers what has to be waited for, before each."""
    exposition = Exposition(metrics)

    async def current_status() -> Status:
        await look()
        return status()

    async def current_metrics() -> bytes:
        await look()
        return exposition.render()

    async def current_waits() -> Mapping[str, int]:
        return waits()

    return Views(status=current_status, metrics=current_metrics, waits=current_waits)


logger = logging.getLogger(__name__)


class MetricsSite:
    """The pages over their server."""

    def __init__(self, views: Views, host_names: Callable[[], Collection[str]] = tuple) -> None:
        """`host_names`: by which the page for people may be called, besides addresses."""
        self._views = views
        self._host_names = host_names
        self._server: WebServer | None = None

    async def start(self, address: ListenAddress) -> None:
        """Raises OSError when the address cannot be had."""
        pages: dict[str, Maker] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/health": _health,
            "/ready": self._ready,
            "/ready?for=mail": self._carries_mail,
            "/waits": self._waits,
        }
        elsewhere: dict[str, Maker] = {"/": self._page_elsewhere}
        if address.path is not None:
            pages["/status"] = self._status
            elsewhere["/status"] = self._status_elsewhere
        server = WebServer(
            pages, for_people={"/"}, elsewhere=elsewhere, host_names=self._host_names
        )
        await server.start(address)
        if address.is_everywhere:
            logger.warning(
                "eas-redirect: metrics.listen is open to every network of this machine: write"
                " 127.0.0.1:%d, or close it in the firewall",
                server.port,
            )
        self._server = server

    @property
    def port(self) -> int:
        return 0 if self._server is None else self._server.port

    def __str__(self) -> str:
        """Where it listens."""
        return "nowhere" if self._server is None else str(self._server.address)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _page(self) -> Page:
        return await _in_html(await self._views.status())

    async def _page_elsewhere(self) -> Page:
        status = await self._views.status()
        return await _in_html(status.elsewhere())

    async def _metrics(self) -> Page:
        return Page(body=await self._views.metrics(), content_type=CONTENT_TYPE_LATEST)

    async def _ready(self) -> Page:
        """For fronts that have a by-pass."""
        status = await self._views.status()
        return _verdict(status, good=status.ready)

    async def _carries_mail(self) -> Page:
        """For those that have none."""
        status = await self._views.status()
        return _verdict(status, good=status.carries_mail)

    async def _waits(self) -> Page:
        """For `explain`, which is another process."""
        return _json(dict(await self._views.waits()))

    async def _status(self) -> Page:
        return Page(body=STATUS.dump_json(await self._views.status()), content_type=JSON)

    async def _status_elsewhere(self) -> Page:
        status = await self._views.status()
        return Page(body=STATUS.dump_json(status.elsewhere()), content_type=JSON)


async def _in_html(status: Status) -> Page:
    """In a thread: phones do not wait for a page."""
    text = await asyncio.to_thread(render, status)
    return Page(
        body=text.encode("utf-8", "replace"),
        content_type=HTML,
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
    )


async def _health() -> Page:
    return _json({"status": "ok", "version": __version__})


def _verdict(status: Status, *, good: bool) -> Page:
    said: dict[str, object] = {
        "status": "ready" if good else "not ready",
        "checks": status.checks,
        **({"why": status.why} if status.why else {}),
    }
    return _json(said, HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)


def _json(value: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(body=json.dumps(value).encode() + b"\n", content_type=JSON, status=status)
