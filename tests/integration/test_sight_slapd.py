"""What a server hides leads to no redirect: access rules of a real OpenLDAP server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import (
    AccountDomain,
    Ambiguous,
    DirectorySettings,
    Found,
    Lookup,
    NotFound,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.lab.authority import LabCertificates
from tests.directory.logons import logon
from tests.integration.slapd import Slapd, running_slapd

pytestmark = pytest.mark.integration

# He has his mailbox here and forwards; and two accounts of which one name is the other's UPN.
JON = """
dn: CN=Jon,OU=Staff,DC=contoso,DC=example
objectClass: user
cn: Jon
sn: x
sAMAccountName: jon
mailNickname: jon
homeMDB: CN=DB01
targetAddress: SMTP:jon@contoso.mail.example
"""
HIDE = """\
access to {what} by dn.exact="CN=eas-redirect,DC=contoso,DC=example" none by * none
"""


async def ask(settings: DirectorySettings, text: str) -> tuple[Lookup, RelationshipsAnswer]:
    directory = ActiveDirectory(settings)
    try:
        answer = await directory.recipient(logon(text))
        return answer.lookup, await directory.relationships()
    finally:
        directory.close()


def kinds(answer: RelationshipsAnswer) -> set[str]:
    assert answer.sight is not None
    return {remark.kind for remark in answer.sight.remarks()}


def unseen(lookup: Lookup) -> str | None:
    assert isinstance(lookup, Found), lookup
    return lookup.unseen.error_type if lookup.unseen else None


@pytest.mark.parametrize("right", ["none", "search"])
async def test_a_hidden_mailbox_is_not_an_absent_one(tmp_path: Path, right: str) -> None:
    """Nor when an account may search for the attribute that it may not read."""
    access = f"access to attrs=homeMDB,msExchHomeServerName by * {right}\n"
    with running_slapd(tmp_path / "home", ldif=JON, access=access) as slapd:
        lookup, answer = await ask(slapd.settings(), "CONTOSO\\jon")
        left, _ = await ask(slapd.settings(no_mailboxes_here=True), "CONTOSO\\anna")
    assert unseen(lookup) == "mailboxes_not_visible"
    assert "mailboxes_not_visible" in kinds(answer)
    assert unseen(left) is None, "the administrator says that nobody is left"


@pytest.mark.parametrize(
    ("hidden", "text", "kind"),
    [
        ("attrs=userPrincipalName", "anna@contoso.example", "principal_names_not_visible"),
        ("attrs=userPrincipalName", "anna.moved@contoso.test", "principal_names_not_visible"),
        ("attrs=mailNickname", "CONTOSO\\anna", "aliases_not_visible"),
    ],
)
async def test_what_a_server_hides_is_said(
    tmp_path: Path, hidden: str, text: str, kind: str
) -> None:
    with running_slapd(tmp_path / "home", access=HIDE.format(what=hidden)) as slapd:
        lookup, answer = await ask(slapd.settings(), text)
    assert kind in kinds(answer)
    doubt = lookup.unseen if isinstance(lookup, Found) else lookup
    assert isinstance(doubt, Unavailable)
    assert doubt.error_type == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("contoso.example\\anna", Found),
        ("anna@contoso.example", Found),  # an explicit one
        ("CONTOSO\\anna", NotFound),
        ("bert", Ambiguous),
        ("cora@contoso.example", Ambiguous),
        ("anna.moved@contoso.test", Ambiguous),
    ],
)
async def test_hidden_partitions_leave_the_whole_dns_name(
    nameless: Slapd, text: str, kind: type[Lookup]
) -> None:
    lookup, answer = await ask(nameless.settings(), text)
    assert isinstance(lookup, kind), lookup
    assert "not_all_accounts_visible" in kinds(answer)


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    access = HIDE.format(what='dn.subtree="CN=Partitions,CN=Configuration,DC=contoso,DC=example"')
    with running_slapd(tmp_path_factory.mktemp("nameless") / "home", access=access) as slapd:
        yield slapd


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CONTOSO\\anna", Found),
        ("anna@contoso.example", Found),
        ("bert", Ambiguous),
        ("cora@contoso.example", Ambiguous),
        ("shared.alone@contoso.example", Ambiguous),
    ],
)
async def test_a_base_below_the_root_of_a_domain(
    tmp_path: Path, text: str, kind: type[Lookup]
) -> None:
    with running_slapd(tmp_path / "home") as slapd:
        settings = slapd.settings(search_base="OU=Staff,DC=contoso,DC=example")
        lookup, answer = await ask(settings, text)
    assert isinstance(lookup, kind), lookup
    assert "not_all_accounts_visible" in kinds(answer)


async def test_relationships_of_two_organizations_decide_nothing(tmp_path: Path) -> None:
    services = "CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=contoso,DC=example"
    other = f"""
