"""What `metrics.listen` serves: `/metrics`, `/health`, `/ready` and the status page, which shows
users and devices only to readers on this machine.

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
from eas_redirect.telemetry.html_pages import render_page, security_policy
from eas_redirect.telemetry.metrics import Exposition, Metrics
from eas_redirect.telemetry.printable import number
from eas_redirect.telemetry.status import Status
from eas_redirect.telemetry.web import ListenAddress, Maker, Page, WebServer

# The status page: a `Status` in, one self-contained HTML page out.
#
# `data/status.html` is the page. It answers four questions: is it working, who is meant, who moved,
# who is stuck and what to do next.

CONTENT_SECURITY_POLICY = (
    security_policy("page.css", "status.js", connects=True) + "; frame-ancestors 'none'"
)

_TONES = {
    "redirect": "good",
    "would_redirect": "observe",
    "end_wait": "good",
    "would_end_wait": "observe",
    "answering": "good",
    "stale": "warn",
    "blind": "bad",
    "unavailable": "bad",
    "unknown": "warn",
}
_LABELS = {
    "redirect": "redirected",
    "would_redirect": "would be redirected",
    "end_wait": "wait ended",
    "would_end_wait": "wait would be ended",
    "pass": "passed on",
}


def render(status: Status) -> str:
    """The whole page."""
    return render_page(
        "status.html",
        {
            "status": status,
            "tones": _TONES,
            "labels": _LABELS,
            "works": _works(status),
            "meant": _meant(status),
            "tiles": _tiles(status),
            "findings": _findings(status),
            "hit_rate": _hit_rate(status),
        },
    )


def _works(status: Status) -> str:
    """The answer in one sentence; reasons follow below it."""
    if status.ready:
        goes = "moved ones are redirected" if status.mode == "enforce" else "nobody is redirected"
        return f"Yes. Phones reach Exchange through it, and {goes}."
    if status.carries_mail:
        return "Not wholly. Phones reach Exchange through it, and nobody can be redirected."
    return "No. Phones do not reach Exchange through it."


def _meant(status: Status) -> str:
    mode, _, who = status.configuration.meant.partition(" for ")
    if not who:
        return "Not known yet."
    if mode == "observe":
        return f"Nobody yet: it observes. It journals what it would do for {who}."
    return f"Whose mailbox has moved, out of {who}."


def _tiles(status: Status) -> tuple[tuple[str, int, str, str], ...]:
    """Name, figure, words, and the tone of one that is not zero."""
    decided: dict[str, int] = {}
    for line in status.reasons:
        decided[line.decision] = decided.get(line.decision, 0) + line.count
    ledger = status.ledger
    would = decided.get("would_redirect", 0)
    return (
        ("Answers redirected", decided.get("redirect", 0), "451, with the new server", "good"),
        *((("Would be redirected", would, "in observe mode", "observe"),) if would else ()),
        ("Just told", ledger.get("redirected", 0), "devices; too early to say more", ""),
        ("Seen at the target", ledger.get("confirmed", 0), "devices; they have arrived", "good"),
        ("Followed", ledger.get("quiet", 0), "devices; presumed from their silence", "good"),
        ("Came back", ledger.get("returned", 0), "devices; not often enough to be stuck", "warn"),
        ("Stuck", ledger.get("stuck", 0), "devices; see below", "bad"),
        ("Not redirected", ledger.get("seen", 0), "devices", ""),
    )


def _findings(status: Status) -> list[str]:
    """What needs a person and is in none of the four parts, in sentences."""
    findings = [f"The directory: {unseen}" for unseen in status.directory.unseen]
    if status.directory.problem and status.directory.error is None:
        findings.append(f"The directory: {status.directory.problem}")
    if not status.relationships and status.directory.state in ("answering", "stale"):
        findings.append(
            "No relationship can be read, so nobody is redirected. Does the account have the "
            "right to read CN=Federation?"
        )
    if status.waits.problem:
        findings.append(
            "The directory does not say whose mailbox has moved, so no wait is ended: "
            f"{status.waits.problem}"
        )
    if not status.upstream.reachable and status.upstream.error is None:
        findings.append("Exchange does not answer.")
    if status.hanging:
        findings.append(
            f"Workers that do not answer: {status.hanging}. Phones whose connection they hold wait "
            "until they are replaced."
        )
    if status.full:
        findings.append(
            "It is running out of file descriptors: raise LimitNOFILE, or start more workers."
        )
    return findings


def _hit_rate(status: Status) -> str:
    cache = status.cache
    asked = cache.hits + cache.misses + cache.negative + cache.stale
    if not asked:
        return "–"
    return f"{100 * (cache.hits + cache.negative) / asked:.0f} % of {number(asked)}"


JSON = "application/json"
HTML = "text/html; charset=utf-8"
STATUS = TypeAdapter(Status)
WAITS = TypeAdapter(dict[str, int])


async def _nobody_waits() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What a site shows, made on request. `waits`: how many devices of each account are in waits
    that may be ended; accounts by the journal's `user.id`."""

    status: Callable[[], Awaitable[Status]]
    metrics: Callable[[], Awaitable[bytes]]
    waits: Callable[[], Awaitable[Mapping[str, int]]] = _nobody_waits


def views(
    metrics: Metrics,
    status: Callable[[], Status],
    look: Callable[[], Awaitable[None]],
    waits: Callable[[], Mapping[str, int]] = dict,
) -> Views:
    """The views of one process. `look` first gathers whatever must be awaited."""
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
    """The pages and their server."""

    def __init__(self, views: Views, host_names: Callable[[], Collection[str]] = tuple) -> None:
        """`host_names`: names by which the page for people may be called, besides addresses."""
        self._views = views
        self._host_names = host_names
        self._server: WebServer | None = None

    async def start(self, address: ListenAddress) -> None:
        """Raises OSError if the address cannot be used."""
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
        """For fronts with a by-pass."""
        status = await self._views.status()
        return _verdict(status, good=status.ready)

    async def _carries_mail(self) -> Page:
        """For fronts without a by-pass."""
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
    """In a thread: phones must not wait for a page."""
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
