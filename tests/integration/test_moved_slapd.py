"""Who has moved, asked of a real OpenLDAP server: by DN, and by GUID where it has one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import Found, Unavailable, Watched
from eas_redirect.directory.watch import watched
from tests.directory.logons import logon
from tests.integration.slapd import BIND_PASSWORD, Slapd, running_slapd

pytestmark = pytest.mark.integration

STATES = {
    "moving": "homeMDB: CN=DB01\n",
    "staged": "homeMDB: CN=DB01\ntargetAddress: SMTP:staged@contoso.mail.example\n",
    "neither": "",
    "half": "msExchHomeServerName: /o=X/cn=EX1\ntargetAddress: SMTP:half@contoso.mail.example\n",
    r"Moved\, Jürgen (ext) *VIP*": "targetAddress: SMTP:vip@contoso.mail.example\n",
}
LDIF = "".join(
    f"\ndn: CN={name},OU=Staff,DC=contoso,DC=example\nobjectClass: user\nsn: x\n"
    f"sAMAccountName: user{number}\nmailNickname: user{number}\n"
    f"{'objectGUID:: AQIDBAUGBwgJCgsMDQ4PEA==' if name == 'moving' else 'sn: y'}\n{state}"
    for number, (name, state) in enumerate(STATES.items())
)
WRITER = (
    "access to attrs=targetAddress,homeMDB by "
    'dn.exact="CN=eas-redirect,DC=contoso,DC=example" write by * read\n'
)
MOVE = """\
dn: CN=moving,OU=Staff,DC=contoso,DC=example
changetype: modify
replace: targetAddress
targetAddress: SMTP:moving@contoso.mail.example
-
delete: homeMDB
"""
BACK = """\
dn: CN=moving,OU=Staff,DC=contoso,DC=example
changetype: modify
add: homeMDB
homeMDB: CN=DB01
"""


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    home = tmp_path_factory.mktemp("slapd") / "home"
    with running_slapd(home, ldif=LDIF, access=WRITER) as running:
        yield running


def modify(slapd: Slapd, ldif: str) -> None:
    account = ("-x", "-D", slapd.bind_user, "-w", BIND_PASSWORD)
    command = ["ldapmodify", "-H", slapd.ldap_url, *account]
    subprocess.run(command, input=ldif, text=True, check=True, capture_output=True)


async def known(directory: ActiveDirectory) -> dict[str, Watched]:
    users = {}
    for number, name in enumerate(STATES):
        lookup = (await directory.recipient(logon(f"CONTOSO\\user{number}"))).lookup
        assert isinstance(lookup, Found), lookup
        users[name] = watched(lookup.recipient)
    return users


async def moved(directory: ActiveDirectory, users: dict[str, Watched]) -> list[str]:
    answer = await directory.moved(tuple(users.values()))
    assert isinstance(answer.moved, tuple), answer
    return [next(name for name, user in users.items() if user == one) for one in answer.moved]


async def test_a_move_shows_and_half_of_one_does_not(slapd: Slapd) -> None:
    directory = ActiveDirectory(slapd.settings())
    try:
        users = await known(directory)
        assert users["moving"].object_guid == "04030201-0605-0807-090a-0b0c0d0e0f10"
        assert users["staged"].object_guid is None
        vip = r"Moved\, Jürgen (ext) *VIP*"
        assert await moved(directory, users) == [vip]
        modify(slapd, MOVE)
        assert await moved(directory, users) == ["moving", vip]
        assert await moved(directory, {"staged": users["staged"]}) == []
        modify(slapd, BACK)
        assert await moved(directory, users) == [vip]
    finally:
        directory.close()


async def test_where_mailboxes_are_hidden_nobody_has_moved(tmp_path: Path) -> None:
    access = "access to attrs=homeMDB,msExchHomeServerName by * none\n"
    with running_slapd(tmp_path / "home", ldif=LDIF, access=access) as slapd:
        directory = ActiveDirectory(slapd.settings())
        try:
            users = await known(directory)
            assert await moved(directory, users) == []
            slapd.process.pause()
            answer = await directory.moved(tuple(users.values()))
            assert isinstance(answer.moved, Unavailable)
            assert answer.moved.error_type == "timeout"
        finally:
            directory.close()