dn: CN=Old,{services}
objectClass: msExchOrganizationContainer
cn: Old

dn: CN=Federation,CN=Old,{services}
objectClass: msExchFedOrgId
cn: Federation

dn: CN=Stray,CN=Old,{services}
objectClass: msExchFedSharingRelationship
cn: Stray
msExchFedDomainNames: contoso.mail.example

dn: CN=Another,CN=Federation,CN=Old,{services}
objectClass: msExchFedSharingRelationship
cn: Another
msExchFedDomainNames: contoso.mail.example
"""
    without, _, _ = other.rpartition("\n\n")
    with running_slapd(tmp_path / "one", ldif=without + "\n") as slapd:
        _, answer = await ask(slapd.settings(), "bert")
    assert isinstance(answer.relationships, tuple)
    assert {known.name for known in answer.relationships} == {"To the cloud", "Old partner"}
    assert "relationships_elsewhere" in kinds(answer)
    with running_slapd(tmp_path / "two", ldif=other) as slapd:
        _, answer = await ask(slapd.settings(), "bert")
    assert isinstance(answer.relationships, Unavailable)
    assert answer.relationships.error_type == "several_organizations"


SID = "AQUAAAAAAAUVAAAAAQAAAAIAAAADAAAAUAQAAA=="  # S-1-5-21-1-2-3-1104
ACCOUNTS = f"""
dn: CN=ACCOUNTS,CN=Partitions,CN=Configuration,DC=contoso,DC=example
objectClass: crossRef
cn: ACCOUNTS
nCName: DC=accounts,DC=contoso,DC=example
nETBIOSName: ACCOUNTS
dnsRoot: accounts.contoso.example
systemFlags: 3

dn: DC=accounts,DC=contoso,DC=example
objectClass: domain
dc: accounts

dn: CN=Lena,DC=accounts,DC=contoso,DC=example
objectClass: user
cn: Lena
sn: x
sAMAccountName: l.there
objectSid:: {SID}
"""
LINKED = f"""
dn: CN=Lena,OU=Staff,DC=contoso,DC=example
objectClass: user
cn: Lena
sn: x
sAMAccountName: l.here
mailNickname: lena
userAccountControl: 514
msExchMasterAccountSid:: {SID}
targetAddress: SMTP:lena@contoso.mail.example

dn: CN=System,DC=contoso,DC=example
objectClass: container
cn: System

dn: CN=accounts.example,CN=System,DC=contoso,DC=example
objectClass: trustedDomain
cn: accounts.example
trustPartner: accounts.example
flatName: ACCOUNTS
trustDirection: 2
trustAttributes: 8
"""


async def test_a_linked_mailbox_is_found_by_what_its_account_forest_tells(tmp_path: Path) -> None:
    authority = LabCertificates(tmp_path / "tls")
    with (
        running_slapd(tmp_path / "accounts", ldif=ACCOUNTS, authority=authority) as accounts,
        running_slapd(tmp_path / "here", ldif=LINKED, authority=authority) as here,
    ):
        by_sid = (AccountDomain(name="ACCOUNTS", servers=(accounts.ldaps_url,)),)
        by_name = (AccountDomain(name="ACCOUNTS"),)
        text = "ACCOUNTS\\l.there"
        found, known = await ask(here.settings(account_domains=by_sid), text)
        other, _ = await ask(here.settings(account_domains=by_sid), "ACCOUNTS\\l.here")
        named, _ = await ask(here.settings(account_domains=by_name), "ACCOUNTS\\l.here")
        unnamed, _ = await ask(here.settings(account_domains=by_name), "ACCOUNTS\\bert")
        guessed, stranger = await ask(here.settings(), text)
        accounts.process.kill()
        down, _ = await ask(here.settings(account_domains=by_sid), text)
        still, _ = await ask(here.settings(account_domains=by_sid), "CONTOSO\\anna")
    for one in (found, named):
        assert isinstance(one, Found)
        assert one.recipient.sam_account_name == "l.here"
        assert one.recipient.ms_exch_master_account_sid == "S-1-5-21-1-2-3-1104"
    assert other == unnamed == guessed == NotFound()
    assert "trusted_domains" in kinds(stranger)
    assert "trusted_domains" not in kinds(known)
    assert isinstance(down, Unavailable)
    assert isinstance(still, Found)
