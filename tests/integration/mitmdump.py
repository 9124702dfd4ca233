"""A real mitmdump with the addon, on a free loopback port, for as long as a `with` block lasts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.usage import usage
from tests.integration.processes import free_port
from tests.support import ROOT

SHIM = ROOT / "addon" / "redirect.py"
START_S = 60  # starting takes 2 s; a machine that does much else takes longer
LISTENING = re.compile(r"listening at \[?[\w.:*]+?\]?:(\d+)")
QUIET_S = 0.3  # many times what the journal's writer waits for more lines
PORT_IN_USE = 3  # tries, when a quiet mitmdump finds its port taken


class NotStartedError(AssertionError):
    """mitmdump ended or stayed silent instead of listening; the message holds its log."""


@dataclass
class Mitmdump:
    """One running mitmdump. `directory` holds its log, its confdir and its journal."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path

    @property
    def log(self) -> str:
        """Everything that it has printed."""
        return (self.directory / "mitmdump.log").read_text("utf-8", "replace")

    @property
    def journal(self) -> list[dict[str, object]]:
        """The lines of the journal so far; see `exchanges` for those of a kind."""
        path = self.directory / "journal.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def exchanges(self, count: int, timeout_s: float = 15) -> list[dict[str, object]]:
        """The journal's EAS exchanges, after waiting until there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [line for line in self.journal if _is_exchange(line)]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def settled(self) -> int:
        """How many EAS exchanges the journal has, when no more come: it is written on the side."""
        count, since = len(self.exchanges(0)), time.monotonic()
        while time.monotonic() < since + QUIET_S:
            time.sleep(0.05)
            if (again := len(self.exchanges(0))) != count:
                count, since = again, time.monotonic()
        return count

    def wait_for_log(self, text: str, timeout_s: float = 15) -> None:
        """Until the log says `text`; an assertion with the log when it does not."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.log}"
            time.sleep(0.02)

    def resident_kib(self) -> int:
        """The process's resident memory now (Linux)."""
        return usage(self.process.pid).resident_bytes // 1024

    def descriptors(self) -> int:
        """How many file descriptors it holds (Linux)."""
        return usage(self.process.pid).descriptors

    def stop(self, timeout_s: float = 20) -> int:
        """End it as a service manager would; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@contextmanager
def mitmdump(
    directory: Path,
    mode: str,
    *,
    config: str | None = None,
    options: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    addon: bool = True,
    quiet: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Mitmdump]:
    """A mitmdump that listens. `mode` is mitmproxy's, such as `reverse:http://127.0.0.1:8080`.

    `config` is the text of an eas-redirect.toml; the journal goes to `directory` unless `options`
    (for `--set`) say otherwise. `quiet` keeps the log to warnings: for figures.
    """
    directory.mkdir(parents=True, exist_ok=True)
    given = {
        "confdir": str(directory / "confdir"),
        **(_addon_options(directory, config) if addon else {}),
    }
    given |= dict(options or {})
    words = [*(("-s", str(SHIM)) if addon else ()), *arguments]
    running = _start(directory, mode, given, words, quiet=quiet, environment=environment)
    try:
        yield running
    finally:
        running.stop()


def _addon_options(directory: Path, config: str | None) -> dict[str, str]:
    options = {"eas_journal": str(directory / "journal.jsonl")}
    if config is not None:
        path = directory / "eas-redirect.toml"
        path.write_text(config, "utf-8")
        options["eas_config"] = str(path)
    return options


def _start(
    directory: Path,
    mode: str,
    options: Mapping[str, str],
    words: Sequence[str],
    *,
    quiet: bool,
    environment: Mapping[str, str] | None,
) -> Mitmdump:
    program = Path(sys.executable).with_name("mitmdump")
    if quiet:
        options = {**options, "termlog_verbosity": "warn"}
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    for attempt in range(PORT_IN_USE):
        port = free_port() if quiet else 0
        listen = ["--mode", mode, "--listen-host", "127.0.0.1", "--listen-port", str(port)]
        with (directory / "mitmdump.log").open("wb") as log:
            process = subprocess.Popen(
                [str(program), *listen, *settings, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        running = Mitmdump(process, port, directory)
        try:
            running.port = _wait_until_it_listens(running)
        except NotStartedError as error:
            running.stop()
            if "address already in use" not in str(error).lower() or attempt + 1 == PORT_IN_USE:
                raise
        else:
            return running
    raise AssertionError("unreachable")


def _wait_until_it_listens(running: Mitmdump) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise NotStartedError(f"exit {running.process.returncode}:\n{running.log}")
        if running.port and _accepts(running.port):
            return running.port
        if not running.port and (found := LISTENING.search(running.log)):
            return int(found[1])
        time.sleep(0.05)
    raise NotStartedError(f"silent for {START_S} s:\n{running.log}")


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_exchange(line: Mapping[str, object]) -> bool:
    event = line.get("event")
    action = event.get("action") if isinstance(event, dict) else None
    return action in ("eas.exchange", "eas.redirect", "eas.would_redirect", "eas.autodiscover")
