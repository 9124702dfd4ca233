"""A real HAProxy with a real judge beside it, both by the files and commands that users have."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.mitmdump import _is_exchange
from tests.integration.processes import free_port
from tests.integration.running import wait_until

PROGRAM = str(Path(sys.executable).with_name("eas-redirect"))
START_S = 60


@dataclass
class Carried:
    """`port` takes phones; `directory` holds both logs and both journals."""

    directory: Path
    port: int
    pages: int
    judges: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)  # from 1
    haproxy: subprocess.Popen[bytes] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def judge(self) -> subprocess.Popen[bytes] | None:
        """The first one; most have no other."""
        return self.judges.get(1)

    # -- what they said ----------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the judge printed, and what HAProxy said on standard error."""
        return "".join(
            (self.directory / name).read_text("utf-8", "replace")
            for name in ("judge.log", "judge-2.log", "haproxy.err", "haproxy.log")
            if (self.directory / name).exists()
        )

    @property
    def journal(self) -> list[dict[str, object]]:
        """The judges'."""
        return _lines(self.directory / "journal.jsonl") + _lines(self.directory / "journal-2.jsonl")

    @property
    def unjudged(self) -> list[dict[str, object]]:
        """HAProxy's own lines; it also says there in plain words that it starts and stops."""
        path = self.directory / "haproxy.log"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return list(filter(_is_exchange, (json.loads(t) for t in lines if t.startswith("{"))))

    def exchanges(self, count: int, timeout_s: float = 15) -> list[dict[str, object]]:
        """Those of both journals in the order of their time, after waiting for `count` of them."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [line for line in self.journal if _is_exchange(line)] + self.unjudged
            if len(found) >= count or time.monotonic() > deadline:
                return sorted(found, key=lambda line: str(line["@timestamp"]))
            time.sleep(0.02)

    def show_info(self) -> dict[str, str]:
        said = self.admin("show info")
        return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)

    def admin(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(self.directory / "admin"))
            asking.sendall(command.encode() + b"\n")
            answer = b""
            while more := asking.recv(65536):
                answer += more
        return answer.decode()

    # -- their lives -------------------------------------------------------------------------

    def start_judge(self, which: int = 1) -> None:
        """The second one has a socket, a journal and pages of its own; all else is the same."""
        starts = self.log.count("judging at")
        words, own = [], {}
        if which > 1:
            words = ["--listen", f"unix:{socket_of(self.directory, which)}"]
            own = {
                "EAS_REDIRECT__JOURNAL__PATH": str(self.directory / f"journal-{which}.jsonl"),
                "EAS_REDIRECT__METRICS__LISTEN": f"127.0.0.1:{free_port()}",
            }
        log_name = "judge.log" if which == 1 else f"judge-{which}.log"
        with (self.directory / log_name).open("ab") as log:
            judge = self.judges[which] = subprocess.Popen(
                [PROGRAM, "judge", "--config", str(self.directory / "eas-redirect.toml"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment, **own},
            )
        wait_until(lambda: self._judges(judge, starts), "the judge is ready", START_S)

    def _judges(self, judge: subprocess.Popen[bytes], starts: int) -> bool:
        assert judge.poll() is None, self.log
        return self.log.count("judging at") > starts

    def start_haproxy(self, *, master: bool = False) -> None:
        out = (self.directory / "haproxy.log").open("ab")
        err = (self.directory / "haproxy.err").open("ab")
        with out, err:
            self.haproxy = subprocess.Popen(
                ["haproxy", *(["-W"] if master else ["-db"]), "-f", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        wait_until(self._carries, "HAProxy listens", START_S)

    def _carries(self) -> bool:
        assert self.haproxy is not None
        assert self.haproxy.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def configuration(self) -> Path:
        return self.directory / "haproxy" / "haproxy.cfg"

    def stop_judge(self, number: signal.Signals = signal.SIGTERM, which: int = 1) -> int:
        return _end(self.judges.get(which), number)

    def stop(self) -> None:
        _end(self.haproxy, signal.SIGTERM)
        for judge in self.judges.values():
            _end(judge, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> int:
    if process is None:
        return 0
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def socket_of(directory: Path, which: int = 1) -> Path:
    return directory / ("judge.sock" if which == 1 else f"judge-{which}.sock")


def _lines(path: Path) -> list[dict[str, object]]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def prepared(
    directory: Path,
    upstream: str,
    config: str,
    *words: str,
    proxy: str = "",
    judges: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Carried:
    """Both configurations on free ports, written by the command; nothing is started yet. `config`
    is as for `mitmdump`; `proxy` further keys of its table [proxy]; `judges` how many HAProxy has
    to ask."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Carried(directory, free_port(), free_port(), environment=environment or {})
    servers = [f"unix:{socket_of(directory, which)}" for which in range(1, judges + 1)]
    own = (
        f'[proxy]\nupstream = "{upstream}"\nlisten = "127.0.0.1:{found.port}"\n{proxy}'
        f'[metrics]\nlisten = "127.0.0.1:{found.pages}"\n'
        f'[judge]\nlisten = "{servers[0]}"\nservers = {json.dumps(servers)}\n'
    )
    if "[journal]" not in config:
        own += f'[journal]\npath = "{directory / "journal.jsonl"}"\n'
    (directory / "eas-redirect.toml").write_text(f"{config}\n{own}", "utf-8")
    write_files(found, *words)
    return found


def write_files(found: Carried, *words: str) -> None:
    subprocess.run(
        [
            *(PROGRAM, "haproxy", "--config", str(found.directory / "eas-redirect.toml")),
            *("-o", str(found.directory / "haproxy")),
            *("--admin-socket", str(found.directory / "admin"), "--phones", "500"),
            *words,
        ],
        check=True,
        capture_output=True,
        env={**os.environ, **found.environment},
    )


@contextmanager
def carried(
    directory: Path,
    upstream: str,
    config: str,
    words: Sequence[str] = (),
    *,
    proxy: str = "",
    master: bool = False,
    judge: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Carried]:
    """Both running."""
    running = prepared(directory, upstream, config, *words, proxy=proxy, environment=environment)
    try:
        if judge:
            running.start_judge()
        running.start_haproxy(master=master)
        yield running
    finally:
        running.stop()
