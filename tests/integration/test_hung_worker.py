"""A worker that hangs (SIGSTOP): seen, left out, replaced; a pause is forgiven.

With the limits of `impatient`, everything else as users run it.
"""

import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eas_redirect.lab.placement import Namespace
from tests.integration.device import PATH, basic
from tests.integration.impatient import HUNG_S, PROGRAM
from tests.integration.running import Running, run, wait_until
from tests.integration.waiting import Waiting, waiting_exchange
from tests.support import ROOT, require, unavailable

pytestmark = pytest.mark.integration

PATIENCE_S = 0.5  # of a client here: an answer takes milliseconds, or does not come


@pytest.fixture
def exchange() -> Iterator[Waiting]:
    with waiting_exchange() as state:
        yield state


@contextmanager
def two_workers(tmp_path: Path, exchange: Waiting, *arguments: str) -> Iterator[Running]:
    words = ("--workers", "2", *arguments)
    with run(tmp_path, exchange.url, *words, program=PROGRAM) as running:
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers")
        yield running  # whoever still hangs then is ended by the supervisor


def answers(port: int, timeout_s: float = PATIENCE_S) -> bool:
    """Whether a request on a connection of its own is answered in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    target = f"{PATH}?Cmd=Sync&User=anna&DeviceId=D1&DeviceType=Phone"
    headers = {"MS-ASProtocolVersion": "14.1", "Authorization": basic("anna@contoso.example")}
    try:
        connection.request("POST", target, body=b"x", headers=headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def hang(running: Running) -> int:
    """Stop one worker; its pid, when the supervisor knows."""
    victim = running.children()[0]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: '"hanging"' in running.page("/ready")[1], "its silence is known")
    return victim


def test_a_hung_worker_is_replaced_and_service_goes_on(tmp_path: Path, exchange: Waiting) -> None:
    seen: list[bool] = []  # the answers while one worker hung
    replaced = threading.Event()

    def load() -> None:
        while not replaced.is_set():
            seen.append(answers(running.port))

    with two_workers(tmp_path, exchange) as running, ThreadPoolExecutor(4) as pool:
        assert all(answers(running.port, 30) for _ in range(20))
        wait_until(lambda: running.samples().get("eas_requests_total") == 20, "the counts")
        began = time.monotonic()
        victim = hang(running)
        loads = [pool.submit(load) for _ in range(4)]
        assert running.page("/ready")[0] == 503
        samples = running.samples()
        assert (samples["eas_workers"], samples["eas_ready"]) == (1, 0)
        assert samples["eas_requests_total"] >= 20, "what it counted is not forgotten"
        assert "Workers that do not answer: 1." in running.page("/")[1]
        assert running.page("/health")[0] == 200
        wait_until(lambda: running.samples().get("eas_worker_restarts_total") == 1, "its end")
        assert time.monotonic() - began > HUNG_S
        wait_until(lambda: running.samples().get("eas_workers") == 2, "both workers again")
        replaced.set()
        for each in loads:
            each.result(60)
        assert victim not in running.children()
        assert sum(seen) > 10, "the other one serves"
        wait_until(lambda: running.page("/ready")[0] == 200, "ready again")
        assert running.samples()["eas_ready"] == 1
        assert all(answers(running.port, 30) for _ in range(40))
    assert "worker 1 hangs; ending it" in running.log
    assert "worker 1 was ended by SIGKILL; starting it again" in running.log


def test_a_pause_is_forgiven(tmp_path: Path, exchange: Waiting) -> None:
    with two_workers(tmp_path, exchange) as running:
        workers = running.children()
        os.kill(hang(running), signal.SIGCONT)
        wait_until(lambda: running.page("/ready")[0] == 200, "ready again")
        assert running.samples()["eas_workers"] == 2
        time.sleep(HUNG_S + 1)  # nothing comes of it later either
        assert running.children() == workers
        assert running.samples()["eas_worker_restarts_total"] == 0
    assert "hangs" not in running.log


def test_a_stop_does_not_wait_for_a_hung_worker(tmp_path: Path, exchange: Waiting) -> None:
    with two_workers(tmp_path, exchange, "--stop-timeout", "1") as running:
        victim = hang(running)
        running.signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert not Path(f"/proc/{victim}").exists()
    assert "1 workers did not stop in time; ending them" in running.log


def test_with_the_sysctl_who_waited_for_a_hung_worker_is_served_by_the_others(
    tmp_path: Path,
) -> None:
    """In a network of its own: the setting is the network's."""
    require("ip", "unshare", "sysctl")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        unavailable("no network namespace can be made here (it needs root)")
    with (
        closing(Namespace()) as network,
        network.inside(),
        waiting_exchange() as exchange,
        two_workers(tmp_path, exchange) as running,
        ThreadPoolExecutor(40) as pool,
    ):
        network.run("sysctl", "-p", str(ROOT / "docs" / "service" / "sysctl.conf"))
        hang(running)
        assert all(pool.map(lambda _: answers(running.port, 60), range(40)))
        restarts = "eas_worker_restarts_total"
        wait_until(lambda: running.samples()[restarts] == 1, "its end: half of them had waited")
