"""A worker as its supervisor sees it: how long it waits, and what it takes for an answer."""

import asyncio
from pathlib import Path

import pytest

from eas_redirect.engine import worker
from eas_redirect.engine.supervisor import Supervisor
from eas_redirect.engine.worker import Backoff, Worker
from eas_redirect.telemetry.web import Address, Page, WebServer


def test_backoff_doubles_up_to_its_limit_and_forgets_after_a_long_life() -> None:
    backoff = Backoff()
    assert [backoff.after(1.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(Backoff.LIVED_LONG_S) == 0.5
    assert backoff.after(1.0) == 1


async def answering(socket: Path, body: bytes) -> WebServer:
    async def metrics() -> Page:
        return Page(body=body)

    server = WebServer({"/metrics": metrics})
    await server.start(Address(path=str(socket)))
    return server


async def test_a_worker_that_answers(tmp_path: Path) -> None:
    server = await answering(tmp_path / "1", b"eas_ready 1\n")
    asked = Worker(1, [], tmp_path / "1")
    asked.missed = 3
    assert await asked.refresh()
    assert (asked.snapshot, asked.served, asked.missed) == ("eas_ready 1\n", True, 0)
    assert await asked.ask("/nothing") is None
    server.close()


async def test_a_worker_that_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ASK_TIMEOUT_S", 0.05)
    asked = Worker(1, [], tmp_path / "1")
    assert not await asked.refresh()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_unix_server(silent, str(tmp_path / "1"))
    assert not await asked.refresh()
    assert (asked.missed, asked.served, asked.snapshot) == (2, False, None)
    server.close()


async def test_an_endless_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONGEST_ANSWER", 1000)
    server = await answering(tmp_path / "1", b"x" * 5000)
    assert await Worker(1, [], tmp_path / "1").ask("/metrics") is None
    server.close()


async def test_the_status_without_a_worker_says_so() -> None:
    supervisor = Supervisor([], workers=2, stop_timeout_s=1.0, metrics_listen=None)
    status = await supervisor._status()
    assert not status.ready
    assert status.mode == "no worker answers"
    assert b"eas_workers 0.0" in await supervisor._metrics()
