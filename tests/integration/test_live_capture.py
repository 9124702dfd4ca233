"""A capture of a real mitmdump with the addon: explained as it was decided, and redacted."""

import base64
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.cli.test_redact_command import everything
from tests.integration.device import PASSWORD, ask
from tests.integration.mitmdump import mitmdump
from tests.integration.test_main_job import CASES, CONFIG
from tests.integration.upstream import upstream
from tests.support import DATA

pytestmark = pytest.mark.integration

SECRETS = [s for s in (DATA / "secrets.txt").read_text("utf-8").splitlines() if s]


@pytest.fixture(scope="module", params=["stream", "keep"])
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with `capture.flows`, `eas-redirect.toml` and `journal.jsonl`."""
    directory = tmp_path_factory.mktemp(request.param)
    answers = {name: case.answer for name, case in CASES.items()}
    with upstream(answers) as server:
        arguments = ("-w", str(directory / "capture.flows"))
        options = {"eas_bodies": request.param}
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(
            directory, mode, config=CONFIG, arguments=arguments, options=options
        ) as running:
            for name, case in CASES.items():
                user, command = case.user, case.command
                ask(
                    running.port,
                    user,
                    name,
                    command=command,
                    version=case.version,
                    method=case.method,
                )
            running.exchanges(len(CASES))
    return directory


def journalled(directory: Path) -> Counter[str]:
    lines = (directory / "journal.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line)["event"] for line in lines]
    return Counter(event["reason"] for event in events if "reason" in event)


def explained(capture: Path, *options: str) -> dict[str, Counter[str]]:
    said = json.loads(run("explain", str(capture), "--json", *options).out)
    found: dict[str, Counter[str]] = {}
    for device in said["devices"]:
        for entry in device["exchanges"]:
            for which in ("decided", "recorded"):
                if entry[which]:
                    counter = found.setdefault(which, Counter())
                    counter[entry[which]["reason"]] += entry["count"]
    return found


def test_the_capture_remembers_what_was_decided(captured: Path) -> None:
    assert explained(captured / "capture.flows")["recorded"] == journalled(captured)


def test_the_same_is_decided_of_the_capture(captured: Path) -> None:
    config = str(captured / "eas-redirect.toml")
    assert explained(captured / "capture.flows", "-c", config)["decided"] == journalled(captured)


def test_the_capture_can_be_shared(captured: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.flows"
    ran = run("redact", str(captured / "capture.flows"), "-o", str(clean))
    assert (ran.code, ran.err) == (0, "")
    found = everything(clean)
    for secret in [*SECRETS, PASSWORD, "anna@contoso.example", "mail.contoso.example"]:
        assert secret.encode() not in found
        assert base64.b64encode(secret.encode()).rstrip(b"=")[:-1] not in found
    assert explained(clean)["recorded"] == journalled(captured)
