"""The time line as people read it: patterns, hosts, Retry-After, OPTIONS; and its length."""

import random
from pathlib import Path

from mitmproxy import http

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.captures.capture import read_exchanges
from eas_redirect.captures.device_timeline import Filter, capture_report
from eas_redirect.captures.timeline_text import capture_lines
from tests.captures.captures import eas_flow, status, write_flows


async def lines_of(tmp_path: Path, flows: list[http.HTTPFlow]) -> list[str]:
    path = write_flows(tmp_path / "capture.flows", flows)
    return list(capture_lines(await capture_report(read_exchanges(path), None, Filter())))


def ping(at: float, number: int = 2) -> http.HTTPFlow:
    return eas_flow(at, "Ping", body=status(13, "Ping", number))


async def test_a_pattern_is_one_block(tmp_path: Path) -> None:
    flows = [x for n in range(40) for x in (ping(n * 60), eas_flow(n * 60 + 30, "Sync"))]
    heading, said, first, second, empty, summary = await lines_of(tmp_path, flows)
    assert heading.endswith("80 exchanges")
    assert said == "  these 2 in turn, 40 times, until 2026-03-02 08:39:30:"
    assert first.split()[2:4] == ["x40", "Ping"]
    assert second.split()[2:4] == ["x40", "Sync"]
    assert (empty, summary) == ("", "1 device, 80 exchanges: nothing is wrong")


async def test_what_is_rare_stands_where_it_came(tmp_path: Path) -> None:
    flows = [x for n in range(10) for x in (ping(n * 60), eas_flow(n * 60 + 30, "Sync"))]
    flows.insert(10, eas_flow(299, "FolderSync", code=503, headers={"Retry-After": "120"}))
    lines = await lines_of(tmp_path, flows)
    at = next(n for n, line in enumerate(lines) if "503" in line)
    assert "server busy: come back later, Retry-After 120" in lines[at]
    assert "in turn, 5 times" in lines[at - 3]
    assert "in turn, 5 times" in lines[at + 1]


async def test_five_thousand_exchanges_are_under_two_hundred_lines(tmp_path: Path) -> None:
    chance = random.Random(17)  # noqa: S311 - the same each time
    commands = ["Ping", "Sync", "FolderSync", "Settings", "SmartReply", "ItemOperations"]
    flows = [eas_flow(n, chance.choice(commands)) for n in range(5000)]
    lines = await lines_of(tmp_path, flows)
    assert len(lines) < 200
    middle = next(line for line in lines if "exchanges between" in line)
    shown = sum(_count(line) for line in lines if line.startswith("  2026") or "    2026" in line)
    assert shown + int(middle.split()[1]) == 5000


async def test_devices_share_the_lines_and_quiet_ones_leave_theirs_to_others(
    tmp_path: Path,
) -> None:
    chance = random.Random(17)  # noqa: S311 - the same each time
    commands = ["Ping", "Sync", "FolderSync", "Settings", "SmartReply", "ItemOperations"]
    busy = [(f"BUSY{n % 4}", n) for n in range(1400)]
    quiet = [(f"QUIET{n % 12}", 2000 + n) for n in range(24)]
    lines = await lines_of(
        tmp_path, [eas_flow(at, chance.choice(commands), device=name) for name, at in busy + quiet]
    )
    assert 150 < len(lines) < 200
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert len(headings) == 16 + 1
    assert sum("exchanges between" in line for line in lines) == 4


async def test_of_many_devices_an_overview_tells_what_is_wrong_with_which(tmp_path: Path) -> None:
    chance = random.Random(17)  # noqa: S311 - the same each time
    flows = [
        eas_flow(n, chance.choice(["Sync", "SmartReply"]), device=f"D{n % 300:03}")
        for n in range(6000)
    ]
    flows += [eas_flow(7000 + n, code=500, device=f"D{n % 40:03}") for n in range(200)]
    lines = await lines_of(tmp_path, flows)
    assert len(lines) < 200
    assert lines[0] == "300 devices: --device ID shows what one did, --user NAME one user's."
    assert lines[-1] == "300 devices, 6200 exchanges: 40 with something to look at"
    wrong = next(line for line in lines if line.startswith("! "))
    assert wrong.startswith("! 40 devices: ")
    listed = [line for line in lines if line.startswith("    CONTOSO")]
    assert listed[0] == "    CONTOSO\\anna, device D000 (iPhone, apple_mail), 25 exchanges"
    assert "260 devices with nothing to look at:" in lines
    alone = await lines_of(tmp_path, [flow for flow in flows if "=D000&" in flow.request.path])
    assert alone[0].startswith("CONTOSO\\anna, device D000")


async def test_a_few_exchanges_of_many_devices_are_shown_whole(tmp_path: Path) -> None:
    flows = [eas_flow(n, "Sync", device=f"D{n:03}") for n in range(30)]
    lines = await lines_of(tmp_path, flows)
    assert sum(line.startswith("CONTOSO") for line in lines) == 30


def _count(line: str) -> int:
    third = line.split()[2]
    return int(third[1:]) if third[0] == "x" else 1


async def test_the_host_is_shown_where_it_changes(tmp_path: Path) -> None:
    flows = [eas_flow(n, "Sync") for n in range(3)]
    flows[1].request.headers["Host"] = "mail.fabrikam.example"
    lines = await lines_of(tmp_path, flows)
    assert [line for line in lines if line.startswith("  at ")] == [
        "  at mail.contoso.example:",
        "  at mail.fabrikam.example:",
        "  at mail.contoso.example:",
    ]


async def test_failures_and_successes_are_lines_of_their_own(tmp_path: Path) -> None:
    page = {"Content-Type": "text/html"}
    flows = [
        *(eas_flow(n, "Sync") for n in range(3)),
        *(collection_flow(10 + n, 3) for n in range(4)),
        *(collection_flow(20 + n, 16) for n in range(2)),
        *(eas_flow(30 + n, "Sync", headers=page, body=b"<html>") for n in range(5)),
        *(eas_flow(40 + n, "Ping") for n in range(6)),
    ]
    lines = await lines_of(tmp_path, flows)
    shown = [
        line.split("200")[-1].rpartition("  ")[0].strip() for line in lines if "  2026" in line
    ]
    assert shown == [
        "OK",
        "3 invalid synchronization key",
        "16 retry",
        "HTML in place of ActiveSync",
        "OK, nothing in it",
    ]


def collection_flow(at: float, number: int) -> http.HTTPFlow:
    collection = element(0, "Collection", element(0, "Status", str(number)))
    body = write(Document(element(0, "Sync", element(0, "Collections", collection))))
    return eas_flow(at, "Sync", body=body)
