"""A service as a whole: what a reload keeps and replaces, what is closed when, what it says."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eas_redirect.activesync.authorization import Logon
from eas_redirect.configuration.config import ConfigError, load_config
from eas_redirect.configuration.sources import PREFIX
from eas_redirect.directory.adoption import SETTLE_S, SIBLINGS
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Ambiguous, Drift, Found, Lookup, Unavailable
from eas_redirect.judging.judge import GRACE_S
from eas_redirect.policy.reasons import Reason
from eas_redirect.service import service as room
from eas_redirect.service.service import RETRY_S, Service
from eas_redirect.telemetry.clients import client_families
from eas_redirect.telemetry.journal import Journals, Redaction
from eas_redirect.telemetry.record import Record
from tests.directory.fakes import FakeDirectory, moved
from tests.support import DATA

SERVERS = """\
mode = "enforce"
[exchange]
default_domain = "contoso"
host_names = ["mail.contoso.example"]
[directory]
servers = ["ldaps://dc1.contoso.example", "ldaps://dc2.contoso.example"]
bind = "anonymous"
lookup_timeout_s = 4
[cache]
found_s = 60
relationships_s = 3600
[journal]
exchanges = "all"
"""
EXCEPT = '[redirect.except]\nusers = ["anna"]\n'


class Kept(Journals):
    """Journals that remember how they were closed: whether somebody waited."""

    def __init__(self, path: str | None, iis_path: str | None, redaction: Redaction) -> None:
        self.closes: list[bool] = []
        super().__init__(path, iis_path, redaction)

    def close(self, *, wait: bool = True) -> None:
        self.closes.append(wait)
        super().close(wait=wait)


class Parts:
    """What services of this test have opened, in order, and what the directories answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "eas-redirect.toml"
        self.directories: list[FakeDirectory] = []
        self.journals: list[Kept] = []
        self.answer: Lookup = moved()
        monkeypatch.setattr(room, "open_directory", self._directory)
        monkeypatch.setattr(room, "Journals", self._journals)

    def _directory(self, *_: object) -> FakeDirectory:
        made = FakeDirectory()
        made.lookup = self.answer
        self.directories.append(made)
        return made

    def _journals(self, path: str | None, iis_path: str | None, redaction: Redaction) -> Kept:
        made = Kept(path, iis_path, redaction)
        self.journals.append(made)
        return made

    def service(self, text: str = SERVERS, *, journalled: bool = True) -> Service:
        self.file.write_text(text, "utf-8")
        return Service(load_config(self.file, environment={}), journalled=journalled)

    def adopt(self, service: Service, text: str) -> None:
        self.file.write_text(text, "utf-8")
        service.adopt(service.prepare(load_config(self.file, environment={})))

    @property
    def closed(self) -> list[int]:
        return [directory.closed for directory in self.directories]

    @property
    def closes(self) -> list[list[bool]]:
        return [journal.closes for journal in self.journals]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(tmp_path, monkeypatch)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true within 5 s")


# -- a reload -------------------------------------------------------------------------------------


def test_a_reload_replaces_what_has_changed_and_keeps_the_rest(parts: Parts) -> None:
    """The cache, the open journal and the memory of ended waits are worth keeping."""
    rows = (
        ("mail.contoso", "post.contoso", ()),
        ('"enforce"', '"observe"', ("waits",)),
        ('"all"', '"decisions"', ("journal", "waits")),
        ("timeout_s = 4", "timeout_s = 3", ("directory",)),
        ("found_s = 60", "found_s = 61", ("directory",)),
        ('"contoso"', '"fabrikam"', ("directory",)),
    )
    for old, new, replaced in rows:
        parts.directories.clear()
        parts.journals.clear()
        service = parts.service()
        waits, directory = service.ended_waits, service.judge.directory
        parts.adopt(service, SERVERS.replace(old, new))
        same = (
            ("directory", service.judge.directory is directory and len(parts.directories) == 1),
            ("journal", len(parts.journals) == 1),
            ("waits", service.ended_waits is waits),
        )
        assert tuple(name for name, kept in same if not kept) == replaced, new
        assert new.strip('"') in parts.file.read_text("utf-8")
        assert service.config == load_config(parts.file, environment={})
        assert service.judge.mode == service.config.mode
        assert service.judge.lookup_timeout_s == service.config.directory.lookup_timeout_s
        # Phones do not wait for a disk; exchanges under way still ask the old directory.
        assert parts.closes == ([[False], []] if "journal" in replaced else [[]])
        assert not any(parts.closed)
        service.close()
        assert all(parts.closed)
        assert parts.closes[-1] == [True]


