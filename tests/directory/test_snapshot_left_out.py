"""What could not be read of a snapshot is unknown, and not absent."""

from pathlib import Path

import pytest

from eas_redirect.activesync.authorization import parse_logon
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    LeftOutObject,
    Lookup,
    NotFound,
    Unavailable,
)
from eas_redirect.policy.decision import Pass, Policy
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.relationship import relationship_of

CONFIGURATION = "CN=Configuration,DC=corp,DC=example"
RELATIONSHIP = f"""\
dn: CN=O365,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,{CONFIGURATION}
objectClass: msExchFedSharingRelationship
cn: O365
msExchFedDomainNames: contoso.mail.example
msExchFedTargetOwaURL: http://outlook.com/owa/contoso.example

"""
DOMAIN = f"""\
dn: CN={{0}},CN=Partitions,{CONFIGURATION}
objectClass: crossRef
nCName: {{1}}
nETBIOSName: {{0}}
dnsRoot: {{2}}
systemFlags: 3

"""
LOCAL = """\
dn: CN=zoe,CN=Users,DC=corp,DC=example
objectClass: user
sAMAccountName: zoe
userPrincipalName: zoe@corp.example
mailNickname: zoe
homeMDB: CN=DB01,CN=X

"""
EMEA = """\
dn: CN=anna,CN=Users,DC=emea,DC=corp,DC=example
objectClass: user
sAMAccountName: anna
userPrincipalName: anna@emea.corp.example
mailNickname: anna
targetAddress: SMTP:anna@contoso.mail.example
proxyAddresses: SMTP:anna@contoso.example

"""
PLAIN = "dn: CN=krbtgt,CN=Users,{0}\nobjectClass: user\nsAMAccountName: krbtgt\n\n"
FOREST = (
    RELATIONSHIP
    + DOMAIN.format("CORP", "DC=corp,DC=example", "corp.example")
    + DOMAIN.format("EMEA", "DC=emea,DC=corp,DC=example", "emea.corp.example")
    + LOCAL
    + LOCAL.replace("zoe", "olaf").replace("DC=corp", "DC=emea,DC=corp")
    + EMEA
    + "".join(PLAIN.format(dc) for dc in ("DC=corp,DC=example", "DC=emea,DC=corp,DC=example"))
)


def snapshot(tmp_path: Path, text: str) -> Snapshot:
    file = tmp_path / "forest.ldif"
    file.write_text(text, "utf-8", "surrogateescape")
    return Snapshot.load(file)


async def ask(directory: Snapshot, text: str) -> tuple[Lookup, str]:
    logon = parse_logon(text)
    assert logon is not None
    answer = await directory.recipient(logon)
    return answer.lookup, "\n".join(answer.steps)


def left_out(line: str, head: str = "CN=anna,CN=Users,DC=corp,DC=example") -> str:
    return f"dn: {head}\nobjectClass: user\nsAMAccountName: anna\n{line}\n\n"


MALFORMED = [
    "homeMDB:: ###",
    "homeMDB:< file:///var/tmp/ldapsearch-homeMDB-x1",
    "targetAddress:< file:///var/tmp/ldapsearch-targetAddress-x1",
    "targetAddress:: //8=",
    "mailNickname: M\udcfcller",
    "proxyAddresses:: AAA",
    "userPrincipalName:< file:///upn",
    "SMTP anna at contoso",
    "-",
    "changetype: modify",
    "dn: CN=other\nsAMAccountName: other",
    "targetAddress;range=0-0: SMTP:anna@contoso.mail.example",
    "homeMDB;range=0-0: CN=DB01",
]


