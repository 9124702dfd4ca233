"""The lines for Autodiscover that the front files hold as comments: taken in, they are valid."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.haproxy.test_carried import answer_to_expectation, ready_at_once, sent_at_once
from tests.integration.processes import ServerProcess, free_port
from tests.integration.rawserver import RawServer
from tests.support import ROOT, require

PATH = "/autodiscover/autodiscover"


@pytest.mark.parametrize("name", ["bypass/haproxy.cfg", "deploy/haproxy.cfg"])
def test_haproxy_takes_the_lines_for_autodiscover(name: str, tmp_path: Path) -> None:
    require("haproxy", "openssl")
    pem = tmp_path / "front.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=x",
        "-keyout",
        "-",
        "-out",
        "-",
    ]
    made = subprocess.run(["openssl", *words], capture_output=True, check=True, timeout=60)
    pem.write_bytes(made.stdout)
    text = (ROOT / "docs" / name).read_text("utf-8")
    taken, count = re.subn(r"^    # (acl|use_backend)\b", r"    \1", text, flags=re.MULTILINE)
    assert count == 2
    assert PATH in taken
    taken = re.sub(r"/etc/[\w./-]+\.pem", str(pem), taken)
    taken = re.sub(r"(\w+\.)?contoso\.local", "127.0.0.1", taken)
    file = tmp_path / "haproxy.cfg"
    file.write_text(re.sub(r"^\s*(user|group|chroot) .*$", "", taken, flags=re.MULTILINE), "utf-8")
    ran = subprocess.run(
        ["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["bypass/haproxy.cfg", "deploy/haproxy.cfg"])
def test_whoever_expects_a_100_gets_the_whole_answer(name: str, tmp_path: Path) -> None:
    require("haproxy")
    port, file = free_port(), tmp_path / "haproxy.cfg"
    with RawServer(ready_at_once) as server:
        text = (ROOT / "docs" / name).read_text("utf-8")
        text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
        text = re.sub(r"server ex07 .*", f"server ex07 127.0.0.1:{server.port}", text)
        text = re.sub(r"stats socket .*", f"stats socket {tmp_path}/admin", text)
        file.write_text(re.sub(r"fd-hard-limit .*", "fd-hard-limit 500", text), "utf-8")
        front = ServerProcess(
            ["haproxy", "-db", "-f", str(file)], [("127.0.0.1", port)], tmp_path / "haproxy.log"
        )
        front.start()
        try:
            answer = answer_to_expectation(port, sent_at_once)
        finally:
            front.kill()
    assert answer.endswith(b"\r\n\r\ndone")


def test_nginx_has_the_location_for_autodiscover() -> None:
    text = (ROOT / "docs" / "bypass" / "nginx.conf").read_text("utf-8")
    (pattern,) = re.findall(r"# location ~\* (\S*autodiscover\S*) \{", text)
    for path in ("/Autodiscover/Autodiscover.xml", "/Microsoft-Server-ActiveSync/default.eas"):
        assert re.search(pattern, path, re.IGNORECASE)
    for path in ("/autodiscover/autodiscover.svc", "/autodiscover/autodiscover.xml/x", "/owa/"):
        assert not re.search(pattern, path, re.IGNORECASE)
