"""Targets of the protocol room: WBXML, queries, targets and headers, credentials, answers."""

import base64
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace

from eas_redirect.activesync.authorization import (
    MAX_LOGON,
    Credentials,
    contradicts,
    identify,
    parse_logon,
    read_authorization,
)
from eas_redirect.activesync.host_name import HostNameError, normalize_domain, normalize_host
from eas_redirect.activesync.request import (
    COMMAND_CODES,
    EASRequest,
    Headers,
    is_eas_path,
    read_request,
)
from eas_redirect.activesync.response import ROOTS, Evidence, read_answer, read_head
from eas_redirect.activesync.wait import sync_waits
from eas_redirect.activesync.wbxml import Element, Extension, WBXMLError, parse, parse_partly, write
from tests.activesync.test_authorization import spnego
from tests.activesync.test_wait import CHANGE, FOLDER, HEARTBEAT, WAIT, folders, sync
from tests.fuzz.seeds import column, hexadecimal
from tests.fuzz.target import target

HEADER = b"\x03\x01\x6a\x00"
PATH = "/Microsoft-Server-ActiveSync"
WBXML_TOKENS = (
    HEADER,
    b"\x00\x07",
    b"\x03123\x00",
    b"\x01\x01",
    b"\xc3\x03123",
    b"\x83\x00",
    b"\x02\x31",
    b"\x44\x00",
    b"\x84\x00",
    b"\x04\x00",
    b"\x43\x05\x01",
    b"\x85\x05\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x45" * 99,
)


def vectors() -> list[bytes]:
    table = HEADER[:3] + b"\x04123\x00\x45\x4e\x83\x00\x01\x01"
    literal = HEADER[:3] + b"\x02a\x00\xc4\x00\x04\x00\x03x\x00\x01\x03y\x00\x01"
    return [
        *hexadecimal("vectors.tsv", "bytes"),
        *hexadecimal("answers.tsv", "body"),
        table,
        literal,
    ]


# Read three times and written once: a microsecond a byte each, at worst.
@target(seeds=vectors, tokens=WBXML_TOKENS, per_byte_us=8, per_byte=1024)
def fuzz_wbxml(data: bytes) -> None:
    """Any bytes are a document or a WBXMLError; a document that is written reads the same; for
    people something is shown either way."""
    shown, problem = parse_partly(data)
    try:
        document = parse(data)
    except WBXMLError as error:
        assert str(error) == str(problem)
        return
    assert problem is None
    assert shown == document
    assert parse(write(document)) == document


@target(seeds=vectors, tokens=WBXML_TOKENS, per_byte_us=8, per_byte=1024)
def fuzz_wbxml_body(data: bytes) -> None:
    """The same behind a good header, so that more of the grammar is reached."""
    fuzz_wbxml(HEADER + data)


@target(seeds=lambda: [b"\x02\x04\x07\x01" + v for v in vectors()], tokens=WBXML_TOKENS)
def fuzz_wbxml_writer(data: bytes) -> None:
    """A document with any values is written so that it reads the same, or is a WBXMLError."""
    try:
        document = parse(data[4:])
    except WBXMLError:
        return
    knobs = data[:4]
    root = document.root._replace(page=knobs[0], token=knobs[1])
    changed = replace(document, root=root, version=knobs[2] & 7, charset=knobs[3])
    try:
        written = write(changed)
    except WBXMLError:
        return
    assert parse(written) == changed


def queries() -> list[bytes]:
    spec = b"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l"  # the example of MS-ASHTTP 4.1.1
    user = bytes([141, 9, 9, 4, 2]) + b"D1\0\2Ph" + bytes([8, 4]) + b"anna" + bytes([7, 1, 1])
    key = bytes([121, 0, 9, 4, 1]) + b"\xff\4\1\2\3\4\2Ph"
    return [base64.b64decode(spec), user, key]


@target(seeds=queries, tokens=(b"\x08\x04anna", b"\x04\x01\x02\x03\x04", b"\x00\x00"))
def fuzz_base64_query(data: bytes) -> None:
    """Any bytes behind base64 are a request; its values are short and printable."""
    _sound(read_request("POST", f"{PATH}?{base64.b64encode(data).decode()}", ()))


TARGET_TOKENS = (
    PATH.encode(),
    b"/default.eas",
    b"?Cmd=",
    b"&User=",
    b"&DeviceId=",
    b"&DeviceType=",
    b"%5C",
    b"%2F",
    b"%00",
    b"%",
    b"//",
    b"/../",
    b"https://mail.contoso.example",
    b"\r\n",
    b"MS-ASProtocolVersion: ",
    b"X-MS-PolicyKey: ",
    b"14.1",
    *(name.encode() for name in COMMAND_CODES.values()),
)


