"""The legacy Exchange seen by `check`: over real sockets and real TLS."""

from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from eas_redirect.activesync.host_port import ServerURL, read_server_url
from eas_redirect.checking import legacy_server
from eas_redirect.checking.legacy_server import check_autodiscover, check_upstream
from eas_redirect.checking.tried import Check
from eas_redirect.configuration.kinds import UPSTREAM_PORTS
from eas_redirect.lab.authority import LEAF_DAYS, LabCertificates
from tests.integration.processes import free_port
from tests.integration.rawserver import RawServer, answering

ASKS = (
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n"
    b'WWW-Authenticate: Basic realm="x"\r\n'
)
TIMEOUT_S = 20.0


def answer(head: bytes, *, date: float | None = None) -> bytes:
    now = formatdate(date, usegmt=True).encode()
    return head + b"Date: " + now + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def states(checks: list[Check]) -> dict[str, str]:
    return {check.subject.split(" ", 2)[2]: check.state for check in checks}


def of(url: str) -> ServerURL:
    return read_server_url(url, UPSTREAM_PORTS)


def tried(url: str, ca: Path | None = None) -> list[Check]:
    return list(check_upstream(of(url), TIMEOUT_S, str(ca) if ca else None))


def test_exchange_asks_to_log_on() -> None:
    head = ASKS + b"MS-Server-ActiveSync: 8.3\r\n"
    with RawServer(answering(answer(head))) as server:
        checks = tried(f"http://127.0.0.1:{server.port}")
    assert states(checks) == {"OPTIONS": "good", "version": "warning", "clock": "good"}
    assert checks[0].finding == "asks to log on by Negotiate, Basic; its server is version 8.3"
    sent = bytes(server.wires[0].received)
    assert sent.startswith(b"OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1\r\n")
    assert b"authorization" not in sent.lower()


@pytest.mark.parametrize(
    ("said", "least", "warned"),
    [
        (b"8.3", "14.0", 'exchange.min_protocol_version = "12.1"'),
        (b"8.0", "12.1", None),
        (b"8.1", "2.5", None),
        (b"6.5.7638.1", "12.1", 'exchange.min_protocol_version = "2.5"'),
        (b"14.3", "14.0", None),
        (b"15.0", "14.1", None),
        (b"Exchange", "14.0", None),
    ],
)
def test_a_server_whose_devices_would_all_be_left_alone(
    said: bytes, least: str, warned: str | None
) -> None:
    head = ASKS + b"MS-Server-ActiveSync: " + said + b"\r\n"
    with RawServer(answering(answer(head))) as server:
        url = of(f"http://127.0.0.1:{server.port}")
        checks = list(check_upstream(url, TIMEOUT_S, None, min_protocol_version=least))
    found = [check for check in checks if check.subject.endswith(" version")]
    assert [check.state for check in found] == (["warning"] if warned else [])
    assert all(warned in (check.advice or "") for check in found if warned)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n", "answered 200 to OPTIONS without credentials"),
        (b"HTTP/1.1 404 Not Found\r\n", "answered 404"),
        (b"HTTP/1.1 401 Unauthorized\r\n", "401 without WWW-Authenticate"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
    ],
)
def test_what_is_no_exchange(head: bytes, words: str) -> None:
    with RawServer(answering(answer(head))) as server:
        checks = tried(f"http://127.0.0.1:{server.port}")
    assert checks[0].state == "failed"
    assert words in checks[0].finding
    assert checks[0].advice


def test_a_clock_that_is_wrong() -> None:
    with RawServer(answering(answer(ASKS, date=1_700_000_000))) as server:
        checks = tried(f"http://127.0.0.1:{server.port}")
    assert states(checks)["clock"] == "warning"


def test_nobody_there() -> None:
    [check] = tried(f"http://127.0.0.1:{free_port()}")
    assert check.state == "unreachable"


