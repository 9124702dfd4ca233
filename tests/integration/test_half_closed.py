"""What netcat and scripts do: they close their sending half behind the request, and read on."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.messages import ANNA, BERT, CONFIG, FOLDER_SYNC, LOCATION, NO_MAILBOX, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, answering, connected
from tests.integration.running import run

pytestmark = pytest.mark.integration

PAGE = b"GET /owa/ HTTP/1.0\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(answering(NO_MAILBOX)) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(tmp_path_factory.mktemp("half"), mode, config=CONFIG) as running:
        yield running


def asked(port: int, request: bytes) -> bytes:
    with connected(port) as client:
        client.send(request)
        client.half_close()
        return client.read_rest()


@pytest.mark.parametrize("request_", [PAGE, post(FOLDER_SYNC, BERT)], ids=["OWA", "EAS"])
def test_it_is_answered_as_without_us(request_: bytes, server: RawServer, proxy: Mitmdump) -> None:
    assert asked(proxy.port, request_) == NO_MAILBOX
    assert bytes(server.wires[-1].received) == request_


def test_it_is_redirected(proxy: Mitmdump) -> None:
    before = proxy.settled()
    assert LOCATION in asked(proxy.port, post(FOLDER_SYNC, ANNA))
    assert len(proxy.exchanges(before + 1)) == before + 1


def test_requests_sent_ahead_are_all_answered(proxy: Mitmdump) -> None:
    again = PAGE.replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive\r\n\r\n")
    assert asked(proxy.port, again * 3) == NO_MAILBOX * 3


def test_a_long_answer_is_whole(tmp_path: Path) -> None:
    """It takes longer than an answer has to begin, under `eas-redirect run`."""
    begun = threading.Event()

    def slowly(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        begun.set()
        for _ in range(3):
            threading.Event().wait(0.8)  # the pauses are what is tested
            wire.send(b"x")

    with RawServer(slowly) as server, run(tmp_path, f"http://127.0.0.1:{server.port}") as running:
        answer = asked(running.port, PAGE)
    assert begun.is_set()
    assert answer.endswith(b"\r\n\r\nxxx")


def test_nothing_went_wrong_inside(proxy: Mitmdump) -> None:
    assert "Traceback" not in proxy.log
    assert "has crashed" not in proxy.log
