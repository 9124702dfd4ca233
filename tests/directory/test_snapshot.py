"""A snapshot answers like the forest that it was exported from."""

import asyncio
import gc
import itertools
import os
import time
from pathlib import Path

import pytest

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.entries import Entry
from eas_redirect.directory.logons import doubt_about, resolve
from eas_redirect.directory.snapshot import Snapshot, SnapshotError
from eas_redirect.directory.values import (
    AccountDomain,
    DeviceLists,
    Found,
    NotFound,
    OrganizationRelationship,
    Recipient,
    Unavailable,
    Watched,
)
from tests.directory.logons import logon
from tests.directory.table import outcome, row_name, rows
from tests.support import DATA

FOREST = DATA / "ldif" / "forest.ldif"


@pytest.mark.parametrize("row", rows(), ids=row_name)
async def test_every_logon_of_the_table(row: dict[str, str]) -> None:
    snapshot = Snapshot.load(FOREST, default_domain=row["default_domain"] or None)
    kind, text = outcome(await snapshot.recipient(logon(row["logon"])))
    assert kind == row["outcome"], text
    assert row["object"] in text


async def test_relationships_are_read_by_the_names_of_the_cmdlet() -> None:
    answer = await Snapshot.load(FOREST).relationships()
    federation = (
        "CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,"
        "DC=contoso,DC=example"
    )
    assert answer.source == "snapshot"
    assert answer.relationships == (
        OrganizationRelationship(
            name="To the cloud",
            domain_names=("contoso.mail.example", "xn--mnchen-3ya.example"),
            target_owa_url="http://outlook.com/owa/contoso.example",
            dn=f"CN=To the cloud,{federation}",
        ),
        OrganizationRelationship(
            name="Old partner",
            domain_names=("partner.example",),
            enabled=False,
            dn=f"CN=Old partner,{federation}",
        ),
    )


async def test_local_mailbox_with_target_address_is_not_moved() -> None:
    answer = await Snapshot.load(FOREST).recipient(logon("bert@contoso.example"))
    assert isinstance(answer.lookup, Found)
    assert answer.lookup.recipient.target_address == "SMTP:bert@elsewhere.example"
    assert answer.lookup.recipient.has_mailbox


@pytest.mark.parametrize("domains", [("contoso",), ("contoso", "emea"), ("emea",)])
def test_what_all_objects_lack_may_be_believed_or_each_is_looked_at(
    domains: tuple[str, ...],
) -> None:
    """One domain shows everything, the other no mailbox."""
    shown = {"mailnickname": ["x"], "userprincipalname": ["x@contoso.example"]}
    entries = []
    for domain in domains:
        dn = f"OU=Staff,DC={domain},DC=example"
        mailbox = {"homemdb": ["CN=DB01"]} if domain == "contoso" else {}
        entries.append(Entry(f"CN=Here,{dn}", shown | mailbox | {"samaccountname": ["here"]}))
        target = {"targetaddress": ["SMTP:x@m.example"], "samaccountname": ["gone"]}
        entries.append(Entry(f"CN=Gone,{dn}", shown | target))
    snapshot = Snapshot(entries)
    index = snapshot._index
    doubts = [doubt_about(one, index.sight()) for one in index.everyone()]
    assert index.shows_all is (domains == ("contoso",))
    assert index.shows_all is not any(doubts)
    partial = Snapshot([*entries, Entry("CN=Nowhere", {"samaccountname": ["nobody"]})])
    assert not partial._index.shows_all, "an object of no domain"


@pytest.mark.parametrize(
    "user",
    ["", "an\0na", "anna\n", "anna\x7f", "x" * 257, "\ud800"],
    ids=["empty", "nul", "line end", "delete", "over-long", "lone surrogate"],
)
async def test_names_that_must_not_become_a_question_are_refused(user: str) -> None:
    asked = Logon(text=f"CONTOSO\\{user}", user=user, domain="CONTOSO", format="down_level")
    answer = await Snapshot.load(FOREST).recipient(asked)
    assert answer.lookup == NotFound()
    assert "refused" in answer.steps[0]


