"""A service that follows its files: adopted at once, or not at all, and journalled either way."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.activesync.authorization import Logon
from eas_redirect.configuration.config import load_config
from eas_redirect.directory.adoption import accept
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import (
    CacheSettings,
    DirectoryAnswer,
    MovedAnswer,
    NotFound,
    RelationshipsAnswer,
    Watched,
)
from eas_redirect.judging.explanation import AskedDevice, explain_user
from eas_redirect.service import service as service_module
from eas_redirect.service import watching
from eas_redirect.service.service import Service
from eas_redirect.service.watching import Reloader, Watcher
from eas_redirect.telemetry.record import Record
from tests.service.test_watching_reload import hurrying, write
from tests.support import DATA

CONFIG = """\
mode = "enforce"
[directory]
snapshot = "forest.ldif"
[redirect.only]
users_file = "pilot.txt"
"""


class Bench:
    def __init__(self, directory: Path, *, half: bool = False) -> None:
        self.directory = directory
        shutil.copy2(DATA / "migration.ldif", directory / "forest.ldif")
        if half:
            text = (directory / "forest.ldif").read_text("utf-8")
            (directory / "forest.ldif").write_text(text[: len(text) // 2], "utf-8")
        (directory / "pilot.txt").write_text("bert\n")
        self.config = directory / "eas-redirect.toml"
        self.config.write_text(CONFIG)
        config = load_config(self.config)
        self.service = Service(config)
        self.records: list[Record] = []
        self.service.sinks.append(self.records.append)
        self.watcher = Watcher(self.service, Reloader(self.config, config, {}, hurrying()))

    async def look(self) -> list[Record]:
        """A change counts at the second look."""
        before = len(self.records)
        for _ in range(3):
            await self.watcher.look()
        return self.records[before:]

    def export(self, text: str) -> None:
        """Write a snapshot as an export does that writes beside it, and has stood still since."""
        write(self.directory / "forest.ldif", text)
        long_ago = time.time() - 60
        os.utime(self.directory / "forest.ldif", (long_ago, long_ago))

    async def reason(self, user: str) -> str:
        explanation = await explain_user(self.service.judge, user, AskedDevice())
        assert explanation is not None
        return str(explanation.judgement.verdict.reason)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.watcher.close()
    made.service.close()


async def test_a_wave_grows_with_its_file(bench: Bench) -> None:
    assert await bench.reason("anna") == "not_in_wave"
    directory = bench.service.judge.directory
    write(bench.directory / "pilot.txt", "anna\n")
    [record] = await bench.look()
    assert (record.action, record.outcome, record.level) == ("eas.config", "success", "info")
    assert "pilot.txt" in record.message
    assert await bench.reason("anna") == "mailbox_moved"
    assert bench.service.judge.directory is directory, "the cache lives on"


async def test_names_that_hardly_are_logons_are_told_with_their_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    write(bench.directory / "pilot.txt", "anna\nAnna Moved\n")
    await bench.look()
    told = f"redirect.only.users_file: {bench.directory}/pilot.txt:2: Anna Moved holds a blank"
    assert caplog.text.count(told) == 1
    assert await bench.reason("anna") == "mailbox_moved", "they are no reason to refuse the file"


async def test_a_bad_file_keeps_the_last_good_configuration(bench: Bench) -> None:
    old = bench.service.judge
    write(bench.config, CONFIG + "[proxy]\nworkers = 'two'\n")
    [record] = await bench.look()
    assert (record.outcome, record.error_type) == ("failure", "configuration")
    assert "proxy.workers: must be a whole number" in (record.error_message or "")
    assert "nobody is redirected" not in (record.error_message or "")
    assert bench.service.judge is old
    assert await bench.look() == []

    write(bench.config, CONFIG.replace("enforce", "observe"))
    [record] = await bench.look()
    assert record.outcome == "success"
    assert bench.service.judge.mode == "observe"


async def test_a_file_that_asks_for_observe_mode_stops_redirects_whatever_else_is_in_it(
    bench: Bench,
) -> None:
    good = bench.config.read_text()
    faults = ("[proxy]\nworkers = 'two'\n", "[proxy\n", "[redirect.hosts]\na = [\n")
    for fault in faults:
        write(bench.config, CONFIG.replace("enforce", "observe") + fault)
        [record] = await bench.look()
        assert (record.outcome, record.mode) == ("failure", "observe")
        assert (bench.service.judge.mode, bench.service.config.mode) == ("observe", "observe")
        # To say enforce again takes a file that can be used.
        write(bench.config, good + fault)
        [record] = await bench.look()
        assert (record.outcome, record.mode) == ("failure", "observe")
        write(bench.config, good)
        [record] = await bench.look()
        assert (record.outcome, record.mode) == ("success", "enforce")
        assert bench.service.meant.startswith("enforce")


async def test_a_users_file_that_is_gone_does_not_keep_observe_mode_from_coming(
    bench: Bench,
) -> None:
    (bench.directory / "pilot.txt").unlink()
    write(bench.config, CONFIG.replace("enforce", "observe"))
    await bench.look()
    assert bench.service.judge.mode == "observe"
    assert await bench.reason("bert") != "directory_unavailable"


async def test_a_key_that_is_gone_does_not_keep_observe_mode_from_coming(bench: Bench) -> None:
    keyed = CONFIG + '[journal]\nusers = "hash"\nhash_key_file = "key"\n'
    write(bench.directory / "key", "secret\n")
    write(bench.config, keyed)
    [record] = await bench.look()
    assert (record.outcome, record.mode) == ("success", "enforce")
    (bench.directory / "key").unlink()
    write(bench.config, keyed.replace("enforce", "observe"))
    [record] = await bench.look()
    assert (record.outcome, record.mode) == ("failure", "observe")
    assert "journal.hash_key_file" in (record.error_message or "")
    assert (bench.service.refusals.now or "").startswith("nobody is redirected until the file")
    assert bench.service.judge.mode == "observe"


async def test_what_counts_from_the_next_start_on_is_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    more = '[proxy]\nlisten = "8445"\nworkers = 2\nstop_timeout_s = 3\n'
    write(bench.config, CONFIG + more)
    [record] = await bench.look()
    assert record.outcome == "success"
    assert "from the next start on: proxy.listen, proxy.workers" in caplog.text
    caplog.clear()
    write(bench.config, CONFIG.replace("enforce", "observe") + more)
    await bench.look()
    assert "next start" not in caplog.text


async def test_a_brake_in_a_refused_file_holds_until_a_file_can_be_used(bench: Bench) -> None:
    fault = "[proxy]\nworkers = 'two'\n"
    assert bench.service.judge.mode == "enforce"
    write(bench.config, f'{CONFIG}[redirect.except]\nusers = ["bert"]\n{fault}')
    [record] = await bench.look()
    assert (record.outcome, record.mode, bench.service.judge.mode) == (
        ("failure", "observe", "observe")
    )
    why = "nobody is redirected until the file can be used: its redirect.only or redirect.except"
    assert (record.error_message or "").startswith(why)
    assert "proxy.workers: must be" in (record.error_message or "")
    assert bench.service.meant.startswith("observe")
    assert (bench.service.refusals.now or "").startswith(why)

    write(bench.config, f"{CONFIG}{fault}")  # it asks for no brake any more, and is refused still
    [record] = await bench.look()
    assert (record.outcome, bench.service.judge.mode) == ("failure", "observe")
    assert (bench.service.refusals.now or "").startswith(why)

    write(bench.config, CONFIG)
    [record] = await bench.look()
    assert (record.outcome, record.mode, bench.service.judge.mode) == (
        ("success", "enforce", "enforce")
    )
    assert bench.service.refusals.now is None
    write(bench.config, CONFIG + fault)
    [record] = await bench.look()
    assert "nobody is redirected" not in (record.error_message or "")


async def test_a_brake_in_a_file_that_fails_only_when_it_is_prepared(bench: Bench) -> None:
    """Good by itself, and its journal cannot be written."""
    write(
        bench.config, f'{CONFIG}[redirect.except]\nusers = ["x"]\n[journal]\npath = "/dev/full/x"\n'
    )
    [record] = await bench.look()
    assert (record.outcome, bench.service.judge.mode) == ("failure", "observe")


async def test_a_snapshot_that_is_none_is_no_reason_to_leave_the_one_in_force(
    bench: Bench,
) -> None:
    old = bench.service.judge
    other = bench.directory / "other.ldif"
    other.write_text("this is no LDIF\n")
    os.utime(other, (1, 1))  # it has stood still
    write(bench.config, CONFIG.replace("forest.ldif", "other.ldif"))
    [record] = await bench.look()
    assert record.outcome == "failure"
    assert (record.error_message or "").startswith(str(other))
    assert bench.service.judge is old


async def test_a_brake_that_cannot_be_looked_for_counts_as_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(watching, "brake", fails)
    write(bench.config, f"{CONFIG}[proxy]\nworkers = 'two'\n")
    [record] = await bench.look()
    assert (record.outcome, bench.service.judge.mode) == ("failure", "observe")
    assert "an internal error (RecursionError)" in (record.error_message or "")
    write(bench.config, CONFIG)
    await bench.look()
    assert bench.service.judge.mode == "enforce", "a good file has said all that it says"


async def test_a_bug_while_a_file_is_taken_does_not_hide_its_brake(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no more threads")

    good = bench.config.read_text()
    observing = CONFIG.replace("enforce", "observe")
    for module, name, harm, tracebacks in (
        (watching, "load_config", "keeps the file from being read", 1),
        (service_module, "ask_names", "keeps the configuration from being adopted", 2),
    ):
        for text, mode in ((f"# the same\n{good}", "enforce"), (observing, "observe")):
            with monkeypatch.context() as broken:
                broken.setattr(module, name, fails)
                write(bench.config, text)
                [record] = await bench.look()
                assert await bench.look() == []
            assert (record.outcome, bench.service.judge.mode) == ("failure", mode)
            problem = f"an internal error (RuntimeError) {harm}; see the log"
            assert problem in (record.error_message or "")
            assert problem in (bench.service.refusals.now or "")
        assert caplog.text.count("RuntimeError: no more threads") == tracebacks
        caplog.clear()
        write(bench.config, good)
        [record] = await bench.look()
        assert (record.outcome, bench.service.judge.mode) == ("success", "enforce")


async def test_a_file_of_users_that_is_emptied_or_gone_stops_and_its_return_goes_on(
    bench: Bench,
) -> None:
    pilot = bench.directory / "pilot.txt"
    for gone in (False, True):
        write(pilot, "")
        if gone:
            pilot.unlink()
        await bench.look()
        assert bench.service.meant.startswith("observe")
        write(pilot, "bert\n")
        await bench.look()
        assert bench.service.meant.startswith("enforce")


async def test_a_file_that_is_gone_says_nothing(bench: Bench) -> None:
    bench.config.unlink()
    [record] = await bench.look()
    assert (record.outcome, bench.service.judge.mode) == ("failure", "enforce")


async def test_what_is_in_flight_keeps_what_it_began_with(bench: Bench) -> None:
    write(bench.directory / "pilot.txt", "anna\n")
    old = bench.service.judge
    await bench.look()
    write(bench.config, CONFIG.replace("enforce", "observe"))
    await bench.look()
    explanation = await explain_user(old, "anna", AskedDevice())
    assert explanation is not None
    assert explanation.judgement.decision == "pass"
    assert str(explanation.judgement.verdict.reason) == "not_in_wave"


async def test_a_new_snapshot_is_asked(bench: Bench) -> None:
    write(bench.directory / "pilot.txt", "anna\n")
    await bench.look()
    forest = bench.directory / "forest.ldif"
    text = forest.read_text(encoding="utf-8").replace("sAMAccountName: anna", "sAMAccountName: a")
    bench.export(text.replace("anna@contoso.example", "a@contoso.example"))
    records = await bench.look()
    assert [r.outcome for r in records if r.action == "eas.config"] == ["success"]
    assert await bench.reason("anna") == "recipient_not_found"


async def test_a_snapshot_that_is_none_changes_nothing(bench: Bench) -> None:
    bench.export("this is no LDIF\n")
    [record] = await bench.look()
    assert record.outcome == "failure"
    assert "forest.ldif" in (record.error_message or "")
    assert await bench.reason("bert") == "recipient_has_mailbox"
    bench.export((DATA / "migration.ldif").read_text("utf-8"))
    assert [record.outcome for record in await bench.look()] == ["success"]


async def test_a_snapshot_that_has_lost_much_is_held_back_and_accepted(bench: Bench) -> None:
    write(bench.directory / "pilot.txt", "anna\n")
    await bench.look()
    whole = (DATA / "migration.ldif").read_text("utf-8")
    without = whole.replace("msExchFedSharingRelationship", "device")
    without = without.replace("msExchFedDomainNames", "description")
    bench.export(without)
    [record] = await bench.look()
    assert record.outcome == "failure"
    assert "it has lost the relationship" in (record.error_message or "")
    assert await bench.reason("anna") == "mailbox_moved", "the one before it stays in force"
    assert await bench.look() == [], "said once"
    accept(bench.directory / "forest.ldif")
    [record] = [r for r in await bench.look() if r.action == "eas.config"]
    assert record.outcome == "success"
    assert await bench.reason("anna") == "no_relationship"


async def test_a_start_with_a_half_written_snapshot_looks_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Bench(tmp_path, half=True)
    assert "until then nobody is looked up" in caplog.text
    write(made.directory / "pilot.txt", "anna\n")
    assert await made.reason("anna") == "directory_unavailable"
    assert "failure" in [record.outcome for record in await made.look()]
    made.export((DATA / "migration.ldif").read_text("utf-8"))
    await made.look()
    assert await made.reason("anna") == "mailbox_moved"
    made.watcher.close()
    made.service.close()


async def test_the_mode_changes_while_a_snapshot_is_held_back(bench: Bench) -> None:
    bench.export("dn: CN=cut off")
    await bench.look()
    write(bench.config, CONFIG.replace("enforce", "observe"))
    assert "success" in [record.outcome for record in await bench.look()]
    assert bench.service.judge.mode == "observe"


async def test_a_journal_that_cannot_be_opened_changes_nothing(bench: Bench) -> None:
    old = bench.service.judge
    write(bench.config, CONFIG + '[journal]\npath = "no/journal.jsonl"\n')
    [record] = await bench.look()
    assert record.outcome == "failure"
    assert bench.service.judge is old
    assert bench.service.flush()
    journal = (bench.directory / "eas-journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(journal[-1])["event"]["action"] == "eas.config"


async def test_another_journal(bench: Bench) -> None:
    write(bench.config, CONFIG + '[journal]\npath = "second.jsonl"\n')
    [record] = await bench.look()
    assert record.outcome == "success"
    assert bench.service.flush()
    [line] = (bench.directory / "second.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["eas"]["mode"] == "enforce"


async def test_asked_for_it_reads_unchanged_files(bench: Bench) -> None:
    await bench.watcher.reload()
    assert [record.outcome for record in bench.records] == ["success"]


async def test_asked_for_it_reads_a_new_snapshot(bench: Bench) -> None:
    bench.export((DATA / "migration.ldif").read_text("utf-8").replace("Bert", "Bertram"))
    before = bench.service.judge.directory
    await bench.watcher.reload()
    assert bench.service.judge.directory is not before


def test_it_may_be_closed_after_its_event_loop(bench: Bench) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the task ends with the loop

    async def begin() -> None:
        bench.watcher.start()
        await asyncio.sleep(0)

    loop.run_until_complete(begin())
    loop.close()
    bench.watcher.close()


async def test_it_looks_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.01)
    seen = asyncio.Event()
    bench.service.sinks.append(lambda _: seen.set())
    bench.watcher.start()
    write(bench.directory / "pilot.txt", "anna\n")
    async with asyncio.timeout(20):
        await seen.wait()
    assert await bench.reason("anna") == "mailbox_moved"


async def test_a_fault_of_ours_does_not_end_the_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.01)
    ticks, enough = 0, asyncio.Event()

    async def broken() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 1:
            raise RuntimeError("broken")
        enough.set()

    monkeypatch.setattr(bench.watcher, "tick", broken)
    running = [bench.watcher.running]
    bench.watcher.start()
    running.append(bench.watcher.running)
    assert running == [False, True]
    async with asyncio.timeout(20):
        await enough.wait()
    assert "could not be looked at" in caplog.text
    bench.watcher.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_fault_says_nothing_of_redirects_where_there_are_none(bench: Bench) -> None:
    observing = CONFIG.replace("enforce", "observe")
    write(bench.config, observing)
    await bench.look()
    write(bench.config, observing + "[proxy]\nworkers = 'two'\n")
    [record] = await bench.look()
    assert record.outcome == "failure"
    assert "nobody is redirected" not in (record.error_message or "")


async def test_devices_fall_quiet_by_mere_time(bench: Bench) -> None:
    long_ago = time.time() - 7200
    redirected = Record(
        timestamp_s=long_ago,
        action="eas.redirect",
        message="",
        user_name="anna",
        device_id="A",
        decision="redirect",
    )
    bench.service.exchange(redirected)
    await bench.watcher.tick()
    states = [r.ledger_state for r in bench.records if r.action == "eas.ledger"]
    assert states == ["seen", "redirected", "quiet"]


class Slow:
    """A directory whose one answer takes until it is let go; closed, it answers nobody."""

    source: DirectorySource = "ldap"

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.closed = False

    async def recipient(self, logon: Logon) -> DirectoryAnswer:  # noqa: ARG002 - the protocol's
        await self.let_go.wait()
        assert not self.closed
        return DirectoryAnswer(lookup=NotFound(), source=self.source)

    def meant_by(self, name: str) -> NotFound:  # noqa: ARG002 - the protocol's
        return NotFound()

    async def relationships(self) -> RelationshipsAnswer:
        return RelationshipsAnswer(relationships=(), source=self.source)

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:  # noqa: ARG002 - the protocol's
        return MovedAnswer(moved=(), source=self.source)

    def close(self) -> None:
        self.closed = True


async def test_a_reload_lets_look_ups_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for an answer gets it, and then the old directory is closed."""
    slow, service = Slow(), bench.service
    snapshot = service.judge.directory._directory
    assert isinstance(snapshot, Snapshot)
    monkeypatch.setattr("eas_redirect.service.service.GRACE_S", 0.0)
    directory = CachedDirectory(slow, CacheSettings())
    service.judge = replace(service.judge, directory=directory, lookup_timeout_s=0.1)
    logon = Logon(text="anna", user="anna", domain=None, format="bare")
    waiting = asyncio.create_task(directory.recipient(logon, fresh=False))
    await asyncio.sleep(0)
    service.adopt_snapshot(snapshot, service.judge.policy)
    await asyncio.sleep(0)
    assert not slow.closed
    slow.let_go.set()
    assert isinstance((await waiting).lookup, NotFound)
    await asyncio.sleep(0.2)
    assert slow.closed