def request_targets() -> list[bytes]:
    headers = b"\r\nMS-ASProtocolVersion: 14.1\r\nX-MS-PolicyKey: 1"
    plain = b"?Cmd=Sync&User=CONTOSO%5Canna&DeviceId=D1&DeviceType=Phone"
    return [PATH.encode() + plain + headers, *column("paths.tsv", "target")]


@target(seeds=request_targets, tokens=TARGET_TOKENS)
def fuzz_request(data: bytes) -> None:
    """Any target and headers are a request or one with a `problem`; its values are short and
    printable; a path is that of ActiveSync only when it holds its name."""
    text = data.decode("utf-8", "surrogateescape")
    first, *fields = text.split("\r\n")
    headers: Headers = tuple(tuple(field.partition(": ")[::2]) for field in fields)  # type: ignore[misc]
    _sound(read_request("POST", first, headers))
    if is_eas_path(first):
        assert "server" in first.lower() or "%" in first


def _sound(request: EASRequest) -> None:
    for value in (request.device_id, request.device_type, request.user):
        assert value is None or (len(value) <= 512 and value.isprintable())
    assert request.problem is None or (request.problem and request.problem.isprintable())


@target(seeds=lambda: column("logons.tsv", "logon"), tokens=(b"\\", b"@", b"\0", b"\xc3\xbc", b" "))
def fuzz_logon(data: bytes) -> None:
    """Any text is a logon that says what was written, or None."""
    logon = parse_logon(data.decode("utf-8", "replace"))
    if logon is not None:
        assert logon.text.isprintable()
        assert 0 < len(logon.text) <= MAX_LOGON
        assert logon.user
        assert logon.user in logon.text
        assert (logon.domain is None) == (logon.format == "bare")


def authorizations() -> list[bytes]:
    basic = b"Basic " + base64.b64encode(b"CONTOSO\\anna:secret")
    claims = base64.urlsafe_b64encode(b'{"upn":"anna@contoso.example"}').rstrip(b"=")
    ntlm = b"NTLM " + base64.b64encode(ntlm_message())
    return [basic, b"Bearer e30." + claims + b".c2ln", ntlm, b"Negotiate YIIB", b"Digest x", b""]


def ntlm_message() -> bytes:
    """A type 3 message (MS-NLMP 2.2.1.3) with a domain and a user."""
    domain, user = "CONTOSO".encode("utf-16-le"), "anna".encode("utf-16-le")
    fields = bytearray(64)
    fields[:12] = b"NTLMSSP\0\3\0\0\0"
    for at, text, start in ((28, domain, 64), (36, user, 64 + len(domain))):
        fields[at : at + 8] = len(text).to_bytes(2, "little") * 2 + start.to_bytes(4, "little")
    fields[60:64] = b"\1\0\0\0"
    return bytes(fields) + domain + user


@target(
    seeds=authorizations, tokens=(b"Basic ", b"Bearer ", b"NTLM ", b"Negotiate ", b"TlRMTVNTUAAD")
)
def fuzz_authorization(data: bytes) -> None:
    """Any header value is credentials, and what they say holds no more than a name."""
    _named(read_authorization(data.decode("utf-8", "surrogateescape")))


@target(seeds=lambda: [b"CONTOSO\\anna:secret", b"anna@contoso.example:", b"\xfc:x", b":"])
def fuzz_basic(data: bytes) -> None:
    """Any bytes behind base64; what stands after the first colon is never kept."""
    credentials = read_authorization("Basic " + base64.b64encode(data).decode())
    _named(credentials)
    if credentials.logon is not None:
        assert ":" not in credentials.logon.text
        assert b":" in data


@target(
    seeds=lambda: [
        ntlm_message(),
        ntlm_message()[:64],
        b"NTLMSSP\0\1\0\0\0",
        spnego(ntlm_message()),
    ]
)
def fuzz_ntlm(data: bytes) -> None:
    """Any message is credentials, whether it comes as NTLM or as Negotiate."""
    text = base64.b64encode(data).decode()
    for scheme in ("NTLM", "Negotiate"):
        _named(read_authorization(f"{scheme} {text}"))


@target(
    seeds=lambda: [
        b'{"upn":"anna@contoso.example"}',
        b'{"preferred_username":"a","smtp":1}',
        b"[]",
    ],
    tokens=(b'{"upn":', b'"smtp":', b"[" * 400, b'{"a":' * 200, b"9" * 5000, b"\\ud800", b"1e999"),
)
def fuzz_bearer(data: bytes) -> None:
    """Any claims are credentials."""
    payload = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    _named(read_authorization(f"Bearer e30.{payload}.c2ln"))