USER = """\
dn: CN=Anna,OU=Staff,{domain}
sAMAccountName: anna
targetAddress: SMTP:anna@contoso.mail.example

"""


@pytest.mark.parametrize(
    ("domains", "default_domain", "text", "kind"),
    [
        ("DC=contoso,DC=example", None, "contoso.example\\anna", "found"),
        ("DC=contoso,DC=example", None, "Contoso.Example\\anna", "found"),
        ("DC=contoso,DC=example", "contoso.example", "anna", "found"),
        ("DC=contoso,DC=example", None, "CONTOSO\\anna", "not_found"),
        ("DC=contoso,DC=example", None, "FABRIKAM\\anna", "not_found"),
        ("DC=contoso,DC=example", None, "EXAMPLE\\anna", "not_found"),
        ("DC=contoso,DC=example", "FABRIKAM", "FABRIKAM\\anna", "not_found"),
        ("DC=contoso,DC=example", "CONTOSO", "anna", "not_found"),
        ("DC=contoso,DC=example", "fabrikam.example", "anna", "not_found"),
        ("DC=contoso,DC=example", None, "anna", "ambiguous"),
        ("DC=contoso,DC=example", None, "anna@contoso", "not_found"),
        ("DC=corp,DC=contoso,DC=example", None, "CONTOSO\\anna", "not_found"),
        ("DC=corp,DC=contoso,DC=example", None, "CORP\\anna", "not_found"),
        ("DC=corp,DC=contoso,DC=example", None, "corp.contoso.example\\anna", "found"),
        ("DC=contoso,DC=example DC=fabrikam,DC=example", None, "fabrikam.example\\anna", "found"),
        ("DC=contoso,DC=example DC=contoso,DC=test", None, "CONTOSO\\anna", "not_found"),
    ],
)
async def test_without_cross_refs_the_objects_tell_the_domains(
    tmp_path: Path, domains: str, default_domain: str | None, text: str, kind: str
) -> None:
    file = tmp_path / "users.ldif"
    file.write_text("".join(USER.format(domain=domain) for domain in domains.split()))
    answer = await Snapshot.load(file, default_domain=default_domain).recipient(logon(text))
    assert outcome(answer)[0] == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("anna", "ambiguous"),
        ("anna@contoso.example", "ambiguous"),
        ("CONTOSO\\anna", "found"),
        ("bert@contoso.example", "found"),
    ],
)
async def test_a_domain_that_was_not_exported_may_hold_the_same_name(
    tmp_path: Path, text: str, kind: str
) -> None:
    """The crossRef objects tell that there is another domain; nobody of it is in the file."""
    file = tmp_path / "forest.ldif"
    domains = FOREST.read_text(encoding="utf-8").partition("dn: CN=Anna Moved")[0]
    guest = "dn: CN=G,CN=Users,{}\nuserPrincipalName: guest@{}\n\n"
    bert = "dn: CN=B,DC=contoso,DC=example\nuserPrincipalName: bert@contoso.example\n\n"
    users = USER.format(domain="DC=contoso,DC=example") + bert
    users += guest.format("DC=contoso,DC=example", "contoso.example")
    file.write_text(domains + users, encoding="utf-8")
    answer = await Snapshot.load(file).recipient(logon(text))
    assert outcome(answer)[0] == kind
    assert ("export every domain" in " ".join(answer.steps)) is (kind == "ambiguous")
    other = USER.format(domain="DC=emea,DC=contoso,DC=example").replace("anna", "emil")
    other += guest.format("DC=emea,DC=contoso,DC=example", "emea.contoso.example")
    file.write_text(domains + users + other, encoding="utf-8")
    assert outcome(await Snapshot.load(file).recipient(logon(text)))[0] == "found"


async def test_joined_exports_hold_each_object_once(tmp_path: Path) -> None:
    file = tmp_path / "twice.ldif"
    file.write_text(FOREST.read_text(encoding="utf-8") * 2, encoding="utf-8")
    answer = await Snapshot.load(file).recipient(logon("anna@contoso.example"))
    assert outcome(answer)[0] == "found"


