"""What the event loop waits for, and what goes on behind it: late answers, devices that hang up,
servers that are tried again."""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.links import Session
from eas_redirect.directory.ldap.servers import ServerAddress
from eas_redirect.directory.values import DirectorySettings, Found, Lookup, Unavailable
from tests.directory.ldap.test_forest import CONTOSO_REF, Server, user
from tests.directory.logons import logon

SOON_S = 30.0  # a bound for waiting, never a measure


class Hanging(Server):
    """Answers nothing until it is interrupted, and then that the connection is gone."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__(*entries)
        self.hangs = True
        self.asking = threading.Event()
        self.interrupted = threading.Event()

    def hang(self) -> None:
        self.asking.set()
        assert self.interrupted.wait(SOON_S)
        raise Fault("disconnected", "the server closed the connection")

    def _below(self, base: str) -> list[Entry]:
        if self.hangs:
            self.hang()
        return super()._below(base)

    def interrupt(self) -> None:
        self.interrupted.set()


class Bench:
    """A directory of one server; `refuses` answers the next connects."""

    def __init__(self, server: Server, limit_s: float) -> None:
        self.server = server
        self.refuses: list[Callable[[], None]] = []
        self.connects = 0
        settings = DirectorySettings(
            servers=("ldaps://dc1",), pool_size=1, lookup_timeout_s=limit_s
        )
        self.directory = ActiveDirectory(settings, connect=self.connect, cool_down_s=0.01)

    def connect(
        self,
        address: ServerAddress,  # noqa: ARG002 - there is one
        patience_s: float,  # noqa: ARG002
        opening: Callable[[Session], None],
    ) -> Session:
        self.connects += 1
        opening(self.server)
        if self.refuses:
            self.refuses.pop(0)()
        return self.server

    async def ask(self) -> Lookup:
        return (await self.directory.recipient(logon("CONTOSO\\anna"))).lookup

    async def until(self, connects: int) -> None:
        give_up = time.monotonic() + SOON_S
        while self.connects < connects:
            assert time.monotonic() < give_up
            await asyncio.sleep(0.005)

    async def found(self) -> None:
        give_up = time.monotonic() + SOON_S
        while not isinstance(await self.ask(), Found):
            assert time.monotonic() < give_up
            await asyncio.sleep(0.005)


@asynccontextmanager
async def directory_over(server: Server, limit_s: float = 5.0) -> AsyncIterator[Bench]:
    bench = Bench(server, limit_s)
    try:
        yield bench
    finally:
        bench.directory.close()


def contoso() -> tuple[Entry, Entry]:
    return CONTOSO_REF, user("anna", homeMDB="CN=DB")


def refused() -> None:
    raise Fault("connection_refused", "refused")


async def test_an_answer_that_does_not_come_is_not_waited_for_and_nothing_is_left_of_it() -> None:
    server = Hanging(*contoso())
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with directory_over(server, 0.1) as bench:
        lookup = await bench.ask()
        assert isinstance(lookup, Unavailable)
        late = "no answer within directory.lookup_timeout_s (0.1 s)"
        assert (lookup.error_type, lookup.message) == ("timeout", late)
        assert await asyncio.to_thread(server.interrupted.wait, SOON_S), "its thread is freed"
        server.hangs = False
        await bench.until(2)
        await bench.found()
    gc.collect()
    assert reported == []


def test_an_administrator_s_question_is_not_waited_for_either() -> None:
    server = Hanging(*contoso())
    bench = Bench(server, 0.1)
    try:
        lookup = bench.directory.meant_by("CONTOSO\\anna")
        assert lookup == Unavailable(error_type="timeout", message="no answer within 0.1 s")
        assert server.interrupted.wait(SOON_S)
    finally:
        bench.directory.close()


async def test_a_device_that_hangs_up_leaves_the_answer_its_time_and_no_more() -> None:
    server = Hanging(*contoso())
    async with directory_over(server, 0.2) as bench:
        device = asyncio.create_task(bench.ask())
        await asyncio.to_thread(server.asking.wait, SOON_S)
        device.cancel()
        with pytest.raises(asyncio.CancelledError):
            await device
        assert not server.interrupted.is_set(), "it may still be good for others"
        assert await asyncio.to_thread(server.interrupted.wait, SOON_S)


async def test_a_server_is_tried_again_though_nobody_asks() -> None:
    async with directory_over(Server(*contoso())) as bench:
        bench.refuses = [refused] * 3
        assert isinstance(await bench.ask(), Unavailable)
        await bench.until(4)
        await bench.found()


async def test_a_server_that_an_administrator_s_question_found_away_is_tried_again_too() -> None:
    """His thread has no event loop to do it."""
    async with directory_over(Server(*contoso())) as bench:
        bench.refuses = [refused] * 2
        lookup = await asyncio.to_thread(bench.directory.meant_by, "CONTOSO\\anna")
        assert isinstance(lookup, Unavailable)
        assert isinstance(await bench.ask(), Unavailable)
        await bench.until(3)


async def test_a_try_that_hangs_is_given_up() -> None:
    server = Hanging(*contoso())
    server.hangs = False
    async with directory_over(server, 0.1) as bench:
        bench.refuses = [refused, server.hang]
        assert isinstance(await bench.ask(), Unavailable)
        await bench.until(3)
        assert server.interrupted.is_set()


async def test_one_timer_at_a_time_and_none_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask while no server works."""
    loop = asyncio.get_running_loop()
    made: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def kept(delay: float, callback: Callable[..., object], *args: Any, **more: Any) -> Any:
        handle = call_later(delay, callback, *args, **more)
        if getattr(callback, "__self__", None) is bench.directory:
            made.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_later", kept)
    async with directory_over(Server(*contoso())) as bench:
        bench.refuses = [refused]
        for _ in range(20):
            assert isinstance(await bench.ask(), Unavailable)
        assert len(made) == 1
    await bench.ask()
    assert [handle.cancelled() for handle in made] == [True]


async def test_a_question_that_ends_with_the_directory_leaves_no_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    made: list[object] = []
    server = Hanging(*contoso())
    async with directory_over(server) as bench:
        asked = asyncio.create_task(bench.ask())
        await asyncio.to_thread(server.asking.wait, SOON_S)
        monkeypatch.setattr(loop, "call_later", lambda *_, **__: made.append(_))
        bench.directory.close()
        lookup = await asked
        assert isinstance(lookup, Unavailable)
        assert made == []


async def test_a_real_connection_that_is_being_made_ends_with_the_directory() -> None:
    """A server that accepts and says nothing holds up no restart."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
        settings = DirectorySettings(servers=(url,), bind="anonymous", lookup_timeout_s=SOON_S)
        directory = ActiveDirectory(settings)
        asked = asyncio.create_task(directory.recipient(logon("CONTOSO\\anna")))
        accepted, _ = await asyncio.to_thread(listener.accept)
        with accepted:
            await asyncio.to_thread(accepted.recv, 1)  # the bind
            began = time.monotonic()
            directory.close()
            lookup = (await asked).lookup
    assert isinstance(lookup, Unavailable)
    assert time.monotonic() - began < SOON_S / 3
