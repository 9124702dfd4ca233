"""Exchanges of every kind that an Exchange server sees, as bytes: what a client sends, what comes
back. Each maker varies names, sizes and bodies with the random source that it is given.
"""

import base64
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass

MARK = b"X-Exchange"  # names the exchange, so that one server can answer all of them
DATE = b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
IIS = b"Server: Microsoft-IIS/7.5\r\nX-Powered-By: ASP.NET\r\n"
XML = b"Content-Type: text/xml; charset=utf-8\r\n"
HTML = b"Content-Type: text/html; charset=utf-8\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MULTIPART = b"Content-Type: application/vnd.ms-sync.multipart\r\n"
NATIVE = b"X-MS-Location: https://eas.fabrikam.example/Microsoft-Server-ActiveSync\r\n"
WBXML = b"Content-Type: application/vnd.ms-sync.wbxml\r\n"
EAS = b"/Microsoft-Server-ActiveSync"


@dataclass(frozen=True, slots=True)
class Exchange:
    """`request` lacks the line that names it (see `named`). `interim` goes before `answer`."""

    request: bytes
    answer: bytes
    interim: bytes = b""
    bodiless: bool = False  # the answer to HEAD
    closes: bool = False  # the server closes after it
    eas: bool = False  # leaves one journal line

    def named(self, number: int) -> bytes:
        line, _, rest = self.request.partition(b"\r\n")
        return b"%s\r\n%s: %d\r\n%s" % (line, MARK, number, rest)


def number_of(head: bytes) -> int:
    """Which exchange a request's head names."""
    return int(head.split(MARK + b": ", 1)[1].split(b"\r\n", 1)[0])


def request(line: bytes, *headers: bytes, body: bytes | None = None) -> bytes:
    """HTTP/1.1 with Host, and Content-Length when there is a body."""
    length = (b"Content-Length: %d" % len(body),) if body is not None else ()
    lines = (line + b" HTTP/1.1", b"Host: mail.contoso.example", *headers, *length)
    return b"\r\n".join((*lines, b"", body or b""))


def answer(status: bytes, headers: bytes, body: bytes | None = None) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body is not None else b""
    return b"HTTP/1.1 " + status + b"\r\n" + headers + length + DATE + b"\r\n" + (body or b"")


