"""Which exchange belongs to which device, and what is one entry."""

from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from mitmproxy import http

from eas_redirect.captures.capture import read_exchanges
from eas_redirect.captures.device_timeline import Filter, Timeline, capture_report, skew_of, total
from tests.captures.captures import START, eas_flow, status, write_flows
from tests.captures.test_timeline_text_folding import lines_of


async def test_options_on_a_connection_of_its_own_belongs_to_who_calls(tmp_path: Path) -> None:
    """The same User-Agent and user; the next device that speaks, else the last."""
    flows = [
        eas_flow(0, None),
        eas_flow(5, device="ONE"),
        eas_flow(9, None),
        eas_flow(12, device="TWO"),
        eas_flow(15, None),
        eas_flow(20, None, user="CONTOSO\\bert"),
        eas_flow(25, None),
    ]
    flows[4].request.headers["User-Agent"] = "Android/9-EAS-2.0"
    lines = await lines_of(tmp_path, flows)
    headings = [line for line in lines if line and not line.startswith((" ", "4 devices"))]
    assert [(h.split()[2], h.split()[-2]) for h in headings] == [
        ("ONE", "2"),
        ("TWO", "3"),
        ("192.0.2.7", "1"),
        ("192.0.2.7", "1"),
    ]


async def test_options_belongs_to_the_device_of_its_connection(tmp_path: Path) -> None:
    flows = [
        eas_flow(0, None),
        eas_flow(5, "FolderSync", body=status(7, "FolderSync", 1)),
        eas_flow(9, None),
        eas_flow(12, None, user="CONTOSO\\bert"),
    ]
    for flow in flows:
        flow.client_conn.id = "one connection"
    lines = await lines_of(tmp_path, flows)
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings[0].startswith("CONTOSO\\anna, device ApplDEVICE1")
    assert headings[0].endswith("3 exchanges")
    assert headings[1].startswith("CONTOSO\\bert, device 192.0.2.7")


def waiting(at: float, waited: float, number: int = 1) -> http.HTTPFlow:
    return eas_flow(at, "Ping", body=status(13, "Ping", number), waited=waited)


async def timelines(tmp_path: Path, *flows: http.HTTPFlow, **wanted: str) -> list[Timeline]:
    path = write_flows(tmp_path / "capture.flows", flows)
    return (await capture_report(read_exchanges(path), None, Filter(**wanted))).timelines


async def test_equal_exchanges_in_a_row_are_one_entry_with_its_times(tmp_path: Path) -> None:
    (device,) = await timelines(
        tmp_path, waiting(0, 470), waiting(480, 2), waiting(500, 60), waiting(600, 5, number=2)
    )
    (waits, change) = device.entries
    assert (waits.count, waits.least_s, waits.waited_s) == (3, 2.0, 470.0)
    assert (waits.time_s, waits.last_s) == (START, START + 500)
    assert (change.count, change.eas_status) == (1, 2)
    assert device.exchanges == 4


async def test_what_lies_between_keeps_them_apart(tmp_path: Path) -> None:
    (device,) = await timelines(tmp_path, waiting(0, 1), eas_flow(5, "Sync"), waiting(9, 1))
    assert [entry.command for entry in device.entries] == ["Ping", "Sync", "Ping"]


async def test_two_users_of_one_device_are_two_timelines(tmp_path: Path) -> None:
    """A device id is no secret: two accounts on one phone, or one id copied."""
    found = await timelines(
        tmp_path,
        eas_flow(0),
        eas_flow(1, user="CONTOSO\\bert"),
        eas_flow(2, user="contoso\\ANNA", device="appldevice1"),
    )
    assert [(one.user, one.exchanges) for one in found] == [
        ("CONTOSO\\anna", 2),
        ("CONTOSO\\bert", 1),
    ]


@pytest.mark.parametrize(
    ("wanted", "devices"),
    [
        ({"device": "appldevice1"}, {"ApplDEVICE1"}),
        ({"user": "ANNA"}, {"ApplDEVICE1"}),
        ({"user": "contoso\\bert"}, {"SEC2"}),
        ({"user": "anna", "device": "SEC2"}, set()),
        ({}, {"ApplDEVICE1", "SEC2"}),
    ],
    ids=["a device", "a name", "a logon", "both", "everybody"],
)
async def test_whose_exchanges_are_looked_at(
    wanted: dict[str, str], devices: set[str], tmp_path: Path
) -> None:
    flows = (eas_flow(0), eas_flow(1, user="CONTOSO\\bert", device="SEC2"))
    found = await timelines(tmp_path, *flows, **wanted)
    assert {one.device_id for one in found} == devices


async def test_a_wrong_clock_is_one_that_most_answers_show(tmp_path: Path) -> None:
    def at(seconds: int, skew_s: int) -> http.HTTPFlow:
        date = format_datetime(datetime.fromtimestamp(START + seconds + skew_s, UTC), usegmt=True)
        return eas_flow(seconds, headers={"Date": date})

    (wrong,) = await timelines(tmp_path, at(0, 0), at(1, 3600), at(2, 3600))
    assert skew_of(wrong.entries) == 3600
    (right,) = await timelines(tmp_path, at(0, 0), at(1, 3600))
    assert skew_of(right.entries) == 0
    assert (total(right.entries), skew_of([])) == (2, 0)


async def test_a_capture_of_nothing_has_no_timeline(tmp_path: Path) -> None:
    assert await timelines(tmp_path) == []


async def test_a_device_without_a_logon_belongs_to_its_one_user(tmp_path: Path) -> None:
    """Whether the logon comes first or later; of two users it may be either's."""

    def nameless(at: float, device: str) -> http.HTTPFlow:
        flow = eas_flow(at, user=None, device=device, code=401)
        flow.request.path = flow.request.path.replace("User=anna&", "")
        return flow

    found = await timelines(
        tmp_path,
        nameless(0, "LATER"),
        eas_flow(1, device="later"),
        nameless(2, "LATER"),
        eas_flow(3, device="TWO"),
        eas_flow(4, device="TWO", user="CONTOSO\\bert"),
        nameless(5, "TWO"),
        nameless(6, "NOBODYS"),
    )
    assert [(t.device_id, t.user, t.exchanges) for t in found] == [
        ("LATER", "CONTOSO\\anna", 3),
        ("TWO", "CONTOSO\\anna", 1),
        ("TWO", "CONTOSO\\bert", 1),
        ("TWO", None, 1),
        ("NOBODYS", None, 1),
    ]


async def test_a_question_of_nobody_belongs_to_the_program_at_its_address(tmp_path: Path) -> None:
    """Phones ask without a logon first, and many close the connection after the 401."""

    def nobody(at: float, address: str, agent: str = "Apple-iPhone12C1/1902.67") -> http.HTTPFlow:
        found = eas_flow(at, None, user=None, code=401, asked={"User-Agent": agent})
        found.client_conn.peername = (address, 50001)
        return found

    found = await timelines(
        tmp_path,
        nobody(0, "192.0.2.7"),
        nobody(1, "192.0.2.8"),
        nobody(2, "192.0.2.7", "Probe/1"),
        eas_flow(3),
        nobody(4, "192.0.2.7"),
    )
    whose = {(one.device_id, one.client_address, one.user_agent): one.exchanges for one in found}
    assert whose == {
        ("ApplDEVICE1", "192.0.2.7", "Apple-iPhone12C1/1902.67"): 3,
        (None, "192.0.2.8", "Apple-iPhone12C1/1902.67"): 1,
        (None, "192.0.2.7", "Probe/1"): 1,
    }
