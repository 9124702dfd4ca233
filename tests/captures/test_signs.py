"""What an exchange shows of the usual troubles, beyond its statuses."""

import struct
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from eas_redirect.activesync.multipart import MULTIPART
from eas_redirect.activesync.wbxml import Document, Element, element, write
from eas_redirect.captures.signs import (
    MOST_REPEATS,
    MOST_RESTARTS,
    MOST_RETURNS,
    Agents,
    Signs,
    SyncKeys,
    signs_of,
)
from eas_redirect.proxy import flows
from tests.captures.captures import START, eas_flow, status

WHO = ("ApplDEVICE1", "anna")


def signs(flow: http.HTTPFlow, eas_status: int | None = None) -> Signs:
    answer = flow.response
    assert answer is not None
    waited_s = answer.timestamp_start - flow.request.timestamp_start
    return signs_of(flow, flows.request_of(flow), eas_status, waited_s, SyncKeys(), Agents())


def folders(key: str, state: str | None = None) -> Element:
    said = () if state is None else (element(7, "Status", state),)
    return element(7, "FolderSync", *said, element(7, "SyncKey", key))


@pytest.mark.parametrize(
    ("skew_s", "shown"), [(0, 0), (299, 0), (-299, 0), (420, 300), (-3600, -3600)]
)
def test_a_clock_is_told_in_steps_of_five_minutes(skew_s: int, shown: int) -> None:
    date = format_datetime(datetime.fromtimestamp(START + 0.5 + skew_s, UTC), usegmt=True)
    assert signs(eas_flow(0, headers={"Date": date})).skew_s == shown


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2026 00:00:00 GMT"])
def test_a_date_that_is_none_tells_no_clock(date: str) -> None:
    assert signs(eas_flow(0, headers={"Date": date})).skew_s == 0


@pytest.mark.parametrize(
    ("content_type", "body", "page"),
    [
        ("text/html", b"<p>sign on", "HTML"),
        ("text/plain", b"  <!DOCTYPE html><p>", "HTML"),
        ("application/pdf", b"%PDF", "application/pdf"),
        ("application/pdf", b"", None),
        ("application/vnd.ms-sync.wbxml", status(7, "FolderSync", 1), None),
        ("", status(7, "FolderSync", 1), None),
        ("", b"no WBXML", "something"),
    ],
    ids=["HTML", "HTML by its looks", "another type", "empty", "WBXML", "unnamed", "unknown"],
)
def test_a_page_where_wbxml_belongs(content_type: str, body: bytes, page: str | None) -> None:
    found = signs(eas_flow(0, body=body, headers={"Content-Type": content_type}))
    assert found.page == page


def test_what_a_request_brings() -> None:
    basic = signs(eas_flow(0))
    assert (basic.logon_sent, basic.token_sent, basic.policy_key) == (True, False, "sent")
    token = signs(eas_flow(0, asked={"Authorization": "Bearer a.b.c"}))
    assert (token.logon_sent, token.token_sent) == (True, True)
    bare = signs(eas_flow(0, user=None, code=401, headers={"WWW-Authenticate": "Basic"}))
    assert (bare.logon_sent, bare.logon_wanted) == (False, True)
    assert signs(eas_flow(0, asked={"X-MS-PolicyKey": "0"})).policy_key == "zero"


def test_a_command_that_must_say_something_and_does_not() -> None:
    assert signs(eas_flow(0, "FolderSync", body=b"")).empty
    assert not signs(eas_flow(0, "Sync", body=b"")).empty, "nothing has changed"
    assert not signs(eas_flow(0, "FolderSync", code=500, body=b"")).empty


@pytest.mark.parametrize(
    ("asked", "waited", "early"),
    [(480, 100.0, True), (480, 300.0, False), (None, 1.0, False)],
    ids=["early", "half of it", "not asked for"],
)
def test_a_wait_that_ends_before_its_time(asked: int | None, waited: float, early: bool) -> None:
    """Status 1: nothing has changed (MS-ASCMD 2.2.3.177.11)."""
    interval = () if asked is None else (element(13, "HeartbeatInterval", str(asked)),)
    sent = write(Document(element(13, "Ping", *interval)))
    found = signs(eas_flow(0, "Ping", sent=sent, waited=waited), eas_status=1)
    assert (found.asked_s, found.early) == (asked, early)