@pytest.mark.parametrize("line", MALFORMED)
async def test_a_namesake_that_cannot_be_read_makes_a_name_ambiguous(
    tmp_path: Path, line: str
) -> None:
    directory = snapshot(tmp_path, FOREST + left_out(line))
    lookup, steps = await ask(directory, "anna")
    assert isinstance(lookup, Ambiguous)
    assert "forest.ldif" in (lookup.left_out or "")
    assert "left out" in steps
    assert isinstance((await ask(directory, "CORP\\anna"))[0], Ambiguous)
    assert isinstance((await ask(directory, "EMEA\\anna"))[0], Found), "unique in its domain"
    assert isinstance((await ask(directory, "zoe"))[0], Found), "nothing is wrong with the others"
    clean, _ = await ask(snapshot(tmp_path, FOREST), "anna")
    assert isinstance(clean, Found)


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        (left_out("homeMDB:: #").replace("sAMAccountName", "userPrincipalName"), "anna"),
        (left_out("sAMAccountName:: ###").replace("sAMAccountName: anna\n", ""), "anna"),
        (left_out("sAMAccountName:: ###").replace("sAMAccountName: anna\n", ""), "olaf"),
        ("dn:: //8=\nobjectClass: user\nsAMAccountName: anna\n\n", "CORP\\anna"),
        ("sAMAccountName: anna\nmail: anna@contoso.example\n\n", "CORP\\anna"),
        (
            left_out("homeMDB:: #\nuserPrincipalName: anna@emea.corp.example"),
            "anna@emea.corp.example",
        ),
        (
            left_out("homeMDB:: #\nproxyAddresses: smtp:anna@contoso.example"),
            "anna@contoso.example",
        ),
        (left_out("homeMDB:: #\nproxyAddresses: smtp:anna@contoso.example"), "anna"),
        (f"dn: CN=DEV,CN=Partitions,{CONFIGURATION}\nnCName:: ###\nnETBIOSName: D\n\n", "anna"),
        (left_out("changetype: delete"), "anna"),
        (left_out("homeMDB:: #").replace("objectClass: user\n", ""), "anna"),
    ],
)
async def test_what_is_left_of_its_names_counts(tmp_path: Path, entry: str, asked: str) -> None:
    lookup, _ = await ask(snapshot(tmp_path, FOREST + entry), asked)
    assert isinstance(lookup, Ambiguous), lookup


@pytest.mark.parametrize(
    "entry",
    [
        left_out("thumbnailPhoto:: ###"),
        left_out("isDeleted: TRUE"),
        left_out("isDeleted: TRUE\nhomeMDB: CN=DB01"),
        "dn: OU=Staff,DC=corp,DC=example\nobjectClass: organizationalUnit\nmail:: ###\n\n",
        "dn: CN=All,DC=corp,DC=example\nobjectClass: group\nmail:: ###\n\n",
        "Writing out entries\n\n",
    ],
)
async def test_what_is_no_account_takes_no_name(tmp_path: Path, entry: str) -> None:
    entry = entry.replace("sAMAccountName: anna", "sAMAccountName: zoe")
    lookup, _ = await ask(snapshot(tmp_path, FOREST + entry), "anna")
    assert isinstance(lookup, Found), lookup