async def test_two_versions_of_one_object_are_ambiguous(tmp_path: Path) -> None:
    file = tmp_path / "versions.ldif"
    entry = USER.format(domain="DC=contoso,DC=example")
    file.write_text(entry + entry.replace("contoso.mail.example", "other.example"))
    answer = await Snapshot.load(file).recipient(logon("CONTOSO\\anna"))
    assert outcome(answer)[0] == "ambiguous"


async def test_a_malformed_entry_is_counted_and_costs_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "spoilt.ldif"
    good = USER.format(domain="DC=contoso,DC=example")
    file.write_text("dn: CN=Bad\nsAMAccountName:: ?\n\n" + good + "no colon here\n")
    snapshot = Snapshot.load(file)
    assert snapshot.problems == (
        f"{file}:1: entry left out: samaccountname is not valid base64",
        f"{file}:8: entry left out: no colon in 'no colon here'",
    )
    assert len(snapshot) == 1
    found = await snapshot.recipient(logon("contoso.example\\anna"))
    assert outcome(found)[0] == "found"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", ":1: empty"),
        (b"# only a comment\n", ":1: empty"),
        (b"\n\nhello\n", ":3: no colon in 'hello'"),
        (b"dn: CN=x\nchangetype: delete\n", ":1: a change (delete), not an entry"),
        (b"\x00\x01\x02" * 50, ":1: "),
    ],
    ids=["missing", "empty", "comment", "text", "a change", "binary"],
)
def test_a_file_without_any_entry_says_what_to_do(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "bad.ldif"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SnapshotError) as caught:
        Snapshot.load(file)
    assert str(caught.value).startswith(str(file))
    assert says in str(caught.value)
    assert "LDIF" in str(caught.value)


DOMAIN = """\
dn: CN=CONTOSO,CN=Partitions,CN=Configuration,DC=contoso,DC=example
objectClass: crossRef
nCName: DC=contoso,DC=example
nETBIOSName: CONTOSO
dnsRoot: contoso.example
systemFlags: 3

"""
CLOUD = """\
dn: CN=Cloud,CN=Federation,CN=Org,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=contoso
 ,DC=example
objectClass: msExchFedSharingRelationship
cn: Cloud
msExchFedDomainNames: cloud.example
msExchFedTargetOwaURL: https://outlook.office.com/owa

"""
JON = """\
dn: CN=Doe\\, Jon,OU=Staff,DC=contoso,DC=example
objectClass: user
sAMAccountName: jon
mailNickname: jon
targetAddress: SMTP:jon@cloud.example

"""


def joined(folder: Path, *parts: str) -> Snapshot:
    file = folder / "joined.ldif"
    file.write_text("".join(parts), "utf-8")
    return Snapshot.load(file)


@pytest.mark.parametrize(
    "fact",
    [
        "homeMDB: CN=DB01",
        "msExchHomeServerName: /o=C/cn=EX07",
        "msExchRecipientTypeDetails: 1",
        "msExchRemoteRecipientType: 2",
    ],
)
@pytest.mark.parametrize("dn", ["CN=Doe\\, Jon", "cn=doe\\2c jon", "CN=Doe\\2C Jon"])
async def test_an_export_of_one_attribute_says_its_part(tmp_path: Path, fact: str, dn: str) -> None:
    part = f"dn: {dn},OU=Staff,DC=contoso,DC=example\n{fact}\n\n"
    for parts in ((JON, part), (part, JON)):
        snapshot = joined(tmp_path, DOMAIN, CLOUD, *parts)
        assert len(snapshot) == 1
        found = (await snapshot.recipient(logon("CONTOSO\\jon"))).lookup
        assert isinstance(found, Found)
        assert found.recipient.has_mailbox


async def test_a_part_of_nobody_is_nobody(tmp_path: Path) -> None:
    part = "dn: CN=X,OU=Staff,DC=contoso,DC=example\nhomeMDB: CN=DB01\n\n"
    snapshot = joined(tmp_path, DOMAIN, CLOUD, JON, part)
    found = (await snapshot.recipient(logon("CONTOSO\\jon"))).lookup
    assert isinstance(found, Found)
    assert found.unseen is not None, "it vouches for nobody either"


