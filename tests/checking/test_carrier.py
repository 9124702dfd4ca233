"""`eas-redirect check --haproxy`: each thing that can be wrong is said with what to do."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
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
        assert found["haproxy running"].state == "good"
        os.utime(running.directory / "haproxy" / "eas.lua", (time.time() + 5,) * 2)
        check = checks(running)["haproxy running"]
        assert check.state == "warning"
        assert check.finding == "it runs with older files: eas.lua changed after it started"
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


CHANGED = (
    ("    http-reuse never\n", "", "in defaults, http-reuse never"),
    ("tune.bufsize 98304", "tune.bufsize 16384", "in global, tune.bufsize 98304"),
    ("    http-response lua.eas_judge", "    # http-res", "http-response lua.eas_judge"),
    ("server exchange 127.0.0.1:9", "server exchange 127.0.0.1:8", "127.0.0.1:9"),
    ("haproxy/eas.lua", "haproxy/old.lua", "haproxy/eas.lua"),
    ("    acl success status 200\n    acl forbidden status 403\n",
     "    acl forbidden status 403\n    acl success status 200\n", "before acl forbidden"),
)  # fmt: skip


def test_a_line_that_is_no_longer_as_written_is_told(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    config = load_config(found.directory / "eas-redirect.toml")
    text = found.configuration.read_text()
    for old, new, told in CHANGED:
        assert old in text
        found.configuration.write_text(text.replace(old, new, 1))
        checked = check_haproxy(config, found.directory / "haproxy", 20.0)
        check = next(c for c in checked if c.subject == "haproxy files")
        assert check.state == "warning"
        assert told in check.finding


def test_a_configuration_that_has_changed_since_is_told(tmp_path: Path) -> None:
    """Neither of these changes the Lua."""
    require("haproxy")
    for number, line in enumerate(
        ('[journal]\nusers = "drop"', "[exchange]\nweak_statuses = [500]")
    ):
        found = prepared(tmp_path / str(number), "http://127.0.0.1:9", CONFIG)
        file = found.directory / "eas-redirect.toml"
        text = file.read_text().replace("[journal]\npath", "[journal]\n#", 1)
        file.write_text(text + "\n" + line if number else text.replace("[journal]", line, 1))
        assert checks(found)["haproxy files"].state == "warning", line


def test_lines_of_an_administrators_own_and_options_are_no_change(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG, "--old-tls")
    text = found.configuration.read_text()
    rule = "    # ours\n    http-request  deny if { path /x }\n"
    section = "\nlisten own\n    bind 127.0.0.1:1\n"
    text = text.replace("maxconn 550", "maxconn 99")
    text = text.replace("    default_backend", rule + "    default_backend")
    found.configuration.write_text(text + section)
    assert checks(found)["haproxy files"].state == "good"


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
    assert "tcp_timeout" not in said.stdout, "mitmproxy carries nothing here"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")
def test_a_socket_that_haproxy_itself_may_not_open_is_told() -> None:
    """Whoever runs the check may open it."""
    require("haproxy")
    with tempfile.TemporaryDirectory() as folder, RawServer(answering(OK)) as server:
        directory = Path(folder)
        found = prepared(directory / "both", f"http://127.0.0.1:{server.port}", CONFIG)
        text = found.configuration.read_text()
        found.configuration.write_text(text.replace("global\n", "global\n    user nobody\n", 1))
        socket_file = directory / "both" / "judge.sock"
        try:
            found.start_judge()
            found.start_haproxy()
            for folder_mode, socket_mode, barred in (
                (0o700, 0o666, directory),
                (0o755, 0o660, socket_file),
                (0o755, 0o666, None),
            ):
                directory.chmod(folder_mode)
                socket_file.chmod(socket_mode)
                said = [c for s, c in checks(found).items() if s.endswith("rights")]
                assert [c.state for c in said] == (["failed"] if barred else [])
                assert all(f"{barred} does not let" in c.finding for c in said)
        finally:
            found.stop()


def test_a_judge_that_hangs_or_is_another_program_is_told(tmp_path: Path) -> None:
    require("haproxy")
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    config = load_config(found.directory / "eas-redirect.toml")
    (name,) = config.judge.servers

    def seen() -> Check:
        return {c.subject: c for c in check_haproxy(config, tmp_path / "haproxy", 0.5)}[
            f"judge {name}"
        ]

    try:
        found.start_judge()
        assert seen().finding == "answers"
        assert found.judge is not None
        found.judge.send_signal(signal.SIGSTOP)
        assert "It hangs" in str(seen().advice)
        found.judge.send_signal(signal.SIGCONT)
        assert found.exchanges(0) == []
    finally:
        found.stop()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(name.removeprefix("unix:"))
        other.listen()
        other.settimeout(10)

        def answer() -> None:
            other.accept()[0].close()

        thread = threading.Thread(target=answer)
        thread.start()
        check = seen()
        thread.join()
    assert (check.state, "another version" in check.finding) == ("failed", True)


UNFIT = {
    "HAProxy version 2.6.12 2023\nFeature list : +EPOLL -LUA": "built without Lua",
    "HAProxy version 2.4.22 2023\nFeature list : +EPOLL +LUA": "version 2.4; it cannot run",
    "HA-Proxy 1.8, no such word": "of a version that it does not tell",
    "HAProxy version 3.0.11 2025\nFeature list : +EPOLL +LUA": "version 3.0; the files are written",
}


@pytest.mark.parametrize("says", UNFIT)
def test_a_haproxy_that_cannot_run_the_files_is_one_message(says: str, tmp_path: Path) -> None:
    found = prepared(tmp_path, "http://127.0.0.1:9", CONFIG)
    program = tmp_path / "bin" / "haproxy"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    config = ("--config", str(found.directory / "eas-redirect.toml"))
    words = {
        "haproxy": (*config, "-o", str(tmp_path / "haproxy")),
        "check": (*config, "--haproxy", str(tmp_path / "haproxy"), "--timeout", "5"),
        "lab": ("--carrier", "haproxy", "--work", str(tmp_path / "lab")),
    }
    newer = "3.0" in says
    for name, code in {"haproxy": 0 if newer else 2, "check": 3, "lab": 3}.items():
        if name == "lab" and "-LUA" not in says:
            continue  # it asks the first of these
        ran = subprocess.run(
            [PROGRAM, name, *words[name]], capture_output=True, text=True, check=False,
            env=environment, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        said = " ".join((ran.stdout + ran.stderr).split())
        assert UNFIT[says] in said.replace("│", "").replace("  ", " "), (name, said)
        assert ran.returncode == code, (name, said)
        assert "Traceback" not in said
