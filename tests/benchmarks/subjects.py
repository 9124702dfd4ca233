"""What is compared: bare mitmdump, the addon in it, `eas-redirect run`, HAProxy with a judge beside
it, and HAProxy with what it can do alone."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.lab.authority import LabCertificates
from tests.benchmarks.usage import Usage, usage_with_children
from tests.haproxy.carrying import prepared
from tests.integration.mitmdump import mitmdump
from tests.integration.processes import ServerProcess, free_port
from tests.integration.running import run
from tests.support import DATA

NO_MAILBOX = bytes.fromhex("03016A000007564C0331323300 0101")
OK = bytes.fromhex("03016A000007564C033100 0101")
EAS = "application/vnd.ms-sync.wbxml"
BARE, ADDON, RUN, WORKERS, CARRIED, PLAIN, HAPROXY = (
    "mitmdump",
    "mitmdump with the addon",
    "eas-redirect run",
    "eas-redirect run --workers 2",
    "HAProxy with eas-redirect judge",
    "the same HAProxy without a judge",
    "HAProxy, byte match and static map",
)
NAMES = (BARE, ADDON, RUN, WORKERS, CARRIED, PLAIN, HAPROXY)
CONFIG = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'

DEFAULTS = """\
global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
"""
# An Exchange that answers at once: what it costs is not what is measured. It takes the request's
# body first; else HAProxy would close the connection behind each answer.
EXCHANGE = """
frontend exchange
  bind 127.0.0.1:{port}
  option http-buffer-request
  acl eas path_beg -i /microsoft-server-activesync
  http-request return status 200 content-type text/html string "<html>OWA</html>" unless eas
  acl moved url_param(User) anna
  http-request return status 200 content-type {eas} file {folder}/moved if moved
  http-request return status 200 content-type {eas} file {folder}/ok
"""
# What can be had without a protocol reader: three digits anywhere in the body, the User of the
# query whoever logged on, a list of users from a file. Neither GZIP nor the element is looked at.
LIMIT = """
frontend phones
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{tls_port} ssl crt {certificate}
  default_backend exchange
backend exchange
  http-request set-var(txn.user) url_param(User)
  acl eas res.hdr(content-type) -m beg application/vnd.ms-sync
  acl moved var(txn.user),map_str({folder}/users.map) -m found
  http-response wait-for-body time 1s at-least 13 if eas
  http-response return status 451 hdr X-MS-Location \
"https://%[var(txn.user),map_str({folder}/users.map)]/Microsoft-Server-ActiveSync" \
if eas moved {{ res.body,hex -m sub 0331323300 }}
  server exchange 127.0.0.1:{upstream}
"""
# The written file's own global and defaults, with a line in the log for each exchange, and nothing
# that looks at a request or an answer.
WITHOUT_US = """\
frontend phones
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{tls_port} ssl crt {certificate} alpn http/1.1
  log-format '{{"client":"%ci","method":"%HM","status":"%ST","ms":"%Ta"}}'
  default_backend exchange
