"""Whatever the judge does, the phone gets Exchange's own answer, and HAProxy lives on."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eas_redirect.haproxy.question import (
    JudgeReply,
    Question,
    question_length,
    read_question,
    written_reply,
)
from tests.haproxy.carrying import Carried, carried
from tests.integration.messages import ANNA, CONFIG, FOLDER_SYNC, LOCATION, NO_MAILBOX, at, post
from tests.integration.rawserver import RawServer, Wire, answering, connected
from tests.support import require

pytestmark = pytest.mark.integration

TARGET = b"https://outlook.office365.com/Microsoft-Server-ActiveSync"
REDIRECT = written_reply(JudgeReply(word="redirect", reason="mailbox_moved", given=TARGET))
ASKED = post(FOLDER_SYNC, ANNA)

type Said = Callable[[socket.socket], None]


def read(connection: socket.socket) -> Question:
    stream = connection.makefile("rb")
    return read_question(stream.read(question_length(stream.readline())))


def says(reply: bytes) -> Said:
    def script(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(reply)

    return script


def hangs(connection: socket.socket) -> None:
    read(connection)
    connection.settimeout(20)
    with contextlib.suppress(OSError):
        connection.recv(1)  # until HAProxy has had enough


def drips(connection: socket.socket) -> None:
    """A byte every twentieth of a second: each read is in time, the whole is not."""
    read(connection)
    with contextlib.suppress(OSError):
        for byte in REDIRECT:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)


def closes(connection: socket.socket) -> None:
    connection.close()


@contextmanager
def scripted(path: Path, script: Said) -> Iterator[list[int]]:
    """A judge by a script; how many questions it had."""
    asked: list[int] = []
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(512)

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                script(connection)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                asked.append(1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    """A HAProxy whose judge is the test's."""
    require("haproxy")
    directory = tmp_path_factory.mktemp("fail-open")
    with RawServer(answering(NO_MAILBOX)) as server:
        config = CONFIG + "lookup_timeout_s = 0.1\n"
        upstream = f"http://127.0.0.1:{server.port}"
        with carried(directory, upstream, config, judge=False) as running:
            yield running


def ask(port: int) -> tuple[bytes, float]:
    began = time.monotonic()
    with connected(port) as client:
        client.send(ASKED)
        answer = client.read_answer()
    return answer, time.monotonic() - began


def judge(running: Carried, script: Said) -> "contextlib.AbstractContextManager[list[int]]":
    return scripted(running.directory / "judge.sock", script)


def recover(running: Carried) -> None:
    """Until a good judge is asked again: what an earlier test has broken is forgotten then."""
    deadline = time.monotonic() + 15
    with judge(running, says(REDIRECT)):
        while LOCATION not in ask(running.port)[0]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_good_word_redirects(carrier: Carried) -> None:
    recover(carrier)
    with judge(carrier, says(REDIRECT)) as asked:
        assert LOCATION in ask(carrier.port)[0]
    assert len(asked) == 1


