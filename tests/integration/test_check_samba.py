"""`check`, `explain` and `plan` against a real Active Directory domain controller."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import Ran, run
from tests.integration.samba import FEDERATION, ROOT, Samba

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
CLOUD = f"contoso.mail.example, xn--mnchen-3ya.example → {LOCATION} (by the host map, from "
BELOW = f"users in {ROOT}, relationships in CN=Configuration,{ROOT}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing of mitmproxy's options stands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def config(home: Path, samba: Samba, *servers: str, **changes: object) -> str:
    """The path of a configuration in observe mode; a change to None leaves the key out."""
    urls = servers or (f"ldaps://{samba.address}",)
    keys: dict[str, object] = {
        "servers": list(urls),
        "ca_file": str(samba.ca_file),
        "bind_user": "eas-redirect@contoso.example",
        "password_file": str(samba.password_file),
    }
    known = {key: value for key, value in (keys | changes).items() if value is not None}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in known.items())
    file = home / "eas-redirect.toml"
    file.write_text(f'mode = "observe"\n[directory]\n{lines}\n')
    return str(file)


def checks(ran: Ran) -> list[tuple[str, str]]:
    """Subject and state of each line, with the server's URL left out."""
    return [(c["subject"].split("//")[-1], c["state"]) for c in json.loads(ran.out)["checks"]]


def finding(ran: Ran, subject: str) -> str:
    (found,) = (c for c in json.loads(ran.out)["checks"] if c["subject"].endswith(subject))
    return f"{found['finding']} | {found['advice']}"


@contextmanager
def relationship(samba: Samba, name: str, **attributes: str) -> Iterator[None]:
    dn = f"dn: CN={name},{FEDERATION}\n"
    lines = "".join(f"{attribute}: {value}\n" for attribute, value in attributes.items())
    samba.ldb("ldbadd", f"{dn}objectClass: msExchFedSharingRelationship\n{lines}")
    try:
        yield
    finally:
        samba.ldb("ldbmodify", f"{dn}changetype: delete\n")


def test_every_line_when_everything_is_right(home: Path, samba: Samba) -> None:
    users = ["--user", "anna@contoso.example", "--user", "CONTOSO\\bert"]
    ran = run("check", "-c", config(home, samba), "--json", *users)
    dc = samba.address
    assert checks(ran) == [
        ("configuration", "good"),
        ("directory.password_file", "good"),
        ("exchange.host_names", "good"),
        ("journal.path", "good"),
        ("mitmproxy", "good"),
        ("tcp_timeout", "good"),
        (f"{dc} connect", "good"),
        (f"{dc} TLS", "good"),
        (f"{dc} certificate", "good"),
        (f"{dc} bind", "good"),
        (f"{dc} naming contexts", "good"),
        (f"{dc} clock", "good"),
        ("redirect", "good"),
        ("directory: mailboxes", "good"),
        ("relationships", "good"),
        ("relationship Old partner", "warning"),
        ("relationship To the cloud", "good"),
        ("user anna@contoso.example", "good"),
        ("user CONTOSO\\bert", "good"),
    ]
    assert (ran.code, ran.err) == (0, "")
    assert "TLSv1" in finding(ran, " TLS")
    assert finding(ran, " bind").startswith("as eas-redirect@contoso.example")
    assert finding(ran, "naming contexts").startswith(BELOW)
    assert finding(ran, "To the cloud").startswith(f"{CLOUD}outlook.com)")
    assert finding(ran, "Old partner").startswith("disabled: nobody in partner.example")
    assert finding(ran, "user anna@contoso.example").startswith(f"mailbox_moved: to {LOCATION}")
    assert finding(ran, "bert").startswith("recipient_has_mailbox: ")
    assert "bind-Passw0rd" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("servers", "start_tls"),
    [
        (["ldaps://{dc}:3269"], False),
        (["ldap://{dc}"], True),
        (["ldap://{dc}:3268"], True),
        (["ldaps://{dc}", "ldaps://{dc}:3269"], False),
    ],
)
def test_every_way_in(home: Path, samba: Samba, servers: list[str], start_tls: bool) -> None:
    urls = [server.format(dc=samba.address) for server in servers]
    path = config(home, samba, *urls, start_tls=start_tls)
    ran = run("check", "-c", path, "--json", "--user", "jürgen@contoso.example")
    assert [c for c in checks(ran) if c[1] != "good"] == [("relationship Old partner", "warning")]
    assert ran.code == 0
    steps = {"connect", "TLS", "certificate", "bind", "naming contexts", "clock"}
    for url in urls:
        seen = {s.removeprefix(f"{url[url.find('//') + 2 :]} ") for s, _ in checks(ran)}
        assert steps <= seen


