"""Requests that wait for an answer on purpose, and the answers that end such a wait early. Pure.

Sources: MS-ASCMD 2.2.1.13 (Ping), 2.2.1.21 (Sync), 2.2.3.79 (HeartbeatInterval), 2.2.3.197 (Wait),
2.2.3.177.11 and 2.2.3.177.17 (their Status), MS-ASWBXML 2.1.2.1.1 and 2.1.2.1.14 (code pages).
"""

from collections.abc import Iterator
from typing import Literal

from eas_redirect.activesync.inflate import InflateError, inflated
from eas_redirect.activesync.request import EASRequest, Headers, header_values
from eas_redirect.activesync.response import MAX_BODY
from eas_redirect.activesync.wbxml import Element, WBXMLError, parse

type WaitKind = Literal["ping", "sync"]

ENDINGS: dict[WaitKind, bytes] = {
    # <Ping><Status>7</Status></Ping>: the folder hierarchy is out of date.
    "ping": bytes.fromhex("03016a00 000d 45 47 033700 01 01"),
    # <Sync><Status>12</Status></Sync>: the folder hierarchy has changed.
    "sync": bytes.fromhex("03016a00 45 4e 03313200 01 01"),
}
"""The body that ends each kind of wait. Both make the client ask for its folders, and claim nothing
about the mailbox: Exchange's own answer to that question does."""

_AIR_SYNC, _SYNC, _COMMANDS, _WAIT, _HEARTBEAT_INTERVAL = 0, 0x05, 0x16, 0x24, 0x29
_FIRST_SYNC_THAT_WAITS = (12, 1)


def may_wait(request: EASRequest) -> WaitKind | None:
    """What kind of wait a request may be, by its head alone: of a Sync the body has a say."""
    if request.method != "POST" or request.problem is not None:
        return None
    if request.command == "Ping":
        return "ping"
    if request.command == "Sync" and _version(request) >= _FIRST_SYNC_THAT_WAITS:
        return "sync"
    return None


def sync_waits(headers: Headers, body: bytes) -> bool:
    """Whether a Sync with this body (`Content-Encoding` not undone) does nothing but wait.

    An empty one repeats the client's last request. One that brings changes of its own must never
    be told to start over, and what cannot be read is left alone.
    """
    if not body:
        return True
    try:
        plain = inflated(body, ",".join(header_values(headers, "content-encoding")), MAX_BODY)
        root = parse(plain).root
    except (InflateError, WBXMLError):
        return False
    if (root.page, root.token) != (_AIR_SYNC, _SYNC):
        return False
    tokens = {element.token for element in _all(root) if element.page == _AIR_SYNC}
    return _COMMANDS not in tokens and not tokens.isdisjoint({_WAIT, _HEARTBEAT_INTERVAL})


def _all(element: Element) -> Iterator[Element]:
    yield element
    for child in element.elements:
        yield from _all(child)


def _version(request: EASRequest) -> tuple[int, int]:
    major, _, minor = (request.protocol_version or "0.0").partition(".")
    return int(major), int(minor)
