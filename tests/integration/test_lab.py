"""`eas-redirect lab` as a person runs it: every row, then `--keep` and each way of ending it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from eas_redirect.lab import runner
from eas_redirect.lab.personas import PASSWORD, PERSONAS
from eas_redirect.lab.phone import basic
from tests.support import DATA, require

pytestmark = pytest.mark.integration

LAB = [str(Path(sys.executable).with_name("eas-redirect")), "lab"]
ROWS = {persona.name: persona for persona in PERSONAS}


def run(
    directory: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command, ended by itself; `prefix` is a program that starts it."""
    command = [*LAB, "--work", str(directory / "work"), "--certs", str(directory / "certs")]
    return subprocess.run(
        [*prefix, *command, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    """One run with --json: its directory, and the people by name."""
    directory = tmp_path_factory.mktemp("lab")
    done = run(directory, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(done.stdout)
    assert value["as_expected"] is True
    assert Path(value["journal"]) == directory / "work" / "eas-journal.jsonl"
    return directory, {person["name"]: person for person in value["people"]}


def test_haproxy_carries_all_of_them_to_the_same_ends(tmp_path: Path) -> None:
    require("haproxy")
    done = run(tmp_path, "--json", "--carrier", "haproxy")
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(done.stdout)
    assert [person["problems"] for person in value["people"]] == [[]] * (
        len(ROWS) - 1  # HAProxy's side ends no waits
    )


@pytest.mark.parametrize("name", ROWS)
def test_each_person_gets_what_was_expected(
    whole: tuple[Path, dict[str, dict[str, object]]], name: str
) -> None:
    person, persona = whole[1][name], ROWS[name]
    assert person["as_expected"] is True, person["problems"]
    assert person["reason"] == persona.expects[-1].reason
    moved = persona.expects[-1].reason == "mailbox_moved"
    what = "Settings" if persona.adds_account else "451"
    host = f"{what} → {persona.expects[-1].host}" if moved else "the same"
    assert str(person["device_got"]).startswith(host)


def test_every_outcome_that_the_lab_is_for_has_a_person() -> None:
    reasons = {expected.reason for persona in PERSONAS for expected in persona.expects}
    assert reasons == {
        "autodiscover_client_not_listed",
        "mailbox_moved",
        "native_redirect",
        "no_relationship",
        "no_target_owa_url",
        "other_answer",
        "protocol_version_too_low",
        "recipient_has_mailbox",
        "redirect_loop",
        "relationship_disabled",
        "unauthenticated",
    }


def test_nothing_that_it_writes_holds_a_password(
    whole: tuple[Path, dict[str, dict[str, object]]],
) -> None:
    secrets = [PASSWORD, "Exampel-Passw0rd", basic("anna@contoso.example", PASSWORD)[6:]]
    secrets += (DATA / "secrets.txt").read_text("utf-8").split("\n")
    for file in (whole[0] / "work").rglob("*"):
        if file.is_file():
            text = file.read_text("utf-8", "replace")
            assert [s for s in secrets if s and s in text] == [], file


def test_the_second_run_uses_what_the_first_one_made(tmp_path: Path) -> None:
    first = run(tmp_path)
    ca = (tmp_path / "certs" / "lab-ca.pem").read_bytes()
    second = run(tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (tmp_path / "certs" / "lab-ca.pem").read_bytes() == ca
    assert f"{len(PERSONAS)} of {len(PERSONAS)} as expected." in second.stdout
    assert "\x1b" not in second.stdout
    for persona in PERSONAS:
        assert f"{persona.first_name} ({persona.model.words})" in second.stdout


def processes_that_name(text: str) -> list[int]:
    """The pids of the processes with a text in their command line."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().decode("utf-8", "replace")
        except OSError:  # It ended meanwhile.
            continue
        if text in words:
            found.append(int(line.parent.name))
    return found


class Kept:
    """A lab that stays up: its process, what it printed, and the processes that belong to it."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, printed: str) -> None:
        self.process = process
        self.directory = directory
        self.printed = printed
        found = re.search(r"https://localhost:(\d+)/", printed)
        self.port = int(found[1]) if found else 443
        self.mark = str(directory / "work")

    def others(self) -> list[int]:
        """The pids of the lab's own processes, but for itself."""
        return [pid for pid in processes_that_name(self.mark) if pid != self.process.pid]

    def wait_until_alone(self) -> None:
        deadline = time.monotonic() + 30
        while self.others():
            assert time.monotonic() < deadline, f"left behind: {self.others()}"
            time.sleep(0.05)


@contextmanager
def kept(directory: Path, *arguments: str) -> Iterator[Kept]:
    command = [*LAB, "--keep", *arguments, "--work", str(directory / "work"), "--certs"]
    printed = directory / "printed.txt"
    with printed.open("wb") as output, (directory / "talk.txt").open("wb") as talk:
        process = subprocess.Popen([*command, str(directory / "certs")], stdout=output, stderr=talk)
    try:
        deadline = time.monotonic() + 90
        while "Ctrl-C" not in printed.read_text("utf-8"):
            assert process.poll() is None, (directory / "talk.txt").read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Kept(process, directory, printed.read_text("utf-8"))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_phones_that_know_rsa_and_tls_1_0_only_are_let_in(tmp_path: Path) -> None:
    require("openssl")
    with kept(tmp_path, "--old-phones") as lab:
        port = re.search(r"https://localhost:(\d+)/", lab.printed)
        assert port
        ca = tmp_path / "certs" / "old-phones" / "lab-ca.pem"
        old = ("-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0", "-CAfile", str(ca))
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"localhost:{port[1]}", *old],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
    assert "Protocol  : TLSv1\n" in said
    assert "Cipher    : AES128-SHA\n" in said
    assert "Verify return code: 0 (ok)" in said


def test_a_kept_lab_answers_as_it_says_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with kept(tmp_path) as lab:
        assert len(lab.others()) == 2  # mitmdump and its guard
        assert PASSWORD in lab.printed
        curl = re.search(r"curl --include.*?(?=\n\n)", lab.printed + "\n\n", re.DOTALL)
        assert curl
        answer = subprocess.run(
            ["sh", "-c", curl[0]], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert answer.startswith("HTTP/1.1 451 ")
        location = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
        assert f"X-MS-Location: {location}" in answer
        lab.process.send_signal(signal.SIGINT)
        assert lab.process.wait(60) == 0
        lab.wait_until_alone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_everything_too(tmp_path: Path, number: signal.Signals) -> None:
    with kept(tmp_path) as lab:
        lab.process.send_signal(number)
        assert lab.process.wait(60) == 0
        lab.wait_until_alone()


def test_a_killed_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    with kept(tmp_path) as lab:
        lab.process.kill()
        lab.process.wait(60)
        lab.wait_until_alone()


def test_the_lab_ends_when_its_mitmdump_does(tmp_path: Path) -> None:
    with kept(tmp_path) as lab:
        for pid in lab.others():
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(word.endswith(b"mitmdump") for word in command[:2]):
                os.kill(pid, signal.SIGKILL)
        assert lab.process.wait(60) == 3
        assert "mitmdump has ended" in (tmp_path / "talk.txt").read_text("utf-8")
        lab.wait_until_alone()


def test_ctrl_c_while_it_starts_ends_everything(tmp_path: Path) -> None:
    command = [*LAB, "--work", str(tmp_path / "work"), "--certs", str(tmp_path / "certs")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b"where mailboxes moved to" in line:  # mitmdump is next
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert processes_that_name(str(tmp_path)) == []


def test_two_labs_in_one_directory_are_one_too_many(tmp_path: Path) -> None:
    with kept(tmp_path):
        second = run(tmp_path)
        assert second.returncode == 2
        assert "Another lab runs in" in second.stderr
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize("directory", ["work", "certs"])
def test_a_directory_that_cannot_be_is_one_message(tmp_path: Path, directory: str) -> None:
    (tmp_path / directory).write_text("a file")
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert f"--{directory}" in done.stderr.splitlines()[-1]


def test_an_address_that_is_not_ours_is_one_message(tmp_path: Path) -> None:
    done = run(tmp_path, "--listen", "203.0.113.77")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
    assert "203.0.113.77" in done.stderr


def test_a_port_that_is_taken_is_one_message(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    with kept(first) as lab:
        done = run(tmp_path / "second", "--port", str(lab.port))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "mitmdump" in done.stderr


def test_further_names_are_in_the_certificate(tmp_path: Path) -> None:
    done = run(tmp_path, "--name", "eas.fabrikam.example")
    assert done.returncode == 0
    text = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "certs" / "lab-front.pem"), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:eas.fabrikam.example" in text


def test_a_proxy_that_does_not_redirect_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observing = runner.CONFIG.replace('mode = "enforce"', 'mode = "observe"')
    monkeypatch.setattr(runner, "CONFIG", observing)
    settings = runner.LabSettings(
        work=tmp_path / "work",
        certificates=tmp_path / "certs",
        personas=[ROWS["anna"], ROWS["jana"]],
    )
    with runner.Lab(settings, lambda _: None) as lab:
        anna, jana = lab.walk()
    assert "the device got 200, expected 451" in anna.problems
    assert jana.problems == ()
