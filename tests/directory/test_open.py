"""The directory that settings mean, and what a person is warned of."""

from pathlib import Path

import pytest

from eas_redirect.directory.open import open_directory, remarks
from eas_redirect.directory.values import AccountDomain, Ambiguous, DirectorySettings, Found
from tests.directory.logons import logon
from tests.support import DATA


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (DirectorySettings(servers=("ldaps://dc1",)), []),
        (DirectorySettings(servers=("ldap://dc1",), start_tls=True), []),
        (DirectorySettings(servers=("ldap://dc1",), bind="anonymous"), []),
        (DirectorySettings(servers=("ldaps://dc1",), verify=False), ["directory.verify is false"]),
        (
            DirectorySettings(servers=("ldap://dc1",), start_tls=True, verify=False),
            ["directory.verify is false"],
        ),
        (
            DirectorySettings(servers=("ldap://dc1", "ldaps://dc2"), verify=False),
            ["directory.verify is false", "crosses the network in clear"],
        ),
        (DirectorySettings(servers=("ldap://dc1",), verify=False, bind="anonymous"), []),
        (
            DirectorySettings(servers=("ldaps://dc1", "ldap://dc2")),
            ["crosses the network in clear"],
        ),
    ],
)
def test_servers(settings: DirectorySettings, says: list[str]) -> None:
    directory = open_directory(settings, None)
    assert directory.source == "ldap"
    found = remarks(directory, settings)
    assert len(found) == len(says)
    assert all(text in remark for text, remark in zip(says, found, strict=True))
    directory.close()


async def test_a_snapshot_by_what_the_settings_say() -> None:
    forest = DATA / "ldif" / "forest.ldif"
    known = AccountDomain(name="fabrikam.example")
    asked = AccountDomain(name="woodgrove.example", servers=("ldaps://dc.woodgrove.example",))
    settings = DirectorySettings(
        servers=(),
        default_domain="CONTOSO",
        no_mailboxes_here=True,
        account_domains=(known, asked),
    )
    directory = open_directory(settings, forest)
    (remark,) = remarks(directory, settings)
    assert remark.startswith("a snapshot does not ask the servers of woodgrove.example")
    sight = (await directory.relationships()).sight
    assert sight is not None
    assert sight.no_mailboxes_here
    assert isinstance((await directory.recipient(logon("anna"))).lookup, Found)
    plain = open_directory(DirectorySettings(servers=()), forest)
    assert isinstance((await plain.recipient(logon("anna"))).lookup, Ambiguous)


def test_a_snapshot_with_malformed_entries(tmp_path: Path) -> None:
    settings = DirectorySettings(servers=())
    forest = DATA / "ldif" / "forest.ldif"
    assert remarks(open_directory(settings, forest), settings) == ()
    spoilt = tmp_path / "spoilt.ldif"
    spoilt.write_text("nothing\n\n" * 5 + forest.read_text(encoding="utf-8"), encoding="utf-8")
    directory = open_directory(settings, spoilt)
    assert directory.source == "snapshot"
    (remark,) = remarks(directory, settings)
    assert remark.startswith("5 malformed entries of the snapshot were left out, first: ")
    assert f"{spoilt}:5: entry left out: no colon in 'nothing'" in remark
