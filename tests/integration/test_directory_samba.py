"""The directory asked of a real Active Directory domain controller (Samba's)."""

import asyncio
import importlib.util
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.servers import parse_server
from eas_redirect.directory.ldap.session import LDAPSession
from eas_redirect.directory.ldap.wire import Search
from eas_redirect.directory.values import (
    DirectorySettings,
    Found,
    NotFound,
    Unavailable,
)
from tests.directory.logons import logon
from tests.directory.table import outcome
from tests.integration.samba import FEDERATION, PASSWORD, REALM, ROOT, SPECIAL_NAME, Samba
from tests.support import require, unavailable

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

USER_ACCOUNT_CONTROL = "bf967a68-0de6-11d0-a285-00aa003049e2"  # schemaIDGUID (MS-ADA3)


@asynccontextmanager
async def asking(settings: DirectorySettings) -> AsyncIterator[ActiveDirectory]:
    directory = ActiveDirectory(settings)
    try:
        yield directory
    finally:
        directory.close()


async def fault_of(settings: DirectorySettings) -> Unavailable:
    """What a look-up with these settings fails with."""
    async with asking(settings) as directory:
        lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
    assert isinstance(lookup, Unavailable), lookup
    return lookup


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("CONTOSO\\anna", "found", "CN=Anna Moved"),
        ("contoso.example\\ANNA", "found", "CN=Anna Moved"),
        ("FABRIKAM\\anna", "not_found", "no domain of the forest"),
        ("anna@contoso.example", "found", "CN=Anna Moved"),
        ("cora@contoso.example", "found", "CN=No Principal Name"),
        ("cora@contoso.test", "found", "CN=No Principal Name"),
        ("emil@fabrikam.example", "not_found", "0 objects"),
        ("anna.moved@contoso.test", "found", "CN=Anna Moved"),
        ("dora@contoso.example", "found", "CN=Dora Explicit"),
        ("sales@contoso.example", "ambiguous", "CN=Shared"),
        ("partner@contoso.example", "not_found", "is no account"),
        ("anna", "found", "CN=Anna Moved"),
        ("DC1$", "not_found", "0 objects"),
        (f"CONTOSO\\{SPECIAL_NAME}", "found", "CN=Müller"),
        ("JÜRGEN@contoso.example", "found", "CN=Müller"),
        ("CONTOSO\\*", "not_found", "0 objects"),
        ("*)(objectClass=*", "not_found", "0 objects"),
    ],
)
@pytest.mark.parametrize("port", [636, 3269], ids=["controller", "catalogue"])
async def test_logons(samba: Samba, port: int, text: str, kind: str, says: str) -> None:
    settings = samba.settings(servers=(f"ldaps://{samba.address}:{port}",))
    async with asking(settings) as directory:
        found = outcome(await directory.recipient(logon(text)))
    assert (found[0], says in found[1]) == (kind, True), found


@pytest.mark.parametrize(
    "bind_user",
    [
        "eas-redirect@contoso.example",
        "CONTOSO\\eas-redirect",
        f"CN=eas-redirect,CN=Users,{ROOT}",
    ],
    ids=["UPN", "down-level", "DN"],
)
async def test_binds_by_every_kind_of_name(samba: Samba, bind_user: str) -> None:
    async with asking(samba.settings(bind_user=bind_user)) as directory:
        assert isinstance((await directory.recipient(logon("CONTOSO\\anna"))).lookup, Found)
        known = (await directory.relationships()).relationships
    assert isinstance(known, tuple)
    assert {relationship.name for relationship in known} == {"To the cloud", "Old partner"}


async def test_relationships_come_from_a_controller_when_users_come_from_a_catalogue(
    samba: Samba,
) -> None:
    settings = samba.settings(servers=(f"ldaps://{samba.address}:3269",))
    async with asking(settings) as directory:
        users = await directory.recipient(logon("CONTOSO\\anna"))
        known = await directory.relationships()
    assert users.server == f"{samba.address}:3269"
    assert known.server == f"{samba.address}:636"
    assert isinstance(known.relationships, tuple)
    assert len(known.relationships) == 2


async def test_an_ordinary_account_sees_no_relationships_and_no_error(samba: Samba) -> None:
    async with asking(samba.settings(bind_user="ordinary@contoso.example")) as directory:
        assert (await directory.relationships()).relationships == ()


async def test_local_mailbox_with_target_address_is_not_moved(samba: Samba) -> None:
    async with asking(samba.settings()) as directory:
        lookup = (await directory.recipient(logon("bert@contoso.example"))).lookup
    assert isinstance(lookup, Found)
    assert lookup.recipient.target_address == "SMTP:bert@elsewhere.example"
    assert lookup.recipient.has_mailbox


async def test_attributes_that_vanish_are_done_without(samba: Samba) -> None:
    settings = samba.settings(bind_user="ordinary@contoso.example")
    async with asking(settings) as directory:
        before = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
        samba.deny("ordinary", f"OU=Staff,{ROOT}", USER_ACCOUNT_CONTROL)
        after = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
    assert isinstance(before, Found)
    assert isinstance(after, Found)
    assert before.recipient.user_account_control is not None
    assert after.recipient.user_account_control is None
    assert after.recipient.target_address == before.recipient.target_address


