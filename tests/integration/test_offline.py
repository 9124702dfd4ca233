"""`mitmdump -nr CAPTURE -s addon/redirect.py` journals offline what was decided live."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.captures.captures import PASSWORD, story, write_flows
from tests.cli.running import run
from tests.integration.mitmdump import SHIM
from tests.support import DATA

pytestmark = pytest.mark.integration


def test_a_capture_is_journalled_as_explain_decides_it(tmp_path: Path) -> None:
    flows = story()
    # On this body mitmproxy's own view never returns.
    flows[1].request.raw_content = bytes.fromhex("03016a00454b03616263")
    flows[1].request.headers["Content-Type"] = "application/vnd.ms-sync.wbxml"
    capture = write_flows(tmp_path / "capture.flows", flows)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n')
    program = Path(sys.executable).with_name("mitmdump")
    options = [f"eas_config={config}", f"eas_journal={tmp_path / 'journal.jsonl'}"]
    options += [f"confdir={tmp_path / 'confdir'}", "flow_detail=3"]
    words = [word for option in options for word in ("--set", option)]
    ran = subprocess.run(
        [str(program), "-nr", str(capture), "-s", str(SHIM), *words],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    printed = ran.stdout.decode("utf-8", "replace")
    assert "<!-- Exchange answered 200, status 123 -->" in printed
    assert "<Status>129</Status><!-- DeviceIsBlockedForThisUser -->" in printed
    assert "policy key present" in printed
    assert "<!-- not whole: cut short" in printed
    journal = (tmp_path / "journal.jsonl").read_text("utf-8")
    assert PASSWORD not in journal
    lines = [json.loads(line) for line in journal.splitlines()]
    live = sorted(line["event"]["reason"] for line in lines if "reason" in line["event"])
    said = json.loads(run("explain", str(capture), "-c", str(config), "--json").out)
    entries = [entry for device in said["devices"] for entry in device["exchanges"]]
    explained = sorted(e["decided"]["reason"] for e in entries for _ in range(e["count"]))
    assert live == explained
