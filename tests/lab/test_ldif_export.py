"""The lab's directory in LDIF: what a snapshot reader needs is there, and the syntax holds."""

import base64

import pytest

from eas_redirect.lab.ldif_export import DATABASE, DirectoryRelationship, DirectoryUser, write_ldif
from eas_redirect.lab.personas import PERSONAS, RELATIONSHIPS

type Entry = dict[str, list[str]]


def read(text: str) -> list[Entry]:
    """RFC 2849 as far as it is written here, by a reader of its own."""
    entries = []
    for block in text.replace("\n ", "").strip().split("\n\n"):
        entry: Entry = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            plain = (
                base64.b64decode(value[1:]).decode() if value.startswith(":") else value.lstrip()
            )
            entry.setdefault(name, []).append(plain)
        entries.append(entry)
    return entries


@pytest.mark.parametrize("name", ["Anna", "Jürgen Müller", " led by a space", "ends in one ", ":"])
def test_names_survive(name: str) -> None:
    user = DirectoryUser(name="x", display_name=name, user_principal_name="x@contoso.example")
    assert [e["displayName"] for e in read(write_ldif([user], [])) if "displayName" in e] == [
        [name]
    ]


def test_lines_are_folded_at_76_columns() -> None:
    text = write_ldif((persona.directory_user for persona in PERSONAS), RELATIONSHIPS)
    assert max(len(line) for line in text.splitlines()) == 76
    assert text.isascii()


def test_a_mailbox_here_and_one_moved() -> None:
    here = DirectoryUser(
        name="a", display_name="A", user_principal_name="a@contoso.example", has_mailbox=True
    )
    moved = DirectoryUser(
        name="b",
        display_name="B",
        user_principal_name="b@contoso.example",
        target_address="SMTP:b@contoso.mail.onmicrosoft.com",
    )
    users = [e for e in read(write_ldif([here, moved], [])) if "sAMAccountName" in e]
    assert [u.get("homeMDB") for u in users] == [[DATABASE], None]
    assert [u.get("targetAddress") for u in users] == [None, [moved.target_address]]


def test_relationships_and_the_partition() -> None:
    relationship = DirectoryRelationship(
        name="R", domain_names=("a.example", "b.example"), enabled=False
    )
    entries = read(write_ldif([], [relationship]))
    found = [e for e in entries if "msExchFedSharingRelationship" in e["objectClass"]]
    assert found[0]["msExchFedDomainNames"] == ["a.example", "b.example"]
    assert found[0]["msExchFedIsEnabled"] == ["FALSE"]
    assert "msExchFedTargetOwaURL" not in found[0]
    assert [e["nCName"] for e in entries if e.get("nETBIOSName") == ["CONTOSO"]] == [
        ["DC=contoso,DC=example"]
    ]
