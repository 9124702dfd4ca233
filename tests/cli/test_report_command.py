"""`eas-redirect report`, as a person calls it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eas_redirect.cli.main import app
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import account_id
from tests.report.simulator import Simulation, write_journal
from tests.report.test_figures import call
from tests.report.test_handover import MOVED
from tests.support import DATA

RUNNER = CliRunner()
STAFF = "OU=Staff,DC=contoso,DC=example"
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    month = Simulation(phones=40, length_s=5 * 86400)
    return write_journal(tmp_path_factory.mktemp("j") / "eas.jsonl", month.records())


def test_the_summary_names_who_is_stuck(journal: Path) -> None:
    result = RUNNER.invoke(app, ["report", str(journal)])
    assert result.exit_code == 0
    assert "followed (presumed)" in result.stdout
    assert "Stuck (" in result.stdout
    assert "Can the old server go? Not yet" in result.stdout
    assert "told to go, and keep coming back" in result.stdout


def test_json_csv_and_page(journal: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    as_json = RUNNER.invoke(app, ["report", str(journal), "--json", "-o", str(page)])
    as_csv = RUNNER.invoke(app, ["report", str(journal), "--csv"])
    assert as_json.exit_code == as_csv.exit_code == 0
    devices = json.loads(as_json.stdout)["devices"]
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [row["device_id"] for row in rows] == [device["device_id"] for device in devices]
    assert "The page is in" in as_json.stderr
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_a_page_is_written_over_a_page_and_over_nothing_else(journal: Path, tmp_path: Path) -> None:
    page, key = tmp_path / "report.html", tmp_path / "mail.pem"
    page.write_text("")  # as `mktemp` leaves it
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    for option in ("--output", "--certificate"):
        for _ in range(2):
            result = RUNNER.invoke(app, ["report", str(journal), option, str(page)])
            assert f"The page is in {page}." in result.stderr
        result = RUNNER.invoke(app, ["report", str(journal), option, str(key)])
        assert result.exit_code == 2
        assert f"{key} is there already, and is a certificate or a key" in result.stderr
        assert key.read_text() == "-----BEGIN PRIVATE KEY-----\n"


def test_until_now_measures_silence_to_now(journal: Path) -> None:
    result = RUNNER.invoke(app, ["report", str(journal), "--until", "now"])
    assert "Can the old server go? It can go" in result.stdout
    then = RUNNER.invoke(app, ["report", str(journal), "--until", "2026-03-10T12:00", "--json"])
    assert json.loads(then.stdout)["until"] == "2026-03-10T12:00:00.000Z"


def test_an_iis_log_alone(journal: Path) -> None:
    result = RUNNER.invoke(app, ["report", str(DATA / "iis" / "u_ex260302.log")])
    assert result.exit_code == 0
    assert "2 devices of 2 users got UserHasNoMailbox" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["no-such.jsonl"], "no-such.jsonl: no such file"),
        (["a.jsonl", "--json", "--csv"], "choose one"),
        (["a.jsonl", "--csv", "--excel", ";"], "choose one"),
        (["a.jsonl", "--excel", "x"], "say the list separator"),
        (["a.jsonl", "-o", "no/such/folder/x.html"], "cannot be written"),
        (["a.jsonl", "-o", "./a.jsonl"], "is one of the journals"),
        (["a.jsonl", "--until", "soon"], "say now, or a time"),
        (["a.jsonl", "--until", "9000-01-01"], "still to come"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").touch()
    result = RUNNER.invoke(app, ["report", *arguments])
    assert result.exit_code == 2
    assert word in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("library", ["duckdb", ZSTD])
def test_without_a_library_it_says_which_one_and_what_to_install(
    journal: Path, library: str
) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        f"sys.argv = ['eas-redirect', 'report', {str(journal)!r}]\n"
        "from eas_redirect.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"Reports need {library}, which is not installed: pip install 'eas-redirect[report]'\n"
    )


def test_a_journal_from_a_pipe(journal: Path) -> None:
    result = RUNNER.invoke(app, ["report", "-", "--json"], input=journal.read_bytes())
    named = RUNNER.invoke(app, ["report", str(journal), "--json"])
    assert json.loads(result.stdout)["totals"] == json.loads(named.stdout)["totals"]


def test_an_empty_journal_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    result = RUNNER.invoke(app, ["report", str(tmp_path / "a.jsonl")])
    assert result.exit_code == 0
    assert "nothing to report yet" in result.stderr


def test_a_file_of_something_else_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk\nbread\n")
    result = RUNNER.invoke(app, ["report", str(tmp_path / "notes.txt")])
    assert result.exit_code == 1
    assert "notes.txt is no journal: not one line is from eas-redirect." in result.stderr


def target(folder: Path, *rows: str) -> str:
    path = folder / "devices.csv"
    head = "User,DeviceID,DeviceAccessState,LastSuccessSync"
    path.write_text("\n".join((head, *rows)), "utf-16")
    return str(path)


def test_target_devices_give_verdicts(journal: Path, tmp_path: Path) -> None:
    devices = target(tmp_path, "user2@contoso.example,APPL00000002,Blocked,2026-03-06T12:00:00Z")
    page = tmp_path / "report.html"
    args = ["report", str(journal), "--target-devices", devices]
    as_json = RUNNER.invoke(app, [*args, "--json", "-o", str(page)])
    assert as_json.exit_code == 0
    made = json.loads(as_json.stdout)
    (found,) = [one for one in made["devices"] if one["device_id"] == "Appl00000002"]
    assert (found["verdict"], found["joined_by"]) == ("quarantined_or_blocked", "user")
    assert made["target"]["devices_matched"] == 1
    judged = [one for one in made["devices"] if one["verdict"]]
    assert sum(row["devices"] for row in made["target"]["verdicts"]) == len(judged) > 30
    assert "reach to 2026-03-06 12:00 UTC" in page.read_text("utf-8")
    assert "quarantined / blocked" in RUNNER.invoke(app, args).stdout


def test_target_devices_of_another_tenant_and_bad_files(journal: Path, tmp_path: Path) -> None:
    args = ["report", str(journal), "--target-devices"]
    foreign = target(tmp_path, "quin@tailspin.example,Q,Allowed,2026-03-06T12:00:00Z")
    result = RUNNER.invoke(app, [*args, foreign])
    assert result.exit_code == 1
    assert "wrong file" in result.stderr
    ambiguous = target(tmp_path, "user2@contoso.example,A,Allowed,3/4/2026 9:00")
    result = RUNNER.invoke(app, [*args, ambiguous])
    assert result.exit_code == 2
    assert "--target-dates" in result.stderr
    assert RUNNER.invoke(app, [*args, ambiguous, "--target-dates", "day-first"]).exit_code == 0
    assert RUNNER.invoke(app, [*args, str(tmp_path / "missing.csv")]).exit_code == 2
    assert RUNNER.invoke(app, ["report", str(journal), "--target-dates", "x"]).exit_code == 2


def test_target_devices_with_hashed_journals(journal: Path, tmp_path: Path) -> None:
    redaction = Redaction(users="hash", key=b"k" * 32)
    month = Simulation(phones=10, length_s=5 * 86400)
    hashed = write_journal(tmp_path / "h.jsonl", map(redaction.apply, month.records()))
    (tmp_path / "key").write_bytes(b"k" * 32)
    config = tmp_path / "eas-redirect.toml"
    ldif = DATA / "migration.ldif"
    config.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{ldif}"\n[journal]\nusers = "hash"\n'
        'hash_key_file = "key"\n'
    )
    devices = target(tmp_path, "user2@contoso.example,APPL00000002,Blocked,2026-03-06T12:00:00Z")
    args = ["report", str(hashed), "--target-devices", devices]
    without = RUNNER.invoke(app, args)
    assert (without.exit_code, "--config" in without.stderr) == (2, True)
    made = json.loads(RUNNER.invoke(app, [*args, "--config", str(config), "--json"]).stdout)
    (found,) = [one for one in made["devices"] if one["verdict"] == "quarantined_or_blocked"]
    assert found["device_id"] == redaction.name("Appl00000002")


def test_hashed_journals_join_by_the_account_of_the_directory(tmp_path: Path) -> None:
    """Two users on one device: the id does not tell, and each name is hashed as it was typed."""
    redaction = Redaction(users="hash", key=b"k" * 32)
    told = {**MOVED, "device_id": "SHARED"}
    records = [
        call(60, **told, user_id=account_id(f"CN=Anna Moved,{STAFF}")),
        call(90, **told, user_name="off", user_id=account_id(f"CN=Olga Off,{STAFF}")),
        call(5 * 86400, user_name="zoe", device_id="Z"),
    ]
    journal = write_journal(tmp_path / "eas.jsonl", map(redaction.apply, records))
    (tmp_path / "key").write_bytes(b"k" * 32)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n[journal]\n'
        'users = "hash"\nhash_key_file = "key"\n'
    )
    devices = target(
        tmp_path,
        "anna@contoso.example,Shared,Allowed,2026-03-06T12:00:00Z",
        "off@contoso.example,Shared,Blocked,2026-03-06T12:00:00Z",
    )
    args = ["report", str(journal), "--target-devices", devices, "-c", str(config), "--json"]
    made = json.loads(RUNNER.invoke(app, args).stdout)
    found = {one["user"]: (one["verdict"], one["joined_by"]) for one in made["devices"]}
    assert found[f"CONTOSO\\{redaction.name('anna')}"] == ("confirmed", "directory")
    assert found[f"CONTOSO\\{redaction.name('off')}"] == ("quarantined_or_blocked", "directory")


@pytest.mark.parametrize(
    ("said", "separator"), [(",", ","), (";", ";"), ("tab", "\t"), ("\\t", "\t")]
)
def test_for_excel(journal: Path, said: str, separator: str) -> None:
    """By a real process in a locale of old: what counts are the bytes."""
    ran = subprocess.run(
        [sys.executable, "-m", "eas_redirect", "report", str(journal), "--excel", said],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert ran.stdout.startswith(b"\xef\xbb\xbfuser" + separator.encode())
    rows = list(csv.DictReader(io.StringIO(ran.stdout.decode("utf-8-sig")), delimiter=separator))
    plain = RUNNER.invoke(app, ["report", str(journal), "--csv"]).stdout
    assert rows == list(csv.DictReader(io.StringIO(plain)))
