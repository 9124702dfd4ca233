"""`eas-redirect lab --transparent`: the proxy on the phones' way, and nothing left behind.

Needs root, Linux, `ip` and `iptables`.
"""

import json
import re
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from eas_redirect.lab.personas import PERSONAS
from tests.integration.test_lab import kept, run
from tests.support import require, unavailable

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def able() -> None:
    require("ip", "iptables", "nsenter")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        unavailable("no network namespace can be made here (it needs root)")


def marks_on_the_host() -> list[str]:
    """Lines about the lab's addresses, cables and rules in the host's own network: never any."""
    looks = (
        ["ip", "-oneline", "address"],
        ["ip", "route"],
        ["ip", "netns", "list"],
        ["iptables", "-t", "nat", "-S"],
    )
    marks = re.compile(r"203\.0\.113\.|198\.51\.100\.|\bto-\d|--to-ports 8080")
    said = (
        subprocess.run(look, capture_output=True, text=True, check=True).stdout for look in looks
    )
    return [line for text in said for line in text.splitlines() if marks.search(line)]


def namespaces(pids: Iterable[int]) -> set[str]:
    """The network namespaces that processes are in."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # The process has ended.
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found


def every_pid() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def test_everybody_gets_the_same_as_from_a_reverse_proxy_and_arrivals_are_confirmed(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "--transparent", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    people = {person["name"]: person for person in json.loads(done.stdout)["people"]}
    assert set(people) == {persona.name for persona in PERSONAS}
    for persona in PERSONAS:
        followed = persona.expects[-1].reason == "mailbox_moved" and persona.follows
        assert people[persona.name]["device_got"].endswith(", confirmed") is followed
    assert marks_on_the_host() == []


def test_the_journal_says_who_arrived(tmp_path: Path) -> None:
    assert run(tmp_path, "--transparent").returncode == 0
    text = (tmp_path / "work" / "eas-journal.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    confirmed = [line for line in lines if line["eas"].get("redirect", {}).get("confirmed")]
    arrivals = {
        (line["user"]["name"], line["url"]["domain"]) for line in confirmed if "url" in line
    }
    assert ("anna", "outlook.office365.com") in arrivals
    assert ("hana", "mail.fabrikam.example") in arrivals
    assert "ivo" not in {user for user, _ in arrivals}
    assert {line["client"]["address"] for line in lines if "client" in line} == {"203.0.113.2"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_it(tmp_path: Path, number: signal.Signals) -> None:
    with kept(tmp_path, "--transparent") as lab:
        curl = re.search(r"nsenter .*?(?=\n\n)", lab.printed + "\n\n", re.DOTALL)
        assert curl
        answer = subprocess.run(
            ["sh", "-c", curl[0]], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert answer.startswith("HTTP/1.1 451 ")
        page = re.search(r"for phones (http://203\.0\.113\.1:\d+/)", lab.printed)
        assert page
        phone = curl[0].split("curl")[0].split()
        fetched = subprocess.run(
            [*phone, "curl", "--silent", f"{page[1]}lab-ca.pem"], capture_output=True, check=True
        ).stdout
        assert fetched == (tmp_path / "certs" / "lab-ca.pem").read_bytes()
        gate = namespaces(lab.others()) - namespaces([lab.process.pid])
        assert len(gate) == 1  # mitmdump is in a namespace of its own
        assert marks_on_the_host() == []
        lab.process.send_signal(number)
        lab.process.wait(60)
        lab.wait_until_alone()
    assert marks_on_the_host() == []
    assert not gate & namespaces(every_pid())


def test_without_root_it_is_one_message(tmp_path: Path) -> None:
    require("setpriv")
    done = run(
        tmp_path, "--transparent", prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "namespace" in done.stderr.splitlines()[-1]


def test_without_iptables_it_is_one_message(tmp_path: Path) -> None:
    ip = subprocess.run(["which", "ip"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ip").symlink_to(ip)
    done = run(tmp_path, "--transparent", environment={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "lab: iptables is not installed."