def test_servers_of_one_s_own_and_of_the_cloud_are_clean(home: Path, samba: Samba) -> None:
    """A hybrid as the wizard writes it, and a target on premises: nothing to warn of. A name of
    one's own for the cloud redirects nobody."""
    hybrid = {
        "msExchFedDomainNames": "contoso.mail.onmicrosoft.com",
        "msExchFedTargetApplicationURI": "outlook.com",
        "msExchFedTargetAutodiscoverEPR": "https://autodiscover-s.outlook.com/autodiscover/x.svc",
    }
    url = "https://outlook.office365.com/owa/contoso.mail.onmicrosoft.com"
    own = {
        "msExchFedDomainNames": "fabrikam.example",
        "msExchFedTargetOwaURL": "https://mail.fabrikam.example/owa",
    }
    with (
        relationship(samba, "Hybrid", **hybrid, msExchFedTargetOwaURL=url),
        relationship(samba, "Own", **own),
    ):
        ran = run("check", "-c", config(home, samba), "--json")
    assert finding(ran, "Hybrid") == f"contoso.mail.onmicrosoft.com → {LOCATION} | None"
    assert ("relationship Own", "good") in checks(ran)
    vanity = "http://cloudowa.contoso.example/owa"
    with relationship(samba, "Hybrid", **hybrid, msExchFedTargetOwaURL=vanity):
        ran = run("check", "-c", config(home, samba), "--json")
    assert ("relationship Hybrid", "failed") in checks(ran)
    advice = '"cloudowa.contoso.example" = "outlook.office365.com" into redirect.hosts'
    assert advice in finding(ran, "Hybrid")
    assert ran.code == 1


def test_what_is_wrong_with_relationships(home: Path, samba: Samba) -> None:
    bad = {"msExchFedDomainNames": "bad.example", "msExchFedTargetOwaURL": "outlook.com/owa"}
    twice = {"msExchFedDomainNames": "Contoso.Mail.example"}
    with relationship(samba, "Bad", **bad), relationship(samba, "Twice", **twice):
        ran = run("check", "-c", config(home, samba), "--json", "--user", "CONTOSO\\anna")
    said = dict(checks(ran))
    assert ran.code == 1
    assert said["domain contoso.mail.example"] == "failed"
    assert said["relationship Bad"] == "failed"
    assert said["relationship Twice"] == "warning"
    assert said["user CONTOSO\\anna"] == "failed"
    assert finding(ran, "user CONTOSO\\anna").startswith("relationship_ambiguous: ")


def test_an_account_without_the_right_to_read_relationships(home: Path, samba: Samba) -> None:
    path = config(home, samba, bind_user="ordinary@contoso.example")
    ran = run("check", "-c", path, "--json", "--user", "CONTOSO\\anna", "--user", "CONTOSO\\bert")
    wrong = [c for c in checks(ran) if c[1] != "good"]
    assert wrong == [("relationships", "failed"), ("user CONTOSO\\anna", "failed")]
    assert "Let the account read CN=Federation" in finding(ran, "relationships")
    assert finding(ran, "user CONTOSO\\anna").startswith("no_relationship: ")
    assert ran.code == 1


@pytest.mark.parametrize(
    ("changes", "step", "says"),
    [
        ({"bind_user": "disabled@contoso.example"}, "bind", "disabled (data 533) | Enable it."),
        ({"bind_user": "expired@contoso.example"}, "bind", "expired (data 701) | Extend it."),
        ({"bind_user": "password-expired@contoso.example"}, "bind", "(data 532) | Set a new one"),
        ({"bind_user": "must-change@contoso.example"}, "bind", "(data 773) | Set a password"),
        ({"bind_user": "nobody@contoso.example"}, "bind", "| Check directory.bind_user"),
        ({"ca_file": None}, "TLS", "| Set directory.ca_file"),
    ],
)
def test_what_keeps_it_out(
    home: Path, samba: Samba, changes: dict[str, str | None], step: str, says: str
) -> None:
    ran = run("check", "-c", config(home, samba, **changes), "--json", "--user", "CONTOSO\\anna")
    said = dict(checks(ran))
    assert ran.code == 3
    assert said["user CONTOSO\\anna"] == "unreachable"
    assert said[f"{samba.address} {step}"] == "failed"
    assert said[f"{samba.address} connect"] == "good"
    assert says in finding(ran, f" {step}")
    assert said["relationships"] == "unreachable"