backend exchange
  server exchange 127.0.0.1:{upstream}
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running proxy: its ports for http and TLS, and the processes whose costs count."""

    name: str
    port: int
    tls_port: int
    pid: int
    judge_pid: int | None = None

    def usage(self) -> Usage:
        own = usage_with_children(self.pid)
        return own if self.judge_pid is None else own + usage_with_children(self.judge_pid)


@contextmanager
def subjects(directory: Path) -> Iterator[Mapping[str, Subject]]:
    """All of them at once, before one Exchange; what is not under load costs next to nothing."""
    with ExitStack() as stack:
        upstream = stack.enter_context(exchange(directory / "exchange"))
        url = f"http://127.0.0.1:{upstream}"
        found = {HAPROXY: stack.enter_context(haproxy(directory / "haproxy", upstream))}
        for name, addon in ((BARE, False), (ADDON, True)):
            running = stack.enter_context(
                mitmdump(
                    directory / name.replace(" ", "-"),
                    f"reverse:{url}",
                    config=CONFIG if addon else None,
                    addon=addon,
                    options={"flow_detail": "0"},
                    quiet=True,
                )
            )
            found[name] = Subject(name, running.port, running.port, running.process.pid)
        for name, arguments in ((RUN, ()), (WORKERS, ("--workers", "2"))):
            path = directory / f"run-{len(arguments)}"
            engine = stack.enter_context(run(path, url, *arguments))
            found[name] = Subject(name, engine.port, engine.port, engine.process.pid)
        found[CARRIED] = stack.enter_context(haproxy_with_judge(directory / "carried", url))
        found[PLAIN] = stack.enter_context(without_us(directory / "plain", upstream))
        yield {name: found[name] for name in NAMES}


@contextmanager
def haproxy_with_judge(directory: Path, upstream: str) -> Iterator[Subject]:
    """By the files that users are given, with a line in a log for each exchange; one more port."""
    directory.mkdir(parents=True)
    pem = LabCertificates(directory / "tls").issue("front", ("mail.contoso.example",)).file
    running, tls_port = prepared(directory, upstream, CONFIG), free_port()
    plain = f"    bind 127.0.0.1:{running.port}\n"
    secured = f"    bind 127.0.0.1:{tls_port} ssl crt {pem} alpn http/1.1\n"
    text = running.configuration.read_text("utf-8")
    running.configuration.write_text(text.replace(plain, plain + secured), "utf-8")
    try:
        running.start_judge()
        running.start_haproxy()
        assert running.haproxy is not None
        assert running.judge is not None
        yield Subject(CARRIED, running.port, tls_port, running.haproxy.pid, running.judge.pid)
    finally:
        running.stop()


@contextmanager
def without_us(directory: Path, upstream: int) -> Iterator[Subject]:
    """What the written file costs when all that is ours is taken out of it."""
    written = prepared(directory, f"http://127.0.0.1:{upstream}", CONFIG)
    head, _, _ = written.configuration.read_text("utf-8").partition("frontend phones")
    head = "".join(t for t in head.splitlines(keepends=True) if "lua" not in t)
    pem = LabCertificates(directory / "tls").issue("front", ("mail.contoso.example",)).file
    port, tls_port = free_port(), free_port()
    text = head + WITHOUT_US.format(
        port=port, tls_port=tls_port, certificate=pem, upstream=upstream
    )
    with _running_haproxy(directory, text, port) as process:
        yield Subject(PLAIN, port, tls_port, process.pid)


@contextmanager
def exchange(directory: Path) -> Iterator[int]:
    """The port of an Exchange stand-in that HAProxy plays."""
    directory.mkdir(parents=True)
    (directory / "moved").write_bytes(NO_MAILBOX)
    (directory / "ok").write_bytes(OK)
    port = free_port()
    text = EXCHANGE.format(port=port, folder=directory, eas=EAS)
    with _running_haproxy(directory, DEFAULTS + text, port):
        yield port


@contextmanager
def haproxy(directory: Path, upstream: int) -> Iterator[Subject]:
    """HAProxy doing as much of the job as it can."""
    directory.mkdir(parents=True)
    (directory / "users.map").write_text("anna outlook.office365.com\n", "utf-8")
    names = ("mail.contoso.example", "127.0.0.1")
    pem = LabCertificates(directory / "tls").issue("front", names).file
    port, tls_port = free_port(), free_port()
    text = LIMIT.format(
        port=port, tls_port=tls_port, certificate=pem, folder=directory, upstream=upstream
    )
    with _running_haproxy(directory, DEFAULTS + text, port) as process:
        yield Subject(HAPROXY, port, tls_port, process.pid)


@contextmanager
def _running_haproxy(directory: Path, text: str, port: int) -> Iterator[ServerProcess]:
    path = directory / "haproxy.cfg"
    path.write_text(text, "utf-8")
    command = ["/usr/sbin/haproxy", "-db", "-f", str(path)]
    process = ServerProcess(command, [("127.0.0.1", port)], directory / "haproxy.log")
    process.start()
    try:
        yield process
    finally:
        process.kill()