def test_a_journal_that_cannot_be_opened_leaves_open_what_is_in_force(parts: Parts) -> None:
    service = parts.service()
    bad = f'{SERVERS}path = "/dev/full/journal"\n'
    for text, closed in ((bad, [0]), (bad.replace("found_s = 60", "found_s = 61"), [0, 1])):
        with pytest.raises(ConfigError, match=r"^journal\.path: /dev/full/journal cannot be wri"):
            parts.adopt(service, text)
        assert parts.closed == closed
        assert parts.closes == [[]]
    service.close()


def test_a_log_that_cannot_be_opened_is_told_by_its_key(parts: Parts, tmp_path: Path) -> None:
    parts.file.write_text(f'{SERVERS}hash_key_file = "key"\n', "utf-8")
    key = tmp_path / "key"
    key.write_text("secret\n", "utf-8")
    keyed = load_config(parts.file, environment={})
    key.unlink()
    with pytest.raises(ConfigError) as caught:
        Service(keyed)
    [problem] = caught.value.problems
    assert problem == f"journal.hash_key_file: {key} cannot be read: No such file or directory"
    for name in ("path", "iis_path"):
        with pytest.raises(ConfigError) as caught:
            parts.service(f'{SERVERS}{name} = "/dev/full/log"\n')
        [problem] = caught.value.problems
        assert problem == f"journal.{name}: /dev/full/log cannot be written: Not a directory"


def test_a_start_that_is_refused_leaves_nothing_open(parts: Parts) -> None:
    parts.answer = Unavailable(error_type="timeout", message="down")
    parts.service(SERVERS + EXCEPT).close()
    parts.answer = FakeDirectory().lookup
    with pytest.raises(ConfigError, match="knows nobody called anna"):
        parts.service(SERVERS + EXCEPT)
    assert (parts.closed, parts.closes) == ([1, 1], [[True], [True]])