async def test_what_stands_in_the_file_twice_is_there_once(tmp_path: Path) -> None:
    """Each domain was exported together with the configuration, and the files were joined."""
    snapshot = joined(tmp_path, DOMAIN, CLOUD, JON, DOMAIN, CLOUD, JON)
    assert isinstance((await snapshot.recipient(logon("CONTOSO\\jon"))).lookup, Found)
    known = (await snapshot.relationships()).relationships
    assert isinstance(known, tuple)
    assert [one.domain_names for one in known] == [("cloud.example",)]


@pytest.mark.parametrize(
    "other",
    [
        CLOUD,
        CLOUD.replace("outlook.office.com", "mail.partner.example"),
        CLOUD.replace("\n\n", "\nmsExchFedIsEnabled: FALSE\n\n"),
        CLOUD.replace("cloud.example", "other.example"),
    ],
)
async def test_versions_of_a_relationship_that_differ_tell_nothing(
    tmp_path: Path, other: str
) -> None:
    for parts in ((CLOUD, other), (other, CLOUD)):
        snapshot = joined(tmp_path, DOMAIN, JON, *parts)
        known = (await snapshot.relationships()).relationships
        assert isinstance(known, tuple)
        [one] = known
        assert (one.domains_unknown is None) is (other == CLOUD)
        assert one.enabled, "so that the domains count as unknown"
        assert one.domain_names == (("cloud.example",) if other == CLOUD else ())


def test_a_file_is_bounded_in_bytes_and_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eas_redirect.directory.snapshot.MAX_FILE", 1 << 20)
    large = tmp_path / "everything.ldif"
    large.write_bytes(USER.format(domain="DC=a").encode().ljust(1 << 20, b"\n"))
    assert len(Snapshot.load(large)) == 1
    large.write_bytes(b"# " + b"x" * ((1 << 20) - 1))
    with pytest.raises(SnapshotError, match="longer than 1 MiB"):
        Snapshot.load(large)
    for endless in (Path("/dev/zero"), tmp_path):
        with pytest.raises(SnapshotError, match="is no file"):
            Snapshot.load(endless)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SnapshotError, match="is no file"):
        Snapshot.load(tmp_path / "pipe")


BERT = JON.replace("targetAddress: SMTP:jon@cloud.example", "homeMDB: CN=DB01").replace(
    "jon", "bert").replace("Jon", "Bert")  # fmt: skip


def test_whom_an_administrator_means(tmp_path: Path) -> None:
    snapshot = joined(tmp_path, DOMAIN, JON, BERT)
    dn = "CN=Doe\\, Jon,OU=Staff,DC=contoso,DC=example"
    for name in ("CONTOSO\\jon", dn, "cn=doe\\2c jon, ou=staff, dc=contoso, dc=example"):
        found = snapshot.meant_by(name)
        assert isinstance(found, Found), name
        assert found.recipient.dn == dn
    for name in ("", "CONTOSO\\nobody", f"CN=Nobody,{dn}"):
        assert snapshot.meant_by(name) == NotFound(), name


@pytest.mark.parametrize(
    ("name", "attribute"), [("objectClass: msExchActiveSyncDevice\n", ""), ("", "msExchDeviceID")]
)
async def test_the_devices_of_a_user(tmp_path: Path, name: str, attribute: str) -> None:
    """By their class, or in an export of chosen attributes without it."""
    attribute = f"{attribute or 'msExchDeviceModel'}: A1\n"
    dn = "CN=Doe\\, Jon,OU=Staff,DC=contoso,DC=example"
    device = f"dn: CN=1,CN=ExchangeActiveSyncDevices,{dn}\n{name}{attribute}\n"
    stray = f"dn: CN=1,{dn}\n{name}{attribute}\n"
    snapshot = joined(tmp_path, DOMAIN, JON, BERT, device, device.replace("CN=1", "CN=2"), stray)
    found = await snapshot.devices(dn.upper())
    assert [one.dn.partition(",")[0] for one in found] == ["CN=1", "CN=2"]
    assert {one.device_id or one.model for one in found} == {"A1"}
    assert await snapshot.devices("CN=Nobody") == ()


