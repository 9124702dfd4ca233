"""What a running service shows: relationships with their hosts, trouble, the configuration."""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eas_redirect.certificates.front import SOON_DAYS
from eas_redirect.certificates.trouble import Peer
from eas_redirect.configuration.config import load_config
from eas_redirect.directory.adoption import HeldBack
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import CacheSettings, OrganizationRelationship
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.service.monitor import (
    DAY_S,
    LOOK_S,
    Descriptors,
    Monitor,
    ProxyFacts,
    limit,
    open_descriptors,
    relationship_line,
    relationship_lines,
)
from eas_redirect.service.service import Service
from eas_redirect.service.upstream import NoAnswer, UpstreamOutcome
from eas_redirect.service.watching import Reloader, Watcher
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.web import parse_listen
from tests.integration.processes import free_port
from tests.integration.running import write_config
from tests.support import DATA
from tests.telemetry.statuses import NOW_S
from tests.telemetry.test_metrics import REDIRECT


@dataclass
class Process:
    count: int
    allowed: int
    now_s: float = 0.0

    def looked_at(self) -> Descriptors:
        return Descriptors(lambda: self.count, lambda: self.allowed, lambda: self.now_s)


@pytest.mark.parametrize(
    ("count", "allowed", "short"),
    [
        (10, 1024, False),
        (1003, 1024, False),
        (1005, 1024, True),
        (1024, 1024, True),
        (65_336, 65_536, False),
        (65_337, 65_536, True),
        (50, 64, True),
        (5, 0, False),
        (0, 1024, False),
    ],
)
def test_short(count: int, allowed: int, short: bool) -> None:
    assert Process(count, allowed).looked_at().are_short() is short


def test_it_is_short_until_there_are_enough_again() -> None:
    process = Process(1010, 1024)
    descriptors = process.looked_at()
    assert descriptors.are_short()
    steps = ((0.5, 10, True), (LOOK_S, 990, True), (1.5 * LOOK_S, 980, True), (3.0, 980, False))
    for now_s, count, short in steps:
        process.now_s, process.count = now_s, count
        assert descriptors.are_short() is short


