"""Child processes that never outlive the lab, however the lab ends; mitmdump is one of them.

Each child runs under a guard: a small Python process that reads a pipe from the lab. When the lab
ends, even by SIGKILL, the pipe closes and the guard ends the child. Children are in a session of
their own, so that Ctrl-C reaches the lab alone, which ends them in order.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eas_redirect import shim

GRACE_S = 5.0


class NotStartedError(Exception):
    """A process did not start; the message holds its output."""


class ChildProcess:
    """A guarded process whose output goes to `log`: `with Child("mitmdump", […], log) as child:`"""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "eas_redirect.lab.processes", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> re.Match[str]:
        """Wait until its output matches; NotStartedError if it ends or stays silent."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ended = self.ended
            if found := re.search(pattern, self.output()):
                return found
            if ended:
                raise NotStartedError(f"{self.name} ended while starting:\n{self.output().strip()}")
            time.sleep(0.02)
        raise NotStartedError(
            f"{self.name} was not ready after {timeout_s:.0f} s:\n{self.output()}"
        )

    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """Stop it; the guard kills what does not end in time. Idempotent."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def guard(command: Sequence[str]) -> int:
    """Run a command until it ends or standard input closes; its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=_end_with_the_lab, args=(process,), daemon=True).start()
    return process.wait()


def _end_with_the_lab(process: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # Returns when the other end of the pipe is closed, and with it the lab.
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyProcess:
    """A running mitmdump and the address that it listens on."""

    child: ChildProcess
    address: tuple[str, int]


def shim_path() -> Path:
    """The shim, or NotStartedError."""
    found = shim.find_shim()
    if found is None:
        raise NotStartedError("redirect.py is missing beside the package.")
    return found


def mitmdump() -> str:
    """The mitmdump of this Python, else the one on PATH."""
    own = Path(sys.executable).with_name("mitmdump")
    found = str(own) if own.is_file() else shutil.which("mitmdump")
    if found is None:
        raise NotStartedError("mitmdump was not found beside this Python or on PATH.")
    return found


def start_proxy(
    config: Path,
    log: Path,
    *,
    mode: str,
    confdir: Path,
    certificates: Sequence[str] = (),
    upstream_ca: Path,
    listen: tuple[str, int],
    old_phones: bool = False,
) -> ProxyProcess:
    """mitmdump with the shim; returns once it listens. `certificates` are `--certs` values,
    `old_phones` speak TLS 1.0 at most."""
    settings = {
        "eas_config": str(config),
        "confdir": str(confdir),
        "ssl_verify_upstream_trusted_ca": str(upstream_ca),
        "listen_host": listen[0],
        "listen_port": str(listen[1]),
        "flow_detail": "0",
        **({"tls_version_client_min": "TLS1"} if old_phones else {}),
    }
    command = [mitmdump(), "-s", str(shim_path()), "--mode", mode]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    for certificate in certificates:
        command += ["--certs", certificate]
    child = ChildProcess("mitmdump", command, log)
    try:
        listening = child.wait_for(r"listening at .*:(\d+)")
    except BaseException:
        child.stop()
        raise
    return ProxyProcess(child=child, address=(listen[0], int(listening[1])))


def free_port(host: str) -> int:
    """A port that is free now, for a program that must be told its port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def start_judge(config: Path, log: Path) -> ChildProcess:
    """`eas-redirect judge`; returns once it judges."""
    words = [sys.executable, "-m", "eas_redirect", "judge", "--config", str(config)]
    return _started(ChildProcess("eas-redirect judge", words, log), "judging at")


def start_haproxy(config: Path, folder: Path, log: Path) -> ChildProcess:
    """With the files of `eas-redirect haproxy`; its own lines about exchanges go to `log`."""
    program = shutil.which(
        "haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )
    if program is None:
        raise NotStartedError("haproxy was not found on PATH: apt-get install haproxy")
    words = [
        *(sys.executable, "-m", "eas_redirect", "haproxy", "--config", str(config)),
        *("-o", str(folder), "--admin-socket", str(folder.resolve() / "admin.sock")),
    ]
    written = subprocess.run(words, capture_output=True, text=True, check=False)
    if written.returncode:
        raise NotStartedError(f"eas-redirect haproxy: {written.stderr.strip()}")
    child = ChildProcess("haproxy", [program, "-W", "-f", str(folder / "haproxy.cfg")], log)
    return _started(child, "Loading success")


def _started(child: ChildProcess, said: str) -> ChildProcess:
    try:
        child.wait_for(said)
    except BaseException:
        child.stop()
        raise
    return child


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
