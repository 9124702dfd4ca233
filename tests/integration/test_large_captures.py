"""Captures larger than memory should be: read flow by flow, entry by entry."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import http

from eas_redirect.activesync.wbxml import Document, element, write
from tests.captures.captures import eas_flow, har_entry, status, write_flows

pytestmark = pytest.mark.integration

FLOWS = 40
MAIL = 4_000_000  # bytes; the capture has 160 MB
LIMIT_KIB = 220_000  # an idle command takes 90,000
EXCHANGES = 10_000
SMALL_LIMIT_KIB = 16_000  # above one exchange; all of them as JSON at once would take 30,000
SAMPLE_LIMIT_KIB = 100_000  # all of the text takes more, and goes on growing

# The command, and then the most memory that its process ever held (Linux).
RUN = """
import sys
from eas_redirect.cli.main import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


def mails() -> Iterator[http.HTTPFlow]:
    mime = os.urandom(MAIL)
    body = write(Document(element(21, "SendMail", element(21, "Mime", mime))))
    return (eas_flow(n, "SendMail", sent=body, body=b"") for n in range(FLOWS))


def write_large_har(path: Path) -> None:
    with path.open("w") as file:
        file.write('{"log": {"version": "1.2", "entries": [')
        for number, flow in enumerate(mails()):
            text = base64.b64encode(flow.request.raw_content or b"").decode()
            entry = har_entry(flow)
            request = entry["request"]
            assert isinstance(request, dict)
            request["postData"] = {"text": text, "encoding": "base64"}
            file.write(("," if number else "") + json.dumps(entry))
        file.write("]}}")


def small(count: int) -> Iterator[http.HTTPFlow]:
    """No two alike in a row, so that each is an entry of its own."""
    for number in range(count):
        command, body = (("Ping", status(13, "Ping", 1)), ("Sync", b""))[number % 2]
        yield eas_flow(number, command, waited=number % 7, body=body)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_many_small_exchanges_take_little_memory(tmp_path: Path, options: list[str]) -> None:
    one = explained(write_flows(tmp_path / "one.flows", small(1)), *options)
    many = explained(write_flows(tmp_path / "many.flows", small(EXCHANGES)), *options)
    assert many.returncode == 0, many.stderr.decode()
    said = many.stdout.decode()
    if options:
        assert said.count("Ping") == EXCHANGES // 2
    else:  # what repeats is folded for people
        assert f"{EXCHANGES} exchanges" in said
        assert f"these 2 in turn, {EXCHANGES // 2} times" in said
        assert said.count("\n") < 200
    assert peak_kib(many) - peak_kib(one) < SMALL_LIMIT_KIB


def written(count: int) -> Iterator[http.HTTPFlow]:
    """Answers with forty messages, each of other words."""
    for number in range(count):
        texts = (" ".join(f"{number:x}w{m:x}ord{n:x}" for n in range(45)) for m in range(40))
        messages = [element(17, "Body", element(17, "Data", text)) for text in texts]
        yield eas_flow(number, "Sync", body=write(Document(element(0, "Sync", *messages))))


def test_redaction_remembers_a_sample_of_much_text(tmp_path: Path) -> None:
    peaks = []
    for count in (1, 500):
        source = write_flows(tmp_path / f"{count}.flows", written(count))
        ran = command("redact", str(source), "-o", str(tmp_path / f"{count}.clean"))
        assert ran.returncode == 0, ran.stderr.decode()
        assert f"{count} exchanges" in ran.stdout.decode()
        peaks.append(peak_kib(ran))
    assert peaks[1] - peaks[0] < SAMPLE_LIMIT_KIB


def peak_kib(ran: subprocess.CompletedProcess[bytes]) -> int:
    return int(ran.stderr.decode().rsplit("peak ", 1)[1])


def explained(path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    return command("explain", str(path), *options)


def command(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        capture_output=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("kind", ["flows", "har"])
def test_memory_is_bounded_by_one_exchange(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"large.{kind}"
    if kind == "flows":
        write_flows(path, mails())
    else:
        write_large_har(path)
    assert path.stat().st_size > FLOWS * MAIL
    ran = explained(path)
    path.unlink()
    assert ran.returncode == 0, ran.stderr.decode()
    assert f"{FLOWS} exchanges" in ran.stdout.decode()
    assert peak_kib(ran) < LIMIT_KIB
