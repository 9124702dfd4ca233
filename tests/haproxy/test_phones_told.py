"""Autodiscover by both carriers: the same phones are told, for the same reasons, in the same bytes.

`test_same_verdicts.py` does this for ActiveSync; PASSED_HERE names in which the two differ.
"""

import base64
import gzip
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eas_redirect.autodiscover.answer import User, write_settings
from eas_redirect.haproxy.question import JudgeReply, written_reply
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    OUTLOOK_ANSWER,
    OUTLOOK_REQUEST,
    USER,
    N,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.haproxy.carrying import Carried, carried, write_files
from tests.haproxy.test_fail_open import read, scripted
from tests.haproxy.test_same_verdicts import Exchange, Outcome, Row, chunked, outcomes
from tests.haproxy.test_same_verdicts import answer as http_answer
from tests.integration.messages import ANNA, BERT, CONFIG, FOLDER_SYNC, at, head
from tests.integration.mitmdump import mitmdump
from tests.integration.rawserver import RawServer, connected
from tests.integration.running import wait_until
from tests.support import require

pytestmark = pytest.mark.integration

PHONES = CONFIG + (
    '[exchange]\nhost_names = ["mail.contoso.example"]\n'
    '[autodiscover]\nphones = "listed"\nlisted = ["ROW-"]\nweak = true\n'
)
ADDRESS = "anna@contoso.example"
PATH = b"/autodiscover/autodiscover.xml"
XML = b"Content-Type: text/xml; charset=utf-8"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
MOVED = answer(USER + redirect("anna@contoso.mail.onmicrosoft.example"))
WEAK = answer(USER + error())
TOLD = write_settings(
    LOCATION, User(email_address="anna@example.test", display_name="Anna Example", culture="en:us")
)
UTF_16 = '<?xml version="1.0" encoding="utf-16"?>'
LATIN = '<?xml version="1.0" encoding="iso-8859-1"?>'