def _named(credentials: Credentials) -> None:
    identity = identify(EASRequest(method="POST", user="bert"), credentials)
    contradicts(EASRequest(method="POST", user="bert@contoso.example"), credentials)
    if credentials.problem is not None:
        assert identity.logon is None
        assert identity.problem
    logon = identity.logon
    if logon is not None:
        assert identity.proven is (credentials.logon is not None)
        assert logon.text.isprintable()
        assert len(logon.text) <= MAX_LOGON


def answers() -> list[bytes]:
    """Head and body: status, command, coding, then the body as it is before compression."""
    return [bytes([n % 4, n % 19, n % 5]) + body for n, body in enumerate(vectors())]


STATUSES = (200, 200, 403, 451)
CODINGS = ("", "gzip", "deflate", "gzip, deflate", "br")
ANSWER_TYPE = ("Content-Type", "application/vnd.ms-sync.wbxml")


@target(seeds=answers, tokens=(*WBXML_TOKENS, b"\0" * 70_000), max_size=128 * 1024)
def fuzz_answer(data: bytes) -> None:
    """Any answer is read; only a body whose own root says 123 is certain; a look at the head
    alone never promises less than the body proves."""
    if len(data) < 3:
        return
    status, coding = STATUSES[data[0] % 4], CODINGS[data[2] % 5]
    command = list(ROOTS)[data[1] % len(ROOTS)]
    request = EASRequest(method="POST", command=command, protocol_version="14.1")
    body = _coded(coding, data[3:])
    headers = (ANSWER_TYPE, ("Content-Encoding", coding)) if coding else (ANSWER_TYPE,)
    answer = read_answer(request, status, headers, body)
    if answer.evidence is Evidence.CERTAIN:
        assert read_head(request, status, headers).may_hold_evidence
        root = parse(data[3:]).root
        assert (root.page, root.token) == ROOTS[command][:2]
        tag = (root.page, ROOTS[command][2])
        found = [e for e in root.elements if (e.page, e.token) == tag]
        assert [status.text.strip() for status in found] == ["123"]
        assert not any(isinstance(child, Element | Extension) for child in found[0].children)


def _coded(coding: str, body: bytes) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(body)
        case "deflate":
            return zlib.compress(body)
        case _:
            return body


@target(seeds=lambda: [gzip.compress(v) for v in vectors()], tokens=(gzip.compress(b"\0" * 10**6),))
def fuzz_compressed(data: bytes) -> None:
    """Any bytes that claim to be compressed are read or have a `problem`, and never unfold."""
    request = EASRequest(method="POST", command="FolderSync", protocol_version="14.1")
    for coding in ("gzip", "deflate"):
        read_answer(request, 200, (ANSWER_TYPE, ("Content-Encoding", coding)), data)


@target(
    seeds=lambda: [
        sync(WAIT),
        sync(folders(FOLDER), HEARTBEAT),
        sync(folders(CHANGE), WAIT),
        gzip.compress(sync(WAIT)),
    ],
    tokens=(HEADER, b"\x56", b"\x64\x0310\x00\x01", b"\x69", b"\x00\x00", b"\x00\x0d"),
)
def fuzz_sync_that_waits(data: bytes) -> None:
    """Any body says yes or no in any coding; whatever may be a change of the client's says no."""
    for coding in ("", "gzip", "deflate"):
        sync_waits((("Content-Encoding", coding),), data)
    if not sync_waits((), data) or not data:
        return
    names = {element.name for element in _every(parse(data).root) if element.page == 0}
    assert "Commands" not in names
    assert names & {"Wait", "HeartbeatInterval"}


def _every(element: Element) -> Iterator[Element]:
    yield element
    for child in element.elements:
        yield from _every(child)


@target(
    seeds=lambda: [b"mail.contoso.example", "bücher.example".encode(), b"xn--bcher-kva.example"],
    tokens=(b".", b"xn--", b"\xc3\x9f", b"\xe2\x80\x8d", b"-"),
)
def fuzz_host_name(data: bytes) -> None:
    """Any text is one DNS name in A-labels, which reads the same again, or a HostNameError."""
    try:
        host = normalize_host(data.decode("utf-8", "surrogateescape"))
    except HostNameError:
        return
    assert host.isascii()
    assert host == host.lower()
    assert normalize_host(host) == host
    try:
        assert normalize_domain(host) == host
    except HostNameError:
        assert "." not in host or host.endswith(".localhost")
