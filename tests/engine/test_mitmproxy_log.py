"""Out of descriptors is one line a minute; every other error of the loop is as it was."""

import asyncio
import errno
from typing import Any

import pytest

from eas_redirect.engine.mitmproxy_log import SAY_EVERY_S, LoopErrors

FULL = {"exception": OSError(errno.EMFILE, "Too many open files")}


async def test_it_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now, loop = 100.0, asyncio.get_running_loop()
    errors = LoopErrors(lambda: now)
    errors.watch(loop)
    for _ in range(500):
        loop.call_exception_handler(FULL)
    assert [r.exc_info for r in caplog.records] == [None]
    now += SAY_EVERY_S
    loop.call_exception_handler(FULL)
    assert "(500 times since" in caplog.records[1].getMessage()
    errors.leave()


async def test_the_rest_goes_to_whoever_had_it() -> None:
    loop, seen = asyncio.get_running_loop(), list[dict[str, Any]]()
    before = loop.get_exception_handler()

    def handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        seen.append(context)

    loop.set_exception_handler(handler)
    errors = LoopErrors()
    errors.watch(loop)
    errors.watch(loop)
    other = {"message": "x", "exception": OSError(errno.ECONNRESET, "reset")}
    loop.call_exception_handler(other)
    assert seen == [other]
    errors.leave()
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(before)


async def test_without_a_handler_it_is_the_loops_own(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(None)
    errors = LoopErrors()
    errors.watch(loop)
    loop.call_exception_handler({"message": "something else"})
    assert "something else" in caplog.text
    errors.leave()
    loop.set_exception_handler(before)
