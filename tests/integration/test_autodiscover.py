"""Autodiscover through a real mitmdump: phones are told, and everything else keeps its bytes."""

import base64
import gzip
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eas_redirect.autodiscover.answer import User, write_settings
from eas_redirect.lab.authority import LabCertificates
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    OUTLOOK_ANSWER,
    OUTLOOK_REQUEST,
    USER,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.integration import kinds
from tests.integration.crossing import Arrivals, cross
from tests.integration.kinds import CHUNKED, GZIP, IIS, XML, Exchange, chunked
from tests.integration.messages import ANNA, CONFIG, at
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected
from tests.integration.running import run, wait_until

pytestmark = pytest.mark.integration

PHONES = CONFIG + (
    '[exchange]\nhost_names = ["mail.contoso.example"]\n[autodiscover]\nphones = "all"\n'
)
EACH = 67  # exchanges of a kind: with 15 kinds more than a thousand
ADDRESS = "anna@contoso.example"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
CERTAIN = answer(USER + redirect("anna@contoso.mail.onmicrosoft.example")).encode()
TOLD = write_settings(
    LOCATION, User(email_address="anna@example.test", display_name="Anna Example", culture="en:us")
)
UNAUTHORIZED = (
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"
)
PATH = b"POST /Autodiscover/Autodiscover.xml"
TYPE = b"Content-Type: text/xml; charset=utf-8"


def posted(body: bytes, *headers: bytes, path: bytes = PATH) -> bytes:
    agent = b"User-Agent: Android/9-EAS-2.0"
    return kinds.request(path, TYPE, agent, *headers, body=body)


def ok(body: bytes, *headers: bytes) -> bytes:
    return kinds.answer(b"200 OK", IIS + XML + b"".join(headers), body)


def asked(rng: random.Random) -> bytes:
    """A phone's question, or one that is none."""
    return rng.choice(
        [
            request(ADDRESS).encode(),
            request("bert@contoso.example").encode(),
            OUTLOOK_REQUEST.encode(),
            b"",
            request(ADDRESS).encode()[: rng.randint(1, 300)],
            (DOCTYPE + request("&x;", declaration="")).encode(),
            request(ADDRESS).encode() + b" " * rng.randint(60_000, 90_000),
            rng.randbytes(rng.randint(1, 3000)),
        ]
    )


def other(rng: random.Random) -> bytes:
    """An answer that moves nobody."""
    return rng.choice(
        [
            answer(USER + settings()).encode(),
            answer(USER + error()).encode(),
            answer(USER + redirect("anna@other.example")).encode(),
            (DOCTYPE + answer(redirect("&x;"), declaration="")).encode(),
            FRAMEWORK_ERROR.encode(),
            OUTLOOK_ANSWER.encode(),
            CERTAIN[: rng.randint(1, len(CERTAIN) - 1)],
            CERTAIN + b" " * rng.randint(70_000, 90_000),
            rng.randbytes(rng.randint(0, 3000)),
        ]
    )


def _outlook(rng: random.Random) -> Exchange:
    return Exchange(posted(OUTLOOK_REQUEST.encode(), ANNA), ok(rng.choice([CERTAIN, other(rng)])))


def _soap(_: random.Random) -> Exchange:
    path = b"POST /autodiscover/autodiscover.svc"
    return Exchange(posted(request(ADDRESS).encode(), ANNA, path=path), ok(CERTAIN))


def _json(rng: random.Random) -> Exchange:
    path = b"GET /autodiscover/autodiscover.json?Email=a%40contoso.example&Protocol=ActiveSync"
    text = b'{"Protocol":"ActiveSync","Url":"https://x/%d"}' % rng.randint(0, 99)
    return Exchange(kinds.request(path), kinds.answer(b"200 OK", IIS, text))


def _get(rng: random.Random) -> Exchange:
    line = rng.choice([b"GET", b"HEAD", b"OPTIONS", b"PUT"]) + PATH[4:]
    head = line.startswith(b"HEAD")
    body = b"" if head else CERTAIN
    return Exchange(kinds.request(line, ANNA), ok(body), bodiless=head)


def _logon(rng: random.Random) -> Exchange:
    schemes = [b"WWW-Authenticate: Negotiate\r\n", b"WWW-Authenticate: NTLM\r\n"]
    rng.shuffle(schemes)
    body = rng.choice([b"", request(ADDRESS).encode()])
    return Exchange(
        posted(body, b"Authorization: NTLM TlRMTVNTUAABAAAA"),
        kinds.answer(b"401 Unauthorized", b"".join(schemes), b"<html>401</html>"),
    )


