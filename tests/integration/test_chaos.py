"""Load while everything around the proxy breaks, one thing after another.

The invariant: no answer is changed but by the one right redirect, no exchange is lost but those
that the fault itself cut, and when the fault is over everything is as before.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.integration.chaos import (
    DEVICES,
    NO_MAILBOX,
    OK,
    Device,
    Fault,
    Load,
    Survey,
    exchange,
    judge,
    pulses,
    suffer,
    table,
)
from tests.integration.device import LOCATION
from tests.integration.impatient import HUNG_S, PROGRAM
from tests.integration.mitmdump import SHIM
from tests.integration.processes import ServerProcess
from tests.integration.running import Running, run, wait_until
from tests.integration.slapd import Slapd, running_slapd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CONFIG = """\
mode = "enforce"
[directory]
servers = ["{slapd.ldaps_url}"]
ca_file = "{slapd.ca_file}"
bind_user = "{slapd.bind_user}"
password_file = "{slapd.password_file}"
connect_timeout_s = 1
lookup_timeout_s = 2
[exchange]
default_domain = "CONTOSO"
[cache]
found_s = 0.5
not_found_s = 0.5
relationships_s = 1
"""
# A phone has one connection and one exchange on it; it may find both cut.
CUT_BY_A_KILL = 2 * len(DEVICES)
NAMES = ("dc1.contoso.example", "localhost", "127.0.0.1")  # of the certificate of slapd
JOURNAL_ROOM = 64 * 2**20  # bytes, many times what this test's journal takes


@dataclass(frozen=True, slots=True)
class World:
    """Everything that can break."""

    proxy: Running
    slapd: Slapd
    certificate: Path  # slapd's
    exchange: ServerProcess
    journal: Path

    @property
    def config(self) -> Path:
        return self.proxy.directory / "eas-redirect.toml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("chaos")
    authority = LabCertificates(home / "tls")
    with (
        running_slapd(home / "slapd", authority=authority) as slapd,
        exchange(home / "exchange") as (port, server),
        small_disk(home / "disk") as disk,
    ):
        journal = disk / "journal.jsonl"
        with run(
            home / "proxy",
            f"http://127.0.0.1:{port}",
            *("--workers", "2", "--", "-s", str(second_script(home, GOOD))),
            head=CONFIG.format(slapd=slapd),
            options={"eas_journal": str(journal)},
            program=PROGRAM,
        ) as proxy:
            certificate = authority.issue("slapd", NAMES).file
            yield World(proxy, slapd, certificate, server, journal)


GOOD = "def response(flow):\n    flow.metadata['second'] = 'seen'\n"
BROKEN = {
    "fails": "def requestheaders(flow):\n    raise ValueError('broken')\nresponse = {'seen': 0}\n",
    "cannot be read": "def response(flow:\n",
}


def second_script(home: Path, text: str) -> Path:
    """Another script in the same processes; mitmproxy loads it again when it changes."""
    path = home / "second.py"
    path.write_text(text, "utf-8")
    return path


@contextmanager
def small_disk(path: Path, size: int = JOURNAL_ROOM) -> Iterator[Path]:
    """A small file system, where root may mount one; else a directory like any other."""
    path.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
            check=False,
            capture_output=True,
        ).returncode
    )
    try:
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=True)


def faults(world: World) -> Iterator[Fault]:
    """In an order in which each begins from health."""
    directory, server = world.slapd.process, world.exchange
    yield Fault(name="directory killed", begin=directory.kill, mend=directory.start, lasts_s=3)
    yield Fault(name="directory hangs", begin=directory.pause, mend=directory.resume, lasts_s=4)
    yield Fault(
        name="directory slow", begin=lambda: pulses(directory), mend=directory.resume, lasts_s=0
    )
    yield Fault(name="directory bounced", begin=lambda: bounce(directory), mend=nothing, lasts_s=0)
    yield wrong_certificate(world)
    yield Fault(name="Exchange slow", begin=lambda: pulses(server), mend=server.resume, lasts_s=0)
    yield Fault(
        name="Exchange killed", begin=server.kill, mend=server.start, means="no answer",
        cuts=len(DEVICES),
    )  # fmt: skip
    yield full_disk(world)
    yield broken_configuration(world)
    yield from faults_of_scripts(world)
    yield from faults_of_workers(world)


def faults_of_workers(world: World) -> Iterator[Fault]:
    yield Fault(
        name="workers killed, one by one",
        begin=lambda: kill_workers(world),
        mend=nothing,
        lasts_s=0,
        cuts=2 * CUT_BY_A_KILL,
    )
    yield Fault(
        name="all workers killed at once",
        begin=lambda: kill_all_workers(world),
        mend=nothing,
        lasts_s=0,
        means="ConnectionRefusedError",
        cuts=CUT_BY_A_KILL,
    )
    yield Fault(
        name="a worker hangs until it is replaced",
        begin=lambda: hang_a_worker(world),
        mend=nothing,
        lasts_s=0,
        cuts=CUT_BY_A_KILL,
    )


def faults_of_scripts(world: World) -> Iterator[Fault]:
    for kind, text in BROKEN.items():
        yield Fault(
            name=f"a second script {kind}",
            begin=partial(load_second, world, text),
            mend=partial(load_second, world, GOOD),
        )
    yield Fault(name="our script is touched", begin=lambda: loaded_again(world, SHIM), mend=nothing)


def load_second(world: World, text: str) -> None:
    loaded_again(world, second_script(world.proxy.directory.parent, text))


def loaded_again(world: World, script: Path) -> None:
    """By both workers, which look once a second at when it was changed."""
    said = f"Loading script {script}"
    before = world.proxy.log.count(said)
    later = script.stat().st_mtime + 10
    os.utime(script, (later, later))
    wait_until(lambda: world.proxy.log.count(said) >= before + 2, said)


def nothing() -> None:
    """Mended by itself."""


def bounce(process: ServerProcess) -> None:
    for _ in range(3):
        process.kill()
        process.start()


def wrong_certificate(world: World) -> Fault:
    """The directory comes back as somebody whom our CA does not know."""
    good = world.certificate.read_bytes()
    strangers = LabCertificates(world.journal.parent.parent / "strangers").issue("slapd", NAMES)

    def restart(certificate: bytes) -> None:
        world.slapd.process.kill()
        world.certificate.write_bytes(certificate)
        world.slapd.process.start()

    return Fault(
        name="directory with a wrong certificate",
        begin=lambda: restart(strangers.file.read_bytes()),
        mend=lambda: restart(good),
        lasts_s=3,
    )


def full_disk(world: World) -> Fault:
    """The journal's file system has no byte left."""
    filler = world.journal.with_name("filler")

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while file.tell() < JOURNAL_ROOM:
                try:
                    file.write(b"\0" * 4096)
                except OSError:
                    break

    return Fault(name="the journal's disk is full", begin=fill, mend=filler.unlink)


