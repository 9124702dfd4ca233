"""The start as production has it: with clients already knocking, hangups, and workers that die."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.benchmarks.usage import children
from tests.integration.device import PATH, basic
from tests.integration.mitmdump import SHIM
from tests.integration.processes import free_port
from tests.integration.rawserver import RawServer, answering
from tests.integration.running import PAGES, PROGRAM, WAIT_S, run, wait_until, write_config
from tests.integration.waiting import waiting_exchange
from tests.support import DATA, ROOT

pytestmark = pytest.mark.integration

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = (
    f"POST {PATH}?Cmd=FolderSync&User=bert&DeviceId=D1&DeviceType=Phone HTTP/1.1\r\n"
    f"Host: mail.contoso.example\r\nAuthorization: {basic('bert@contoso.example')}\r\n"
    "MS-ASProtocolVersion: 14.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
).encode()
MITMDUMP = str(Path(sys.executable).with_name("mitmdump"))


@dataclass
class Knocking:
    """Clients that knock without a pause. `early`: refused or cut before the first answer;
    `late`: after it, which none may be."""

    port: int
    tls: bool
    answered: int = 0
    early: int = 0
    late: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def end(self) -> None:
        """Returns when each has its answer."""
        self.stop.set()
        for thread in self.threads:
            thread.join(WAIT_S)

    def knock(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while not self.stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as plain:
                    if not self.tls:
                        self._ask(plain)
                        continue
                    with context.wrap_socket(plain, server_hostname="mail.contoso.example") as tls:
                        self._ask(tls)
            except OSError as error:
                if self.answered:
                    self.late.append(repr(error))
                self.early += 1

    def _ask(self, connection: socket.socket) -> None:
        connection.sendall(REQUEST)
        answer = b""
        while more := connection.recv(4096):
            answer += more
        if answer.startswith(b"HTTP/1.1 200 "):
            self.answered += 1
        else:
            raise OSError(f"not answered but {answer!r}")


@contextmanager
def knocking(port: int, *, tls: bool, clients: int = 6) -> Iterator[Knocking]:
    state = Knocking(port, tls)
    state.threads = [threading.Thread(target=state.knock) for _ in range(clients)]
    for thread in state.threads:
        thread.start()
    try:
        yield state
    finally:
        state.end()


@contextmanager
def exchange(lab: LabCertificates, *, tls: bool) -> Iterator[str]:
    """Its URL."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(lab.issue("ex07", ["mail.contoso.example", "127.0.0.1"]).file)
    with RawServer(answering(ANSWER), context) as server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"


def started(home: Path, way: str, upstream: str, port: int, further: Sequence[str]) -> list[str]:
    """A command line for each way to run the proxy."""
    config = write_config(home)
    if way == "mitmdump":
        return [
            *(MITMDUMP, "--mode", f"reverse:{upstream}", "--listen-host", "127.0.0.1"),
            *("--listen-port", str(port), "-s", str(SHIM), "--set", f"eas_config={config}"),
            *further,
        ]
    return [
        *(*PROGRAM, "run", "--config", str(config), "--upstream", upstream),
        *("--listen", f"127.0.0.1:{port}", *way.split()[1:], "--", *further),
    ]


