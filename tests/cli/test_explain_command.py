"""`explain USER`: the steps in words, the reason, the exit code."""

import base64
import json
from pathlib import Path

import pytest

from eas_redirect.telemetry.record import account_id
from tests.cli.running import run
from tests.support import DATA


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "eas-redirect.toml"
    path.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n')
    return path


@pytest.mark.parametrize(
    ("user", "reason", "code"),
    [
        ("anna@contoso.example", "mailbox_moved", 0),
        ("CONTOSO\\anna", "mailbox_moved", 0),
        ("anna.moved@contoso.example", "mailbox_moved", 0),
        ("bert", "recipient_has_mailbox", 0),
        ("nobody", "recipient_not_found", 1),
        ("nowhere", "no_target_address", 1),
        ("badaddress", "target_address_invalid", 1),
        ("unmapped", "no_relationship", 1),
        ("off", "relationship_disabled", 1),
        ("nourl", "no_target_owa_url", 1),
        ("badurl", "target_owa_url_invalid", 1),
        ("twice", "relationship_ambiguous", 1),
    ],
)
def test_a_user(config: Path, user: str, reason: str, code: int) -> None:
    ran = run("explain", user, "--config", str(config))
    assert ran.code == code
    # A bare name may be what a shell left of DOMAIN\\user.
    assert ("quote 'DOMAIN\\user'" in ran.err) == (user == "nobody")
    assert ran.err.count("\n") == (user == "nobody")
    assert ran.out.startswith(user)
    assert f"({reason})" in ran.out

    assert "explain USER" not in ran.out  # that is what they see
    assert ("What to do: Is the name spelled right?" in ran.out) == (user == "nobody")

    as_json = run("explain", user, "--config", str(config), "--json")
    said = json.loads(as_json.out)
    assert as_json.code == code
    assert said["reason"] == reason
    assert said["directory"]["source"] == "snapshot"
    assert said["steps"][-1]["ok"] == (reason == "mailbox_moved")
    assert (said["location"] is not None) == (reason == "mailbox_moved")


def test_observe_mode_says_what_would_be(config: Path) -> None:
    config.write_text(config.read_text().replace("enforce", "observe"))
    ran = run("explain", "anna", "-c", str(config))
    assert "observe mode: would be 451 to https://outlook.office365.com/" in ran.out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--protocol-version", "12.1"], "protocol_version_too_low"),
        (["--called", "outlook.office365.com"], "redirect_loop"),
        (["--device-type", "WindowsMail"], "not_in_wave"),
        (["--device-type", "iPhone", "--address", "198.51.100.7"], "not_in_wave"),
        (["--device-type", "iPhone", "--address", "192.0.2.7"], "mailbox_moved"),
    ],
)
def test_a_device_can_be_described(config: Path, options: list[str], reason: str) -> None:
    with config.open("a") as file:
        file.write(
            '[redirect.except]\ndevice_types = ["windows*"]\nnetworks = ["198.51.100.0/24"]\n'
        )
    assert f"({reason})" in run("explain", "anna", "-c", str(config), *options).out


def test_what_does_not_decide_is_remarked(tmp_path: Path) -> None:
    text = (DATA / "migration.ldif").read_text(encoding="utf-8")
    account = "sAMAccountName: anna\n"
    flags = f"{account}userAccountControl: 514\nmsExchOmaAdminWirelessEnable: 4\n"
    (tmp_path / "forest.ldif").write_text(text.replace(account, flags), encoding="utf-8")
    config = tmp_path / "eas-redirect.toml"
    config.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    ran = run("explain", "anna", "-c", str(config))
    assert "The account is disabled" in ran.out
    assert "ActiveSync is disabled" in ran.out


@pytest.mark.parametrize("user", ["", "@", "\\", "a\\b\\c", "x" * 300, "a\nb"])
def test_what_is_no_logon(config: Path, user: str) -> None:
    ran = run("explain", user, "-c", str(config))
    assert (ran.code, ran.out) == (2, "")
    assert "This is no logon" in ran.err


def test_without_a_configuration(tmp_path: Path) -> None:
    ran = run("explain", "anna", "-c", str(tmp_path / "no.toml"))
    assert (ran.code, ran.out) == (2, "")
    assert "there is no such file" in ran.err


def test_a_snapshot_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.ldif").write_text("this is no LDIF\n")
    config = tmp_path / "eas-redirect.toml"
    config.write_text('mode = "enforce"\n[directory]\nsnapshot = "x.ldif"\n')
    ran = run("explain", "anna", "-c", str(config))
    assert (ran.code, ran.out) == (2, "")
    assert "x.ldif" in ran.err


