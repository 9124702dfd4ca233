"""Whose wait ends, and whose goes on: over a directory that answers what it is told to."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from eas_redirect.activesync.authorization import Credentials, Identity, Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import (
    Ambiguous,
    CacheSettings,
    DirectoryAnswer,
    Found,
    Lookup,
    MovedAnswer,
    NotFound,
    Recipient,
    Relationships,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)
from eas_redirect.judging.ended_waits import EndedWaits, Ending, beside
from eas_redirect.judging.judge import Judge
from eas_redirect.judging.wait_watch import (
    JUDGED_AGAIN_S,
    Wait,
    WaitOutcome,
    WaitStatistics,
    WaitWatch,
)
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.waves import Criteria, Wave
from tests.directory.fakes import CLOUD, DOWN

WATCH_S = 20.0


def logon(name: str) -> Logon:
    return Logon(text=f"{name}@contoso.example", user=name, domain="contoso.example", format="upn")


def here(name: str) -> Recipient:
    return Recipient(dn=f"CN={name}", mail_nickname=name, home_mdb="CN=DB01")


def gone(name: str) -> Recipient:
    return Recipient(
        dn=f"CN={name}", mail_nickname=name, target_address=f"SMTP:{name}@contoso.mail.example"
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Forest:
    """Recipients by name. `looking_moved` are the DNs that a look gives back; None: those that have
    moved. `slow` holds a look for ever."""

    source: DirectorySource = "ldap"

    def __init__(self) -> None:
        self.people: dict[str, Lookup] = {}
        self.known: Relationships = (CLOUD,)
        self.looking_moved: tuple[str, ...] | Unavailable | None = None
        self.questions: list[int] = []
        self.looked_up = 0
        self.slow = False

    def put(self, *people: Recipient) -> None:
        for person in people:
            self.people[person.dn.removeprefix("CN=")] = Found(recipient=person)

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        self.looked_up += 1
        return DirectoryAnswer(lookup=self.people.get(logon.user, NotFound()), source="ldap")

    async def relationships(self) -> RelationshipsAnswer:
        return RelationshipsAnswer(relationships=self.known, source="ldap")

    def meant_by(self, name: str) -> Lookup:
        return self.people.get(name, NotFound())

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        self.questions.append(len(users))
        await asyncio.sleep(3600 if self.slow else 0)
        said = self.looking_moved
        if isinstance(said, Unavailable):
            return MovedAnswer(moved=said, source="ldap")
        dns = {f"CN={name}" for name, found in self.people.items() if _has_moved(found)}
        return MovedAnswer(
            moved=tuple(u for u in users if u.dn in (dns if said is None else said)), source="ldap"
        )

    def close(self) -> None:
        pass


def _has_moved(found: Lookup) -> bool:
    return isinstance(found, Found) and not found.recipient.has_mailbox


class Bench:
    """Open waits over a forest. `ended` and `going_on` are what came of them."""

    def __init__(self, journal: str, mode: Literal["observe", "enforce"] = "enforce") -> None:
        self.clock = Clock()
        self.forest = Forest()
        self.judge = Judge(
            Policy(), CachedDirectory(self.forest, CacheSettings()), mode, lookup_timeout_s=0.05
        )
        self.waiting: dict[str, Wait] = {}
        self.answered: set[str] = set()  # their answer comes while they are being ended
        self.ended: list[WaitOutcome] = []
        self.going_on: list[WaitOutcome] = []
        self.unknown: set[str] = set()
        self.ended_waits = EndedWaits(
            journal if mode == "enforce" else None, clock=lambda: 1.8e9 + self.clock.now
        )
        self.watch = WaitWatch(
            self,
            self,
            lambda: self.judge,
            lambda: self.ended_waits,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def begin(
        self,
        name: str,
        device: str | None = "D1",
        *,
        challenged: bool = True,
        version: str = "14.1",
    ) -> Wait:
        exchange = Exchange(
            request=EASRequest(
                method="POST", command="Ping", protocol_version=version, device_id=device
            ),
            credentials=Credentials(scheme="basic", logon=logon(name)),
            identity=Identity(logon=logon(name), source="authorization"),
            answer=Answer(status_code=0, evidence=Evidence.WEAK),
            called_names=("mail.contoso.example",),
            challenged=challenged,
        )
        key = f"{name} {device} {len(self.waiting)} {self.clock.now}"
        self.waiting[key] = Wait(
            id=key,
            kind="ping",
            logon=logon(name),
            began_s=self.clock.now,
            exchange=lambda: exchange,
        )
        return self.waiting[key]

    async def look(self, after_s: float = WATCH_S) -> None:
        self.clock.now += after_s
        await self.watch.look(WATCH_S)

    # what the carrier does

    async def open_waits(self) -> Sequence[Wait]:
        return tuple(self.waiting.values())

    def is_open(self, wait: Wait) -> bool:
        return wait.id in self.waiting

    async def end_wait(self, outcome: WaitOutcome) -> bool:
        if outcome.wait.id in self.answered:
            return False
        self.ended.append(outcome)
        del self.waiting[outcome.wait.id]
        return True

    def wait_goes_on(self, outcome: WaitOutcome) -> None:
        self.going_on.append(outcome)

    # who waits

    def known(self, logons: Sequence[Logon]) -> Mapping[Logon, Watched]:
        return {one: Watched(dn=f"CN={one.user}") for one in logons if one.user not in self.unknown}

    # what came of it

    @property
    def names(self) -> list[str]:
        return [outcome.wait.logon.user for outcome in self.ended]

    @property
    def held_back(self) -> list[tuple[str, str | None, str]]:
        return [
            (o.wait.logon.user, o.held_back, str(o.judgement.verdict.reason)) for o in self.going_on
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(str(tmp_path / "journal.jsonl"))


async def test_the_wait_of_a_user_who_has_moved_ends_and_no_other(bench: Bench) -> None:
    bench.forest.put(here("anna"), here("bert"))
    bench.begin("anna")
    bench.begin("bert")
    await bench.look()
    assert bench.ended == []
    bench.forest.put(gone("anna"))
    await bench.look()
    assert bench.names == ["anna"]
    (outcome,) = bench.ended
    assert (outcome.decision, outcome.held_back) == ("end_wait", None)
    assert (outcome.waited_s, outcome.seen_s) == (2 * WATCH_S, 0.0)
    assert [w.logon.user for w in bench.waiting.values()] == ["bert"]
    assert bench.going_on == []


async def test_a_cached_answer_keeps_nobody_waiting(bench: Bench) -> None:
    """A user who was found a moment ago is looked up again."""
    bench.forest.put(here("anna"))
    bench.begin("anna")
    await bench.judge.directory.recipient(logon("anna"), fresh=False)
    bench.forest.put(gone("anna"))
    await bench.look()
    assert bench.names == ["anna"]


async def test_a_wait_younger_than_one_interval_is_left_out(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.begin("anna")
    await bench.look(WATCH_S - 1)
    assert bench.forest.questions == []
    await bench.look(1)
    assert bench.names == ["anna"]


async def test_once_for_each_device_and_once_more(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.begin("anna", "D1")
    bench.begin("anna", "D2")
    await bench.look()
    assert len(bench.ended) == 2
    for number in range(60):  # it waits again at once: Exchange does not know yet
        if not bench.waiting:
            bench.begin("anna", "Dd"[number % 2] + "1")
        await bench.look()
    assert len(bench.ended) == 3
    ended_at = [outcome.wait.began_s + outcome.waited_s for outcome in bench.ended]
    assert ended_at == [1020, 1020, 1280]
    assert [held for _, held, _ in bench.held_back] == ["again_later", "ended_twice"]


async def test_a_request_without_a_device_goes_on(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.begin("anna", None)
    await bench.look()
    assert bench.held_back == [("anna", "no_device", "mailbox_moved")]
    bench.forest.put(HALF_MOVED)
    bench.forest.looking_moved = ("CN=anna",)
    await bench.look(JUDGED_AGAIN_S)
    assert bench.held_back[1:] == [("anna", "decision", "recipient_has_mailbox")]


HALF_MOVED = replace(here("anna"), target_address="SMTP:anna@contoso.mail.example")
NOWHERE = Recipient(dn="CN=anna", mail_nickname="anna")


@pytest.mark.parametrize(
    ("lookup", "reason"),
    [
        (Found(recipient=HALF_MOVED), "recipient_has_mailbox"),
        (Found(recipient=here("anna")), "recipient_has_mailbox"),
        (Found(recipient=NOWHERE), "no_target_address"),
        (Found(recipient=gone("anna"), by_address=True), "recipient_ambiguous"),
        (Found(recipient=gone("anna"), unseen=DOWN), "directory_unavailable"),
        (
            Found(recipient=replace(gone("anna"), target_address="SMTP:anna@tailspin.example")),
            "no_relationship",
        ),
        (NotFound(), "recipient_not_found"),
        (Ambiguous(), "recipient_ambiguous"),
        (DOWN, "directory_unavailable"),
    ],
)
async def test_whoever_looks_moved_is_judged_by_the_whole_decision(
    lookup: Lookup, reason: str, bench: Bench
) -> None:
    """Although a look says so: half a move, a move back, somebody else's object, a fault."""
    bench.forest.people["anna"] = lookup
    bench.forest.looking_moved = ("CN=anna",)
    bench.begin("anna")
    for _ in range(3):
        await bench.look()
    assert bench.ended == []
    assert bench.held_back == [("anna", "decision", reason)]  # said once


