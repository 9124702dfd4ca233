"""A rehearsed wave as a table, CSV and JSON, and what to tell each user of it. Imports rich."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eas_redirect.activesync.request import caseless
from eas_redirect.planning.plan import BEFORE_THE_MOVE, PlannedDevice, PlannedUser
from eas_redirect.policy.reasons import REASONS, Reason, of_named
from eas_redirect.report.exports import csv_rows
from eas_redirect.report.readiness import Prospect, Readiness
from eas_redirect.report.words import VERDICT_TITLES, client_title, counted, stamp
from eas_redirect.telemetry.printable import number, printable

COLUMNS = (
    "user",
    "decision",
    "reason",
    "detail",
    "location",
    "relationship",
    "wave",
    "findings",
    "device_id",
    "device_type",
    "client_family",
    "user_agent",
    "os",
    "protocol_version",
    "device_decision",
    "device_reason",
    "added_again",
    "readiness",
    "readiness_rule",
    "readiness_source",
    "known_from",
    "last_seen",
    "auth_scheme",
    "logon_format",
)


def plan_json(planned: Sequence[PlannedUser], assumed: str) -> dict[str, object]:
    """In the words of the journal; `totals` counts users and what awaits their devices. `assumed`:
    the protocol version by which devices were judged of which none is known."""
    return {
        "assumed_protocol_version": assumed,
        "totals": {
            "users": len(planned),
            "by_reason": dict(Counter(user.reason for user in planned)),
            "readiness": _verdicts(planned),
        },
        "users": [_user(user) for user in planned],
    }


def plan_csv(planned: Sequence[PlannedUser], separator: str = ",") -> Iterator[str]:
    """One row per user and device; a user without a known device has one row."""
    return csv_rows(COLUMNS, (row for user in planned for row in _rows(user)), separator)


def assumed_in_words(planned: Sequence[PlannedUser], assumed: str) -> str | None:
    """By which version devices were judged that were never seen; None: all were."""
    unknown = sum(
        not user.devices or any(d.known.device.protocol_version is None for d in user.devices)
        for user in planned
    )
    if not unknown:
        return None
    return (
        f"For {counted(unknown, 'user')} no device, or not its protocol version, is known: judged"
        f" by {assumed} (--protocol-version)."
    )


def print_table(console: Console, planned: Sequence[PlannedUser]) -> None:
    rows = [
        (user.user, _outcome(user), _target(user), _awaits(user), _found(user)) for user in planned
    ]
    heads = ("User", "Outcome", "Location", "Devices and what awaits them", "Findings")
    table = Table(box=None, pad_edge=False)
    # On a narrow terminal empty columns shrink first, then those that can wrap, and names last.
    shown = [n for n in range(len(heads)) if n == 0 or any(row[n] for row in rows)]
    for n in shown:
        table.add_column(heads[n], no_wrap=heads[n] in ("User", "Location"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(row[n])) for n in shown))
    console.print(table)
    reasons = Counter(user.reason for user in planned)
    told = ", ".join(f"{reason} {number(count)}" for reason, count in reasons.most_common())
    console.print(f"\n{counted(len(planned), 'user')}: {told}", markup=False)
    verdicts = {verdict: count for verdict, count in _verdicts(planned).items() if count}
    if verdicts:
        told = ", ".join(f"{VERDICT_TITLES[v]} {number(count)}" for v, count in verdicts.items())
        console.print(f"Their devices: {told}", markup=False)


def not_in_only_yet(planned: Sequence[PlannedUser]) -> str | None:
    """A future wave is not rehearsed: a line that says how to do it."""
    # The detail is ours (policy/waves.py) and names the table that keeps the user where they are.
    kept = [
        user
        for user in planned
        if user.reason == Reason.NOT_IN_WAVE and "redirect.only" in user.detail
    ]
    if not kept:
        return None
    verb = "is" if len(kept) == 1 else "are"
    return (
        f"{number(len(kept))} of {number(len(planned))} {verb} not in redirect.only yet: --as-wave"
        f" rehearses {'this one' if len(kept) == 1 else 'them'} all the same."
    )


def _target(user: PlannedUser) -> str:
    """Only the host: the rest of a location is always the same, and a table is narrow."""
    return urlsplit(user.location).hostname or "" if user.location else ""


def _outcome(user: PlannedUser) -> str:
    match user.decision:
        case "redirect":
            return "goes"
        case "would_redirect":
            return "would go (observe mode)"
        case _:
            words = of_named(user.reason) if user.reason in REASONS else user.detail
            return f"stays: {words}"


def _awaits(user: PlannedUser) -> str:
    if user.devices:
        return "\n".join(map(_device_words, user.devices))
    return f"no device known{_again(user.added_again)}" if user.readiness else ""


def _device_words(planned: PlannedDevice) -> str:
    title = client_title(planned.family)
    if planned.decision == "pass":
        return f"{title}: stays ({planned.reason})"
    return f"{title}: {VERDICT_TITLES[planned.readiness.verdict]}{_again(planned.added_again)}"


def _again(reason: str | None) -> str:
    """What becomes of an account that is added again, if Autodiscover tells phones."""
    if reason is None:
        return ""
    told = "told the new server" if reason == Reason.MAILBOX_MOVED else f"not told ({reason})"
    return f"; if added again: {told}"


def _found(user: PlannedUser) -> str:
    return "\n".join(finding.message for finding in user.findings)


def _verdicts(planned: Sequence[PlannedUser]) -> dict[str, int]:
    """For the devices that would go."""
    counts = Counter(
        device.readiness.verdict
        for user in planned
        for device in user.devices
        if device.decision != "pass"
    )
    return {verdict.value: counts[verdict] for verdict in Prospect}


def _user(user: PlannedUser) -> dict[str, object]:
    return {
        "user": user.user,
        "decision": user.decision,
        "reason": user.reason,
        "detail": user.detail,
        "location": user.location,
        "relationship": user.relationship,
        "wave": user.wave,
        "added_again": user.added_again,
        "findings": [asdict(finding) for finding in user.findings],
        "readiness": _readiness(user.readiness),
        "devices": [_device(device) for device in user.devices],
    }


def _device(planned: PlannedDevice) -> dict[str, object]:
    known, seen = planned.known.device, planned.known.seen
    return {
        "device_id": known.device_id,
        "device_type": known.device_type,
        "client_family": planned.family,
        "user_agent": known.user_agent,
        "os": known.os,
        "protocol_version": known.protocol_version,
        "decision": planned.decision,
        "reason": planned.reason,
        "added_again": planned.added_again,
        "readiness": _readiness(planned.readiness),
        "known_from": planned.known.known_from,
        "last_seen": stamp(seen.last_seen_s) if seen else None,
        "auth_scheme": seen.auth_scheme if seen else None,
        "logon_format": seen.logon_format if seen else None,
    }


def _readiness(readiness: Readiness | None) -> dict[str, str] | None:
    if readiness is None:
        return None
    return {
        "verdict": readiness.verdict.value,
        "rule": readiness.rule,
        "source": readiness.source,
    }


def _rows(user: PlannedUser) -> Iterator[dict[str, object]]:
    blank = dict.fromkeys(COLUMNS)
    shared = {**blank, **_user(user), "findings": [finding.code for finding in user.findings]}
    for device in user.devices:
        row = _device(device)
        row["device_decision"], row["device_reason"] = row.pop("decision"), row.pop("reason")
        yield {**shared, **row, **_flat(device.readiness)}
    if not user.devices:
        yield {**shared, **_flat(user.readiness)}


def _flat(readiness: Readiness | None) -> dict[str, object]:
    if readiness is None:
        return {"readiness": None, "readiness_rule": None, "readiness_source": None}
    return {
        "readiness": readiness.verdict.value,
        "readiness_rule": readiness.rule,
        "readiness_source": readiness.source,
    }


# What to tell each user before a wave: a row for each device, for a mail merge.

LETTER_COLUMNS = (
    *("user", "address", "language", "device_id", "device_type", "client", "what", "text"),
)
_KEEP = "Do not delete the account: that may give the phone a new id."
_WORDS = {
    Prospect.READY: ("moves_by_itself", f"This phone moves by itself. {_KEEP}"),
    Prospect.ASKED: ("asks_to_sign_in", f"This phone will ask you to sign in. {_KEEP}"),
    Prospect.REFUSED: (
        "must_be_added_anew",
        "The mail app of this phone is too old for the new server. Add your account again in"
        " Outlook or another current app.",
    ),
    Prospect.UNKNOWN: (
        "unknown",
        f"This phone should move by itself; it may ask you to sign in. {_KEEP}",
    ),
}


def letters(planned: Sequence[PlannedUser]) -> Iterator[str]:
    """CSV: each device that goes, or will go once its mailbox has moved or its wave has come; a
    user without a known device has one row. A device that is blocked here gets no mail now, and
    is promised none."""
    return csv_rows(LETTER_COLUMNS, (row for user in planned for row in _letter_rows(user)))


def _letter_rows(user: PlannedUser) -> Iterator[dict[str, object]]:
    if not user.devices and _goes(user):
        yield {**dict.fromkeys(LETTER_COLUMNS), **_to(user), **_said(Prospect.UNKNOWN)}
    barred = {caseless(one) for one in user.lists.blocked}
    for planned in user.devices:
        device = planned.known.device
        is_blocked = device.access == "blocked" or caseless(device.device_id or "") in barred
        if _goes(planned) and not is_blocked:
            yield {
                **_to(user),
                "device_id": device.device_id,
                "device_type": device.device_type,
                "client": client_title(planned.family),
                **_said(planned.readiness.verdict),
            }


def _goes(one: PlannedUser | PlannedDevice) -> bool:
    return one.decision != "pass" or one.reason in BEFORE_THE_MOVE


def _said(prospect: Prospect) -> dict[str, object]:
    what, text = _WORDS[prospect]
    return {"what": what, "text": text}


def _to(user: PlannedUser) -> dict[str, object]:
    return {
        "user": user.user_principal_name or user.user,
        "address": user.address,
        "language": user.lists.language,
    }