def test_names_of_a_directory_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    text = (DATA / "migration.ldif").read_text(encoding="utf-8")
    dn = base64.b64encode(b"CN=Anna \x1b[31m,DC=contoso,DC=example").decode()
    text = text.replace("dn: CN=Anna Moved,OU=Staff,DC=contoso,DC=example", f"dn:: {dn}")
    (tmp_path / "forest.ldif").write_text(text, encoding="utf-8")
    config = tmp_path / "eas-redirect.toml"
    config.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    ran = run("explain", "anna", "-c", str(config))
    assert "CN=Anna \N{REPLACEMENT CHARACTER}[31m" in ran.out
    assert "\x1b" not in ran.out


def test_names_of_waves_that_are_in_doubt_are_told(config: Path) -> None:
    config.write_text(config.read_text() + "[redirect.only]\nusers = ['anna', 'zoe']\n")
    ran = run("explain", "anna@contoso.example", "-c", str(config))
    assert "451 to https://outlook.office365.com/" in ran.out
    assert "redirect.only: the directory knows nobody called zoe: they name nobody" in ran.err


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("anna", "Autodiscover tells the phone its new server"),
        ("bert", "Autodiscover's own answer passes (recipient_has_mailbox)"),
        ("nobody", "Autodiscover's own answer passes (autodiscover_identity_mismatch)"),
        ("unmapped", "Autodiscover's own answer passes (no_relationship)"),
        ("loop", "Autodiscover's own answer passes (redirect_loop)"),
    ],
)
def test_an_account_that_is_added_again(config: Path, user: str, words: str) -> None:
    before = run("explain", user, "-c", str(config), "--called", "mail.contoso.example")
    assert "added again" not in before.out
    config.write_text(f'{config.read_text()}[autodiscover]\nphones = "listed"\n')
    ran = run("explain", user, "-c", str(config), "--called", "mail.contoso.example")
    assert f"If the account is added again: {words}" in ran.out
    said = json.loads(run("explain", user, "-c", str(config), "--json").out)
    assert set(said["added_again"]) == {"decision", "reason"}


@pytest.mark.parametrize(
    ("user", "answer", "said"),
    [
        ("anna", 2, "2 devices wait; their waits end at the next look, within 20 s"),
        ("anna", 1, "One device waits; its wait ends at the next look, within 20 s"),
        ("anna", 0, "No device of this user waits here."),
        ("bert", 1, "One device waits, and goes on waiting."),
        ("anna", None, "Whether devices wait is not known"),
    ],
)
def test_devices_that_wait(
    config: Path, user: str, answer: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running proxy says how many, by the `user.id` of its journal."""
    dns = {"anna": "CN=Anna Moved,OU=Staff,DC=contoso,DC=example"}
    dns["bert"] = "CN=Bert Local,OU=Staff,DC=contoso,DC=example"

    def asked(listen: str, target: str, timeout_s: float) -> tuple[int, bytes]:
        assert (listen, target) == ("127.0.0.1:9410", "/waits")
        assert timeout_s < 10
        if answer is None:
            raise ConnectionRefusedError
        return 200, json.dumps({account_id(dns[user]): answer, "other": 7}).encode()

    monkeypatch.setattr("eas_redirect.telemetry.web.ask_running", asked)
    text = config.read_text("utf-8")
    config.write_text(
        f'{text}[redirect]\nend_waits = "ping"\n[metrics]\nlisten = "127.0.0.1:9410"\n', "utf-8"
    )
    assert said in run("explain", user, "--config", str(config)).out
    ran = run("explain", user, "--config", str(config), "--json")
    assert json.loads(ran.out)["waits"] == answer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--protocol-version 15", "--protocol-version 15: write it as 12.1, 14.1 or 16.1."),
        ("--protocol-version new", "--protocol-version new: write it as"),
        ("--address 10.0.0.300", "--address 10.0.0.300: is no IP address."),
        ("--called https://mail.contoso.example/", "the host alone, as in mail.contoso.example."),
        ("--called :443", "write the host alone"),
    ],
)
def test_what_no_device_is_like_is_refused(config: Path, words: str, says: str) -> None:
    ran = run("explain", "anna", "--config", str(config), *words.split())
    assert (ran.code, ran.out, ran.err.endswith(f"{says}\n") or says in ran.err) == (2, "", True)
    good = "--protocol-version 12.1 --address ::1 --called mail.contoso.example:443"
    assert run("explain", "bert", "--config", str(config), *good.split()).code == 0


def test_what_may_have_been_meant_by_a_name_that_nobody_has(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("captures", "anna"):
        (tmp_path / folder).mkdir()
    for user, code, says in (
        ("captures", 1, "captures is a folder here. If you meant a capture in it, name the file."),
        ("Anna Moved", 1, "Anna Moved holds a blank, as display names do"),
        (".", 2, ". is a folder: name a flow file of mitmproxy or a HAR."),
        ("captures/", 2, "captures/ is a folder: name a flow file of mitmproxy or a HAR."),
        ("anna", 0, ""),
    ):
        ran = run("explain", user, "--config", str(config))
        assert (ran.code, ran.err.startswith(says), bool(ran.err)) == (code, True, bool(says)), user
