"""Names and DNs."""

import pytest

from eas_redirect.directory.names import (
    dns_name,
    domain_dn,
    fold,
    is_askable,
    lies_in,
    plain_dn,
)


@pytest.mark.parametrize(
    ("dn", "domain"),
    [
        ("CN=Anna,OU=Staff,DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("cn=anna, dc=Contoso , dc=example", "dc=contoso,dc=example"),
        ("DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("CN=A\\,DC=evil,DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("CN=A\\\\,DC=emea,DC=contoso,DC=example", "dc=emea,dc=contoso,dc=example"),
        ("CN=A\\,DC=x\\,DC=y,DC=contoso", "dc=contoso"),
        ("CN=Anna,O=Contoso", ""),
        ("", ""),
    ],
)
def test_the_domain_of_a_dn(dn: str, domain: str) -> None:
    assert domain_dn(dn) == domain


@pytest.mark.parametrize(
    ("dn", "base", "inside"),
    [
        ("OU=Staff, DC=Contoso,DC=example", "dc=contoso,dc=example", True),
        ("DC=contoso,DC=example", "DC=contoso, DC=example", True),
        ("DC=contoso,DC=example", "", True),
        ("DC=mycontoso,DC=example", "DC=contoso,DC=example", False),
        ("DC=contoso,DC=example", "OU=Staff,DC=contoso,DC=example", False),
    ],
)
def test_what_lies_below_a_base(dn: str, base: str, inside: bool) -> None:
    assert lies_in(plain_dn(dn), plain_dn(base)) is inside


def test_the_dns_name_of_a_domain() -> None:
    assert dns_name("dc=emea,dc=contoso,dc=example") == "emea.contoso.example"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ANNA", "anna", True),
        ("JÜRGEN", "ju\u0308rgen", True),
        ("groß", "gross", False),
        ("anna", "änna", False),
    ],
)
def test_names_are_compared_without_case(one: str, other: str, same: bool) -> None:
    assert (fold(one) == fold(other)) is same


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("anna", True),
        ("Müller, Jürgen (ext) *VIP* = A\\B #1", True),
        ("x" * 256, True),
        ("x" * 257, False),
        ("", False),
        ("a\0b", False),
        ("a\nb", False),
        ("\ud800", False),
    ],
)
def test_what_may_become_a_question(name: str, good: bool) -> None:
    assert is_askable(name) is good
