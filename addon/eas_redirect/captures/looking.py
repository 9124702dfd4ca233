"""Flows loaded from a capture, judged for display by today's configuration.

Looking changes nothing: no answer is replaced, nothing is journalled or counted, and what
mitmproxy writes to a file (`-w`, `hardump`) is what was captured.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from mitmproxy import ctx, flow, http

from eas_redirect.captures.capture import Seen, captured
from eas_redirect.judging.judge import Judgement
from eas_redirect.policy.decision import Pass
from eas_redirect.proxy import flows
from eas_redirect.service.service import Service

NOT_NAMED = "server_not_named"  # no verdict: the configuration does not name the server
_TODAY = "today: "
_BETWEEN = " · "  # a comment of before, and ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """What today's configuration decides about a captured flow. None: it decides nothing."""

    decision: str | None  # redirect, would_redirect, pass
    reason: str
    location: str | None = None
    target_domain: str | None = None
    relationship: str | None = None
    detail: str = ""
    by_settings: bool = False  # what a phone is told that has asked Autodiscover


# Beside the flows and not in their metadata, which is saved with them.
_verdicts: WeakKeyDictionary[flow.Flow, Today] = WeakKeyDictionary()


def verdict_of_today(looked_at: flow.Flow) -> Today | None:
    """None for a live flow, and for one that this addon has not judged."""
    return _verdicts.get(looked_at)


def only_looks() -> bool:
    """Whether this mitmproxy serves and replays nothing (`-n`), and so only shows flows."""
    options = {name: option.current() for name, option in ctx.options.items()}
    return not options.get("server", True) and not options.get("client_replay")


class Looking:
    """What the flows of a capture reveal about later ones, kept apart from live ones."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seen = Seen()

    async def look(self, loaded: http.HTTPFlow) -> None:
        """Judge a flow from a capture, and put the verdict where it can be seen."""
        judge = self._service.judge
        policy = judge.policy
        trusted = self._service.trusted_proxies
        found = captured(loaded, self._seen, policy.weak_statuses, trusted, policy.servers)
        today = Today(decision=None, reason=NOT_NAMED)
        if found.discovery is not None and (policy.discovery.phones == "off" or found.replaced):
            return
        if not found.foreign:
            today = _today(await found.judged_by(judge))
        _verdicts[loaded] = today
        if not _are_saved():
            loaded.comment = _commented(loaded.comment, today)
            if found.discovery is None:
                flows.mark_command(loaded, found.exchange.request)


def _today(judgement: Judgement) -> Today:
    verdict = judgement.verdict
    return Today(
        decision=judgement.decision,
        reason=str(verdict.reason),
        location=None if isinstance(verdict, Pass) else verdict.location,
        target_domain=verdict.target_domain,
        relationship=verdict.relationship,
        detail=verdict.detail,
        by_settings=judgement.discovery is not None,
    )


def _are_saved() -> bool:
    """Whether flows are written to a file as they are read, and with them their comments."""
    options = {name: option.current() for name, option in ctx.options.items()}
    return bool(options.get("save_stream_file") or options.get("hardump"))


def _commented(comment: str, today: Today) -> str:
    """An existing comment stays in front; an earlier verdict is replaced."""
    kept = comment.partition(_TODAY)[0].removesuffix(_BETWEEN)
    return f"{kept}{_BETWEEN if kept else ''}{_TODAY}{verdict_in_words(today)}"


def verdict_in_words(today: Today) -> str:
    """`451 → outlook.office365.com (mailbox_moved)`, as live flows are commented."""
    if today.decision is None:
        return f"no verdict ({today.reason})"
    if today.location is None:
        return f"{today.decision} ({today.reason})"
    what = "Settings" if today.by_settings else "451"
    status = what if today.decision == "redirect" else f"would be {what}"
    return f"{status} → {today.location.split('/')[2]} ({today.reason})"
