"""A client that closes its half behind its request, and one that sends more than is kept."""

from collections.abc import Iterator

import pytest

from eas_redirect.fixes import http1
from eas_redirect.fixes.http1 import FIXES
from tests.engine.driver import Proxied

GET = b"GET /owa/ HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EAS = b"POST /Microsoft-Server-ActiveSync?Cmd=%s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def fixed() -> Iterator[None]:
    FIXES.put()
    yield
    FIXES.put_back()


@pytest.mark.parametrize("request_", [GET, EAS % b"FolderSync"], ids=["OWA", "EAS"])
def test_a_client_that_closed_its_half_gets_its_answer(request_: bytes) -> None:
    proxied = Proxied()
    proxied.client(request_)
    proxied.client_closes()
    assert proxied.closed == []
    proxied.server(OK)
    assert bytes(proxied.to_client) == OK
    assert proxied.closed == ["client"]
    proxied.wake()  # too late to matter
    assert proxied.hooks[-1] == "response"


def test_an_answer_that_has_begun_may_take_its_time() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.client_closes()
    proxied.server(OK[:-1])
    proxied.wake()
    assert proxied.closed == []
    proxied.server(OK[-1:])
    assert bytes(proxied.to_client) == OK
    assert proxied.closed == ["client"]


def test_without_an_answer_in_time_it_has_left() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.client_closes()
    assert [wakeup.delay for wakeup in proxied.wakeups] == [http1.LINGER_S]
    proxied.wake()
    assert sorted(proxied.closed) == ["client", "server"]
    assert proxied.hooks[-1] == "error"


@pytest.mark.parametrize("command", [b"Ping", b"Sync", b"sync"])
def test_a_device_that_leaves_a_wait_has_left(command: bytes) -> None:
    proxied = Proxied()
    proxied.client(EAS % command)
    proxied.client_closes()
    assert sorted(proxied.closed) == ["client", "server"]
    assert proxied.wakeups == []


def test_a_client_that_leaves_in_the_middle_of_an_answer_has_left() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(OK[:-1])
    proxied.client_closes()
    assert sorted(proxied.closed) == ["client", "server"]


def test_what_was_sent_ahead_is_answered_in_turn() -> None:
    proxied = Proxied()
    proxied.client(GET + GET)
    proxied.client_closes()
    proxied.server(OK)
    assert len(proxied.wakeups) == 2
    proxied.wake()  # that of the first request says nothing about the second
    proxied.server(OK)
    assert bytes(proxied.to_server) == GET + GET
    assert bytes(proxied.to_client) == OK + OK
    assert proxied.closed == ["client"]


@pytest.mark.parametrize(
    "rest", [GET[:20], b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_half_a_request_behind_it_ends_the_connection(rest: bytes) -> None:
    proxied = Proxied()
    proxied.client(GET + rest)
    proxied.client_closes()
    proxied.server(OK)
    assert bytes(proxied.to_client) == OK
    assert "client" in proxied.closed
    proxied.wake()
    assert bytes(proxied.to_client) == OK


def test_a_server_that_fails_meanwhile_is_a_502() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.client_closes()
    proxied.server_closes()
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 ")
    assert "client" in proxied.closed


def test_without_the_mend_the_request_is_given_up() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(GET)
    proxied.client_closes()
    assert sorted(proxied.closed) == ["client", "server"]


def test_what_is_sent_ahead_is_kept_within_bounds() -> None:
    proxied = Proxied()
    proxied.client(GET)
    for _ in range(16):
        assert proxied.closed == []
        proxied.client(b"x" * 65536)
    proxied.client(b"x")
    assert sorted(proxied.closed) == ["client", "server"]
    assert proxied.hooks[-1] == "error"
