"""Server processes for tests: started, hung, killed, and always ended, by their own pid."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

_FIRST_PORT = 15_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = "127.0.0.1") -> int:
    """A port for a server that is started next.

    Below those that the system gives to outgoing connections: one of these could take a port of
    its own range in the moment between this probe and the server's start.
    """
    text = _EPHEMERAL.read_text("ascii").split() if _EPHEMERAL.exists() else ["32768"]
    for _ in range(200):
        port = random.randrange(_FIRST_PORT, max(_FIRST_PORT + 1000, int(text[0])))  # noqa: S311
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise RuntimeError("no free port")


class ServerProcess:
    """A program that is up when it accepts connections on all of its addresses."""

    def __init__(self, command: list[str], addresses: list[tuple[str, int]], log: Path) -> None:
        self._command = command
        self._addresses = addresses
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up = time.monotonic() + timeout_s
        for address in self._addresses:
            while not _accepts(address):
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.kill()
                    text = self._log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self._command[0]} does not come up: {text}")
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def pause(self) -> None:
        """It hangs: connections are accepted by the kernel, and nothing answers."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # every thread of it has stopped now

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """It crashes. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True
