"""A worker as its supervisor sees it: how long it waits, and what it takes for an answer."""

import asyncio
import time
from pathlib import Path

import pytest

from eas_redirect.engine import supervisor
from eas_redirect.engine.supervisor import Backoff, Supervisor, Worker
from eas_redirect.telemetry.web import ListenAddress, Page, WebServer


def test_backoff_doubles_up_to_its_limit_and_forgets_after_a_long_life() -> None:
    backoff = Backoff()
    assert [backoff.after(1.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(Backoff.LIVED_LONG_S) == 0.5
    assert backoff.after(1.0) == 1


async def answering(socket: Path, body: bytes) -> WebServer:
    async def metrics() -> Page:
        return Page(body=body)

    server = WebServer({"/metrics": metrics})
    await server.start(ListenAddress(path=str(socket)))
    return server


async def test_a_worker_that_answers(tmp_path: Path) -> None:
    server = await answering(tmp_path / "1", b"eas_ready 1\n")
    asked = Worker(1, [], tmp_path / "1")
    asked.silent = True
    assert await asked.refresh()
    assert (asked.snapshot, asked.served, asked.silent) == ("eas_ready 1\n", True, False)
    assert await asked.ask("/nothing") is None
    assert not asked.silent
    server.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a question and says nothing."""
    await reader.read()
    writer.close()


async def test_a_worker_that_is_gone_is_not_silent(tmp_path: Path) -> None:
    asked = Worker(1, [], tmp_path / "1")
    asked.silent = True
    assert not await asked.refresh()
    assert (asked.silent, asked.served, asked.snapshot) == (False, False, None)


async def test_a_worker_that_does_not_answer_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "ASK_TIMEOUT_S", 0.05)
    asked = Worker(1, [], tmp_path / "1")
    server = await asyncio.start_unix_server(silent, str(tmp_path / "1"))
    assert not await asked.refresh()
    assert (asked.silent, asked.served, asked.snapshot) == (True, False, None)
    server.close()


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Supervisor, Worker]:
    """A supervisor that loses patience at once, and a worker of it that has served."""
    monkeypatch.setattr(supervisor, "ASK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(supervisor, "HUNG_S", 0.1)
    asked = Worker(1, [], tmp_path / "1")
    asked.served = True
    boss = Supervisor([], workers=1, stop_timeout_s=1.0, metrics_listen=None)
    boss._workers = [asked]
    return boss, asked


async def test_silence_for_long_is_a_hang(
    supervised: tuple[Supervisor, Worker], tmp_path: Path
) -> None:
    boss, asked = supervised
    server = await asyncio.start_unix_server(silent, str(tmp_path / "1"))
    assert not await asked.refresh()
    assert await boss._hangs(asked)
    status = await boss._status()
    assert (status.hanging, status.ready, status.checks["process"]) == (1, False, "hanging")
    metrics = await boss._metrics()
    assert b"eas_workers 0.0" in metrics
    assert b"eas_ready 0.0" in metrics
    server.close()


async def test_who_answers_at_last_does_not_hang(
    supervised: tuple[Supervisor, Worker], tmp_path: Path
) -> None:
    """A long question is put once more before anybody is ended: the pause may have been ours."""
    boss, asked = supervised
    questions = 0

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal questions
        questions += 1
        await reader.readuntil(b"\r\n\r\n")
        if questions < 3:
            await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\neas_ready 1\n")
        writer.close()

    server = await asyncio.start_unix_server(late, str(tmp_path / "1"))
    assert not await asked.refresh()
    assert not await boss._hangs(asked)
    assert (questions, asked.silent, asked.snapshot) == (3, False, "eas_ready 1\n")
    server.close()


async def test_who_is_gone_when_looked_at_again_does_not_hang(
    supervised: tuple[Supervisor, Worker], tmp_path: Path
) -> None:
    boss, asked = supervised
    server = await asyncio.start_unix_server(silent, str(tmp_path / "1"))
    assert not await asked.refresh()
    assert asked.silent
    server.close()
    (tmp_path / "1").unlink(missing_ok=True)
    assert not await boss._hangs(asked)


async def test_who_never_begins_to_serve_hangs(
    supervised: tuple[Supervisor, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, asked = supervised
    asked.served, asked._started_at = False, time.monotonic()
    assert not await asked.refresh()
    assert not await boss._hangs(asked)
    monkeypatch.setattr(supervisor, "START_S", -1.0)
    assert await boss._hangs(asked)


async def test_an_endless_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_ANSWER", 1000)
    server = await answering(tmp_path / "1", b"x" * 5000)
    assert await Worker(1, [], tmp_path / "1").ask("/metrics") is None
    server.close()


async def test_the_status_without_a_worker_says_so() -> None:
    boss = Supervisor([], workers=2, stop_timeout_s=1.0, metrics_listen=None)
    status = await boss._status()
    assert not status.ready
    assert status.mode == "no worker answers"
    assert b"eas_workers 0.0" in await boss._metrics()


def test_an_address_that_is_none_ends_the_start_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = Supervisor((), workers=2, stop_timeout_s=1, metrics_listen="nowhere")
    assert supervisor.run() == 1
    assert "cannot serve metrics at nowhere: 'nowhere' is not host:port" in caplog.text
