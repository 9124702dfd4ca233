"""Names and DNs."""

import pytest

from eas_redirect.directory.names import dns_name, domain_dn, fold, is_askable


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
