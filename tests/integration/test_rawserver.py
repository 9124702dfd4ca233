"""The harness itself: what it records without a proxy between, and through a bare mitmdump."""

from pathlib import Path

import pytest

from tests.integration.mitmdump import NotStartedError, mitmdump
from tests.integration.rawserver import RawServer, answering, connected, dechunked

REQUEST = b"POST /owa/ HTTP/1.1\r\nHost: mail.contoso.example\r\nContent-Length: 3\r\n\r\nabc"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_both_ends_record_every_byte() -> None:
    with RawServer(answering(ANSWER)) as server, connected(server.port) as client:
        for _ in range(2):
            client.send(REQUEST)
            assert client.read_answer() == ANSWER
    assert bytes(server.wires[0].received) == REQUEST * 2
    assert bytes(client.received) == ANSWER * 2


def test_how_a_peer_left_is_told() -> None:
    with RawServer(lambda wire: wire.reset()) as server, connected(server.port) as client:
        assert client.wait_for_end() == "reset"
    with RawServer(lambda wire: wire.close()) as server, connected(server.port) as client:
        assert client.wait_for_end() == "close"


def test_a_scripts_failure_fails_the_test() -> None:
    def script(_: object) -> None:
        raise ValueError("a mistake in the script")

    with (
        pytest.raises(ValueError, match="a mistake"),
        RawServer(script) as server,
        connected(server.port) as client,
    ):
        client.wait_for_end()


def test_chunks_are_put_together_with_trailers_apart() -> None:
    raw = b"3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-End: 1\r\n\r\n"
    assert dechunked(raw) == (b"abc0123456789", b"X-End: 1\r\n\r\n")


@pytest.mark.integration
@pytest.mark.parametrize("quiet", [False, True], ids=["talking", "quiet"])
def test_a_mitmdump_runs_between(tmp_path: Path, quiet: bool) -> None:
    with RawServer(answering(ANSWER)) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, addon=False, quiet=quiet) as proxy:
            with connected(proxy.port) as client:
                client.send(REQUEST)
                assert client.read_answer() == ANSWER
            assert proxy.resident_kib() > 1000
            assert proxy.stop() == 0


@pytest.mark.integration
def test_a_mitmdump_that_refuses_to_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(NotStartedError, match="no-such-mode"),
        mitmdump(tmp_path, "no-such-mode", addon=False),
    ):
        pass
