"""Which devices come first, and how their users are written."""

from pathlib import Path

import pytest

from eas_redirect.report.devices import user_text
from tests.report.simulator import CLOUD
from tests.report.test_figures import call, made_of

HOUR = 3600
TOLD = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}


@pytest.mark.parametrize(
    ("name", "domain", "email", "text"),
    [
        ("anna", "CONTOSO", "anna@contoso.example", "anna@contoso.example"),
        ("anna", "CONTOSO", None, "CONTOSO\\anna"),
        ("anna", None, None, "anna"),
        (None, None, None, ""),
    ],
)
def test_a_user_is_written_as_a_person_would(
    name: str | None, domain: str | None, email: str | None, text: str
) -> None:
    assert user_text(name, domain, email) == text


def test_the_most_urgent_come_first(tmp_path: Path) -> None:
    stuck = [call(HOUR * n, device_id="STUCK", **TOLD) for n in range(6)]
    back = [call(HOUR * n, device_id="BACK", **TOLD) for n in (4, 5)]
    told = [call(5.5 * HOUR, device_id="TOLD", **TOLD)]
    kept = [call(5.5 * HOUR, device_id="KEPT", reason="no_relationship", status_code=200)]
    served = [call(5.5 * HOUR, device_id="SERVED")]
    records = sorted([*served, *kept, *told, *back, *stuck], key=lambda each: each.timestamp_s)
    found = made_of(tmp_path, *records).devices
    assert [(device.device_id, device.state.value) for device in found] == [
        ("STUCK", "stuck"),
        ("BACK", "returned"),
        ("TOLD", "redirected"),
        ("KEPT", "seen"),
        ("SERVED", "seen"),
    ]


def test_the_newest_line_that_names_the_device_describes_it(tmp_path: Path) -> None:
    (device,) = made_of(
        tmp_path,
        call(0, device_type="iPhone", user_agent="Apple-iPhone14C5/2105.90"),
        call(HOUR, device_type="iPad", user_agent="Apple-iPad7C4/2105.90"),
        call(2 * HOUR, device_id=None, device_type=None, user_agent="Apple-iPad7C4/2105.90"),
    ).devices
    assert (device.device_type, device.calls, device.first_seen_s < device.last_seen_s) == (
        "iPad",
        3,
        True,
    )
