"""`eas-redirect run` as a process: its stops, its workers, its pages."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.device import PATH, Reply, basic
from tests.integration.running import PROGRAM, Running, run, wait_until, write_config
from tests.integration.waiting import BODY, Waiting, waiting_exchange

pytestmark = pytest.mark.integration

HEARTBEAT_EXPIRED = bytes.fromhex("03016a00000d454703310001 01".replace(" ", ""))


@pytest.fixture
def exchange() -> Iterator[Waiting]:
    with waiting_exchange() as state:
        yield state


def ask(port: int, command: str = "Sync", device: str = "D1") -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    target = f"{PATH}?Cmd={command}&User=anna&DeviceId={device}&DeviceType=Phone"
    headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic("anna@contoso.example")}
    try:
        connection.request("POST", target, body=b"x", headers=headers)
        answer = connection.getresponse()
        fields = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(answer.status, answer.reason, fields, answer.read())
    finally:
        connection.close()


def asking(pool: ThreadPoolExecutor, running: Running, *words: str) -> "Future[Reply]":
    return pool.submit(ask, running.port, *words)


def test_a_stop_ends_pings_and_lets_the_rest_finish(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url) as running, ThreadPoolExecutor(8) as pool:
        pings = [asking(pool, running, "Ping", f"P{number}") for number in range(3)]
        sync = asking(pool, running, "Sync", "slow")
        wait_until(lambda: exchange.held == 4, "the requests reach Exchange")
        wait_until(lambda: running.samples()["eas_open_waits"] == 4, "the waits are counted")
        running.signal(signal.SIGTERM)
        for ping in pings:
            reply = ping.result(60)
            assert reply.status == 200
            assert reply.body == HEARTBEAT_EXPIRED
            assert reply.header("content-type") == "application/vnd.ms-sync.wbxml"
            assert reply.header("connection") == "close"
        wait_until(lambda: running.page("/ready")[0] == 503, "no longer ready")
        assert "draining" in running.page("/ready")[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), 5)
        exchange.let_go.set()
        reply = sync.result(60)
        assert (reply.status, reply.body) == (200, BODY)
        assert reply.header("connection") == "close"
        assert running.process.wait(60) == 0
    stopped = [line for line in running.journal if "proxy_stopped" in str(line)]
    assert len(stopped) == 3


def test_a_stop_is_over_when_its_time_is(tmp_path: Path, exchange: Waiting) -> None:
    with (
        run(tmp_path, exchange.url, "--stop-timeout", "0.5") as running,
        ThreadPoolExecutor(2) as pool,
    ):
        sync = asking(pool, running, "Sync", "slow")
        wait_until(lambda: exchange.held == 1, "the request reaches Exchange")
        running.signal(signal.SIGTERM)
        reply = sync.result(60)
        assert (reply.status, reply.header("retry-after")) == (503, "1")
        assert running.process.wait(60) == 0


def test_a_second_signal_stops_at_once(tmp_path: Path, exchange: Waiting) -> None:
    with (
        run(tmp_path, exchange.url, "--stop-timeout", "600") as running,
        ThreadPoolExecutor(2) as pool,
    ):
        sync = asking(pool, running, "Sync", "slow")
        wait_until(lambda: exchange.held == 1, "the request reaches Exchange")
        running.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in running.log, "the stop begins")
        running.signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        # Cut off; or, where the end of Exchange's connection was seen first, told so.
        with contextlib.suppress(http.client.HTTPException, OSError):
            assert sync.result(60).status == 503


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_more_phones_wait_than_the_soft_limit_has_descriptors(
    tmp_path: Path, exchange: Waiting, arguments: tuple[str, ...]
) -> None:
    program = ("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", *PROGRAM)
    with (
        run(tmp_path, exchange.url, *arguments, program=program) as running,
        ThreadPoolExecutor(120) as pool,
    ):
        pings = [asking(pool, running, "Ping", f"P{number}") for number in range(120)]
        wait_until(lambda: exchange.held == 120, "the Pings wait")
        exchange.let_go.set()
        assert {ping.result(60).status for ping in pings} == {200}


def test_a_hangup_opens_the_journal_anew(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url) as running:
        ask(running.port)
        wait_until(lambda: running.exchanges() == 1, "the first line")
        journal = tmp_path / "journal.jsonl"
        journal.rename(tmp_path / "journal.jsonl.1")
        running.signal(signal.SIGHUP)
        wait_until(journal.exists, "a new journal")
        ask(running.port)
        wait_until(lambda: running.exchanges() == 1, "the line after the rotation")
        assert running.process.poll() is None


def test_pages(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url) as running:
        ask(running.port)
        wait_until(lambda: running.samples().get("eas_requests_total") == 1, "the count")
        status, page = running.page("/")
        assert status == 200
        assert "migration.ldif" not in page or "snapshot" in page
        assert str(tmp_path / "eas-redirect.toml") in page
        assert running.page("/health")[0] == 200
        assert running.page("/status")[0] == 404
        assert running.page("/etc/passwd")[0] == 404


def test_users_are_named_on_the_page_as_in_the_journal(tmp_path: Path, exchange: Waiting) -> None:
    config = '[journal]\nusers = "drop"\n'
    with run(tmp_path, exchange.url, config=config) as running:
        ask(running.port)
        assert "anna" not in running.page("/")[1]
    assert "anna" not in (tmp_path / "journal.jsonl").read_text()


def test_an_upstream_that_is_down_is_not_ready(tmp_path: Path) -> None:
    with waiting_exchange() as gone:
        url = gone.url
    with run(tmp_path, url, ready=False) as running:
        wait_until(lambda: "status page at 127" in running.log, "the pages")
        running.pages = int(running.log.split("status page at 127.0.0.1:")[1].split()[0])
        status, text = running.page("/ready")
        assert (status, '"upstream": "unreachable"' in text) == (503, True)
        assert running.page("/health")[0] == 200


def test_workers_are_one_to_the_outside(tmp_path: Path, exchange: Waiting) -> None:
    count = 400
    with run(tmp_path, exchange.url, "--workers", "2") as running, ThreadPoolExecutor(16) as pool:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        replies = list(pool.map(lambda n: ask(running.port, "Sync", f"D{n}"), range(count)))
        assert {reply.status for reply in replies} == {200}
        wait_until(lambda: running.exchanges() == count, "every line of the journal")
        wait_until(lambda: running.samples().get("eas_requests_total") == count, "the sum")
        assert running.samples()["eas_ready"] == 1
        assert "2 workers" in running.page("/")[1]
        running.signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
    assert len({line["client"]["port"] for line in running.journal if "client" in line}) > 1  # type: ignore[index]


def test_a_worker_that_dies_is_replaced_and_its_counts_stay(
    tmp_path: Path, exchange: Waiting
) -> None:
    with run(tmp_path, exchange.url, "--workers", "2") as running:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        for number in range(20):
            ask(running.port, "Sync", f"D{number}")
        wait_until(lambda: running.samples().get("eas_requests_total") == 20, "the counts")
        victim = running.children()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: running.samples().get("eas_worker_restarts_total") == 1, "the restart")
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers again")
        assert victim not in running.children()
        assert running.samples()["eas_requests_total"] == 20
        assert ask(running.port).status == 200
        assert "was ended by SIGKILL; starting it again" in running.log


def test_workers_stop_gracefully_together(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url, "--workers", "2") as running, ThreadPoolExecutor(8) as pool:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        pings = [asking(pool, running, "Ping", f"P{number}") for number in range(6)]
        wait_until(lambda: exchange.held == 6, "the Pings wait")
        running.signal(signal.SIGTERM)
        assert {ping.result(60).body for ping in pings} == {HEARTBEAT_EXPIRED}
        assert running.process.wait(60) == 0


def test_workers_end_when_their_supervisor_is_gone(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url, "--workers", "2") as running:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        workers = running.children()
        running.process.kill()
        running.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "their end")


def test_no_exchange_is_lost_while_workers_die(tmp_path: Path, exchange: Waiting) -> None:
    """Beyond the connections that the dying worker itself held."""
    lost: list[tuple[float, BaseException]] = []  # when the exchange began, and how it ended
    done = threading.Event()
    answered = 0

    def load() -> None:
        nonlocal answered
        while not done.is_set():
            began = time.monotonic()
            try:
                assert ask(running.port).status == 200
                answered += 1
            except (OSError, http.client.HTTPException) as error:
                lost.append((began, error))

    with run(tmp_path, exchange.url, "--workers", "2") as running, ThreadPoolExecutor(4) as pool:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        loads = [pool.submit(load) for _ in range(4)]
        wait_until(lambda: answered > 40, "some load")
        worker = running.children()[0]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "its end")
        gone = time.monotonic()
        wait_until(lambda: running.samples().get("eas_worker_restarts_total") == 1, "the restart")
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers again")
        before = answered
        wait_until(lambda: answered > before + 40, "load on both again")
        done.set()
        for each in loads:
            each.result(60)
    # What the dead worker held: the connection of each client, and perhaps its next one, which the
    # kernel still gave to the dying worker's queue. Nothing that began after its end.
    assert [error for began, error in lost if began > gone] == []
    assert len(lost) <= 8


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--stock",)], ids=str)
def test_a_start_that_fails_says_why(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    options = {"eas_mode": "aggressive"}
    with run(tmp_path, "http://127.0.0.1:9", *arguments, options=options, ready=False) as running:
        assert running.process.wait(60) == 1
        assert "aggressive" in running.log
    assert "Traceback" not in running.log


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--stock",)], ids=str)
def test_a_port_of_the_pages_that_is_taken_ends_the_start(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        file = write_config(tmp_path)
        file.write_text(re.sub(r'listen = ".*"', f'listen = "{listen}"', file.read_text()))
        url = "http://127.0.0.1:9"
        with run(tmp_path, url, *arguments, config_file=file, ready=False) as running:
            assert running.process.wait(60) == 1
            assert f"cannot serve metrics at {listen}: Address already in use" in running.log
        assert "Traceback" not in running.log


def test_stock_is_mitmdump(tmp_path: Path, exchange: Waiting) -> None:
    with run(tmp_path, exchange.url, "--stock") as running:
        assert ask(running.port).status == 200
        assert running.end() == 0


def test_a_users_script_and_options_work(tmp_path: Path, exchange: Waiting) -> None:
    script = tmp_path / "mine.py"
    script.write_text("def responseheaders(flow):\n    flow.response.headers['X-Mine'] = 'yes'\n")
    flows = tmp_path / "flows"
    arguments = ("--", "-s", str(script), "-w", str(flows))
    with run(tmp_path, exchange.url, *arguments) as running:
        assert ask(running.port).header("x-mine") == "yes"
        assert running.end() == 0
    assert flows.stat().st_size > 0


def test_print_command_is_what_runs(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    program = str(Path(sys.executable).with_name("eas-redirect"))
    printed = subprocess.run(
        [program, "run", "--config", str(config), "--upstream", "https://ex07.contoso.example",
         "--listen", "0", "--print-command", "--", "--set", "tcp_timeout=5000"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert printed.stdout.startswith("mitmdump --mode reverse:https://ex07.contoso.example ")
    assert "tcp_timeout=5000" in printed.stdout
    assert "tcp_timeout=4200" not in printed.stdout
