"""What to tell each user before a wave: a row for each device, for a mail merge. Pure."""

from collections.abc import Iterator, Sequence

from eas_redirect.planning.plan import BEFORE_THE_MOVE, PlannedDevice, PlannedUser
from eas_redirect.report.exports import csv_rows
from eas_redirect.report.readiness import Prospect
from eas_redirect.report.words import client_title

COLUMNS = (*("user", "address", "language", "device_id", "device_type", "client", "what", "text"),)
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
    """CSV: each device that goes, or will when its mailbox has moved or its wave has come; a user
    of whom no device is known has one row. A device that is blocked here gets no mail now, and is
    promised none."""
    return csv_rows(COLUMNS, (row for user in planned for row in _rows(user)))


def _rows(user: PlannedUser) -> Iterator[dict[str, object]]:
    if not user.devices and _goes(user):
        yield {**dict.fromkeys(COLUMNS), **_to(user), **_said(Prospect.UNKNOWN)}
    barred = {one.lower() for one in user.lists.blocked}
    for planned in user.devices:
        device = planned.known.device
        is_blocked = device.access == "blocked" or (device.device_id or "").lower() in barred
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
