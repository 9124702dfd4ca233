"""Which exchange belongs to which device, and what is one entry."""

from pathlib import Path

from tests.captures.captures import eas_flow, status
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
