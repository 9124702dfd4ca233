"""Who is stuck and who moved, from the records that a real ledger and judge would send."""

from dataclasses import replace
from sys import getsizeof
from typing import Any

import pytest

from eas_redirect.service import whereabouts
from eas_redirect.service.whereabouts import DECISIONS, Whereabouts
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.ledger import Ledger
from eas_redirect.telemetry.record import Record
from eas_redirect.telemetry.status import MOVED_DEVICES, DeviceLine

TARGET = "https://outlook.office365.com/Microsoft-Server-ActiveSync"


class World:
    """A ledger and the sink behind it, on one clock, as the service couples them."""

    def __init__(self, users: str = "clear") -> None:
        self.now_s = 1_000_000.0
        self.ledger = Ledger(lambda: self.now_s)
        redaction = Redaction(users=users, key=b"key")  # type: ignore[arg-type]
        self.sink = Whereabouts(redaction.apply)

    def call(
        self, user: str = "anna", *, after_s: float = 0.0, told: bool = True, **said: Any
    ) -> None:
        self.now_s += after_s
        values: dict[str, Any] = {
            "reason": "mailbox_moved" if told else "other_answer",
            "decision": "redirect" if told else "pass",
            "redirect_location": TARGET if told else None,
            "command": "Sync",
            "device_id": f"ID-{user}",
            "device_type": "iPhone",
            "user_agent": "Apple-iPhone14C2/2001.50",
            **said,
        }
        record = Record(
            timestamp_s=self.now_s,
            action="eas.exchange",
            message="",
            user_name=user,
            user_domain="CONTOSO",
            **values,
        )
        changes = self.ledger.observe(record)
        for change in (*changes, record):
            self.sink.observe(change)

    def settle(self, after_s: float) -> None:
        self.now_s += after_s
        for change in self.ledger.settle():
            self.sink.observe(change)

    def get_stuck(self, user: str = "anna", **said: Any) -> DeviceLine:
        self.call(user)
        for _ in range(4):
            self.call(user, after_s=300.0, **said)
        return next(line for line in self.sink.stuck() if line.device_id == f"ID-{user}")


def test_a_stuck_device_with_its_last_decisions_and_what_to_do() -> None:
    world = World()
    began = world.now_s
    line = world.get_stuck()
    assert (line.user, line.device, line.state) == ("CONTOSO\\anna", "iPhone", "stuck")
    assert (line.returns, line.redirected_s, line.last_s) == (4, began, world.now_s)
    assert line.since_s == began + 3 * 300, "the third comeback, ten minutes after the first"
    assert [one.decision for one in line.decisions] == ["redirect"] * 5
    assert line.decisions[0].timestamp_s == world.now_s
    assert line.location == TARGET
    assert line.advice.endswith(("the account again.", "sign in."))
    for _ in range(DECISIONS):
        world.call(after_s=60, told=False)
    [line] = world.sink.stuck()
    assert len(line.decisions) == DECISIONS
    assert line.advice == "Exchange serves it here again: was the mailbox moved back?"


def test_a_line_says_what_is_known_of_a_device() -> None:
    other = TARGET.replace("outlook", "eas")
    world = World()
    line = world.get_stuck(device_type=None, client_family="Outlook", user_email="anna@x.example")
    assert (line.user, line.device_id, line.device) == ("CONTOSO\\anna", "ID-anna", "iPhone")
    line = world.get_stuck("bert", redirect_location=other, command=None, method="OPTIONS")
    assert line.location == other
    assert [(one.command, one.location) for one in line.decisions[3:]] == (
        [("OPTIONS", other), ("Sync", TARGET)]
    )
    for _ in range(4):
        world.call("cleo", after_s=300.0, device_type=None, client_family="Outlook")
    world.call("cleo", told=False, device_type=None, client_family="Outlook")
    cleo = next(line for line in world.sink.stuck() if line.device_id == "ID-cleo")
    assert (cleo.device, cleo.location) == ("Outlook", TARGET)
    assert cleo.decisions[0].location is None
    assert [line.device_id for line in world.sink.stuck()] == ["ID-cleo", "ID-bert", "ID-anna"]
    quiet_s = world.now_s + 86_400
    world.settle(after_s=86_400)
    moved = {line.device_id: line for line in world.sink.moved()}
    assert moved.keys() == {"ID-anna", "ID-bert", "ID-cleo"}
    kinds = [moved[key].device for key in ("ID-anna", "ID-bert", "ID-cleo")]
    assert kinds == ["iPhone", "iPhone", "Outlook"]
    assert all(line.location in (TARGET, other) for line in moved.values())
    assert all(line.since_s == line.last_s == quiet_s for line in moved.values())


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ({"protocol_version": "12.1"}, "Speaks 12.1"),
        ({"reason": "recipient_has_mailbox", "told": False}, "Exchange serves it here again"),
        ({"reason": "directory_unavailable", "told": False}, "No directory could be asked"),
        ({}, "The target wants a sign-in"),
        ({"auth_scheme": "bearer"}, "The app seems to ignore the redirect"),
        ({"user_agent": None}, "The app seems to ignore the redirect"),
        (
            {"redirect_location": "https://mail.fabrikam.example/Microsoft-Server-ActiveSync"},
            "The app seems to ignore the redirect",
        ),
    ],
)
def test_the_likely_cause_is_that_of_what_it_did(said: dict[str, Any], advice: str) -> None:
    assert World().get_stuck(**said).advice.startswith(advice)