BAD_WORDS = {
    "nothing": b"",
    "rubbish": b"HTTP/1.1 200 OK\r\n\r\n",
    "half a head": REDIRECT[:7],
    "half an answer": REDIRECT[:-10],
    "another version": REDIRECT.replace(b"EAS2", b"EAS1"),
    "no length": b"EAS2 abcdef\npass other_answer",
    "a hexadecimal length": b"EAS2 0x0011\npass other_answer",
    "a length with an exponent": b"EAS2 1.7e+1\npass other_answer",
    "a length below": b"EAS2 -00017\npass other_answer",
    "a length beyond": b"EAS2 999999\npass other_answer",
    "an unknown word": written_reply(JudgeReply(word="burn", reason="mailbox_moved")),
    "no reason": b"EAS2 000004\npass",
    "a reason with a quote": written_reply(JudgeReply(word="pass", reason='a"b')),
    "http": written_reply(
        JudgeReply(word="redirect", reason="a", given=TARGET.replace(b"s:", b":"))
    ),
    "two lines": written_reply(
        JudgeReply(word="redirect", reason="a", given=TARGET.replace(b".com", b".com\r\nX: y"))
    ),
    "another path": written_reply(
        JudgeReply(word="redirect", reason="a", given=b"https://x.com/owa")
    ),
    "a port": written_reply(
        JudgeReply(word="redirect", reason="a", given=TARGET.replace(b".com", b".com:444"))
    ),
    "a user": written_reply(
        JudgeReply(word="redirect", reason="a", given=TARGET.replace(b"//", b"//a@"))
    ),
    "a NUL": written_reply(
        JudgeReply(word="redirect", reason="a", given=TARGET.replace(b".com", b"\0.com"))
    ),
    "no place": written_reply(JudgeReply(word="redirect", reason="mailbox_moved")),
    "a place for a pass": written_reply(JudgeReply(word="pass", reason="a", given=TARGET)),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_words_that_are_none_pass_the_answer_at_once(name: str, carrier: Carried) -> None:
    recover(carrier)
    with judge(carrier, says(BAD_WORDS[name])):
        answer, took_s = ask(carrier.port)
    assert answer == NO_MAILBOX
    assert took_s < 1.5
    line = carrier.unjudged[-1]
    assert at(line, "event.reason") == "internal_error"
    assert at(line, "event.outcome") == "failure"


def test_a_judge_that_hangs_or_drips_holds_nobody_beyond_the_limit(carrier: Carried) -> None:
    for script in (hangs, drips):
        recover(carrier)
        with judge(carrier, script):
            answer, took_s = ask(carrier.port)
        assert answer == NO_MAILBOX
        assert 1 < took_s < 5


def test_after_three_failures_nobody_is_asked_for_two_seconds_then_one_tries(
    carrier: Carried,
) -> None:
    recover(carrier)
    with judge(carrier, closes) as asked:
        for _ in range(20):
            assert ask(carrier.port)[0] == NO_MAILBOX
        assert len(asked) == 3
        time.sleep(2.1)
        for _ in range(5):
            assert ask(carrier.port)[0] == NO_MAILBOX
        assert len(asked) == 4
    assert "answers pass unjudged" in carrier.log
    said = "the judge rests after its failures"
    assert at(carrier.unjudged[-1], "error.message") == said
    recover(carrier)
    assert "answers again" in carrier.log


def test_a_pass_of_the_judge_is_no_failure(carrier: Carried) -> None:
    recover(carrier)
    word = written_reply(JudgeReply(word="pass", reason="directory_unavailable"))
    before = len(carrier.unjudged)
    with judge(carrier, says(word)) as asked:
        for _ in range(10):
            assert ask(carrier.port)[0] == NO_MAILBOX
    assert len(asked) == 10
    assert len(carrier.unjudged) == before, "the judge's journal has these"


def test_more_questions_than_places_pass_at_once(carrier: Carried) -> None:
    recover(carrier)
    answers: list[tuple[bytes, float]] = []
    with judge(carrier, hangs) as asked:
        threads = [
            threading.Thread(target=lambda: answers.append(ask(carrier.port))) for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(asked) <= 64
    assert [answer for answer, _ in answers] == [NO_MAILBOX] * 100
    assert sum(took_s < 2 for _, took_s in answers) >= 36
    recover(carrier)


def test_clients_that_leave_free_their_places(carrier: Carried) -> None:
    recover(carrier)
    with judge(carrier, hangs):
        for _ in range(80):
            with connected(carrier.port) as client:
                client.send(ASKED)
                time.sleep(0.01)
    recover(carrier)


def test_a_judge_that_is_not_there_costs_nothing(carrier: Carried) -> None:
    recover(carrier)
    (carrier.directory / "judge.sock").unlink(missing_ok=True)
    for _ in range(20):
        answer, took_s = ask(carrier.port)
        assert answer == NO_MAILBOX
        assert took_s < 1
    recover(carrier)


# -- who is asked at all -------------------------------------------------------------------------

# What stands in a short answer decides whether Lua is entered, and Lua looks at the longer ones
# itself: the limit is 1,024 bytes. In hexadecimal 03 13 23 33 holds 31, 32 and 33, though across
# two bytes each.
SHORT = 1024
DIGITS = (
    (b"123", True),
    (b"3 and 2 and 1", True),
    (b"\x00" * 40 + b"3\x002\x001\x00", True),
    *((bytes(size - 3) + b"123", True) for size in (SHORT - 1, SHORT, SHORT + 1, 65536)),
    (b"", False),
    (b"12", False),
    (b"23", False),
    (b"31", False),
    (b"12\xb3", False),
    (b"\x03\x13\x23\x33", False),
    *((bytes(size - 2) + b"13", False) for size in (SHORT - 1, SHORT, SHORT + 1, 65536)),
)
SIZED = ("Content-Length", "chunked", "until it closes")


def said(body: bytes, framing: str) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
    match framing:
        case "Content-Length":
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        case "chunked":
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:7], body[7:]) if c)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return head + b"Connection: close\r\n\r\n" + body


@pytest.mark.parametrize("framing", SIZED)
def test_the_judge_is_asked_where_all_three_digits_stand_and_nowhere_else(
    tmp_path: Path, framing: str
) -> None:
    require("haproxy")
    answers = iter([said(body, framing) for body, _ in DIGITS])

    def exchange(wire: Wire) -> None:
        wire.read_request()
        wire.stream(next(answers))

    with (
        RawServer(exchange) as server,
        scripted(tmp_path / "judge.sock", says(REDIRECT)),
        carried(tmp_path, f"http://127.0.0.1:{server.port}", CONFIG, judge=False) as running,
    ):
        for number, (body, asked) in enumerate(DIGITS):
            with connected(running.port) as client:
                client.send(ASKED)
                answer = client.read_answer()
            assert (b" 451 " in answer[:20]) == asked, (number, body[:20], len(body))
            assert asked or framing == "chunked" or body in answer
