"""Which requests wait on purpose, and the exact bytes that end a wait."""

import gzip

import pytest

from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.wait import ENDINGS, may_wait, sync_waits
from eas_redirect.activesync.wbxml import Document, Element, Node, element, parse, write


def sync(*children: Node) -> bytes:
    return write(Document(element(0, "Sync", *children)))


FOLDER = element(0, "Collection", element(0, "SyncKey", "7"), element(0, "CollectionId", "5"))
CHANGE = element(
    0,
    "Collection",
    element(0, "SyncKey", "7"),
    element(0, "Commands", element(0, "Delete", element(0, "ServerId", "5:1"))),
)
WAIT = element(0, "Wait", "10")
HEARTBEAT = element(0, "HeartbeatInterval", "600")


def folders(*them: Element) -> Element:
    return element(0, "Collections", *them)


def request(command: str | None, version: str | None, **more: str) -> EASRequest:
    said = {"method": "POST", "command": command, "protocol_version": version, **more}
    return EASRequest(**said)  # type: ignore[arg-type]  # a table's words


def test_each_ending_is_what_the_specification_calls_it() -> None:
    assert ENDINGS["ping"] == bytes.fromhex("03016A00000D45470337000101")
    assert ENDINGS["sync"] == bytes.fromhex("03016A00454E033132000101")
    for kind, name, status in (("ping", "Ping", "7"), ("sync", "Sync", "12")):
        body = ENDINGS[kind]  # type: ignore[index]  # a table's words
        root = parse(body).root
        assert write(parse(body)) == body
        assert (root.name, [(e.name, e.text) for e in root.elements]) == (
            name,
            [("Status", status)],
        )


@pytest.mark.parametrize(
    ("command", "version", "kind"),
    [
        ("Ping", "2.5", "ping"),
        ("Ping", "12.0", "ping"),
        ("Ping", "14.1", "ping"),
        ("Ping", None, "ping"),
        ("Sync", "2.5", None),
        ("Sync", "12.0", None),
        ("Sync", "12.1", "sync"),
        ("Sync", "14.0", "sync"),
        ("Sync", "16.1", "sync"),
        ("Sync", None, None),
        ("FolderSync", "14.1", None),
        ("SendMail", "14.1", None),
        (None, "14.1", None),
    ],
)
def test_the_head_says_what_may_wait(command: str, version: str, kind: str) -> None:
    assert may_wait(request(command, version)) == kind


def test_only_a_post_that_can_be_read_waits() -> None:
    assert may_wait(request("Ping", "14.1", problem="the query is cut short")) is None
    assert may_wait(request("Ping", "14.1", method="GET")) is None


@pytest.mark.parametrize(
    ("body", "waits"),
    [
        (b"", True),
        (sync(WAIT), True),
        (sync(HEARTBEAT), True),
        (sync(folders(FOLDER), WAIT), True),
        (sync(folders(FOLDER), HEARTBEAT), True),
        (sync(HEARTBEAT, element(0, "Partial")), True),
        (sync(folders(FOLDER)), False),
        (sync(folders(CHANGE), WAIT), False),
        (sync(folders(FOLDER, CHANGE), HEARTBEAT), False),
        (sync(), False),
        (write(Document(element(13, "Ping", element(13, "HeartbeatInterval", "60")))), False),
        (write(Document(Element(13, 0x05, (WAIT,)))), False),  # Ping, which has Sync's token
        (write(Document(element(0, "Collection", WAIT))), False),
        (sync(Element(2, WAIT.token, ("10",))), False),
        (b"<Sync><Wait>10</Wait></Sync>", False),
        (sync(WAIT)[:-1], False),
        (sync(WAIT) + b"\0", False),
        (b"\0" * 65537, False),
    ],
)
def test_a_sync_waits_when_it_asks_to_and_brings_nothing(body: bytes, waits: bool) -> None:
    assert sync_waits((), body) is waits


def test_a_packed_body_is_read_within_a_bound() -> None:
    packed = (("Content-Encoding", "gzip"),)
    assert sync_waits(packed, gzip.compress(sync(WAIT)))
    assert not sync_waits(packed, gzip.compress(sync(folders(CHANGE), WAIT)))
    assert not sync_waits(packed, gzip.compress(sync(WAIT) + b"\0" * 100_000))
    assert not sync_waits(packed, sync(WAIT))
    assert not sync_waits((("Content-Encoding", "br"),), sync(WAIT))