async def test_a_tombstone_is_no_account(tmp_path: Path) -> None:
    dead = EMEA.replace("objectClass: user", "objectClass: user\nisDeleted: TRUE")
    directory = snapshot(tmp_path, FOREST.replace(EMEA, "") + dead + RELATIONSHIP.replace(
        "cn: O365", "cn: O365\nisDeleted: TRUE"))  # fmt: skip
    assert isinstance((await ask(directory, "EMEA\\anna"))[0], NotFound)
    known = (await directory.relationships()).relationships
    assert isinstance(known, tuple)
    assert len(known) == 1


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("targetAddress: SMTP:anna@contoso.mail.example", "moved"),
        ("homeMDB: CN=DB01", "local"),
        ("msExchHomeServerName: /o=Contoso/cn=EX", "local"),
        ("mail: anna@contoso.example", "moved"),
        ("TARGETADDRESS: SMTP:anna@contoso.mail.example", "moved"),
        ("proxyAddresses: smtp:second@contoso.example", "moved"),
        ("targetAddress: SMTP:anna@other.example", "ambiguous"),
        ("sAMAccountName: anna2", "ambiguous"),
        ("userPrincipalName: other@emea.corp.example", "ambiguous"),
        ("mailNickname: other", "ambiguous"),
        ("objectClass: contact", "not found"),
    ],
)
async def test_the_same_dn_twice_is_merged_or_refused(
    tmp_path: Path, lines: str, kind: str
) -> None:
    """Exports of different attributes that were joined. Spaces and case of the DN do not matter."""
    second = f"dn: cn=ANNA, CN=Users,DC=emea,DC=corp,DC=example\n{lines}\nproxyAddresses: x\n\n"
    for text in (FOREST + second, second + FOREST):
        lookup, _ = await ask(snapshot(tmp_path, text), "EMEA\\anna")
        match lookup:
            case Found(recipient=found):
                assert kind == ("local" if found.has_mailbox else "moved")
                assert "x" in found.proxy_addresses
                assert found.target_address == "SMTP:anna@contoso.mail.example"
            case Ambiguous() | NotFound():
                assert kind == ("ambiguous" if isinstance(lookup, Ambiguous) else "not found")


@pytest.mark.parametrize("line", MALFORMED)
async def test_a_version_that_cannot_be_read_may_hold_the_mailbox(
    tmp_path: Path, line: str
) -> None:
    """Of an object that stands there once more, whatever its DN has to do with its names."""
    dn = "CN=Anna A,CN=Users,DC=emea,DC=corp,DC=example"
    good = EMEA.replace("CN=anna,CN=Users,DC=emea,DC=corp,DC=example", dn)
    second = f"dn: {dn.replace(',', ', ').upper()}\n{line}\n\n"
    text = FOREST.replace(EMEA, "")
    for both in (good + second, second + good):
        directory = snapshot(tmp_path, text + both)
        for name in ("EMEA\\anna", "anna@emea.corp.example", "anna", "anna@contoso.example"):
            lookup, steps = await ask(directory, name)
            assert isinstance(lookup, Ambiguous), (name, lookup)
            assert "forest.ldif" in steps, name


async def test_objects_between_which_a_blank_line_is_missing(tmp_path: Path) -> None:
    """The names of each count, and so does the mailbox that only a part in there shows."""
    namesake = EMEA.replace("emea.", "").replace("DC=emea,", "").replace("CN=anna", "CN=A")
    other = LOCAL.replace("zoe", "zora")
    joined = snapshot(tmp_path, FOREST + other.rstrip("\n") + "\n" + namesake)
    for name in ("anna", "anna@corp.example", "zora"):
        assert isinstance((await ask(joined, name))[0], Ambiguous), name
    assert isinstance((await ask(joined, "CORP\\zoe"))[0], Found)
    part = "dn: CN=anna,CN=Users,DC=emea,DC=corp,DC=example\nhomeMDB: CN=DB01,CN=X\n\n"
    for before in (other.rstrip("\n") + "\n", "dn: CN=DB02\ncn: DB02\n", "# x\n \n", " \n"):
        directory = snapshot(tmp_path, FOREST + before + part)
        lookup, _ = await ask(directory, "EMEA\\anna")
        assert not isinstance(lookup, Found) or lookup.recipient.has_mailbox, before


@pytest.mark.parametrize(
    "rest",
    ["homeMDB: CN=DB01", "proxyAddresses: smtp:x@contoso.example\nhomeMDB: CN=DB01", "-\nmail: x"],
)
async def test_what_follows_a_blank_line_within_an_entry_may_be_its_rest(
    tmp_path: Path, rest: str
) -> None:
    directory = snapshot(tmp_path, FOREST + f"{rest}\n\n{LOCAL.replace('zoe', 'zora')}")
    lookup, _ = await ask(directory, "EMEA\\anna")
    assert isinstance(lookup, Found), "the last entry above is the built-in account"
    text = FOREST.replace(EMEA, f"{EMEA}{rest}\n\n")
    for name in ("EMEA\\anna", "anna@emea.corp.example"):
        lookup, _ = await ask(snapshot(tmp_path, text), name)
        assert isinstance(lookup, Ambiguous), name
    text = FOREST.replace(EMEA, f"{EMEA}dn:: //8=\n{rest}\n\n")
    lookup, _ = await ask(snapshot(tmp_path, text), "EMEA\\anna")
    assert isinstance(lookup, Found), "another one begins there, whose DN cannot be read"


