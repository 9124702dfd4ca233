"""Output that cannot be written, or that nobody reads on: one sentence or none, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full as Linux has it")
COMMAND = (sys.executable, "-m", "eas_redirect")


@pytest.mark.parametrize("words", ["--help", "--version", "script"])
def test_a_full_disk_is_said(words: str) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([*COMMAND, words], stdout=full, stderr=subprocess.PIPE, check=False)
    said = b"The output cannot be written: No space left on device.\n"
    assert (ran.returncode, ran.stderr) == (2, said)


def test_a_reader_that_has_gone_is_no_fault() -> None:
    with subprocess.Popen(
        [*COMMAND, "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        ran.stdout.close()
        assert ran.stderr.read() == b""
    assert ran.returncode in (0, 1)


def test_no_standard_output_at_all() -> None:
    words = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "--version"]
    ran = subprocess.run(words, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
