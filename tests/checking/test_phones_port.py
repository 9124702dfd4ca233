"""The port of the phones, as real sockets of this and of other processes have it."""

import errno
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from eas_redirect.checking import phones_port
from eas_redirect.checking.phones_port import check_pages_port, check_port, owners_of
from eas_redirect.checking.tried import Check
from eas_redirect.configuration.config import Config, load_config
from eas_redirect.configuration.kinds import Listen

WAIT = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
WAIT += "print(s.getsockname()[1], flush=True); sys.stdin.read()"


def config(tmp_path: Path, listen: str, upstream: str = "https://ex07.contoso.local") -> Config:
    (tmp_path / "people.ldif").write_text("dn: DC=contoso,DC=example\n")
    file = tmp_path / "e.toml"
    proxy = f'[proxy]\nlisten = "{listen}"\n' + (f'upstream = "{upstream}"\n' if upstream else "")
    file.write_text(f'mode = "observe"\n[directory]\nsnapshot = "people.ldif"\n{proxy}')
    return load_config(file, environment={})


def only(settings: Config) -> Check:
    [found] = check_port(settings, 1.0)
    return found


def test_a_free_port_is_left_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for _ in range(2):
        found = only(config(tmp_path, f"127.0.0.1:{port}"))
        assert (found.state, found.finding) == ("good", f"127.0.0.1, port {port}: free")


def test_nothing_is_said_where_run_listens_at_no_port_of_the_file(tmp_path: Path) -> None:
    assert not list(check_port(config(tmp_path, "127.0.0.1:0"), 1.0))
    assert not list(check_port(config(tmp_path, "443", upstream=""), 1.0))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_who_has_it_is_named_and_ours_is_no_fault(tmp_path: Path) -> None:
    """The same program, by another name and as `python … redirect.py`."""
    script = tmp_path / "redirect.py"
    script.write_text(WAIT)
    for words, state in (
        ([sys.executable, "-c", WAIT], "failed"),
        ([sys.executable, str(script)], "good"),
        ([sys.executable, "-c", WAIT, "/srv/eas-redirect/x"], "failed"),
        ([sys.executable, "-c", WAIT, "/opt/eas-redirect/bin/eas-redirect", "run"], "good"),
    ):
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            found = only(config(tmp_path, f"127.0.0.1:{port}"))
            assert [pid for pid, _ in owners_of(port)] == [process.pid]
            process.communicate("")
        assert found.state == state, words
        if state == "failed":
            assert f"(process {process.pid})" in found.finding
            assert "End it, or choose another port" in (found.advice or "")
        else:
            assert found.finding.endswith("the proxy is running")


def test_a_port_of_the_pages_that_another_program_has(tmp_path: Path) -> None:
    settings = config(tmp_path, "127.0.0.1:0")

    def pages(listen: str) -> list[Check]:
        metrics = settings.metrics.model_copy(update={"listen": listen})
        return list(check_pages_port(settings.model_copy(update={"metrics": metrics}), 0.2))

    assert not list(check_pages_port(settings, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        [found] = pages(listen)
    assert (found.state, found.finding) == ("failed", f"{listen}: Address already in use")
    assert pages(listen) == []
    [found] = pages("192.0.2.1:9410")
    assert (found.state, "Cannot assign" in found.finding) == ("failed", True)


def test_an_address_of_another_machine_and_a_port_for_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = only(config(tmp_path, "192.0.2.1:8443"))
    assert (found.state, "Name an address of this machine" in (found.advice or "")) == (
        ("failed", True)
    )

    def refuse(listen: Listen) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(phones_port, "reserve", refuse)
    found = only(config(tmp_path, "443"))
    assert (found.state, found.finding) == (
        ("warning", "every address, port 443: not for an ordinary user")
    )
    assert "CAP_NET_BIND_SERVICE" in (found.advice or "")
