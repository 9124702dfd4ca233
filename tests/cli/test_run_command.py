"""`run` with bad input: one message that says what to do, exit code 2, nothing started."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eas_redirect.engine import supervisor
from tests.cli.running import run
from tests.integration.running import write_config
from tests.support import DATA

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
        (("--upstream", "ex07"), "--upstream: must be the URL"),
        ((*UPSTREAM, "--listen", "nowhere"), "--listen: must be a port"),
        ((*UPSTREAM, "--cert", "missing.pem"), "--cert: there is no file"),
        ((*UPSTREAM, "--stock", "--workers", "2"), "--stock runs one process"),
        ((*UPSTREAM, "--workers", "0"), "--workers"),
        ((*UPSTREAM, "--stop-timeout", "-1"), "--stop-timeout"),
        ((), "Which Exchange? Set proxy.upstream in the configuration, or give --upstream URL."),
        ((*UPSTREAM, "--set", "x=1"), "put it behind `--`: eas-redirect run … -- --set …"),
        ((*UPSTREAM, "-s", "more.py"), "There is no option -s."),
    ],
    ids=[
        "upstream",
        "listen",
        "cert",
        "stock",
        "workers",
        "stop-timeout",
        "no upstream",
        "set",
        "script",
    ],
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


def test_the_configuration_alone_suffices_and_an_option_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "ex07.pem").write_text("x")
    (tmp_path / "mail.pem").write_text("-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----")
    further = '[proxy]\nupstream = "https://ex07.contoso.local"\nlisten = "8443"\n'
    further += 'cert = "mail.pem"\nupstream_ca = "ex07.pem"\n'
    config = write_config(tmp_path, further)
    ran = run("run", "--config", str(config), "--print-command")
    assert ran.out.startswith(
        "mitmdump --mode reverse:https://ex07.contoso.local --listen-port 8443"
        f" --certs '*={tmp_path}/mail.pem'"
        f" --set ssl_verify_upstream_trusted_ca={tmp_path}/ex07.pem "
    )
    ran = run("run", "-c", str(config), "--listen", "9443", "--upstream", "http://b.example",
              "--print-command")  # fmt: skip
    assert ran.out.startswith("mitmdump --mode reverse:http://b.example --listen-port 9443")


def test_everything_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EAS_REDIRECT__MODE", "observe")
    monkeypatch.setenv("EAS_REDIRECT__PROXY__UPSTREAM", "https://ex07.contoso.local")
    monkeypatch.setenv("EAS_REDIRECT__DIRECTORY__SNAPSHOT", str(DATA / "migration.ldif"))
    ran = run("run", "--config", "env:", "--print-command")
    assert "reverse:https://ex07.contoso.local" in ran.out
    assert "eas_config=env:" in ran.out
    assert run("run", "--print-command").code == 2, "a missing file is never made up for"


def test_print_command(config: Path) -> None:
    ran = run(
        "run", "--config", str(config), *UPSTREAM, "--listen", "[::1]:8443", "--print-command",
        "--", "-w", "a file",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.startswith("mitmdump --mode reverse:https://ex07.contoso.example ")
    assert "--listen-host ::1 --listen-port 8443" in ran.out
    assert ran.out.endswith("-w 'a file'\n")


@pytest.mark.parametrize(
    ("said", "listens"),
    [((), "127.0.0.1:"), (("eas_metrics=:9",), ":9"), (("eas_metrics=off",), "off")],
    ids=["the file", "an address", "off"],
)
def test_the_pages_of_workers_are_where_the_option_says(
    config: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, ...], listens: str
) -> None:
    """mitmproxy refuses an option that is set twice, and each worker has an address of its own."""
    asked: list[tuple[Sequence[str], str | None]] = []

    class Asked:
        def __init__(
            self, arguments: Sequence[str], *, metrics_listen: str | None, **_settings: object
        ) -> None:
            asked.append((arguments, metrics_listen))

        def run(self) -> int:
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", Asked)
    words = [word for option in said for word in ("--set", option)]
    ran = run(
        "run", "--config", str(config), *UPSTREAM, "--listen", "127.0.0.1:0", "--workers", "2",
        "--", *words,
    )  # fmt: skip
    assert ran.code == 0
    [(arguments, where)] = asked
    assert (where or "off").startswith(listens)
    assert not [word for word in arguments if word.startswith("eas_metrics")]
