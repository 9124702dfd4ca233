"""What goes into a filter, and what comes out of ldap3's answers."""

import pytest

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap_entries import entry_of, is_entry, search_filter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("anna", "(sAMAccountName=anna)"),
        ("*", "(sAMAccountName=\\2a)"),
        ("*)(objectClass=*", "(sAMAccountName=\\2a\\29\\28objectClass=\\2a)"),
        ("a\\2ab", "(sAMAccountName=a\\5c2ab)"),
        ("a\0b", "(sAMAccountName=a\\00b)"),
        ("a)(|(cn=\uff0a", "(sAMAccountName=a\\29\\28|\\28cn=\uff0a)"),
    ],
)
def test_a_value_stays_a_value(value: str, text: str) -> None:
    assert search_filter(None, ("sAMAccountName", value)) == text
    assert search_filter("user", ("sAMAccountName", value)) == f"(&(objectClass=user){text})"


def test_attributes_with_options_are_the_attribute() -> None:
    item = {
        "type": "searchResEntry",
        "dn": "CN=Anna",
        "raw_attributes": {
            "proxyAddresses;range=0-1": [b"smtp:a@b.example"],
            "proxyAddresses": [b"smtp:c@d.example"],
        },
    }
    assert is_entry(item)
    found = entry_of(item)
    assert found == Entry("CN=Anna", {"proxyaddresses": ["smtp:a@b.example", "smtp:c@d.example"]})
    assert not is_entry({"type": "searchResRef", "uri": ["ldap://elsewhere"]})


def test_what_is_no_text_is_a_value_all_the_same() -> None:
    """Else a homeMDB in another encoding would be no mailbox."""
    found = entry_of({"dn": "CN=Anna", "raw_attributes": {"homeMDB": [b"CN=M\xfcnchen"]}})
    assert found.first("homemdb") == "CN=M\\xfcnchen"
