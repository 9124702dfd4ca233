"""What a running service shows: relationships with their hosts, trouble, the configuration."""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from eas_redirect.certificates.front import SOON_DAYS
from eas_redirect.certificates.trouble import Peer
from eas_redirect.configuration.config import load_config
from eas_redirect.directory.adoption import HeldBack
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import (
    CacheSettings,
    OrganizationRelationship,
    RelationshipsAnswer,
)
from eas_redirect.judging.wait_watch import WaitStatistics
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.reasons import Reason, title
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
from eas_redirect.service.upstream import Answered, NoAnswer, UpstreamOutcome
from eas_redirect.service.watching import Reloader, Watcher
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import Record, account_id
from eas_redirect.telemetry.status import CertificateLine, ErrorLine, RelationshipLine
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
    (tmp_path / "one").touch()
    assert open_descriptors(tmp_path) == tmp_path.stat().st_size, "and newer ones need one call"
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


def test_a_relationship_line_says_what_the_relationship_says() -> None:
    policy = replace(POLICY, allowed_hosts=("*.fabrikam.example",))
    written = replace(
        RELATIONSHIP, source="configuration", target_owa_url="https://mail.fabrikam.example/owa"
    )
    line = RelationshipLine(
        name="Cloud",
        domain_names=("contoso.example",),
        target_owa_url="https://mail.fabrikam.example/owa",
        eas_host="mail.fabrikam.example",
    )
    ours = replace(line, source="configuration", note="from the configuration")
    off = replace(line, eas_host=None, enabled=False, note="disabled")
    for relationship, expected in (
        (written, ours),
        (replace(written, source="directory"), line),
        (replace(written, source="directory", enabled=False), off),
    ):
        assert relationship_line(relationship, policy) == expected


async def test_status(monitor: Monitor) -> None:
    await monitor._look()
    status = monitor.status()
    assert status.directory.state == "answering"
    assert status.directory.source == "snapshot"
    assert status.directory.age_s is not None
    assert status.started_s == 1000.0
    assert status.configuration.meant == monitor._service.meant != ""
    assert status.configuration.loaded_s == 1000.0
    assert status.configuration.path.endswith("eas-redirect.toml")
    assert "outlook.office365.com" in {line.eas_host for line in status.relationships}


