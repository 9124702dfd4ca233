"""`health` beside a site that says yes, no, nothing, or something else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.telemetry.site import MetricsSite, Views
from eas_redirect.telemetry.status import Status
from eas_redirect.telemetry.web import Page, WebServer, parse_listen
from tests.cli.running import run
from tests.integration.processes import free_port
from tests.telemetry.statuses import LIVELY


@contextmanager
def serving(server: MetricsSite | WebServer, address: str) -> Iterator[None]:
    """On an event loop in a thread of its own, as the command waits for the answer."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(server.start(parse_listen(address)))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: MetricsSite | WebServer) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 10)


def site(now: Status) -> MetricsSite:
    async def status() -> Status:
        return now

    async def metrics() -> bytes:
        return b""

    return MetricsSite(Views(status=status, metrics=metrics))


UNREACHABLE = replace(LIVELY, upstream=replace(LIVELY.upstream, reachable=False, problem="no TLS"))
BLIND = replace(LIVELY, directory=replace(LIVELY.directory, state="unavailable", problem="no DC"))


@pytest.mark.parametrize(
    ("now", "options", "code", "said"),
    [
        (LIVELY, [], 0, "ready\n"),
        (LIVELY, ["--mail"], 0, "ready\n"),
        (UNREACHABLE, [], 1, "not ready: no TLS\n"),
        (UNREACHABLE, ["--mail"], 1, "not ready: no TLS\n"),
        (BLIND, [], 1, "not ready: no DC\n"),
        (BLIND, ["--mail"], 0, "ready: no DC\n"),
    ],
)
def test_it_says_what_ready_says(now: Status, options: list[str], code: int, said: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with serving(site(now), address):
        ran = run("health", "--at", address, *options)
    assert (ran.code, ran.out) == (code, said)


def test_it_asks_where_the_configuration_listens(tmp_path: Path) -> None:
    (tmp_path / "forest.ldif").write_text("dn: DC=contoso,DC=example\n\n")
    file, listen = tmp_path / "eas.toml", f"127.0.0.1:{free_port()}"
    text = "mode = 'observe'\n[directory]\nsnapshot = 'forest.ldif'\n[metrics]\n"
    file.write_text(f"{text}listen = '{listen}'\n")
    with serving(site(LIVELY), listen):
        assert run("health", "--config", str(file)).code == 0
    ran = run("health", "--config", str(file))
    assert ran.code == 3
    assert f"{listen} does not answer" in ran.err


def test_a_file_that_was_spoilt_since_the_start_is_told_and_is_no_failure(tmp_path: Path) -> None:
    """A watchdog would stop what serves, and it would not start again."""
    (tmp_path / "forest.ldif").write_text("dn: DC=contoso,DC=example\n\n")
    file, listen = tmp_path / "eas.toml", f"127.0.0.1:{free_port()}"
    address = f"[metrics]\nlisten = '{listen}'\n"
    snapshot = "[directory]\nsnapshot = 'forest.ldif'\n"
    spoilt = {
        f"mode = observe\n{address}{snapshot}": "eas.toml:1: write text in quotes",
        f"{address}{snapshot}": "mode: is not said",
        f"mode = 'observe'\n{address}[directory]\nsnapshot = 'gone'\n": "directory.snapshot: ",
        f"mode = 'observe'\n{address}lisen = 1\n{snapshot}[zzz\n": "eas.toml:4: metrics.lisen",
    }
    with serving(site(LIVELY), listen):
        for text, problem in spoilt.items():
            file.write_text(text)
            ran = run("health", "--config", str(file))
            assert ran.code == 0, ran.err
            assert ran.out.startswith("ready; the file on disk is refused: ")
            assert problem in ran.out
            assert ran.out.count("\n") == 1
    with serving(site(UNREACHABLE), listen):
        ran = run("health", "--config", str(file))
    assert (ran.code, ran.out.partition("; the file on disk")[0]) == (1, "not ready: no TLS")
    ran = run("health", "--config", str(file))
    assert ran.code == 3
    assert "does not answer" in ran.err
    assert "the file on disk is refused" in ran.err


@pytest.mark.parametrize(
    "metrics",
    [
        "[metrics]\nlisten = 127.0.0.1:9410\n",
        "[metrics]\nlisten = '9410'\n",
        "[metrics\nlisten = '127.0.0.1:9410'\n",
        "metrics = 3\n",
        "",
    ],
)
def test_a_file_that_tells_no_address_is_wrong_usage(tmp_path: Path, metrics: str) -> None:
    file = tmp_path / "eas.toml"
    file.write_text(f"mode = observe\n{metrics}")
    ran = run("health", "--config", str(file))
    assert ran.code == 2
    assert "write text in quotes: mode" in ran.err
    gone = run("health", "--config", str(tmp_path / "gone.toml"))
    assert gone.code == 2


def test_it_asks_a_unix_socket_too(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/pages.sock"
    with serving(site(LIVELY), listen):
        assert run("health", "--at", listen).code == 0
    assert run("health", "--at", listen).code == 3


def test_without_an_address_it_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "forest.ldif").write_text("dn: DC=contoso,DC=example\n\n")
    (tmp_path / "eas.toml").write_text("mode = 'observe'\n[directory]\nsnapshot = 'forest.ldif'\n")
    ran = run("health", "--config", str(tmp_path / "eas.toml"))
    assert ran.code == 2
    assert "metrics.listen" in ran.err
    wrong = run("health", "--at", "somewhere")
    assert wrong.code == 2
    assert "somewhere" in wrong.err


def test_somebody_else_on_the_port_is_not_taken_for_ours() -> None:
    async def page() -> Page:
        return Page(body=b"It works!", content_type="text/html")

    address = f"127.0.0.1:{free_port()}"
    with serving(WebServer({"/ready": page}), address):
        ran = run("health", "--at", address)
    assert (ran.code, ran.out) == (1, "not ours: It works!\n")
    assert f"{address} is not the status page: name metrics.listen" in ran.err