@pytest.mark.parametrize(
    ("account", "error_type", "says"),
    [
        ("disabled", "account_disabled", "the account is disabled (data 533)"),
        ("expired", "account_expired", "the account has expired (data 701)"),
        ("must-change", "password_must_change", "must be changed at the first logon (data 773)"),
        ("password-expired", "password_expired", "the password has expired (data 532)"),
        ("nobody", "invalid_credentials", "data 5"),
    ],
)
async def test_a_refused_bind_says_why(
    samba: Samba, account: str, error_type: str, says: str
) -> None:
    fault = await fault_of(samba.settings(bind_user=f"{account}@contoso.example"))
    assert fault.error_type == error_type
    assert says in fault.message
    assert PASSWORD not in fault.message


async def test_a_wrong_password_is_tried_once_and_never_locks_the_account(
    samba: Samba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain locks an account after three failures."""
    monkeypatch.setattr("eas_redirect.directory.ldap.servers.ACCOUNT_COOL_DOWN_S", 0.0)
    file = tmp_path / "password"
    file.write_text("hunter2-Basic-Passw0rd")
    settings = samba.settings(bind_user="ordinary@contoso.example", password_file=str(file))
    async with asking(settings) as directory:
        for _ in range(10):
            lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
            assert isinstance(lookup, Unavailable)
            assert lookup.error_type == "invalid_credentials"
            assert "user name or the password is wrong (data 52e)" in lookup.message
            assert "hunter2" not in lookup.message
            await asyncio.sleep(0.1)  # in which the background tries again
        file.write_text(PASSWORD)
        for _ in range(300):
            lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
            if isinstance(lookup, Found):
                break
            await asyncio.sleep(0.1)
    assert isinstance(lookup, Found), lookup


async def test_a_wrong_password_is_tried_once_however_many_ask_at_once(
    samba: Samba, tmp_path: Path
) -> None:
    """Two roles, eight threads."""
    file = tmp_path / "password"
    file.write_text("wrong")
    servers = tuple(f"ldaps://{samba.address}{port}" for port in ("", ":3269"))
    settings = samba.settings(
        servers=servers, bind_user="mistyped@contoso.example", password_file=str(file), pool_size=8
    )
    before = samba.failures("mistyped")
    async with asking(settings) as directory:
        names = [logon(f"CONTOSO\\user{n}") for n in range(16)]
        answers = await asyncio.gather(*map(directory.recipient, names))
        known = await directory.relationships()
    assert {type(answer.lookup) for answer in answers} == {Unavailable}
    assert isinstance(known.relationships, Unavailable)
    assert samba.failures("mistyped") == before + 1


async def test_a_locked_account_says_so(samba: Samba, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    settings = samba.settings(bind_user="locked@contoso.example", password_file=str(file))
    faults = [await fault_of(settings) for _ in range(4)]
    assert faults[-1].error_type == "account_locked"
    assert "locked (data 775)" in faults[-1].message


async def test_a_rotated_password_needs_no_restart(samba: Samba, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    settings = samba.settings(password_file=str(file))
    async with asking(settings) as directory:
        assert isinstance((await directory.recipient(logon("CONTOSO\\anna"))).lookup, Found)
        samba.set_password("eas-redirect", "An0ther-one-of-the-proxy")
        file.write_text("An0ther-one-of-the-proxy")
        samba.process.kill()
        samba.process.start()
        assert isinstance((await directory.recipient(logon("CONTOSO\\anna"))).lookup, Found)
    samba.set_password("eas-redirect", PASSWORD)


async def test_signing_required_and_start_tls(samba: Samba) -> None:
    plain = samba.settings(servers=(f"ldap://{samba.address}",))
    fault = await fault_of(plain)
    assert fault.error_type == "signing_required"
    assert "use ldaps:// or directory.start_tls" in fault.message
    for port in (389, 3268):
        servers = (f"ldap://{samba.address}:{port}",)
        async with asking(samba.settings(servers=servers, start_tls=True)) as directory:
            assert isinstance((await directory.recipient(logon("CONTOSO\\anna"))).lookup, Found)


async def test_anonymous_questions_are_refused_with_a_word(samba: Samba) -> None:
    fault = await fault_of(samba.settings(bind="anonymous", bind_user=None, password_file=None))
    assert fault.error_type == "bind_required"
    assert 'set directory.bind to "simple"' in fault.message


async def test_a_search_base_that_is_not_there_is_no_nobody(samba: Samba) -> None:
    fault = await fault_of(samba.settings(search_base=f"OU=Nowhere,{ROOT}"))
    assert fault.error_type == "no_such_object"
    assert "check directory.search_base" in fault.message


async def test_killed_hung_and_back(samba: Samba) -> None:
    directory = ActiveDirectory(samba.settings(lookup_timeout_s=2.0), cool_down_s=0.1)

    async def until(error_type: str | None) -> None:
        """Asks until the look-up ends so; None means that it is answered."""
        lookup: object = None
        for _ in range(200):
            lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
            if error_type == (lookup.error_type if isinstance(lookup, Unavailable) else None):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(lookup)

    await until(None)
    samba.process.kill()
    await until("connection_refused")
    samba.process.start()
    await until(None)
    samba.process.pause()
    try:
        await until("timeout")
    finally:
        samba.process.resume()
    await until(None)
    directory.close()


@pytest.fixture
def ticket(samba: Samba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kerberos ticket of the account, in a cache of this test."""
    require("kinit")
    if importlib.util.find_spec("gssapi") is None:
        unavailable("the extra is not installed: eas-redirect[kerberos]")
    config = tmp_path / "krb5.conf"
    config.write_text(
        f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n rdns = false\n"
        f" dns_canonicalize_hostname = false\n"
        f"[realms]\n {REALM} = {{\n  kdc = {samba.address}\n }}\n"
        f"[domain_realm]\n {samba.address} = {REALM}\n"
    )
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'tickets'}")
    subprocess.run(["kinit", f"eas-redirect@{REALM}"], input=PASSWORD + "\n", text=True, check=True)