@contextmanager
def running(
    command: Sequence[str], home: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Its log is `log` in `home`, where mitmproxy keeps what it makes itself, too."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(home), "PYTHONUNBUFFERED": "1", **(environment or {})},
            cwd=home,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def udp_ports() -> set[int]:
    """Of this machine."""
    found: set[int] = set()
    for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")):
        for line in table.read_text("ascii").splitlines()[1:] if table.exists() else ():
            found.add(int(line.split()[1].rpartition(":")[2], 16))
    return found


@pytest.mark.parametrize("kind", ["http", "https", "https, a certificate of mitmproxy's"])
@pytest.mark.parametrize("way", ["mitmdump", "run", "run --workers 2", "run --stock"])
def test_it_comes_up_with_clients_already_knocking(way: str, kind: str, tmp_path: Path) -> None:
    port, tls, lab = free_port(), kind.startswith("https"), LabCertificates(tmp_path / "lab")
    further = ["--set", f"ssl_verify_upstream_trusted_ca={lab.ca_file}"] if tls else []
    if kind == "https":
        issued = lab.issue("mail", ["mail.contoso.example"])
        further += ["--certs", str(issued.file)]
    with exchange(lab, tls=tls) as upstream, knocking(port, tls=tls) as clients:
        command = started(tmp_path, way, upstream, port, further)
        with running(command, tmp_path) as process:
            wait_until(
                lambda: clients.answered > 50 or process.poll() is not None, "answers to knocks"
            )
            log = (tmp_path / "log").read_text("utf-8", "replace")
            assert process.poll() is None, log
            clients.end()
            open_udp = tls and way in ("mitmdump", "run --stock")
            assert (port in udp_ports()) is open_udp
            assert (f"udp dport {port} drop" in log) is open_udp
    assert "Traceback" not in log
    assert clients.late == []


@pytest.mark.parametrize("way", ["run", "run --workers 2"])
def test_a_hangup_at_any_moment_of_the_start_is_harmless(way: str, tmp_path: Path) -> None:
    """To every process of the service, as `systemctl kill --signal=HUP` sends it."""
    port, lab = free_port(), LabCertificates(tmp_path / "lab")
    with exchange(lab, tls=False) as upstream:
        command = started(tmp_path, way, upstream, port, [])
        with running(command, tmp_path) as process, knocking(port, tls=False, clients=1) as client:
            wait_until(lambda: holds_back_hangups(process.pid), "its first steps")
            while process.poll() is None and client.answered < 10:
                for pid in (process.pid, *children(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGHUP)
                time.sleep(0.005)
            log = (tmp_path / "log").read_text("utf-8", "replace")
            assert process.poll() is None, log
            client.end()
    assert "starting it again" not in log
    assert client.late == []


def holds_back_hangups(pid: int) -> bool:
    """Whether SIGHUP is blocked or caught: before, it is the interpreter that starts, not we."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line[:7] in MASKS]
    return any(mask & 1 << (signal.SIGHUP - 1) for mask in masks)


MASKS = ("SigBlk:", "SigCgt:")


def test_a_worker_that_dies_while_it_starts_is_replaced(tmp_path: Path) -> None:
    """Each one of the first two, before anybody has served."""
    port, lab = free_port(), LabCertificates(tmp_path / "lab")
    with exchange(lab, tls=False) as upstream:
        command = started(tmp_path, "run --workers 2", upstream, port, [])
        with running(command, tmp_path) as process, knocking(port, tls=False) as clients:
            wait_until(lambda: len(children(process.pid)) == 2, "the workers")
            for pid in children(process.pid):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: clients.answered > 20 or process.poll() is not None, "answers")
            log = (tmp_path / "log").read_text("utf-8", "replace")
            assert process.poll() is None, log
            clients.end()
    assert log.count("was ended by SIGKILL; starting it again") == 2
    assert clients.late == []


def test_a_script_that_is_touched_goes_on_as_it_was(tmp_path: Path) -> None:
    """Loaded again, it still follows its configuration and serves its pages."""
    script = shutil.copy(SHIM, tmp_path / "redirect.py")
    port, lab = free_port(), LabCertificates(tmp_path / "lab")
    with exchange(lab, tls=False) as upstream, knocking(port, tls=False, clients=2) as clients:
        command = started(tmp_path, "mitmdump", upstream, port, [])
        command[command.index(str(SHIM))] = str(script)
        with running(command, tmp_path) as process:
            log = tmp_path / "log"
            wait_until(lambda: clients.answered > 10, "answers")
            pages = PAGES.search(log.read_text("utf-8"))
            assert pages is not None
            said = "eas-redirect: enforce for everyone"
            for turn in (1, 2):
                before = clients.answered
                os.utime(script, (time.time() + 10 * turn,) * 2)
                wait_until(lambda turn=turn: log.read_text().count(said) > turn, "the reload")
                wait_until(lambda before=before: clients.answered > before + 10, "answers")
            config = tmp_path / "eas-redirect.toml"
            config.write_text(config.read_text("utf-8").replace("enforce", "observe"), "utf-8")
            wait_until(lambda: "is adopted" in log.read_text("utf-8"), "the change")
            with socket.create_connection(("127.0.0.1", int(pages[1])), WAIT_S) as page:
                page.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
                assert page.recv(4096).startswith(b"HTTP/1.1 200 ")
            assert process.poll() is None
            clients.end()
    assert clients.late == []


def test_out_of_descriptors_is_a_line_and_no_fault(tmp_path: Path) -> None:
    """More phones than descriptors, none of which has called before: nothing fails but what waits
    for a descriptor, and the log stays readable."""
    program = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *PROGRAM)
    with (
        waiting_exchange() as legacy,
        run(tmp_path, legacy.url, program=program) as proxy,
        contextlib.ExitStack() as phones,
    ):
        for _ in range(120):
            phone = phones.enter_context(
                socket.create_connection(("127.0.0.1", proxy.port), WAIT_S)
            )
            phone.sendall(REQUEST.replace(b"Cmd=FolderSync", b"Cmd=Ping"))
        wait_until(lambda: "no descriptor is left" in proxy.log, "the line")
        time.sleep(2)  # asyncio tries again each second, for every connection that waits
        phones.close()
        wait_until(lambda: proxy.page("/health")[0] == 200, "it goes on")
        log = proxy.log
    assert log.count("no descriptor is left") == 1
    assert "Traceback" not in log
    assert "internal error" not in log
    assert len(log) < 100_000


def test_the_shipped_unit_starts_with_its_environment_over_https(tmp_path: Path) -> None:
    """ExecStart and the environment file as they are shipped but for names, paths and the port,
    with what `init` writes: two workers in front of an https server, clients already knocking."""
    port, lab = free_port(), LabCertificates(tmp_path / "lab")
    shutil.copy(lab.issue("mail", ["mail.contoso.example"]).file, tmp_path / "mail.pem")
    shutil.copy(DATA / "migration.ldif", tmp_path / "forest.ldif")
    unit = (ROOT / "docs" / "service" / "eas-redirect.service").read_text("utf-8")
    shipped = (ROOT / "docs" / "service" / "environment").read_text("utf-8")
    with exchange(lab, tls=True) as upstream, knocking(port, tls=True) as clients:
        environment = dict(
            line.split("=", 1) for line in shipped.splitlines() if line.startswith("EAS_")
        )
        assert environment == {}, "what the settings say is what runs"
        environment |= {
            "EAS_REDIRECT__PROXY__LISTEN": f'"127.0.0.1:{port}"',
            "EAS_REDIRECT__PROXY__CERT": "mail.pem",
            "EAS_REDIRECT__PROXY__UPSTREAM_CA": str(lab.ca_file),
            "EAS_REDIRECT__PROXY__WORKERS": "2",
        }
        config = tmp_path / "eas-redirect.toml"
        subprocess.run(
            [*PROGRAM, "init", str(config), "--snapshot", "forest.ldif", "--upstream", upstream],
            check=True, capture_output=True, timeout=WAIT_S,
        )  # fmt: skip
        start = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        assert start is not None
        words = start[1].replace("/etc/eas-redirect/eas-redirect.toml", str(config))
        program, *arguments = shlex.split(words.replace("$MITMDUMP", ""))
        assert program == "/opt/eas-redirect/bin/eas-redirect"
        with running([*PROGRAM, *arguments], tmp_path, environment) as process:
            wait_until(
                lambda: clients.answered > 50 or process.poll() is not None, "answers to knocks"
            )
            log = (tmp_path / "log").read_text("utf-8", "replace")
            assert process.poll() is None, log
            wait_until(lambda: len(children(process.pid)) == 2, "both workers")
            assert port not in udp_ports()
            clients.end()
    assert "Traceback" not in log
    assert clients.late == []
