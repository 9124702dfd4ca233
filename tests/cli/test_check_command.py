"""`check` without servers: a snapshot, files, options, users, output and exit codes."""

import http.server
import json
import os
import re
import threading
from pathlib import Path

import pytest

from eas_redirect.directory.adoption import is_accepted
from tests.cli.running import Ran, run
from tests.integration.processes import free_port
from tests.support import DATA

CLOUD = """\
dn: CN=Cloud,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,
 DC=contoso,DC=example
objectClass: msExchFedSharingRelationship
cn: Cloud
msExchFedDomainNames: cloud.example
msExchFedTargetOwaURL: http://outlook.com/owa
"""
DOMAIN = """
dn: CN=CONTOSO,CN=Partitions,CN=Configuration,DC=contoso,DC=example
objectClass: crossRef
nCName: DC=contoso,DC=example
nETBIOSName: CONTOSO
dnsRoot: contoso.example
systemFlags: 3
"""
BERT = """
dn: CN=Bert,CN=Users,DC=contoso,DC=example
objectClass: user
sAMAccountName: bert
userPrincipalName: bert@contoso.example
mailNickname: bert
homeMDB: CN=DB01
"""
PLAIN = """
dn: CN=krbtgt,CN=Users,DC=contoso,DC=example
objectClass: user
sAMAccountName: krbtgt
"""
ANNA = f"""{DOMAIN}{BERT}{PLAIN}
dn: CN=Anna,CN=Users,DC=contoso,DC=example
objectClass: user
sAMAccountName: anna
userPrincipalName: anna@contoso.example
mailNickname: anna
targetAddress: SMTP:anna@cloud.example
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """mitmproxy's own options are read from the home directory."""
    directory = tmp_path / "home"
    (directory / ".mitmproxy").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("USERPROFILE", str(directory))
    return directory


def configured(tmp_path: Path, more: str = "", ldif: str = CLOUD + ANNA) -> Path:
    (tmp_path / "forest.ldif").write_text(f"{ldif}\n")
    config = tmp_path / "eas-redirect.toml"
    config.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n{more}')
    return config


def states(ran: Ran) -> dict[str, str]:
    return {check["subject"]: check["state"] for check in json.loads(ran.out)["checks"]}


def test_all_good(tmp_path: Path) -> None:
    ran = run("check", "-c", str(configured(tmp_path)), "--user", "anna")
    assert (ran.code, ran.err) == (0, ""), ran
    assert ran.out.splitlines()[-1] == "All good"
    assert "by the host map, from outlook.com" in ran.out
    assert "mailbox_moved: to https://outlook.office365.com/Microsoft-Server-ActiveSync" in ran.out
    assert not any(line.endswith(" ") for line in ran.out.splitlines())
    assert not (tmp_path / "eas-journal.jsonl").exists(), "check leaves nothing behind"


def test_for_machines(tmp_path: Path) -> None:
    ran = run("check", "-c", str(configured(tmp_path)), "--user", "anna", "--json")
    said = json.loads(ran.out)
    assert (ran.code, said["exit_code"]) == (0, 0)
    assert {check["state"] for check in said["checks"]} == {"good"}
    assert said["users"][0]["location"].endswith("/Microsoft-Server-ActiveSync")


def test_names_that_hardly_are_logons_and_a_directory_in_which_nobody_has_moved(
    tmp_path: Path,
) -> None:
    (tmp_path / "pilot.txt").write_text("anna\nAnna Moved\n")
    wave = '[redirect.only]\nusers_file = "pilot.txt"\nusers = ["Bert Stays"]\n'
    here = re.sub("(?m)^targetAddress: .*\n", "", CLOUD + ANNA)
    ran = run("check", "-c", str(configured(tmp_path, wave, here)), "--json")
    checks = json.loads(ran.out)["checks"]
    told = {c["subject"]: c["finding"] for c in checks if c["state"] == "warning"}
    assert f"{tmp_path}/pilot.txt:2: Anna Moved holds" in told["redirect.only.users_file"]
    assert told["redirect.only.users"].startswith("Bert Stays holds a blank")
    assert told["directory.snapshot"].endswith("with targetAddress: 0: nobody can be redirected")


