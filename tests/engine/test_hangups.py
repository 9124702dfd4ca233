"""SIGHUP while a process starts: it waits, and none is lost."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from eas_redirect.engine import hangups
heard = []
hangups.hold()
os.kill(os.getpid(), signal.SIGHUP)      # its default action would end the process
signal.signal(signal.SIGHUP, lambda *_: heard.append("HUP"))
assert heard == []
hangups.release()
os.kill(os.getpid(), 0)                  # a system call, so that Python looks at its signals
print(heard)
"""

HELD = """
import os, signal, subprocess, sys
from eas_redirect.engine import hangups
with hangups.held():
    child = subprocess.Popen([sys.executable, "-c", "import signal;"
        "print(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"])
    assert child.wait() == 0
print(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_one_that_comes_early_arrives_when_somebody_listens() -> None:
    assert run(PROGRAM) == "['HUP']\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_program_that_is_started_inherits_it_and_the_parent_goes_on() -> None:
    assert run(HELD) == "True\nFalse\n"
