"""What to tell each user before a wave: a row for each device, for a mail merge. Pure."""

from collections.abc import Iterator, Sequence

from eas_redirect.planning.plan import PlannedDevice, PlannedUser
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
    """CSV; only devices that would be redirected."""
    return csv_rows(COLUMNS, (row for user in planned for row in _rows(user)))


def _rows(user: PlannedUser) -> Iterator[dict[str, object]]:
    for device in user.devices:
        if device.decision != "pass":
            yield _row(user, device)


def _row(user: PlannedUser, planned: PlannedDevice) -> dict[str, object]:
    what, text = _WORDS[planned.readiness.verdict]
    return {
        "user": user.user_principal_name or user.user,
        "address": user.address,
        "language": user.lists.language,
        "device_id": planned.known.device.device_id,
        "device_type": planned.known.device.device_type,
        "client": client_title(planned.family),
        "what": what,
        "text": text,
    }