def test_a_file_with_a_blank_line_after_every_line_is_read_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wrong change of line ends leaves it: thousands of entries without any name, and none of
    them compared with all the others."""
    compared = 0

    def equal(one: LeftOutObject, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other

    monkeypatch.setattr(LeftOutObject, "__eq__", equal)
    lines = FOREST.replace(EMEA, EMEA * 200)
    snapshot(tmp_path, lines.replace("\n", "\n\n"))
    assert compared < len(lines.splitlines())


@pytest.mark.parametrize(
    "line",
    ["sAMAccountName: bert", "userPrincipalName: bert@emea.corp.example", "mailNickname: bert"],
)
async def test_lines_of_several_objects_in_one_are_nobody_s(tmp_path: Path, line: str) -> None:
    """Where the blank line between two and the second one's `dn:` are missing."""
    joined = EMEA.replace("mailNickname: anna", f"mailNickname: anna\n{line}")
    directory = snapshot(tmp_path, FOREST.replace(EMEA, joined))
    for name in ("EMEA\\anna", "anna@emea.corp.example", "anna"):
        lookup, steps = await ask(directory, name)
        assert isinstance(lookup, Ambiguous), name
        assert ".ldif: it has several values of" in steps
    if not line.startswith("mailNickname"):
        assert isinstance((await ask(directory, line.partition(" ")[2]))[0], Ambiguous)
    twice = EMEA.replace("mailNickname: anna", "mailNickname: anna\nmailNickname: anna")
    directory = snapshot(tmp_path, FOREST.replace(EMEA, twice))
    assert isinstance((await ask(directory, "EMEA\\anna"))[0], Found)


async def test_an_object_with_more_addresses_than_came_may_have_any(tmp_path: Path) -> None:
    zoe = LOCAL.replace("homeMDB", "proxyAddresses;range=0-1: smtp:z@contoso.example\nhomeMDB")
    directory = snapshot(tmp_path, FOREST.replace(LOCAL, zoe))
    assert isinstance((await ask(directory, "anna@contoso.example"))[0], Ambiguous)
    assert isinstance((await ask(directory, "nobody@contoso.example"))[0], NotFound)
    assert isinstance((await ask(directory, "anna@emea.corp.example"))[0], Found)


OWN = "msExchFedDomainNames: contoso.mail.example\n"
SECOND = RELATIONSHIP.replace("O365", "Partner").replace("contoso.mail.example", "partner.example")


