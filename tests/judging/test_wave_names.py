"""Whom the names of a wave mean: by a directory's own answers, in every form of a name."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    Recipient,
    Unavailable,
)
from eas_redirect.judging.explanation import AskedDevice, explain_user, open_judge
from eas_redirect.judging.wave_names import ask_names, in_doubt, with_waves
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.waves import Criteria, UserNames, Wave, user_names

PARTITIONS = """\
dn: CN=CONTOSO,CN=Partitions,CN=Configuration,DC=contoso,DC=example
objectClass: crossRef
nCName: DC=contoso,DC=example
nETBIOSName: CORP
dnsRoot: contoso.example
systemFlags: 3

dn: CN=EMEA,CN=Partitions,CN=Configuration,DC=contoso,DC=example
objectClass: crossRef
nCName: DC=emea,DC=contoso,DC=example
nETBIOSName: EMEA
dnsRoot: emea.contoso.example
systemFlags: 3

dn: CN=Cloud,CN=Federation,CN=Org,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=contoso,
 DC=example
objectClass: msExchFedSharingRelationship
cn: Cloud
msExchFedDomainNames: cloud.example
msExchFedIsEnabled: TRUE
msExchFedTargetOwaURL: https://outlook.office.com/owa

"""


def person(cn: str, domain: str, account: str, *further: str) -> str:
    """Somebody who has moved."""
    dn = f"CN={cn},OU=Staff,{domain}"
    lines = [f"dn: {dn}", "objectClass: user", f"sAMAccountName: {account}"]
    lines += [f"mailNickname: {account}", f"targetAddress: SMTP:{account}@cloud.example", *further]
    return "\n".join(lines) + "\n\n"


HERE = person("Bob Here", "DC=contoso,DC=example", "bob").replace(
    "targetAddress: SMTP:bob@cloud.example", "homeMDB: CN=DB1"
) + person("Bea Here", "DC=emea,DC=contoso,DC=example", "bea").replace(
    "targetAddress: SMTP:bea@cloud.example", "homeMDB: CN=DB1"
)
FOREST = (
    PARTITIONS
    + HERE
    + person(
        "Anna Moved", "DC=contoso,DC=example", "anna",
        "userPrincipalName: anna@contoso.example", "mail: anna.moved@contoso.example",
        "proxyAddresses: SMTP:anna.moved@contoso.example",
        "proxyAddresses: smtp:alias@contoso.example",
    )
    + person("Anna Other", "DC=emea,DC=contoso,DC=example", "anna",
             "userPrincipalName: anna.other@contoso.example")
    + person("Nina Moved", "DC=contoso,DC=example", "nina",
             "userPrincipalName: nina@contoso.example")
    + person("M", "DC=contoso,DC=example", "juergen",
             "userPrincipalName:: asO8cmdlbkBjb250b3NvLmV4YW1wbGU=")
)  # fmt: skip
ANNA = "cn=anna moved,ou=staff,dc=contoso,dc=example"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "forest.ldif").write_text(FOREST, encoding="utf-8")
    return tmp_path


def told(folder: Path, *names: str) -> UserNames:
    snapshot = Snapshot.load(folder / "forest.ldif")
    wave = ask_names(Wave(only=Criteria(users=user_names(names))), snapshot.meant_by, 10)
    assert wave.only.users is not None
    return wave.only.users


@pytest.mark.parametrize(
    "name",
    [
        "anna@contoso.example",
        "ANNA@CONTOSO.EXAMPLE",
        "CORP\\anna",
        "contoso.example\\anna",
        "CORP\\anna@contoso.example",
        "CN=Anna Moved,OU=Staff,DC=contoso,DC=example",
        "cn=anna moved, ou=staff, dc=contoso, dc=example",
    ],
)
def test_a_name_in_any_form_that_a_logon_may_have(folder: Path, name: str) -> None:
    assert told(folder, name).known == {name: ANNA}


def test_decomposed_unicode_means_the_same_account(folder: Path) -> None:
    name = "ju\u0308rgen@contoso.example"
    assert list(told(folder, name).known) == [name]


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("anna", "several"),
        ("CONTOSO\\anna", "nobody"),  # the DNS name's first label is no NetBIOS name
        ("zoe", "nobody"),
        ("CN=Nobody,OU=Staff,DC=contoso,DC=example", "nobody"),
    ],
)
def test_a_name_that_tells_no_one_account(folder: Path, name: str, standing: str) -> None:
    users = told(folder, name)
    assert getattr(users, standing) == (name,)
    assert not users.objects


@pytest.mark.parametrize(
    ("table", "redirected"),
    [
        ("only.users = ['CORP\\anna']", "CORP\\anna"),
        ("only.users = ['anna']", None),  # ambiguous: nobody
        ("only.users = ['zoe']", None),
        ("except.users = ['CORP\\nina']", "CORP\\anna"),
        ("except.users = ['EMEA\\anna']", "CORP\\anna"),
        ("except.users = ['CORP\\anna']", None),
        ("except.users = ['CN=Anna Moved,OU=Staff,DC=contoso,DC=example']", None),
        ("except.users = ['anna']", None),  # ambiguous: all of them stay
        ("except.users = ['NOSUCH\\anna']", None),  # an unknown domain: everybody called so
        ("except.users = ['NOSUCH\\nina']", "CORP\\anna"),
    ],
)
def test_who_is_redirected(folder: Path, table: str, redirected: str | None) -> None:
    file = folder / "e.toml"
    file.write_text(
        f"mode = 'enforce'\nredirect.{table}\n[directory]\nsnapshot = 'forest.ldif'\n",
        encoding="utf-8",
    )
    judge = with_waves(open_judge(load_config(file, environment={})))
    found = asyncio.run(explain_user(judge, "CORP\\anna", AskedDevice()))
    assert found is not None
    expected = Reason.MAILBOX_MOVED if redirected else Reason.NOT_IN_WAVE
    assert found.judgement.verdict.reason is expected, found.judgement.verdict.detail


def test_a_directory_that_is_away_forgets_nothing() -> None:
    found = Found(recipient=Recipient(dn="CN=Anna,DC=x"))
    down = Unavailable(error_type="timeout", message="down")
    answers: dict[str, Lookup] = {"anna": found, "zoe": NotFound(), "twin": Ambiguous()}
    wave = Wave(exclude=Criteria(users=user_names(["anna", "zoe", "twin", "late"])))
    first = ask_names(wave, lambda name: answers.get(name, down), 10)
    again = ask_names(first, lambda _: down, 10)
    assert first == again
    assert again.exclude.users == UserNames(
        known={"anna": "cn=anna,dc=x"}, nobody=("zoe",), several=("twin",), unasked=("late",)
    )


def test_an_account_that_vanished_keeps_whom_it_meant() -> None:
    known = UserNames(known={"anna": "cn=anna,dc=x"})
    gone = ask_names(Wave(exclude=Criteria(users=known)), lambda _: NotFound(), 10).exclude.users
    assert gone is not None
    assert (gone.nobody, gone.former) == (("anna",), frozenset({"cn=anna,dc=x"}))
    back = ask_names(
        Wave(exclude=Criteria(users=gone)),
        lambda _: Found(recipient=Recipient(dn="CN=Anna,OU=New,DC=x")),
        10,
    ).exclude.users
    assert back == UserNames(known={"anna": "cn=anna,ou=new,dc=x"})


@pytest.mark.parametrize(
    "answer", [NotFound(), Ambiguous(), Unavailable(error_type="timeout", message="down")]
)
def test_one_name_in_doubt_keeps_whom_the_others_meant(answer: Lookup) -> None:
    users = UserNames(known={"bert": "cn=bert,dc=x"}, unasked=("anna",), former=frozenset({"old"}))
    found = Found(recipient=Recipient(dn="CN=Bert,DC=x"))
    for said, former in ((answer, users.former), (found, frozenset[str]())):
        wave = Wave(exclude=Criteria(users=users))
        asked = ask_names(wave, lambda name, said=said: found if name == "bert" else said, 10)  # type: ignore[misc]
        assert asked.exclude.users is not None
        assert asked.exclude.users.former == former


def test_no_question_begins_after_its_time() -> None:
    wave = Wave(only=Criteria(users=user_names(["a", "b"])))
    asked = ask_names(wave, lambda _: NotFound(), -1)
    assert asked.only.users == replace(user_names(["a", "b"]))


def test_what_is_in_doubt_in_words() -> None:
    users = UserNames(nobody=("a",), several=("b", "c"), unasked=("d",))
    doubts = in_doubt("except", users)
    assert [doubt.partition(": ")[0] for doubt in doubts] == ["redirect.except"] * 3
    assert "nobody called a: whoever may be meant is not redirected" in doubts[0]
    assert "several called b, c: all of them stay" in doubts[1]
    refused = in_doubt("except", users, starting=True)
    assert "nobody called a: correct the name, or take it out" in refused[0]
    assert "several called b, c: write the UPN, or DOMAIN\\user" in refused[1]
    assert "could not be asked for 1 name:" in doubts[2]
    assert "for 2 names:" in in_doubt("only", UserNames(unasked=("d", "e")))[0]
    many = in_doubt("only", UserNames(nobody=tuple(f"u{n}" for n in range(12))))
    assert many[0].endswith("u9 and 2 more: they name nobody")
    ten = in_doubt("only", UserNames(nobody=tuple(f"u{n}" for n in range(10))))
    assert ten[0].endswith("u8, u9: they name nobody")
    assert in_doubt("only", None) == ()
