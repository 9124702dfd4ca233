"""A device that waits is told to ask for its folders once its user has moved, and only then."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.activesync.wait import ENDINGS
from tests.integration.messages import (
    ANNA,
    BERT,
    CONFIG,
    FOLDER_SYNC,
    LOCATION,
    NO_MAILBOX,
    PING,
    at,
    post,
    wbxml,
)
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected

pytestmark = pytest.mark.integration

WATCHING = CONFIG.replace("[directory]", '[redirect]\nend_waits = "{}"\n[directory]\nwatch_s = 1')
NOTHING_NEW = wbxml(bytes.fromhex("03016A00000D45470331000101"))
WRONG = b"Authorization: Basic eDp5"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


class Exchange(RawServer):
    """Holds every Ping and Sync until it is told to answer it; says 123 to anybody else."""

    def __init__(self) -> None:
        super().__init__(self._script)
        self.waiting = threading.Semaphore(0)
        self.left = threading.Semaphore(0)

    def _script(self, wire: Wire) -> None:
        while True:
            request = wire.read_head()
            if b"Cmd=Endless" in request:
                wire.wait_for_end()
                self.left.release()
                return
            wire.read_body(request)
            if WRONG in request:
                wire.send(UNAUTHORIZED)
            elif b"Cmd=FolderSync" in request:
                wire.send(NO_MAILBOX)
            else:
                self.waiting.release()
                wire.wait_for_end()
                self.left.release()
                return


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with Exchange() as running:
        yield running


def proxy_of(
    exchange: Exchange, directory: Path, waits: str = "ping_and_sync", **options: str
) -> "contextlib.AbstractContextManager[Mitmdump]":
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    return mitmdump(directory, mode, config=WATCHING.format(waits), options=options)


@pytest.fixture(scope="module")
def proxy(exchange: Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    with proxy_of(exchange, tmp_path_factory.mktemp("waits")) as running:
        yield running


def waits_of(proxy: Mitmdump, device: str) -> list[dict[str, object]]:
    """The `eas.wait` lines of a device."""
    return [
        line
        for line in proxy.journal
        if at(line, "event.action") == "eas.wait" and at(line, "eas.device.id") == device
    ]


def ping(device: str, who: bytes = ANNA, target: bytes = PING) -> bytes:
    return post(target.replace(b"DeviceId=d", b"DeviceId=" + device.encode()), who)


@pytest.mark.parametrize("engine", ["full", "safe", "off"])
def test_a_moved_users_wait_ends_and_the_451_follows(
    engine: str, exchange: Exchange, tmp_path: Path
) -> None:
    with (
        proxy_of(exchange, tmp_path, eas_engine=engine) as proxy,
        connected(proxy.port) as anna,
        connected(proxy.port) as bert,
    ):
        bert.send(ping("B1", BERT))
        anna.send(ping("A1"))
        answer = anna.read_answer()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        head_, _, body = answer.partition(b"\r\n\r\n")
        assert body == ENDINGS["ping"] == bytes.fromhex("03016A00000D45470337000101")
        assert sorted(head_.lower().split(b"\r\n")[1:]) == [
            b"cache-control: private",
            b"connection: close",
            b"content-length: 13",
            b"content-type: application/vnd.ms-sync.wbxml",
        ]
        assert anna.wait_for_end() == "close"
        assert exchange.left.acquire(timeout=5)
        with connected(proxy.port) as again:
            again.send(post(FOLDER_SYNC, ANNA))
            assert LOCATION in again.read_answer()
        bert.patience(2)
        with pytest.raises(TimeoutError):
            bert.read_answer()
        (line,) = waits_of(proxy, "A1")
        assert at(line, "eas.decision") == "end_wait"
        assert at(line, "event.reason") == "mailbox_moved"
        assert at(line, "http.response.status_code") == 200
        assert 1 <= float(str(at(line, "eas.wait_s"))) < 10
        assert waits_of(proxy, "B1") == []
        assert "Traceback" not in proxy.log
        assert "crashed" not in proxy.log