@pytest.mark.parametrize(
    ("relationships", "own", "other"),
    [
        (RELATIONSHIP, "claimed", "no_relationship"),
        (RELATIONSHIP.replace("Names: ", "Names;range=0-0: "), "claimed", "unknown"),
        (RELATIONSHIP.replace("Names: ", "Names;range=0-*: "), "claimed", "no_relationship"),
        (RELATIONSHIP.replace("Names: ", "Names;Range=1-*: "), "claimed", "unknown"),
        (RELATIONSHIP.replace(OWN, "msExchFedDomainNames:: ###\n"), "unknown", "unknown"),
        (RELATIONSHIP.replace(OWN, "msExchFedDomainNames:< file:///x\n"), "unknown", "unknown"),
        (RELATIONSHIP.replace("OwaURL: ", "OwaURL:< file:///"), "unknown", "unknown"),
        (RELATIONSHIP.replace("OwaURL: ", "OwaURL;range=0-0: "), "unknown", "unknown"),
        (RELATIONSHIP.replace(OWN, OWN + "no colon\n"), "unknown", "unknown"),
        (RELATIONSHIP + SECOND, "claimed", "no_relationship"),
        (RELATIONSHIP + SECOND.replace("Names: ", "Names;range=0-0: "), "unknown", "unknown"),
        (
            RELATIONSHIP
            + SECOND.replace("Names: ", "Names;range=0-0: ") .replace(
                "cn: ", "msExchFedIsEnabled: FALSE\ncn: "
            ),
            "claimed",
            "no_relationship",
        ),
        (RELATIONSHIP + SECOND.replace("OwaURL: ", "OwaURL:: #"), "unknown", "unknown"),
    ],
)  # fmt: skip
async def test_domains_of_which_not_all_came_are_unknown(
    tmp_path: Path, relationships: str, own: str, other: str
) -> None:
    directory = snapshot(tmp_path, FOREST.replace(RELATIONSHIP, relationships))
    known = (await directory.relationships()).relationships

    def outcome(domain: str) -> str:
        found = relationship_of(domain, known, Policy(), None)
        if not isinstance(found, Pass):
            return "claimed"
        return "unknown" if found.reason is Reason.DIRECTORY_UNAVAILABLE else str(found.reason)

    assert (outcome("contoso.mail.example"), outcome("third.example")) == (own, other)
    assert bool(directory.cut) is ("unknown" in (own, other) or "IsEnabled" in relationships)


@pytest.mark.parametrize(
    "trailer",
    [
        "# search result\nsearch: 2\nresult: 4 Size limit exceeded\n",
        "# search result\nsearch: 2\nresult: 0 Success\npagedresults: cookie=AQ==\n\n",
        "# pagedresults: cookie=AQ==\n",
        "Size limit exceeded (4)\n",
    ],
)
async def test_in_a_file_that_says_it_is_cut_nobody_is_looked_up(
    tmp_path: Path, trailer: str
) -> None:
    directory = snapshot(tmp_path, FOREST + trailer)
    lookup, _ = await ask(directory, "anna")
    assert isinstance(lookup, Unavailable)
    assert lookup.error_type == "snapshot_not_whole"
    assert "export it again" in lookup.message
    assert directory.partial == lookup.message


def test_a_file_that_does_not_end(tmp_path: Path) -> None:
    assert snapshot(tmp_path, FOREST).unended is None
    assert "no blank line" in (snapshot(tmp_path, FOREST.rstrip("\n") + "\n").unended or "")


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        # By its account name, which is mostly the first name of its DN, where that was not read.
        (left_out("homeMDB:: #").replace("sAMAccountName: anna\n", ""), "CORP\\anna"),
        ("dn: CN=anna,DC=corp,DC=example\nobjectClass: user\nno colon\n\n", "CORP\\anna"),
        # By its address alone.
        (
            left_out("homeMDB:: #\nproxyAddresses: SMTP:anna@contoso.example").replace(
                "sAMAccountName: anna", "sAMAccountName: a2"
            ),
            "anna@contoso.example",
        ),
    ],
)
async def test_a_name_that_only_its_object_has_is_taken(
    tmp_path: Path, entry: str, asked: str
) -> None:
    clean, _ = await ask(snapshot(tmp_path, FOREST), asked)
    assert not isinstance(clean, Ambiguous)
    lookup, _ = await ask(snapshot(tmp_path, FOREST + entry), asked)
    assert isinstance(lookup, Ambiguous), lookup


