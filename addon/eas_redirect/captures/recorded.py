"""The journal record that a flow carries in its metadata, as far as views and captures need it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mitmproxy import flow

from eas_redirect.policy.reasons import Reason
from eas_redirect.proxy.flows import METADATA

# What is decided only of a weak answer whose logon counts; others may come before that question.
_AFTER_A_LOGON = frozenset(
    {
        Reason.MAILBOX_MOVED,
        Reason.RECIPIENT_NOT_FOUND,
        Reason.RECIPIENT_AMBIGUOUS,
        Reason.RECIPIENT_HAS_MAILBOX,
        Reason.NO_TARGET_ADDRESS,
        Reason.NO_RELATIONSHIP,
        Reason.NOT_IN_WAVE,
        Reason.DIRECTORY_UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedExchange:
    """What was decided live, and what Exchange had said. None: not recorded."""

    decision: str | None = None  # redirect, would_redirect, pass
    reason: str | None = None
    status_code: int | None = None  # of Exchange, before ours took its place
    eas_status: int | None = None
    location: str | None = None
    target_domain: str | None = None
    relationship: str | None = None
    evidence: str | None = None  # certain, weak, none

    @property
    def shows_challenge(self) -> bool:
        """Whether the proxy accepted weak evidence, and so knew that this server asks for
        logons: from its own request, which no capture holds."""
        return self.evidence == "weak" and self.reason in _AFTER_A_LOGON


def recorded_exchange(recorded: flow.Flow) -> RecordedExchange | None:
    """None for a flow that the addon has not seen. Total: a capture may hold anything there."""
    record = recorded.metadata.get(METADATA)
    if not isinstance(record, dict):
        return None
    return RecordedExchange(
        decision=_text(record, "eas", "decision"),
        reason=_text(record, "event", "reason"),
        status_code=_number(record, "eas", "upstream", "status_code"),
        eas_status=_number(record, "eas", "upstream", "status"),
        location=_text(record, "eas", "redirect", "location"),
        target_domain=_text(record, "eas", "directory", "target_domain"),
        relationship=_text(record, "eas", "directory", "relationship"),
        evidence=_text(record, "eas", "evidence"),
    )


def _found(record: Mapping[str, object], *path: str) -> object:
    found: object = record
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _text(record: Mapping[str, object], *path: str) -> str | None:
    found = _found(record, *path)
    return found if isinstance(found, str) else None


def _number(record: Mapping[str, object], *path: str) -> int | None:
    found = _found(record, *path)
    return found if isinstance(found, int) else None
