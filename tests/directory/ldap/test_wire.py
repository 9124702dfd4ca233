"""Searches as bytes: as ldap3 writes them, and answers in every way in which they may come."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.wire import (
    MAX_MESSAGE,
    Done,
    Message,
    Search,
    Searches,
    TooLongError,
    WireError,
    read_message,
    search_request,
    whole_length,
)
from tests.directory.ldap3_bytes import ldap3_request

texts = st.text(st.characters(codec="utf-8"), max_size=300)
values = texts.map(str.strip).filter(bool)  # ldap3 drops spaces around a value
names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,30}", fullmatch=True)
searches = st.builds(
    Search,
    base=texts,
    scope=st.sampled_from(["base", "subtree"]),
    equals=st.lists(st.tuples(names, values), max_size=3).map(tuple),
    any_of=st.lists(st.tuples(names, values), max_size=3).map(tuple),
    present=st.lists(names, max_size=2).map(tuple),
    absent=st.lists(names, max_size=2).map(tuple),
    attributes=st.lists(names, min_size=1, max_size=20, unique_by=str.lower).map(tuple),
    time_limit_s=st.integers(0, 2**31 - 1),
    page=st.none() | st.tuples(st.integers(0, 2**31 - 1), st.binary(max_size=300)),
)


@given(message_id=st.integers(1, 2**31 - 1), search=searches)
def test_a_request_is_what_ldap3_sends(message_id: int, search: Search) -> None:
    assert search_request(message_id, search) == ldap3_request(message_id, search)


def test_lengths_are_written_as_ldap3_writes_them() -> None:
    """X.690 8.1.3: one byte to 127, more from 128 on."""
    for size in (*range(100, 140), 255, 256):
        search = replace(ANY, base="x" * size)
        assert search_request(1, search) == ldap3_request(1, search)


def test_numbers_are_written_as_ldap3_writes_them() -> None:
    """X.690 8.3.3: with a sign, so that 128 needs two bytes."""
    for bits in (7, 8, 15, 16, 23, 24):
        for number in (2**bits - 1, 2**bits):
            search = replace(ANY, time_limit_s=number, page=(number, b""))
            assert search_request(number, search) == ldap3_request(number, search)


@pytest.mark.parametrize(
    "value", ["*", "*)(objectClass=*", "a\\2ab", "a\0b", "(|", "\uff0a", "\\", "Müller"]
)
def test_a_value_is_sent_as_it_is(value: str) -> None:
    """Nothing to escape, and nothing that could be forgotten to be."""
    sent = search_request(1, Search(base="", equals=(("sAMAccountName", value),)))
    data = value.encode()
    assert b"sAMAccountName\x04" + bytes([len(data)]) + data in sent


def tlv(tag: int, *parts: bytes, wide: bool = False) -> bytes:
    """As Active Directory writes it with `wide`: four bytes of length for whatever it holds."""
    content = b"".join(parts)
    if wide:
        return bytes([tag, 0x84]) + len(content).to_bytes(4) + content
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x83]) + len(content).to_bytes(3) + content


def message(number: int, *parts: bytes, wide: bool = False) -> bytes:
    """ldap3 counts its messages over all connections of a process: they may need several bytes."""
    signed = number.to_bytes(number.bit_length() // 8 + 1)
    return tlv(0x30, tlv(0x02, signed), *parts, wide=wide)


def entry_of(dn: str, attributes: dict[str, list[bytes]], *, wide: bool = False) -> bytes:
    pairs = [
        tlv(
            0x30,
            tlv(0x04, name.encode()),
            tlv(0x31, *(tlv(0x04, value) for value in values), wide=wide),
            wide=wide,
        )
        for name, values in attributes.items()
    ]
    return tlv(0x64, tlv(0x04, dn.encode()), tlv(0x30, *pairs, wide=wide), wide=wide)


def done_of(code: int, words: str = "", *further: bytes) -> bytes:
    parts = (tlv(0x0A, bytes([code])), tlv(0x04), tlv(0x04, words.encode()), *further)
    return tlv(0x65, *parts)


def paged(cookie: bytes, *criticality: bytes) -> bytes:
    value = tlv(0x30, tlv(0x02, b"\x00"), tlv(0x04, cookie))
    oid = tlv(0x04, b"1.2.840.113556.1.4.319")
    return tlv(0xA0, tlv(0x30, oid, *criticality, tlv(0x04, value)))


ANNA = {"sAMAccountName": [b"anna"], "proxyAddresses": [b"smtp:a@b.example", b"x" * 200]}


@pytest.mark.parametrize("wide", [False, True])
def test_an_entry(wide: bool) -> None:
    data = message(7, entry_of("CN=Anna", ANNA, wide=wide), wide=wide)
    assert whole_length(data) == len(data)
    content = Entry(
        "CN=Anna", {"samaccountname": ["anna"], "proxyaddresses": ["smtp:a@b.example", "x" * 200]}
    )
    assert read_message(data) == Message(7, content)


def test_attributes_with_options_are_the_attribute() -> None:
    values = {"member;range=0-1": [b"a"], "Member": [b"b"], "cn;lang-en": []}
    read = read_message(message(1, entry_of("CN=A", values)))
    assert read.content == Entry("CN=A", {"member": ["a", "b"], "cn": []}, {"member": 2})
    last = {"member;Range=1500-*": [b"a"]}
    read = read_message(message(1, entry_of("CN=A", last)))
    assert read.content == Entry("CN=A", {"member": ["a"]})


def test_what_has_a_form_of_its_own_is_written_in_it() -> None:
    """MS-DTYP 2.4.2 and 2.3.4. What is none of these is a value all the same."""
    sid = bytes.fromhex("010500000000000515000000010000000200000003000000") + b"\x50\x04\0\0"
    guid = bytes.fromhex("67452301ab89efcd0123456789abcdef")
    values = {"objectSid": [sid, b"short"], "objectGUID": [guid, b"short"]}
    read = read_message(message(1, entry_of("CN=A", values)))
    assert read.content == Entry(
        "CN=A",
        {
            "objectsid": ["S-1-5-21-1-2-3-1104", "short"],
            "objectguid": ["01234567-89ab-cdef-0123-456789abcdef", "short"],
        },
    )


def test_what_is_no_text_is_a_value_all_the_same() -> None:
    """Else a homeMDB in another encoding would be no mailbox."""
    read = read_message(message(1, entry_of("CN=A", {"homeMDB": [b"CN=M\xfcnchen"]})))
    assert read.content == Entry("CN=A", {"homemdb": ["CN=M\\xfcnchen"]})


@pytest.mark.parametrize(
    ("parts", "done"),
    [
        ([done_of(0)], Done(0, "")),
        ([done_of(32, "0000208D: NameErr")], Done(32, "0000208D: NameErr")),
        ([done_of(10, "", tlv(0xA3, tlv(0x04, b"ldap://elsewhere")))], Done(10, "")),
        ([done_of(0), paged(b"more")], Done(0, "", b"more")),
        ([done_of(0), paged(b"more", b"\x01\x01\xff")], Done(0, "", b"more")),
        ([done_of(0), paged(b"")], Done(0, "")),
        ([done_of(0), tlv(0xA0, tlv(0x30), tlv(0x30, tlv(0x04, b"1.2.3")))], Done(0, "")),
        ([done_of(0), tlv(0xA0, tlv(0x30, tlv(0x04, b"1.2.3"), tlv(0x04, b"x")))], Done(0, "")),
        ([done_of(0), tlv(0xA0, tlv(0x30, tlv(0x04, b"1.2.840.113556.1.4.319")))], Done(0, "")),
        ([done_of(0), tlv(0x8A, b"1.2.3"), paged(b"more")], Done(0, "", b"more")),
    ],
)
def test_the_end_of_a_search(parts: list[bytes], done: Done) -> None:
    assert read_message(message(3, *parts)) == Message(3, done)


@pytest.mark.parametrize("operation", [0x73, 0x78, 0x79, 0x61])
def test_what_is_no_answer_is_left_alone(operation: int) -> None:
    """A continuation reference, a notice of disconnection, an intermediate answer."""
    assert read_message(message(0, tlv(operation, tlv(0x04, b"ldap://x")))) == Message(0, None)


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", None),
        (b"\x30", None),
        (b"\x30\x00", 2),
        (b"\x30\x7f", 129),
        (b"\x30\x81", None),
        (b"\x30\x81\x80", 131),
        (b"\x30\x82\x01", None),
        (b"\x30\x82\x01\x00", 260),
        (b"\x30\x83\x01\x00\x00", 65541),
        (b"\x30\x84" + MAX_MESSAGE.to_bytes(4), 6 + MAX_MESSAGE),
    ],
)
def test_how_long_a_message_is(data: bytes, length: int | None) -> None:
    assert whole_length(data) == length


WHOLE = message(7, entry_of("CN=Anna", ANNA, wide=True), wide=True)


def test_a_message_that_is_cut_short() -> None:
    for end in range(len(WHOLE)):
        length = whole_length(WHOLE[:end])
        assert length == (None if end < 6 else len(WHOLE))
        with pytest.raises(WireError):
            read_message(WHOLE[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x80\x02\x01\x01\x65\x00\x00\x00",  # an indefinite length
        b"\x30\x85\x00\x00\x00\x00\x05\x02\x01\x01\x65\x00",
        b"\x30\x84" + (MAX_MESSAGE + 1).to_bytes(4),
        b"\x30\x84\xff\xff\xff\xff",
    ],
)
def test_what_is_no_message_at_all(data: bytes) -> None:
    with pytest.raises(WireError):
        whole_length(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WHOLE + b"\x00",
        b"\x31" + WHOLE[1:],
        # A word that is longer than what it stands in: what comes after it is no part of it.
        message(1, tlv(0x65, b"\x0a\x01\x00\x04\x00\x04\x09ab"), paged(b"more")),
        tlv(0x30),
        tlv(0x30, tlv(0x02, b"\x01")),
        tlv(0x30, tlv(0x02), done_of(0)),
        tlv(0x30, tlv(0x02, b"\x01\x00\x00\x00\x00"), done_of(0)),
        message(1, tlv(0x65)),
        message(1, tlv(0x65, tlv(0x0A, b"\x00"), tlv(0x04))),
        message(1, tlv(0x64, tlv(0x04, b"CN=A"))),
        message(1, tlv(0x64, tlv(0x04, b"CN=A"), tlv(0x30, tlv(0x30, tlv(0x04, b"cn"))))),
        message(1, done_of(0), tlv(0xA0, tlv(0x30, tlv(0x04, b"1.2.840.113556.1.4.319"), b"\x04"))),
        message(1, b"\x65\x7f" + done_of(0)[2:]),
    ],
)
def test_a_malformed_message(data: bytes) -> None:
    with pytest.raises(WireError):
        read_message(data)


@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda tail: WHOLE[:80] + tail))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    try:
        length = whole_length(data)
        read = read_message(data)
    except WireError:
        return
    assert length == len(data)
    assert read.content is None or isinstance(read.content, Entry | Done)


# -- over a connection ----------------------------------------------------------------------------

ANNA_S_ENTRY = entry_of("CN=Anna", {"cn": [b"Anna"]})
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
    theirs.sendall(
        message(1, ANNA_S_ENTRY) + message(1, ANNA_S_ENTRY) + message(1, done_of(0), paged(b"more"))
    )
    assert ask(searches, ours) == ([FOUND, FOUND], Done(0, "", b"more"))
    assert b"\x02\x01\x01\x63" in theirs.recv(4096), "the first message id"
    theirs.sendall(message(2, done_of(32, "gone")))
    assert ask(searches, ours) == ([], Done(32, "gone"))
    assert b"\x02\x01\x02\x63" in theirs.recv(4096)


@pytest.mark.parametrize(
    ("limit_s", "remaining_s", "told_s"), [(0, 3.2, 4), (2, 3.2, 2), (60, 3.2, 4), (0, 0.001, 1)]
)
def test_the_server_is_told_how_long_it_may_take(
    ends: Ends, limit_s: int, remaining_s: float, told_s: int
) -> None:
    ours, theirs = ends
    theirs.sendall(message(1, done_of(0)))
    Searches().ask(ours, replace(ANY, time_limit_s=limit_s), lambda: remaining_s)
    assert theirs.recv(4096) == search_request(1, replace(ANY, time_limit_s=told_s))


def test_an_answer_may_have_so_many_bytes(ends: Ends) -> None:
    ours, theirs = ends
    searches, answer = Searches(), message(1, ANNA_S_ENTRY) + message(1, done_of(0))
    theirs.sendall(answer)
    search = replace(ANY, most_bytes=len(answer))
    assert searches.ask(ours, search, lambda: 30.0) == ([FOUND], Done(0, ""))
    assert searches.received == len(answer)
    theirs.sendall(message(2, ANNA_S_ENTRY) + message(2, done_of(0)))
    with pytest.raises(TooLongError):
        searches.ask(ours, replace(search, most_bytes=len(answer) - 1), lambda: 30.0)


def test_a_server_that_takes_no_question_is_not_waited_for(ends: Ends) -> None:
    ours, _ = ends
    with pytest.raises(TimeoutError):
        Searches().ask(ours, replace(ANY, base="x" * 5_000_000), lambda: 0.05)


def test_answers_byte_by_byte(ends: Ends) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def drip() -> None:
        for byte in message(1, ANNA_S_ENTRY) + message(1, done_of(0)):
            theirs.send(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert ask(Searches(), ours) == ([FOUND], Done(0, ""))
    thread.join(30)


def test_messages_of_others_and_references_are_left_alone(ends: Ends) -> None:
    ours, theirs = ends
    reference = tlv(0x73, tlv(0x04, b"ldap://elsewhere.example/DC=x"))
    theirs.sendall(message(9, ANNA_S_ENTRY) + message(9, done_of(0)) + message(1, reference))
    theirs.sendall(message(1, done_of(0)))
    assert ask(Searches(), ours) == ([], Done(0, ""))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (message(0, tlv(0x78, tlv(0x0A, b"\x34"))), ConnectionAbortedError),
        (message(1, ANNA_S_ENTRY), ConnectionAbortedError),
        (message(1, ANNA_S_ENTRY)[:20], ConnectionAbortedError),
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
