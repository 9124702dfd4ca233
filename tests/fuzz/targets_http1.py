"""Both ends of an HTTP/1 exchange through mitmproxy with its mends, in any order and any pieces."""

from mitmproxy.connection import ConnectionState

from eas_redirect.fixes.http1 import FIXES
from tests.engine.driver import Proxied, _stream, buffered
from tests.fuzz.target import target

# An input is events between these bytes. Each begins with what it is: `c` and `s`: client and
# server send the rest of it; `C` and `S`: they close their half; `w`: a timer runs out.
NEXT = b"\xff"
GET = b"GET /owa/ HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /ews HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
UPLOAD = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nmore"
EAS = b"POST /Microsoft-Server-ActiveSync?Cmd=Ping HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
BODILESS = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nold"
SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n\r\ntunnel"
REFUSALS = (b"\r\n\r\n400 Bad Request\n", b"\r\n\r\n502 Bad Gateway\n")


def exchanges() -> list[bytes]:
    events = [
        (b"c" + GET, b"s" + OK, b"c" + GET, b"s" + CHUNKED),
        (b"c" + POST, b"s" + INTERIM, b"cabc", b"s" + INTERIM + OK),
        (b"c" + POST, b"s" + OK, b"S"),
        (b"c" + UPLOAD, b"s" + CHUNKED),
        (b"c" + UPLOAD[:50], b"s" + CHUNKED, b"c" + UPLOAD[50:]),
        (b"c" + GET + GET, b"C", b"s" + OK, b"w", b"s" + OK),
        (b"c" + EAS, b"C"),
        (b"c" + GET, b"C", b"w"),
        (b"c" + OLD, b"s" + UNTIL_CLOSE, b"S"),
        (b"c" + UPGRADE, b"s" + SWITCH, b"cmore", b"S"),
        (b"c" + GET, b"s" + BODILESS, b"c" + GET, b"s" + OK),
        (b"c" + GET.replace(b"GET", b"HEAD"), b"s" + CHUNKED[:-15]),
    ]
    return [NEXT.join(each) for each in events]


@target(
    seeds=exchanges,
    tokens=(GET, POST, UPLOAD, OK, CHUNKED, INTERIM, b"\xffc", b"\xffs", b"\xffC", b"\xffS"),
    max_size=4096,
    per_byte_us=60.0,
    per_byte=4096,
)
def fuzz_http1(data: bytes) -> None:
    """Whatever both ends send and however they leave, nothing raises, streamed or held; and
    after a page of ours the connection ends."""
    FIXES.put()
    try:
        for on_flow in (_stream, buffered):
            _run(Proxied(on_flow), data.split(NEXT))
    finally:
        FIXES.put_back()


def _run(proxied: Proxied, events: list[bytes]) -> None:
    for event in events:
        _take_place(proxied, event[:1], event[1:])
        assert "client" in proxied.closed or not proxied.to_client.endswith(REFUSALS)


def _take_place(proxied: Proxied, kind: bytes, data: bytes) -> None:
    if kind in (b"c", b"C") and proxied.client_state & ConnectionState.CAN_READ:
        proxied.client(data) if kind == b"c" else proxied.client_closes()
    elif kind in (b"s", b"S") and proxied.server_state & ConnectionState.CAN_READ:
        proxied.server(data) if kind == b"s" else proxied.server_closes()
    elif kind == b"w" and proxied.wakeups:
        proxied.wake()
