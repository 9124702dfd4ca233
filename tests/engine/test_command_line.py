"""`run`'s arguments in mitmdump's words, and what is refused with advice."""

import socket
from pathlib import Path

import pytest

from eas_redirect.configuration.kinds import Listen
from eas_redirect.engine.command_line import (
    Plan,
    mitmdump_arguments,
    reserve,
    without_option,
)


def plan(**changes: object) -> Plan:
    return Plan(
        **{  # type: ignore[arg-type]
            "config": Path("/etc/eas-redirect.toml"),
            "upstream": "https://ex07.contoso.local",
            "listen": Listen("", 443),
            "script": Path("/opt/redirect.py"),
            **changes,
        }
    )


def test_arguments_hold_the_profile_and_the_user_has_the_last_word() -> None:
    arguments = mitmdump_arguments(plan(further=["--set", "tcp_timeout=9000"]))
    assert arguments[:4] == ["--mode", "reverse:https://ex07.contoso.local", "--listen-port", "443"]
    assert "tcp_timeout=4200" not in arguments
    assert "http2=false" in arguments
    assert arguments[-8:-2] == [
        "-s", "/opt/redirect.py", "--set", "eas_config=/etc/eas-redirect.toml",
        "--set", "eas_engine=full",
    ]  # fmt: skip
    assert arguments[-2:] == ["--set", "tcp_timeout=9000"]
    assert "--certs" not in arguments


def test_what_the_upstream_is_verified_with_unless_the_user_says_it() -> None:
    trust = "ssl_verify_upstream_trusted_ca="
    arguments = mitmdump_arguments(plan(upstream_ca=Path("/etc/ex07.pem")))
    assert f"{trust}/etc/ex07.pem" in arguments
    arguments = mitmdump_arguments(
        plan(upstream_ca=Path("/etc/ex07.pem"), further=["--set", f"{trust}mine.pem"])
    )
    assert [word for word in arguments if word.startswith(trust)] == [f"{trust}mine.pem"]


def test_the_engine_is_the_users_choice() -> None:
    arguments = mitmdump_arguments(plan(further=["--set", "eas_engine=off"]))
    assert [word for word in arguments if word.startswith("eas_engine")] == ["eas_engine=off"]
    assert "eas_engine=stock" in mitmdump_arguments(plan(engine="stock"))


def test_arguments_with_an_address_and_a_certificate() -> None:
    arguments = mitmdump_arguments(
        plan(listen=Listen("::1", 8443), certificate=Path("/etc/mail.pem"))
    )
    at = arguments.index("--listen-host")
    assert arguments[at : at + 6] == [
        "--listen-host", "::1", "--listen-port", "8443", "--certs", "*=/etc/mail.pem",
    ]  # fmt: skip


def test_reserve_chooses_a_port_and_refuses_one_in_use() -> None:
    with reserve(Listen("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            with pytest.raises(OSError, match="in use"):
                reserve(Listen("127.0.0.1", port))


def test_reserve_after_a_run_whose_connections_linger() -> None:
    """The side that closes first keeps the port in TIME_WAIT for a minute (RFC 9293, 3.6.1)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = server.accept()
            served.close()
            assert client.recv(1) == b""
    reserve(Listen("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("further", "value", "rest"),
    [
        ((), None, []),
        (("--set", "eas_metrics=off"), "off", []),
        (("--set=eas_metrics=:1", "-w", "x"), ":1", ["-w", "x"]),
        (("--set", "a=b", "--set", "eas_metrics=:1", "--set", "eas_metrics=:2"), ":2",
         ["--set", "a=b"]),
        (("--set", "eas_metrics"), "", []),
        (("--set=eas_metricsx=1", "eas_metrics=1", "--set"), None,
         ["--set=eas_metricsx=1", "eas_metrics=1", "--set", ""]),
    ],
)  # fmt: skip
def test_an_option_that_is_ours_is_taken_out(
    further: tuple[str, ...], value: str | None, rest: list[str]
) -> None:
    assert without_option("eas_metrics", further) == (value, rest)