async def test_the_device_lists_of_a_user(tmp_path: Path) -> None:
    for line, lists in (
        ("msExchMobileAllowedDeviceIDs: A", DeviceLists(allowed=("A",))),
        ("msExchMobileBlockedDeviceIDs: A", DeviceLists(blocked=("A",))),
        ("preferredLanguage: de-DE", DeviceLists(language="de-DE")),
        ("mail: jon@contoso.example", DeviceLists()),
        (
            "msExchMobileAllowedDeviceIDs: A\nmsExchMobileBlockedDeviceIDs: B\n"
            "preferredLanguage: de-DE",
            DeviceLists(allowed=("A",), blocked=("B",), language="de-DE"),
        ),
    ):
        snapshot = joined(tmp_path, DOMAIN, JON.rstrip() + f"\n{line}\n\n", BERT)
        dn = "cn=doe\\2c jon, ou=staff,dc=contoso,dc=example"
        assert await snapshot.device_lists(dn) == lists, line
        assert await snapshot.device_lists("CN=Nobody") == DeviceLists()


async def test_each_answer_says_how_old_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = joined(tmp_path, DOMAIN, CLOUD, JON, BERT)

    async def ages() -> list[float]:
        answers = (
            await snapshot.recipient(logon("CONTOSO\\jon")),
            await snapshot.relationships(),
            await snapshot.moved([]),
        )
        assert {answer.source for answer in answers} == {"snapshot"}
        return [answer.age_s for answer in answers]

    assert await ages() == [0.0, 0.0, 0.0]
    snapshot.outdated_since = time.monotonic() - 1000
    assert all(1000 <= age < 2000 for age in await ages())
    monkeypatch.setattr(time, "perf_counter", itertools.count(8.0, 0.25).__next__)
    assert (await snapshot.recipient(logon("CONTOSO\\jon"))).duration_ms == 250.0


async def test_who_asks_about_many_lets_others_have_a_turn(tmp_path: Path) -> None:
    snapshot = joined(tmp_path, DOMAIN, JON, BERT)
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    waiting = asyncio.ensure_future(other())
    async with asyncio.timeout(0.9):
        await snapshot.moved([])
    assert turns == ["other"]
    await waiting


async def test_a_user_is_found_again_by_either_name(tmp_path: Path) -> None:
    """The account name may be another's by now, in another domain, and the other name his still."""
    principal = JON.replace("mailNick", "userPrincipalName: jon@contoso.example\nmailNick")
    renamed = principal.replace("sAMAccountName: jon", "sAMAccountName: jdoe")
    other = JON.replace("DC=contoso", "DC=emea,DC=contoso")
    snapshot = joined(tmp_path, DOMAIN, renamed, other, BERT)
    dn = "CN=Doe\\, Jon,OU=Staff,DC=contoso,DC=example"
    for upn in ("JON@contoso.example", None):
        user = Watched(dn=dn, sam_account_name="JON", user_principal_name=upn)
        assert (await snapshot.moved([user])).moved == ((user,) if upn else ())


ROOT = "dn: DC=contoso,DC=example\nobjectClass: domainDNS\n\n"
TRUST = """\
dn: CN=Fabrikam,CN=System,DC=contoso,DC=example
{}
"""


async def test_what_the_directory_vouches_for_comes_with_the_relationships(tmp_path: Path) -> None:
    snapshot = joined(tmp_path, DOMAIN, CLOUD, JON, BERT)
    sight = (await snapshot.relationships()).sight
    assert sight is not None
    assert sight.named
    assert not sight.no_mailboxes_here
    [domain] = sight.domains
    assert (domain.mailboxes, domain.aliases, domain.portion) == (True, True, "one_container")
    assert snapshot._index.shows_all
    file = tmp_path / "joined.ldif"
    sight = (await Snapshot.load(file, no_mailboxes_here=True).relationships()).sight
    assert sight is not None
    assert sight.no_mailboxes_here
    [domain] = joined(tmp_path, DOMAIN, ROOT, JON)._index.sight().domains
    assert domain.portion == "whole"


