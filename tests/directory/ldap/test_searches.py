"""Searches over a socket: what comes in pieces, what comes too late, what belongs to nobody."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.searches import Searches
from eas_redirect.directory.ldap.wire import Done, Search, WireError
from tests.directory.ldap.test_wire import done_of, entry_of, message, paged, tlv

ANNA = entry_of("CN=Anna", {"cn": [b"Anna"]})
FOUND = Entry("CN=Anna", {"cn": ["Anna"]})
ANY = Search(base="DC=contoso,DC=example")
type Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def ask(searches: Searches, ours: socket.socket, patience_s: float = 30) -> object:
    give_up = time.monotonic() + patience_s
    return searches.ask(ours, ANY, lambda: max(0.001, give_up - time.monotonic()))


def test_searches_follow_each_other(ends: Ends) -> None:
    ours, theirs = ends
    searches = Searches()
    theirs.sendall(message(1, ANNA) + message(1, ANNA) + message(1, done_of(0), paged(b"more")))
    assert ask(searches, ours) == ([FOUND, FOUND], Done(0, "", b"more"))
    assert b"\x02\x01\x01\x63" in theirs.recv(4096), "the first message id"
    theirs.sendall(message(2, done_of(32, "gone")))
    assert ask(searches, ours) == ([], Done(32, "gone"))
    assert b"\x02\x01\x02\x63" in theirs.recv(4096)


def test_answers_byte_by_byte(ends: Ends) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def drip() -> None:
        for byte in message(1, ANNA) + message(1, done_of(0)):
            theirs.send(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert ask(Searches(), ours) == ([FOUND], Done(0, ""))
    thread.join(30)


def test_messages_of_others_and_references_are_left_alone(ends: Ends) -> None:
    ours, theirs = ends
    reference = tlv(0x73, tlv(0x04, b"ldap://elsewhere.example/DC=x"))
    theirs.sendall(message(9, ANNA) + message(9, done_of(0)) + message(1, reference))
    theirs.sendall(message(1, done_of(0)))
    assert ask(Searches(), ours) == ([], Done(0, ""))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (message(0, tlv(0x78, tlv(0x0A, b"\x34"))), ConnectionAbortedError),
        (message(1, ANNA), ConnectionAbortedError),
        (message(1, ANNA)[:20], ConnectionAbortedError),
        (b"", ConnectionAbortedError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", WireError),
        (message(1, tlv(0x65)), WireError),
    ],
    ids=["a notice", "no end", "half a message", "nothing", "no LDAP", "malformed"],
)
def test_what_ends_it(ends: Ends, data: bytes, error: type[Exception]) -> None:
    ours, theirs = ends
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        ask(Searches(), ours)


def test_a_drip_ends_in_time(ends: Ends) -> None:
    """Each byte is in time; the answer is not."""
    ours, theirs = ends
    stop = threading.Event()

    def drip() -> None:
        theirs.send(b"\x30\x84\x00\x0f\xff\xff")
        while not stop.wait(0.01):
            theirs.send(b"\x02")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            ask(Searches(), ours, patience_s=0.2)
    finally:
        stop.set()
        thread.join(30)