def chunked(rng: random.Random, body: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks of varying size."""
    raw = bytearray()
    while body:
        size = rng.randint(1, max(1, len(body)))
        raw += b"%x\r\n%s\r\n" % (size, body[:size])
        body = body[size:]
    return bytes(raw) + b"0\r\n" + trailers + b"\r\n"


def _bytes(rng: random.Random, most: int) -> bytes:
    return rng.randbytes(rng.randint(0, most))


def _hex(rng: random.Random, count: int) -> bytes:
    return rng.randbytes(count).hex().encode()


def _basic(rng: random.Random) -> bytes:
    logon = b"user%d:pass" % rng.randint(1, 999)
    return b"Authorization: Basic " + base64.b64encode(logon)


def owa(rng: random.Random) -> Exchange:
    """Cookies: one line with many, many lines with one, names that repeat."""
    cookies = b"".join(
        b"Set-Cookie: c%d=%s; path=/; HttpOnly\r\n" % (n % 3, _hex(rng, 8))
        for n in range(rng.randint(1, 6))
    )
    page = b"<html>" + _bytes(rng, 3000) + b"</html>"
    head = IIS + cookies + b"Content-Type: text/html; charset=utf-8\r\n"
    return Exchange(
        request(b"GET /owa/?ae=Folder&t=IPF.Note", b"Cookie: a=1; b=2", b"cookie: c=3"),
        answer(b"200 OK", head, page),
    )


def owa_logon(rng: random.Random) -> Exchange:
    form = b"destination=https%3a%2f%2fmail&username=a%40b&password=" + _hex(rng, 4)
    moved = b"Location: https://mail.contoso.example/owa/?x=%41&y=a+b\r\n" + IIS
    return Exchange(
        request(
            b"POST /owa/auth/owaauth.dll",
            b"Content-Type: application/x-www-form-urlencoded",
            body=form,
        ),
        answer(b"302 Moved Temporarily", moved, b""),
    )


def ews(rng: random.Random) -> Exchange:
    soap = b"<soap:Envelope>" + _bytes(rng, 20_000) + b"</soap:Envelope>"
    head = IIS + XML + CHUNKED
    return Exchange(
        request(b"POST /EWS/Exchange.asmx", b'SOAPAction: "x"', _basic(rng), body=soap),
        answer(b"200 OK", head) + chunked(rng, _bytes(rng, 20_000)),
    )


def challenge(rng: random.Random) -> Exchange:
    """Several schemes in several lines: their order is the server's preference."""
    schemes = [
        b"WWW-Authenticate: Negotiate\r\n",
        b"WWW-Authenticate: NTLM\r\n",
        b'WWW-Authenticate: Basic realm="mail.contoso.example"\r\n',
    ]
    rng.shuffle(schemes)
    return Exchange(
        request(b"POST /EWS/Exchange.asmx", body=_bytes(rng, 500)),
        answer(b"401 Unauthorized", b"".join(schemes) + IIS, b"<html>401</html>"),
    )


def autodiscover(rng: random.Random) -> Exchange:
    return Exchange(
        request(b"POST /Autodiscover/Autodiscover.xml", _basic(rng), body=_bytes(rng, 900)),
        answer(
            b"200 OK",
            IIS + XML,
            _bytes(rng, 4000),
        ),
    )


def oab(rng: random.Random) -> Exchange:
    first = rng.randint(0, 1000)
    part = rng.randbytes(rng.randint(1, 30_000))
    head = b'Content-Range: bytes %d-%d/99999\r\nAccept-Ranges: bytes\r\nETag: "a:0"\r\n' % (
        first,
        first + len(part) - 1,
    )
    return Exchange(
        request(
            b"GET /OAB/2f/oab.xml", b"Range: bytes=%d-" % first, b"User-Agent: Microsoft BITS/7.5"
        ),
        answer(b"206 Partial Content", head + IIS, part),
    )


def not_modified(rng: random.Random) -> Exchange:
    """A 304 may name the length of the body that it does not have (RFC 9110 15.4.5)."""
    head = b'ETag: "%d"\r\nContent-Length: %d\r\n' % (rng.randint(1, 99), rng.randint(1, 9999))
    return Exchange(
        request(b"GET /OAB/oab.xml", b'If-None-Match: "1"'), answer(b"304 Not Modified", head + IIS)
    )


def no_content(rng: random.Random) -> Exchange:
    return Exchange(
        request(b"POST /ecp/ping", body=_bytes(rng, 50)), answer(b"204 No Content", IIS)
    )


def head(rng: random.Random) -> Exchange:
    length = b"Content-Length: %d\r\n" % rng.randint(1, 99_999)
    return Exchange(request(b"HEAD /owa/"), answer(b"200 OK", length + IIS), bodiless=True)


def ecp(rng: random.Random) -> Exchange:
    """gzip stays as it is: neither end asked for it to be undone."""
    packed = gzip.compress(_bytes(rng, 9000), mtime=0)
    coding = b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
    return Exchange(
        request(b"GET /ecp/default.aspx", b"Accept-Encoding: gzip, deflate"),
        answer(b"200 OK", coding + IIS, packed),
    )


def mapi(rng: random.Random) -> Exchange:
    """MAPI over HTTP: meta tags and headers in the chunked body (MS-OXCMAPIHTTP 2.2.2.2)."""
    body = b"PROCESSING\r\nPENDING\r\nDONE\r\nX-ElapsedTime: 9\r\n\r\n" + _bytes(rng, 5000)
    kind = b"Content-Type: application/mapi-http\r\nX-ResponseCode: 0\r\n" + CHUNKED
    return Exchange(
        request(
            b"POST /mapi/emsmdb/?MailboxId=a@contoso.example",
            b"X-RequestType: Execute",
            b"X-RequestId: {%s}:1" % _hex(rng, 8),
            body=_bytes(rng, 3000),
        ),
        answer(b"200 OK", kind + IIS) + chunked(rng, body),
    )


def rpc(rng: random.Random) -> Exchange:
    """RPC over HTTP, the echo request that opens it (MS-RPCH 2.1.2.1.5)."""
    echo = b"Content-Type: application/rpc\r\nConnection: Keep-Alive\r\n"
    return Exchange(
        request(b"RPC_IN_DATA /rpc/rpcproxy.dll?mbx:6001", b"Accept: application/rpc", body=b""),
        answer(b"200 Success", echo + IIS, rng.randbytes(20)),
    )


def interim(rng: random.Random) -> Exchange:
    waits = rng.choice(
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 102 Processing\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        ]
    )
    return Exchange(
        request(b"POST /owa/up", body=_bytes(rng, 900)),
        answer(b"200 OK", IIS, _bytes(rng, 900)),
        interim=waits * rng.randint(1, 3),
    )


