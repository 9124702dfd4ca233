"""The status page: a `Status` in, one self-contained HTML page out. Pure; no script at all.

Everything that came from a client, the directory or a file is escaped. The page's only style sheet
is its own, and `CONTENT_SECURITY_POLICY` lets the browser use nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from eas_redirect.telemetry.printable import printable
from eas_redirect.telemetry.status import (
    DecisionLine,
    ReasonCount,
    RelationshipLine,
    Status,
)

REFRESH_S = 10
MAX_CELL = 120  # characters; longer values are cut, so that no guest can break the layout

_STYLE = files("eas_redirect").joinpath("data/status.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

_TONES = {
    "redirect": "good",
    "would_redirect": "good",
    "answering": "good",
    "stale": "warn",
    "blind": "bad",
    "unavailable": "bad",
    "unknown": "warn",
}


def render(status: Status) -> str:
    """The whole page."""
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="refresh" content="{REFRESH_S}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex"><title>eas-redirect · '
            f"{_text(status.mode)}</title><style>{_STYLE}</style></head><body>",
            _header(status),
            "<main>",
            _tiles(status),
            _findings(status),
            '<div class="pair">',
            _reasons(status.reasons),
            _surroundings(status),
            "</div>",
            _relationships(status.relationships),
            _decisions(status.last),
            "</main>",
            _footer(status),
            "</body></html>",
        )
    )


def _header(status: Status) -> str:
    ready = _badge("ready", "good") if status.ready else _badge("not ready", "bad")
    if status.draining:
        ready = _badge("draining", "warn")
    mode = _badge(status.mode, "enforce" if status.mode == "enforce" else "observe")
    workers = f" · {status.workers} workers" if status.workers > 1 else ""
    return (
        f"<header><h1>eas-redirect</h1>{mode}{ready}"
        f'<p class="quiet">up {_span(status.now_s - status.started_s)}{workers} · '
        f"{_time(status.now_s)} · version {_text(status.version)}</p></header>"
    )


def _tiles(status: Status) -> str:
    by_decision: dict[str, int] = {}
    for line in status.reasons:
        by_decision[line.decision] = by_decision.get(line.decision, 0) + line.count
    observed = by_decision.get("would_redirect", 0)
    tiles = [
        ("exchanges", sum(by_decision.values()), ""),
        ("redirected", by_decision.get("redirect", 0), "good"),
        ("would be redirected", observed, "good" if observed else ""),
        ("devices gone over", status.ledger.get("quiet", 0), "good"),
        ("devices stuck", status.ledger.get("stuck", 0), "bad"),
        ("waiting now", status.open_waits, ""),
        ("addon errors", status.errors, "bad"),
    ]
    return f'<section class="tiles">{"".join(_tile(*tile) for tile in tiles)}</section>'


def _tile(name: str, value: int, tone: str) -> str:
    shown = tone if value else ""
    return f'<div class="tile {shown}"><b>{value:,}</b><span>{name}</span></div>'


def _findings(status: Status) -> str:
    """What needs a person, in sentences; nothing when all is well."""
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
    if not status.upstream.reachable:
        findings.append("Exchange does not answer.")
    if status.hanging:
        findings.append(
            f"Workers that do not answer: {status.hanging}. Phones whose connection they hold wait "
            "until they are replaced."
        )
    if not findings:
        return ""
    items = "".join(f"<li>{_text(finding, 400)}</li>" for finding in findings)
    return f'<section class="findings"><ul>{items}</ul></section>'


def _reasons(reasons: tuple[ReasonCount, ...]) -> str:
    if not reasons:
        return '<section><h2>Decisions</h2><p class="quiet">None yet.</p></section>'
    most = max(line.count for line in reasons)
    rows = "".join(_reason_row(line, most) for line in reasons)
    return f'<section><h2>Decisions</h2><table class="bars">{rows}</table></section>'


def _reason_row(line: ReasonCount, most: int) -> str:
    width = max(1.0, 100 * line.count / most)
    tone = _TONES.get(line.decision, "plain")
    return (
        f'<tr><th scope="row">{_text(line.reason)}</th><td class="bar"><svg aria-hidden="true">'
        f'<rect class="{tone}" width="{width:.1f}%" height="100%" rx="3"/></svg></td>'
        f'<td class="number">{line.count:,}</td></tr>'
    )


def _surroundings(status: Status) -> str:
    directory, cache = status.directory, status.cache
    asked = cache.hits + cache.misses + cache.negative + cache.stale
    hit_rate = f"{100 * (cache.hits + cache.negative) / asked:.0f} % of {asked:,}" if asked else "–"
    facts = [
        ("Directory", _badge(directory.state, _TONES[directory.state])),
        ("Source", _text(_named(directory.source, directory.server))),
        ("Relationships read", _ago(directory.age_s)),
        ("Answered by the cache", f"{hit_rate}; {cache.entries:,} entries"),
        ("Exchange", _text(status.upstream.address)),
        ("Last seen", _ago(status.upstream.age_s)),
        ("Who is meant", _text(status.configuration.meant)),
        ("Configuration", _text(status.configuration.path)),
        ("Read", _time(status.configuration.loaded_s)),
    ]
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return f"<section><h2>Surroundings</h2><dl>{rows}</dl></section>"


def _relationships(lines: tuple[RelationshipLine, ...]) -> str:
    rows = (
        (
            _text(line.name),
            _text(", ".join(line.domain_names)),
            _text(line.target_owa_url),
            _text(line.eas_host) if line.eas_host else _badge("nobody", "bad"),
            _text(line.note or ("" if line.enabled else "disabled")),
        )
        for line in lines
    )
    heads = ("Relationship", "Domains", "TargetOwaURL", "Phones are sent to", "Note")
    return _table("Relationships", heads, rows)


def _decisions(lines: tuple[DecisionLine, ...]) -> str:
    rows = (
        (
            _time(line.timestamp_s),
            _badge(line.decision.replace("_", " "), _TONES.get(line.decision, "plain")),
            _text(line.reason),
            _text(line.user),
            _text(line.device),
            _text(line.command),
            _text((line.location or "").removeprefix("https://").partition("/")[0]),
        )
        for line in lines
    )
    heads = ("Time", "Decision", "Reason", "User", "Device", "Command", "Sent to")
    return _table("Last decisions", heads, rows)


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return f'<section><h2>{title}</h2><p class="quiet">None yet.</p></section>'
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<section><h2>{title}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _footer(status: Status) -> str:
    checks = " · ".join(f"{name}: {_text(state)}" for name, state in status.checks.items())
    return (
        f'<footer class="quiet">{checks} · <a href="/metrics">metrics</a> · '
        f'<a href="/health">health</a> · <a href="/ready">ready</a> · '
        f"refreshes every {REFRESH_S} s</footer>"
    )


def _badge(text: str, tone: str) -> str:
    return f'<span class="badge {tone}">{_text(text)}</span>'


def _text(value: str | None, limit: int = MAX_CELL) -> str:
    """Escaped, cut, and free of characters that could turn or hide the text around them."""
    if not value:
        return "–"
    cut = value if len(value) <= limit else f"{value[: limit - 1]}…"
    return escape(printable(cut))


def _named(kind: str, name: str | None) -> str:
    return f"{kind}, {name}" if name else kind


def _time(timestamp_s: float) -> str:
    if timestamp_s <= 0:
        return "–"
    moment = datetime.fromtimestamp(timestamp_s, UTC)
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'


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