def test_what_an_app_said_of_its_sign_in_stays_known() -> None:
    """An OPTIONS, or a request that a proxy in between logged on, may not say it again."""
    world = World()
    world.get_stuck(auth_scheme="bearer")
    world.call(auth_scheme=None)
    [line] = world.sink.stuck()
    assert line.advice.startswith("The app seems to ignore the redirect")


STUCK = Record(
    timestamp_s=1_000.0,
    action="eas.exchange",
    message="",
    user_name="anna",
    user_domain="CONTOSO",
    user_email="anna@contoso.example",
    device_id="ID-anna",
    device_type="iPhone",
    ledger_state="stuck",
    redirect_location=TARGET,
)


def seen(*records: Record) -> Whereabouts:
    """What a fresh sink makes of them, as after a restart or when others pushed a device out."""
    sink = Whereabouts(Redaction().apply)
    for record in records:
        sink.observe(record)
    return sink


@pytest.mark.parametrize("action", ["eas.exchange", "eas.ledger"])
def test_a_stuck_device_of_which_nothing_was_known(action: str) -> None:
    [line] = seen(replace(STUCK, action=action)).stuck()
    assert replace(line, advice="", decisions=()) == DeviceLine(
        user="anna@contoso.example",
        device_id="ID-anna",
        device="iPhone",
        state="stuck",
        since_s=1_000.0,
        last_s=1_000.0,
        returns=1 if action == "eas.exchange" else 0,
        location=TARGET,
    )
    if action == "eas.exchange":
        [one] = line.decisions
        assert (one.decision, one.reason, one.command) == ("", "", "")


def test_a_client_without_a_user_agent_is_known_by_its_device_type() -> None:
    ignores = "The app seems to ignore the redirect"
    for device_type, advice in (
        ("WP8", "The target refuses it. "),
        ("PocketPC", "The target refuses it. "),
        ("iPhone", ignores),
        (None, ignores),
    ):
        [line] = seen(replace(STUCK, device_type=device_type)).stuck()
        assert line.advice.startswith(advice)


def test_a_change_of_state_alone_keeps_and_brings_the_target() -> None:
    other = TARGET.replace("outlook", "eas")
    change = replace(STUCK, action="eas.ledger")
    for location, known in ((None, TARGET), (other, other)):
        [line] = seen(STUCK, replace(change, redirect_location=location)).stuck()
        assert line.location == known


def test_only_exchanges_are_decisions_about_a_device() -> None:
    for action in ("eas.wait", "eas.autodiscover"):
        assert seen(replace(STUCK, action=action)).stuck() == ()


def test_a_device_with_longer_names_than_that_is_not_followed() -> None:
    key = (STUCK.user_name, STUCK.user_domain, "")
    most = whereabouts.MAX_TEXTS - sum(map(getsizeof, key))
    for length, count in ((most, 1), (most + 1, 0)):
        assert len(seen(replace(STUCK, device_id="x" * length)).stuck()) == count