def broken_configuration(world: World) -> Fault:
    """A file that is no configuration, while it is watched: noticed by both workers, as its end."""
    good = world.config.read_text("utf-8")

    def put(text: str, noticed: str) -> None:
        world.config.write_text(text, "utf-8")
        wait_until(lambda: world.proxy.log.count(noticed) == 2, noticed)

    broken = good.replace("[cache]", "[cash]\nfound_s = none")
    return Fault(
        name="configuration broken",
        begin=lambda: put(broken, "the last good configuration goes on"),
        mend=lambda: put(good + "\n", "the configuration is adopted"),
    )


def kill_workers(world: World) -> None:
    """The next one only when another has taken the first one's place."""
    wait_for_all(world)
    for pid in world.proxy.children():
        serving = listening(world)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda before=serving: listening(world) > before, "another worker")


def kill_all_workers(world: World) -> None:
    """Nobody listens until the supervisor has started them again."""
    wait_for_all(world)
    workers = world.proxy.children()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(workers) & set(world.proxy.children()), "their end")


def hang_a_worker(world: World) -> None:
    wait_for_all(world)
    serving = listening(world)
    os.kill(world.proxy.children()[0], signal.SIGSTOP)
    wait_until(lambda: listening(world) > serving, "another worker")


def wait_for_all(world: World) -> None:
    wait_until(lambda: world.proxy.samples().get("eas_workers") == 2, "both workers")