def test_malformed_entries_of_a_snapshot(tmp_path: Path) -> None:
    ran = run(
        "check", "-c", str(configured(tmp_path, ldif=CLOUD + ANNA + "\nno colon\n")), "--json"
    )
    found = [c for c in json.loads(ran.out)["checks"] if c["subject"] == "directory.snapshot"]
    assert [c["state"] for c in found] == ["good", "good", "warning"]
    assert found[1]["finding"] == "recipients: 3, with targetAddress: 1"
    assert "1 malformed entries of the snapshot were left out" in found[2]["finding"]
    assert ran.code == 0


@pytest.mark.parametrize(
    ("after", "words", "asks"),
    [
        ("# search result\nsearch: 2\nresult: 4 Size limit exceeded\n", "result 4", False),
        ("# search result\nresult: 0 Success\npagedresults: cookie=AQ==\n", "further page", False),
        ("Size limit exceeded (4)\n", "gave up", False),
        ("dn: CN=Bert,DC=contoso,DC=exam", "no blank line", True),
        (f"{CLOUD.replace('Names: ', 'Names;range=0-0: ')}\n", "only its first 1", True),
    ],
)
def test_a_snapshot_that_is_not_whole(tmp_path: Path, after: str, words: str, asks: bool) -> None:
    config = configured(tmp_path)
    with (tmp_path / "forest.ldif").open("a") as file:
        file.write(after)
    ran = run("check", "-c", str(config), "--user", "anna", "--json")
    assert ran.code == 1, ran
    assert words in ran.out
    assert ("user anna" in ran.out) is asks
    explained = run("explain", "-c", str(config), "anna")
    assert ("snapshot_not_whole" in explained.out) is not asks
    assert asks or explained.code == 3