def test_the_real_ones() -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    try:
        assert open_descriptors() >= before + 2 > 2
    finally:
        os.close(reading)
        os.close(writing)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limit() == soft > 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        assert limit() == soft - 1, "the one that is in force"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_the_system_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older kernels give these folders no size, so that their entries are counted."""
    folder = Path("/proc/self/task")
    assert folder.stat().st_size == 0
    assert open_descriptors(folder) == len(list(folder.iterdir())) > 0
    assert open_descriptors(tmp_path / "gone") == 0
    monkeypatch.setitem(sys.modules, "resource", None)  # Windows
    assert limit() == 0


DOWN = Record(
    timestamp_s=1.0,
    action="eas.directory",
    message="dc1 does not answer",
    directory_change="unavailable",
)
POLICY = Policy(host_map=dict(DEFAULT_HOST_MAP), allowed_hosts=("*.office365.com",))
RELATIONSHIP = OrganizationRelationship(
    name="Cloud",
    domain_names=("contoso.example",),
    target_owa_url="http://outlook.com/owa/contoso.example",
)


@pytest.fixture
async def monitor(tmp_path: Path) -> AsyncIterator[Monitor]:
    path = write_config(tmp_path)
    service = Service(load_config(path, {"journal.path": str(tmp_path / "journal.jsonl")}))
    made = Monitor(service, ProxyFacts(config_path=lambda: str(path)), clock=lambda: 1000.0)
    service.start()
    async with asyncio.timeout(20):
        await service.judge.directory.relationships()
    yield made
    made.close()
    service.close()


@pytest.mark.parametrize(
    ("relationship", "host", "note"),
    [
        (RELATIONSHIP, "outlook.office365.com", "host map: outlook.com"),
        (replace(RELATIONSHIP, target_owa_url="https://eas.office365.com/o"), None,
         "the TargetOwaURL names no host"),
        (replace(RELATIONSHIP, enabled=False), None, "disabled"),
        (replace(RELATIONSHIP, target_owa_url=None), None, "the relationship has no TargetOwaURL"),
        (replace(RELATIONSHIP, target_owa_url="https://evil.example.test/owa"), None,
         "the target is outside redirect.allowed_hosts"),
        (replace(RELATIONSHIP, target_owa_url="::"), None, "the TargetOwaURL names no host"),
    ],
    ids=["mapped", "unknown there", "disabled", "no URL", "not allowed", "no sense"],
)  # fmt: skip
def test_relationship_line(
    relationship: OrganizationRelationship, host: str | None, note: str
) -> None:
    line = relationship_line(relationship, POLICY)
    assert line.eas_host == host
    assert line.note.startswith(note)


async def test_status(monitor: Monitor) -> None:
    await monitor._look()
    status = monitor.status()
    assert status.directory.state == "answering"
    assert status.directory.source == "snapshot"
    assert status.configuration.loaded_s == 1000.0
    assert status.configuration.path.endswith("eas-redirect.toml")
    assert "outlook.office365.com" in {line.eas_host for line in status.relationships}


async def test_a_directory_that_shows_no_mailbox_is_blind(tmp_path: Path) -> None:
    """It answers, and nobody can be redirected: that is not ready, and says what to do."""
    text = (DATA / "migration.ldif").read_text("utf-8")
    snapshot = tmp_path / "blind.ldif"
    columns = ("homeMDB", "msExchHomeServerName")
    lines = text.replace("\n ", "").splitlines(keepends=True)
    snapshot.write_text("".join(line for line in lines if not line.startswith(columns)))
    os.utime(snapshot, (1, 1))  # it has stood still
    path = tmp_path / "eas-redirect.toml"
    path.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "{snapshot}"\n')
    service = Service(load_config(path, {"journal.path": str(tmp_path / "journal.jsonl")}))
    records: list[Record] = []
    service.sinks.append(records.append)
    monitor = Monitor(service, ProxyFacts(config_path=lambda: str(path)))
    try:
        service.start()
        await service.judge.directory.relationships()
        await monitor._look()
        status = monitor.status()
    finally:
        monitor.close()
        service.close()
    assert status.checks["directory"] == "blind"
    assert not status.ready
    assert "export homeMDB and msExchHomeServerName" in status.directory.unseen[0]
    said = [record for record in records if record.directory_change == "mailboxes_not_visible"]
    assert [record.level for record in said] == ["warning"], "once, at the start"


async def test_trouble_with_the_directory_comes_and_goes(monitor: Monitor) -> None:
    service = monitor._service
    service.record(DOWN)
    assert monitor.status().directory.problem == "dc1 does not answer"
    assert monitor.status().directory.state == "stale"
    service.record(replace(REDIRECT, directory_cache="miss", directory_server="dc2"))
    assert monitor.status().directory.problem is None
    assert monitor.status().directory.server == "dc2"
    assert monitor.status().directory.state == "answering"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (replace(DOWN, error_message="dc1: timed out"), "dc1: timed out"),
        (replace(DOWN, message="dc1 is down"), "dc1 is down"),
        (replace(REDIRECT, reason="directory_unavailable", error_message="late"), "late"),
        (replace(DOWN, directory_change="recovered"), None),
        (replace(REDIRECT, directory_cache="miss"), None),
        (replace(REDIRECT, directory_cache="hit"), "before"),
        (replace(DOWN, directory_change="relationship_added"), "before"),
    ],
)
async def test_what_says_that_the_directory_is_in_trouble_or_out_of_it(
    monitor: Monitor, record: Record, problem: str | None
) -> None:
    monitor._service.record(replace(DOWN, error_message="before"))
    monitor._service.record(replace(record, timestamp_s=9.0))
    line = monitor.status().directory
    assert line.problem == problem
    assert line.error is not None
    assert line.error.until_s == (9.0 if problem is None else None)
    assert line.error.since_s == DOWN.timestamp_s


async def test_a_snapshot_that_is_not_in_force_is_said_and_makes_a_gauge(monitor: Monitor) -> None:
    gauge, file = monitor.metrics.gauges.snapshot_good, monitor._service.snapshot
    assert file is not None
    assert gauge() is True
    monitor._service.record(DOWN)
    file.problem = "forest.ldif: it is cut off"
    assert gauge() is False
    assert monitor.status().directory.problem == file.problem, "which somebody can mend here"
    file.problem = None
    assert gauge() is True
    assert monitor.status().directory.problem == DOWN.message


async def test_relationships_are_worked_out_again_only_when_they_or_the_policy_change(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forest may have thousands of domains, and load balancers ask every second."""
    counted: list[int] = []

    def lines(known: tuple[OrganizationRelationship, ...], policy: Policy) -> object:
        counted.append(len(known))
        return relationship_lines(known, policy)

    monkeypatch.setattr("eas_redirect.service.monitor.relationship_lines", lines)
    for _ in range(3):
        await monitor._look()
    assert len(counted) == 1
    judge = monitor._service.judge
    monitor._service.judge = replace(judge, policy=replace(judge.policy, host_map={}))
    await monitor._look()
    assert len(counted) == 2


