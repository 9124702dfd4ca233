"""Rehearsing a wave over a snapshot: who goes, who stays, and what awaits their devices."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Recipient, Unavailable
from eas_redirect.judging.explanation import judge_over
from eas_redirect.planning.plan import PlannedUser, Planner, SeenDevices, everyone_moved
from eas_redirect.planning.plan_output import plan_csv, plan_json
from eas_redirect.policy.verdict import DiscoveryPolicy
from eas_redirect.report.report_values import Device as SeenDevice
from eas_redirect.telemetry.ledger import LedgerState
from tests.support import DATA


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    ldif = tmp_path / "forest.ldif"
    ldif.write_bytes(
        (DATA / "migration.ldif").read_bytes()
        + b"\n"
        + (DATA / "ldif" / "devices.ldif").read_bytes()
    )
    config = tmp_path / "eas-redirect.toml"
    config.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    snapshot = Snapshot.load(ldif)
    return Planner(judge_over(load_config(config), snapshot), snapshot)


async def test_each_user_with_location_findings_and_devices(planner: Planner) -> None:
    anna, bert, nobody, unmapped = await planner.plan(
        ["CONTOSO\\anna", "bert@contoso.example", "nobody@contoso.example", "unmapped"]
    )
    assert (anna.decision, anna.reason, anna.location) == (
        "redirect",
        "mailbox_moved",
        "https://outlook.office365.com/Microsoft-Server-ActiveSync",
    )
    assert {d.known.device.device_id: d.readiness.verdict.value for d in anna.devices} == {
        "ApplDN6GW0CCDFJ2": "asked_to_sign_in",  # iOS 17, by what it told Exchange of its system
        "0815": "refused",
        "4711": "refused",  # unknown, and chose 12.1 where its neighbours speak 14.1
    }
    assert (bert.reason, bert.in_order) == ("recipient_has_mailbox", True)
    assert (nobody.reason, nobody.in_order) == ("recipient_not_found", False)
    assert (unmapped.reason, unmapped.devices) == ("no_relationship", ())


async def test_a_user_without_a_known_device_is_unknown(planner: Planner) -> None:
    (later,) = await planner.plan(["later@contoso.example"])
    assert later.readiness is not None
    assert later.readiness.verdict.value == "unknown"
    assert "No device" in later.readiness.rule


async def test_what_is_no_logon_is_said(planner: Planner) -> None:
    (planned,) = await planner.plan(["\\"])
    assert planned.reason == "no_logon"
    assert not planned.in_order


async def test_all_are_those_who_moved(planner: Planner) -> None:
    found = await everyone_moved(planner.census)
    assert not isinstance(found, Unavailable)
    assert "anna@contoso.example" in found
    assert "bert@contoso.example" not in found  # a mailbox here that forwards
    assert list(found) == sorted(found)


async def test_findings_of_the_account(tmp_path: Path, planner: Planner) -> None:
    class Renamed:
        async def everyone(self) -> tuple[Recipient, ...]:
            return ()

        async def device_lists(self, user_dn: str) -> Unavailable:
            assert user_dn.startswith("CN=Anna")
            return Unavailable(error_type="timeout", message="too slow")

        async def devices(self, user_dn: str) -> Unavailable:
            assert user_dn.startswith("CN=Anna")
            return Unavailable(error_type="timeout", message="too slow")

    ldif = (DATA / "migration.ldif").read_text("utf-8")
    renamed = tmp_path / "forest.ldif"
    renamed.write_text(
        ldif.replace(
            "userPrincipalName: anna@contoso.example", "userPrincipalName: anna@corp.example"
        )
    )
    snapshot = Snapshot.load(renamed)
    config = load_config(tmp_path / "eas-redirect.toml")
    planned = await Planner(judge_over(config, snapshot), Renamed()).plan(["CONTOSO\\anna"])
    assert [finding.code for finding in planned[0].findings] == ["upn_not_primary_smtp"]
    assert planned[0].devices == ()


def phone(user: str, device_id: str, **fields: object) -> SeenDevice:
    base = SeenDevice(
        user=user,
        user_key=1,
        device_id=device_id,
        device_type="iPhone",
        family="apple_mail",
        user_agent="Apple-iPhone14C5/2105.90",
        state=LedgerState.SEEN,
        first_seen_s=0.0,
        last_seen_s=1_772_409_600.0,
        silent_s=0.0,
        usual_interval_s=None,
        calls=1,
        redirects=0,
        returns=0,
        protocol_version="14.1",
        auth_scheme="basic",
        logon_format="down_level",
    )
    return replace(base, **fields)  # type: ignore[arg-type]


async def test_devices_that_journals_saw_are_planned_too(planner: Planner) -> None:
    seen = SeenDevices.of(
        (
            phone("CONTOSO\\anna", "NEW"),
            phone("ANNA@contoso.example", "0815", user_agent="Outlook-iOS-Android/1.0"),
            phone("FABRIKAM\\anna", "STRANGER"),  # another forest's: the directory knows nobody
            phone("bert@contoso.example", "BERTS"),
            phone("anna", "PROBE", machine=True),
        )
    )
    both = Planner(planner.judge, planner.census, planner.device, seen)
    (anna,) = await both.plan(["anna@contoso.example"])
    found = {
        d.known.device.device_id: (d.known.known_from, d.family, d.readiness.verdict.value)
        for d in anna.devices
    }
    assert found == {
        "ApplDN6GW0CCDFJ2": ("directory", "apple_mail", "asked_to_sign_in"),
        "0815": ("both", "outlook_mobile", "asked_to_sign_in"),
        "4711": ("directory", None, "refused"),
        "NEW": ("journal", "apple_mail", "asked_to_sign_in"),
    }
    assert [finding.code for finding in anna.findings] == ["logon_down_level"]
    devices = plan_json([anna], "14.1")["users"][0]["devices"]  # type: ignore[index]
    row = next(row for row in devices if row["device_id"] == "NEW")
    assert (row["auth_scheme"], row["last_seen"]) == ("basic", "2026-03-02T00:00:00.000Z")


async def test_an_account_under_several_logons_is_planned_once(planner: Planner) -> None:
    planned = await planner.plan(
        ["CONTOSO\\anna", "nobody", "anna@contoso.example", "nobody2", "anna"]
    )
    assert [user.user for user in planned] == ["CONTOSO\\anna", "nobody", "nobody2"]
    assert plan_json(planned, "14.1")["totals"]["readiness"]["refused"] == 1  # type: ignore[index]


async def test_devices_of_somebody_whom_the_directory_does_not_know(planner: Planner) -> None:
    seen = SeenDevices.of([phone("ghost@contoso.example", "G")])
    both = Planner(planner.judge, planner.census, planner.device, seen)
    (ghost,) = await both.plan(["ghost@contoso.example"])
    assert ghost.reason == "recipient_not_found"
    assert [d.known.device.device_id for d in ghost.devices] == ["G"]


def test_exit_codes_follow_the_reasons() -> None:
    moved = PlannedUser(user="a", decision="redirect", reason="mailbox_moved", detail="")
    down = PlannedUser(
        user="b", decision="pass", reason="directory_unavailable", detail="", out_of_reach=True
    )
    assert (moved.in_order, moved.out_of_reach) == (True, False)
    assert (down.in_order, down.out_of_reach) == (False, True)


async def test_an_account_that_is_added_again(planner: Planner) -> None:
    policy = replace(
        planner.judge.policy, discovery=DiscoveryPolicy(phones="listed", listed=("Apple-iPhone",))
    )
    told = replace(planner, judge=replace(planner.judge, policy=policy))
    (before,) = await planner.plan(["anna@contoso.example"])
    (after,) = await told.plan(["anna@contoso.example"])
    assert before.added_again is None
    assert after.added_again == "mailbox_moved"
    again = {device.known.device.user_agent: device.added_again for device in after.devices}
    assert set(again.values()) <= {"mailbox_moved", "autodiscover_client_not_listed"}
    for agent, reason in again.items():
        assert (reason == "mailbox_moved") == (agent or "").startswith("Apple-iPhone")
    rows = list(csv.DictReader(io.StringIO("".join(plan_csv([after])))))
    assert [row["added_again"] for row in rows] == [one.added_again for one in after.devices]