async def test_a_part_of_an_object_vouches_for_its_domain(tmp_path: Path) -> None:
    part = "dn: CN=Doe\\, Bert,OU=Staff,DC=contoso,DC=example\nhomeMDB: CN=DB01\n\n"
    snapshot = joined(tmp_path, DOMAIN, JON, BERT.replace("homeMDB: CN=DB01\n", ""), part)
    found = (await snapshot.recipient(logon("CONTOSO\\jon"))).lookup
    assert isinstance(found, Found)
    assert found.unseen is None


async def test_a_domain_has_the_names_of_all_its_exports(tmp_path: Path) -> None:
    """The account that exported once could not read dnsRoot."""
    for lines in ("dnsRoot: contoso.example\n", "objectClass: crossRef\n"):
        snapshot = joined(tmp_path, DOMAIN.replace(lines, ""), DOMAIN, JON, BERT)
        for name in ("CONTOSO\\jon", "contoso.example\\jon"):
            assert isinstance((await snapshot.recipient(logon(name))).lookup, Found), name
        alone = joined(tmp_path, DOMAIN.replace(lines, ""), JON, BERT)
        assert isinstance((await alone.recipient(logon("CONTOSO\\jon"))).lookup, Found)


@pytest.mark.parametrize(
    ("lines", "trusts", "missing"),
    [
        ("objectClass: trustedDomain\n", ("fabrikam",), ()),
        ("trustPartner: fabrikam.example\n", ("fabrikam.example",), ()),
        ("objectClass: trustedDomain\ntrustDirection: 1\n", (), ()),
        ("trustPartner: Fabrikam.example\ntrustAttributes: 32\n", (),
         ("dc=fabrikam,dc=example",)),
        ("trustPartner: contoso.example\ntrustAttributes: 32\n", (), ()),  # this very domain
        ("cn: Fabrikam\n", (), ()),
    ],
)  # fmt: skip
async def test_what_trusts_tell(
    tmp_path: Path, lines: str, trusts: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    snapshot = joined(tmp_path, DOMAIN, JON, BERT, TRUST.format(lines))
    sight = snapshot._index.sight()
    assert (sight.trusts, sight.strangers, sight.missing) == (trusts, trusts, missing)
    known = (AccountDomain(name="Fabrikam"), AccountDomain(name="fabrikam.example"))
    sight = Snapshot.load(tmp_path / "joined.ldif", account_domains=known)._index.sight()
    assert (sight.trusts, sight.strangers) == (trusts, ())


async def test_a_relationship_is_known_by_its_class_or_its_domains(tmp_path: Path) -> None:
    for lines in ("objectClass: msExchFedSharingRelationship\n", "msExchFedDomainNames: "
                  "cloud.example\n"):  # fmt: skip
        known = (
            await joined(tmp_path, CLOUD.replace(lines, ""), JON).relationships()
        ).relationships
        assert isinstance(known, tuple)
        assert [one.name for one in known] == ["Cloud"]


ONE = "dn: CN=X,DC=contoso,DC=example\nsAMAccountName: x\n"


@pytest.mark.parametrize(
    ("versions", "is_account"),
    [
        ((ONE, "dn: CN=X,DC=contoso,DC=example\ntargetAddress: SMTP:x@m.example\n"), True),
        ((ONE, ONE + "objectClass: contact\n"), False),
        # Its class is known by one of three.
        ((ONE, ONE + "objectClass: contact\n", ONE + "mail: x@contoso.example\n"), False),
    ],
)
def test_one_of_several_versions_knows_whether_it_is_an_account(
    versions: tuple[str, ...], is_account: bool
) -> None:
    for order in itertools.permutations(versions):
        snapshot = Snapshot.read("\n".join(order).encode() + b"\n", "x.ldif")
        assert bool(snapshot._index.everyone()) is is_account, order


def test_a_mailbox_linked_to_an_account_elsewhere(tmp_path: Path) -> None:
    sid = "S-1-5-21-1-2-3-1104"
    linked = JON.replace("mailNick", f"msExchMasterAccountSid: {sid}\nmailNick")
    domains = (AccountDomain(name="FABRIKAM", servers=("ldaps://dc1.fabrikam.example",)),)
    index = joined(tmp_path, DOMAIN, linked, BERT)._index
    for known, kind in ((sid, Found), (sid + "5", NotFound)):
        there = Found(recipient=Recipient(dn="CN=J,DC=fabrikam,DC=example", object_sid=known))
        found = resolve(logon("FABRIKAM\\j"), index, None, [], domains, there)
        assert isinstance(found, kind)
    unasked = resolve(logon("FABRIKAM\\j"), index, None, [], domains)
    assert isinstance(unasked, Unavailable)


@pytest.mark.parametrize("collects", [True, False])
def test_reading_leaves_the_garbage_collection_as_it_was(tmp_path: Path, collects: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        joined(tmp_path, DOMAIN, JON)
        assert gc.isenabled() is collects
    finally:
        (gc.enable if was_enabled else gc.disable)()


SUB = "with scope subtree\n"
ALL_ACCOUNTS = (
    "# filter: (&(objectClass=user)(objectCategory=person)(sAMAccountType=805306368)"
    "(userAccountControl:1.2.840.113556.1.4.803:=512))\n"
)


@pytest.mark.parametrize(
    ("above", "portion"),
    [
        (f"# base <DC=contoso,DC=example> {SUB}\n", "whole"),
        (f"#\n# base <DC=contoso,DC=example> {SUB}\n", "whole"),
        (f"# LDAPv3\n# base <DC=contoso,DC=example> (default) {SUB}\n", "whole"),
        ("# LDAPv3\n# base <DC=contoso,DC=example> with scope oneLevel\n\n", "part"),
        (f"# base <OU=Staff,DC=contoso,DC=example> {SUB}\n", "part"),
        (f"# base <DC=contoso,\n DC=example> {SUB}\n", "whole"),  # folded
        # What it asked for, where the file tells.
        (f"# base <DC=contoso,DC=example> {SUB}{ALL_ACCOUNTS}\n", "whole"),
        (f"# base <DC=contoso,DC=example> {SUB}# filter: (mail=*)\n\n", "part"),
        (f"# base <DC=contoso,DC=example> {SUB}# filter: (&(objectClass=user)(mail=*))\n\n",
         "part"),
        # Two searches, one after the other.
        (f"# base <OU=Staff,DC=contoso,DC=example> {SUB}# base <DC=contoso,DC=example> {SUB}\n",
         "whole"),
        # No such line.
        (f"## base <OU=Temps,DC=contoso,DC=example> {SUB}\n", "one_container"),
        ("# base <OU=Temps,DC=contoso,DC=example>\n\n", "one_container"),
        ("", "one_container"),
    ],
)  # fmt: skip
def test_where_a_search_began_is_read_above_its_entries(
    tmp_path: Path, above: str, portion: str
) -> None:
    for last in (BERT, BERT.rstrip()):
        [domain] = joined(tmp_path, above, DOMAIN, JON, last)._index.sight().domains
        assert domain.portion == portion


async def test_ten_thousand_entries_that_changed_for_other_reasons_look_moved_to_nobody(
    tmp_path: Path,
) -> None:
    """An export after a change of everybody's name, in which one of those who wait has moved."""

    def export(shown: str, moved: int | None) -> Snapshot:
        people = (
            f"dn: CN=u{n},DC=contoso,DC=example\nobjectClass: user\nobjectCategory: person\n"
            f"sAMAccountName: u{n}\nmailNickname: u{n}\ndisplayName: {shown} {n}\n"
            + ("targetAddress: SMTP:u@x.example\n" if n == moved else "homeMDB: CN=DB01\n")
            for n in range(10_000)
        )
        file = tmp_path / "forest.ldif"
        file.write_text("\n".join(people), "utf-8")
        return Snapshot.load(file)

    waiting = [
        Watched(dn=f"CN=u{n},DC=contoso,DC=example", sam_account_name=f"u{n}") for n in range(100)
    ]
    assert (await export("before", None).moved(waiting)).moved == ()
    assert (await export("after", None).moved(waiting)).moved == ()
    assert (await export("after", 7).moved(waiting)).moved == (waiting[7],)
    assert (await export("after", 5_000).moved(waiting)).moved == ()
