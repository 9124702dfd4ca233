"""docs/bypass with a real HAProxy and nginx: what goes where, also when the proxy is dead."""

import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.device import PATH, basic
from tests.integration.old_server import ANNA, BERT, PASSWORD, OldServer, old_server
from tests.integration.processes import free_port
from tests.integration.running import Running, run, wait_until
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


def haproxy(tmp_path: Path, old: OldServer, running: Running, port: int) -> list[str]:
    text = changed(
        (FOLDER / "haproxy.cfg").read_text("utf-8"),
        {
            "maxconn 20000": "maxconn 200",
            "/run/haproxy/admin.sock": str(tmp_path / "admin.sock"),
            "bind :443 ": f"bind 127.0.0.1:{port} ",
            "/etc/haproxy/mail.contoso.example.pem": str(old.certificate),
            "127.0.0.1:8443": f"127.0.0.1:{running.port}",
            "port 9410": f"port {running.pages}",
            "ex07.contoso.local:443": f"localhost:{old.server.port}",
            "/etc/haproxy/ex07.pem": str(old.ca),
            "inter 2s": "inter 300ms",
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
            "/etc/nginx/ex07.pem": str(old.ca),
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
def balanced(tmp_path: Path, balancer: Balancer) -> Iterator[Site]:
    require(balancer.__name__)
    mark = tmp_path / "mark.py"
    mark.write_text(MARK)
    with (
        old_server(tmp_path / "old") as old,
        run(
            tmp_path / "run", old.url, "--", "-s", str(mark),
            config=TRUST, snapshot=old.snapshot,
            options={"ssl_verify_upstream_trusted_ca": str(old.ca)},
        ) as running,
    ):  # fmt: skip
        port = free_port()
        command = balancer(tmp_path, old, running, port)
        program = shutil.which(command[0], path=f"/usr/sbin:/usr/local/sbin:{os.environ['PATH']}")
        log = tmp_path / "balancer.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(program), *command[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: via_proxy(ask(port, BERT)), "through the proxy")
            yield Site(port, running, old)
        finally:
            process.terminate()
            process.wait(20)


def ask(
    port: int, user: str, path: str | None = None, *, spoof: str | None = None
) -> http.client.HTTPResponse:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=30, context=context, source_address=("127.0.0.2", 0)
    )
    target = path or f"{PATH}?Cmd=FolderSync&User={user}&DeviceId=D1&DeviceType=Phone"
    headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic(user, PASSWORD)}
    headers |= {"X-Forwarded-For": spoof} if spoof else {}
    try:
        connection.request("POST", target, body=b"", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def via_proxy(answer: http.client.HTTPResponse) -> bool:
    return answer.headers["X-Via"] == "proxy"


@pytest.mark.parametrize("balancer", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_what_goes_where(tmp_path: Path, balancer: Balancer) -> None:
    with balanced(tmp_path, balancer) as site:
        answer = ask(site.port, ANNA, spoof="203.0.113.9")
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