def _chunked_question(rng: random.Random) -> Exchange:
    head = kinds.request(PATH, TYPE, ANNA, b"Transfer-Encoding: chunked")
    return Exchange(head + chunked(rng, asked(rng)), ok(other(rng)))


def _chunked_answer(rng: random.Random) -> Exchange:
    head = kinds.answer(b"200 OK", IIS + XML + CHUNKED)
    return Exchange(posted(asked(rng), ANNA), head + chunked(rng, other(rng)))


def _gzip(rng: random.Random) -> Exchange:
    packed = gzip.compress(other(rng), mtime=0)
    return Exchange(posted(asked(rng), ANNA, b"Accept-Encoding: gzip"), ok(packed, GZIP))


def _expectation(rng: random.Random) -> Exchange:
    waits = b"HTTP/1.1 100 Continue\r\n\r\n" * rng.randint(0, 1)
    question = posted(asked(rng), ANNA, b"Expect: 100-continue")
    return Exchange(question, ok(other(rng)), interim=waits)


def _plain(rng: random.Random) -> Exchange:
    return Exchange(posted(asked(rng), ANNA), ok(other(rng)))


def _another_type(rng: random.Random) -> Exchange:
    kind = rng.choice([b"text/html", b"application/json", b"text/xml-x"])
    reply = kinds.answer(b"200 OK", IIS + b"Content-Type: " + kind + b"\r\n", CERTAIN)
    return Exchange(posted(request(ADDRESS).encode(), ANNA), reply)


def _another_status(rng: random.Random) -> Exchange:
    status = rng.choice([b"403 Forbidden", b"500 Error", b"503 Busy", b"302 Found", b"404 None"])
    reply = kinds.answer(status, IIS + XML, CERTAIN)
    return Exchange(posted(request(ADDRESS).encode(), ANNA), reply)


def _until_close(rng: random.Random) -> Exchange:
    reply = b"HTTP/1.1 200 OK\r\n" + XML + b"\r\n" + other(rng)
    return Exchange(posted(asked(rng), ANNA), reply, closes=True)


def _nobody(rng: random.Random) -> Exchange:
    logon = rng.choice([b"X: y", b"Authorization: Negotiate YIIabc", b"Authorization: Basic ="])
    return Exchange(posted(request(ADDRESS).encode(), logon), ok(CERTAIN))


def _somebody_else(rng: random.Random) -> Exchange:
    who = rng.choice([b"bert@contoso.example", b"nobody", b"CONTOSO\\bert", b"shared1"])
    logon = b"Authorization: Basic " + base64.b64encode(who + b":x")
    return Exchange(posted(request(ADDRESS).encode(), logon), ok(CERTAIN))


MAKERS: tuple[Callable[[random.Random], Exchange], ...] = (
    _outlook, _soap, _json, _get, _logon, _chunked_question, _chunked_answer, _gzip, _expectation,
    _plain, _another_type, _another_status, _until_close, _nobody, _somebody_else,
)  # fmt: skip


@pytest.fixture(scope="module")
def arrivals() -> Arrivals:
    rng = random.Random(8)  # noqa: S311 - the same bytes in every run
    made = [make(rng) for make in MAKERS for _ in range(EACH)]
    rng.shuffle(made)
    return Arrivals(made)


@pytest.mark.parametrize("weak", ["false", "true"])
def test_everything_else_keeps_its_bytes(arrivals: Arrivals, tmp_path: Path, weak: str) -> None:
    config = f"{PHONES}weak = {weak}\n"
    with RawServer(arrivals.script) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=config) as proxy:
            numbers = list(range(len(arrivals.exchanges)))
            if weak == "true":  # a 401 has been seen, and Error 2 of anna would count
                numbers = [n for n in numbers if error().encode() not in _bodies(arrivals, n)]
                numbers = [n for n in numbers if b" 403 " not in arrivals.exchanges[n].answer]
            differences = cross(proxy.port, arrivals, numbers)
            assert not differences, "\n".join(map(str, differences[:5]))
            assert "Traceback" not in proxy.log
            told = [line for line in proxy.journal if decision(line) != "pass"]
            assert not told


