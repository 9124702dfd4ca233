"""What a domain controller hides leads to no redirect: Samba's access rules, which say no error."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import (
    Ambiguous,
    DirectorySettings,
    Found,
    Lookup,
    NotFound,
    RelationshipsAnswer,
)
from eas_redirect.directory.watch import watched
from tests.directory.logons import logon
from tests.integration.samba import ROOT, Samba

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

COMPATIBLE = f"CN=Pre-Windows 2000 Compatible Access,CN=Builtin,{ROOT}"
AUTHENTICATED_USERS = f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{ROOT}"


async def ask(settings: DirectorySettings, text: str) -> tuple[Lookup, RelationshipsAnswer]:
    directory = ActiveDirectory(settings)
    try:
        answer = await directory.recipient(logon(text))
        return answer.lookup, await directory.relationships()
    finally:
        directory.close()


def kinds(answer: RelationshipsAnswer) -> list[str]:
    assert answer.sight is not None
    return [remark.kind for remark in answer.sight.remarks()]


@contextmanager
def hardened(samba: Samba) -> Iterator[None]:
    """Authenticated Users are taken out of Pre-Windows 2000 Compatible Access."""

    def change(verb: str) -> None:
        samba.ldb(
            "ldbmodify",
            f"dn: {COMPATIBLE}\nchangetype: modify\n"
            f"{verb}: member\nmember: {AUTHENTICATED_USERS}\n",
        )

    change("delete")
    try:
        yield
    finally:
        change("add")


@pytest.mark.parametrize("port", [636, 3269], ids=["controller", "catalogue"])
async def test_an_ordinary_account_sees_enough(samba: Samba, port: int) -> None:
    settings = samba.settings(
        servers=(f"ldaps://{samba.address}:{port}",), bind_user="ordinary@contoso.example"
    )
    for text in ("CONTOSO\\anna", "anna@contoso.example", "cora@contoso.example", "anna"):
        lookup, answer = await ask(settings, text)
        assert isinstance(lookup, Found), text
        assert lookup.unseen is None
        assert kinds(answer) == []


async def test_a_hardened_domain_shows_enough(samba: Samba) -> None:
    """It hides the types of recipients and userAccountControl, and what decides shows still."""
    settings = samba.settings(bind_user="ordinary@contoso.example")
    with hardened(samba):
        moved, answer = await ask(settings, "CONTOSO\\anna")
        local, _ = await ask(settings, "CONTOSO\\bert")
        implicit, _ = await ask(settings, "cora@contoso.example")
    assert kinds(answer) == []
    assert isinstance(moved, Found)
    assert moved.recipient.user_account_control is None, "it is hardened"
    assert moved.unseen is None
    assert isinstance(local, Found)
    assert local.recipient.has_mailbox
    assert isinstance(implicit, Found)


async def test_what_is_denied_is_not_absent(samba: Samba) -> None:
    """Each step denies one account more, and nobody is taken to have moved for it."""
    settings = samba.settings(bind_user="blind@contoso.example")
    seen, answer = await ask(settings, "CONTOSO\\bert")
    assert isinstance(seen, Found)
    assert seen.recipient.has_mailbox
    assert kinds(answer) == []

    # Rules of the object itself, for those of a class stand before what is inherited.
    samba.hide("blind", f"CN=Bert Local,OU=Staff,{ROOT}", "homeMDB", "msExchHomeServerName")
    local, answer = await ask(settings, "CONTOSO\\bert")
    moved, _ = await ask(settings, "CONTOSO\\anna")
    assert kinds(answer) == ["mailboxes_not_visible"]
    for one in (local, moved):
        assert isinstance(one, Found)
        assert not one.recipient.has_mailbox
        assert one.unseen is not None
        assert one.unseen.error_type == "mailboxes_not_visible"

    assert isinstance(moved, Found)
    for asked, told in ((settings, 0), (samba.settings(), 1)):
        directory = ActiveDirectory(asked)
        gone = await directory.moved([watched(moved.recipient)])
        directory.close()
        assert isinstance(gone.moved, tuple)
        assert len(gone.moved) == told

    samba.hide("blind", f"CN=CONTOSO,CN=Partitions,CN=Configuration,{ROOT}", "nCName")
    by_dns, answer = await ask(settings, "contoso.example\\anna")
    by_netbios, _ = await ask(settings, "CONTOSO\\anna")
    bare, _ = await ask(settings, "anna")
    assert "not_all_accounts_visible" in kinds(answer)
    assert isinstance(by_dns, Found)
    assert by_netbios == NotFound()
    assert isinstance(bare, Ambiguous)
