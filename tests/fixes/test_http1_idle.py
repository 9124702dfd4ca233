"""What ends with an upstream connection that nothing goes over."""

from collections.abc import Iterator

import pytest

from eas_redirect.fixes.http1 import FIXES
from tests.engine.driver import Proxied, buffered

GET = b"GET /owa/ HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def fixed() -> Iterator[None]:
    FIXES.put()
    yield
    FIXES.put_back()


def answered() -> Proxied:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(OK)
    assert proxied.closed == []
    return proxied


def test_an_idle_client_goes_with_it() -> None:
    proxied = answered()
    proxied.server_closes()
    assert proxied.closed[-1] == "client"
    assert bytes(proxied.to_client) == OK


def test_so_it_does_when_the_server_says_why_it_leaves() -> None:
    proxied = answered()
    proxied.server(TIMEOUT)
    assert sorted(proxied.closed) == ["client", "server"]
    assert bytes(proxied.to_client) == OK


def test_a_request_that_has_begun_to_come_goes_by_a_new_one() -> None:
    proxied = answered()
    proxied.client(GET[:20])
    proxied.server_closes()
    assert "client" not in proxied.closed
    proxied.client(GET[20:])
    proxied.server(OK)
    assert proxied.connections == 2
    assert bytes(proxied.to_client) == OK + OK


def test_an_answer_that_is_being_judged_is_not_lost() -> None:
    """The server closes while the directory is asked."""
    proxied = Proxied(buffered, hold="response")
    proxied.client(GET)
    proxied.server(OK)
    proxied.server_closes()
    assert not proxied.to_client
    assert "client" not in proxied.closed
    proxied.release()
    assert bytes(proxied.to_client) == OK


def test_without_the_mend_the_client_stays() -> None:
    FIXES.put_back()
    proxied = answered()
    proxied.server_closes()
    assert "client" not in proxied.closed
