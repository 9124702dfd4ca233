"""Findings about the relationships: one for each that surprises, with what to do."""

from dataclasses import replace

import pytest

from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy.relationship import findings
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
        ("http://mail.contoso.example/owa", None, ""),
        ("ftp://outlook.com/", "target_owa_url_invalid", "no http or https URL"),
        (None, "no_target_owa_url", "nobody"),
    ],
)
def test_each_target_owa_url_is_judged(url: str | None, kind: str | None, says: str) -> None:
    found = findings((replace(CLOUD, target_owa_url=url),), Policy())
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    assert all(says in finding.message for finding in found)
    assert all(finding.relationship == "To the cloud" for finding in found)


@pytest.mark.parametrize(
    ("relationship", "host"),
    [
        (replace(CLOUD, domain_names=("contoso.mail.onmicrosoft.com",)), "outlook.office365.com"),
        (replace(CLOUD, target_application_uri="outlook.com"), "outlook.office365.com"),
        (
            replace(CLOUD, target_autodiscover_epr="https://autodiscover-s.Outlook.com/a.svc"),
            "outlook.office365.com",
        ),
        (
            replace(CLOUD, target_sharing_epr="https://outlook.office365.com:443/EWS"),
            "outlook.office365.com",
        ),
        (replace(CLOUD, target_application_uri="http://outlook.com/"), "outlook.office365.com"),
        (replace(CLOUD, domain_names=("x.partner.onmschina.cn",)), "partner.outlook.cn"),
        (replace(CLOUD, target_application_uri="office365.us"), "outlook.office365.us"),
    ],
)
def test_a_vanity_name_of_exchange_online(
    relationship: OrganizationRelationship, host: str
) -> None:
    """Its CNAME leads there, and the certificate there bears another name."""
    url = "http://cloudowa.contoso.example/owa"
    (found,) = findings((replace(relationship, target_owa_url=url),), Policy())
    assert found.kind == "target_owa_url_invalid"
    assert f'write "cloudowa.contoso.example" = "{host}" into redirect.hosts' in found.message
    written = Policy(host_map={"cloudowa.contoso.example": host})
    (found,) = findings((replace(relationship, target_owa_url=url),), written)
    assert found.kind == "host_mapped"


@pytest.mark.parametrize(
    "uri", ["FYDIBOHF25SPDLT.outlook.com.contoso.example", "notoutlook.com", ""]
)
def test_a_server_of_one_s_own_is_no_vanity(uri: str) -> None:
    own = replace(CLOUD, target_owa_url="https://mail.fabrikam.example/owa")
    assert findings((replace(own, target_application_uri=uri),), Policy()) == ()


def test_a_host_of_exchange_online_that_serves_no_activesync() -> None:
    (found,) = findings(
        (replace(CLOUD, target_owa_url="https://outlook.live.outlook.com/"),), Policy()
    )
    assert found.kind == "target_owa_url_invalid"


def test_a_host_of_its_own_in_the_map_is_no_vanity() -> None:
    url = "https://mail.fabrikam.example/owa"
    policy = Policy(host_map={"mail.fabrikam.example": "mail.fabrikam.example"})
    online = replace(CLOUD, target_owa_url=url, target_application_uri="outlook.com")
    assert findings((online,), policy) == ()


def test_a_host_that_is_not_allowed_is_told() -> None:
    found = findings((CLOUD,), Policy(allowed_hosts=("*.fabrikam.example",)))
    assert [finding.kind for finding in found] == ["target_not_allowed"]


def test_disabled_relationships_are_left_alone() -> None:
    assert findings((replace(CLOUD, target_owa_url=None, enabled=False),), Policy()) == ()
