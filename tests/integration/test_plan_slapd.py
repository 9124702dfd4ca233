"""The census over a real LDAP server: everybody, and the devices below a user."""

import csv
import io
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import Unavailable
from tests.cli.running import run
from tests.integration.slapd import Slapd, running_slapd
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


LISTS = """
dn: CN=Lena Listed,OU=Staff,DC=contoso,DC=example
objectClass: user
cn: Lena Listed
sn: Listed
sAMAccountName: lena
userPrincipalName: lena@contoso.example
mailNickname: lena
targetAddress: SMTP:lena@contoso.mail.example
msExchMobileAllowedDeviceIDs: LISTED1
msExchMobileAllowedDeviceIDs: BARRED1
msExchMobileBlockedDeviceIDs: BARRED1
preferredLanguage: de-DE

dn: CN=ExchangeActiveSyncDevices,CN=Lena Listed,OU=Staff,DC=contoso,DC=example
objectClass: msExchActiveSyncDevices
cn: ExchangeActiveSyncDevices
"""
STATES = (("ALONE", 1, 2), ("BYRULE", 1, 3), ("HELD", 3, 1), ("BLOCKED", 2, 2), ("LOOKED", 4, 1))
HIDDEN = """\
access to attrs=msExchMobileAllowedDeviceIDs,msExchMobileBlockedDeviceIDs,msExchDeviceAccessState
  by * none
"""


def lists() -> str:
    below = "CN=ExchangeActiveSyncDevices,CN=Lena Listed,OU=Staff,DC=contoso,DC=example"
    devices = (
        f"dn: CN=iPhone§{name},{below}\nobjectClass: msExchActiveSyncDevice\ncn: iPhone§{name}\n"
        f"msExchDeviceID: {name}\nmsExchDeviceType: iPhone\nmsExchDeviceAccessState: {state}\n"
        f"msExchDeviceAccessStateReason: {reason}\n"
        for name, state, reason in STATES
    )
    return "\n".join((LISTS, *devices))


def script(slapd: Slapd, home: Path) -> tuple[str, str, str]:
    """`plan --allow-script --letters` over that server: both files, and what was said."""
    config = home / "eas-redirect.toml"
    config.write_text(
        f'mode = "observe"\n[directory]\nservers = ["{slapd.ldaps_url}"]\n'
        f'ca_file = "{slapd.ca_file}"\nbind_user = "{slapd.bind_user}"\n'
        f'password_file = "{slapd.password_file}"\nsearch_base = "DC=contoso,DC=example"\n'
    )
    (home / "wave.csv").write_text("lena@contoso.example\n")
    allow, letters = home / "allow.ps1", home / "letters.csv"
    args = ("--allow-script", str(allow), "--letters", str(letters), "-c", str(config))
    ran = run("plan", str(home / "wave.csv"), *args)
    return allow.read_text("utf-8-sig"), letters.read_text("utf-8-sig"), ran.err


def test_lists_states_and_language_reach_the_script_and_the_letters(tmp_path: Path) -> None:
    with running_slapd(tmp_path / "home", ldif=lists()) as slapd:
        allow, letters, said = script(slapd, tmp_path)
    assert "@{ User = 'lena@contoso.example'; Ids = @('LISTED1', 'ALONE') }" in allow
    blocked = (tmp_path / "allow-blocked.ps1").read_text("utf-8-sig")
    assert "Ids = @('BARRED1', 'BLOCKED')" in blocked
    rows = list(csv.DictReader(io.StringIO(letters)))
    assert {row["device_id"] for row in rows} == {"ALONE", "BYRULE", "HELD", "LOOKED"}
    assert {row["language"] for row in rows} == {"de-DE"}
    assert "No approved device is readable" not in said


def test_what_may_not_be_read_is_not_called_none(tmp_path: Path) -> None:
    with running_slapd(tmp_path / "home", ldif=lists(), access=HIDDEN) as slapd:
        allow, _, said = script(slapd, tmp_path)
    assert "LISTED1" not in allow
    assert "No approved device is readable, or there is none" in said