def test_a_key_that_was_answered_and_is_sent_again() -> None:
    keys = SyncKeys()
    seen = [keys.repeats(WHO, folders("1"), folders("2")) for _ in range(MOST_REPEATS + 3)]
    assert [repeats for repeats, _ in seen] == [0, 1, 2, 3, 3, 3]
    assert keys.repeats(WHO, folders("2"), folders("3")) == (0, 0), "it goes on"
    assert keys.repeats(("another", "anna"), folders("1"), folders("2")) == (0, 0)


def test_a_device_that_starts_over() -> None:
    keys = SyncKeys()
    counts = [keys.repeats(WHO, folders("0"), folders("1"))[1] for _ in range(MOST_RESTARTS + 2)]
    assert counts == [1, 2, 3, 4, 5, 5, 5]


@pytest.mark.parametrize(
    ("seen", "returns"),
    [("AAAA", 0), ("AAABBB", 0), ("ABA", 1), ("ABAB", 2), ("ABABABABAB", MOST_RETURNS), ("ABC", 0)],
)
def test_a_program_that_comes_back(seen: str, returns: int) -> None:
    agents = Agents()
    assert [agents.returns(WHO, agent) for agent in seen][-1] == returns
    assert agents.returns(("another", "anna"), "B") == 0


@pytest.mark.parametrize(
    ("command", "answer", "shown"),
    [
        ("MoveItems", element(5, "MoveItems", *(
            element(5, "Response", element(5, "Status", n)) for n in ("3", "2", "7"))), (2, 7)),
        ("Search", element(15, "Search", element(15, "Response", element(
            15, "Store", element(15, "Status", "12")))), ()),
        ("Settings", element(18, "Settings", element(18, "Status", "1"), element(
            18, "Oof", element(18, "Status", "x"))), ()),
        ("Provision", element(14, "Provision", element(14, "Policies", element(
            14, "Policy", element(14, "Status", "2")))), ()),
    ],
    ids=["some fail", "the end of a range", "no number", "policies have a sign of their own"],
)  # fmt: skip
def test_statuses_of_what_was_in_it(command: str, answer: Element, shown: tuple[int, ...]) -> None:
    found = signs(eas_flow(0, command, body=write(Document(answer))))
    assert found.item_statuses == shown


def test_statuses_in_the_first_of_several_parts() -> None:
    """MS-ASCMD 2.2.1.10.1: attachments follow as they are."""
    status = element(20, "Status", "6")
    fetch = element(20, "Response", element(20, "Fetch", status))
    first = write(Document(element(20, "ItemOperations", fetch)))
    body = struct.pack("<III", 1, 12, len(first)) + first
    flow = eas_flow(0, "ItemOperations", body=body, headers={"Content-Type": MULTIPART})
    assert signs(flow).item_statuses == (6,)


def test_any_multipart_has_signs() -> None:
    for body in (b"\1\0\0\0", b"\xff" * 40, struct.pack("<III", 1, 12, 900)):
        flow = eas_flow(0, "ItemOperations", body=body, headers={"Content-Type": MULTIPART})
        assert signs(flow).item_statuses == ()


def test_an_answer_that_gives_no_new_key_counts_for_nothing() -> None:
    keys = SyncKeys()
    for told in (None, folders("1"), folders("2", "9")):  # none, the same, refused
        assert keys.repeats(WHO, folders("1"), told) == (0, 0)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bodies_have_signs(sent: bytes, told: bytes) -> None:
    """Whatever is in a capture, its time line is shown, and a sign stays coarse."""
    found = signs(eas_flow(0, "Sync", sent=sent, body=told))
    assert 0 <= found.repeats <= MOST_REPEATS
    assert found.asked_s is None or found.asked_s >= 0
    assert all(0 < number < 1000 for number in found.collection_statuses)