def listening(world: World) -> int:
    """How many processes have begun to listen since the start."""
    return world.proxy.log.count("listening at")


def test_everything_breaks_and_no_answer_is_wrong(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with Load(world.proxy.port) as load:
        none = Fault(name="none", begin=nothing, mend=nothing, lasts_s=0.5)
        surveys: list[Survey] = []
        for fault in (none, *faults(world), none):
            surveys.append(suffer(load, fault))
            if surveys[-1].normal_s is None:
                break  # what comes after that would show nothing, each for half a minute
    with capsys.disabled():
        print(f"\n{table(surveys)}")  # noqa: T201 - what this test is run for
    for survey in surveys:
        assert_is_borne(survey)
    assert_were_felt({survey.fault.name: survey for survey in surveys}, world)
    assert world.proxy.process.poll() is None


def assert_were_felt(surveys: dict[str, Survey], world: World) -> None:
    """Each fault was one: else this test shows nothing."""
    passed = {name: survey.kinds["passed"] for name, survey in surveys.items()}
    assert passed["none"] == 0
    for name in ("killed", "hangs", "with a wrong certificate"):
        assert passed[f"directory {name}"] > 0, name
    for name in ("directory hangs", "Exchange slow"):
        assert surveys[name].slowest_s > 0.25, name
    for name in ("Exchange killed", "all workers killed at once"):
        assert surveys[name].meant > 0, name
    assert surveys["a worker hangs until it is replaced"].slowest_s > HUNG_S
    assert world.proxy.log.count("was ended by SIGKILL; starting it again") == 5
    assert world.proxy.log.count("hangs; ending it") == 1
    if world.journal.parent.is_mount():
        assert "cannot be written" in world.proxy.log, "the full disk was felt"


def assert_is_borne(survey: Survey) -> None:
    seen = f"{survey.fault.name}: {dict(survey.details)}"
    assert survey.kinds["changed"] == 0, seen
    assert survey.kinds["redirected"] == 0, seen
    assert survey.lost == 0, seen
    assert survey.normal_s is not None, f"{survey.fault.name}: not normal again"
    assert survey.sent >= len(DEVICES)


def test_the_journal_is_whole_and_knows_no_other_redirect(world: World) -> None:
    """After all of it: every line is a line of JSON, and only those who moved were redirected."""
    lines = world.journal.read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines if whole(line)]
    assert len(lines) - len(records) <= 2, "a full disk may cut one line a worker"
    redirected = {r["user"]["name"] for r in records if r["event"]["action"] == "eas.redirect"}
    assert redirected == {"anna", "cora"}
    assert {r["event"].get("reason") for r in records} >= {"mailbox_moved", "directory_unavailable"}
    outcomes = [r["event"]["outcome"] for r in records if r["event"]["action"] == "eas.config"]
    assert outcomes == ["failure"] * 2 + ["success"] * 2, "each worker's, after the disk was full"


def whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


MOVED, LOCAL = DEVICES[0], DEVICES[3]


@pytest.mark.parametrize(
    ("device", "status", "location", "body", "kind"),
    [
        (MOVED, 451, LOCATION, b"", "right"),
        (MOVED, 451, "https://evil.example/Microsoft-Server-ActiveSync", b"", "redirected"),
        (MOVED, 451, None, b"", "redirected"),
        (MOVED, 200, None, NO_MAILBOX, "passed"),
        (MOVED, 200, None, OK, "changed"),
        (MOVED, 502, None, b"", "lost"),
        (MOVED, 503, None, b"", "lost"),
        (LOCAL, 451, LOCATION, b"", "redirected"),
        (LOCAL, 200, None, NO_MAILBOX, "right"),
        (LOCAL, 403, None, b"", "changed"),
    ],
)
def test_the_judge_knows_right_from_wrong(
    device: Device, status: int, location: str | None, body: bytes, kind: str
) -> None:
    assert judge(device, status, location, body)[0] == kind
