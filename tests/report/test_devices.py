"""Likely causes: each behaviour its sentence."""

import pytest

from eas_redirect.report.devices import Behaviour, likely_cause
from eas_redirect.report.readiness import Prospect, Readiness

REFUSED = Readiness(verdict=Prospect.REFUSED, rule="Too old.", source="https://example.test")
ASKED = Readiness(verdict=Prospect.ASKED, rule="Password.", source="https://example.test")


@pytest.mark.parametrize(
    ("behaviour", "readiness", "word"),
    [
        (Behaviour(comebacks=4, served=3), None, "moved back"),
        (Behaviour(comebacks=4, last_reason="recipient_has_mailbox"), None, "moved back"),
        (Behaviour(comebacks=4, refused_logon=9), None, "Remove the account"),
        (Behaviour(comebacks=4, refused_logon=8), None, "ignore the redirect"),  # as NTLM logs on
        (Behaviour(comebacks=4, directory_down=4), None, "No directory"),
        (Behaviour(comebacks=4, protocol_version="12.1"), ASKED, "Speaks 12.1"),
        (Behaviour(comebacks=4, protocol_version="14.1"), REFUSED, "Too old."),
        (Behaviour(comebacks=4, protocol_version="14.1"), ASKED, "Ask the user to sign in"),
        (Behaviour(comebacks=4), None, "ignore the redirect"),
    ],
)
def test_a_cause_for_each_behaviour(
    behaviour: Behaviour, readiness: Readiness | None, word: str
) -> None:
    assert word in likely_cause(behaviour, readiness)