def test_whoever_is_seen_again_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many, those go that have been silent for longest."""
    monkeypatch.setattr(whereabouts, "MAX_FOLLOWED", 2)
    a, b, c = (replace(STUCK, device_id=name) for name in "ABC")
    assert [line.device_id for line in seen(a, b, a, c).stuck()] == ["A", "C"]
    monkeypatch.setattr(whereabouts, "MOVED_DEVICES", 2)
    gone = [replace(one, action="eas.ledger", ledger_state="quiet") for one in (a, b, a, c)]
    assert [line.device_id for line in seen(*gone).moved()] == ["C", "A"]


def test_devices_are_told_apart_by_user_domain_and_id() -> None:
    world = World()
    for _ in range(5):
        world.call("anna", after_s=300)
        world.call("anna", device_id="another")
        world.call("bert", device_id="ID-anna")
    elsewhere = replace(STUCK, user_email=None, user_domain="FABRIKAM")
    world.sink.observe(elsewhere)
    stuck = {(line.user, line.device_id) for line in world.sink.stuck()}
    assert stuck == {
        ("FABRIKAM\\anna", "ID-anna"),
        ("CONTOSO\\anna", "ID-anna"),
        ("CONTOSO\\anna", "another"),
        ("CONTOSO\\bert", "ID-anna"),
    }


def test_a_device_that_writes_its_names_in_another_case_is_one_line() -> None:
    shouted = replace(STUCK, user_name="ANNA", user_domain="contoso", device_id="id-ANNA")
    [line] = seen(STUCK, shouted).stuck()
    assert line.device_id == "ID-anna"
    gone = replace(shouted, action="eas.ledger", ledger_state="quiet")
    after = seen(STUCK, gone)
    assert (after.stuck(), [one.device_id for one in after.moved()]) == ((), ["id-ANNA"])


def test_a_password_that_exchange_refuses_is_told() -> None:
    world = World()
    world.get_stuck()
    for _ in range(20):
        world.call(after_s=30, told=False, reason="unauthenticated")
    [line] = world.sink.stuck()
    assert "refuses its password" in line.advice
    assert line.returns == 4, "a 401 is no comeback"


def test_who_falls_silent_or_is_seen_there_has_moved_and_is_stuck_no_more() -> None:
    world = World()
    world.get_stuck("anna")
    world.call("bert")
    assert world.sink.moved() == ()
    world.settle(after_s=86_400)
    assert world.sink.stuck() == ()
    assert {line.user for line in world.sink.moved()} == {"CONTOSO\\anna", "CONTOSO\\bert"}
    assert {line.state for line in world.sink.moved()} == {"quiet"}
    world.call("bert", told=False, url_domain="outlook.office365.com")
    latest, _ = world.sink.moved()
    assert (latest.user, latest.state) == ("CONTOSO\\bert", "confirmed")
    world.call("bert", after_s=60, url_domain="mail.contoso.example")
    assert {line.user for line in world.sink.moved()} == {"CONTOSO\\anna"}


@pytest.mark.parametrize("users", ["hash", "drop"])
def test_what_the_journal_may_not_hold_is_not_shown(users: str) -> None:
    world = World(users)
    world.call()
    for _ in range(4):
        world.call(after_s=300)
    [line] = world.sink.stuck()
    assert "anna" not in repr(line)
    assert (line.user is None) == (users == "drop")


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "MAX_FOLLOWED", 30)
    world = World()
    for _ in range(5):
        for number in range(100):
            world.call(f"user{number}", after_s=0 if number else 300)
    for number in range(100):
        world.call(f"told{number}")
    assert len(world.sink._stuck) == len(world.sink._awaited) == 30
    assert {line.user for line in world.sink.stuck()} >= {"CONTOSO\\user99", "CONTOSO\\user70"}
    world.settle(after_s=200_000)
    assert len(world.sink.moved()) == MOVED_DEVICES
    world.call("x" * 5000)
    assert not any(len(key[0]) > 4000 for key in world.sink._awaited)


def test_everyday_traffic_leaves_nothing() -> None:
    world = World()
    for _ in range(10):
        world.call(after_s=60, told=False)
    world.sink.observe(
        replace(
            Record(timestamp_s=1.0, action="eas.exchange", message=""),
            ledger_state="redirected",
            reason="mailbox_moved",
        )
    )
    assert (world.sink._awaited, world.sink._stuck, world.sink.moved()) == ({}, {}, ())
