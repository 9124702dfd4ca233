"""The short form of `make fuzz`, and the fuzzer itself: it must find what is there to be found."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.__main__ import main
from tests.fuzz.fuzzer import failure, fuzz
from tests.fuzz.target import Check, Target

SEED = 20080112
INPUTS = 1500
SECONDS = 5.0
NAMES = list(targets.load())


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_breaks_nothing(name: str) -> None:
    chosen = targets.load()[name]
    corpus = chosen.corpus()
    assert corpus
    for data in corpus:
        for memory in (True, False):
            found = failure(chosen, data, memory=memory)
            assert found is None, found.trace


@pytest.mark.parametrize("name", NAMES)
def test_a_short_run_finds_nothing(name: str) -> None:
    run = fuzz(targets.load()[name], SEED, seconds=SECONDS, inputs=INPUTS)
    assert run.inputs >= 1
    assert not run.findings, next(iter(run.findings.values())).trace


@pytest.mark.parametrize("name", NAMES)
def test_each_target_says_what_must_hold(name: str) -> None:
    assert len(targets.load()[name].invariant) > 20


def planted(check: Check) -> Target:
    return Target(
        name="planted",
        invariant="",
        check=check,
        seeds=lambda: [b"plain text"],
        tokens=(b"KEY",),
        max_size=65536,
        per_byte_us=1.0,
        per_byte=16,
        base_us=50_000.0,
    )


def key_is_refused(data: bytes) -> None:
    assert b"KEY!" not in data


def quadratic(data: bytes) -> None:
    for _ in data:
        data.count(b"\0\1")


def keeps_much(data: bytes) -> list[int]:
    return list(range(1000 * len(data)))


def test_a_planted_mistake_is_found_and_shrunk() -> None:
    run = fuzz(planted(key_is_refused), SEED, inputs=20_000)
    assert [found.data for found in run.findings.values()] == [b"KEY!"]


def test_an_input_that_takes_too_long_is_a_finding() -> None:
    found = failure(planted(quadratic), b"\0" * 20_000, memory=False)
    assert found is not None
    assert found.error == "SlowError"


def test_an_input_that_takes_too_much_memory_is_a_finding() -> None:
    found = failure(planted(keeps_much), b"\0" * 2_000)
    assert found is not None
    assert found.error == "BigError"


def test_the_same_seed_gives_the_same_inputs() -> None:
    assert inputs_of(SEED) == inputs_of(SEED) != inputs_of(SEED + 1)


def inputs_of(seed: int) -> list[bytes]:
    seen: list[bytes] = []
    fuzz(planted(seen.append), seed, inputs=200)
    return seen


def test_findings_are_saved_replayed_and_told_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.targets.TARGETS", {"planted": planted(key_is_refused)})
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    assert main(["--minutes", "0.05", "--findings", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    replay = re.search(r"make fuzz REPLAY=(\S+)", shown)
    assert replay
    assert main(["--replay", replay[1]]) == 1
    assert "AssertionError" in capsys.readouterr().out
    Path(replay[1]).write_bytes(b"harmless")
    assert main(["--replay", replay[1]]) == 0


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "nothing"]) == 2
    assert "nothing; there are wbxml" in capsys.readouterr().out


def test_ctrl_c_ends_it_with_a_summary() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "5", "--target", "logon"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "stopped" in rest
    assert "1 targets, 0 findings" in rest.replace("0 of 1", "1")
    assert process.returncode == 0
