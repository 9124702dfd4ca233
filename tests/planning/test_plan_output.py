"""A rehearsed wave as JSON, CSV and letters."""

import csv
import io
import json
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Unavailable
from eas_redirect.judging.explanation import judge_over
from eas_redirect.planning.plan import Planner, everyone_moved
from eas_redirect.planning.plan_output import COLUMNS, letters, plan_csv, plan_json
from tests.planning.test_plan import planner
from tests.support import DATA

__all__ = ["planner"]  # a fixture


async def test_json_and_csv_agree(planner: Planner) -> None:
    names = await everyone_moved(planner.census)
    assert not isinstance(names, Unavailable)
    planned = await planner.plan([*names, "nobody", "=cmd|x"])
    as_json = json.loads(json.dumps(plan_json(planned, "14.1")))
    rows = list(csv.DictReader(io.StringIO("".join(plan_csv(planned)))))
    assert tuple(rows[0]) == COLUMNS
    assert as_json["assumed_protocol_version"] == "14.1"
    assert as_json["totals"]["users"] == len({row["user"] for row in rows}) == len(names) + 2
    assert sum(as_json["totals"]["by_reason"].values()) == len(names) + 2
    assert sum(as_json["totals"]["readiness"].values()) == 2  # the third stays
    assert [row["device_id"] for row in rows if row["device_id"]] == [
        device["device_id"] for user in as_json["users"] for device in user["devices"]
    ]
    assert "'=cmd|x" in [row["user"] for row in rows]


@pytest.mark.parametrize(
    ("others", "expected"),
    [(False, {"asked_to_sign_in", "refused"}), (True, {"unknown"})],
    ids=["one_host", "several_hosts"],
)
async def test_before_the_move_it_is_said_what_awaits_a_device_there(
    tmp_path: Path, others: bool, expected: set[str]
) -> None:
    """Letters are written before the mailbox moves; where to, all relationships have to agree."""
    blocks = (DATA / "migration.ldif").read_text("utf-8").split("\n\n")
    kept = [one for one in blocks if others or "CN=Federation" not in one or "CN=Cloud" in one]
    devices = (DATA / "ldif" / "devices.ldif").read_text("utf-8")
    ldif = tmp_path / "forest.ldif"
    ldif.write_text("\n\n".join((*kept, devices.replace("Anna Moved", "Bert Local"))), "utf-8")
    config = tmp_path / "eas-redirect.toml"
    config.write_text('mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n')
    snapshot = Snapshot.load(ldif)
    (bert,) = await Planner(judge_over(load_config(config), snapshot), snapshot).plan(["bert"])
    assert bert.reason == "recipient_has_mailbox"
    assert {device.readiness.verdict.value for device in bert.devices} == expected
    rows = list(csv.DictReader(io.StringIO("".join(letters([bert])))))
    assert {row["device_id"] for row in rows} == {"ApplDN6GW0CCDFJ2", "0815", "4711"}