def expectation(rng: random.Random) -> Exchange:
    """RFC 9110 10.1.1: some servers say 100, some answer without; some clients do not wait."""
    waits = b"HTTP/1.1 100 Continue\r\n\r\n" * rng.randint(0, 1)
    return Exchange(
        request(b"POST /EWS/Exchange.asmx", b"Expect: 100-continue", body=_bytes(rng, 9000)),
        answer(b"200 OK", IIS, _bytes(rng, 900)),
        interim=waits,
    )


def trailers(rng: random.Random) -> Exchange:
    """Both ways (RFC 9112 7.1.2)."""
    sum_ = b"X-Sum: %d\r\n" % rng.randint(0, 99)
    upload = request(b"PUT /public/a", b"Transfer-Encoding: chunked", b"Trailer: X-Sum")
    reply = answer(b"201 Created", CHUNKED + b"Trailer: X-Sum\r\n" + IIS)
    return Exchange(
        upload + chunked(rng, _bytes(rng, 500), sum_), reply + chunked(rng, _bytes(rng, 500), sum_)
    )


def chunked_upload(rng: random.Random) -> Exchange:
    return Exchange(
        request(b"POST /EWS/Exchange.asmx", b"Transfer-Encoding: chunked")
        + chunked(rng, _bytes(rng, 20_000)),
        answer(b"200 OK", IIS, _bytes(rng, 100)),
    )


def until_close(rng: random.Random) -> Exchange:
    return Exchange(
        request(b"GET /public/old.asp"),
        b"HTTP/1.1 200 OK\r\n" + IIS + b"\r\n" + _bytes(rng, 9000),
        closes=True,
    )


def odd_headers(rng: random.Random) -> Exchange:
    """Order, case, duplicates, empty values, bytes beyond ASCII, length."""
    lines = [
        b"x-lower: 1", b"X-UPPER: 2", b"X-Twice: a", b"X-Other: m", b"x-twice: b", b"X-Twice: a",
        b"X-Empty:", b"X-Latin: M\xfcller", b"X-UTF: M\xc3\xbcller", b"X-Inner: a \t b",
        b"X-Punctuation: \"',;:=()<>@[]{}\\", b"X-Long: " + b"l" * rng.randint(1, 30_000),
    ]  # fmt: skip
    rng.shuffle(lines)
    same = [line.replace(b"X-Empty:", b"X-Empty: ") for line in lines]
    return Exchange(
        request(b"GET /owa/odd", *same),
        answer(b"299 Quite Odd \xe4", b"".join(line + b"\r\n" for line in same), _bytes(rng, 50)),
    )


def methods(rng: random.Random) -> Exchange:
    """WebDAV and others; the case of a method counts (RFC 9110 9.1)."""
    method = rng.choice([b"PROPFIND", b"SEARCH", b"X-MS-ENUMATTS", b"DELETE", b"post", b"OPTIONS"])
    return Exchange(
        request(method + b" /exchange/anna/Inbox/", b"Depth: 1", body=_bytes(rng, 200)),
        answer(b"207 Multi-Status", IIS, _bytes(rng, 2000)),
    )


def targets(rng: random.Random) -> Exchange:
    """What a path may hold: nothing is decoded, joined or put right."""
    target = rng.choice(
        [
            b"//owa//x",
            b"/owa/%7e%2F%2e?a=b?c=d",
            b"/owa/a;b=c/../d",
            b"/owa/M\xc3\xbcller",
            b"/",
            b"/owa/?",
            b"/owa/%",
            b"/ews?q=" + b"q" * 9000,
            b"*",
        ]
    )
    return Exchange(request(b"OPTIONS " + target), answer(b"200 OK", IIS, b"ok"))


