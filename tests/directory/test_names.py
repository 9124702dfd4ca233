"""Names and DNs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.directory import names
from eas_redirect.directory.names import (
    dn_of_domain,
    dns_name,
    domain_begins,
    domain_dn,
    fold,
    guid_bytes,
    guid_text,
    is_askable,
    is_dn,
    lies_in,
    plain_dn,
    rdn_value,
    sid_bytes,
    sid_text,
)


@pytest.mark.parametrize(
    ("dn", "domain"),
    [
        ("CN=Anna,OU=Staff,DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("cn=anna, dc=Contoso , dc=example", "dc=contoso,dc=example"),
        ("DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("CN=A\\,DC=evil,DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("CN=A\\\\\\,DC=evil,DC=contoso,DC=example", "dc=contoso,dc=example"),
        ("CN=A\\\\,DC=emea,DC=contoso,DC=example", "dc=emea,dc=contoso,dc=example"),
        ("CN=A\\,DC=x\\,DC=y,DC=contoso", "dc=contoso"),
        ("cn=Anna,dc=emea,DC=contoso,dC=Example", "dc=emea,dc=contoso,dc=example"),
        ("CN=Anna, DC=emea,DC=contoso", "dc=emea,dc=contoso"),
        ("CN=Anna, DC=emea, DC=contoso,DC=example", "dc=emea,dc=contoso,dc=example"),
        # No DN, and yet no exception.
        ("CN=A\\", ""),
        ("DC=contoso,DC=example\\", "dc=contoso,dc=example\\"),
        ("CN=Anna,OU=X,  DC=emea ,DC=contoso", "dc=emea,dc=contoso"),
        ("CN=Smith\\, Anna,OU=X,DC=contoso", "dc=contoso"),
        ("CN=Anna,DC=x,OU=Staff,DC=contoso", "dc=contoso"),
        ("CN=Änna,DC=x,OU=Staff,DC=contoso", "dc=contoso"),
        ("CN=Änna,dc=Emea,DC=contoso", "dc=emea,dc=contoso"),
        ("CN=Anna,O=Contoso", ""),
        ("", ""),
    ],
)
def test_the_domain_of_a_dn(dn: str, domain: str) -> None:
    assert domain_dn(dn) == domain


_PIECES = st.sampled_from(
    [",", "\\", " ", "DC=", "dc=", "Dc=", "CN=", "ou=", "a", "B", "É", "e\u0301", "\u0301"]
)


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_the_short_way_to_a_domain_leads_to_the_same(dn: str) -> None:
    assert domain_dn(dn) == names._trailing_domain(dn)


@pytest.mark.parametrize(
    ("lower", "at"),
    [
        ("cn=anna,dc=contoso,dc=example", 7),
        ("cn=a,ou=staff,dc=contoso", 13),
        ("c,dc=contoso", 1),
        ("cn=a\\\\b,dc=contoso", 7),
        ("cn=anna,o=contoso", -1),
        (",dc=contoso,dc=example", -1),
        # Closer looks: a comma in a value, and spaces.
        ("cn=a\\,dc=evil,dc=contoso", -1),
        ("dc=contoso,dc=example", -1),
        ("cn=anna, dc=emea,dc=contoso", -1),
        (", dc=emea,dc=contoso", -1),
    ],
)
def test_where_the_domain_of_an_ordinary_dn_begins(lower: str, at: int) -> None:
    assert domain_begins(lower) == at
    if at >= 0:
        assert lower[at + 1 :] == domain_dn(lower)


def test_guids() -> None:
    """MS-DTYP 2.3.4: the first three parts are little-endian."""
    text, data = "04030201-0605-0807-090a-0b0c0d0e0f10", bytes(range(1, 17))
    assert (guid_text(data), guid_bytes(text)) == (text, data)
    assert guid_bytes(text.upper()) == data
    for odd in (b"", data[:-1], data + b"0"):
        assert guid_text(odd) is None
    for other in ("", text[:-1], text.replace("-", ""), f"{{{text}}}", f" {text}", text + "\n"):
        assert guid_bytes(other) is None


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
    assert dns_name("") == ""


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
        ("anna\u200d\u00a0smith", True),  # not printable, and no control character
    ],
)
def test_what_may_become_a_question(name: str, good: bool) -> None:
    assert is_askable(name) is good


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("S-1-5-32-544", "01020000000000052000000020020000"),
        ("S-1-5-21-1-2-3-1104", "0105000000000005150000000100000002000000030000005004 0000"),
        ("S-1-1-0", "010100000000000100000000"),
        ("S-1-5", "0100000000000005"),
        ("S-1-281474976710655-1", "0101ffffffffffff01000000"),
    ],
)
def test_a_sid_is_text_and_bytes(text: str, data: str) -> None:
    assert sid_bytes(text) == bytes.fromhex(data)
    assert sid_text(bytes.fromhex(data)) == text


@pytest.mark.parametrize(
    "text", ["", "S-1", "S-2-5-1", "S-1-5-4294967296", "S-1-5-x", "s-1-5-1", "S-1-281474976710656"]
)
def test_text_that_is_no_sid(text: str) -> None:
    assert sid_bytes(text) is None


@pytest.mark.parametrize(
    "data", ["", "01", "0102000000000005", "0201000000000001 00000000", "00" * 12]
)
def test_bytes_that_are_no_sid(data: str) -> None:
    assert sid_text(bytes.fromhex(data)) is None


@pytest.mark.parametrize("name", ["contoso.example", "a.b.c"])
def test_the_dn_of_a_domain_and_back(name: str) -> None:
    assert dns_name(dn_of_domain(name)) == name
    assert dn_of_domain(f"{name}.".upper()) == dn_of_domain(name), "the root of all names"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("CN=Anna,DC=contoso,DC=example", True),
        (" cn = Anna , dc = contoso ", True),
        ("uid=anna,ou=People,dc=contoso", True),
        ("anna", False),
        ("anna@contoso.example", False),
        ("CONTOSO\\anna", False),
        ("CN=Anna", False),
        ("x CN=Anna,DC=contoso", False),
    ],
)
def test_which_name_of_an_administrator_is_a_dn(text: str, good: bool) -> None:
    assert is_dn(text) is good


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"CN=Doe\, J,OU=X,DC=a", r"CN=Doe\2C J,OU=X,DC=a"),
        (r"CN=Doe\2c J,DC=a", r"cn=doe\, j, DC=A"),
        (r"CN=M\C3\BCller,DC=a", "CN=Müller,DC=a"),
        ("CN=Mu\u0308ller,DC=a", "CN=Müller,DC=a"),
        (r"CN=a\41b,DC=a", "CN=aab,DC=a"),
        (r"CN=x\\2C,DC=a", r"CN=x\5C2C,DC=a"),
        (r"CN=A\+B\=C,DC=a", r"CN=A\2BB\3DC,DC=a"),
        (r"CN=\23A,DC=a", r"CN=\#A,DC=a"),
        ("CN = Anna = X , OU= People ,DC =a", "CN=Anna = X,OU=People,DC=a"),
        ("CN =Anna,DC=a", "CN=Anna,DC=a"),
        ("CN= Anna,DC=a", "CN=Anna,DC=a"),
        ("CN = Anna,DC=a\\", "CN=Anna,DC=a\\"),  # no DN
    ],
)
def test_a_dn_is_the_same_in_each_spelling(one: str, other: str) -> None:
    assert plain_dn(one) == plain_dn(other)
    assert plain_dn(plain_dn(one)) == plain_dn(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"CN=Doe\, J,DC=a", "CN=Doe, J,DC=a"),
        (r"CN=x\\2C,DC=a", r"CN=x\2C,DC=a"),
        (r"CN=\FF,DC=a", r"CN=\FE,DC=a"),
        (r"CN=a\,b = c,DC=a", r"CN=a\,b=c,DC=a"),
        ("CN=a = b,DC=a", "CN=a=b,DC=a"),
    ],
)
def test_other_dns_are_others(one: str, other: str) -> None:
    assert plain_dn(one) != plain_dn(other)


@pytest.mark.parametrize(
    ("dn", "value"),
    [
        ("CN=anna,OU=People,DC=contoso,DC=example", "anna"),
        ("cn = anna,OU=People,DC=contoso,DC=example", "anna"),
        ("CN=O365\\, main,CN=Federation,DC=contoso,DC=example", "O365, main"),
        ("CN=O365\\2C main,CN=Federation,DC=contoso,DC=example", "O365, main"),
        ("CN=Zo\\C3\\AB \\+ Co=1,DC=contoso,DC=example", "Zoë + Co=1"),
        ("CN=ends so\\\\,DC=contoso,DC=example", "ends so\\"),
        ("CN=two\\0Alines,DC=contoso,DC=example", "two\nlines"),
        ("anna", ""),
        ("", ""),
    ],
)
def test_the_first_value_of_a_dn(dn: str, value: str) -> None:
    """RFC 4514 2.4."""
    assert rdn_value(dn) == value
