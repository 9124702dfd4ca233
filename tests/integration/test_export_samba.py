"""The exports of docs/operate.md, made of a real domain controller: a snapshot of them answers as
the controller does. ldapsearch stands in for ldifde, with its bases, filters and attributes."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_LIST_ATTRIBUTES,
    PARTITION_ATTRIBUTES,
    RECIPIENT_ATTRIBUTES,
    RELATIONSHIP_ATTRIBUTES,
    SUFFIX_ATTRIBUTES,
    TRUST_ATTRIBUTES,
)
from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import DeviceLists, Found, Lookup, Unavailable
from tests.directory.logons import logon
from tests.integration.samba import ANNA, PASSWORD, ROOT, Samba
from tests.support import ROOT as PROJECT
from tests.support import require

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_LINE = re.compile(r'^ldifde -f \S+ -p subtree -d "(.*?)" -r "(.*?)" -l "(.*?)"$', re.MULTILINE)
NAMES = (
    *("CONTOSO\\anna", "jürgen@contoso.example", "bert", "cora@contoso.test", "CONTOSO\\DC1$"),
    *("sales@contoso.example", "partner@contoso.example", "FABRIKAM\\anna", "nobody"),
)
LISTS = DeviceLists(allowed=("LISTED1",), blocked=("BARRED1",), language="de-DE")


def exports() -> list[tuple[str, str, list[str]]]:
    """Base, filter and attributes of each."""
    page = (PROJECT / "docs" / "operate.md").read_text("utf-8")
    return [(base, wanted, names.split(",")) for base, wanted, names in _LINE.findall(page)]


def exported(samba: Samba) -> str:
    require("ldapsearch")
    parts = []
    for base, search_filter, attributes in exports():
        command = [
            *("ldapsearch", "-LLL", "-x", "-H", f"ldaps://{samba.address}"),
            *("-D", "eas-redirect@contoso.example", "-w", PASSWORD),
            *("-b", base.replace("DC=contoso,DC=local", ROOT), search_filter, *attributes),
        ]
        environment = {**os.environ, "LDAPTLS_CACERT": str(samba.ca_file)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        parts.append(done.stdout)
    return "".join(parts)


def without_guid(lookup: Lookup) -> Lookup:
    """Only who watches a directory asks again by the GUID: the export has none."""
    if not isinstance(lookup, Found):
        return lookup
    return replace(lookup, recipient=replace(lookup.recipient, object_guid=None))


async def test_a_snapshot_of_the_export_answers_as_the_controller(
    samba: Samba, tmp_path: Path
) -> None:
    file = tmp_path / "contoso.ldif"
    file.write_text(exported(samba))
    assert "DC1$" not in file.read_text(), "no computers: LAPS keeps passwords in them"
    snapshot = Snapshot.load(file)
    assert snapshot.problems == ()
    directory = ActiveDirectory(samba.settings())
    try:
        for name in NAMES:
            asked = await directory.recipient(logon(name))
            read = await snapshot.recipient(logon(name))
            assert read.lookup == without_guid(asked.lookup)
        known, kept = await directory.relationships(), await snapshot.relationships()
        lists, devices = await directory.device_lists(ANNA), await directory.devices(ANNA)
        assert await snapshot.device_lists(ANNA) == lists == LISTS
        stored = await snapshot.devices(ANNA)
    finally:
        directory.close()
    assert not isinstance(devices, Unavailable)
    assert set(stored) == set(devices)
    assert {one.device_id: (one.access, one.approved_alone) for one in devices} == {
        "ApplDN6GW0CCDFJ2": (None, False),
        "0815": ("allowed", True),
        "4711": (None, False),
    }
    assert isinstance(known.relationships, tuple)
    assert isinstance(kept.relationships, tuple)
    assert set(kept.relationships) == set(known.relationships)


def test_the_export_has_every_attribute_that_is_read() -> None:
    users, organization = exports()
    linked = "msExchMasterAccountSid"
    assert set(users[2]) == {
        *RECIPIENT_ATTRIBUTES,
        *DEVICE_ATTRIBUTES,
        *DEVICE_LIST_ATTRIBUTES,
        *TRUST_ATTRIBUTES,
        linked,
    }
    assert set(organization[2]) == {
        *RELATIONSHIP_ATTRIBUTES,
        *PARTITION_ATTRIBUTES,
        *SUFFIX_ATTRIBUTES,
    }


async def test_lists_that_may_not_be_read_are_empty(samba: Samba) -> None:
    samba.hide("blind", ANNA, "msExchMobileAllowedDeviceIDs", "msExchMobileBlockedDeviceIDs")
    directory = ActiveDirectory(samba.settings(bind_user="blind@contoso.example"))
    try:
        assert await directory.device_lists(ANNA) == DeviceLists(language="de-DE")
    finally:
        directory.close()