async def test_a_wave_a_version_and_a_server_that_asks_nobody_hold_it_back(bench: Bench) -> None:
    bench.forest.put(gone("anna"), gone("bert"), gone("cleo"))
    bench.judge = replace(
        bench.judge, policy=Policy(wave=Wave(exclude=Criteria(device_types=("x*",))))
    )
    bench.begin("anna")  # no device type is known
    bench.begin("bert", version="12.1")
    bench.begin("cleo", challenged=False)
    await bench.look()
    assert bench.ended == []
    assert sorted(bench.held_back) == [
        ("anna", "decision", "not_in_wave"),
        ("bert", "decision", "protocol_version_too_low"),
        ("cleo", "decision", "logon_not_proven"),
    ]


async def test_a_directory_that_is_away_ends_nothing_and_says_why(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.begin("anna")
    bench.forest.looking_moved = DOWN
    await bench.look()
    assert bench.watch.statistics.problem == DOWN.message
    bench.forest.looking_moved, bench.forest.slow = None, True
    bench.judge = replace(bench.judge, lookup_timeout_s=-0.99)
    await bench.look()
    assert bench.watch.statistics.problem is not None
    assert (bench.ended, bench.going_on) == ([], [])
    bench.forest.slow = False
    bench.judge = replace(bench.judge, lookup_timeout_s=1.0)
    await bench.look()
    assert bench.names == ["anna"]
    assert bench.watch.statistics.problem is None


async def test_whom_nobody_knows_yet_nobody_is_asked_about(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.unknown.add("anna")
    bench.begin("anna")
    await bench.look()
    assert bench.forest.questions == []
    bench.unknown.clear()
    await bench.look()
    assert bench.names == ["anna"]


async def test_objects_that_were_not_asked_about_end_nothing(bench: Bench) -> None:
    bench.forest.put(here("anna"), gone("bert"))
    bench.forest.looking_moved = ("CN=bert", "CN=nobody")
    bench.begin("anna")
    await bench.look()
    assert (bench.ended, bench.going_on) == ([], [])


async def test_a_hundred_users_in_a_question_each_once(bench: Bench) -> None:
    people = [here(f"user{number}") for number in range(250)]
    bench.forest.put(*people)
    for number in range(250):
        bench.begin(f"user{number}", "D1")
        bench.begin(f"user{number}", "D2")
    await bench.look()
    assert bench.forest.questions == [100, 100, 50]
    assert bench.watch.statistics.watched == 500
    assert bench.watch.statistics.moved == 0
    bench.forest.looking_moved = DOWN
    await bench.look()
    assert bench.forest.questions[3:] == [100], "neither would the next one be answered"


class FullSeconds(EndedWaits):
    """Other workers have ended twenty waits in each second."""

    def __init__(self) -> None:
        super().__init__(None)
        self.claims = 0

    def claim(self, waits: Sequence[str]) -> tuple[Ending, ...]:
        self.claims += 1
        later: Ending = "later"
        return (later,) * len(waits)


async def test_a_look_that_ends_nothing_is_over_when_the_next_is_due(bench: Bench) -> None:
    bench.ended_waits = full = FullSeconds()
    for number in range(25):
        bench.forest.put(gone(f"user{number}"))
        bench.begin(f"user{number}")
    await bench.look()
    assert full.claims == WATCH_S
    assert bench.forest.looked_up == 20, "nobody else is judged, to wait for the next look"
    assert bench.clock.now == 1000 + 2 * WATCH_S


async def test_a_user_is_known_by_any_name_and_another_move_is_another(bench: Bench) -> None:
    """Renamed between two looks it is the same move; to another target it is not."""
    anna = replace(gone("anna"), object_guid="01234567-89ab-cdef-0123-456789abcdef")
    renamed = replace(anna, dn="CN=anna,OU=Staff")
    elsewhere = replace(anna, target_address="SMTP:a@contoso.mail.example")
    bench.forest.looking_moved = ("CN=anna",)
    for person, count in ((anna, 1), (renamed, 2), (anna, 2), (elsewhere, 3)):
        bench.forest.people["anna"] = Found(recipient=person)
        bench.waiting.clear()
        bench.begin("anna")
        await bench.look(250)
        assert len(bench.ended) == count
    assert [held for _, held, _ in bench.held_back] == ["ended_twice"]


async def test_twenty_a_second_the_oldest_first(bench: Bench) -> None:
    for number in range(70):
        bench.forest.put(gone(f"user{number}"))
        bench.begin(f"user{number}")
        bench.clock.now += 0.01
    bench.waiting = dict(reversed(bench.waiting.items()))
    began = bench.clock.now + WATCH_S
    await bench.look()
    assert bench.names == [f"user{number}" for number in range(70)]
    assert bench.clock.now - began == pytest.approx(3, abs=0.2)


async def test_what_does_not_fit_into_a_look_is_found_by_the_next(bench: Bench) -> None:
    """10,000 users at once keep us busy; the verdicts do not grow old meanwhile."""
    for number in range(900):
        bench.forest.put(gone(f"user{number}"))
        bench.begin(f"user{number}")
    await bench.look()
    assert 380 <= len(bench.ended) <= 440
    while bench.waiting:
        await bench.look(0)
    assert len(set(bench.names)) == 900


async def test_a_wait_that_is_over_is_not_taken_down_as_ended(bench: Bench) -> None:
    """Else the next one of its device would have to go on."""
    bench.forest.put(gone("anna"))
    over = bench.begin("anna").id
    ask = bench.forest.recipient

    async def slowly(logon: Logon) -> DirectoryAnswer:
        bench.waiting.pop(over, None)
        return await ask(logon)

    bench.forest.recipient = slowly  # type: ignore[method-assign]
    await bench.look()
    assert (bench.ended, bench.going_on) == ([], [])
    bench.begin("anna")
    await bench.look()
    assert bench.names == ["anna"]


async def test_an_answer_that_comes_first_stands(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.answered.add(bench.begin("anna").id)
    await bench.look()
    assert bench.held_back == [("anna", "answered", "mailbox_moved")]


async def test_without_its_file_nothing_ends(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside(str(tmp_path / "journal.jsonl")).write_text("somebody else's\n", "utf-8")
    bench.forest.put(gone("anna"))
    bench.begin("anna")
    await bench.look()
    assert bench.ended == []
    assert bench.held_back == [("anna", "state_file", "mailbox_moved")]
    await bench.look(JUDGED_AGAIN_S)
    assert caplog.text.count("so no wait is ended. Look at it, and delete it") == 1


async def test_observing_says_once_what_would_end(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path / "journal.jsonl"), "observe")
    bench.forest.put(gone("anna"))
    bench.begin("anna")
    for _ in range(20):
        await bench.look()
    assert bench.ended == []
    assert [outcome.decision for outcome in bench.going_on] == ["would_end_wait"]
    assert not beside(str(tmp_path / "journal.jsonl")).exists()


async def test_what_is_held_back_is_judged_again_in_a_while(bench: Bench) -> None:
    bench.forest.put(HALF_MOVED)
    bench.forest.looking_moved = ("CN=anna",)
    bench.begin("anna")
    await bench.look()
    bench.forest.put(gone("anna"))
    await bench.look()
    assert bench.ended == []
    await bench.look(JUDGED_AGAIN_S)
    assert bench.names == ["anna"]
    assert bench.ended[0].seen_s == WATCH_S + JUDGED_AGAIN_S


async def test_a_move_back_before_the_answer_ends_nothing(bench: Bench) -> None:
    bench.forest.put(gone("anna"))
    bench.begin("anna")
    ask = bench.forest.moved

    async def moved_and_back(users: Sequence[Watched]) -> MovedAnswer:
        answer = await ask(users)
        bench.forest.put(here("anna"))
        return answer

    bench.forest.moved = moved_and_back  # type: ignore[method-assign]
    await bench.look()
    assert bench.held_back == [("anna", "decision", "recipient_has_mailbox")]


async def test_it_looks_as_often_as_it_is_told_and_when_a_snapshot_is_adopted(
    bench: Bench,
) -> None:
    bench.forest.put(here("anna"))
    bench.begin("anna")
    looks: list[float] = []
    every: list[float | None] = [20.0]
    look = bench.watch.look

    async def counted(watch_s: float) -> None:
        looks.append(bench.clock.now)
        await look(watch_s)

    bench.watch.look = counted  # type: ignore[method-assign]

    async def run_until(at: float) -> None:
        with pytest.raises(StopAsyncIteration):
            await bench.watch.run(lambda: _until(at))

    def _until(at: float) -> float | None:
        if bench.clock.now == 1203:
            adopted = CachedDirectory(bench.forest, CacheSettings())
            bench.judge = replace(bench.judge, directory=adopted)
        if bench.clock.now >= at:
            raise StopAsyncIteration
        return every[0]

    await run_until(1061)
    assert looks == [1000, 1020, 1040, 1060]
    every[0] = None
    await run_until(1200)
    assert len(looks) == 4
    assert bench.watch.statistics == WaitStatistics()
    assert not bench.watch.accounts
    every[0] = 20.0
    await run_until(1206)
    assert looks[4:] == [1200, 1203]
    assert bench.watch.accounts == {"CN=anna": 1}
    assert bench.watch.statistics.watched == 1


async def test_a_fault_of_ours_does_not_end_the_watch(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> Sequence[Wait]:
        raise ValueError("secret")

    bench.open_waits = broken  # type: ignore[method-assign]
    rounds = 0

    def every_s() -> float:
        nonlocal rounds
        rounds += 1
        if rounds > 50:
            raise asyncio.CancelledError
        return 1.0

    with pytest.raises(asyncio.CancelledError):
        await bench.watch.run(every_s)
    assert "ValueError in broken, line" in caplog.text
    assert "secret" not in caplog.text


async def test_ten_thousand_users_who_changed_for_other_reasons_are_not_asked_about(
    bench: Bench,
) -> None:
    """The question names those who wait, whatever else happens in the directory."""
    waiting = [f"w{number}" for number in range(250)]
    bench.forest.put(*map(here, waiting))
    for name in waiting:
        bench.begin(name)
    await bench.look()
    bench.forest.questions.clear()
    bench.forest.put(*(gone(f"u{number}") for number in range(5_000)))  # nobody of them waits
    bench.forest.put(*(replace(here(f"u{n}"), mail="new") for n in range(5_000, 10_000)))
    bench.forest.put(*(replace(here(name), mail="new") for name in waiting))
    await bench.look()
    assert sum(bench.forest.questions) == len(waiting)
    assert bench.watch.statistics.moved == 0
    assert (bench.ended, bench.going_on) == ([], [])
    assert len(bench.waiting) == len(waiting)


async def test_a_look_over_thousands_lets_others_have_their_turn(bench: Bench) -> None:
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    bench.begin("anna")
    bench.unknown.add("anna")  # the directory's own waits are none of them
    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = len(turns)
    await bench.look()
    task.cancel()
    assert len(turns) - before == 6, "between each two steps over all waits"