async def test_what_only_the_proxy_or_the_service_knows_becomes_a_metric(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.fromtimestamp(NOW_S, UTC)
    proxy = ProxyFacts(
        engine_parts=lambda: [("mitmproxy", "reader", "replaced")],
        front_expires=lambda: ends,
        open_exchanges=lambda: 5,
        open_waits=lambda: 3,
        questions_refused=lambda: 2,
        watched_waits=lambda: WaitStatistics(watched=4),
    )
    monkeypatch.setattr("eas_redirect.service.monitor.lost_of_log", lambda: 7)
    made = Monitor(monitor._service, proxy)
    made.upstream.shown(ends)
    gauges = made.metrics.gauges
    assert list(gauges.engine_parts()) == [("mitmproxy", "reader", "replaced")]
    assert gauges.certificates() == {"phones": NOW_S, "exchange": NOW_S}
    counts = (gauges.open_exchanges(), gauges.open_waits(), gauges.questions_refused())
    assert counts == (5, 3, 2)
    assert gauges.watched_waits() == WaitStatistics(watched=4)
    assert gauges.cache().age_s is not None
    assert gauges.log_lost() == 7


async def test_who_waits_is_named_as_the_journal_names_people(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor._proxy = ProxyFacts(waiting_accounts=lambda: {"CN=anna": 2})
    anna = account_id("CN=anna")
    hashed = Redaction(users="hash", key=b"key")
    for redaction, waits in (
        (Redaction(users="clear"), {anna: 2}),
        (hashed, {hashed.name(anna): 2}),
        (Redaction(users="drop"), {}),
    ):
        monkeypatch.setattr(monitor._service._journal, "redaction", redaction)
        assert monitor._waits() == waits


async def test_a_proxy_without_one_upstream_asks_nobody_and_that_is_no_failure() -> None:
    assert await ProxyFacts().ask(1.0) == Answered(status=0)


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
    fresh = CachedDirectory(HeldBack(lambda: None), CacheSettings())
    records: list[Record] = []
    service.sinks.append(records.append)
    monitor = Monitor(service, ProxyFacts(config_path=lambda: str(path)))
    try:
        service.start()
        await service.judge.directory.relationships()
        await monitor._look()
        status = monitor.status()
        service.judge = replace(service.judge, directory=fresh)
        unread = monitor.status().directory.state
    finally:
        monitor.close()
        service.close()
    assert status.checks["directory"] == "blind"
    assert not status.ready
    assert unread == "unknown", "before it has been read, nothing is known of it"
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
    service.record(replace(REDIRECT, directory_cache="hit"))
    assert monitor.status().directory.server == "dc2", "until another one answers"
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
    assert monitor.status().directory.error == ErrorLine(text=file.problem, since_s=1000.0)
    assert monitor.status().directory.problem == file.problem, "which somebody can mend here"
    file.problem = None
    assert gauge() is True
    assert monitor.status().directory.problem == DOWN.message


async def test_when_a_snapshot_fell_out_of_force_and_a_configuration_came_into_it(
    monitor: Monitor,
) -> None:
    """As of its record, not of whoever looks at a page later. What lasts is shown before what is
    over, though that began later."""
    file = monitor._service.snapshot
    assert file is not None
    file.problem = "forest.ldif: it is cut off"
    tried = Record(timestamp_s=5.0, action="eas.config", message="x", outcome="failure")
    monitor._service.record(tried)
    monitor._service.record(replace(DOWN, timestamp_s=8.0))
    monitor._service.record(replace(DOWN, timestamp_s=9.0, directory_change="recovered"))
    status = monitor.status()
    assert status.directory.error == ErrorLine(text=file.problem, since_s=5.0)
    assert status.configuration.loaded_s == 1000.0
    file.problem = None
    monitor._service.record(replace(tried, timestamp_s=12.0, outcome="success"))
    status = monitor.status()
    assert status.configuration.loaded_s == monitor.metrics.gauges.configuration_loaded_s() == 12.0
    over = ErrorLine(text=DOWN.message, since_s=8.0, until_s=9.0)
    assert status.directory.error == over, "the one that began last"


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
    fewer = RelationshipsAnswer(relationships=(RELATIONSHIP,), source="snapshot")
    monkeypatch.setattr(CachedDirectory, "relationships", AsyncMock(return_value=fewer))
    await monitor._look()
    assert counted[2:] == [1]


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


def test_it_may_be_closed_after_its_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the task ends with the loop
    service = Service(load_config(write_config(tmp_path)), journalled=False)
    monitor = Monitor(service, ProxyFacts())
    monkeypatch.setattr(monitor, "follow", asyncio.Event().wait)

    async def begin() -> None:
        service.record(Record(timestamp_s=5.0, action="eas.config", message="", outcome="success"))
        await asyncio.sleep(0)

    loop.run_until_complete(begin())
    loop.close()
    monitor.close()
    service.close()


async def test_before_a_page_is_shown_exchange_is_asked(tmp_path: Path) -> None:
    async def answers(_timeout_s: float) -> UpstreamOutcome:
        return Answered(status=401)

    service = Service(load_config(write_config(tmp_path)), journalled=False)
    peer = Peer(host="127.0.0.1", port=1, tls=True)
    monitor = Monitor(service, ProxyFacts(peer=lambda: peer, ask=answers))
    assert not monitor.status().upstream.reachable
    await monitor._look()
    assert monitor.status().upstream.reachable
    monitor.close()
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
    assert taken.note.startswith("host map: outlook.com; contoso.example is sent to nobody: ")
    only_taken = replace(RELATIONSHIP, name="Theirs", domain_names=("a.example", "b.example"))
    theirs = relationship_lines((only_taken,), replace(POLICY, relationships=(written,)))[1]
    assert theirs.eas_host == "outlook.office365.com", "for a.example"
    assert theirs.note.endswith("; the configuration's relationship decides for b.example")
    vague = replace(only_taken, domain_names=("b.example",), domains_unknown="1,500 values")
    assert relationship_lines((only_taken, vague), POLICY)[0].note.split("; ") == [
        "host map: outlook.com",
        f"a.example is sent to nobody: {title(Reason.DIRECTORY_UNAVAILABLE)}",
        f"b.example is sent to nobody: {title(Reason.RELATIONSHIP_AMBIGUOUS)}",
    ]
    three = tuple(replace(RELATIONSHIP, name=n, domain_names=("a", "b", "c")) for n in "AB")
    assert "a, b, c are sent to nobody: " in relationship_lines(three, POLICY)[0].note
    four = tuple(f"{name}.example" for name in "dcab")
    many = tuple(replace(RELATIONSHIP, name=name, domain_names=four) for name in "AB")
    note = relationship_lines(many, POLICY)[0].note
    assert "a.example, b.example, c.example and 1 more are sent to nobody" in note
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
        (NOW_S - 1, "the old certificates stay: x", "it ended on", NOW_S - 1, True),
        (
            NOW_S + 100 * DAY_S,
            "the old certificates stay: x",
            "the old certificates stay",
            NOW_S,
            True,
        ),
        (None, "the old certificates stay: x", "the old certificates stay", NOW_S, True),
    ],
    ids=[
        "good",
        "soon",
        "now soon",
        "not yet",
        "now",
        "ended",
        "ended and refused",
        "renewal refused",
        "of no file",
    ],
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


async def test_a_renewal_that_is_mended_is_refused_no_more(monitor: Monitor) -> None:
    refused: list[str | None] = ["the old certificates stay: x", None]
    end = datetime.fromtimestamp(NOW_S + 100 * DAY_S, UTC)
    monitor._proxy = ProxyFacts(front_expires=lambda: end, front_refused=lambda: refused[0])
    monitor._clock = lambda: NOW_S
    assert monitor.status().certificates[0].grave
    del refused[0]
    good = CertificateLine(whose="phones", ends_s=end.timestamp())
    assert monitor.status().certificates == (good,)


async def test_it_follows_the_configuration_and_keeps_a_good_address(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    assert await monitor.follow() is True
    first = monitor.port
    assert first == parse_listen(str(monitor._service.config.metrics.listen)).port
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    wanted = f"127.0.0.1:{port}"
    monitor._proxy = ProxyFacts(listen=lambda: wanted)
    assert await monitor.follow() is False
    assert monitor.port == first
    assert f"cannot serve metrics at {wanted}: Address already in use; choose" in caplog.text
    taken.close()
    wanted = f"127.0.0.1:{free_port()}"
    assert await monitor.follow() is True
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", first)
    assert str(monitor.port) == wanted.partition(":")[2]
    wanted = "off"
    await monitor.follow()
    assert monitor.port == 0