def tls_server(tmp_path: Path, days_left: int) -> tuple[RawServer, Path]:
    issued_at = datetime.now(UTC) - timedelta(days=LEAF_DAYS - days_left)
    authority = LabCertificates(tmp_path / "tls", now=issued_at)
    context = authority.issue("server", ("localhost", "127.0.0.1")).server_context()
    return RawServer(answering(answer(ASKS)), context), authority.ca_file


@pytest.mark.parametrize(
    ("days_left", "ca", "certificates"),
    [
        (300, "pinned", {"good"}),
        (3, "pinned", {"warning"}),
        (-1, "pinned", {"failed"}),
        (300, "unknown", {"failed"}),
    ],
)
def test_its_certificate(tmp_path: Path, days_left: int, ca: str, certificates: set[str]) -> None:
    prepared, ca_file = tls_server(tmp_path, days_left)
    with prepared as server:
        checks = tried(f"https://localhost:{server.port}", ca_file if ca == "pinned" else None)
    found = {check.state for check in checks if check.subject.endswith("certificate")}
    assert found == certificates
    assert states(checks)["TLS"] == "good"
    assert states(checks)["OPTIONS"] == "good"


def test_a_tls_port_that_is_called_by_http(tmp_path: Path) -> None:
    """Most hang up without a word; nginx answers 400."""
    prepared, _ = tls_server(tmp_path, 300)
    with prepared as server:
        url = f"http://127.0.0.1:{server.port}"
        found = [
            *tried(url),
            *check_autodiscover(of(url), TIMEOUT_S, ["mail.contoso.example"], weak=False),
        ]
    assert [check.state for check in found] == ["failed", "failed"]
    for check in found:
        assert check.finding.endswith("is a TLS port, and it is called by http")
        assert check.advice == f"Write https://127.0.0.1:{server.port}."


def test_passwords_in_clear_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(answer(ASKS))) as server:
        assert "encryption" not in states(tried(f"http://localhost:{server.port}"))
        monkeypatch.setattr(legacy_server, "_is_on_this_machine", lambda host: host == "")
        checks = tried(f"http://127.0.0.1:{server.port}")
    assert states(checks)["encryption"] == "warning"
    assert states(checks)["OPTIONS"] == "good"
    [nobody] = tried(f"http://127.0.0.1:{free_port()}")
    assert nobody.state == "unreachable"


def test_what_is_on_this_machine() -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost"):
        assert legacy_server._is_on_this_machine(host), host
    for host in ("192.0.2.1", "2001:db8::1", "0.0.0.0", "no..name", "x" * 70):  # noqa: S104
        assert not legacy_server._is_on_this_machine(host), host


def test_tls_where_there_is_none() -> None:
    with RawServer(lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        [check] = tried(f"https://127.0.0.1:{server.port}")
    assert check.state == "failed"
    assert "is not a TLS port" in check.finding
    assert "usually 443" in (check.advice or "")


@pytest.mark.parametrize(
    ("head", "weak", "state"),
    [
        (ASKS, True, "good"),
        (ASKS, False, "good"),
        (b"HTTP/1.1 404 Not Found\r\n", False, "warning"),
        (b"HTTP/1.1 200 OK\r\n", True, "failed"),
    ],
)
def test_autodiscover_asks_to_log_on(head: bytes, weak: bool, state: str) -> None:
    with RawServer(answering(answer(head))) as server:
        url = f"http://127.0.0.1:{server.port}"
        (check,) = check_autodiscover(of(url), TIMEOUT_S, ["mail.contoso.example"], weak=weak)
    assert (check.subject, check.state) == ("upstream 127.0.0.1 Autodiscover", state)
    sent = bytes(server.wires[0].received)
    assert sent.startswith(b"POST /autodiscover/autodiscover.xml HTTP/1.1\r\n")
    assert b"authorization" not in sent.lower()


def test_autodiscover_needs_a_name_that_phones_call() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    name, reached = check_autodiscover(of(url), TIMEOUT_S, (), weak=False)
    assert (name.state, reached.state) == ("warning", "unreachable")
    assert "exchange.host_names" in (name.advice or "")
