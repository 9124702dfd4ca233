"""A device that waits is told to ask for its folders once its user has moved, and only then."""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from eas_redirect.activesync.wait import ENDINGS
from eas_redirect.activesync.wbxml import element
from tests.activesync.test_wait import CHANGE, FOLDER, HEARTBEAT, WAIT, folders, sync
from tests.integration.messages import (
    ANNA,
    BERT,
    CONFIG,
    FOLDER_SYNC,
    LOCATION,
    NO_MAILBOX,
    PING,
    SYNC,
    at,
    head,
    post,
)
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected
from tests.integration.running import PROGRAM, Running, run, wait_until
from tests.integration.test_connection_bound import Insisting, log_on

pytestmark = pytest.mark.integration

WATCHING = CONFIG.replace("[directory]", '[redirect]\nend_waits = "{}"\n[directory]\nwatch_s = 1')
HEARTBEAT_EXPIRED = bytes.fromhex("03016A00000D45470331000101")
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


def waits_of(proxy: Mitmdump, device: str, count: int = 1) -> list[dict[str, object]]:
    """The `eas.wait` lines of a device, once there are `count`: they are written on the side."""
    deadline = time.monotonic() + 15
    while True:
        lines = [line for line in proxy.journal if at(line, "event.action") == "eas.wait"]
        found = [line for line in lines if at(line, "eas.device.id") == device]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def ping(device: str, who: bytes = ANNA, target: bytes = PING) -> bytes:
    return post(target.replace(b"DeviceId=d", b"DeviceId=" + device.encode()), who)


@pytest.mark.parametrize("engine", ["full", "safe", "off"])
def test_a_moved_users_wait_ends_and_the_451_follows(
    engine: str, exchange: Exchange, tmp_path: Path
) -> None:
    with (
        proxy_of(exchange, tmp_path, "ping", eas_engine=engine) as proxy,
        connected(proxy.port) as anna,
        connected(proxy.port) as bert,
        connected(proxy.port) as syncs,
    ):
        bert.send(ping("B1", BERT))
        syncs.send(ping("S1", target=SYNC))
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
        time.sleep(1.5)
        for other in (bert, syncs):
            other.patience(0.1)
            with pytest.raises(TimeoutError):
                other.read_answer()
        (line,) = waits_of(proxy, "A1")
        assert at(line, "eas.decision") == "end_wait"
        assert at(line, "event.reason") == "mailbox_moved"
        assert at(line, "http.response.status_code") == 200
        assert 1 <= float(str(at(line, "eas.wait_s"))) < 10
        assert waits_of(proxy, "B1", 0) == []
        assert "Traceback" not in proxy.log
        assert "crashed" not in proxy.log


BIG = sync(folders(FOLDER), WAIT, element(0, "Options", "x" * 70_000))
HALVES = (sync(WAIT)[:9], sync(WAIT)[9:])
CHUNKED = b"\r\n".join(b"%x\r\n%s" % (len(half), half) for half in HALVES)

# What is sent, by its device, and the bytes that end the wait; None: it goes on.
CASES: dict[str, tuple[bytes, bytes | None]] = {
    "Ping": (ping("Ping"), ENDINGS["ping"]),
    "PingWithBody": (
        post(PING.replace(b"DeviceId=d", b"DeviceId=PingWithBody"), ANNA, body=b"\3\1\x6a\0"),
        ENDINGS["ping"],
    ),
    "Empty": (ping("Empty", target=SYNC), ENDINGS["sync"]),
    "Waits": (
        post(
            SYNC.replace(b"DeviceId=d", b"DeviceId=Waits"), ANNA, body=sync(folders(FOLDER), WAIT)
        ),
        ENDINGS["sync"],
    ),
    "Chunked": (
        head(
            b"POST " + SYNC.replace(b"DeviceId=d", b"DeviceId=Chunked") + b" HTTP/1.1",
            b"MS-ASProtocolVersion: 14.1",
            ANNA,
            b"Transfer-Encoding: chunked",
        )
        + CHUNKED
        + b"\r\n0\r\n\r\n",
        ENDINGS["sync"],
    ),
    "Changes": (
        post(
            SYNC.replace(b"DeviceId=d", b"DeviceId=Changes"),
            ANNA,
            body=sync(folders(CHANGE), HEARTBEAT),
        ),
        None,
    ),
    "Plain": (
        post(SYNC.replace(b"DeviceId=d", b"DeviceId=Plain"), ANNA, body=sync(folders(FOLDER))),
        None,
    ),
    "Big": (post(SYNC.replace(b"DeviceId=d", b"DeviceId=Big"), ANNA, body=BIG), None),
    "Garbage": (post(SYNC.replace(b"DeviceId=d", b"DeviceId=Garbage"), ANNA, body=b"\0\xff"), None),
    "Search": (ping("Search", target=PING.replace(b"Cmd=Ping", b"Cmd=Search")), None),
    "Staged": (ping("Staged", BERT), None),
    "QueryOnly": (
        post(PING.replace(b"DeviceId=d", b"DeviceId=QueryOnly").replace(b"bert", b"anna")),
        None,
    ),
    "Kerberos": (ping("Kerberos", b"Authorization: Negotiate YII="), None),
    "Endless": (
        head(
            b"POST " + PING.replace(b"DeviceId=d", b"DeviceId=Endless") + b" HTTP/1.1",
            b"MS-ASProtocolVersion: 14.1",
            ANNA,
            b"X-Endless: Cmd=Endless",
            b"Content-Length: 9",
        )
        + b"abc",
        None,
    ),
    "OldVersion": (ping("OldVersion").replace(b"Version: 14.1", b"Version: 12.1"), None),
}


