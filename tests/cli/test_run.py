"""`run` with bad input: one message that says what to do, exit code 2, nothing started."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.integration.running import write_config

UPSTREAM = ("--upstream", "https://ex07.contoso.example")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--upstream", "ex07"), "--upstream ex07: give the URL"),
        ((*UPSTREAM, "--listen", "nowhere"), "--listen nowhere: give a port"),
        ((*UPSTREAM, "--cert", "missing.pem"), "--cert missing.pem: No such file"),
        ((*UPSTREAM, "--stock", "--workers", "2"), "--stock runs one process"),
        ((*UPSTREAM, "--workers", "0"), "--workers"),
        ((*UPSTREAM, "--stop-timeout", "-1"), "--stop-timeout"),
        ((), "--upstream"),
    ],
    ids=["upstream", "listen", "cert", "stock", "workers", "stop-timeout", "no upstream"],
)
def test_usage(config: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = run("run", "--config", str(config), *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""


def test_a_port_in_use(config: Path, taken: int) -> None:
    for workers in ("1", "2"):
        ran = run(
            "run", "--config", str(config), *UPSTREAM, "--listen", f"127.0.0.1:{taken}",
            "--workers", workers,
        )  # fmt: skip
        assert ran.code == 2
        assert f"--listen 127.0.0.1:{taken}: Address already in use; choose another" in ran.err


def test_a_bad_configuration(tmp_path: Path) -> None:
    path = tmp_path / "eas-redirect.toml"
    path.write_text('mode = "aggressive"\nmodus = 1\n')
    ran = run("run", "--config", str(path), *UPSTREAM)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 3, "every problem on a line of its own"
    ran = run("run", "--config", str(tmp_path / "nothing.toml"), *UPSTREAM)
    assert (ran.code, "eas-redirect init" in ran.err) == (2, True)


def test_print_command(config: Path) -> None:
    ran = run(
        "run", "--config", str(config), *UPSTREAM, "--listen", "[::1]:8443", "--print-command",
        "--", "-w", "a file",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.startswith("mitmdump --mode reverse:https://ex07.contoso.example ")
    assert "--listen-host ::1 --listen-port 8443" in ran.out
    assert ran.out.endswith("-w 'a file'\n")
