"""Places for the journal and the log that take nothing, while phones call: none of them notices.

Every way to run the proxy; its output is a pipe whose reader stalls and goes, a full device, a
small disk, nothing at all.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.chaos import DEVICES, Fault, Load, Survey, exchange, suffer, table
from tests.integration.mitmdump import SHIM
from tests.integration.processes import free_port
from tests.integration.running import PROGRAM, run, wait_until
from tests.integration.test_chaos import nothing, small_disk
from tests.support import DATA

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="pipes and /dev/full as Linux has them"),
]

CONFIG = f"""\
mode = "enforce"
[directory]
snapshot = "{DATA / "migration.ldif"}"
[exchange]
default_domain = "CONTOSO"
[proxy]
stop_timeout_s = 3
[journal]
path = "-"
"""
WAYS = pytest.mark.parametrize("way", ["script", "run", "workers", "stock"])
# One of the others is not in the file; the other's 403 counts only once Exchange is known to
# ask for a logon.
PHONES = [device for device in DEVICES if device.name not in ("moved-bare", "weak")]
START_S, STOP_S = 60.0, 20.0


def command(way: str, upstream: int, port: int, config: Path) -> list[str]:
    listen = ["--listen-host", "127.0.0.1", "--listen-port", str(port)]
    if way == "script":
        program = str(Path(sys.executable).with_name("mitmdump"))
        mode = ["--mode", f"reverse:http://127.0.0.1:{upstream}"]
        script = ["-s", str(SHIM), "--set", f"eas_config={config}"]
        return [program, *mode, *listen, *script, "--set", f"confdir={config.parent}"]
    further = {"workers": ["--workers", "2"], "stock": ["--stock"]}.get(way, [])
    words = ["--config", str(config), "--upstream", f"http://127.0.0.1:{upstream}"]
    return [
        *(*PROGRAM, "run", *words, "--listen", f"127.0.0.1:{port}", *further),
        *("--", "--set", f"confdir={config.parent}"),
    ]


@contextmanager
def proxy(
    way: str, upstream: int, directory: Path, *, shell: str, config: str = CONFIG
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A proxy whose standard streams are led by `shell` (`exec "$@"` with its redirections)."""
    path, port = directory / "eas-redirect.toml", free_port()
    path.write_text(config, "utf-8")
    words = command(way, upstream, port, path)
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", *words], env={**os.environ, "PYTHONUNBUFFERED": ""}
    )
    try:
        wait_until(lambda: accepts(port, process), "the proxy listens", START_S)
        yield port, process
    finally:
        process.kill()
        process.wait()


