"""What the exchanges of a capture tell about those that follow."""

from pathlib import Path

import pytest

from eas_redirect.captures.capture import Captured, read_exchanges
from eas_redirect.proxy.flows import METADATA
from tests.captures.captures import eas_flow, write_flows


@pytest.mark.parametrize(
    ("evidence", "reason", "challenged"),
    [
        ("weak", "mailbox_moved", True),
        ("weak", "recipient_has_mailbox", True),
        ("weak", "logon_not_proven", False),
        ("weak", "no_identity", False),
        ("certain", "mailbox_moved", False),
        ("none", "other_answer", False),
        (None, "mailbox_moved", False),
    ],
)
def test_the_proxys_own_question_shows_in_what_it_decided(
    evidence: str | None, reason: str, challenged: bool, tmp_path: Path
) -> None:
    """It was answered 401, which no capture holds; a 403 that counted then counts again."""
    flow = eas_flow(0, None, code=403)
    eas = {} if evidence is None else {"evidence": evidence}
    flow.metadata[METADATA] = {"event": {"reason": reason}, "eas": eas}
    (found,) = read_exchanges(write_flows(tmp_path / "capture.flows", [flow]))
    assert isinstance(found, Captured)
    assert found.exchange.challenged is challenged
