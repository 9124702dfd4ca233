"""One thing tried is a subject, a state, what was seen and what to do."""

import pytest

from eas_redirect.checking import tried
from eas_redirect.checking.tried import Check, in_two


@pytest.mark.parametrize(
    ("message", "finding", "advice"),
    [
        ("it is not there: make it", "it is not there", "Make it."),
        ("ldaps://dc1:636 refuses: wrong password: set another", "ldaps://dc1:636 refuses: wrong"
         " password", "Set another."),
        ("who signs it: is it the CA of contoso?", "who signs it", "Is it the CA of contoso?"),
        ("nothing to be done", "nothing to be done", None),
        ("ldap://dc1:389", "ldap://dc1:389", None),
    ],
    ids=["two parts", "the last colon", "a question", "no advice", "a port is no advice"],
)  # fmt: skip
def test_a_message_is_a_finding_and_an_advice(
    message: str, finding: str, advice: str | None
) -> None:
    assert in_two(message) == (finding, advice)


def test_each_state_has_its_maker() -> None:
    for state in ("good", "warning", "failed", "unreachable"):
        made = getattr(tried, state)("proxy.cert", "seen", "Do it.")
        assert made == Check(subject="proxy.cert", state=state, finding="seen", advice="Do it.")
    assert tried.skipped("LDAP", "no network").advice is None, "what was not tried needs nothing"