@pytest.mark.parametrize(
    "entry",
    [
        "dn: CN=zoe,CN=Partitions,CN=Configuration,DC=corp,DC=example\nnCName:: #\n\n",
        "dn: CN=zoe,CN=Partitions,CN=Configuration,DC=corp,DC=example\nnETBIOSName:: #\n\n",
        "dn: CN=zoe,CN=Partitions,CN=Configuration,DC=corp,DC=example\nobjectClass: crossRef\n"
        "dnsRoot:: #\n\n",
        "dn: CN=zoe,DC=corp,DC=example\nobjectClass: msExchFedSharingRelationship\ncn:: #\n\n",
        "dn: CN=zoe,DC=corp,DC=example\nmsExchFedTargetOwaURL:: #\n\n",
        left_out("homeMDB:: #\nproxyAddresses: x400:zoe"),  # no address that mail knows
    ],
)
async def test_a_name_that_no_account_has_is_free(tmp_path: Path, entry: str) -> None:
    lookup, _ = await ask(snapshot(tmp_path, FOREST + entry), "CORP\\zoe")
    assert isinstance(lookup, Found)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ("objectClass: msExchFedSharingRelationship\ncn:: #\n", "second"),
        ("cn: Second\nmsExchFedTargetOwaURL:: #\n", "Second"),
    ],
)
async def test_a_relationship_that_was_left_out_may_have_any_domain(
    tmp_path: Path, attributes: str, name: str
) -> None:
    federation = RELATIONSHIP.partition(",")[2].partition("\n")[0]
    entry = f"dn: CN=second,{federation}\n{attributes}\n"
    directory = snapshot(tmp_path, FOREST + entry)
    [told] = directory.cut
    assert f"the relationship {name} may have further domains" in told
    assert "forest.ldif:" in told
    known = (await directory.relationships()).relationships
    assert isinstance(known, tuple)
    assert [(one.enabled, one.domain_names) for one in known] == [
        (True, ("contoso.mail.example",)),
        (True, ()),
    ]
    nameless = entry.replace(f"dn: CN=second,{federation}", "dn:: //8=\ncn: Unread")
    assert "unread" in snapshot(tmp_path, FOREST + nameless).holds()[0]


async def test_where_an_entry_stands_is_told(tmp_path: Path) -> None:
    """Its line where that is known."""
    file = tmp_path / "forest.ldif"
    dn = "CN=anna,CN=Users,DC=corp,DC=example"
    lookup, _ = await ask(snapshot(tmp_path, left_out("homeMDB:: #") + FOREST), "CORP\\anna")
    assert lookup == Ambiguous(dns=(dn,), left_out=f"{file}:1: homemdb is not valid base64")
    cut = left_out("homeMDB;range=0-0: CN=DB01\ntargetAddress;range=0-0: SMTP:a@b.example")
    lookup, _ = await ask(snapshot(tmp_path, FOREST + cut), "CORP\\anna")
    assert lookup == Ambiguous(dns=(dn,), left_out=f"{file}: only a part of homemdb came")
    again = left_out("targetAddress: SMTP:a@b.example") + left_out(
        "targetAddress: SMTP:a@c.example", "cn=anna, cn=users, dc=corp, dc=example"
    )
    lookup, _ = await ask(snapshot(tmp_path, FOREST + again), "CORP\\anna")
    assert lookup == Ambiguous(
        dns=(dn,),
        left_out=f"{file}: it stands there 2 times, each time with another target_address",
    )


async def test_an_address_of_an_object_with_further_ones_is_its_own(tmp_path: Path) -> None:
    zoe = LOCAL.replace("homeMDB", "proxyAddresses;range=0-1: smtp:z@contoso.example\nhomeMDB")
    directory = snapshot(tmp_path, FOREST.replace(LOCAL, zoe))
    lookup, _ = await ask(directory, "z@contoso.example")
    assert isinstance(lookup, Found)
    assert lookup.by_address
    assert lookup.recipient.sam_account_name == "zoe"


async def test_an_object_that_is_not_deleted_says_so_too(tmp_path: Path) -> None:
    alive = FOREST.replace("sAMAccountName: zoe", "isDeleted: FALSE\nsAMAccountName: zoe")
    assert isinstance((await ask(snapshot(tmp_path, alive), "CORP\\zoe"))[0], Found)
