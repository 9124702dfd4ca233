"""Expect: 100-continue crosses, and the 100 is Exchange's."""

from collections.abc import Iterator

import pytest

from eas_redirect.fixes.http1 import FIXES
from tests.engine.driver import Proxied, buffered

HEAD = (
    b"POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
    b"X-After: b\r\nContent-Length: 3\r\n\r\n"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOG_ON = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def fixed() -> Iterator[None]:
    FIXES.put()
    yield
    FIXES.put_back()


def test_the_one_100_is_exchanges() -> None:
    proxied = Proxied()
    proxied.client(HEAD)
    assert bytes(proxied.to_server) == HEAD
    assert not proxied.to_client
    proxied.server(CONTINUE)
    assert bytes(proxied.to_client) == CONTINUE
    proxied.client(b"abc")
    proxied.server(OK)
    assert bytes(proxied.to_server) == HEAD + b"abc"
    assert bytes(proxied.to_client) == CONTINUE + OK


def test_a_refusal_comes_before_the_body_is_sent() -> None:
    proxied = Proxied()
    proxied.client(HEAD)
    proxied.server(LOG_ON)
    assert bytes(proxied.to_client) == LOG_ON
    proxied.client(
        b"abc" + HEAD
    )  # a client that stays sends its body all the same (RFC 9110 10.1.1)
    assert bytes(proxied.to_server) == HEAD + b"abc" + HEAD
    assert proxied.connections == 1


def test_a_client_that_does_not_wait_gets_no_100() -> None:
    proxied = Proxied()
    proxied.client(HEAD + b"abc")
    proxied.server(OK)
    assert bytes(proxied.to_client) == OK


def test_without_a_body_there_is_nothing_to_wait_for() -> None:
    head = HEAD.replace(b"Length: 3", b"Length: 0")
    proxied = Proxied()
    proxied.client(head)
    proxied.server(OK)
    assert bytes(proxied.to_server) == head
    assert bytes(proxied.to_client) == OK


def test_another_expectation_is_left_alone() -> None:
    head = HEAD.replace(b"100-Continue", b"a-miracle")
    proxied = Proxied()
    proxied.client(head)
    assert bytes(proxied.to_server) == head


def test_a_body_that_is_kept_is_asked_for_here() -> None:
    """`eas_bodies=keep`: Exchange sees nothing before all of it is there."""
    proxied = Proxied(buffered)
    proxied.client(HEAD)
    assert bytes(proxied.to_client) == CONTINUE
    proxied.client(b"abc")
    assert bytes(proxied.to_server) == HEAD.replace(b"Expect: 100-Continue\r\n", b"") + b"abc"


def test_without_the_mend_mitmproxy_answers() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(HEAD)
    assert bytes(proxied.to_client) == CONTINUE
    assert b"Expect" not in proxied.to_server
