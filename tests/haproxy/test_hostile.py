"""Hostile answers and hostile judge's words, by the thousand: HAProxy lives, nobody is misled.

`HOSTILE=100000 pytest tests/haproxy/test_hostile.py` throws as many as one likes.
"""

import contextlib
import gzip
import os
import random
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.haproxy.question import JudgeReply, written_reply
from tests.haproxy.carrying import Carried, carried
from tests.haproxy.test_fail_open import read, scripted
from tests.integration.messages import ANNA, CONFIG, FOLDER_SYNC, post
from tests.integration.rawserver import RawServer, Wire, connected
from tests.integration.test_main_job import vectors
from tests.support import require

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("HOSTILE", "2000"))
PHONES = 4
GOOD = re.compile(rb"https://[a-z0-9.-]+/Microsoft-Server-ActiveSync")
TYPE = b"Content-Type: application/vnd.ms-sync.wbxml\r\n"
SEED = 20


def body(chance: random.Random) -> bytes:
    """Vectors that were changed, digits by the kilobyte, what is packed, and noise."""
    match chance.randrange(6):
        case 0:
            return b"1" * chance.randrange(65536) + b"23"
        case 1:
            return gzip.compress(bytes(chance.randrange(200000)), 1)
        case 2:
            return chance.randbytes(chance.randrange(70000))
        case 3:
            return b"\x03\x01j\x00" + b"1.-2.-3%" * chance.randrange(5000)
        case _:
            changed = bytearray(chance.choice(vectors())[1])
            for _ in range(chance.randrange(4)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            return bytes(changed) * chance.randrange(1, 4)


def answer(chance: random.Random) -> bytes:
    said = body(chance)
    head = b"HTTP/1.1 " + chance.choice((b"200 OK", b"200 OK", b"403 No", b"500 X")) + b"\r\n"
    for _ in range(chance.randrange(4)):
        value = bytes(chance.choice(b'az%"\\\xff\t{}[]') for _ in range(chance.randrange(60)))
        name = chance.choice((b"X-MS-Diagnostics", b"Date", b"X-Odd", b"Connection-X"))
        head += name + b": " + value + b"\r\n"
    if chance.random() < 0.3:
        head += b"Content-Encoding: " + chance.choice((b"gzip", b"deflate", b"br")) + b"\r\n"
    return head + TYPE + b"Content-Length: %d\r\n\r\n" % len(said) + said


def words(chance: random.Random) -> bytes:
    place = chance.choice(
        (
            b"https://outlook.office365.com/Microsoft-Server-ActiveSync",
            b"https://a\r\nX: y/Microsoft-Server-ActiveSync",
            b"https://" + b"a" * chance.randrange(400) + b".b/Microsoft-Server-ActiveSync",
            b"https://%41.example/Microsoft-Server-ActiveSync",
            chance.randbytes(60),
            b"",
        )
    )
    word = chance.choice(("redirect", "redirect", "pass", "settings", "x" * 200, "re%direct"))
    said = bytearray(written_reply(JudgeReply(word=word, reason="mailbox_moved", given=place)))
    for _ in range(chance.choice((0, 0, 1, 5))):
        said[chance.randrange(len(said))] = chance.randrange(256)
    return bytes(said[: chance.randrange(len(said) + 1)] if chance.random() < 0.1 else said)


class Script:
    """An Exchange and a judge, each with a chance of its own."""

    def __init__(self) -> None:
        self._chance = random.Random(SEED)  # noqa: S311 - the same each time
        self._lock = threading.Lock()

    def exchange(self, wire: Wire) -> None:
        while True:
            wire.read_request()
            with self._lock:
                said = answer(self._chance)
            wire.data["last"] = ""
            wire.stream(said)

    def judge(self, connection: socket.socket) -> None:
        read(connection)
        with self._lock:
            said = words(self._chance)
        connection.sendall(said)


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[Carried]:
    require("haproxy")
    script = Script()
    with (
        RawServer(script.exchange) as server,
        scripted(tmp_path / "judge.sock", script.judge),
        carried(
            tmp_path,
            f"http://127.0.0.1:{server.port}",
            CONFIG + "lookup_timeout_s = 0.1\n",
            judge=False,
        ) as running,
    ):
        # The breaker would spare HAProxy most of it.
        lua = tmp_path / "haproxy" / "eas.lua"
        text = lua.read_text("utf-8")
        assert "local FAILURES = 3 " in text
        lua.write_text(text.replace("local FAILURES = 3 ", f"local FAILURES = {COUNT} "), "utf-8")
        running.stop()
        running.start_haproxy()
        yield running


def test_nothing_that_is_said_ends_haproxy_or_sends_a_phone_astray(carrier: Carried) -> None:
    statuses: dict[int, int] = {}
    wrong: list[bytes] = []

    def phone() -> None:
        done = 0
        while done < COUNT // PHONES:
            with contextlib.suppress(ConnectionError), connected(carrier.port) as client:
                while done < COUNT // PHONES:
                    done += 1
                    client.send(post(FOLDER_SYNC, ANNA))
                    reply = client.read_answer()
                    status = int(reply.split(b" ", 2)[1])
                    statuses[status] = statuses.get(status, 0) + 1
                    head = reply.partition(b"\r\n\r\n")[0]
                    places = [t for t in head.split(b"\r\n") if t.startswith(b"X-MS-Location: ")]
                    good = [t for t in places if GOOD.fullmatch(t.partition(b": ")[2])]
                    if places != good or (status == 451) != (len(places) == 1):
                        wrong.append(head)

    phones = [threading.Thread(target=phone) for _ in range(PHONES)]
    for thread in phones:
        thread.start()
    for thread in phones:
        thread.join(3600)
    assert wrong == []
    assert carrier.haproxy is not None
    assert carrier.haproxy.poll() is None
    assert "runtime error" not in carrier.log
    assert "fault in eas.lua" not in carrier.log
    assert statuses.get(451, 0) > COUNT // 100
    assert statuses.get(200, 0) > COUNT // 10
    assert statuses.keys() <= {200, 403, 451, 500, 502}, statuses
    assert statuses.get(502, 0) == 0, "what is no HTTP is another test's"
