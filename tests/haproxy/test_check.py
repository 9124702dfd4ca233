"""`eas-redirect check --haproxy`: each thing that can be wrong is said with what to do."""

import socket
import subprocess
from pathlib import Path

import pytest

from eas_redirect.checking.carrier import check_haproxy
from eas_redirect.checking.tried import Check
from eas_redirect.configuration.config import load_config
from tests.haproxy.carrying import PROGRAM, Carried, carried, prepared
from tests.integration.messages import CONFIG
from tests.integration.rawserver import RawServer, answering
from tests.support import require

pytestmark = pytest.mark.integration
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def checks(found: Carried) -> dict[str, Check]:
    config = load_config(found.directory / "eas-redirect.toml")
    return {c.subject: c for c in check_haproxy(config, found.directory / "haproxy", 20.0)}


def test_what_runs_is_good_and_a_second_one_on_the_port_is_not(tmp_path: Path) -> None:
    require("haproxy")
    with (
        RawServer(answering(OK)) as server,
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG) as running,
    ):
        found = checks(running)
        assert [c for c in found.values() if c.state != "good"] == []
        assert {"haproxy", "haproxy files", "haproxy -c", "haproxy log"} <= found.keys()
        with socket.socket() as second:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            second.bind(("127.0.0.1", running.port))
            second.listen()
            assert checks(running)["haproxy port"].state == "failed"


def test_stale_files_a_missing_judge_and_what_haproxy_refuses_are_told(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    said = checks(found)
    assert [c.state for s, c in said.items() if s.startswith("judge ")] == ["unreachable"]
    lua = found.directory / "haproxy" / "eas.lua"
    lua.write_text(lua.read_text().replace("AT_ONCE = 64", "AT_ONCE = 65"))
    assert checks(found)["haproxy files"].state == "failed"
    with found.configuration.open("a") as text:
        text.write("\nfrontend broken\n    binds nowhere\n")
    assert checks(found)["haproxy -c"].state == "failed"
    found.configuration.unlink()
    assert checks(found)["haproxy files"].state == "failed"


def test_a_chroot_from_which_the_socket_cannot_be_seen_is_told(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    text = found.configuration.read_text()
    found.configuration.write_text(text.replace("global\n", "global\n    chroot /var/empty\n", 1))
    check = checks(found)["haproxy files"]
    assert check.state == "failed"
    assert "cannot see" in check.finding


def test_the_command_takes_the_folder(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    said = subprocess.run(
        [
            *(PROGRAM, "check", "--config", str(found.directory / "eas-redirect.toml")),
            *("--haproxy", str(found.directory / "haproxy"), "--timeout", "5"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 3
    assert "Start eas-redirect judge" in said.stdout
    assert "version 2.6 with Lua" in said.stdout
