"""The PowerShell module of docs/powershell: read by a grammar, and held against what it reads.

No PowerShell runs here. Without one we check that it parses, that it asks for nothing
that the commands do not know, and that every property that it reads stands in their JSON.
"""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eas_redirect.checking.tried import Check
from eas_redirect.cli import common
from eas_redirect.cli.main import app
from eas_redirect.report.exports import COLUMNS, json_pieces
from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.telemetry.ledger import LedgerState
from tests.planning.powershell import read_powershell
from tests.report.simulator import START, Simulation, write_journal
from tests.support import DATA, ROOT

FOLDER = ROOT / "docs/powershell/EasRedirect"
MODULE = (FOLDER / "EasRedirect.psm1").read_text("utf-8")
MANIFEST = (FOLDER / "EasRedirect.psd1").read_text("utf-8")
FUNCTIONS = ("Get-EasRedirectReport", "Get-EasRedirectPlan", "Test-EasRedirect")


def body(function: str) -> str:
    """Of one function, with its help."""
    start = MODULE.index(f"function {function} {{")
    return MODULE[start : MODULE.index("\n}\n", start)]


def read_from(variable: str) -> set[str]:
    """The properties that the module reads of an object of the JSON."""
    return set(re.findall(rf"\${variable}\.(\w+)", MODULE))


@pytest.mark.parametrize("text", [MODULE, MANIFEST], ids=["module", "manifest"])
def test_it_parses(text: str) -> None:
    assert read_powershell(text).wrong == ()
    assert text.isascii(), "Windows PowerShell reads a file without a mark in the ANSI code page"


def test_a_missing_quote_would_be_seen() -> None:
    assert read_powershell(MODULE.replace("'--json'", "'--json", 1)).wrong != ()
    assert read_powershell(MODULE.replace("param(", "param", 1)).wrong != ()


def test_it_calls_its_own_functions_and_those_of_every_powershell() -> None:
    defined = set(re.findall(r"^function ([\w-]+) \{", MODULE, re.MULTILINE))
    shipped = {
        "ConvertFrom-Json", "ConvertTo-Csv", "Export-ModuleMember", "ForEach-Object", "New-Object",
        "Remove-Item", "Set-StrictMode", "Where-Object", "Write-Verbose", "Write-Warning",
    }  # fmt: skip
    assert read_powershell(MODULE).commands - defined - shipped == set()
    assert set(FUNCTIONS) < defined


def test_the_manifest_exports_what_the_module_does() -> None:
    exported = MODULE[MODULE.index("Export-ModuleMember") :]
    for text in (exported, re.findall(r"FunctionsToExport = @\((.*)\)", MANIFEST)[0]):
        assert tuple(re.findall(r"'([\w-]+)'", text)) == FUNCTIONS
    assert "RootModule        = 'EasRedirect.psm1'" in MANIFEST


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_has_its_help_with_every_parameter(function: str) -> None:
    text = body(function)
    for section in (".SYNOPSIS", ".DESCRIPTION", ".EXAMPLE", ".OUTPUTS"):
        assert section in text
    declared = text[text.index("    param(") :]
    declared = declared[: declared.index("\n    )\n")]
    names = re.findall(r"^        (?:\[\w+(?:\[\])?\] )\$(\w+)", declared, re.MULTILINE)
    assert names
    assert re.findall(r"\.PARAMETER (\w+)", text) == names


@pytest.mark.parametrize("command", ["report", "plan", "check"])
def test_it_passes_only_options_that_there_are(command: str) -> None:
    function = {"report": FUNCTIONS[0], "plan": FUNCTIONS[1], "check": FUNCTIONS[2]}[command]
    used = set(re.findall(r"'(--[\w-]+)'", body(function)))
    assert used >= {"--json", "--config"}
    known = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    assert {option for option in used if not re.search(rf"{option}\b", known)} == set()


def test_exit_codes_are_those_of_the_commands() -> None:
    said = dict(re.findall(r"\$script:Exit(\w+) = (\d)", MODULE))
    assert said == {
        "Findings": str(common.FINDINGS),
        "Usage": str(common.USAGE),
        "Unreachable": str(common.UNREACHABLE),
    }


def test_it_reads_only_what_the_report_writes(tmp_path: Path) -> None:
    assert read_from("Row") == set(COLUMNS) & read_from("Row")
    assert len(read_from("Row")) > 20
    [states] = re.findall(r"ValidateSet\((.*)\)", MODULE)
    assert set(re.findall(r"'(\w+)'", states)) == {state.value for state in LedgerState}


@pytest.mark.parametrize("phones", [0, 12])
def test_devices_come_a_line_each_after_the_figures(tmp_path: Path, phones: int) -> None:
    """What the module relies on to hold one device at a time, done as it does it."""
    records = Simulation(phones=phones).records() if phones else []
    journal = write_journal(tmp_path / "j.jsonl", records)
    made = make_report(find_sources([str(journal)]), START + 40 * 86400)
    lines = "".join(json_pieces(made)).splitlines()
    [pattern] = re.findall(r"-match '(\^.*)'\)", MODULE)
    [at] = [number for number, line in enumerate(lines) if re.match(pattern, line)]
    figures = json.loads("\n".join(lines[:at]).rstrip().rstrip(",") + "\n}")
    assert figures["totals"]["devices"] == len(made.devices)
    [begins] = re.findall(r"\$line\.StartsWith\('(.*)'\)", MODULE)
    rows = [json.loads(x.strip().rstrip(",")) for x in lines[at + 1 :] if x.startswith(begins)]
    assert [row["user"] for row in rows] == [device.user for device in made.devices]


def test_it_reads_only_what_plan_and_check_write(tmp_path: Path) -> None:
    config = tmp_path / "eas-redirect.toml"
    snapshot = DATA / "migration.ldif"
    config.write_text(f'mode = "observe"\n[directory]\nsnapshot = "{snapshot}"\n', "utf-8")
    planned = CliRunner().invoke(app, ["plan", "--all", "--json", "--config", str(config)])
    users = json.loads(planned.stdout)["users"]
    assert users
    read = read_from("user") - {"ps1"}
    assert read == {"user", "decision", "reason", "detail", "location", "relationship", "wave",
                    "findings", "readiness", "devices"}  # fmt: skip
    assert read <= users[0].keys()
    assert read_from("check") == {field.name for field in fields(Check)}
    checked = CliRunner().invoke(app, ["check", "--json", "--config", str(tmp_path / "none.toml")])
    assert read_from("found") <= json.loads(checked.stdout).keys()
