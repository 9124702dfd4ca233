"""Each mend of mitmproxy's HTTP/1: what it does, and that mitmproxy still needs it."""

from collections.abc import Iterator

import pytest
from mitmproxy.http import HTTPFlow

from eas_redirect.fixes.http1 import FIXES
from tests.engine.driver import OnFlow, Proxied, _stream, buffered

GET = b"GET /owa/ HTTP/1.1\r\nHost: mail.contoso.example\r\n\r\n"
POST = b"POST /owa/ HTTP/1.1\r\nHost: mail.contoso.example\r\nContent-Length: 3\r\n\r\nabc"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"2\r\nok\r\n0\r\nX-End: 1\r\nx-Other:two\r\n\r\n"

BOTH = pytest.mark.parametrize("on_flow", [_stream, buffered], ids=["streamed", "buffered"])
PIECES = pytest.mark.parametrize("size", [1, 7, 10_000], ids=["byte by byte", "in sevens", "whole"])


@pytest.fixture(autouse=True)
def fixed() -> Iterator[None]:
    FIXES.put()
    yield
    FIXES.put_back()


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@BOTH
@PIECES
@pytest.mark.parametrize("status", [100, 102, 103])
def test_interim_answers_go_on_to_the_client(on_flow: OnFlow, size: int, status: int) -> None:
    interim = b"HTTP/1.1 %d Wait\r\nX-Hint: a\r\n\r\n" % status
    proxied = Proxied(on_flow)
    proxied.client(POST)
    for piece in in_pieces(interim + interim + OK, size):
        proxied.server(piece)
    assert bytes(proxied.to_client) == interim + interim + OK
    proxied.client(GET)
    proxied.server(OK)
    assert bytes(proxied.to_client).endswith(OK + OK)
    assert proxied.connections == 1


