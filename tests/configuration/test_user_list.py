"""One reader for all lists of users: what it takes, and what it refuses rather than skip."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.configuration.user_list import UserListError, read_list, read_users


@pytest.mark.parametrize(
    ("content", "users"),
    [
        ("anna@contoso.example\nbert\n", ("anna@contoso.example", "bert")),
        ("EmailAddress\nanna@contoso.example\n", ("anna@contoso.example",)),
        (
            "\ufeffName;UserPrincipalName\r\nAnna;anna@x.example\r\n",
            ("anna@x.example",),
        ),
        ('"Alias","SamAccountName"\n"A","CONTOSO\\anna"\n', ("CONTOSO\\anna",)),
        ("# a comment\n\nanna\nanna\n  # another\nbert  # late\n", ("anna", "bert")),
        ("anna\nbert@x.example\n", ("anna", "bert@x.example")),
        ("smtp:anna@x.example\nCONTOSO\\bert\n", ("anna@x.example", "CONTOSO\\bert")),
        (
            "CN=Moved\\, Anna,OU=Staff,DC=contoso,DC=example\nbert\n",
            ("CN=Moved\\, Anna,OU=Staff,DC=contoso,DC=example", "bert"),
        ),
        ('"anna@x.example"\n"bert@x.example"\n', ("anna@x.example", "bert@x.example")),
        ('Name,DistinguishedName,UPN\nA,"CN=A,DC=x,DC=example",a@x.example\n', ("a@x.example",)),
        ("anna,first wave\nbert\n", ("anna", "bert")),
        ("sep=;\nName;E-Mail\nAnna;anna@x.example\n", ("anna@x.example",)),
        ("sep=\t\nanna\tx\n", ("anna",)),
        ("Benutzer;Vorname\nanna@x.example;Anna\n", ("anna@x.example",)),
        (
            "Anzeigename;Anmeldung\nAnna A;CONTOSO\\anna\nBert B;CONTOSO\\bert\n",
            ("CONTOSO\\anna", "CONTOSO\\bert"),
        ),
        ("Name,Address\nAnna A,anna@x.example\n", ("anna@x.example",)),
        ("Name,City\nanna,Bern\n", ("anna",)),
        ("Anna@x.example\nanna@X.example\n", ("Anna@x.example",)),
        ('Name,Notes,EmailAddress\nA,"two\nlines, both",a@x.example\n', ("a@x.example",)),
    ],
)
def test_lists_of_all_sorts(tmp_path: Path, content: str, users: tuple[str, ...]) -> None:
    path = tmp_path / "users.csv"
    path.write_text(content, encoding="utf-8")
    assert read_users(path) == users


def test_a_list_as_powershell_writes_it(tmp_path: Path) -> None:
    text = '#TYPE Selected.X\r\n"Name","PrimarySmtpAddress"\r\n"Anna","anna@x.example"\r\n'
    for encoding in ("utf-16", "utf-8-sig", "ascii"):
        (tmp_path / "users.csv").write_bytes(text.encode(encoding))
        assert read_users(tmp_path / "users.csv") == ("anna@x.example",)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "names nobody"),
        (b"EmailAddress\n", "names nobody below its head"),
        (b"j\xfcrgen\n", "not UTF-8"),
        (b"\xff\xfea", "not UTF-8"),
        (b'"' + b"a" * 200_000, "is not one name"),
        (b"a\x00b\n", "not a text file"),
        (b"\x1f\x8b\x08\x00", r"is a packed file \(unpack it first\) and no list of users"),
        (b"PK\x03\x04x", "is a workbook or an archive and no list"),
        (b"version: 1\n\ndn: DC=contoso,DC=example\n", "is an export of the directory"),
        (b'# Ours\n\nmode = "observe"\n', "is a file of settings"),
        (b"-----BEGIN CERTIFICATE-----\n", "is a certificate or a key"),
        (b"anna\nanna@x.example bert@x.example\n", r"csv:2: is not one name"),
        (b"anna@x.example,bert@x.example\ncarl@x.example,\n", r"csv:1: holds two names"),
        (b"anna\nbert\tx\n", r"csv:2: is not one name"),
        (b"anna\nbert\x07\n", r"csv:2: holds a control character"),
        (b"anna\nbert, carl\n", r"csv:2: is not one name"),
        (b"anna\n*@x.example\n", r"csv:2: is not one name"),
        (b"anna\na\\b\\c\n", r"csv:2: is no name that anybody logs on with"),
        (b"anna\n\xef\xbf\xbd\n", r"csv:2: holds a character that was lost"),
        (b"anna\n" + b"a" * 257, r"csv:2: is longer than 256"),
        (b"UPN,Name\na@x.example,A\n,B\n", r"csv:3: names nobody"),
        (b"UPN;Name\na@x.example;A\nb@x.example,B\n", r"csv:3: is not one name"),
        (b'UPN,Notes\na@x.example,"open\nb@x.example,x\n', r"is no CSV"),
        (None, "cannot be read"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "users.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserListError, match=word):
        read_users(path)


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserListError, match="is a folder: name a list of users in it"):
        read_users(tmp_path)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("anna\nanna bert\nCONTOSO\\carl c\n", (2, 3)),
        ("UPN;Name\nanna@x.example;Anna A\n", ()),
        ("CN=Anna A,OU=Our Staff,DC=contoso,DC=example\nanna # Anna A\n", ()),
        ("DisplayName\nAnna A\n", (2,)),
        ("First,Last\nanna,a\n", (1,)),
        ("First,Address\nanna,anna@x.example\n", ()),
        ("anna,first wave\n", ()),
        ("# Version: 2\nanna\n", ()),
        ("#Version: 2\n#Date: 2026-11-28\nanna\n", ()),
    ],
)
def test_what_is_probably_not_meant_is_remarked_and_not_refused(
    tmp_path: Path, content: str, lines: tuple[int, ...]
) -> None:
    path = tmp_path / "users.csv"
    path.write_text(content, encoding="utf-8")
    remarks = read_list(path).remarks
    assert [int(one.split(":")[1]) for one in remarks] == list(lines)


def test_of_many_odd_lines_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("".join(f"anna {n}\n" for n in range(20)))
    remarks = read_list(path).remarks
    assert (len(remarks), remarks[-1]) == (6, f"{path}: and 15 lines more")


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    with suppress(UserListError):
        assert all(read_users(path))
