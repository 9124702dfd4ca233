"""docs/bypass with a real HAProxy and nginx: what goes where, also when the proxy is dead."""

import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.benchmarks.usage import usage
from tests.integration.device import PATH, basic
from tests.integration.old_server import ANNA, BERT, PASSWORD, OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import Running, begun, run, wait_until
from tests.support import ROOT, require

pytestmark = pytest.mark.integration

FOLDER = ROOT / "docs" / "bypass"
# Sets a mark on what came through the proxy; nothing else does.
MARK = "def responseheaders(flow):\n    flow.response.headers['X-Via'] = 'proxy'\n"
TRUST = '[exchange]\ntrusted_proxies = ["127.0.0.0/8"]\n'


@dataclass(frozen=True)
class Site:
    """A balancer in front of the proxy and the old server."""

    port: int
    running: Running
    old: OldServer


type Balancer = Callable[[Path, OldServer, Running, int], list[str]]


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The sample with our addresses. Each must stand there: no sample silently left alone."""
    for theirs, ours in changes.items():
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


NAMES = ("localhost", "127.0.0.1")


def another_authority(tmp_path: Path) -> LabCertificates:
    """One that the front trusts, and the proxy does not."""
    return LabCertificates(tmp_path / "another")


def trusted(tmp_path: Path, old: OldServer) -> Path:
    """What the front verifies Exchange with."""
    both = tmp_path / "trusted.pem"
    both.write_bytes(old.ca.read_bytes() + another_authority(tmp_path).ca_file.read_bytes())
    return both


def haproxy(tmp_path: Path, old: OldServer, running: Running, port: int) -> list[str]:
    text = changed(
        (FOLDER / "haproxy.cfg").read_text("utf-8"),
        {
            "/run/haproxy/admin.sock": str(tmp_path / "admin.sock"),
            "bind :443 ": f"bind 127.0.0.1:{port} ",
            "/etc/haproxy/mail.contoso.example.pem": str(old.certificate),
            "127.0.0.1:8443": f"127.0.0.1:{running.port}",
            "port 9410": f"port {running.pages}",
            "ex07.contoso.local:443": f"localhost:{old.server.port}",
            "verifyhost ex07.contoso.local": "verifyhost localhost",
            "/etc/haproxy/ex07.pem": str(trusted(tmp_path, old)),
        },
    )
    path = tmp_path / "haproxy.cfg"
    path.write_text(text)
    return ["haproxy", "-db", "-f", str(path)]


def nginx(tmp_path: Path, old: OldServer, running: Running, port: int) -> list[str]:
    text = changed(
        (FOLDER / "nginx.conf").read_text("utf-8"),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/nginx/mail.contoso.example.pem": str(old.certificate),
            "/etc/nginx/mail.contoso.example.key": str(old.certificate),
            "127.0.0.1:8443": f"127.0.0.1:{running.port}",
            "9444": str(free_port()),
            "https://ex07.contoso.local": f"https://localhost:{old.server.port}",
            "/etc/nginx/ex07.pem": str(trusted(tmp_path, old)),
        },
    )
    path = tmp_path / "nginx.conf"
    ours = f"daemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\n"
    temporary = "".join(
        f"    {kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = re.sub(r"worker_processes auto;", "worker_processes 1;", text)
    path.write_text(
        ours + text.replace("    access_log off;\n", "    access_log off;\n" + temporary)
    )
    return ["nginx", "-p", str(tmp_path), "-c", str(path)]


@contextmanager
def balanced(
    tmp_path: Path, balancer: Balancer, ca: Path | None = None, *, via: bool = True
) -> Iterator[Site]:
    """Two workers, https towards Exchange. `ca`: what the proxy verifies Exchange with, in place of
    the right one. `via`: whether exchanges come to pass through the proxy."""
    require(balancer.__name__)
    mark = tmp_path / "mark.py"
    mark.write_text(MARK)
    with (
        old_server(tmp_path / "old") as old,
        run(
            tmp_path / "run", old.url, "--workers", "2", "--upstream-ca", str(ca or old.ca),
            "--", "-s", str(mark), config=TRUST, snapshot=old.snapshot, ready=False,
        ) as running,
    ):  # fmt: skip
        begun(running)
        port = free_port()
        command = balancer(tmp_path, old, running, port)
        program = shutil.which(command[0], path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")
        log = tmp_path / "balancer.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(program), *command[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: via_proxy(ask(port, BERT)) or not via, "the balancer")
            yield Site(port, running, old)
        finally:
            process.terminate()
            process.wait(20)


def ask(
    port: int,
    user: str,
    path: str | None = None,
    *,
    further: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> http.client.HTTPResponse:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=30, context=context, source_address=("127.0.0.2", 0)
    )
    target = path or f"{PATH}?Cmd=FolderSync&User={user}&DeviceId=D1&DeviceType=Phone"
    headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic(user, PASSWORD)}
    headers |= {"Host": "mail.contoso.example", **(further or {})}
    try:
        connection.request("POST", target, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def ask_plain(port: int, user: str) -> int:
    """The proxy itself, as its front does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    target = f"{PATH}?Cmd=FolderSync&User={user}&DeviceId=D1&DeviceType=Phone"
    headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic(user, PASSWORD)}
    headers["Host"] = "mail.contoso.example"
    try:
        connection.request("POST", target, body=b"", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def via_proxy(answer: http.client.HTTPResponse) -> bool:
    return answer.headers["X-Via"] == "proxy"


@pytest.mark.parametrize("balancer", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_what_goes_where(tmp_path: Path, balancer: Balancer) -> None:
    with balanced(tmp_path, balancer) as site:
        answer = ask(site.port, ANNA, further={"X-Forwarded-For": "203.0.113.9"})
        assert answer.status == 451
        assert answer.headers["X-MS-Location"].startswith("https://outlook.office365.com/")
        bert = ask(site.port, BERT)
        assert (bert.status, via_proxy(bert)) == (200, True)
        lower = ask(
            site.port, BERT, f"{PATH.lower()}/default.eas?Cmd=FolderSync&DeviceId=D&DeviceType=P"
        )
        assert via_proxy(lower)
        assert not via_proxy(ask(site.port, BERT, "/owa/"))

        lines = site.running.journal
        redirected = next(line for line in lines if "eas.redirect" in json.dumps(line["event"]))
        assert redirected["network"] == {"forwarded_ip": "127.0.0.2"}, "the phone's, not its claim"

        site.running.signal(signal.SIGKILL)
        site.running.process.wait()
        wait_until(lambda: ask(site.port, BERT).status == 200, "the by-pass")
        for user, status in ((BERT, 200), (ANNA, 200)):
            answer = ask(site.port, user)
            assert (answer.status, via_proxy(answer)) == (status, False)
        assert ask(site.port, BERT, "/owa/").status < 500


def test_haproxy_takes_a_stopping_proxy_out_without_a_lost_exchange(tmp_path: Path) -> None:
    with balanced(tmp_path, haproxy) as site:
        site.running.signal(signal.SIGTERM)
        answers = [ask(site.port, BERT).status for _ in range(60)]
        assert set(answers) == {200}
        assert site.running.process.wait(60) == 0
        assert not via_proxy(ask(site.port, BERT))


@pytest.mark.parametrize("balancer", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_what_a_phone_claims_of_the_name_that_it_called_is_dropped(
    tmp_path: Path, balancer: Balancer
) -> None:
    claims = {
        "X-Forwarded-Host": "outlook.office365.com",
        "X-Original-Host": "outlook.office365.com",
        "Forwarded": "for=203.0.113.9;host=outlook.office365.com",
        "X-Forwarded-For": "203.0.113.9",
    }
    with balanced(tmp_path, balancer) as site:
        assert ask(site.port, ANNA, further=claims).status == 451, "a claim would be a loop"
        ask(site.port, BERT, further=claims)
        seen = {name.lower(): value for name, value in site.old.server.requests[-1].headers}
        assert seen["x-forwarded-for"] == "127.0.0.2"
        assert seen.keys().isdisjoint({"x-forwarded-host", "x-original-host", "forwarded"})


class Asking:
    """Phones that ask over and over, each time on a new connection, until the end."""

    def __init__(self, port: int, phones: int = 4) -> None:
        self._port = port
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(phones)]
        self.got: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        while not self._done.is_set():
            for command in ("FolderSync", "SendMail"):
                target = f"{PATH}?Cmd={command}&User=bert&DeviceId=D{number}&DeviceType=Phone"
                try:
                    answer = ask(self._port, BERT, target, body=b"x" * 2000)
                except (OSError, http.client.HTTPException) as error:
                    self.got[type(error).__name__] += 1
                else:
                    via = "proxy" if via_proxy(answer) else "by-pass"
                    self.got[via if answer.status == 200 else str(answer.status)] += 1

    def more(self, via: str, count: int = 30) -> None:
        """So many further answers came this way."""
        before = self.got[via]
        wait_until(lambda: self.got[via] >= before + count, f"answers through the {via}")


@pytest.mark.parametrize("balancer", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_no_exchange_is_lost_when_exchange_is_renewed_by_another_authority(
    tmp_path: Path, balancer: Balancer
) -> None:
    """Under load, mails among it: nothing has reached Exchange when its TLS fails, so the front may
    send everything again."""
    with balanced(tmp_path, balancer) as site, Asking(site.port) as load:
        load.more("proxy")
        site.old.tls.load_cert_chain(another_authority(tmp_path).issue("ex07", NAMES).file)
        load.more("by-pass")
        wait_until(lambda: site.running.page("/ready")[0] == 503, "/ready says no")
        assert "its certificate is signed by" in site.running.page("/ready")[1]
        load.more("by-pass")
        site.old.tls.load_cert_chain(site.old.issued)
        wait_until(lambda: site.running.page("/ready")[0] == 200, "/ready says yes again")
        load.more("proxy")
    assert set(load.got) == {"proxy", "by-pass"}
    told = [line for line in site.running.journal if '"status_code": 425' in json.dumps(line)]
    assert told, "the journal has what the front was told"
    assert all("upstream_failed" in json.dumps(line["error"]) for line in told)


def test_no_exchange_is_lost_by_a_renewal_of_the_wrong_authority(tmp_path: Path) -> None:
    """Under load: the file and a SIGHUP. While the old one does, the new one is refused."""
    pin = tmp_path / "pin.pem"
    shutil.copy(LabCertificates(tmp_path / "old" / "certificates").ca_file, pin)
    with balanced(tmp_path, haproxy, pin) as site, Asking(site.port) as load:
        load.more("proxy")
        shutil.copy(another_authority(tmp_path).ca_file, pin)
        site.running.signal(signal.SIGHUP)
        wait_until(lambda: site.running.log.count("does not fit Exchange") == 2, "both refuse it")
        load.more("proxy", 60)
    assert set(load.got) == {"proxy"}


@pytest.mark.parametrize("balancer", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_a_proxy_with_a_wrong_authority_is_passed_by(tmp_path: Path, balancer: Balancer) -> None:
    stranger = LabCertificates(tmp_path / "stranger").ca_file
    with balanced(tmp_path, balancer, stranger, via=False) as site:
        wait_until(lambda: site.running.page("/ready")[0] == 503, "/ready says no")
        answers = [ask(site.port, user) for user in (BERT, ANNA, BERT, BERT)]
        assert [(answer.status, via_proxy(answer)) for answer in answers] == [(200, False)] * 4


def test_a_proxy_without_descriptors_is_passed_by(tmp_path: Path) -> None:
    with balanced(tmp_path, haproxy) as site, ExitStack() as held:
        for worker in site.running.children():
            limit = usage(worker).descriptors + 40
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
        for _ in range(60):  # the kernel spreads them over both
            held.enter_context(socket.create_connection(("127.0.0.1", site.running.port)))
        wait_until(lambda: site.running.page("/ready")[0] == 503, "/ready says no")
        wait_until(lambda: not via_proxy(ask(site.port, BERT)), "the by-pass")
        assert {ask(site.port, BERT).status for _ in range(20)} == {200}
        held.close()
        wait_until(lambda: via_proxy(ask(site.port, BERT)), "the proxy again")


@pytest.mark.parametrize("limit", [1024, 4096])
@pytest.mark.parametrize("file", ["bypass/haproxy.cfg", "deploy/haproxy.cfg", "bypass/nginx.conf"])
def test_it_starts_under_a_usual_limit_of_descriptors(
    file: str, limit: int, tmp_path: Path
) -> None:
    program = "nginx" if file.endswith(".conf") else "haproxy"
    require(program)
    issued = LabCertificates(tmp_path).issue("mail", ["mail.contoso.example"]).file
    text = (ROOT / "docs" / file).read_text("utf-8")
    for path in set(re.findall(r"/etc/[\w./-]+|/run/[\w./-]+", text)):
        text = text.replace(path, str(tmp_path / "socket" if path.endswith("sock") else issued))
    text = re.sub(r"(10\.0\.0\.\d+|127\.0\.0\.1):\d+", f"127.0.0.1:{free_port()}", text)
    text = re.sub(r"ex07\.contoso\.local:443", f"127.0.0.1:{free_port()}", text)
    text = text.replace("ex07.contoso.local;", "127.0.0.1;")
    text = re.sub(r"bind :443 ", f"bind 127.0.0.1:{free_port()} ", text)
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{free_port()} ssl")
    (tmp_path / "conf").write_text(text)
    words = {
        "haproxy": ["haproxy", "-db", "-f", str(tmp_path / "conf")],
        "nginx": ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "conf"),
                  "-g", f"daemon off; error_log stderr; pid {tmp_path}/pid;"],
    }[program]  # fmt: skip
    found = shutil.which(words[0], path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={limit}:{limit}", str(found), *words[1:]],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
    finally:
        process.terminate()
        process.wait(20)
    assert "[ALERT]" not in (tmp_path / "log").read_text()