def test_an_interim_answer_before_the_requests_end_does_not_wait_for_it() -> None:
    proxied = Proxied()
    proxied.client(POST[:-3])
    proxied.server(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert bytes(proxied.to_client) == b"HTTP/1.1 100 Continue\r\n\r\n"
    proxied.client(POST[-3:])
    proxied.server(OK)
    assert bytes(proxied.to_client).endswith(OK)
    assert bytes(proxied.to_server) == POST


def test_a_client_of_http_1_0_gets_no_interim_answer() -> None:
    proxied = Proxied()
    proxied.client(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    proxied.server(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert bytes(proxied.to_client) == OK


def test_without_the_mend_an_interim_answer_passes_for_the_answer() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(POST)
    proxied.server(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert not bytes(proxied.to_client).endswith(OK)


@BOTH
@PIECES
def test_an_answers_trailers_cross(on_flow: OnFlow, size: int) -> None:
    proxied = Proxied(on_flow)
    proxied.client(GET)
    for piece in in_pieces(CHUNKED, size):
        proxied.server(piece)
    assert bytes(proxied.to_client).startswith(CHUNKED_HEAD)
    assert bytes(proxied.to_client).endswith(b"0\r\nX-End: 1\r\nx-Other: two\r\n\r\n")
    proxied.client(GET)
    proxied.server(OK)
    assert bytes(proxied.to_client).endswith(OK)


@BOTH
@PIECES
def test_a_requests_trailers_cross(on_flow: OnFlow, size: int) -> None:
    head = b"POST /owa/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    proxied = Proxied(on_flow)
    for piece in in_pieces(head + b"3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n", size):
        proxied.client(piece)
    assert bytes(proxied.to_server).startswith(head)
    assert bytes(proxied.to_server).endswith(b"0\r\nX-End: 1\r\n\r\n")
    proxied.server(OK)
    assert bytes(proxied.to_client) == OK


def test_without_the_mend_trailers_raise() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(GET)
    with pytest.raises(NotImplementedError):
        proxied.server(CHUNKED)


def streamed_request(hook: str, flow: HTTPFlow) -> None:
    """As the addon does with an EAS exchange that is judged."""
    if hook == "requestheaders":
        flow.request.stream = True


EARLY = pytest.mark.parametrize("on_flow", [_stream, streamed_request], ids=["streamed", "held"])
UPLOAD = b"POST /owa/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


@EARLY
@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_an_answer_before_the_requests_end_is_complete_at_once(
    on_flow: OnFlow, rest: bytes
) -> None:
    answer = b"HTTP/1.1 413 Too Large\r\n" + rest
    proxied = Proxied(on_flow)
    proxied.client(UPLOAD + b"12345")
    proxied.server(answer)
    assert bytes(proxied.to_client) == answer
    proxied.client(b"67890" + GET)
    proxied.server(OK)
    assert bytes(proxied.to_server) == UPLOAD + b"1234567890" + GET
    assert bytes(proxied.to_client) == answer + OK


@EARLY
def test_bytes_after_an_early_answer_do_no_harm(on_flow: OnFlow) -> None:
    proxied = Proxied(on_flow)
    proxied.client(UPLOAD + b"12345")
    proxied.server(OK)
    proxied.server(b"more than was announced")
    proxied.client(b"67890" + GET)
    assert bytes(proxied.to_client) == OK
    assert proxied.connections == 2
    proxied.server(OK)
    assert bytes(proxied.to_client) == OK + OK


@EARLY
def test_an_early_answer_without_a_length_ends_when_the_server_closes(on_flow: OnFlow) -> None:
    answer = b"HTTP/1.1 413 Too Large\r\n\r\nok"
    proxied = Proxied(on_flow)
    proxied.client(UPLOAD + b"12345")
    proxied.server(answer)
    assert "client" not in proxied.closed
    proxied.server_closes()
    assert bytes(proxied.to_client) == answer
    assert "client" in proxied.closed


def test_without_the_mend_an_early_chunked_answer_waits_for_the_request() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(UPLOAD + b"12345")
    proxied.server(CHUNKED_HEAD + b"0\r\n\r\n")
    assert bytes(proxied.to_client) == CHUNKED_HEAD


@BOTH
@pytest.mark.parametrize("status", [b"304 Not Modified", b"200 OK"], ids=["304", "HEAD"])
def test_an_answer_without_a_body_has_no_last_chunk(on_flow: OnFlow, status: bytes) -> None:
    request = GET if status.startswith(b"304") else GET.replace(b"GET", b"HEAD")
    answer = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    proxied = Proxied(on_flow)
    proxied.client(request)
    proxied.server(answer)
    assert bytes(proxied.to_client) == answer


@PIECES
def test_empty_lines_before_a_request_cost_nothing(size: int) -> None:
    proxied = Proxied()
    for piece in in_pieces(b"\r\n\r\n" + GET + b"\r\n" + GET, size):
        proxied.client(piece)
    proxied.server(OK)
    proxied.server(OK)
    assert bytes(proxied.to_server) == GET + GET
    assert bytes(proxied.to_client) == OK + OK


def test_an_empty_line_before_an_answer_costs_nothing() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(b"\r\n" + OK)
    assert bytes(proxied.to_client) == OK


def test_without_the_mend_an_empty_line_before_a_request_hangs_it() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(b"\r\n" + GET)
    assert bytes(proxied.to_server) == b""


def test_a_tunnel_keeps_line_breaks_that_come_with_the_101() -> None:
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: tunnel/1\r\n\r\n"
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel/1\r\n\r\n"
    proxied = Proxied()
    proxied.client(upgrade)
    proxied.server(switch + b"\r\n\nfirst")
    proxied.client(b"\r\nback")
    assert bytes(proxied.to_client) == switch + b"\r\n\nfirst"
    assert bytes(proxied.to_server) == upgrade + b"\r\nback"


@pytest.mark.parametrize(
    ("version", "token", "closes"),
    [
        (b"HTTP/1.1", b"Close", True),
        (b"HTTP/1.1", b"Keep-Alive", False),
        (b"HTTP/1.1", b"X-Hop, CLOSE", True),
        (b"HTTP/1.0", b"Keep-Alive", False),
        (b"HTTP/1.0", b"X-Hop", True),
    ],
)
def test_connection_tokens_have_no_case(version: bytes, token: bytes, closes: bool) -> None:
    proxied = Proxied()
    proxied.client(b"GET / " + version + b"\r\nHost: a\r\nConnection: " + token + b"\r\n\r\n")
    proxied.server(OK)
    assert ("client" in proxied.closed) is closes


def test_an_error_page_can_follow_mitmproxys_own_100() -> None:
    proxied = Proxied(buffered)
    proxied.client(POST[:-3].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert bytes(proxied.to_client) == b"HTTP/1.1 100 Continue\r\n\r\n"
    proxied.client(b"abc")
    proxied.server_closes()
    assert b"HTTP/1.1 502 Bad Gateway\r\n" in bytes(proxied.to_client)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nSet-Cookie no colon\r\n\r\n"])
def test_an_error_page_tells_nothing(sent: bytes) -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(sent)
    proxied.server_closes()
    head, _, body = bytes(proxied.to_client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"content-length: %d" % len(body) in head.lower()
    assert body == b"502 Bad Gateway\n"
    assert b"mitmproxy" not in head


@BOTH
def test_a_204_with_a_transfer_coding_passes(on_flow: OnFlow) -> None:
    """As ASP.NET sends it, with a last chunk that nobody reads."""
    answer = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
    proxied = Proxied(on_flow)
    proxied.client(GET)
    proxied.server(answer + b"0\r\n\r\n")
    assert bytes(proxied.to_client) == answer
    proxied.client(GET)
    proxied.server(OK)
    assert bytes(proxied.to_client) == answer + OK


@BOTH
@pytest.mark.parametrize(
    "line", [b"X Frame Options: deny", b"X-Old : b", b"X(a): \xff", b"\xe4: b"]
)
def test_an_answer_with_an_odd_header_name_passes(line: bytes, on_flow: OnFlow) -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")
    proxied = Proxied(on_flow)
    proxied.client(GET)
    proxied.server(answer)
    assert bytes(proxied.to_client) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length : 3",
        b"Transfer-Encoding : chunked",
        b"X Y: 1\r\nContent-Length: 3",
        b"X Y: 1\r\nTransfer-Encoding: chunked",
    ],
)
def test_where_an_answer_ends_must_be_clear(line: bytes) -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(OK.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n"))
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 ")


def test_a_request_with_an_odd_header_name_is_refused() -> None:
    proxied = Proxied()
    proxied.client(GET[:-2] + b"X Y: 1\r\n\r\n")
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 400 ")
    assert proxied.connections == 0


def test_without_the_mend_a_204_with_a_transfer_coding_is_a_502() -> None:
    FIXES.put_back()
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("before", [b"\r", b" ", b"\r\n\t"], ids=["CR", "space", "tab"])
def test_an_interim_answer_behind_white_space_is_none_the_less_one(before: bytes) -> None:
    proxied = Proxied()
    proxied.client(POST)
    proxied.server(before + b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert bytes(proxied.to_client).endswith(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)


def test_an_interim_answer_of_any_version_is_one() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(b"HTTP/9.1 100\r\n\r\n" + OK)
    assert bytes(proxied.to_client) == b"HTTP/9.1 100\r\n\r\n" + OK


def test_a_tunnel_before_the_requests_end_is_refused() -> None:
    proxied = Proxied()
    proxied.client(POST[:-1])
    proxied.server(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nbytes of the tunnel")
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 ")
    assert sorted(proxied.closed) == ["client", "server"]
    proxied.client(POST[-1:])
    assert proxied.hooks[-1] == "error"


def test_a_status_of_four_digits_is_no_interim_answer() -> None:
    odd = OK.replace(b"200", b"1000")
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(odd)
    assert bytes(proxied.to_client) == odd


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", b"GET /"],
    ids=["header", "target"],
)
def test_a_head_without_end_is_refused(start: bytes) -> None:
    proxied = Proxied()
    proxied.client(start)
    for _ in range(16):
        assert not proxied.to_client
        proxied.client(b"x" * 65536)
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 431 ")
    assert proxied.closed == ["client"]
    assert proxied.connections == 0


def test_a_long_head_that_ends_is_none_the_less_whole() -> None:
    head = GET[:-2] + b"X-Long: " + b"x" * 900_000 + b"\r\n\r\n"
    proxied = Proxied()
    for piece in in_pieces(head, 65536):
        proxied.client(piece)
    assert bytes(proxied.to_server) == head


def test_an_answers_head_without_end_is_a_502() -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (1 << 20))
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 ")
    assert "server" in proxied.closed


@pytest.mark.parametrize("start", [b"1;x=", b"0\r\nX-End: "], ids=["chunk", "trailers"])
def test_chunks_and_trailers_without_end_are_refused(start: bytes) -> None:
    proxied = Proxied()
    proxied.client(GET)
    proxied.server(CHUNKED_HEAD + start)
    proxied.server(b"x" * (1 << 20))
    assert proxied.closed == ["server", "client"]
    assert proxied.hooks[-1] == "error"


@pytest.mark.parametrize("garbage", [b"zz\r\n", b"-1\r\n", b"1\r\nabc\r\n"])
def test_chunks_that_are_none_are_a_bad_request(garbage: bytes) -> None:
    proxied = Proxied()
    proxied.client(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + garbage)
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert proxied.closed[0] == "client"
    assert proxied.hooks[-1] == "error"


def test_behind_an_answer_that_has_begun_there_is_no_page() -> None:
    proxied = Proxied()
    proxied.client(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    proxied.server(OK[:-1])
    proxied.client(b"zz\r\n")
    assert bytes(proxied.to_client) == OK[:-1]


def test_a_client_that_leaves_in_the_middle_of_its_chunks_gets_no_page() -> None:
    proxied = Proxied()
    proxied.client(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    proxied.client_closes()
    assert not proxied.to_client


def test_an_error_page_for_head_is_a_head() -> None:
    proxied = Proxied()
    proxied.client(GET.replace(b"GET", b"HEAD"))
    proxied.server_closes()
    assert bytes(proxied.to_client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert bytes(proxied.to_client).endswith(b"\r\ncontent-length: 16\r\n\r\n")


def test_mending_twice_is_mending_once() -> None:
    FIXES.put()
    test_an_error_page_can_follow_mitmproxys_own_100()
