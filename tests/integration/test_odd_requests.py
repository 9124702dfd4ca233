"""Requests that are odd: never a redirect on a misreading, never an exception, one line or none."""

import base64
import struct
from collections.abc import Iterator

import pytest

from tests.integration.messages import ANNA, BERT, CONFIG, LOCATION, NO_MAILBOX, at, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, answering, connected

pytestmark = pytest.mark.integration

QUERY = b"?Cmd=FolderSync&User=anna&DeviceId=d&DeviceType=Phone"
EAS = b"/Microsoft-Server-ActiveSync"
# 14.1, FolderSync, 0x0409, "v141Device", no key, "SmartPhone" (MS-ASHTTP 2.2.1.1.1.1).
FIELDS = bytes((141, 9, 9, 4, 10)) + b"v141Device" + bytes((0, 10)) + b"SmartPhone"


def encoded(fields: bytes) -> bytes:
    return b"?" + base64.b64encode(fields)


def ntlm_without_a_name() -> bytes:
    fixed = b"NTLMSSP\0" + struct.pack("<I", 3) + bytes(52)
    return b"Authorization: NTLM " + base64.b64encode(fixed)


# What ActiveSync says for anna, whose mailbox has moved: it is redirected in every spelling that
# IIS takes for the same.
REDIRECTED = {
    "as usual": post(EAS + QUERY, ANNA),
    "default.eas": post(EAS + b"/default.eas" + QUERY, ANNA),
    "lower case": post(EAS.lower() + b"/default.eas" + QUERY, ANNA),
    "upper case": post(EAS.upper() + QUERY, ANNA),
    "double slashes": post(b"/" + EAS + QUERY, ANNA),
    "percent-encoded": post(EAS.replace(b"-", b"%2D") + QUERY, ANNA),
    "absolute form": post(b"http://mail.contoso.example" + EAS + QUERY, ANNA),
    "base64": post(EAS + encoded(FIELDS), ANNA),
    "base64 without padding": post(EAS + encoded(FIELDS).rstrip(b"="), ANNA),
    "base64, percent-encoded": post(EAS + encoded(FIELDS).replace(b"=", b"%3D"), ANNA),
    "huge header": post(EAS + QUERY, ANNA, b"X-Huge: " + b"h" * 200_000),
    "many headers": post(EAS + QUERY, ANNA, *(b"X-%d: h" % n for n in range(2000))),
}
# ActiveSync, but in some way not what it should be: Exchange's answer passes, with one line.
PASSED = {
    "no Host": post(EAS + QUERY, ANNA).replace(b"Host: mail.contoso.example\r\n", b""),
    "two Hosts": post(EAS + QUERY, ANNA, b"Host: other.contoso.example"),
    "empty Host": post(EAS + QUERY, ANNA).replace(b"Host: mail.contoso.example", b"Host: "),
    "Host is no name": post(EAS + QUERY, ANNA).replace(b"mail.contoso", b"mail/@contoso"),
    "Host of dots": post(EAS + QUERY, ANNA).replace(b"mail.contoso.example", b".."),
    "absolute form of another name": post(b"http://other.contoso.example" + EAS + QUERY, ANNA),
    "absolute form of the target": post(b"http://outlook.office365.com" + EAS + QUERY, ANNA),
    "somebody else's logon": post(EAS + QUERY, BERT),
    "two Authorizations": post(EAS + QUERY, ANNA, BERT),
    "broken Basic": post(EAS + QUERY, b"Authorization: Basic !!!"),
    "Basic without colon": post(EAS + QUERY, b"Authorization: Basic YW5uYQ=="),
    "anonymous NTLM": post(EAS + QUERY, ntlm_without_a_name()),
    "wrong base64": post(EAS + b"?jAkJBAp2MTQw!!!", ANNA),
    "base64 cut": post(EAS + encoded(FIELDS[:9]), ANNA),
    "base64, length beyond the end": post(EAS + encoded(FIELDS[:-1] + b"\x00\x07\xff"), ANNA),
    "another command's answer": post(EAS + QUERY.replace(b"FolderSync", b"Sync"), ANNA),
    "no command": post(EAS + b"?User=anna", ANNA),
    "unknown command": post(EAS + QUERY.replace(b"FolderSync", b"Frobnicate"), ANNA),
    "base64, 14.0 in it and 14.1 in the header": post(EAS + encoded(b"\x8c" + FIELDS[1:]), ANNA),
    "two versions": post(EAS + QUERY, ANNA, b"MS-ASProtocolVersion: 16.1"),
    "broken percent": post(EAS + QUERY + b"&x=%zz%", ANNA),
    "a GET": post(EAS + QUERY, ANNA).replace(b"POST", b"GET", 1),
    "a lower-case method": post(EAS + QUERY, ANNA).replace(b"POST", b"Subscribe", 1),
}
# Close to ActiveSync's path, yet not it: not looked at, no line.
IGNORED = {
    "below it": post(EAS + b"/other" + QUERY, ANNA),
    "longer": post(EAS + b"X" + QUERY, ANNA),
    "in the query": post(b"/owa/?x=" + EAS + QUERY, ANNA),
    "encoded slash": post(EAS.replace(b"/", b"/%2F") + QUERY, ANNA),
    "dot segments": post(b"/owa/.." + EAS + QUERY, ANNA),
    "backslash": post(EAS.replace(b"/", b"\\") + QUERY, ANNA).replace(b"POST \\", b"POST /\\"),
    "NUL": post(EAS + b"%00" + QUERY, ANNA),
    "raw bytes": post(EAS + b"\xff\xfe" + QUERY, ANNA),
    "asterisk": post(b"*", ANNA),
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmdump]:
    with RawServer(answering(NO_MAILBOX)) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path_factory.mktemp("odd"), mode, config=CONFIG) as running:
            yield running


def sent(proxy: Mitmdump, request: bytes) -> bytes:
    with connected(proxy.port) as client:
        client.send(request)
        return client.read_answer()


@pytest.mark.parametrize("name", REDIRECTED)
def test_every_spelling_that_means_the_same_is_redirected(name: str, proxy: Mitmdump) -> None:
    before = len(proxy.exchanges(0))
    answer = sent(proxy, REDIRECTED[name])
    assert answer.startswith(b"HTTP/1.1 451 Redirect\r\n")
    assert LOCATION in answer
    assert len(proxy.exchanges(before + 1)) == before + 1


@pytest.mark.parametrize("name", PASSED)
def test_what_is_odd_passes_with_one_line(name: str, proxy: Mitmdump) -> None:
    before = len(proxy.exchanges(0))
    assert sent(proxy, PASSED[name]) == NO_MAILBOX
    lines = proxy.exchanges(before + 1)[before:]
    assert [at(line, "eas.decision") for line in lines] == ["pass"]
    assert at(lines[0], "event.reason") != "internal_error"


@pytest.mark.parametrize("name", IGNORED)
def test_what_only_looks_like_it_is_left_alone(name: str, proxy: Mitmdump) -> None:
    before = proxy.settled()
    assert sent(proxy, IGNORED[name]) == NO_MAILBOX
    sent(proxy, REDIRECTED["as usual"])  # a line of the former would stand before this one's
    proxy.exchanges(before + 1)
    assert proxy.settled() == before + 1


def test_nothing_went_wrong_inside(proxy: Mitmdump) -> None:
    assert "Traceback" not in proxy.log
    assert "has crashed" not in proxy.log
