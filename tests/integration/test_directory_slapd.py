"""The directory asked over LDAPS of a real OpenLDAP server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import DirectorySettings, Found
from tests.directory.logons import logon
from tests.directory.table import outcome, row_name, rows
from tests.integration.slapd import Slapd, running_slapd
from tests.support import DATA

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running_slapd(tmp_path_factory.mktemp("slapd") / "home") as running:
        yield running


@asynccontextmanager
async def asking(settings: DirectorySettings) -> AsyncIterator[ActiveDirectory]:
    directory = ActiveDirectory(settings)
    try:
        yield directory
    finally:
        directory.close()


@pytest.mark.parametrize("row", rows(), ids=row_name)
async def test_every_logon_of_the_table(slapd: Slapd, row: dict[str, str]) -> None:
    """The same table as the snapshot's: both sides answer alike."""
    settings = slapd.settings(default_domain=row["default_domain"] or None)
    async with asking(settings) as directory:
        kind, text = outcome(await directory.recipient(logon(row["logon"])))
    assert kind == row["outcome"], text
    assert row["object"].lower() in text.lower()


async def test_relationships_are_the_snapshot_s(slapd: Slapd) -> None:
    async with asking(slapd.settings()) as directory:
        answer = await directory.relationships()
    snapshot = await Snapshot.load(DATA / "ldif" / "forest.ldif").relationships()
    assert isinstance(answer.relationships, tuple), answer
    assert isinstance(snapshot.relationships, tuple)
    assert [(r.name, r.domain_names, r.enabled) for r in answer.relationships] == [
        (r.name, r.domain_names, r.enabled) for r in snapshot.relationships
    ]
    assert answer.server == f"127.0.0.1:{slapd.tls_port}"


async def test_local_mailbox_with_target_address_is_not_moved(slapd: Slapd) -> None:
    async with asking(slapd.settings()) as directory:
        answer = await directory.recipient(logon("bert@contoso.example"))
    assert isinstance(answer.lookup, Found)
    assert answer.lookup.recipient.target_address == "SMTP:bert@elsewhere.example"
    assert answer.lookup.recipient.has_mailbox