async def test_a_directory_of_before_is_closed_when_its_look_ups_have_ended(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, later = asyncio.get_running_loop(), dict[float, Callable[[], object]]()
    really = loop.call_later

    def call_later(
        delay: float, call: Callable[..., object], *given: object, **more: Any
    ) -> asyncio.TimerHandle:
        later[delay] = partial(call, *given)
        return really(delay, call, *given, **more)

    monkeypatch.setattr(loop, "call_later", call_later)
    service = parts.service()
    service.start()
    parts.adopt(service, SERVERS.replace("timeout_s = 4", "timeout_s = 3"))
    first = later.pop(4 + 2 * GRACE_S)
    parts.adopt(service, SERVERS.replace("timeout_s = 4", "timeout_s = 2"))
    second = later.pop(3 + 2 * GRACE_S)
    await until(lambda: parts.directories[2].relationships_asked == 1)
    assert parts.closed == [0, 0, 0]
    first()
    assert parts.closed == [1, 0, 0]
    service.close(wait=False)
    second()
    assert parts.closed == [1, 1, 1], "each once"
    assert parts.closes == [[False]]


async def test_a_retired_directory_reads_no_more_by_itself(parts: Parts) -> None:
    service = parts.service()
    service.start()
    await until(lambda: parts.directories[0].relationships_asked == 1)
    running = len(asyncio.all_tasks())
    parts.adopt(service, SERVERS.replace("found_s = 60", "found_s = 61"))
    await until(lambda: parts.directories[1].relationships_asked == 1)
    assert len(asyncio.all_tasks()) == running
    service.close()


async def test_a_service_that_was_not_started_asks_nothing_by_itself(parts: Parts) -> None:
    service = parts.service()
    parts.adopt(service, SERVERS.replace("found_s = 60", "found_s = 61"))
    await asyncio.sleep(0.02)
    assert [one.relationships_asked for one in parts.directories] == [0, 0]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    service.close()


async def test_a_start_reads_what_later_has_no_descriptor_to_spare(parts: Parts) -> None:
    client_families.cache_clear()
    service = parts.service()
    assert client_families.cache_info().currsize == 0
    service.start()
    assert client_families.cache_info().currsize == 1
    service.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_service_may_be_closed_after_its_loop(parts: Parts) -> None:
    async def start() -> None:
        service.start()
        await asyncio.sleep(0)

    service, loop = parts.service(), asyncio.new_event_loop()
    loop.run_until_complete(start())
    pending = asyncio.all_tasks(loop)
    loop.close()
    service.close()
    assert (parts.closed, parts.closes) == ([1], [[True]])
    assert pending
    for task in pending:  # nobody runs them any more
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    parts.service().close()  # and one that was never started


def test_observe_mode_comes_without_any_file(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n", "utf-8")
    service = parts.service(f'{SERVERS}users = "hash"\nhash_key_file = "key"\n')
    anna = service.redaction.name("anna")
    (tmp_path / "key").unlink()
    service.stop_redirecting()
    assert (service.config.mode, service.judge.mode) == ("observe", "observe")
    assert service.meant.startswith("observe")
    assert service.ended_waits.claim(("a wait",)) == ("end",)
    assert not list(tmp_path.glob("*.ended-waits")), "nothing is really ended"
    assert service.redaction.name("anna") == anna
    service.close()


def test_ended_waits_are_named_with_the_journals_key(parts: Parts, tmp_path: Path) -> None:
    """And the file holds a key of its own where there is none."""
    (tmp_path / "key").write_text("secret\n", "utf-8")
    files = []
    for more in ("", 'hash_key_file = "key"\n', 'hash_key_file = "key"\n'):
        service = parts.service(SERVERS + more)
        assert service.ended_waits.claim(("a wait",)) == ("end",)
        service.close()
        [file] = tmp_path.glob("*.ended-waits")
        files.append(file.read_text("ascii").splitlines()[-1].split()[0])
        file.unlink()
    assert files[0] != files[1] == files[2]


# -- the names of waves ---------------------------------------------------------------------------


async def test_when_names_are_asked_again(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once and then soon while some could not be asked; else with the relationships."""
    down = Unavailable(error_type="timeout", message="down")
    rows = (
        (down, "relationships_s = 3600", [0.0, RETRY_S, RETRY_S]),
        (down, "relationships_s = 7", [0.0, 7.0, 7.0]),
        (moved(), "relationships_s = 3600", [3600.0, 3600.0, 3600.0]),
        (moved(), "relationships_s = 7", [7.0, 7.0, 7.0]),
    )
    really, slept = asyncio.sleep, list[float]()

    async def sleep(seconds: float) -> None:
        """Of the service; the relationships wait a random time."""
        if asyncio.current_task() is service._names:
            slept.append(seconds)
            await really(0 if len(slept) < 4 else 60)
        else:
            await really(60)

    for answer, life, expected in rows:
        for table in (EXCEPT, EXCEPT.replace("except", "only")):
            slept.clear()
            parts.answer = answer
            service = parts.service(SERVERS.replace("relationships_s = 3600", life) + table)
            with monkeypatch.context() as patched:
                patched.setattr(asyncio, "sleep", sleep)
                service.start()
                for _ in range(5000):
                    if len(slept) == 4:
                        break
                    await really(0.001)
            assert slept[:3] == expected, (answer, life, table)
            assert parts.directories[-1].asked["anna"] == 4, "at the start, and after each wait"
            service.close()
            await really(0)


async def test_names_that_a_reload_brings_are_asked_at_once(parts: Parts) -> None:
    """Not with the relationships, an hour later."""
    service = parts.service()
    service.start()
    await until(lambda: parts.directories[0].relationships_asked == 1)
    parts.directories[0].lookup = Unavailable(error_type="timeout", message="down")
    parts.adopt(service, SERVERS + EXCEPT.replace("except", "only"))
    assert service.meant.startswith("enforce for 0 of 1 user")
    parts.directories[0].lookup = moved()
    await until(lambda: service.meant == "enforce for 1 user")
    service.close()


async def test_a_doubt_that_turns_up_later_is_said(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "RETRY_S", 0.01)
    parts.answer = Unavailable(error_type="timeout", message="down")
    service = parts.service(SERVERS + EXCEPT)
    parts.directories[0].lookup = FakeDirectory().lookup  # nobody
    service.start()
    await until(lambda: "the directory knows nobody called anna" in caplog.text)
    service.close()


async def test_a_bug_does_not_end_the_asking_for_names(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "RETRY_S", 0.01)
    caplog.set_level(logging.INFO)
    parts.answer = Unavailable(error_type="timeout", message="down")
    service = parts.service(SERVERS + EXCEPT.replace("except", "only"))
    monkeypatch.setattr(parts.directories[0], "meant_by", None)
    service.start()
    await until(lambda: "the names of waves could not be asked for" in caplog.text)
    monkeypatch.undo()
    parts.directories[0].lookup = moved()
    await until(lambda: service.meant == "enforce for 1 user")
    assert caplog.messages[-1] == "eas-redirect: enforce for 1 user"
    service.close()


def test_a_doubt_is_said_once_while_it_lasts(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    only = '[redirect.only]\nusers = ["anna", "zoe"]\n'
    parts.answer = FakeDirectory().lookup  # nobody
    service = parts.service(SERVERS + only)
    for text, said in (
        (only, 1),
        (only.replace(', "zoe"', ""), 2),
        (only.replace("anna", "carl"), 3),
        ("", 3),
        (only, 4),
    ):
        parts.adopt(service, SERVERS + text)
        assert caplog.text.count("the directory knows nobody called") == said, text
    service.close()


# -- a snapshot -----------------------------------------------------------------------------------


def snapshot_config(folder: Path, text: str, more: str = "") -> Path:
    (folder / "forest.ldif").write_text(text, "utf-8")
    file = folder / "eas-redirect.toml"
    file.write_text(f'mode = "enforce"\n[directory]\nsnapshot = "forest.ldif"\n{more}', "utf-8")
    return file


def aged(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / "forest.ldif", (then, then))


FOREST = (DATA / "migration.ldif").read_text("utf-8")
MALFORMED = "\ndn: CN=Odd,DC=contoso,DC=example\nobjectClass: user\ntargetAddress:: %%%\n\n"


def test_a_start_waits_for_a_file_that_was_written_just_now_and_a_reload_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(snapshot_config(tmp_path, FOREST), environment={})
    aged(tmp_path, SETTLE_S - 0.2)
    service = Service(config)
    assert "nobody is looked up" not in caplog.text
    file = service.snapshot
    assert file is not None
    assert file.problem is None
    slower = config.model_copy(update={"cache": config.cache.model_copy(update={"found_s": 1.0})})
    aged(tmp_path, 0)
    began = time.monotonic()
    service.adopt(service.prepare(slower))
    assert time.monotonic() - began < SETTLE_S / 2
    assert service.snapshot is not file
    assert "until then nobody is looked up" in caplog.text
    assert "forest.ldif: the snapshot is still being written" in caplog.text
    service.close()


async def test_who_asks_while_no_snapshot_is_in_force_is_told_why(tmp_path: Path) -> None:
    config = load_config(snapshot_config(tmp_path, FOREST[: len(FOREST) // 2]), environment={})
    aged(tmp_path, 60)
    service = Service(config)
    logon = Logon(text="anna", user="anna", domain=None, format="bare")
    answer = await service.judge.directory.recipient(logon, fresh=False)
    assert isinstance(answer.lookup, Unavailable)
    assert service.snapshot is not None
    assert answer.lookup.message == service.snapshot.problem
    service.close()


async def test_a_snapshot_is_read_as_the_configuration_says(tmp_path: Path) -> None:
    """A bare name may belong to several domains, unless there is a default."""
    domain = "DC=fabrikam,DC=example"
    second = f"dn: {domain}\nobjectClass: domainDNS\n\ndn: CN=Anna,{domain}\n"
    second += "objectClass: user\nsAMAccountName: anna\n\n"
    logon = Logon(text="anna", user="anna", domain=None, format="bare")
    for more, kind, nobody_here in (
        ("", Ambiguous, False),
        ('[exchange]\ndefault_domain = "contoso.example"\n', Found, False),
        ("no_mailboxes_here = true\n", Ambiguous, True),
    ):
        config = load_config(snapshot_config(tmp_path, FOREST + second, more), environment={})
        aged(tmp_path, 60)
        service = Service(config)
        directory = service.judge.directory
        assert isinstance((await directory.recipient(logon, fresh=False)).lookup, kind), more
        sight = (await directory.relationships()).sight
        assert sight is not None
        assert sight.no_mailboxes_here is nobody_here
        service.close()


def test_workers_of_one_supervisor_share_what_they_know_of_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    config = load_config(snapshot_config(tmp_path, FOREST), environment={})
    aged(tmp_path, 60)
    Service(config).close()
    assert not list(shared.iterdir())
    monkeypatch.setenv(SIBLINGS, str(shared))
    Service(config).close()
    [memory] = shared.iterdir()
    assert json.loads(memory.read_text("utf-8"))["path"] == str(tmp_path / "forest.ldif")


async def test_another_version_of_the_snapshot_is_remarked_on_and_asked_for_its_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    more = '[redirect.only]\nusers = ["bert"]\n'
    config = load_config(snapshot_config(tmp_path, "dn: DC=contoso,DC=example\n\n", more), None, {})
    aged(tmp_path, 60)
    service = Service(config)
    service.start()
    asked = service._names
    assert service.meant.startswith("enforce for 0 of 1 user")
    caplog.clear()
    newer = Snapshot.read(FOREST.encode(), tmp_path / "forest.ldif")
    service.adopt_snapshot(newer, service.told_by(newer))
    assert service.meant == "enforce for 1 user"
    assert service._names is not asked, "those who ask for names begin anew"
    assert asked is not None
    with pytest.raises(asyncio.CancelledError):
        await asked
    without = Snapshot.read(FOREST.replace("bert", "nina").encode(), tmp_path / "forest.ldif")
    service.adopt_snapshot(without, service.told_by(without))
    assert "the directory knows nobody called bert" in caplog.text
    odd = Snapshot.read((FOREST + MALFORMED).encode(), tmp_path / "forest.ldif")
    service.adopt_snapshot(odd, service.told_by(odd))
    assert "1 malformed entries of the snapshot were left out" in caplog.text
    service.close()


def test_a_start_remarks_on_the_snapshot_and_on_servers(
    tmp_path: Path, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(snapshot_config(tmp_path, FOREST + MALFORMED), environment={})
    aged(tmp_path, 60)
    Service(config).close()
    assert "eas-redirect: 1 malformed entries of the snapshot were left out" in caplog.text
    parts.service(SERVERS.replace("bind =", "verify = false\nbind =")).close()
    assert "eas-redirect: directory.verify is false" in caplog.text


# -- what it writes and says ----------------------------------------------------------------------


def record(**facts: str) -> Record:
    base = Record(timestamp_s=time.time(), action="eas.exchange", message="", decision="pass")
    base.reason = str(Reason.OTHER_ANSWER)
    for name, fact in facts.items():
        setattr(base, name, fact)
    return base


def journalled(service: Service, folder: Path) -> list[str]:
    assert service.flush()
    lines = (folder / "eas-journal.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["event"]["action"] for line in lines]


def test_every_exchange_is_told_and_the_journal_may_leave_out_what_was_no_decision(
    parts: Parts, tmp_path: Path
) -> None:
    for exchanges, written in (("all", 2), ("decisions", 1)):
        service = parts.service(SERVERS.replace('"all"', f'"{exchanges}"'))
        told: list[Record] = []
        service.sinks += [told.append, told.append]
        service.exchange(record())
        service.exchange(record(reason=str(Reason.NO_TARGET_ADDRESS)))
        assert len(told) == 4
        assert len(journalled(service, tmp_path)) == written, exchanges
        service.close()
        (tmp_path / "eas-journal.jsonl").unlink()


def test_what_an_exchange_changes_stands_before_its_own_line(parts: Parts, tmp_path: Path) -> None:
    service = parts.service(f'{SERVERS}users = "drop"\n')
    line = service.exchange(
        record(action="eas.redirect", decision="redirect", user_name="anna", device_id="A")
    )
    assert "anna" not in json.dumps(line)
    actions = journalled(service, tmp_path)
    assert (set(actions[:-1]), actions[-1]) == ({"eas.ledger"}, "eas.redirect")
    service.close()


def test_drift_is_journalled_and_logged(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = parts.service()
    told: list[Record] = []
    service.sinks.append(told.append)
    service._drifted(
        (
            Drift(kind="added", message="the relationship Cloud is new", relationship="Cloud"),
            Drift(kind="removed", message="the relationship Old is gone", relationship="Old"),
        )
    )
    levels = [(one.levelname, one.message) for one in caplog.records][-2:]
    assert levels == [
        (told[0].level.upper(), "eas-redirect: the relationship Cloud is new"),
        (told[1].level.upper(), "eas-redirect: the relationship Old is gone"),
    ]
    assert [one.directory_change for one in told] == ["added", "removed"]
    assert abs(told[0].timestamp_s - time.time()) < 60
    service.close()


def test_the_journal_is_opened_again_after_a_rotation(parts: Parts, tmp_path: Path) -> None:
    service = parts.service()
    file = tmp_path / "eas-journal.jsonl"
    service.record(record())
    assert service.flush()
    file.rename(tmp_path / "rotated.jsonl")
    service.reopen()
    assert journalled(service, tmp_path) == [], "whoever waits for the file sees it at once"
    service.record(record())
    assert journalled(service, tmp_path) == ["eas.exchange"]
    assert service.journal_lost == 0
    service.close()


def test_the_line_at_the_start(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "ldaps://dc1.contoso.example, ldaps://dc2.contoso.example"
    journal = tmp_path / "eas-journal.jsonl"
    with_both = f"enforce for everyone; directory {both}, "
    silent = parts.service(journalled=False)
    assert silent.summary() == f"{with_both}nothing is journalled"
    silent.exchange(record())
    silent.close()
    assert not journal.exists()
    service = parts.service()
    assert service.summary() == f"{with_both}journal {journal}"
    monkeypatch.setenv(f"{PREFIX}MODE", "enforce")
    monkeypatch.setenv(f"{PREFIX}PROXY__WORKERS", "2")
    said = "; set by the environment: mode, proxy.workers"
    assert service.summary() == f"{with_both}journal {journal}{said}"
    service.close()
    config = load_config(snapshot_config(tmp_path, FOREST), environment={})
    aged(tmp_path, 60)
    snapshot = Service(config, journalled=False)
    assert f"directory {tmp_path / 'forest.ldif'}, " in snapshot.summary()
    snapshot.close()
