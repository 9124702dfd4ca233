"""From targetAddress to one relationship: addresses in every form, claims that compete."""

from dataclasses import replace

import pytest

from eas_redirect.directory.values import OrganizationRelationship, Unavailable
from eas_redirect.policy.decision import Pass, Policy
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.relationship import relationship_of, target_domain
from eas_redirect.policy.verdict import Step, Trail
from tests.policy.builders import CLOUD, MOVED

DOWN = Unavailable(error_type="timeout", message="no server answers")
OWN = replace(CLOUD, name="Own", source="configuration")


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("SMTP:anna@cloud.example", "cloud.example"),
        ("smtp:anna@Cloud.Example", "cloud.example"),
        ("anna@cloud.example", "cloud.example"),
        (" SMTP:anna@cloud.example ", "cloud.example"),
        ('SMTP:"a@b"@cloud.example', "cloud.example"),
        ('"a:b"@cloud.example', "cloud.example"),
        ("SMTP:anna@bücher.example", "xn--bcher-kva.example"),
        ("SMTP:anna", None),
        ("SMTP:", None),
        ("SMTP:@cloud.example", None),
        ("SMTP:anna@", None),
        ("SMTP:anna@cloud", None),
        ("SMTP:anna@[192.0.2.1]", None),
        ("SMTP:anna@cloud.example\r\nX: y", None),
        ("SMTP:an na@cloud.example", None),
        ("SMTP:anna@cloud.example.", None),
        ("X500:/o=Contoso/cn=anna", None),
        ("EX:/o=Contoso/cn=anna@cloud.example", None),
        ("SMTP:o'brien+mail/anna=x#EXT#@cloud.example", "cloud.example"),
        ("SMTP:anna..smith.@cloud.example", "cloud.example"),
        ("SMTP:änna@cloud.example", "cloud.example"),
        (r'SMTP:"an\"na"@cloud.example', "cloud.example"),
        ("SMTP:anna@other.example;SMTP:anna@cloud.example", None),
        ("SMTP:anna@other.example,anna@cloud.example", None),
        ("SMTP:anna@other.example ; SMTP:anna@cloud.example", None),
        ("SMTP:anna@other.example@cloud.example", None),
        ("SMTP:@other.example:anna@cloud.example", None),
        ("SMTP:SMTP:anna@cloud.example", None),
        ("smtp:X500:/o=Contoso/cn=anna@cloud.example", None),
        ("SMTP;anna@cloud.example", None),
        ("SMTP\uff1aanna@cloud.example", None),
        ("SMTP:anna\uff20other.example@cloud.example", None),
        ("SMTP:<anna@cloud.example>", None),
        ("SMTP:<anna>@cloud.example", None),
        ('SMTP:"anna@cloud.example', None),
        ('SMTP:"anna"x"@cloud.example', None),
        (r"SMTP:anna\@other.example@cloud.example", None),
        ("SMTP:(anna)x@cloud.example", None),
    ],
)
def test_the_domain_of_a_target(address: str, domain: str | None) -> None:
    found = target_domain(replace(MOVED, target_address=address), None)
    if domain is None:
        assert isinstance(found, Pass)
        assert found.reason is Reason.TARGET_ADDRESS_INVALID
        assert "anna" not in found.detail
    else:
        assert found == domain


@pytest.mark.parametrize("address", [None, ""])
def test_no_target(address: str | None) -> None:
    found = target_domain(replace(MOVED, target_address=address), None)
    assert isinstance(found, Pass)
    assert found.reason is Reason.NO_TARGET_ADDRESS


def chosen(
    known: tuple[OrganizationRelationship, ...] | Unavailable,
    *configured: OrganizationRelationship,
) -> str:
    found = relationship_of("cloud.example", known, Policy(relationships=configured), None)
    return str(found.reason) if isinstance(found, Pass) else found.name


