"""`eas-redirect run` as a process of its own, with its log, journal and pages."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.usage import children
from tests.integration.processes import free_port
from tests.support import DATA

PROGRAM = (str(Path(sys.executable).with_name("eas-redirect")),)
WAIT_S = 60  # everything here takes a second or two; a machine that does much else takes longer
LISTENING = re.compile(r"listening at \[?[\w.:*]+?\]?:(\d+)")
PAGES = re.compile(r"status page at 127\.0\.0\.1:(\d+)")


@dataclass
class Running:
    """A running proxy. `port` takes phones, `pages` is the port of the metrics."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int = 0
    pages: int = 0

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    @property
    def journal(self) -> list[dict[str, object]]:
        """Every line of the journal; a torn line fails here."""
        path = self.directory / "journal.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def exchanges(self) -> int:
        lines = [line.get("event") for line in self.journal]
        return sum(isinstance(e, dict) and e.get("action") == "eas.exchange" for e in lines)

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.pages}{path}", timeout=20
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def samples(self) -> dict[str, float]:
        """Sums over the label sets of each sample."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.page("/metrics")[1]):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    def children(self) -> list[int]:
        """The worker processes (Linux)."""
        return children(self.process.pid)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = WAIT_S) -> int:
        """Its exit code after a SIGTERM, or after whatever was sent before."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def wait_until(condition: object, what: str, timeout_s: float = WAIT_S) -> None:
    """Poll a function until it is true."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def begun(proxy: Running) -> None:
    """Until it serves, be it ready or not: for a `run` that need not become so."""
    wait_until(lambda: PAGES.search(proxy.log) and LISTENING.search(proxy.log), "the start")
    port, pages = LISTENING.search(proxy.log), PAGES.search(proxy.log)
    assert port is not None
    assert pages is not None
    proxy.port, proxy.pages = int(port[1]), int(pages[1])
    wait_until(lambda: "serving" in proxy.page("/ready")[1], "the workers")


@contextmanager
def run(
    directory: Path,
    upstream: str,
    *arguments: str,
    config: str = "",
    config_file: Path | None = None,
    snapshot: Path | None = None,
    head: str | None = None,
    options: Mapping[str, str] | None = None,
    ready: bool = True,
    program: Sequence[str] = PROGRAM,
) -> Iterator[Running]:
    """`eas-redirect run` on free ports of loopback. `head` begins the configuration: without it, a
    snapshot is the directory. `config_file` is used as it is, in place of all that."""
    directory.mkdir(parents=True, exist_ok=True)
    path = config_file or write_config(directory, config, snapshot=snapshot, head=head)
    further = {
        "confdir": str(directory / "confdir"),
        "eas_journal": str(directory / "journal.jsonl"),
        **(options or {}),
    }
    words: Sequence[str] = [
        *("--config", str(path), "--upstream", upstream, "--listen", "127.0.0.1:0"),
        *arguments,
        *(() if "--" in arguments else ("--",)),
        *(word for name, value in further.items() for word in ("--set", f"{name}={value}")),
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, "run", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    running = Running(process, directory)
    try:
        if ready:
            _wait_until_it_serves(running)
        yield running
    finally:
        running.end()


def write_config(
    directory: Path, further: str = "", *, snapshot: Path | None = None, head: str | None = None
) -> Path:
    path = directory / "eas-redirect.toml"
    head = (
        head
        or f'mode = "enforce"\n[directory]\nsnapshot = "{snapshot or DATA / "migration.ldif"}"\n'
    )
    path.write_text(f'{head}[metrics]\nlisten = "127.0.0.1:{free_port()}"\n{further}', "utf-8")
    return path


def _wait_until_it_serves(running: Running) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.log
        port, pages = LISTENING.search(running.log), PAGES.search(running.log)
        if port and pages:
            running.port, running.pages = int(port[1]), int(pages[1])
            with contextlib.suppress(OSError):
                if running.page("/ready")[0] == 200:
                    return
        time.sleep(0.05)
    raise AssertionError(f"not ready within {WAIT_S} s:\n{running.log}")
