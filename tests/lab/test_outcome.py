"""Each way in which an outcome can differ from what was expected is seen and said."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from eas_redirect.activesync.wbxml import WBXML_TYPE
from eas_redirect.lab.http_server import Exchanged, Reply, Request
from eas_redirect.lab.legacy_exchange import status_answer
from eas_redirect.lab.outcome import (
    SENT_ON,
    JournalLine,
    OutcomeRow,
    outcome_json,
    outcome_of,
    print_outcome,
)
from eas_redirect.lab.personas import CLOUD, FABRIKAM, PERSONAS
from eas_redirect.lab.phone import Got
from eas_redirect.lab.walk import Walk

PEOPLE = {persona.name: persona for persona in PERSONAS}
ANNA, JANA = PEOPLE["anna"], PEOPLE["jana"]
LOCATION = ("X-MS-Location", f"https://{CLOUD}/Microsoft-Server-ActiveSync")
PORT = 40000


def got(status: int, *headers: tuple[str, str], body: bytes = b"") -> Got:
    framed = (*headers, ("Content-Length", str(len(body))))
    return Got(status, "", framed, body, PORT)


MOVED = Walk(ANNA, (got(451, LOCATION),), arrived=got(200))
NO_MAILBOX = Reply(200, (("Content-Type", WBXML_TYPE),), status_answer("FolderSync", 123))
LINE = JournalLine(PORT, "mailbox_moved", "451")


def outcome(walk: Walk, reply: Reply | None = NO_MAILBOX, *lines: JournalLine) -> OutcomeRow:
    headers = (("Authorization", walk.persona.make_device().authorization or ""),)
    request = Request("POST", "/", headers)
    exchanged = [Exchanged(request, reply)] if reply else []
    here = walk.persona.arrives != 200
    arrived = [] if here else [walk.persona.user_principal_name]
    return outcome_of([walk], exchanged, lines or (LINE,), arrived)[0]


def test_what_was_expected() -> None:
    row = outcome(MOVED)
    assert row.problems == ()
    assert (row.exchange_said, row.device_got) == ("200, status 123", f"451 → {CLOUD}, let in")


@pytest.mark.parametrize(
    ("walk", "problem"),
    [
        (replace(MOVED, got=()), "1 requests, 0 answers, 1 at Exchange"),
        (replace(MOVED, got=(got(200),)), "the device got 200, expected 451"),
        (replace(MOVED, got=(got(451),)), f"the device was sent to None, expected {CLOUD}"),
        (replace(MOVED, arrived=None), "the target answered None, expected 200"),
        (replace(MOVED, arrived=got(401)), "the target answered 401, expected 200"),
        (replace(MOVED, problem="OSError: gone"), "OSError: gone"),
    ],
)
def test_what_the_device_saw_instead(walk: Walk, problem: str) -> None:
    assert problem in outcome(walk).problems


def test_a_request_that_never_reached_exchange() -> None:
    assert outcome(MOVED, None).problems == ("1 requests, 1 answers, 0 at Exchange",)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([replace(LINE, client_port=1)], "1 requests have 0 journal lines"),
        ([LINE, LINE], "1 requests have 2 journal lines"),
        (
            [replace(LINE, reason="other_answer")],
            "the journal says other_answer, expected mailbox_moved",
        ),
    ],
)
def test_what_the_journal_said_instead(lines: list[JournalLine], problem: str) -> None:
    assert problem in outcome(MOVED, NO_MAILBOX, *lines).problems


@pytest.mark.parametrize(
    "received",
    [
        got(200, ("Server", "IIS"), body=b"changed"),
        got(200, ("server", "IIS"), body=b"body"),
        got(200, body=b"body"),
        got(200, ("Server", "IIS"), ("Via", "proxy"), body=b"body"),
    ],
)
def test_an_answer_that_was_changed_on_its_way(received: Got) -> None:
    reply = Reply(200, (("Server", "IIS"),), b"body")
    line = JournalLine(PORT, "other_answer", "")
    unchanged = got(200, ("Server", "IIS"), body=b"body")
    assert outcome(Walk(JANA, (unchanged,)), reply, line).problems == ()
    assert outcome(Walk(JANA, (received,)), reply, line).problems == (
        "the answer was changed on its way",
    )


@pytest.mark.parametrize(
    ("walk", "arrived", "problem"),
    [
        (MOVED, [], "the target has not let this person in"),
        (Walk(JANA, (got(200),)), ["jana@contoso.example"], "the target has let this person in"),
    ],
)
def test_what_the_target_says_instead(walk: Walk, arrived: list[str], problem: str) -> None:
    assert problem in outcome_of([walk], [], [], arrived)[0].problems


def test_somebody_who_is_sent_back_calls_from_several_ports() -> None:
    uma, there = PEOPLE["uma"], ("X-MS-Location", f"https://{FABRIKAM}/Microsoft-Server-ActiveSync")
    first, again = got(451, there), replace(got(451, there), local_port=PORT + 1)
    walk = Walk(uma, (first, again), arrived=got(451))
    headers = (("Authorization", uma.make_device().authorization or ""),)
    exchanged = [Exchanged(Request("POST", "/", headers), NO_MAILBOX)] * 2
    (row,) = outcome_of([walk], exchanged, [LINE, replace(LINE, client_port=PORT + 1)], [])
    assert row.problems == ()
    assert row.device_got == f"451 → {FABRIKAM}, and back, 2 times"
    (row,) = outcome_of([walk], exchanged, [LINE], [])
    assert "2 requests have 1 journal lines" in row.problems


def test_an_arrival_that_the_journal_should_have_confirmed() -> None:
    there = replace(MOVED, arrived=replace(got(200), local_port=PORT + 1))
    headers = (("Authorization", ANNA.make_device().authorization or ""),)
    exchanged = [Exchanged(Request("POST", "/", headers), NO_MAILBOX)]
    arrived = [ANNA.user_principal_name]
    seen = JournalLine(PORT + 1, "other_answer", confirmed=True)
    for lines, problems, got_text in (
        ([LINE, seen], (), f"451 → {CLOUD}, let in, confirmed"),
        (
            [LINE, replace(seen, confirmed=False)],
            ("the journal does not confirm that the phone arrived",),
            f"451 → {CLOUD}, let in",
        ),
    ):
        (row,) = outcome_of([there], exchanged, lines, arrived, both_sides_seen=True)
        assert (row.problems, row.device_got) == (problems, got_text)


GOOD = OutcomeRow(
    name="anna",
    who="Anna",
    device="iPhone",
    story="moved [bold]to[/] the cloud",
    exchange_said="200, status 123",
    device_got="451 → outlook.office365.com, let in",
    reason=SENT_ON,
    why="",
)
BAD = replace(
    GOOD,
    name="jana",
    who="Jana",
    reason="other_answer",
    device_got="the same",
    problems=("the device got 200, expected 451",),
)
JOURNAL = Path(".lab/eas-journal.jsonl")


def printed(rows: list[OutcomeRow], width: int) -> str:
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as capture:
        print_outcome(console, rows, JOURNAL)
    return capture.get()


@pytest.mark.parametrize("width", [80, 160])
def test_everything_as_expected(width: int) -> None:
    text = printed([GOOD], width)
    assert "1 of 1 as expected." in text
    assert "NO" not in text.split()
    assert "moved [bold]to[/] the cloud" in text
    assert str(JOURNAL) in text


@pytest.mark.parametrize("width", [80, 160])
def test_what_was_not_expected_is_said(width: int) -> None:
    text = printed([GOOD, BAD], width)
    assert "1 of 2 as expected." in text
    assert "NO" in text.split()
    assert "Jana: the device got 200, expected 451" in text


@pytest.mark.parametrize("width", [40, 80, 110, 160, 200])
def test_no_line_is_cut(width: int) -> None:
    text = " ".join(printed([GOOD, BAD], width).split())
    for word in ("outlook.office365.com", "other_answer", "123", "yes", "NO"):
        assert word in text
    assert "…" not in text


def test_json_holds_the_same() -> None:
    value = outcome_json([GOOD, BAD], JOURNAL)
    assert value["as_expected"] is False
    people = value["people"]
    assert isinstance(people, list)
    assert [person["as_expected"] for person in people] == [True, False]