@pytest.mark.parametrize(
    ("known", "configured", "outcome"),
    [
        ((CLOUD,), (), "Cloud"),
        ((replace(CLOUD, domain_names=("CLOUD.example",)),), (), "Cloud"),
        ((CLOUD,), (OWN,), "Own"),
        (DOWN, (OWN,), "Own"),
        ((CLOUD,), (replace(OWN, domain_names=("other.example",)),), "Cloud"),
        (DOWN, (replace(OWN, domain_names=("other.example",)),), "directory_unavailable"),
        ((CLOUD,), (replace(OWN, enabled=False),), "relationship_disabled"),
        ((CLOUD, replace(CLOUD, name="Two")), (), "relationship_ambiguous"),
        ((CLOUD, replace(CLOUD, name="Two")), (OWN,), "Own"),
        ((replace(CLOUD, enabled=False), replace(CLOUD, name="Two")), (), "Two"),
        ((replace(CLOUD, domain_names=("*.example",)),), (), "no_relationship"),
        ((replace(CLOUD, domain_names=("example",)),), (), "no_relationship"),
        ((replace(CLOUD, domain_names=()),), (), "no_relationship"),
        ((), (), "no_relationship"),
    ],
)
def test_which_relationship(
    known: tuple[OrganizationRelationship, ...] | Unavailable,
    configured: tuple[OrganizationRelationship, ...],
    outcome: str,
) -> None:
    assert chosen(known, *configured) == outcome


@pytest.mark.parametrize(
    ("known", "configured", "relationship", "says"),
    [
        ((), (), None, "CN=Federation"),
        ((), (replace(OWN, domain_names=("other.example",)),), None, "names the domain cloud"),
        ((replace(CLOUD, domain_names=("other.example",)),), (), None, "names the domain cloud"),
        ((CLOUD, replace(CLOUD, name="Two")), (), "Cloud, Two", "More than one enabled"),
        ((replace(CLOUD, enabled=False),), (), "Cloud", "is disabled: Cloud"),
        (DOWN, (), None, "no server answers"),
    ],
)
def test_why_there_is_none(
    known: tuple[OrganizationRelationship, ...] | Unavailable,
    configured: tuple[OrganizationRelationship, ...],
    relationship: str | None,
    says: str,
) -> None:
    steps: list[Step] = []
    policy = Policy(relationships=configured)
    found = relationship_of("cloud.example", known, policy, Trail(steps))
    assert isinstance(found, Pass)
    assert says in found.detail
    assert found.relationship == relationship
    if not isinstance(known, Unavailable):
        assert found.target_domain == "cloud.example"
    assert [(step.question, step.ok) for step in steps] == [
        ("Which relationship claims cloud.example?", False)
    ]


def test_a_relationship_whose_domains_are_not_all_known_may_be_the_one() -> None:
    """Where it counts, and does not claim the domain already."""
    partly = replace(CLOUD, name="Partly", domain_names=(), domains_unknown="1,500 to 2,999")
    steps: list[Step] = []
    found = relationship_of("cloud.example", (CLOUD, partly), Policy(), Trail(steps))
    assert isinstance(found, Pass)
    assert (found.reason, found.target_domain) == (Reason.DIRECTORY_UNAVAILABLE, "cloud.example")
    assert "Partly may have further domains: 1,500 to 2,999" in found.detail
    assert [step.ok for step in steps] == [False]
    for harmless in (
        replace(partly, enabled=False),
        replace(partly, domains_unknown=None),
    ):
        assert chosen((CLOUD, harmless)) == "Cloud"
    assert chosen((replace(CLOUD, domains_unknown="more"),)) == "Cloud"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("SMTP:an na@cloud.example", "a space or a control character"),
        ("SMTP:anna\x07@cloud.example", "a space or a control character"),
        ("X500:/o=Contoso/cn=anna", "no SMTP address"),
        ("SMTP:anna", "no single SMTP address"),
    ],
)
def test_why_a_target_address_leads_nowhere(address: str, says: str) -> None:
    found = target_domain(replace(MOVED, target_address=address), None)
    assert isinstance(found, Pass)
    assert says in found.detail
