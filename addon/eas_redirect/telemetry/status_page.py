"""The status page: a `Status` in, one self-contained HTML page out. Pure; no script at all.

`data/status.html` is the page, and everything that came from a client, the directory or a file is
escaped in it. Its only style sheet is its own; `CONTENT_SECURITY_POLICY` forbids anything else.
"""

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from eas_redirect.telemetry.printable import printable
from eas_redirect.telemetry.status import Status

REFRESH_S = 10
MAX_CELL = 120  # characters; longer values are cut, so that no guest can break the layout

_DATA = files("eas_redirect").joinpath("data")
_STYLE = _DATA.joinpath("status.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_TONES = {
    "redirect": "good",
    "would_redirect": "good",
    "end_wait": "good",
    "would_end_wait": "good",
    "answering": "good",
    "stale": "warn",
    "blind": "bad",
    "unavailable": "bad",
    "unknown": "warn",
}


def render(status: Status) -> str:
    """The whole page."""
    return _PAGE.render(
        status=status,
        style=_STYLE,
        refresh_s=REFRESH_S,
        tones=_TONES,
        tiles=_tiles(status),
        findings=_findings(status),
        hit_rate=_hit_rate(status),
    )


_GONE_OVER = ("quiet", "confirmed")


def _tiles(status: Status) -> tuple[tuple[str, int, str], ...]:
    """Name, figure, and the tone of one that is not zero."""
    by_decision: dict[str, int] = {}
    for line in status.reasons:
        by_decision[line.decision] = by_decision.get(line.decision, 0) + line.count
    return (
        ("exchanges", sum(by_decision.values()), ""),
        ("redirected", by_decision.get("redirect", 0), "good"),
        ("would be redirected", by_decision.get("would_redirect", 0), "good"),
        ("devices gone over", sum(status.ledger.get(one, 0) for one in _GONE_OVER), "good"),
        ("devices stuck", status.ledger.get("stuck", 0), "bad"),
        ("waiting now", status.open_waits, ""),
        ("waits ended", status.waits.ended, "good"),
        ("addon errors", status.errors, "bad"),
    )


def _findings(status: Status) -> list[str]:
    """What needs a person, in sentences."""
    findings = []
    if status.configuration.problem:
        findings.append(
            f"The configuration file was refused, the last good one stays in force: "
            f"{status.configuration.problem}"
        )
    if status.directory.problem:
        findings.append(f"The directory: {status.directory.problem}")
    findings.extend(f"The directory: {unseen}" for unseen in status.directory.unseen)
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
    if not status.upstream.reachable:
        findings.append("Exchange does not answer.")
    if status.hanging:
        findings.append(
            f"Workers that do not answer: {status.hanging}. Phones whose connection they hold wait "
            "until they are replaced."
        )
    return findings


def _hit_rate(status: Status) -> str:
    cache = status.cache
    asked = cache.hits + cache.misses + cache.negative + cache.stale
    return f"{100 * (cache.hits + cache.negative) / asked:.0f} % of {asked:,}" if asked else "–"


def _text(value: str | None, limit: int = MAX_CELL) -> str:
    """Cut, and free of characters that could turn or hide the text around them."""
    if not value:
        return "–"
    return printable(value if len(value) <= limit else f"{value[: limit - 1]}…")


def _host(location: str | None) -> str:
    return (location or "").removeprefix("https://").partition("/")[0]


def _utc(timestamp_s: float, form: str) -> str:
    return datetime.fromtimestamp(timestamp_s, UTC).strftime(form)


def _ago(age_s: float | None) -> str:
    return "never" if age_s is None else f"{_span(age_s)} ago"


def _span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _page() -> Environment:
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    made.filters |= {
        "text": _text,
        "host": _host,
        "utc": _utc,
        "ago": _ago,
        "span": _span,
        "number": lambda value: f"{value:,}",
    }
    return made


_PAGE = _page().from_string(_DATA.joinpath("status.html").read_text(encoding="utf-8"))
