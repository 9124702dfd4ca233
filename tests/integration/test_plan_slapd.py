"""The census over a real LDAP server: everybody, and the devices below a user."""

from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import Unavailable
from tests.integration.slapd import running_slapd
from tests.support import DATA

pytestmark = pytest.mark.integration


async def test_everyone_and_their_devices(tmp_path: Path) -> None:
    devices = (DATA / "ldif" / "devices.ldif").read_text("utf-8")
    devices = devices.replace("objectClass: container\n", "")
    with running_slapd(tmp_path / "home", ldif=devices) as slapd:
        directory = ActiveDirectory(slapd.settings())
        try:
            everyone = await directory.everyone()
            assert not isinstance(everyone, Unavailable)
            names = {one.sam_account_name for one in everyone}
            assert "anna" in names
            assert len(everyone) > 3
            found = await directory.devices("CN=Anna Moved,OU=Staff,DC=contoso,DC=example")
            assert not isinstance(found, Unavailable)
            assert {(d.device_type, d.device_id, d.protocol_version) for d in found} == {
                ("iPhone", "ApplDN6GW0CCDFJ2", "14.1"),
                ("WP8", "0815", "14.1"),
                ("MyPhone", "4711", "12.1"),
            }
            assert await directory.devices("CN=Nobody,DC=contoso,DC=example") == ()
            slapd.process.kill()
            gone = await directory.devices("CN=Anna Moved,OU=Staff,DC=contoso,DC=example")
            assert isinstance(gone, Unavailable)
        finally:
            directory.close()
