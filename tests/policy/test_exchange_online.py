"""One list of Exchange Online's hosts, read by everybody who must know one."""

import pytest

from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy import exchange_online
from eas_redirect.policy.exchange_online import CLOUDS, Cloud, cloud_of, host_map, is_eas_host
from eas_redirect.policy.relationship import findings
from eas_redirect.policy.target import endpoint
from eas_redirect.policy.verdict import Endpoint, Policy
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.report.readiness import Prospect, readiness_of

MOON = Cloud(
    eas_host="eas.moon.example", owa_hosts=("owa.moon.example",), domains=("luna.example",)
)


@pytest.mark.parametrize(
    ("name", "eas_host"),
    [
        ("outlook.com", "outlook.office365.com"),
        ("outlook.cloud.microsoft", "outlook.office365.com"),
        ("contoso.mail.onmicrosoft.com", "outlook.office365.com"),
        ("autodiscover-s.outlook.com", "outlook.office365.com"),
        ("partner.outlook.cn", "partner.outlook.cn"),
        ("contoso.partner.onmschina.cn", "partner.outlook.cn"),
        ("autodiscover-s.office365.us", "outlook.office365.us"),
        ("outlook-dod.office365.us", "outlook-dod.office365.us"),
        ("contoso.example", None),
        ("notoutlook.com", None),
        ("outlook.com.contoso.example", None),
    ],
)
def test_a_name_belongs_to_one_cloud(name: str, eas_host: str | None) -> None:
    cloud = cloud_of(name)
    assert (cloud.eas_host if cloud else None) == eas_host


def test_every_host_of_a_cloud_leads_to_its_own() -> None:
    for cloud in CLOUDS:
        assert host_map()[cloud.eas_host] == cloud.eas_host
        assert {host_map()[owa] for owa in cloud.owa_hosts} == {cloud.eas_host}


def test_a_new_cloud_shows_wherever_a_host_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_online, "CLOUDS", [*CLOUDS, MOON])
    found = endpoint("https://owa.moon.example/owa", host_map())
    assert isinstance(found, Endpoint)
    assert found.host == "eas.moon.example"
    assert is_eas_host("EAS.moon.example")
    assert readiness_of(None, host="eas.moon.example").verdict is Prospect.UNKNOWN
    assert Pseudonyms().host("owa.moon.example") == "owa.moon.example"
    vanity = OrganizationRelationship(
        name="Moon",
        domain_names=("contoso.luna.example",),
        target_owa_url="https://owa.own.example",
    )
    (finding,) = findings([vanity], Policy(host_map=host_map()))
    assert "eas.moon.example" in finding.message


def test_a_phone_arrives_at_exchange_online_by_these_hosts_alone() -> None:
    assert is_eas_host("Outlook.Office365.com")
    assert not is_eas_host("outlook.com")
    assert not is_eas_host(None)
