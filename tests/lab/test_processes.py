"""A guarded child ends with the lab, by itself, when told to, and even when it does not want to."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eas_redirect.lab.processes import ChildProcess, NotStartedError

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
KILLED = -signal.SIGKILL % 256  # a guard's exit code is its child's, as a shell sees it
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


def child(tmp_path: Path, program: str) -> ChildProcess:
    return ChildProcess("it", [sys.executable, "-c", program], tmp_path / "log")


def state(child: ChildProcess) -> str:
    return "ended" if child.ended else "running"


def wait_until_ended(child: ChildProcess) -> None:
    deadline = time.monotonic() + 30
    while not child.ended:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_its_output_tells_when_it_is_ready(tmp_path: Path) -> None:
    with child(tmp_path, SLEEPER) as started:
        assert started.wait_for("read(y)")[1] == "y"
        assert state(started) == "running"
    assert state(started) == "ended"
    started.stop()  # again: nothing happens


def test_one_that_ends_while_starting_says_what_it_wrote(tmp_path: Path) -> None:
    with (
        child(tmp_path, "print('no port'); raise SystemExit(3)") as started,
        pytest.raises(NotStartedError, match="no port"),
    ):
        started.wait_for("ready")


def test_one_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    with child(tmp_path, SLEEPER) as started, pytest.raises(NotStartedError, match="not ready"):
        started.wait_for("something else", timeout_s=0.1)


def test_one_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    with child(tmp_path, "pass") as started:
        wait_until_ended(started)


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "guard.py"
    program.write_text(
        "import sys\nfrom eas_redirect.lab import processes\nprocesses.GRACE_S = 0.2\n"
        "sys.exit(processes.guard(sys.argv[1:]))\n"
    )
    guard = subprocess.Popen(
        [sys.executable, str(program), sys.executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert guard.stdin
    assert guard.stdout
    assert guard.stdout.readline() == b"ready\n"
    guard.stdin.close()
    assert guard.wait(30) == KILLED
    guard.stdout.close()


def test_a_guard_that_is_told_to_end_ends_its_child(tmp_path: Path) -> None:
    with child(tmp_path, SLEEPER) as started:
        started.wait_for("ready")
        started._process.terminate()
        wait_until_ended(started)