def http_1_0(rng: random.Random) -> Exchange:
    stays = rng.random() < 0.5
    asked = request(b"GET /owa/", b"Connection: Keep-Alive") if stays else request(b"GET /owa/")
    reply = answer(b"200 OK", IIS + (b"Connection: Keep-Alive\r\n" if stays else b""), b"old")
    return Exchange(
        asked.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1),
        reply.replace(b"HTTP/1.1", b"HTTP/1.0", 1) if stays else reply,
        closes=not stays,
    )


def eas(rng: random.Random) -> Exchange:
    """What a device asks all day, and every answer that is not the one."""
    query = b"?Cmd=%s&User=bert&DeviceId=d%d&DeviceType=Phone"
    command = rng.choice([b"Sync", b"Ping", b"FolderSync", b"ItemOperations", b"SendMail"])
    status, headers, body = rng.choice(EAS_ANSWERS)
    return Exchange(
        request(
            b"POST " + EAS + query % (command, rng.randint(1, 99)),
            b"MS-ASProtocolVersion: 14.1",
            b"X-MS-PolicyKey: 1234",
            _basic(rng),
            WBXML[:-2],
            body=_bytes(rng, 2000),
        ),
        answer(status, headers + IIS, body(rng)),
        eas=True,
    )


def eas_base64(rng: random.Random) -> Exchange:
    return Exchange(
        request(b"POST " + EAS + b"?jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l", _basic(rng), body=b""),
        answer(b"200 OK", WBXML + IIS, b""),
        eas=True,
    )


def eas_options(rng: random.Random) -> Exchange:
    offer = b"MS-Server-ActiveSync: 14.3\r\nMS-ASProtocolVersions: 2.5,12.1,14.0,14.1\r\n"
    return Exchange(
        request(b"OPTIONS " + EAS, _basic(rng)), answer(b"200 OK", offer + IIS, b""), eas=True
    )


def _wbxml(rng: random.Random) -> bytes:
    """A FolderSync with status 1; some are longer than is ever read."""
    filling = rng.choice([0, 10, 3000, 90_000])
    return bytes.fromhex("03016A00000756" + "4C03310001") + b"\x03" + b"f" * filling + b"\0\x01"


type Body = Callable[[random.Random], bytes]
EAS_ANSWERS: tuple[tuple[bytes, bytes, Body], ...] = (
    (b"200 OK", WBXML, _wbxml),
    (b"200 OK", WBXML + GZIP, lambda rng: gzip.compress(_wbxml(rng), mtime=0)),
    (b"200 OK", WBXML, lambda rng: rng.randbytes(700)),
    (b"200 OK", b"", lambda _: b""),
    (b"200 OK", MULTIPART, lambda rng: rng.randbytes(9000)),
    (b"401 Unauthorized", b"WWW-Authenticate: Basic realm=\"\"\r\n", lambda _: b"401"),
    (b"403 Forbidden", b"Content-Type: text/html\r\n", lambda _: b"<html>403</html>"),
    (b"449 Retry after sending a PROVISION command", b"", lambda _: b""),
    (b"451 ", NATIVE, lambda _: b""),
    (b"500 Internal Server Error", b"", lambda rng: rng.randbytes(300)),
    (b"503 Service Unavailable", b"Retry-After: 60\r\n", lambda _: b"busy"),
    (b"507 Insufficient Storage", b"", lambda _: b""),
)  # fmt: skip

KINDS: dict[str, Callable[[random.Random], Exchange]] = {
    "OWA": owa,
    "OWA logon": owa_logon,
    "EWS": ews,
    "401 challenge": challenge,
    "Autodiscover": autodiscover,
    "OAB": oab,
    "304": not_modified,
    "204": no_content,
    "HEAD": head,
    "ECP, gzip": ecp,
    "MAPI over HTTP": mapi,
    "RPC over HTTP": rpc,
    "1xx": interim,
    "100-continue": expectation,
    "trailers": trailers,
    "chunked upload": chunked_upload,
    "until close": until_close,
    "odd headers": odd_headers,
    "methods": methods,
    "targets": targets,
    "HTTP/1.0": http_1_0,
    "EAS": eas,
    "EAS, base64": eas_base64,
    "EAS, OPTIONS": eas_options,
}
