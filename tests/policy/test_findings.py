"""Findings about the relationships: one for each that surprises, with what to do."""

from dataclasses import replace

import pytest

from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy.findings import findings
from eas_redirect.policy.verdict import Policy

CLOUD = OrganizationRelationship(
    name="To the cloud",
    domain_names=("contoso.mail.example",),
    target_owa_url="https://outlook.office365.com/owa",
)


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("https://outlook.office365.com/owa", None, ""),
        ("https://partner.outlook.cn/owa", None, ""),
        ("http://outlook.com/owa/contoso.example", "host_mapped", "outlook.office365.com"),
        ("https://outlook.office.com/owa", "host_mapped", "names outlook.office.com"),
        ("http://mail.contoso.example/owa", "vanity_host", "mail.contoso.example"),
        ("ftp://outlook.com/", "target_owa_url_invalid", "no http or https URL"),
        (None, "no_target_owa_url", "nobody"),
    ],
)
def test_each_target_owa_url_is_judged(url: str | None, kind: str | None, says: str) -> None:
    found = findings((replace(CLOUD, target_owa_url=url),), Policy())
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    assert all(says in finding.message for finding in found)
    assert all(finding.relationship == "To the cloud" for finding in found)


def test_a_host_of_its_own_in_the_map_is_no_vanity() -> None:
    url = "https://mail.fabrikam.example/owa"
    policy = Policy(host_map={"mail.fabrikam.example": "mail.fabrikam.example"})
    assert findings((replace(CLOUD, target_owa_url=url),), policy) == ()


def test_a_host_that_is_not_allowed_is_told() -> None:
    found = findings((CLOUD,), Policy(allowed_hosts=("*.fabrikam.example",)))
    assert [finding.kind for finding in found] == ["target_not_allowed"]


def test_disabled_relationships_are_left_alone() -> None:
    assert findings((replace(CLOUD, target_owa_url=None, enabled=False),), Policy()) == ()