def test_each_kind_of_wait_ends_with_its_own_bytes_and_nothing_else_does(
    exchange: Exchange, proxy: Mitmdump
) -> None:
    with ExitStack() as stack:
        wires = {name: stack.enter_context(connected(proxy.port)) for name in CASES}
        for name, (request, _) in CASES.items():
            wires[name].send(request)
        for name, (_, ending) in CASES.items():
            if ending is not None:
                assert wires[name].read_answer().partition(b"\r\n\r\n")[2] == ending, name
        going_on = [wires[name] for name, (_, ending) in CASES.items() if ending is None]
        time.sleep(2)  # two more looks
        for wire in going_on:
            wire.patience(0.05)
            with pytest.raises(TimeoutError):
                wire.read_head()
        (line,) = waits_of(proxy, "OldVersion")
        assert at(line, "eas.wait_held_back") == "decision"
        assert at(line, "event.reason") == "protocol_version_too_low"
        told = {name for name in CASES if waits_of(proxy, name, 0)}
        assert told == {name for name, (_, ending) in CASES.items() if ending} | {"OldVersion"}
        with connected(proxy.port) as wire:
            wire.send(ping("Wrong", WRONG))
            assert wire.read_answer() == UNAUTHORIZED
    assert "Traceback" not in proxy.log


def test_a_second_wait_goes_on_although_the_user_has_moved(
    exchange: Exchange, proxy: Mitmdump
) -> None:
    with connected(proxy.port) as wire:
        wire.send(ping("Again"))
        wire.read_answer()
    with connected(proxy.port) as wire:
        wire.send(ping("Again"))
        wire.patience(3)
        with pytest.raises(TimeoutError):
            wire.read_head()
        held = [at(line, "eas.wait_held_back") for line in waits_of(proxy, "Again", 2)]
        assert held == [None, "again_later"]


def test_a_logon_of_the_connection_names_the_user(tmp_path: Path) -> None:
    insisting = Insisting()
    insisting.hangs_on = b"Cmd=Ping"
    with (
        RawServer(insisting.serve) as server,
        mitmdump(
            tmp_path, f"reverse:http://127.0.0.1:{server.port}", config=WATCHING.format("ping")
        ) as proxy,
        connected(proxy.port) as phone,
    ):
        assert LOCATION in log_on(phone, b"NTLM", "anna")
        phone.send(post(PING.replace(b"User=bert&", b"").replace(b"DeviceId=d", b"DeviceId=N")))
        assert phone.read_answer().partition(b"\r\n\r\n")[2] == ENDINGS["ping"]
        assert phone.wait_for_end() == "close"  # its logon has gone with Exchange's connection
        (line,) = waits_of(proxy, "N")
        assert at(line, "user.name") == "anna"


def test_observing_journals_what_would_end(exchange: Exchange, tmp_path: Path) -> None:
    with (
        proxy_of(exchange, tmp_path, eas_mode="observe") as proxy,
        connected(proxy.port) as phone,
    ):
        phone.send(ping("Observed"))
        phone.patience(3)
        with pytest.raises(TimeoutError):
            phone.read_head()
        (line,) = waits_of(proxy, "Observed")
        assert at(line, "eas.decision") == "would_end_wait"
        assert at(line, "http.response.status_code") is None
        assert not list(tmp_path.glob("*.ended-waits"))


def test_without_its_file_no_wait_ends_and_the_log_says_why(
    exchange: Exchange, tmp_path: Path
) -> None:
    (tmp_path / "journal.ended-waits").mkdir()
    with proxy_of(exchange, tmp_path) as proxy, connected(proxy.port) as phone:
        phone.send(ping("F"))
        phone.patience(3)
        with pytest.raises(TimeoutError):
            phone.read_head()
        (line,) = waits_of(proxy, "F")
        assert at(line, "eas.wait_held_back") == "state_file"
        assert at(line, "log.level") == "warning"
        assert "journal.ended-waits cannot be used" in proxy.log


def test_workers_share_what_they_have_ended(exchange: Exchange, tmp_path: Path) -> None:
    """Whichever takes a device's second wait; and a stop at the same time gives one answer each."""
    config = '[redirect]\nend_waits = "ping"\n'
    head_ = CONFIG.replace("[directory]", "[directory]\nwatch_s = 1")
    url = f"http://127.0.0.1:{exchange.port}"
    devices = [f"W{number}" for number in range(8)]
    with run(tmp_path, url, "--workers", "2", config=config, head=head_) as proxy:
        for again in (False, True):
            with ExitStack() as stack:
                wires = [stack.enter_context(connected(proxy.port)) for _ in devices]
                for wire, device in zip(wires, devices, strict=True):
                    wire.send(ping(device))
                if not again:
                    assert all(ENDINGS["ping"] in wire.read_answer() for wire in wires)
                    continue
                wait_until(lambda: len(held_back(proxy)) == len(devices), "the second waits")
                assert "8 devices wait; their waits end at the next look" in explained(proxy)
                for wire in wires:
                    wire.patience(0.05)
                    with pytest.raises(TimeoutError):
                        wire.read_head()
                    wire.patience(30)
                proxy.signal(signal.SIGTERM)
                assert all(HEARTBEAT_EXPIRED in wire.read_answer() for wire in wires)
        samples = proxy.journal
    ended = [line for line in samples if at(line, "eas.decision") == "end_wait"]
    assert sorted(str(at(line, "eas.device.id")) for line in ended) == devices
    assert set(held_back(proxy)) == {"again_later"}


def explained(proxy: Running) -> str:
    config = str(proxy.directory / "eas-redirect.toml")
    words = [*PROGRAM, "explain", r"CONTOSO\anna", "--config", config]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def held_back(proxy: Running) -> list[object]:
    found = [at(line, "eas.wait_held_back") for line in proxy.journal]
    return [word for word in found if word is not None]
