"""LDIF as its writers write it, and as nobody should."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldif import Problem, decode, read_entries

WANTED = frozenset({"cn", "mail", "description"})


def read(text: str) -> list[Entry | Problem]:
    return list(read_entries(text, WANTED))


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
    assert read(text.replace("\ncn: Anna", "\ncn")) == [Problem(line, "no colon in 'cn'")]


@pytest.mark.parametrize("between", ["\n", "\n\n", "\n\n\n"])
def test_files_with_marks_that_were_joined(between: str) -> None:
    """`copy /b users.ldif + org.ldif`, both of `ldifde -u`."""
    one = ("\ufeff" + LDIFDE.rstrip("\n") + between).replace("\n", "\r\n").encode("utf-16-le")
    assert read(decode(one + one + one)) == [ANNA, ANNA, ANNA]
    other = ("\ufeff" + LDIFDE.replace("cn: ", "cn ")).encode("utf-16-le")
    line = 1 + decode(one).count("\n")
    assert read(decode(one + other)) == [ANNA, Problem(line, "no colon in 'cn Anna'")]


def test_folded_lines_comments_and_names_are_put_together() -> None:
    text = (
        "dn: CN=Anna,DC=cont\n oso,DC=example\n# a comm\n ent: on two lines\ncn: An\n na\n"
        "description;lang-en: one\ndescription;range=0-1: two\nMAIL:anna@contoso.example\n"
    )
    attributes = {"cn": ["Anna"], "description": ["one", "two"], "mail": ["anna@contoso.example"]}
    assert read(text) == [Entry(ANNA.dn, attributes)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("cn: Anna", "an entry begins with dn:, not with 'cn: Anna'"),
        ("dn: CN=A\ncn Anna", "no colon in 'cn Anna'"),
        ("dn: CN=A\ncn:: not base64!", "cn is not valid base64"),
        ("dn: CN=A\nphoto:: AAA", "photo is not valid base64"),
        ("dn: CN=A\ncn:: //8=", "cn is not UTF-8"),
        ("dn:: //8=", "dn is not UTF-8"),
        ("dn: CN=A\ncn:< file:///etc/passwd", "cn stands in another file, which is not read"),
        ("dn: CN=A\nchangetype: modify\nadd: cn", "a change (modify), not an entry"),
        ("dn: CN=A\ndn: CN=B", "a second dn: before a blank line"),
        ("dn: CN=A\n<html>: x", "not the name of an attribute: '<html>'"),
    ],
)
def test_a_malformed_entry_is_a_problem_with_its_line(lines: str, reason: str) -> None:
    text = f"{LDIFDE}\n# above\n{lines}\n\n{LDIFDE}"
    assert read(text) == [ANNA, Problem(7, reason), ANNA]


def test_bytes_that_are_no_utf_8_spoil_their_entry_alone() -> None:
    data = b"dn: CN=A\ncn: M\xfcller\n\n" + LDIFDE.encode()
    assert read(decode(data)) == [Problem(1, "cn is not UTF-8"), ANNA]


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