@pytest.mark.parametrize(("good", "code"), [(0, 1), (1, 0)])
def test_a_snapshot_that_a_running_proxy_holds_back(tmp_path: Path, good: int, code: int) -> None:
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"# HELP\neas_snapshot_good %d.0\neas_ready 1.0\n" % good)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        config = configured(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{server.server_port}"\n')
        ran = run("check", "-c", str(config))
        server.shutdown()
        thread.join(10)
    assert ran.code == code, ran
    assert ("holds this file back" in ran.out) is (code == 1)


def test_accepting_a_snapshot(tmp_path: Path) -> None:
    config = configured(tmp_path)
    file = tmp_path / "forest.ldif"
    file.write_text(file.read_text().rstrip("\n"))
    assert run("check", "-c", str(config)).code == 1
    ran = run("check", "-c", str(config), "--accept-snapshot")
    assert ran.code == 0, ran
    assert "forest.ldif.accepted" in ran.out
    assert is_accepted(file)
    assert run("check", "-c", str(config)).code == 0


def test_a_snapshot_without_relationships_names_the_missing_export(tmp_path: Path) -> None:
    ran = run("check", "-c", str(configured(tmp_path, ldif=ANNA)))
    assert ran.code == 1
    assert "not one organization relationship can be read" in ran.out
    assert "second ldifde line" in ran.out
    assert ran.out.splitlines()[-1].startswith("1 of ")


def test_each_relationship_has_its_line(tmp_path: Path) -> None:
    ldif = (DATA / "migration.ldif").read_text(encoding="utf-8")
    config = configured(tmp_path, '[exchange]\nhost_names = ["mail.contoso.example"]\n', ldif=ldif)
    ran = run("check", "-c", str(config), "--json")
    said = states(ran)
    assert ran.code == 1
    assert said["relationship Cloud"] == "good"
    assert said["relationship Switched off"] == "warning"
    assert said["relationship No URL"] == "warning"
    assert said["relationship Bad URL"] == "failed"
    assert said["domain twice.example.test"] == "failed"
    assert said["relationship Elsewhere"] == "good", "another server of one's own is no finding"
    assert said["relationship Home again"] == "failed"


def test_the_allow_list_is_checked(tmp_path: Path) -> None:
    config = configured(tmp_path, '[redirect]\nallowed_hosts = ["*.fabrikam.example"]\n')
    ran = run("check", "-c", str(config), "--json")
    assert states(ran)["relationship Cloud"] == "warning"
    assert "redirect.allowed_hosts" in ran.out


def test_users_in_a_file_and_hundreds_show_progress(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("# pilot\nanna\n\n" + "".join(f"nobody{n}\n" for n in range(119)))
    ran = run("check", "-c", str(configured(tmp_path)), "--users", str(users), "--json")
    assert ran.code == 1
    assert len(json.loads(ran.out)["users"]) == 120
    assert ran.err.splitlines() == ["users: 50 of 120", "users: 100 of 120", "users: 120 of 120"]


@pytest.mark.parametrize(
    ("user", "state", "words"),
    [
        ("anna", "good", "mailbox_moved"),
        ("nobody", "failed", "recipient_not_found"),
        ("a\\b\\c", "failed", "this is no logon"),
    ],
)
def test_a_user(tmp_path: Path, user: str, state: str, words: str) -> None:
    ran = run("check", "-c", str(configured(tmp_path)), "--user", user, "--json")
    assert states(ran)[f"user {user}"] == state
    assert words in ran.out


def test_names_of_a_directory_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    ldif = CLOUD.replace("cn: Cloud", "cn:: QxtbMzFtbFsvcmVkXQ==") + ANNA
    ran = run("check", "-c", str(configured(tmp_path, ldif=ldif)))
    assert "\x1b" not in ran.out
    assert "[/red]" in ran.out


@pytest.mark.parametrize(
    "line",
    [
        "tcp_timeout: 900",
        "ssl_insecure: true",
        "anticache: true  # why",
        "http2: true",
        "rawtcp: false",
        "connection_strategy: 'eager'",
    ],
)
def test_harmful_options_of_mitmproxy(tmp_path: Path, home: Path, line: str) -> None:
    (home / ".mitmproxy" / "config.yaml").write_text(f"# mine\n{line}\nweb_port: 8081\n")
    ran = run("check", "-c", str(configured(tmp_path)))
    assert ran.code == 1
    assert line.partition(":")[0] in ran.out


def test_harmless_options_of_mitmproxy(tmp_path: Path, home: Path) -> None:
    file = home / ".mitmproxy" / "config.yaml"
    file.write_text("tcp_timeout: 7200\nhttp2: false\nconnection_strategy: 'lazy'\nrawtcp: true\n")
    ran = run("check", "-c", str(configured(tmp_path)))
    assert ran.code == 0
    assert "7200 s, enough for a wait of 3540 s" in ran.out


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    config = configured(tmp_path, '[journal]\npath = "no/journal.jsonl"\n')
    ran = run("check", "-c", str(config), "--json")
    assert ran.code == 1
    assert states(ran)["journal.path"] == "failed"
    is_directory = configured(tmp_path, '[journal]\npath = "home"\n')
    assert states(run("check", "-c", str(is_directory), "--json"))["journal.path"] == "failed"


def test_a_secret_that_others_may_read(tmp_path: Path) -> None:
    key = tmp_path / "journal.key"
    key.write_text("0123456789abcdef")
    config = configured(tmp_path, '[journal]\nusers = "hash"\nhash_key_file = "journal.key"\n')
    key.chmod(0o644)
    ran = run("check", "-c", str(config), "--json")
    assert (ran.code, states(ran)["journal.hash_key_file"]) == (0, "warning")
    key.chmod(0o600)
    assert states(run("check", "-c", str(config), "--json"))["journal.hash_key_file"] == "good"


@pytest.mark.parametrize(
    ("owner", "mode", "state"),
    [(0, 0o640, "good"), (0, 0o660, "warning"), (0, 0o604, "warning"), (1, 0o640, "warning")],
)
def test_root_s_secret_for_the_group_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, state: str
) -> None:
    """As docs/service/environment has it: the service could not read it otherwise."""
    key = tmp_path / "journal.key"
    key.write_text("0123456789abcdef")
    config = configured(tmp_path, '[journal]\nusers = "hash"\nhash_key_file = "journal.key"\n')
    key.chmod(mode)
    plain = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        seen = list(plain(path, follow_symlinks=follow_symlinks))
        seen[4] = owner  # st_uid
        return os.stat_result(seen)

    monkeypatch.setattr(Path, "stat", stat)
    ran = run("check", "-c", str(config), "--json")
    assert (ran.code, states(ran)["journal.hash_key_file"]) == (0, state)


def test_a_directory_out_of_reach(tmp_path: Path) -> None:
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nservers = ["ldaps://127.0.0.1:{free_port()}"]\n'
        'bind = "anonymous"\n'
    )
    ran = run("check", "-c", str(config), "--user", "anna", "--json")
    assert ran.code == 3
    connect = next(s for subject, s in states(ran).items() if subject.endswith(" connect"))
    assert (connect, states(ran)["relationships"]) == ("unreachable", "unreachable")
    assert states(ran)["user anna"] == "unreachable"


