"""LDIF as its writers write it, and as nobody should."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldif import Cut, LeftOut, decode, ends_whole, read_entries

WANTED = frozenset({"cn", "mail", "description"})


type Told = tuple[int, str]  # of an entry that was left out: its line, and why


def read(text: str) -> list[Entry | Told]:
    """The entries and what is told of others."""
    items = read_entries(text, WANTED)
    return [one if isinstance(one, Entry) else (one.line, one.reason) for one in items]


LDIFDE = "dn: CN=Anna,DC=contoso,DC=example\nchangetype: add\ncn: Anna\nobjectGUID:: AAECAw==\n"
LDAPSEARCH = """\
# extended LDIF
#
# LDAPv3
# base <DC=contoso,DC=example> with scope subtree
# filter: (cn=*)
#

# Anna, contoso.example
dn: CN=Anna,DC=contoso,DC=example
cn: Anna

# search reference
ref: ldap://emea.contoso.example/DC=emea,DC=contoso,DC=example

# refldap://DomainDnsZones.contoso.example/DC=DomainDnsZones,DC=contoso,DC=example

# search result
search: 2
result: 0 Success
control: 1.2.840.113556.1.4.319 false MAUCAQAEAA==
pagedresults: cookie=

# numResponses: 3
# numEntries: 1
"""
ANNA = Entry("CN=Anna,DC=contoso,DC=example", {"cn": ["Anna"]})


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (LDIFDE.encode(), 1),
        (LDIFDE.replace("\n", "\r\n").encode(), 1),
        (b"\xef\xbb\xbf" + LDIFDE.encode(), 1),
        (("\ufeff" + LDIFDE.replace("\n", "\r\n")).encode("utf-16-le"), 1),
        (("\ufeff" + LDIFDE).encode("utf-16-be"), 1),
        (LDIFDE.encode("utf-16-le"), 1),
        (LDIFDE.encode("utf-16-be"), 1),
        (LDAPSEARCH.encode(), 9),
        (b"version: 1\n" + LDIFDE.encode(), 2),
        (b"version: 1\n\n" + LDIFDE.encode(), 3),
        (b"\n\n\n" + LDIFDE.encode() + b"\n\n\n", 4),
    ],
    ids=[
        *("ldifde", "crlf", "utf-8 mark", "utf-16-le", "utf-16-be", "le without mark"),
        *("be without mark", "ldapsearch", "version above", "version apart", "blank lines"),
    ],
)
def test_every_writer(data: bytes, line: int) -> None:
    """`line` is where the entry begins, told when it is malformed."""
    text = decode(data)
    assert read(text) == [ANNA]
    assert read(text.replace("\ncn: Anna", "\ncn")) == [(line, "no colon in 'cn'")]


def test_a_blank_line_more_above_moves_the_line_that_is_told() -> None:
    spoilt = LDIFDE.replace("cn: Anna", "cn")
    assert read("\n" + spoilt) == [(2, "no colon in 'cn'")]
    assert read(f"\n{LDIFDE}\n{spoilt}") == [ANNA, (7, "no colon in 'cn'")]


def test_utf_16_that_ends_within_a_character() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        data = "\ufeffdn: Anna".encode(encoding)
        for length in range(4, len(data) + 1):
            assert decode(data[:length]) == "dn: Anna"[: length // 2 - 1]


@pytest.mark.parametrize("between", ["\n", "\n\n", "\n\n\n"])
def test_files_with_marks_that_were_joined(between: str) -> None:
    """`copy /b users.ldif + org.ldif`, both of `ldifde -u`."""
    one = ("\ufeff" + LDIFDE.rstrip("\n") + between).replace("\n", "\r\n").encode("utf-16-le")
    assert read(decode(one + one + one)) == [ANNA, ANNA, ANNA]
    other = ("\ufeff" + LDIFDE.replace("cn: ", "cn ")).encode("utf-16-le")
    line = 1 + decode(one).count("\n")
    assert read(decode(one + other)) == [ANNA, (line, "no colon in 'cn Anna'")]


def test_folded_lines_comments_and_names_are_put_together() -> None:
    text = (
        "dn: CN=Anna,DC=cont\n oso,DC=example\n# a comm\n ent: on two lines\ncn: An\n na\n"
        "description;lang-en: one\ndescription;range=0-1: two\nMAIL:anna@contoso.example\n"
    )
    attributes = {"cn": ["Anna"], "description": ["one", "two"], "mail": ["anna@contoso.example"]}
    assert read(text) == [Entry(ANNA.dn, attributes, {"description": 2})]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("cn: Anna", "an entry begins with dn:, not with 'cn: Anna'"),
        ("dn: CN=A\ncn Anna", "no colon in 'cn Anna'"),
        ("dn: CN=A\ncn:: not base64!", "cn is not valid base64"),
        ("dn: CN=A\ncn:: //8=", "cn is not UTF-8"),
        ("dn:: //8=", "dn is not UTF-8"),
        ("dn: CN=A\ncn:< file:///etc/passwd", "cn stands in another file, which is not read"),
        ("dn: CN=A\nchangetype: modify\nadd: cn", "a change (modify), not an entry"),
        ("dn: CN=A\n<html>: x", "not the name of an attribute: '<html>'"),
        ("dn: CN=A\n" + "x" * 999, f"no colon in '{'x' * 40}'"),
        ("dn: CN=A\ncn:: AQAAAAAAAAX/", "cn is not UTF-8"),
    ],
)
def test_a_malformed_entry_is_a_problem_with_its_line(lines: str, reason: str) -> None:
    text = f"{LDIFDE}\n# above\n{lines}\n\n{LDIFDE}"
    assert read(text) == [ANNA, (7, reason), ANNA]


def test_bytes_that_are_no_utf_8_spoil_their_entry_alone() -> None:
    data = b"dn: CN=A\ncn: M\xfcller\n\n" + LDIFDE.encode()
    assert read(decode(data)) == [(1, "cn is not UTF-8"), ANNA]


@pytest.mark.parametrize(
    "line",
    [
        "photo:: AAA",
        "photo:: not base64",
        "photo:< file:///var/tmp/ldapsearch-photo-x1",
        "photo;binary:< file:///photo.jpg",
        "photo:: //8=",
        "photo: M\udcfcller",
        "info;range=0-1499: one",
        "photo:",
        "photo:: ",
        "1.2.840.113556.1.4.1:: ###",
    ],
)
def test_an_attribute_that_nobody_asked_for_does_not_cost_an_entry(line: str) -> None:
    assert read(f"dn: {ANNA.dn}\n{line}\ncn: Anna\n") == [ANNA]


@pytest.mark.parametrize(
    ("lines", "dn", "attributes", "unread"),
    [
        ("cn:: ###\nmail: a@b.example", "CN=A", {"mail": ["a@b.example"]}, {"cn"}),
        ("mail: a@b.example\ncn:: ###", "CN=A", {"mail": ["a@b.example"]}, {"cn"}),
        ("mail:: ###\nmail: a@b.example", "CN=A", {"mail": ["a@b.example"]}, {"mail"}),
        ("no colon\nmail: a@b.example", "CN=A", {"mail": ["a@b.example"]}, set()),
        ("<html>: x\ncn: Anna", "CN=A", {"cn": ["Anna"]}, set()),
        ("changetype: delete\ncn: Anna", "CN=A", {"cn": ["Anna"]}, set()),
        ("cn: M\udcfcller\nmail: a@b.example", "CN=A", {"mail": ["a@b.example"]}, {"cn"}),
        ("cn:< file:///x\nmail:< file:///y", "CN=A", {}, {"cn", "mail"}),
        ("cn: An\n na\nmail:: AA\n A", "CN=A", {"cn": ["Anna"]}, {"mail"}),
        ("mail: a@b.example\nno colon", "CN=A", {"mail": ["a@b.example"]}, set()),
    ],
)
def test_an_entry_that_is_left_out_keeps_what_can_be_read(
    lines: str, dn: str, attributes: dict[str, list[str]], unread: set[str]
) -> None:
    [item] = read_entries(f"dn: CN=A\n{lines}\n\n", WANTED)
    assert isinstance(item, LeftOut)
    assert item.entry == Entry(dn, attributes)
    assert item.unread == unread


def test_where_a_blank_line_is_missing_each_object_is_left_out_with_what_is_its_own() -> None:
    reason = "a second dn: before a blank line"
    text = "# above\nDN: CN=A\ncn: Anna\n# between\ndn:: Q049Qg==\nmail: b@b.example\ndn: CN=C\n\n"
    parts = [
        (2, Entry("CN=A", {"cn": ["Anna"]})),
        (5, Entry("CN=B", {"mail": ["b@b.example"]})),
        (7, Entry("CN=C")),
    ]
    assert list(read_entries(text, WANTED)) == [LeftOut(at, reason, one) for at, one in parts]
    # One that has lost its own `dn:` line begins the block.
    found = list(read_entries("cn: Anna\ndn: CN=B\n\n", WANTED))
    assert [(item.line, item.entry) for item in found if isinstance(item, LeftOut)] == [
        (1, Entry("", {"cn": ["Anna"]})),
        (2, Entry("CN=B")),
    ]


def test_a_file_without_any_blank_line_is_read_at_once() -> None:
    """A filter may have taken them all out: each object with its line, in one pass."""
    items = list(read_entries("dn: CN=A\ncn: Anna\n" * 30_000 + "\n", WANTED))
    assert [item.line for item in items if isinstance(item, LeftOut)] == list(range(1, 60_001, 2))


def test_without_its_dn_too() -> None:
    [item] = read_entries("dn:: //8=\ncn: Anna\n\n", WANTED)
    assert isinstance(item, LeftOut)
    assert (item.entry, set(item.unread)) == (Entry("", {"cn": ["Anna"]}), {"dn"})
    [item] = read_entries("cn: Anna\nmail: a@b.example\n\n", WANTED)  # a line too many above it
    assert isinstance(item, LeftOut)
    assert item.entry == Entry("", {"cn": ["Anna"], "mail": ["a@b.example"]})


@pytest.mark.parametrize(
    ("names", "cut"),
    [
        (["description;range=0-1"], {"description": 2}),
        (["description;range=0-1499", "cn;range=0-*"], {"description": 1500}),
        (["description;range=0-*"], {}),
        (["description;range=0-1", "description;range=2-*"], {}),
        (["description;range=2-*", "description;range=0-1"], {}),
        (["description;range=0-1", "description;range=2-3"], {"description": 4}),
        (["description;range=0-1", "description;range=4-*"], {"description": 2}),
        (["description;range=2-*"], {"description": 0}),
        (["DESCRIPTION;Range=0-0"], {"description": 1}),
        (["description;lang-en;range=0-9"], {"description": 10}),
        (["description;range=0-1;lang-en", "mail;range=0-4"], {"description": 2, "mail": 5}),
        (["photo;range=0-1499"], {}),
        (["description;lang-en"], {}),
    ],
)
def test_lists_of_which_a_part_came(names: list[str], cut: dict[str, int]) -> None:
    text = "dn: CN=A\n" + "".join(f"{name}: x\n" for name in names)
    [entry] = read_entries(text, WANTED)
    assert isinstance(entry, Entry)
    assert entry.cut == cut


TRAILER = "# search result\nsearch: 2\nresult: {}\n\n# numResponses: 2\n# numEntries: 1\n"
PAGE = "# search result\nsearch: {}\nresult: 0 Success\npagedresults: cookie={}\n\n"


@pytest.mark.parametrize(
    ("after", "line", "says"),
    [
        (TRAILER.format("4 Size limit exceeded"), 8, "result 4 Size limit exceeded"),
        (TRAILER.format("3 Time limit exceeded"), 8, "result 3 Time limit exceeded"),
        (TRAILER.format("11 Administrative limit exceeded"), 8, "result 11"),
        (TRAILER.format("10 Referral"), 8, "result 10"),
        (TRAILER.format("32 No such object"), 8, "result 32"),
        (TRAILER.format("51 Server is busy"), 8, "result 51"),
        (TRAILER.format("80 Other (e.g., implementation specific) error"), 8, "result 80"),
        ("# search result\n# result: 4 Size limit exceeded\n", 7, "result 4"),
        ("result: 1\n", 6, "result 1"),
        (TRAILER.format("0 Success") + TRAILER.format("4 Size limit exceeded"), 14, "result 4"),
        (PAGE.format(2, "AQAAAA=="), 9, "cookie of a further page"),
        ("# pagedresults: cookie=AQAAAA==\n", 6, "cookie of a further page"),
        ("# pagedresults: estimate=7 cookie=AQAAAA==\n", 6, "cookie of a further page"),
        (PAGE.format(2, "AQ==") + LDIFDE + "\n" + PAGE.format(3, "Ag=="), 19, "further page"),
        (PAGE.format(2, "AQ==") + LDIFDE + "\n" + PAGE.format(2, ""), 9, "further page"),
        ("Size limit exceeded (4)\n", 6, "gave up: 'Size limit exceeded (4)'"),
        ("ldap_result: Can't contact LDAP server (-1)\n", 6, "gave up"),
        ("ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)\n", 6, "gave up"),
        (LDIFDE + "Administrative limit exceeded (11)\nmore: x\n", 6, "gave up"),
        ("The size limit exceeded\n", 6, "gave up"),
        ("An error has occurred in the program\n", 6, "gave up"),
        ("Add error on entry: Server is not operational\n", 6, "gave up"),
    ],
)
def test_a_file_that_says_that_it_is_cut(after: str, line: int, says: str) -> None:
    items = read_entries(LDIFDE + "\n" + after, WANTED)
    [cut] = [item for item in items if isinstance(item, Cut)]
    assert cut.line == line
    assert says in cut.reason


@pytest.mark.parametrize(
    "after",
    [
        TRAILER.format("0 Success"),
        PAGE.format(2, ""),
        PAGE.format(2, "AQ==") + LDIFDE + "\n" + PAGE.format(3, ""),
        PAGE.format(2, "AQ==") + "Press [size] Enter for the next {500|size} entries.\n\n"
        + LDIFDE + "\n" + PAGE.format(3, ""),
        PAGE.format(3, "") + LDIFDE + "\n" + PAGE.format(2, ""),
        "# search reference\nref: ldap://emea.contoso.example/DC=emea\n\n"
        + TRAILER.format("0 Success"),
        "# returned 2 records\n# 1 entries\n# 1 referrals\n",
        "dn: CN=result\nresult: 4\ncn: x\n\n",
        "# result: 4 rooms, Contoso\ndn: CN=B\ncn: x\n\n",
        "",
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_of_the_kind(after: str) -> None:
    items = list(read_entries(LDIFDE + "\n" + after, WANTED))
    assert all(isinstance(item, Entry) for item in items), items


@pytest.mark.parametrize(
    ("after", "whole"),
    [
        ("\n", True),
        ("\n\n\n", True),
        ("\n# search result\nsearch: 2\nresult: 0 Success\n", True),
        ("\n" + TRAILER.format("0 Success"), True),
        ("\n" + PAGE.format(2, ""), True),
        ("\n# returned 1 records\n# 1 entries\n# 0 referrals\n", True),
        ("\nresult: 0 Success\n", True),
        ("\n# returned 1 records\n# 1 entries\n# 0 referrals", False),
        ("\n# search result\n# pagedresults: cookie=\n", False),
        ("\ndn: CN=result\nresult: 4\n", False),
        ("\ndn: CN=Bert\n# 1 entries\n", False),
        ("\n# 1 entries\n# record 2\n", False),
        ("", False),
        ("mail: anna@contoso.exa", False),
        ("\ndn: CN=Bert,DC=contoso,DC=exam", False),
        ("\ndn: CN=Bert,DC=contoso,DC=example\nmail: b@contoso.example\n", False),
        ("\n# Bert, contoso.example\n", False),
        ("\n# search result\n", False),
        ("\n# search result\nsearch: 2\nresult: 0 Succ", False),
        ("\n# search re", False),
        ("\n# record 2\n", False),
        (" ", False),
    ],
)
def test_how_a_whole_file_ends(after: str, whole: bool) -> None:
    assert ends_whole(LDIFDE + after) is whole
    crlf = (LDIFDE + after).replace("\n", "\r\n").encode("utf-16-le")
    assert ends_whole(decode(b"\xff\xfe" + crlf)) is whole


@given(st.binary(max_size=400))
def test_any_bytes_give_entries_and_problems(data: bytes) -> None:
    """Never an exception, whatever the file holds."""
    for item in read_entries(decode(b"dn: CN=A\n" + data), WANTED):
        assert isinstance(item, Entry) or item.line > 0


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=4))
def test_base64_values_come_back_as_they_were(values: list[str]) -> None:
    lines = [f"cn:: {base64.b64encode(value.encode()).decode()}" for value in values]
    text = "\n".join(["dn: CN=A", *lines])
    folded = "\n".join(re.sub("(?!^)(.)", "\n \\1", line) for line in text.split("\n"))
    expected = {"cn": values} if values else {}
    for form in (text, folded):
        assert read(form) == [Entry("CN=A", expected)]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("1.2.840.113556.1.2.244", "homemdb"),
        ("1.2.840.113556.1.4.7000.102.47", "msexchhomeservername"),
    ],
)
def test_the_signs_of_a_mailbox_are_known_by_their_numbers(number: str, name: str) -> None:
    text = f"dn: CN=jon,DC=corp,DC=example\n{number}: CN=DB01\n\n"
    [entry] = read_entries(text, frozenset({name}))
    assert isinstance(entry, Entry)
    assert entry.attributes == {name: ["CN=DB01"]}


def test_the_bytes_of_a_sid_are_its_text() -> None:
    """MS-DTYP 2.4.2.2. Of no other attribute, and of no other bytes."""
    sid = "AQUAAAAAAAUVAAAAAQAAAAIAAAADAAAAUAQAAA=="  # S-1-5-21-1-2-3-1104
    lines = f"objectSid:: {sid}\nobjectSid::QW5uYQ==\ncn:: AQAAAAAAAAU=\n"
    [entry] = read_entries(f"dn: CN=A\n{lines}\n", frozenset({"objectsid", "cn"}))
    assert entry == Entry(
        "CN=A",
        {
            "objectsid": ["S-1-5-21-1-2-3-1104", "Anna"],
            "cn": ["\1\0\0\0\0\0\0\5"],
        },
    )


def test_a_range_in_a_trailer_belongs_to_no_entry() -> None:
    assert read("search;range=0-1: 2\n\n" + LDIFDE) == [ANNA]
