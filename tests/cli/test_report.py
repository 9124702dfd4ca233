"""`eas-redirect report`, as a person calls it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eas_redirect.cli.main import app
from tests.report.simulator import Simulation, write_journal
from tests.support import DATA

RUNNER = CliRunner()
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
    assert "2 lines foreign" in result.stderr
