"""Who has moved, asked of a real domain controller and its catalogue, also of a hardened domain."""

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import DirectorySettings, Found, Watched
from eas_redirect.directory.watch import watched
from tests.directory.logons import logon
from tests.integration.samba import ROOT, Samba
from tests.integration.test_sight_samba import hardened

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

STAFF = f"OU=Staff,{ROOT}"
PORTS = ("ldaps://{0}:636", "ldaps://{0}:3269")


def change(samba: Samba, *changes: str) -> None:
    samba.ldb("ldbmodify", f"dn: CN=mover,{STAFF}\nchangetype: modify\n" + "-\n".join(changes))


async def find(settings: DirectorySettings, name: str) -> Watched:
    directory = ActiveDirectory(settings)
    try:
        lookup = (await directory.recipient(logon(name))).lookup
    finally:
        directory.close()
    assert isinstance(lookup, Found), lookup
    return watched(lookup.recipient)


async def test_a_move_shows_on_every_port_and_half_of_one_on_none(samba: Samba) -> None:
    """The order of a staged migration, of a move and of a move back, in `ldbmodify`'s words."""
    samba.ldb(
        "ldbadd",
        f"dn: CN=mover,{STAFF}\nobjectClass: user\nsAMAccountName: mover\nmailNickname: mover\n"
        f"userPrincipalName: mover@contoso.example\nhomeMDB: CN=Bert Local,{STAFF}\n",
    )
    ordinary = {
        port: samba.settings(
            servers=(port.format(samba.address),), bind_user="ordinary@contoso.example"
        )
        for port in PORTS
    }
    try:
        asked = [ActiveDirectory(settings) for settings in ordinary.values()]
        mover = await find(ordinary[PORTS[0]], "CONTOSO\\mover")
        bert = await find(ordinary[PORTS[1]], "CONTOSO\\bert")
        assert mover.object_guid is not None

        async def seen() -> list[tuple[Watched, ...]]:
            answers = [(await one.moved([bert, mover])).moved for one in asked]
            by_dn = await asked[0].moved([Watched(dn=bert.dn), Watched(dn=mover.dn.upper())])
            assert isinstance(by_dn.moved, tuple), by_dn
            found = [one for one in answers if isinstance(one, tuple)]
            assert len(found) == len(answers), answers
            assert len(by_dn.moved) == len(found[0])
            return found

        assert await seen() == [(), ()]
        address = "targetAddress: SMTP:mover@contoso.mail.example\n"
        change(samba, f"add: targetAddress\n{address}")
        assert await seen() == [(), ()], "staged"
        change(samba, "delete: homeMDB\n")
        assert await seen() == [(mover,), (mover,)]
        with hardened(samba):
            assert await seen() == [(mover,), (mover,)]
        samba.ldb(
            "ldbmodify",
            f"dn: CN=mover,{STAFF}\nchangetype: modrdn\nnewrdn: CN=Mover Renamed\n"
            "deleteoldrdn: 1\n",
        )
        answer = await asked[0].moved([mover])
        assert answer.moved == (mover,), "told by the GUID"
        samba.ldb(
            "ldbmodify",
            f"dn: CN=Mover Renamed,{STAFF}\nchangetype: modrdn\nnewrdn: CN=mover\n"
            "deleteoldrdn: 1\n",
        )
        change(samba, f"add: homeMDB\nhomeMDB: CN=Bert Local,{STAFF}\n")
        assert await seen() == [(), ()], "moved back"
        change(
            samba, f"delete: homeMDB\nhomeMDB: CN=Bert Local,{STAFF}\n", "delete: targetAddress\n"
        )
        assert await seen() == [(), ()], "neither"
    finally:
        for one in asked:
            one.close()
        samba.ldb("ldbmodify", f"dn: CN=mover,{STAFF}\nchangetype: delete\n")
