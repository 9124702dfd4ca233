"""`eas-redirect plan`, as a person calls it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eas_redirect.cli.main import app
from tests.checking.test_legacy_server import ASKS, answer
from tests.integration.rawserver import RawServer, answering
from tests.report.simulator import write_journal
from tests.report.test_figures import call
from tests.support import DATA

RUNNER = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "forest.ldif").write_bytes(
        (DATA / "migration.ldif").read_bytes()
        + b"\n"
        + (DATA / "ldif" / "devices.ldif").read_bytes()
    )
    path = tmp_path / "eas-redirect.toml"
    path.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    return path


def test_a_table_of_a_wave(config: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("EmailAddress\nanna@contoso.example\nbert@contoso.example\n")
    result = RUNNER.invoke(app, ["plan", str(users), "--config", str(config)])
    assert result.exit_code == 0, result.stderr
    assert "goes" in result.stdout
    assert "stays: the mailbox is still here" in result.stdout
    assert "will be asked to sign in 1" in result.stdout
    assert "will be refused 1" in result.stdout
    assert "stays (protocol_version_too_low)" in result.stdout
    assert "judged by 14.1 (--protocol-version)" in result.stdout
    words = ["plan", str(users), "--config", str(config), "--protocol-version", "12.1"]
    said = RUNNER.invoke(app, [*words, "--json"])
    assert json.loads(said.stdout)["assumed_protocol_version"] == "12.1"
    assert "judged by 12.1 (--protocol-version)" in RUNNER.invoke(app, words).stdout


def test_a_wave_from_a_journal_alone(config: Path, tmp_path: Path) -> None:
    journal = write_journal(
        tmp_path / "eas.jsonl",
        [call(0, user_domain="CONTOSO", device_id="NEW"), call(1, user_name="bert", device_id="B")],
    )
    arguments = ["--journal", str(journal), "--config", str(config)]
    result = RUNNER.invoke(app, ["plan", *arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    users = {user["user"]: user for user in json.loads(result.stdout)["users"]}
    assert set(users) == {"CONTOSO\\anna", "CONTOSO\\bert"}
    known = {d["device_id"]: d["known_from"] for d in users["CONTOSO\\anna"]["devices"]}
    assert known["NEW"] == "journal"
    table = RUNNER.invoke(app, ["plan", "--all", *arguments])
    assert "outlook.office365.com" in table.stdout
    missing = RUNNER.invoke(app, ["plan", "--journal", "no.jsonl", "--config", str(config)])
    assert missing.exit_code == 2
    assert "no such file" in missing.stderr


def test_a_journal_leaves_nothing_but_the_talk_on_standard_error(
    config: Path, tmp_path: Path
) -> None:
    journal = write_journal(tmp_path / "eas.jsonl", [call(0), call(1, user_domain="contoso")])
    calls = ["-c", "from eas_redirect.cli.main import main; main()", "plan", "--all", "--csv"]
    calls += ["--journal", str(journal), "--config", str(config)]
    done = subprocess.run([sys.executable, *calls], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "leaked" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wave_that_is_to_come_is_rehearsed_all_the_same(config: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("EmailAddress\nanna@contoso.example\nbert@contoso.example\n")
    text = config.read_text()
    config.write_text(f"{text}[redirect.only]\nusers = ['bert@contoso.example']\n")
    arguments = ["plan", str(users), "--config", str(config)]
    line = "1 of 2 is not in redirect.only yet: --as-wave rehearses this one all the same.\n"
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith(line)
    assert "goes" not in result.stdout
    for form in ("--json", "--csv"):
        result = RUNNER.invoke(app, [*arguments, form])
        assert "--as-wave" not in result.stdout
        assert result.stderr.endswith(line)
    result = RUNNER.invoke(app, [*arguments, "--as-wave"])
    assert result.exit_code == 0, result.stderr
    assert "goes" in result.stdout
    assert "will be asked to sign in 1" in result.stdout
    assert "--as-wave" not in result.stdout


def test_who_is_excepted_is_so_in_a_wave_that_is_to_come(config: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("anna@contoso.example\n")
    text = config.read_text()
    config.write_text(
        f"{text}[redirect.only]\nusers = ['nobody@contoso.example']\n"
        "[redirect.except]\nusers = ['anna@contoso.example']\n"
    )
    for more in ([], ["--as-wave"]):
        result = RUNNER.invoke(app, ["plan", str(users), "--config", str(config), *more])
        assert "stays: not in this wave" in result.stdout
        assert "--as-wave" not in result.stdout
        # Names that are of no matter are not asked about either.
        assert ("knows nobody called nobody@" in result.stderr) == (not more)


def test_everybody_as_json_and_csv(config: Path) -> None:
    as_json = RUNNER.invoke(app, ["plan", "--all", "--json", "--config", str(config)])
    as_csv = RUNNER.invoke(app, ["plan", "--all", "--csv", "--config", str(config)])
    assert as_json.exit_code == as_csv.exit_code == 1  # some of the forest has to be corrected
    users = [user["user"] for user in json.loads(as_json.stdout)["users"]]
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert users == list(dict.fromkeys(row["user"] for row in rows))
    assert "anna@contoso.example" in users


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "USERS.csv or --all"),
        (["--all", "x.csv"], "USERS.csv or --all"),
        (["--all", "--json", "--csv"], "choose one"),
        (["no-such.csv"], "cannot be read: there is no such file"),
        (
            ["anna@contoso.example"],
            "one user: eas-redirect explain 'anna@contoso.example'",
        ),
        (["."], "is a folder"),
        (["--all", "--protocol-version", "15"], "write it as 12.1, 14.1 or 16.1"),
        (["--all", "--called", "https://mail.contoso.example"], "the host alone, as in mail."),
        (["--all", "--config", "no-such.toml"], "no-such.toml"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["plan", *arguments])
    assert result.exit_code == 2
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_letters_are_not_written_over_a_key(config: Path, tmp_path: Path) -> None:
    key, listed = tmp_path / "mail.pem", tmp_path / "wave.csv"
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    listed.write_text("anna@contoso.example\n")
    words = ["plan", str(listed), "--config", str(config), "--letters"]
    result = RUNNER.invoke(app, [*words, str(key)])
    assert (result.exit_code, "is a certificate or a key" in result.stderr) == (2, True)
    assert key.read_text() == "-----BEGIN PRIVATE KEY-----\n"
    for _ in range(2):  # older letters may be written over
        assert RUNNER.invoke(app, [*words, str(tmp_path / "letters.csv")]).exit_code == 0


def test_a_list_from_a_pipe_and_what_is_odd_in_it(config: Path) -> None:
    words = [sys.executable, "-m", "eas_redirect", "plan", "-", "--config", str(config), "--csv"]
    listed = b"anna@contoso.example\nAnna Moved\n"
    ran = subprocess.run(words, input=listed, capture_output=True, check=False)
    assert ran.returncode == 1
    named = {row["user"] for row in csv.DictReader(io.StringIO(ran.stdout.decode()))}
    assert named == {"anna@contoso.example", "Anna Moved"}
    assert b"/dev/stdin:2: Anna Moved holds a blank" in ran.stderr


def test_a_directory_that_is_down_is_out_of_reach(tmp_path: Path) -> None:
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        'mode = "enforce"\n[directory]\nservers = ["ldap://127.0.0.1:9"]\nbind = "anonymous"\n'
        "connect_timeout_s = 1\nlookup_timeout_s = 1\n"
    )
    users = tmp_path / "users.csv"
    users.write_text("anna@contoso.example\n")
    for arguments in (["--all"], [str(users)]):
        result = RUNNER.invoke(app, ["plan", *arguments, "--config", str(config)])
        assert result.exit_code == 3, result.stdout


def test_devices_are_judged_by_what_an_exchange_2007_speaks(config: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("EmailAddress\nnora@contoso.example\nanna@contoso.example\n")
    head = answer(ASKS + b"MS-Server-ActiveSync: 8.3\r\n")
    with RawServer(answering(head)) as server:
        text = config.read_text()
        config.write_text(f'{text}[proxy]\nupstream = "http://127.0.0.1:{server.port}"\n')
        planned = RUNNER.invoke(app, ["plan", str(users), "--config", str(config)])
        told = RUNNER.invoke(
            app, ["plan", str(users), "--config", str(config), "--protocol-version", "14.1"]
        )
        checked = RUNNER.invoke(app, ["check", "--user", "anna", "--config", str(config), "--json"])
    assert "speaks 12.1 at most: devices are judged by that" in planned.stderr
    assert "protocol_version_too_low" in planned.stdout
    assert "speaks 12.1" not in told.stderr
    (user,) = (c for c in json.loads(checked.stdout)["checks"] if c["subject"] == "user anna")
    assert "The device speaks 12.1" in user["finding"]