async def test_relationships_stay_shown_while_nobody_can_be_asked(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await monitor._look()
    shown = monitor.status().relationships
    assert len(shown) > 1
    nobody = HeldBack(lambda: "cut off")
    with monkeypatch.context() as patched:
        patched.setattr(CachedDirectory, "relationships", lambda _: nobody.relationships())
        await monitor._look()
        assert monitor.status().relationships == shown
    fresh = CachedDirectory(nobody, CacheSettings())
    monitor._service.judge = replace(monitor._service.judge, directory=fresh)
    await monitor._look()
    assert monitor.status().relationships == shown
    assert fresh.statistics().unavailable == 0, "one that was never read is not asked"
    fresh.close()


async def test_closed_it_asks_exchange_no_more(tmp_path: Path) -> None:
    """A script that mitmproxy loads again has another monitor, and the old one is gone."""

    async def nobody(_timeout_s: float) -> UpstreamOutcome:
        return NoAnswer(why="refused")

    before = asyncio.all_tasks()
    service = Service(load_config(write_config(tmp_path)), journalled=False)
    monitor = Monitor(service, ProxyFacts(peer=lambda: Peer(host="127.0.0.1", port=1), ask=nobody))
    monitor.upstream.doubt("it refuses us")
    service.record(Record(timestamp_s=5.0, action="eas.config", message="", outcome="success"))
    assert asyncio.all_tasks() > before
    monitor.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    service.close()


async def test_a_refused_configuration_is_shown_until_it_is_corrected(monitor: Monitor) -> None:
    """A snapshot that is read well meanwhile says nothing of the configuration."""
    path = Path(monitor._proxy.config_path())
    good = path.read_text("utf-8")  # noqa: ASYNC240 - a small file of the test
    watcher = Watcher(monitor._service, Reloader(path, monitor._service.config, {}))
    path.write_text(good.replace('mode = "enforce"', 'mode = "enforced"'), encoding="utf-8")  # noqa: ASYNC240
    await watcher.reload()
    monitor._service.record(
        Record(timestamp_s=5.0, action="eas.config", message="snapshot", outcome="success")
    )
    refused = monitor.status().configuration
    assert "must be 'observe' or 'enforce'" in (refused.problem or "")
    assert refused.error is not None
    assert (refused.error.text, refused.error.until_s) == (refused.problem, None)
    assert monitor.metrics.gauges.configuration_good() is False
    path.write_text(good, encoding="utf-8")  # noqa: ASYNC240
    await watcher.reload()
    corrected = monitor.status().configuration
    assert corrected.problem is None
    assert corrected.error is not None
    assert corrected.error.until_s is not None
    assert monitor.metrics.gauges.configuration_good() is True


async def test_a_domain_that_is_claimed_twice_is_sent_to_nobody_there_too() -> None:
    other = replace(RELATIONSHIP, name="Other", domain_names=("contoso.example", "b.example"))
    written = replace(
        RELATIONSHIP, name="Ours", domain_names=("b.example",), source="configuration"
    )
    cloud, both = relationship_lines((RELATIONSHIP, other), POLICY)
    assert (cloud.eas_host, cloud.contested) == (None, ("contoso.example",))
    assert "contoso.example is sent to nobody: several enabled" in cloud.note
    assert (both.eas_host, both.contested) == ("outlook.office365.com", ("contoso.example",))
    ours, _, taken = relationship_lines(
        (RELATIONSHIP, other), replace(POLICY, relationships=(written,))
    )
    assert ours.eas_host == "outlook.office365.com"
    assert (taken.eas_host, taken.contested) == (None, ("contoso.example",))
    assert "the configuration's relationship decides for b.example" in taken.note
    four = tuple(f"{name}.example" for name in "dcab")
    many = tuple(replace(RELATIONSHIP, name=name, domain_names=four) for name in "AB")
    note = relationship_lines(many, POLICY)[0].note
    assert "a.example, b.example, c.example and 1 more is sent to nobody" in note
    disabled = replace(other, enabled=False)
    assert relationship_lines((RELATIONSHIP, disabled), POLICY)[0].contested == ()


@pytest.mark.parametrize(
    ("ends_s", "refused", "text", "since_s", "grave"),
    [
        (NOW_S + 100 * DAY_S, None, None, None, False),
        (NOW_S + 20 * DAY_S, None, "it ends on", NOW_S - DAY_S, False),
        (NOW_S + SOON_DAYS * DAY_S, None, "it ends on", NOW_S, False),
        (NOW_S + SOON_DAYS * DAY_S + 1, None, None, None, False),
        (NOW_S, None, "it ended on", NOW_S, True),
        (NOW_S - 1, None, "it ended on", NOW_S - 1, True),
        (
            NOW_S + 100 * DAY_S,
            "the old certificates stay: x",
            "the old certificates stay",
            NOW_S,
            True,
        ),
        (None, "the old certificates stay: x", "the old certificates stay", NOW_S, True),
    ],
    ids=["good", "soon", "now soon", "not yet", "now", "ended", "renewal refused", "of no file"],
)
async def test_certificates(
    monitor: Monitor,
    ends_s: float | None,
    refused: str | None,
    text: str | None,
    since_s: float | None,
    grave: bool,
) -> None:
    ends = None if ends_s is None else datetime.fromtimestamp(ends_s, UTC)
    monitor._proxy = ProxyFacts(front_expires=lambda: ends, front_refused=lambda: refused)
    monitor._clock = lambda: NOW_S
    [line] = monitor.status().certificates
    assert (line.whose, line.ends_s, line.grave) == ("phones", ends_s, grave)
    assert (line.error is None) == (text is None)
    if line.error is not None:
        assert line.error.text.startswith(text or "")
        assert line.error.since_s == since_s


async def test_it_follows_the_configuration_and_keeps_a_good_address(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    await monitor.follow()
    first = monitor.port
    assert first == parse_listen(str(monitor._service.config.metrics.listen)).port
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    wanted = f"127.0.0.1:{port}"
    monitor._proxy = ProxyFacts(listen=lambda: wanted)
    await monitor.follow()
    assert monitor.port == first
    assert "cannot serve metrics" in caplog.text
    taken.close()
    wanted = f"127.0.0.1:{free_port()}"
    await monitor.follow()
    assert str(monitor.port) == wanted.partition(":")[2]
    wanted = "off"
    await monitor.follow()
    assert monitor.port == 0