def accepts(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "the proxy ended"
    with socket.create_connection(("127.0.0.1", port), 5):
        return True


def ended(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(STOP_S)


def assert_borne(surveys: list[Survey], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table(surveys)}")  # noqa: T201 - what this test is run for
    for survey in surveys:
        seen = f"{survey.fault.name}: {dict(survey.details)}"
        assert not {"changed", "redirected", "passed"} & set(+survey.kinds), seen
        assert survey.lost == 0, seen
        assert survey.normal_s is not None, seen
        assert survey.sent >= len(PHONES)


class Reader:
    """Whoever reads a pipe and keeps it in a file: a process that can stall, go and come back."""

    def __init__(self, directory: Path) -> None:
        self.pipe, self.kept = directory / "pipe", directory / "kept"
        os.mkfifo(self.pipe)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Waits for a writer; then every line is in the file before the next is read.
        words = ["sh", "-c", 'exec cat "$1" >>"$2"', "sh", str(self.pipe), str(self.kept)]
        self._process = subprocess.Popen(words)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def lines(self) -> list[dict[str, object]]:
        """The journal's lines; the log's own are beside them."""
        text = self.kept.read_text("utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@WAYS
def test_a_reader_that_stalls_and_goes_is_noticed_by_no_phone(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log and the journal share one pipe, as under a container's engine."""
    reader = Reader(tmp_path)
    faults = [
        Fault(name="none", begin=nothing, mend=nothing, lasts_s=0.5),
        Fault(
            name="the reader stalls",
            begin=lambda: reader.send(signal.SIGSTOP),
            mend=lambda: reader.send(signal.SIGCONT),
            lasts_s=3,
        ),
        Fault(name="the reader is gone", begin=reader.kill, mend=reader.start, lasts_s=3),
    ]
    reader.start()
    shell = f'exec "$@" >{reader.pipe} 2>&1'
    try:
        with (
            exchange(tmp_path / "exchange") as (upstream, _),
            proxy(way, upstream, tmp_path, shell=shell) as (port, process),
        ):
            with Load(port, PHONES) as load:
                surveys = [suffer(load, fault, settle_s=10) for fault in faults]
            sent = len([seen for seen in load.since(0) if seen.device != "owa"])
            assert ended(process) == 0
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(exchanges(reader)) >= sent * 0.99, "the lines that waited", 10)
    finally:
        reader.kill()
    assert_borne(surveys, capsys)
    # What the reader had taken when it was killed went with it: 64 KiB at most.
    assert sent - 100 <= len(exchanges(reader)) <= sent


def exchanges(reader: Reader) -> list[dict[str, object]]:
    kinds = {"eas.exchange", "eas.redirect"}
    events = [line["event"] for line in reader.lines]
    return [event for event in events if isinstance(event, dict) and event["action"] in kinds]


NOWHERE = ['exec "$@" >/dev/full 2>&1', 'exec "$@" >{closed} 2>&1', 'exec "$@" <&- >&- 2>&-']


@pytest.mark.parametrize(
    ("way", "shell"),
    [
        *((way, shell) for way in ("run", "workers", "stock") for shell in NOWHERE),
        # Without any standard output mitmdump itself does not start.
        *(("script", shell) for shell in NOWHERE[:2]),
    ],
)
def test_nothing_that_is_printed_can_be_written(way: str, shell: str, tmp_path: Path) -> None:
    config = CONFIG
    if ">&-" in shell:
        config = config.replace('"-"', f'"{tmp_path / "journal.jsonl"}"')
    closed = Reader(tmp_path)
    if "closed" in shell:
        closed.start()
    with (
        exchange(tmp_path / "exchange") as (upstream, _),
        proxy(way, upstream, tmp_path, shell=shell.format(closed=closed.pipe), config=config) as (
            port,
            process,
        ),
    ):
        closed.kill()  # before the first line that needs it
        with Load(port, PHONES) as load:
            survey = suffer(load, Fault(name="none", begin=nothing, mend=nothing, lasts_s=1))
        assert process.poll() is None
        assert ended(process) == 0
    assert set(+survey.kinds) == {"right"}, dict(survey.details)


def test_a_log_on_a_full_disk_ends_no_worker_and_comes_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        small_disk(tmp_path / "disk", 256 * 1024) as disk,
        exchange(tmp_path / "exchange") as (upstream, _),
    ):
        if not disk.is_mount():
            pytest.skip("needs root, to mount a small disk")
        log, filler = disk / "log", disk / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1024))

        shell = f'exec "$@" >>{log} 2>&1'
        config = CONFIG.replace('"-"', f'"{tmp_path / "journal.jsonl"}"')
        with proxy("workers", upstream, tmp_path, shell=shell, config=config) as (port, process):
            wait_until(lambda: log.read_text().count("listening at") == 2, "both workers")

            def fill_and_break() -> None:
                fill()
                text = (tmp_path / "eas-redirect.toml").read_text()
                (tmp_path / "eas-redirect.toml").write_text(text + "[nonsense]\n")

            fault = Fault(
                name="the log's disk is full", begin=fill_and_break, mend=filler.unlink, lasts_s=4
            )
            with Load(port, PHONES) as load:
                survey = suffer(load, fault)
                wait_until(lambda: log.read_text().count("nonsense") >= 2, "lines that waited", 10)
            assert ended(process) == 0
    assert_borne([survey], capsys)


def test_a_journals_folder_that_vanished_loses_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    folder.mkdir()
    options = {"eas_journal": str(folder / "journal.jsonl")}
    with (
        exchange(tmp_path / "exchange") as (upstream, _),
        run(
            tmp_path / "proxy", f"http://127.0.0.1:{upstream}", head=CONFIG, options=options
        ) as proxy,
    ):
        with Load(proxy.port, PHONES) as load:
            suffer(load, Fault(name="none", begin=nothing, mend=nothing, lasts_s=0.5))
            shutil.rmtree(folder)
            gone = time.monotonic()
            suffer(load, Fault(name="no folder", begin=nothing, mend=nothing, lasts_s=1))
            wait_until(lambda: "cannot be written" in proxy.log, "the log says so")
            folder.mkdir()
        sent = [seen for seen in load.since(gone) if seen.device != "owa"]
        wait_until(
            lambda: len((folder / "journal.jsonl").read_text().splitlines()) >= len(sent),
            "the lines that waited",
        )
        assert proxy.samples()["eas_journal_lost_lines_total"] == 0
        assert {seen.kind for seen in sent} == {"right"}


@WAYS
def test_a_stop_does_not_wait_for_a_reader_that_stalls(way: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.start()
    shell = f'exec "$@" >{reader.pipe} 2>&1'
    try:
        with (
            exchange(tmp_path / "exchange") as (upstream, _),
            proxy(way, upstream, tmp_path, shell=shell) as (port, process),
        ):
            reader.send(signal.SIGSTOP)
            with Load(port, PHONES) as load:
                suffer(load, Fault(name="none", begin=nothing, mend=nothing, lasts_s=1))
                wait_until(lambda: len(load.since(0)) > 200, "more than a pipe holds")
            began = time.monotonic()
            assert ended(process) == 0
            assert time.monotonic() - began < 12, "3 s for the exchanges, and as much for lines"
    finally:
        reader.kill()