@pytest.mark.parametrize(
    ("wave", "code", "subject", "state", "words"),
    [
        ("", 0, "redirect", "good", "enforce for everyone"),
        ("[redirect.only]\nusers = ['anna']", 0, "redirect only", "good", "1 of 1 names"),
        ("[redirect.only]\nusers = ['anna', 'zoe']", 0, "redirect", "good", "for 1 of 2 users"),
        ("[redirect.only]\nusers = ['zoe']", 0, "redirect.only users", "warning", "called zoe"),
        ("[redirect.except]\nusers = ['anna']", 0, "redirect", "good", "everyone, except 1 user"),
        ("[redirect.except]\nusers = ['zoe']", 1, "redirect.except users", "failed", "called zoe"),
    ],
)
def test_who_is_meant(
    tmp_path: Path, wave: str, code: int, subject: str, state: str, words: str
) -> None:
    ran = run("check", "-c", str(configured(tmp_path, wave)), "--json")
    assert ran.code == code
    checks = json.loads(ran.out)["checks"]
    assert any(words in c["finding"] and c["state"] == state for c in checks), (subject, checks)


def test_names_that_cannot_be_asked_are_out_of_reach(tmp_path: Path) -> None:
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nservers = ["ldap://127.0.0.1:{free_port()}"]\n'
        'bind = "anonymous"\nverify = false\n[redirect.except]\nusers = ["anna"]\n'
    )
    ran = run("check", "-c", str(config), "--json")
    assert (ran.code, states(ran)["redirect.except users"]) == (3, "unreachable")


def test_the_keys_that_the_environment_sets_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EAS_REDIRECT__MODE", "observe")
    monkeypatch.setenv("EAS_REDIRECT__CACHE__FOUND_S", "7")
    ran = run("check", "-c", str(configured(tmp_path)), "--json")
    found = {check["subject"]: check["finding"] for check in json.loads(ran.out)["checks"]}
    assert found["environment"] == "sets cache.found_s, mode"
    assert "mode observe" in found["configuration"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--upstream", "ex07"], "--upstream: must be the URL of the old Exchange"),
        (["--upstream", "ftp://ex07"], "--upstream: must be the URL of the old Exchange"),
        (["--upstream", "https://ex07:99999"], "--upstream: must be the URL"),
        (["--upstream", "https://eas:hunter2-Basic-Passw0rd@ex07"], "--upstream: must be the URL"),
        (["--upstream-ca", "no.pem"], "--upstream-ca: there is no file"),
        (["--users", "no.txt"], "--users: no.txt: cannot be read"),
        (["--timeout", "0"], "0"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: list[str], words: str) -> None:
    ran = run("check", "-c", str(configured(tmp_path)), *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "hunter2" not in ran.err


def test_a_configuration_with_problems(tmp_path: Path) -> None:
    ran = run("check", "-c", str(configured(tmp_path, '[journal]\nusers = "x"\nmode = 1\n')))
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2


def test_a_configuration_with_problems_for_machines(tmp_path: Path) -> None:
    config = configured(tmp_path, '[journal]\nusers = "x"\nmode = 1\n')
    ran = run("check", "-c", str(config), "--json")
    said = json.loads(ran.out)
    assert (ran.code, said["exit_code"], said["users"]) == (2, 2, [])
    assert [check["finding"] for check in said["checks"]] == ran.err.splitlines()
    assert {check["state"] for check in said["checks"]} == {"failed"}