def test_everything_else_keeps_its_bytes_over_tls_with_two_workers(
    arrivals: Arrivals, tmp_path: Path
) -> None:
    certificates = LabCertificates(tmp_path / "certs")
    front = certificates.issue("front", ["localhost", "127.0.0.1"])
    tables = f'[proxy]\ncert = "{front.file}"\nupstream_ca = "{certificates.ca_file}"\n'
    tls, numbers = certificates.client_context(), range(len(arrivals.exchanges))
    with (
        RawServer(arrivals.script, tls=front.server_context()) as server,
        run(
            *(tmp_path, f"https://127.0.0.1:{server.port}", "--workers", "2"), head=PHONES + tables
        ) as proxy,
        ThreadPoolExecutor(6) as pool,
    ):
        wait_until(lambda: proxy.samples().get("eas_workers") == 2, "both workers")
        found = pool.map(lambda n: cross(proxy.port, arrivals, numbers[n::6], tls), range(6))
        differences = [each for part in found for each in part]
        assert not differences, "\n".join(map(str, differences[:5]))
        assert "Traceback" not in proxy.log
        lines = [line for line in proxy.journal if at(line, "event.action") == "eas.autodiscover"]
        assert len(lines) > 500
        assert {at(line, "eas.decision") for line in lines} == {"pass"}


def _bodies(arrivals: Arrivals, number: int) -> bytes:
    raw = arrivals.exchanges[number].answer
    body = raw.partition(b"\r\n\r\n")[2]
    if b"chunked" in raw:  # the chunks may cut it anywhere
        return error().encode()
    return gzip.decompress(body) if b"gzip" in raw else body


def test_off_leaves_no_line(arrivals: Arrivals, tmp_path: Path) -> None:
    with RawServer(arrivals.script) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG) as proxy:
            assert not cross(proxy.port, arrivals, range(100))
            assert not [x for x in proxy.journal if "'eas.autodiscover'" in str(x)]


def decision(line: object) -> object:
    eas = line.get("eas") if isinstance(line, dict) else None
    return eas.get("decision", "pass") if isinstance(eas, dict) else "pass"


# -- phones that are told --------------------------------------------------------------------


def _serve(reply: bytes) -> Callable[[Wire], None]:
    def script(wire: Wire) -> None:
        while True:
            raw = wire.read_request()
            wire.send(reply if b"Authorization" in raw else UNAUTHORIZED)

    return script


def told_by(port: int, question: bytes) -> bytes:
    with connected(port) as wire:
        wire.send(question)
        return wire.read_answer()


QUESTIONS = {
    "plain": posted(request(ADDRESS).encode(), ANNA),
    "utf-16": posted(request(ADDRESS, declaration="").encode("utf-16"), ANNA).replace(
        b"; charset=utf-8", b""
    ),
    "chunked": kinds.request(PATH, TYPE, ANNA, b"Transfer-Encoding: chunked")
    + chunked(random.Random(1), request(ADDRESS).encode()),  # noqa: S311
}
REPLIES = {
    "length": ok(CERTAIN),
    "gzip": ok(gzip.compress(CERTAIN), GZIP),
    "chunked": kinds.answer(b"200 OK", IIS + XML + CHUNKED) + chunked(random.Random(2), CERTAIN),  # noqa: S311
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_phone_is_told(tmp_path: Path, reply: str) -> None:
    with RawServer(_serve(REPLIES[reply])) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=PHONES) as proxy:
            for question in QUESTIONS.values():
                answered = told_by(proxy.port, question)
                head, _, body = answered.partition(b"\r\n\r\n")
                assert body == TOLD
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"Content-Length: %d" % len(TOLD) in head
                assert b"Server:" not in head
            lines = until(proxy, len(QUESTIONS))
            assert {decision(line) for line in lines} == {"redirect"}


def until(proxy: Mitmdump, count: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + 15
    while True:
        found = [x for x in proxy.journal if "'eas.autodiscover'" in str(x)]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_weak_evidence_counts_after_a_question_of_our_own(tmp_path: Path) -> None:
    reply = ok(answer(USER + error()).encode())
    seen: list[bytes] = []
    with RawServer(_serve(reply)) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=PHONES + "weak = true\n") as proxy:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                seen.append(told_by(proxy.port, QUESTIONS["plain"]))
                if seen[-1].endswith(TOLD):
                    return
                time.sleep(0.2)
    pytest.fail(f"never told: {seen[-1]!r}")
