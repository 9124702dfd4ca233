"""docs/debugging.md's own line, `mitmdump -nr CAPTURE -s addon/redirect.py`: it shows and does
nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy.io import FlowReader

from tests.captures.captures import PASSWORD, story, write_flows
from tests.integration.mitmdump import SHIM
from tests.integration.processes import free_port
from tests.support import DATA

pytestmark = pytest.mark.integration


def read(path: Path) -> list[dict[str, object]]:
    with path.open("rb") as file:
        found: list[mitmproxy_flow.Flow] = list(FlowReader(file).stream())
    return [flow.get_state() for flow in found]


def test_looking_shows_the_verdict_and_changes_nothing(tmp_path: Path) -> None:
    flows = story()
    # On this body mitmproxy's own view never returns.
    flows[1].request.raw_content = bytes.fromhex("03016a00454b03616263")
    flows[1].request.headers["Content-Type"] = "application/vnd.ms-sync.wbxml"
    capture = write_flows(tmp_path / "capture.flows", flows)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
        '[exchange]\nhost_names = ["mail.contoso.example"]\n'
        '[journal]\npath = "journal.jsonl"\niis_path = "u_ex.log"\n'
        f'[metrics]\nlisten = "127.0.0.1:{free_port()}"\n'
    )
    journal, iis = tmp_path / "journal.jsonl", tmp_path / "u_ex.log"
    journal.write_text("a line of the live proxy\n")
    program = Path(sys.executable).with_name("mitmdump")
    options = [f"eas_config={config}", f"confdir={tmp_path / 'confdir'}", "flow_detail=3"]
    words = [word for option in options for word in ("--set", option)]
    saved = tmp_path / "saved.flows"
    ran = subprocess.run(
        [str(program), "-nr", str(capture), "-s", str(SHIM), "-w", str(saved), *words],
        capture_output=True,
        timeout=120,
        check=False,
    )
    printed = ran.stdout.decode("utf-8", "replace")
    assert ran.returncode == 0, ran.stderr.decode()
    assert "today's configuration: 451 → outlook.office365.com (mailbox_moved)" in printed
    assert "<Status>129</Status><!-- DeviceIsBlockedForThisUser -->" in printed
    assert "policy key present" in printed
    assert "<!-- not whole: cut short" in printed
    assert "nothing is journalled" in printed
    assert "metrics and status page" not in printed
    assert PASSWORD not in printed.replace("Authorization: Basic", "")
    assert journal.read_text() == "a line of the live proxy\n"
    assert not iis.exists()
    assert read(saved) == read(capture)
