"""The status page: a `Status` in, one self-contained HTML page out. Pure.

`data/status.html` is the page. It answers four questions: is it working, who is meant, who moved,
who is stuck and what to do next.
"""

from eas_redirect.telemetry.html_pages import render_page, security_policy
from eas_redirect.telemetry.printable import number
from eas_redirect.telemetry.status import Status

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
    """The answer in one sentence; why not stands below it."""
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
    """What needs a person and stands in none of the four parts, in sentences."""
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
