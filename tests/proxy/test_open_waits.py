"""How a wait is ended inside mitmproxy, and what of a Sync's body is kept for it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.test import tflow

from eas_redirect.activesync.wait import ENDINGS
from eas_redirect.fixes.http1 import FIXES
from eas_redirect.proxy import open_waits
from eas_redirect.proxy.open_waits import KeptBodies, SyncBody
from tests.activesync.test_wait import CHANGE, WAIT, folders, sync
from tests.engine.driver import Proxied

PING = (
    b"POST /Microsoft-Server-ActiveSync?Cmd=Ping HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(params=["fixed", "stock"])
def proxied(request: pytest.FixtureRequest) -> Iterator[Proxied]:
    if request.param == "fixed":
        FIXES.put()
    yield Proxied()
    FIXES.put_back()


def stream_of(proxied: Proxied) -> HttpStream:
    (stream,) = proxied.layer.streams.values()
    return stream


def end(proxied: Proxied) -> http.Response:
    """What `open_waits.end` does, over a layer without sockets."""
    stream = stream_of(proxied)
    assert open_waits._awaits_answer(stream)
    response = open_waits._ending("ping")
    stream.server_state = partial(open_waits._step, stream, response)
    proxied._handle(open_waits._Step(stream.flow))
    return response


def close_server(proxied: Proxied) -> None:
    """As mitmproxy reports a connection that it was told to close."""
    proxied._handle(events.ConnectionClosed(proxied._servers[-1]))


def answered(proxied: Proxied) -> bytes:
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 200 OK\r\n")
    return bytes(proxied.to_client).partition(b"\r\n\r\n")[2]


def test_the_installed_mitmproxy_fits() -> None:
    assert open_waits.fits()


def test_the_client_is_answered_and_exchange_let_go(proxied: Proxied) -> None:
    proxied.client(PING)
    end(proxied)
    assert answered(proxied) == ENDINGS["ping"]
    assert proxied.closed == ["client", "server"]
    assert proxied.hooks.count("response") == 1
    close_server(proxied)
    assert "error" not in proxied.hooks
    assert proxied.layer.streams == {}


def test_an_answer_that_comes_before_the_step_stands(proxied: Proxied) -> None:
    """Although the state of the stream is the step's already."""
    proxied.client(PING)
    stream = stream_of(proxied)
    response = open_waits._ending("ping")
    stream.server_state = partial(open_waits._step, stream, response)
    proxied.server(OK)
    assert answered(proxied) == b"ok"
    assert proxied.closed == []


@pytest.mark.parametrize("late", [OK, OK[:20], b"HTTP/1.1 200 OK\r\n\r\nno length", b"\0nonsense"])
def test_what_exchange_says_afterwards_reaches_nobody(proxied: Proxied, late: bytes) -> None:
    proxied.client(PING)
    end(proxied)
    proxied.server(late)
    close_server(proxied)
    assert answered(proxied) == ENDINGS["ping"]


def test_an_answer_that_has_begun_stands(proxied: Proxied) -> None:
    proxied.client(PING)
    proxied.server(OK[:-1])
    assert not open_waits._awaits_answer(stream_of(proxied))


def test_a_body_that_has_not_gone_up_whole_is_no_wait(proxied: Proxied) -> None:
    proxied.client(PING.replace(b"Length: 0", b"Length: 9") + b"abc")
    assert not open_waits._awaits_answer(stream_of(proxied))


@pytest.mark.parametrize("event", ["server closes", "server answers", "client leaves"])
def test_what_happens_while_a_script_looks_at_the_ending(event: str) -> None:
    """A `response` hook that waits: whatever comes meanwhile, one answer leaves or none."""
    FIXES.put()
    proxied = Proxied(hold="response")
    try:
        proxied.client(PING)
        end(proxied)
        match event:
            case "server closes":
                close_server(proxied)
            case "server answers":
                proxied.server(OK)
            case _:
                proxied.client_closes()
        proxied.release()
    finally:
        FIXES.put_back()
    left = event == "client leaves"
    assert bytes(proxied.to_client).count(b"HTTP/1.1") == (0 if left else 1)
    if not left:
        assert answered(proxied) == ENDINGS["ping"]


@pytest.mark.parametrize(
    ("client", "server", "ends"),
    [
        (None, None, True),
        (b"http/1.1", b"http/1.1", True),
        (b"h2", b"http/1.1", False),
        (b"h3", None, False),
        (b"http/1.1", b"h2", False),
    ],
)
def test_only_http1_ends(client: bytes | None, server: bytes | None, ends: bool) -> None:
    flow = tflow.tflow()
    flow.client_conn.alpn, flow.server_conn.alpn = client, server
    assert open_waits.is_http1(flow) is ends


def request_of(body: bytes, stream: Any) -> http.Request:
    request = http.Request.make("POST", "http://a/")
    request.stream, request.raw_content = stream, body
    return request


def test_a_streamed_body_is_kept_until_it_is_read() -> None:
    kept = KeptBodies()
    for whole, waits in ((sync(WAIT), True), (sync(folders(CHANGE), WAIT), False), (b"", True)):
        body = SyncBody(kept)
        passed = b"".join(body(whole[at : at + 3]) for at in range(0, len(whole), 3)) + body(b"")
        assert passed == whole
        assert kept.size == len(whole)
        assert body.waits(request_of(b"", body), ()) is waits
        assert kept.size == 0
        assert body.waits(request_of(b"", body), ()) is waits


def test_a_body_that_somebody_kept_is_read_and_one_that_nobody_saw_is_no_wait() -> None:
    assert SyncBody(KeptBodies()).waits(request_of(sync(WAIT), stream=False), ())
    assert not SyncBody(KeptBodies()).waits(request_of(sync(folders(CHANGE)), stream=False), ())
    assert not SyncBody(KeptBodies()).waits(request_of(b"", stream=True), ())


def test_bodies_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    long, kept = SyncBody(KeptBodies()), KeptBodies()
    long(b"x" * 65536)
    assert long(b"x") == b"x"
    assert not long.waits(request_of(b"", long), ())
    monkeypatch.setattr(open_waits, "MAX_KEPT", 100)
    one, two = SyncBody(kept), SyncBody(kept)
    one(b"x" * 60)
    assert two(b"y" * 60) == b"y" * 60
    assert not two.waits(request_of(b"", two), ())
    assert kept.size == 60
    one.drop()
    assert kept.size == 0
