"""Who is let in at the target, and that nothing which a client sends becomes code."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eas_redirect.configuration.config import load_config
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import DeviceLists, DirectoryDevice
from eas_redirect.judging.explanation import judge_over
from eas_redirect.planning.approvals import (
    Approval,
    ScriptForm,
    allow_script,
    approvals,
    approvals_csv,
    block_script,
    undo_script,
)
from eas_redirect.planning.plan import KnownDevice, PlannedDevice, PlannedUser, Planner
from eas_redirect.planning.plan_output import letters
from eas_redirect.report.readiness import readiness_of
from eas_redirect.report.report_values import Device
from eas_redirect.telemetry.ledger import LedgerState
from tests.cli.running import run
from tests.planning.powershell import as_read, read_powershell
from tests.support import DATA

STATES = """
msExchMobileAllowedDeviceIDs: LISTED1
msExchMobileAllowedDeviceIDs: BARRED1
msExchMobileBlockedDeviceIDs: BARRED1
preferredLanguage: de-DE
"""


def device(device_id: str, *, seen: Device | None = None, **fields: object) -> PlannedDevice:
    stored = DirectoryDevice(dn="", device_id=device_id, device_type="iPhone", **fields)  # type: ignore[arg-type]
    return PlannedDevice(
        known=KnownDevice(device=stored, stored=seen is None, seen=seen),
        family=None,
        decision="redirect",
        reason="mailbox_moved",
        readiness=readiness_of(None, host="outlook.office365.com"),
    )


def seen(device_id: str, *, accepted: bool) -> Device:
    return Device(
        user="anna",
        user_key=1,
        device_id=device_id,
        device_type="iPhone",
        family=None,
        user_agent=None,
        state=LedgerState.SEEN,
        first_seen_s=0,
        last_seen_s=0,
        silent_s=0,
        usual_interval_s=None,
        calls=1,
        redirects=0,
        returns=0,
        accepted=accepted,
    )


def user(*devices: PlannedDevice, lists: DeviceLists | None = None) -> PlannedUser:
    return PlannedUser(
        user="anna",
        decision="redirect",
        reason="mailbox_moved",
        detail="",
        account="cn=anna,dc=contoso,dc=example",
        user_principal_name="anna@contoso.example",
        devices=devices,
        lists=lists or DeviceLists(),
    )


DEVICES = (
    device("ONE", access="allowed", approved_alone=True),
    device("RULE", access="allowed"),
    device("HELD", access="quarantined", approved_alone=True),
    device("BAD", access="blocked"),
    device("LOGGED", seen=seen("LOGGED", accepted=True)),
    device("REFUSED", seen=seen("REFUSED", accepted=False)),
)


@pytest.mark.parametrize(
    ("known", "from_logs", "ids"),
    [
        (False, False, ("LISTED", "ONE")),
        (True, False, ("LISTED", "ONE", "RULE")),
        (False, True, ("LISTED", "ONE", "LOGGED")),
    ],
)
def test_who_is_let_in(known: bool, from_logs: bool, ids: tuple[str, ...]) -> None:
    lists = DeviceLists(allowed=("LISTED", "held", "bad"), blocked=("OUT",))
    (found,) = approvals([user(*DEVICES, lists=lists)], known=known, from_logs=from_logs)
    assert found.user == "anna@contoso.example"
    assert found.ids == ids
    assert found.blocked == ("OUT", "BAD")
    rows = list(csv.DictReader(io.StringIO("".join(approvals_csv([found])))))
    assert {row["device_id"] for row in rows if row["access"] == "allow"} == set(ids)


# What PowerShell takes for quotes, what begins something in it, what does not show.
NASTY = st.text(
    st.sampled_from("'\"\u2018\u2019\u201a\u201b\u201c\u201d`$(){}@#;|&,\n\r\t\a\u200b\u2013 a")
)
ALLOWED = frozenset(
    {
        *("Add-Ids", "Get-CASMailbox", "Set-CASMailbox", "Where-Object", "Write-Host"),
        *("Write-Warning", "Get-Date", "Start-Sleep"),
    }
)
RULES = frozenset(
    {
        *("Get-ActiveSyncDeviceAccessRule", "New-ActiveSyncDeviceAccessRule", "Where-Object"),
        *("Join-Path", "Write-Host", "Add-Content"),
    }
)
OWN_TEXTS = {"Stop", ", ", "DeviceType", "rules-made.txt"}


def written(
    name: str, ids: tuple[str, ...], types: tuple[str, ...]
) -> list[tuple[str, frozenset[str]]]:
    """Every script with what it may call."""
    one = Approval(user=name, ids=ids, blocked=ids, device_types=types)
    forms = [(allow_script([one], form), ALLOWED) for form in ScriptForm if form != "rule"]
    return [*forms, (block_script([one]), ALLOWED), (allow_script([one], ScriptForm.RULE), RULES)]


@settings(max_examples=60, deadline=None)
@given(name=NASTY, ids=st.lists(NASTY, min_size=1, max_size=2), types=st.lists(NASTY, max_size=2))
@example(name="a'; Remove-Item C:\\ #", ids=["$(calc)"], types=["\u2019; calc"])
@example(name="\u2018\u2019\u201a\u201b", ids=["`n"], types=["a\nb"])
def test_no_name_becomes_code(name: str, ids: list[str], types: list[str]) -> None:
    """Whatever would come through the checks before it: the quotes alone must hold."""
    for script, may_call in written(name, tuple(ids), tuple(types)):
        found = read_powershell(script)
        assert not found.wrong
        assert found.commands <= may_call
        given_texts = {name, *ids} if may_call is ALLOWED else set(types)
        assert found.texts - OWN_TEXTS == {as_read(text) for text in given_texts} - OWN_TEXTS


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_the_parser_notices_a_quote_that_is_not_doubled(
    monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    others = "".join(set("'\u2018\u2019\u201a\u201b") - {quote})
    monkeypatch.setattr("eas_redirect.planning.approvals._QUOTES", re.compile(f"[{others}]"))
    for script, may_call in written(f"a{quote}; Remove-Item x; {quote}", ("A",), (f"a{quote}",)):
        found = read_powershell(script)
        assert found.wrong or not found.commands <= may_call


def test_the_undo_script_parses_and_removes_nothing_but_rules() -> None:
    found = read_powershell(undo_script())
    assert not found.wrong
    assert {name for name in found.commands if name.startswith("Remove")} == {
        "Remove-ActiveSyncDeviceAccessRule"
    }


@given(text=NASTY)
def test_ids_and_names_that_no_script_needs_are_left_out(text: str) -> None:
    (found,) = approvals([user(lists=DeviceLists(allowed=(text,)))])
    assert all(re.fullmatch(r"[A-Za-z0-9_{}.-]+", one) for one in found.ids)
    assert bool(found.ids) != bool(found.left_out)
    (named,) = approvals(
        [replace(user(lists=DeviceLists(allowed=("A",))), user_principal_name=f"x{text}")]
    )
    assert bool(named.ids) is f"x{text}".isprintable()
    assert all(sentence.isprintable() for sentence in named.left_out)


@pytest.mark.parametrize("form", list(ScriptForm))
def test_scripts_only_add_and_begin_dry(form: ScriptForm) -> None:
    one = Approval(user="o'neil@contoso.example", ids=("A1", "B2"), device_types=("iPhone",))
    script = allow_script([one], form)
    assert "[switch]$Apply" in script
    assert "if (-not $Apply)" in script
    assert "Remove" not in script
    assert "{parameter}" not in script
    assert script.count("{") == script.count("}")
    if form is ScriptForm.RULE:
        assert "  'iPhone'\n" in script
        assert "Remove-ActiveSyncDeviceAccessRule" in undo_script()
    else:
        assert "@{ User = 'o''neil@contoso.example'; Ids = @('A1', 'B2') }" in script
        assert "-ActiveSyncAllowedDeviceIDs @{ Add = $new }" in script
        assert script.index("if (-not $Apply)") < script.index("Set-CASMailbox")
    assert ("Start-Sleep" in script) is (form is ScriptForm.AFTER)


def test_blocked_ids_have_a_script_of_their_own() -> None:
    script = block_script([Approval(user="anna", ids=("A",), blocked=("B",))])
    assert "Ids = @('B')" in script
    assert "-ActiveSyncBlockedDeviceIDs @{ Add = $new }" in script


@pytest.fixture
def config(tmp_path: Path) -> Path:
    ldif = (DATA / "migration.ldif").read_text("utf-8")
    anna = ldif.index("sAMAccountName: anna\n")
    devices = (
        (DATA / "ldif" / "devices.ldif")
        .read_text("utf-8")
        .replace(
            "msExchDeviceID: 0815\n",
            "msExchDeviceID: 0815\nmsExchDeviceAccessState: 1\nmsExchDeviceAccessStateReason: 2\n",
        )
    )
    text = f"{ldif[:anna]}{STATES.lstrip()}{ldif[anna:]}\n{devices}"
    (tmp_path / "forest.ldif").write_text(text, "utf-8")
    path = tmp_path / "eas-redirect.toml"
    path.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    return path


def test_letters_go_to_who_goes_and_promise_a_blocked_device_nothing() -> None:
    blocked = device("LISTED", access="allowed")
    moving = user(*DEVICES, blocked, lists=DeviceLists(blocked=("listed",), language="fr"))
    deviceless = replace(user(), user_principal_name="zoe@contoso.example")
    staying = replace(user(), decision="pass", reason="no_relationship")
    rows = list(csv.DictReader(io.StringIO("".join(letters([moving, deviceless, staying])))))
    assert [(row["user"], row["device_id"]) for row in rows] == [
        *(("anna@contoso.example", one) for one in ("ONE", "RULE", "HELD", "LOGGED", "REFUSED")),
        ("zoe@contoso.example", ""),
    ]
    assert rows[-1]["what"] == "unknown"
    assert {row["language"] for row in rows} == {"fr", ""}


async def test_the_snapshot_has_lists_states_and_the_language(config: Path) -> None:
    snapshot = Snapshot.load(config.with_name("forest.ldif"))
    planner = Planner(judge_over(load_config(config), snapshot), snapshot)
    planned = await planner.plan(["CONTOSO\\anna"])
    assert planned[0].lists == DeviceLists(
        allowed=("LISTED1", "BARRED1"), blocked=("BARRED1",), language="de-DE"
    )
    (found,) = approvals(planned)
    assert found.ids == ("LISTED1", "0815")
    rows = list(csv.DictReader(io.StringIO("".join(letters(planned)))))
    assert {row["device_id"]: row["what"] for row in rows} == {
        "ApplDN6GW0CCDFJ2": "asks_to_sign_in",
        "0815": "must_be_added_anew",
    }
    assert {row["language"] for row in rows} == {"de-DE"}


def test_plan_writes_them(config: Path, tmp_path: Path) -> None:
    (tmp_path / "wave.csv").write_text("CONTOSO\\anna\n")
    script, merge = tmp_path / "allow.ps1", tmp_path / "letters.csv"
    args = ("plan", str(tmp_path / "wave.csv"), "-c", str(config))
    ran = run(*args, "--allow-script", str(script), "--letters", str(merge))
    assert ran.code == 0, ran.err
    assert script.read_bytes().startswith(b"\xef\xbb\xbf#Requires")
    assert "'LISTED1', '0815'" in script.read_text("utf-8-sig")
    assert "'BARRED1'" in (tmp_path / "allow-blocked.ps1").read_text("utf-8-sig")
    assert "BARRED1,block" in (tmp_path / "allow-devices.csv").read_text("utf-8-sig")
    assert "asks_to_sign_in" in merge.read_text("utf-8-sig")
    assert run(*args, "--known").code == 2
    assert run(*args, "--allow-script", str(script), "--allow-form", "never").code == 2
    assert run(*args, "--allow-script", str(script), "--from-logs").code == 2
    assert run(*args, "--allow-script", str(script), "--allow-form", "rule").code == 0
    assert (tmp_path / "allow-undo.ps1").exists()


def test_plan_writes_over_nothing_that_it_reads(config: Path, tmp_path: Path) -> None:
    wave = tmp_path / "wave-devices.csv"
    wave.write_text("CONTOSO\\anna\n")
    args = ("plan", str(wave), "-c", str(config))
    for more, words in (
        (("--allow-script", str(tmp_path / "wave.ps1")), "is read by this command"),
        (("--letters", str(wave)), "is read by this command"),
        (("--letters", str(config)), "is read by this command"),
        (("--allow-script", str(tmp_path / "allow.txt")), "FILE.ps1"),
        (
            *(("--allow-script", str(tmp_path / "a.ps1"), "--letters"),),
            "would be written twice",
        ),
    ):
        extra = (str(tmp_path / "a-devices.csv"),) if more[-1] == "--letters" else ()
        ran = run(*args, *more, *extra)
        assert (ran.code, words in ran.err) == (2, True), ran.err
    assert wave.read_text() == "CONTOSO\\anna\n"
