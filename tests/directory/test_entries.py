"""Entries → values: where a phone is sent is never the first of several."""

import pytest

from eas_redirect.directory.entries import Entry, recipient, relationship
from eas_redirect.policy.decision import Pass
from eas_redirect.policy.relationship import target_domain
from eas_redirect.policy.target import Refused, endpoint
from eas_redirect.policy.verdict import Trail

TWO = ["SMTP:anna@one.example", "SMTP:anna@two.example"]


def test_two_target_addresses_are_none_that_can_be_used() -> None:
    """Active Directory keeps one; an LDIF file, or another directory, may hold several."""
    for values in (TWO, TWO[::-1], ["X500:/o=c", *TWO], [TWO[0], "X500:/o=c/cn=anna"]):
        found = recipient(Entry("CN=Anna", {"targetaddress": values}))
        assert isinstance(target_domain(found, Trail([])), Pass), values
    same = recipient(Entry("CN=Anna", {"targetaddress": [TWO[0], TWO[0]]}))
    assert target_domain(same, Trail([])) == "one.example"
    assert recipient(Entry("CN=Anna")).target_address is None


def test_two_target_owa_urls_are_none_that_can_be_used() -> None:
    urls = ["https://one.example/owa", "https://two.example/owa"]
    for values in (urls, urls[::-1]):
        found = relationship(Entry("CN=R", {"msexchfedtargetowaurl": values}))
        assert isinstance(endpoint(found.target_owa_url or ""), Refused)


@pytest.mark.parametrize(
    ("values", "enabled"),
    [([], True), (["TRUE"], True), ([" true "], True), (["FALSE"], False), (["1"], False),
     (["TRUE", "FALSE"], False)],
)  # fmt: skip
def test_a_relationship_is_enabled_when_nothing_says_otherwise(
    values: list[str], enabled: bool
) -> None:
    assert relationship(Entry("CN=R", {"msexchfedisenabled": values})).enabled is enabled


def test_a_mailbox_that_cannot_be_read_is_a_mailbox() -> None:
    found = recipient(Entry("CN=Anna", {"homemdb": ["CN=DB\\xff"]}))
    assert found.has_mailbox
