"""A server's clock, as it tells it."""

from datetime import UTC, datetime

import pytest

from eas_redirect.directory.ldap.inspection import Inspection
from eas_redirect.directory.ldap.links import RootDSE


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("20260131120000.0Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("20260131120000Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026", None),
        ("", None),
        (None, None),
    ],
)
def test_the_clock_of_a_server(text: str | None, clock: datetime | None) -> None:
    seen = Inspection(root_dse=RootDSE(current_time=text), duration_ms=1.0)
    assert seen.current_time == clock
