"""What a running service shows: relationships with their hosts, trouble, the configuration."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.service.monitor import (
    Descriptors,
    Monitor,
    ProxyFacts,
    limit,
    open_descriptors,
    relationship_line,
    relationship_lines,
)
from eas_redirect.service.service import Service
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
    for now_s, count, short in ((0.5, 10, True), (1.5, 990, True), (3.0, 980, False)):
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
    assert limit() > 2


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
    service.record(
        Record(
            timestamp_s=1.0,
            action="eas.directory",
            message="dc1 does not answer",
            directory_change="unavailable",
        )
    )
    assert monitor.status().directory.problem == "dc1 does not answer"
    assert monitor.status().directory.state == "stale"
    service.record(replace(REDIRECT, directory_cache="miss", directory_server="dc2"))
    assert monitor.status().directory.problem is None
    assert monitor.status().directory.server == "dc2"
    assert monitor.status().directory.state == "answering"


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
    ("ends_s", "refused", "text", "grave"),
    [
        (NOW_S + 100 * 86400, None, None, False),
        (NOW_S + 20 * 86400, None, "it ends on", False),
        (NOW_S - 1, None, "it ended on", True),
        (NOW_S + 100 * 86400, "the old certificates stay: x", "the old certificates stay", True),
        (None, "the old certificates stay: x", "the old certificates stay", True),
    ],
    ids=["good", "soon", "ended", "renewal refused", "of no file"],
)
async def test_certificates(
    monitor: Monitor, ends_s: float | None, refused: str | None, text: str | None, grave: bool
) -> None:
    ends = None if ends_s is None else datetime.fromtimestamp(ends_s, UTC)
    monitor._proxy = ProxyFacts(front_expires=lambda: ends, front_refused=lambda: refused)
    monitor._clock = lambda: NOW_S
    [line] = monitor.status().certificates
    assert (line.whose, line.ends_s, line.grave) == ("phones", ends_s, grave)
    assert (line.error is None) == (text is None)
    assert text is None or (line.error is not None and line.error.text.startswith(text))


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