def basic(user: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(f"{user}:x".encode())


def asks(
    body: str | bytes = request(ADDRESS),
    *headers: bytes,
    logon: bytes = ANNA,
    target: bytes = PATH,
    method: bytes = b"POST",
    types: tuple[bytes, ...] = (XML,),
    length: bool = True,
) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    sized = [b"Content-Length: %d" % len(raw)] if length else []
    return head(method + b" " + target + b" HTTP/1.1", logon, *types, *headers, *sized) + raw


def says(
    body: str | bytes = MOVED,
    *headers: bytes,
    status: bytes = b"200 OK",
    types: tuple[bytes, ...] = (XML,),
) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    return http_answer(raw, *types, *headers, status=status)


def questions() -> Iterator[tuple[str, bytes]]:
    """Ways to ask; all are answered with the address that the directory has."""
    plain = request(ADDRESS, declaration="")
    outlook = request(ADDRESS, schema=f"{N}/outlook/responseschema/2006a")
    yield "R1", asks()
    yield "R2 a bare name", asks(request("anna"), logon=basic("anna"))
    yield "R3 another's address", asks(request("bert@contoso.example"))
    yield (
        "R4 UTF-16",
        asks(
            b"\xff\xfe" + (UTF_16 + plain).encode("utf-16-le"),
            target=b"/Autodiscover/AutoDiscover.XML",
            types=(b"Content-Type: text/xml",),
        ),
    )
    yield (
        "UTF-16 the other way round",
        asks(b"\xfe\xff" + (UTF_16 + plain).encode("utf-16-be"), types=()),
    )
    yield "UTF-16 without a mark", asks((UTF_16 + plain).encode("utf-16-le"), types=())
    yield "Latin-1", asks((LATIN + plain).encode("latin-1"), types=(b"Content-Type: text/xml",))
    yield "Latin-1 that is called UTF-8", asks((LATIN + plain).encode("latin-1"))
    yield "a mark of UTF-8", asks(b"\xef\xbb\xbf" + plain.encode())
    yield "R5 Outlook", asks(OUTLOOK_REQUEST)
    yield "Outlook's answer wanted", asks(outlook)
    yield "no schema", asks(request(ADDRESS, schema=""))
    yield "an alias", asks(request("anna.moved@contoso.example"), logon=basic("CONTOSO\\anna"))
    yield "capitals", asks(request(ADDRESS.upper()))
    yield "another's logon", asks(logon=BERT)
    yield "nobody's address", asks(request("nobody@contoso.example"))
    yield (
        "an ambiguous address",
        asks(request("desk@contoso.example"), logon=basic("shared1@contoso.example")),
    )
    yield "no logon", asks(logon=b"X: y")
    yield "two logons", asks(request(ADDRESS), BERT)
    yield "Kerberos", asks(logon=b"Authorization: Negotiate YIIabc")
    yield "a DOCTYPE", asks(DOCTYPE + request("&x;", declaration=""))
    yield "not well-formed", asks(request(ADDRESS)[:-1])
    yield (
        "two Requests",
        asks(request(ADDRESS).replace("</Request>", "</Request><Request></Request>")),
    )
    yield "long", asks(request(ADDRESS) + " " * 70_000)
    yield "nearly long", asks(request(ADDRESS) + " " * 65_000)
    yield "empty", asks(b"")
    yield "noise", asks(bytes(range(256)) * 20)
    yield (
        "chunked",
        asks(
            chunked(request(ADDRESS)[:100].encode(), request(ADDRESS)[100:].encode()),
            b"Transfer-Encoding: chunked",
            length=False,
        ),
    )
    yield (
        "chunked and long",
        asks(
            chunked(*[request(ADDRESS).encode(), *[b" " * 10_000] * 8]),
            b"Transfer-Encoding: chunked",
            length=False,
        ),
    )
    yield "with a query", asks(target=PATH + b"?x=y")
    yield "a method in small letters", asks(method=b"post")
    yield "absolute form", asks(target=b"http://autodiscover.contoso.example" + PATH)
    yield "two types of a question", asks(types=(XML, XML))
    yield "100-continue", asks(request(ADDRESS), b"Expect: 100-continue")
    yield "claims an address", asks(request(ADDRESS), b"X-Forwarded-For: 10.0.0.1")


def answers() -> Iterator[tuple[str, bytes]]:
    """What Exchange may say to the one plain question."""
    addressed = answer(redirect("SMTP:Anna@Contoso.Mail.OnMicrosoft.Example"))
    yield "A2", says()
    yield "A3 another address", says(answer(USER + redirect("anna@other.example")))
    yield "A4 settings", says(answer(USER + settings()))
    yield "A5 error 2", says(WEAK)
    yield "A6 framework error", says(FRAMEWORK_ERROR)
    yield "A7 a DOCTYPE", says(DOCTYPE + answer(redirect("&x;"), declaration=""))
    yield "A8 Outlook", says(OUTLOOK_ANSWER)
    yield "no user", says(addressed)
    yield "error 3", says(answer(USER + error("3")))
    yield "two actions", says(answer(redirect("a@b.example") + redirect("a@b.example")))
    yield (
        "a long name",
        says(
            answer(
                f"<User><DisplayName>{'&lt;' * 5000}</DisplayName>"
                f"<EMailAddress>anna@example.test</EMailAddress></User>"
                + redirect("anna@contoso.mail.onmicrosoft.example")
            )
        ),
    )
    yield "gzip", says(gzip.compress(MOVED.encode()), b"Content-Encoding: gzip")
    yield "brotli that is none", says(MOVED, b"Content-Encoding: br")
    yield "long", says(MOVED + " " * 70_000)
    yield "nearly long", says(MOVED + " " * 64_000)
    yield "cut short", says(MOVED[:-5])
    yield "HTML", says(types=(b"Content-Type: text/html",))
    yield "no type", says(types=())
    yield "two types", says(types=(XML, b"Content-Type: text/html"))
    yield "application/xml", says(types=(b"Content-Type: application/xml",))
    yield "WBXML's type", says(types=(b"Content-Type: application/vnd.ms-sync.wbxml",))
    for status in (b"302 Found", b"403 No", b"404 None", b"449 P", b"456 B", b"500 X", b"503 Y"):
        yield status.decode(), says(status=status)
    yield "451", says(b"", b"X-MS-Location: https://x.example.test/y", status=b"451 Redirect")
    yield (
        "a session",
        says(MOVED, b"Set-Cookie: a=b", b"X-MS-Credential-Service-Url: https://sts.example.test"),
    )


def rows() -> dict[str, Row]:
    found = {f"question: {name}": Row(asked, says()) for name, asked in questions()}
    found |= {f"answer: {name}": Row(asks(), said) for name, said in answers()}
    found["answer: until close"] = Row(
        asks(), b"HTTP/1.1 200 OK\r\n" + XML + b"\r\n\r\n" + MOVED.encode(), closes=True
    )
    found["answer: chunked"] = Row(
        asks(),
        b"HTTP/1.1 200 OK\r\n"
        + XML
        + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(*(bytes([byte]) for byte in MOVED.encode())),
    )
    return found


ROWS = rows()
FURTHER = {
    "GET": Row(asks(b"", method=b"GET"), says()),
    "SOAP": Row(asks(target=b"/autodiscover/autodiscover.svc"), says()),
    "JSON": Row(asks(target=b"/autodiscover/autodiscover.json?Email=a%40b"), says()),
    "401": Row(asks(logon=b"X: y"), says(b"", status=b"401 Unauthorized")),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    require("haproxy")
    with RawServer(Exchange(ROWS | FURTHER).serve) as running:
        yield running


@pytest.fixture(scope="module")
def haproxy(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    directory = tmp_path_factory.mktemp("haproxy")
    with carried(directory, f"http://127.0.0.1:{server.port}", PHONES) as running:
        until_weak_counts(running.port)
        yield running


@pytest.fixture(scope="module")
def by_haproxy(haproxy: Carried) -> dict[str, Outcome]:
    return outcomes(haproxy, ROWS | FURTHER)


@pytest.fixture(scope="module")
def by_mitmproxy(
    server: RawServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Outcome]]:
    directory = tmp_path_factory.mktemp("mitmproxy")
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(directory, mode, config=PHONES) as running:
        until_weak_counts(running.port)
        yield outcomes(running, ROWS | FURTHER)


def numbered(name: str) -> bytes:
    """The row's question, as `outcomes` sends it, but by an agent of its own."""
    all_rows = ROWS | FURTHER
    number = list(all_rows).index(name)
    said = b"X-Row: %d\r\nUser-Agent: Row-first\r\n" % number
    return all_rows[name].request.replace(b"\r\n", b"\r\n" + said, 1)


def until_weak_counts(port: int) -> None:
    """The proxy has asked Exchange by itself for a logon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with connected(port) as client:
            client.send(numbered("answer: A5 error 2"))
            if LOCATION.encode() in client.read_answer():
                return
        time.sleep(0.1)
    pytest.fail("a weak answer never counted")


@pytest.mark.parametrize("name", ROWS)
def test_both_carriers_tell_the_same_for_the_same_reason(
    name: str, by_haproxy: dict[str, Outcome], by_mitmproxy: dict[str, Outcome]
) -> None:
    ours, theirs = by_haproxy[name], by_mitmproxy[name]
    assert (ours.status, ours.reason) == (theirs.status, theirs.reason)
    if b"Transfer-Encoding" not in ROWS[name].answer or ours.reason == "mailbox_moved":
        assert ours.body == theirs.body
    if ours.reason != "mailbox_moved":
        assert ROWS[name].answer.endswith(ours.body)


def test_the_table_is_worth_something(haproxy: Carried, by_haproxy: dict[str, Outcome]) -> None:
    told = {name for name, outcome in by_haproxy.items() if outcome.reason == "mailbox_moved"}
    assert {"question: R1", "question: R2 a bare name", "question: R4 UTF-16"} <= told
    assert {"answer: A2", "answer: A5 error 2", "answer: 403 No", "answer: gzip"} <= told
    assert len(told) >= 20
    reasons = {outcome.reason for outcome in by_haproxy.values()}
    assert {"no_identity", "autodiscover_identity_mismatch", "other_answer"} <= reasons
    assert by_haproxy["question: R1"].body == TOLD
    agents = [str(at(x, "user_agent.original")) for x in haproxy.exchanges(len(ROWS))]
    assert all(agents.count(f"row-{number}") == 1 for number in range(len(ROWS)))


def test_what_is_no_question_of_a_phones_leaves_no_line(
    by_haproxy: dict[str, Outcome], by_mitmproxy: dict[str, Outcome]
) -> None:
    for name, row in FURTHER.items():
        for outcome in (by_haproxy[name], by_mitmproxy[name]):
            assert outcome.reason is None, name
            assert row.answer.endswith(outcome.body)


def test_what_the_answer_keeps(haproxy: Carried) -> None:
    with connected(haproxy.port) as client:
        client.send(numbered("answer: a session"))
        said, _, body = client.read_answer().partition(b"\r\n\r\n")
    assert sorted(line.lower() for line in said.split(b"\r\n")[1:]) == [
        b"cache-control: private",
        b"content-length: %d" % len(body),
        b"content-type: text/xml; charset=utf-8",
        b"x-ms-credential-service-url: https://sts.example.test",
    ]


def test_an_unlisted_phone_is_not_told(haproxy: Carried) -> None:
    with connected(haproxy.port) as client:
        client.send(numbered("question: R1").replace(b"Row-first", b"Apple-iPhone"))
        assert client.read_answer().endswith(MOVED.encode())
    lines: list[dict[str, object]] = []

    def is_there() -> bool:
        lines[:] = [x for x in haproxy.journal if at(x, "user_agent.original") == "Apple-iPhone"]
        return bool(lines)

    wait_until(is_there, "the line is written", 15)
    assert [at(x, "event.reason") for x in lines] == ["autodiscover_client_not_listed"]


def test_no_address_stands_in_haproxys_own_line(haproxy: Carried, by_haproxy: object) -> None:
    """Those of questions: the logon is the journal's, and follows `journal.users`."""
    lines = [x for x in haproxy.unjudged if "autodiscover" in str(at(x, "url.path"))]
    assert {at(line, "event.action") for line in lines} == {"eas.autodiscover"}
    assert "schemas.microsoft" not in str(haproxy.unjudged)


def test_names_that_devices_call_are_no_targets(server: RawServer, tmp_path: Path) -> None:
    """And without one nobody is told: the name that is called for Autodiscover proves nothing."""
    config = PHONES.replace('[exchange]\nhost_names = ["mail.contoso.example"]\n', "")
    assert "host_names" not in config
    with carried(tmp_path, f"http://127.0.0.1:{server.port}", config) as running:
        with connected(running.port) as client:
            client.send(numbered("question: R1"))
            assert client.read_answer().endswith(MOVED.encode())
            number = list(ROWS).index("answer: 403 No")
            device = head(
                b"POST " + FOLDER_SYNC + b" HTTP/1.1",
                *(BERT, b"X-Row: %d" % number, b"MS-ASProtocolVersion: 14.1", b"Content-Length: 0"),
            )
            client.send(device)
            assert b" 403 " in client.read_answer()
            client.send(numbered("question: R1"))
            assert client.read_answer().endswith(TOLD)
        reasons = [at(x, "event.reason") for x in running.exchanges(3)]
        assert reasons.count("redirect_loop") == 1


def test_observe_mode_changes_nothing_and_off_adds_nothing(
    server: RawServer, tmp_path: Path
) -> None:
    observing = PHONES.replace('mode = "enforce"', 'mode = "observe"')
    with carried(tmp_path, f"http://127.0.0.1:{server.port}", observing) as running:
        with connected(running.port) as client:
            client.send(numbered("question: R1"))
            assert client.read_answer().endswith(MOVED.encode())
        (line,) = running.exchanges(1)
        assert at(line, "eas.decision") == "would_redirect"
        written = running.configuration.read_text("utf-8")
        assert "autodiscover" in written
        toml = tmp_path / "eas-redirect.toml"
        toml.write_text(re.sub(r'phones = "\w+"', 'phones = "off"', toml.read_text("utf-8")))
        write_files(running)
        assert "autodiscover" not in running.configuration.read_text("utf-8")


def test_a_question_in_pieces_and_one_that_breaks_off(haproxy: Carried) -> None:
    asked = numbered("question: R1")
    with connected(haproxy.port) as client:
        client.send(asked[:-200])
        time.sleep(0.3)  # HAProxy holds the first piece meanwhile
        client.send(asked[-200:])
        assert client.read_answer().endswith(TOLD)
    with connected(haproxy.port) as client:
        client.send(asked[:-200])
        client.half_close()
        assert TOLD not in client.read_rest()
    with connected(haproxy.port) as client:
        client.send(asked)
        assert client.read_answer().endswith(TOLD)


def test_without_a_judge_upstreams_answer_passes_and_a_line_says_so(
    server: RawServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    with carried(tmp_path, url, PHONES, judge=False) as running:
        with connected(running.port) as client:
            client.send(numbered("question: R1"))
            assert client.read_answer().endswith(MOVED.encode())
        (line,) = running.exchanges(1)
    assert at(line, "event.action") == "eas.autodiscover"
    assert at(line, "event.reason") == "internal_error"
    assert at(line, "user.name") == "anna"


class Words(NamedTuple):
    """What a judge that is not ours may say."""

    word: str
    given: bytes


OTHER_WORDS = {
    "a 451 for a question": Words("redirect", LOCATION.encode()),
    "another beginning": Words("settings", b"<x/>" + TOLD),
    "another end": Words("settings", TOLD + b"<!-- -->"),
    "http": Words("settings", TOLD.replace(b"<Url>https:", b"<Url>http:")),
    "another path": Words("settings", TOLD.replace(b"ActiveSync</Url>", b"Other</Url>")),
    "a user in it": Words("settings", TOLD.replace(b"<Url>https://", b"<Url>https://x@")),
    "no server": Words("settings", TOLD.replace(b"Url>", b"Uri>")),
    "too long": Words("settings", TOLD.replace(b"en:us", b"en:us" + b" " * 8000)),
    "nothing": Words("settings", b""),
}


def test_whatever_a_judge_says_a_phone_gets_good_settings_or_upstreams_answer(
    server: RawServer, tmp_path: Path
) -> None:
    said = iter([*OTHER_WORDS.values(), Words("settings", TOLD)])

    def script(connection: socket.socket) -> None:
        read(connection)
        given = next(said)
        connection.sendall(
            written_reply(JudgeReply(word=given.word, reason="mailbox_moved", given=given.given))
        )

    url = f"http://127.0.0.1:{server.port}"
    with (
        scripted(tmp_path / "judge.sock", script),
        carried(tmp_path, url, PHONES, judge=False) as running,
    ):
        lua = running.configuration.with_name("eas.lua")
        text = lua.read_text("utf-8")
        assert "local FAILURES = 3 " in text
        lua.write_text(text.replace("local FAILURES = 3 ", "local FAILURES = 99 "), "utf-8")
        running.stop()
        running.start_haproxy()
        for words in OTHER_WORDS:
            with connected(running.port) as client:
                client.send(numbered("question: R1"))
                assert client.read_answer().endswith(MOVED.encode()), words
        with connected(running.port) as client:
            client.send(numbered("question: R1"))
            assert client.read_answer().endswith(TOLD)
        assert "runtime error" not in running.log