async def test_kerberos(samba: Samba, ticket: None) -> None:
    """Where a server wants signing of Kerberos binds it says so; where it takes TLS for it, they
    work."""
    samba.ldb(
        "ldbmodify",
        f"dn: CN=DC1,OU=Domain Controllers,{ROOT}\nchangetype: modify\n"
        f"add: servicePrincipalName\nservicePrincipalName: ldap/{samba.address}\n",
    )
    settings = samba.settings(bind="kerberos", bind_user=None, password_file=None)
    fault = await fault_of(settings)
    assert fault.error_type == "signing_required"
    assert 'directory.bind = "simple"' in fault.message
    samba.restart(ldap_server_require_strong_auth="allow_sasl_over_tls")
    async with asking(settings) as directory:
        answer = await directory.recipient(logon("CONTOSO\\anna"))
        known = (await directory.relationships()).relationships
    assert isinstance(answer.lookup, Found), answer
    assert isinstance(known, tuple)
    assert len(known) == 2


async def test_kerberos_without_a_ticket(
    samba: Samba, ticket: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    fault = await fault_of(samba.settings(bind="kerberos", bind_user=None, password_file=None))
    assert fault.error_type == "kerberos"
    assert "klist" in fault.message


async def test_nobody_is_not_found(samba: Samba) -> None:
    async with asking(samba.settings()) as directory:
        answer = await directory.recipient(logon("nobody@contoso.example"))
    assert answer.lookup == NotFound()


MANY = 3200  # more than two ranges of 1500, which is a domain controller's own limit


@pytest.fixture(scope="module")
def of_many_domains(samba: Samba) -> Iterator[str]:
    """A relationship's DN. Other modules ask the same server, so it goes again."""
    dn = f"CN=Of many domains,{FEDERATION}"
    values = "".join(f"msExchFedDomainNames: d{n}.example\n" for n in range(MANY))
    samba.ldb("ldbadd", f"dn: {dn}\nobjectClass: msExchFedSharingRelationship\n{values}")
    yield dn
    samba.ldb("ldbmodify", f"dn: {dn}\nchangetype: delete\n")


def test_values_that_come_in_ranges(samba: Samba, of_many_domains: str) -> None:
    """Asked for in ranges from the first on, so that the server gives ranges whatever its limit."""
    dn = of_many_domains
    settings = samba.settings()
    session = LDAPSession(parse_server(settings.servers[0]), settings, BindCredentials(settings))
    session.open(10)
    try:
        for most in (1499, 99, 1):
            ranged = (f"msExchFedDomainNames;range=0-{most}",)
            [part], _ = session._search(Search(base=dn, scope="base", attributes=ranged))
            assert part.cut == {"msexchfeddomainnames": most + 1}, "the server gives ranges"
            [entry] = session.find(dn, "msExchFedSharingRelationship", None, ranged, 10)
            assert len(set(entry.values("msexchfeddomainnames"))) == MANY
            assert not entry.cut
    finally:
        session.close()


@pytest.fixture
def of_many_addresses(samba: Samba) -> Iterator[None]:
    addresses = "".join(f"proxyAddresses: smtp:b{n}@contoso.example\n" for n in range(MANY))
    for change in ("add", "delete"):
        samba.ldb(
            "ldbmodify",
            f"dn: CN=Bert Local,OU=Staff,{ROOT}\nchangetype: modify\n{change}: proxyAddresses\n"
            f"{addresses}",
        )
        if change == "add":
            yield


@pytest.mark.usefixtures("of_many_domains", "of_many_addresses")
async def test_a_relationship_of_many_domains_and_a_user_of_many_addresses(samba: Samba) -> None:
    async with asking(samba.settings()) as directory:
        known = (await directory.relationships()).relationships
        found = (await directory.recipient(logon("CONTOSO\\bert"))).lookup
    assert isinstance(known, tuple)
    assert max(len(one.domain_names) for one in known) == MANY
    assert isinstance(found, Found)
    assert len(found.recipient.proxy_addresses) >= MANY