@pytest.mark.parametrize("key", ["search_base", "configuration_base"])
@pytest.mark.parametrize("base", [f"OU=Nowhere,{ROOT}", "DC=fabrikam,DC=example"])
def test_a_base_that_is_not_there(home: Path, samba: Samba, key: str, base: str) -> None:
    ran = run("check", "-c", config(home, samba, **{key: base}), "--json")
    assert ran.code in (1, 3)
    assert (f"{samba.address} naming contexts", "failed") in checks(ran)
    said = finding(ran, "naming contexts")
    assert said == f"{base} is not there, or may not be read | Check directory.{key}."


def test_a_wrong_password_costs_one_try_whatever_is_asked(home: Path, samba: Samba) -> None:
    (home / "password").write_text("wrong")
    (home / "password").chmod(0o600)
    urls = [f"ldaps://{samba.address}", f"ldaps://{samba.address}:3269"]
    path = config(
        home, samba, *urls, bind_user="mistyped@contoso.example", password_file="password"
    )
    before = samba.failures("mistyped")
    ran = run("check", "-c", path, "--json", "--user", "CONTOSO\\anna", "--user", "CONTOSO\\bert")
    assert ran.code == 3
    assert samba.failures("mistyped") == before + 1
    said = dict(checks(ran))
    assert said[f"{samba.address} bind"] == "failed"
    second = f"{samba.address}:3269"
    assert (said[f"{second} connect"], said[f"{second} TLS"]) == ("good", "good")
    assert said[f"{second} bind"] == "skipped"
    assert "lock-out of the account" in finding(ran, f"{second} bind")


def test_for_people(home: Path, samba: Samba) -> None:
    ran = run("check", "-c", config(home, samba), "--user", "anna@contoso.example")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[-1] == "All 18 good, 1 of them with a warning"
    assert sum(line.startswith("✓") for line in lines) == 17
    assert sum(line.startswith("!") for line in lines) == 1


@pytest.mark.parametrize(
    ("user", "code", "says"),
    [
        ("CONTOSO\\anna", 0, f"would be 451 to {LOCATION} (mailbox_moved)"),
        ("jürgen@contoso.example", 0, "userPrincipalName=jürgen@contoso.example: 1 object"),
        ("cora@contoso.test", 0, "sAMAccountName=cora: 1 object"),
        ("bert", 0, "(recipient_has_mailbox)"),
        ("sales@contoso.example", 1, "proxyAddresses=smtp:sales@contoso.example: 2 objects"),
        ("FABRIKAM\\anna", 1, "no domain of the forest is called FABRIKAM"),
        ("*)(objectClass=*", 1, "sAMAccountName=*)(objectClass=*: 0 objects"),
        ("an\0na", 2, "This is no logon"),
    ],
)
def test_explain(home: Path, samba: Samba, user: str, code: int, says: str) -> None:
    ran = run("explain", user, "-c", config(home, samba))
    assert ran.code == code, ran
    assert says in ran.out + ran.err
    if code != 2:
        assert f"asked {samba.address}:636" in ran.out


def test_explain_when_nobody_lets_us_in(home: Path, samba: Samba) -> None:
    ran = run("explain", "CONTOSO\\anna", "-c", config(home, samba, bind_user="disabled"))
    assert ran.code == 3
    assert "directory_unavailable" in ran.out


def test_plan_everybody_who_has_moved(home: Path, samba: Samba) -> None:
    ran = run("plan", "--all", "-c", config(home, samba), "--csv")
    rows = {row["user"]: row for row in csv.DictReader(ran.out.splitlines())}
    assert list(rows) == ["anna@contoso.example", "contoso.example\\cora", "jürgen@contoso.example"]
    assert {row["reason"] for row in rows.values()} == {"mailbox_moved"}
    assert {row["location"] for row in rows.values()} == {LOCATION}
    assert ran.code == 0


def test_plan_a_list(home: Path, samba: Samba) -> None:
    users = home / "users.csv"
    users.write_text("anna@contoso.example\nbert@contoso.example\nnobody@contoso.example\n")
    ran = run("plan", str(users), "-c", config(home, samba), "--json")
    said = {user["user"].partition("@")[0]: user["reason"] for user in json.loads(ran.out)["users"]}
    assert said == {
        "anna": "mailbox_moved",
        "bert": "recipient_has_mailbox",
        "nobody": "recipient_not_found",
    }
    assert ran.code == 1
    nobody = config(home, samba, bind_user="disabled@contoso.example")
    assert run("plan", str(users), "-c", nobody).code == 3
    assert run("plan", "--all", "-c", nobody).code == 3
