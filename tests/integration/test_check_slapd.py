"""`check` against a real OpenLDAP server: each step of the way in, and what breaks it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.cli.running import Ran, run
from tests.integration.slapd import Slapd, running_slapd

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running_slapd(tmp_path_factory.mktemp("slapd") / "home") as running:
        yield running


def tried(tmp_path: Path, slapd: Slapd, *options: str, **changes: str) -> Ran:
    keys = {
        "servers": json.dumps([slapd.ldaps_url]),
        "ca_file": json.dumps(str(slapd.ca_file)),
        "bind_user": json.dumps(slapd.bind_user),
        "password_file": json.dumps(str(slapd.password_file)),
    } | changes
    text = "\n".join(f"{key} = {value}" for key, value in keys.items())
    config = tmp_path / "eas-redirect.toml"
    config.write_text(f'mode = "observe"\n[directory]\n{text}\n')
    return run("check", "-c", str(config), "--json", *options)


def states(ran: Ran) -> dict[str, str]:
    """By the last word of what was tried."""
    return {c["subject"].split(" ", 1)[-1]: c["state"] for c in json.loads(ran.out)["checks"]}


def test_all_steps(tmp_path: Path, slapd: Slapd) -> None:
    ran = tried(tmp_path, slapd, "--user", "anna@contoso.example")
    said = states(ran)
    assert said["connect"] == said["TLS"] == said["bind"] == said["naming contexts"] == "good"
    assert said["certificate"] == "good"
    assert said["To the cloud"] == "good"
    assert "CN=Configuration,DC=contoso,DC=example" in ran.out
    assert "bind-Passw0rd" not in ran.out + ran.err
    assert ran.code in (0, 1)  # by what the forest holds


def test_a_wrong_password(tmp_path: Path, slapd: Slapd) -> None:
    (tmp_path / "wrong").write_text("wrong\n")
    ran = tried(tmp_path, slapd, password_file='"wrong"')
    assert ran.code == 3, "nobody let us in, so the relationships are out of reach"
    assert (states(ran)["connect"], states(ran)["bind"]) == ("good", "failed")


def test_an_unknown_ca(tmp_path: Path, slapd: Slapd) -> None:
    other = LabCertificates(tmp_path / "other").ca_file
    ran = tried(tmp_path, slapd, ca_file=json.dumps(str(other)))
    assert ran.code == 3
    assert (states(ran)["TLS"], states(ran)["bind"]) == ("failed", "skipped")
    assert "directory.ca_file" in ran.out


def test_unverified_tls_is_a_warning(tmp_path: Path, slapd: Slapd) -> None:
    ran = tried(tmp_path, slapd, verify="false")
    assert states(ran)["TLS"] == "warning"
    assert states(ran)["bind"] == "good"


def test_a_password_in_clear_is_a_warning(tmp_path: Path, slapd: Slapd) -> None:
    ran = tried(tmp_path, slapd, servers=json.dumps([slapd.ldap_url]))
    assert states(ran)["encryption"] == "warning"
    assert "start_tls" in ran.out


def test_start_tls(tmp_path: Path, slapd: Slapd) -> None:
    ran = tried(tmp_path, slapd, servers=json.dumps([slapd.ldap_url]), start_tls="true")
    assert states(ran)["TLS"] == "good"


def test_a_spare_server_that_is_down_is_no_outage(tmp_path: Path, slapd: Slapd) -> None:
    ran = tried(tmp_path, slapd, servers=json.dumps([slapd.ldaps_url, "ldaps://127.0.0.1:1"]))
    assert ran.code == 1
    checks = json.loads(ran.out)["checks"]
    spare = [c for c in checks if c["subject"].startswith("ldaps://127.0.0.1:1 ")]
    assert [c["state"] for c in spare] == ["failed", "skipped"]


def test_the_missing_right_is_named(tmp_path: Path) -> None:
    exchange = "CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=contoso,DC=example"
    access = f'access to dn.subtree="{exchange}" by * none'
    with running_slapd(tmp_path / "home", access=access) as slapd:
        ran = tried(tmp_path, slapd)
    assert ran.code == 1
    assert "CN=Federation" in ran.out


def test_a_certificate_that_has_ended(tmp_path: Path) -> None:
    authority = LabCertificates(tmp_path / "tls", now=datetime.now(UTC) - timedelta(days=500))
    with running_slapd(tmp_path / "home", authority=authority) as slapd:
        ran = tried(tmp_path, slapd)
    assert ran.code == 3
    assert "expired" in ran.out


def test_servers_of_an_account_forest_are_tried_too(tmp_path: Path, slapd: Slapd) -> None:
    """One that is down is out of reach: nobody of that domain can be found meanwhile."""
    text = '{{ ACCOUNTS = ["{}"], OTHERS = "same_name" }}'
    good = tried(tmp_path, slapd, account_domains=text.format(slapd.ldaps_url))
    subjects = [check["subject"] for check in json.loads(good.out)["checks"]]
    assert subjects.count(f"{slapd.ldaps_url} bind") == 2
    down = tried(tmp_path, slapd, account_domains=text.format("ldaps://127.0.0.1:1"))
    found = {check["subject"]: check["state"] for check in json.loads(down.out)["checks"]}
    assert found["ldaps://127.0.0.1:1 connect"] == "unreachable"
    assert found[f"{slapd.ldaps_url} bind"] == "good"
    assert down.code == 3


def test_hidden_mailboxes_fail_with_what_to_do(tmp_path: Path) -> None:
    access = "access to attrs=homeMDB,msExchHomeServerName by * none\n"
    with running_slapd(tmp_path / "home", access=access) as slapd:
        ran = tried(tmp_path, slapd, "--user", "CONTOSO\\anna")
        said = {check["subject"]: check for check in json.loads(ran.out)["checks"]}
    hidden = said["directory: mailboxes not visible"]
    assert hidden["state"] == "failed"
    assert "Let the account read homeMDB and msExchHomeServerName" in hidden["advice"]
    assert said["user CONTOSO\\anna"]["finding"].startswith("directory_unavailable: ")
    assert ran.code == 1, "it answers"
