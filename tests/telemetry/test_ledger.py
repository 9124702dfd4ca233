"""The follow ledger: states, bounds, and what it costs."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.telemetry.ledger import SETTLED_AT_ONCE, Ledger
from eas_redirect.telemetry.record import Record
from tests.support import ROOT

CLOUD = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass
class Bench:
    """A ledger on a hand-cranked clock."""

    now: float = 1_700_000_000.0
    max_devices: int = 1000
    changes: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(clock=lambda: self.now, max_devices=self.max_devices)

    def call(self, *, redirect: bool = False, **fields: Any) -> Record:
        base = Record(
            timestamp_s=self.now,
            action="eas.redirect" if redirect else "eas.exchange",
            message="",
            user_name="anna",
            user_domain="CONTOSO",
            device_id="ApplDN4711",
            device_type="iPhone",
            url_domain="mail.contoso.example",
            decision="redirect" if redirect else "pass",
            redirect_location=CLOUD if redirect else None,
        )
        record = replace(base, **fields)
        self.changes += self.ledger.observe(record)
        return record

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.changes += self.ledger.settle()

    def states(self) -> list[str | None]:
        return [change.ledger_state for change in self.changes]

    def counted(self) -> dict[str, int]:
        states = self.ledger.statistics().states
        return {state.value: count for state, count in states.items() if count}


def test_an_obedient_device_becomes_quiet_and_says_after_what_interval() -> None:
    bench = Bench()
    for _ in range(4):
        bench.call()
        bench.after(10 * MINUTE)
    bench.call(redirect=True)
    bench.after(DAY)
    assert bench.states() == ["seen", "redirected", "quiet"]
    quiet = bench.changes[-1]
    assert quiet.action == "eas.ledger"
    assert (quiet.ledger_previous, quiet.user_name, quiet.user_domain) == (
        "redirected",
        "anna",
        "CONTOSO",
    )
    assert (quiet.device_id, quiet.redirect_location, quiet.redirect_count) == (
        "ApplDN4711",
        CLOUD,
        1,
    )
    assert "1440 min" in quiet.message
    assert "usual interval: 10 min" in quiet.message
    assert bench.counted() == {"quiet": 1}


def test_silence_is_measured_by_the_devices_own_interval() -> None:
    bench = Bench()
    for _ in range(3):
        bench.call()
        bench.after(6 * HOUR)
    bench.call(redirect=True)
    bench.after(17 * HOUR)
    assert bench.counted() == {"redirected": 1}
    bench.after(1 * HOUR)
    assert bench.counted() == {"quiet": 1}


def test_an_interval_that_shrinks_is_heeded_at_once() -> None:
    bench = Bench()
    bench.call()
    bench.after(10 * HOUR)
    bench.call(redirect=True)  # silence would mean something after 30 hours
    for _ in range(9):
        bench.after(61)
        bench.call(redirect=True)
    bench.after(4 * HOUR)  # three times the mean by now
    assert bench.counted() == {"quiet": 1}


def test_who_asks_seldom_does_not_seem_gone_in_between() -> None:
    bench = Bench()
    for _ in range(6):
        bench.call(redirect=True)
        bench.after(2 * HOUR)
    assert bench.states() == [
        "seen",
        "redirected",
        "quiet",
        "returned",
        "quiet",
        "returned",
        "stuck",
    ]


def test_a_device_that_comes_back_is_returned_then_stuck() -> None:
    bench = Bench()
    bench.call(redirect=True)
    for state in ("returned", "returned", "stuck"):
        bench.after(5 * MINUTE)
        bench.call(redirect=True)
        assert bench.counted() == {state: 1}
    assert bench.states() == ["seen", "redirected", "returned", "stuck"]
    assert bench.changes[-1].level == "warning"
    assert bench.changes[-1].redirect_count == 4


def test_many_calls_within_ten_minutes_are_not_stuck() -> None:
    bench = Bench()
    bench.call(redirect=True)
    for _ in range(20):
        bench.after(20)
        bench.call()
    assert bench.counted() == {"returned": 1}


def test_a_request_on_its_way_at_the_redirect_is_no_comeback() -> None:
    bench = Bench()
    bench.call(redirect=True)
    bench.after(5)
    bench.call(redirect=True, command="Ping", duration_ns=900 * 10**9)
    assert bench.counted() == {"redirected": 1}
    assert bench.changes[-1].redirect_count == 1


def test_a_quiet_device_that_comes_back_is_returned() -> None:
    bench = Bench()
    bench.call(redirect=True)
    bench.after(DAY)
    bench.call()
    assert bench.states()[-2:] == ["quiet", "returned"]
    bench.after(DAY)
    assert bench.counted() == {"quiet": 1}


def test_a_redirect_that_was_only_observed_changes_nothing() -> None:
    bench = Bench()
    bench.call(decision="would_redirect", action="eas.would_redirect")
    bench.after(DAY)
    assert bench.counted() == {"seen": 1}


def test_a_request_to_the_target_confirms() -> None:
    bench = Bench()
    bench.call(redirect=True)
    bench.after(2)
    assert bench.call(url_domain="Outlook.Office365.com").redirect_confirmed is True
    assert bench.states() == ["seen", "redirected", "confirmed"]
    assert bench.changes[-1].redirect_confirmed is True
    assert bench.ledger.statistics().confirmed == 1
    for _ in range(5):
        bench.after(20 * MINUTE)
        bench.call(url_domain="outlook.office365.com")
    assert bench.counted() == {"confirmed": 1}
    assert bench.ledger.statistics().confirmed == 1


def test_a_target_that_asks_to_sign_in_anew_has_been_reached() -> None:
    """Exchange Online takes no password, and the name of the new logon may be another one."""
    bench = Bench()
    bench.call(redirect=True)
    bench.after(2)
    asked = bench.call(url_domain="outlook.office365.com", reason="unauthenticated")
    assert asked.redirect_confirmed is True
    stranger = bench.call(
        url_domain="outlook.office365.com", reason="unauthenticated", device_id="OTHER"
    )
    assert stranger.redirect_confirmed is None
    assert bench.counted() == {"confirmed": 1}


def test_the_old_address_does_not_confirm() -> None:
    bench = Bench()
    assert bench.call(redirect=True).redirect_confirmed is None
    assert bench.call().redirect_confirmed is None


def test_redirects_are_counted_with_the_one_at_hand() -> None:
    bench = Bench()
    first = bench.call(redirect=True, device_id="A")
    assert (first.redirect_count, first.ledger_state) == (1, "redirected")
    again = bench.call(redirect=True, device_id="A")
    assert (again.redirect_count, again.ledger_state) == (2, "redirected")
    assert bench.call(redirect=True, device_id="B").redirect_count == 1
    assert bench.call(device_id="A").redirect_count is None
    assert bench.ledger.state(replace(first, device_id="C")) is None


def test_options_belongs_to_the_device_that_wrote_the_same_user_agent() -> None:
    bench = Bench()
    bench.call(device_id=None, command="Options", user_agent="Apple-iPhone9C4/1602.92")
    bench.call(user_agent="Apple-iPhone9C4/1602.92")
    bench.call(device_id=None, redirect=True, user_agent="Apple-iPhone9C4/1602.92")
    assert bench.ledger.statistics().devices == 1
    assert bench.counted() == {"redirected": 1}
    assert bench.changes[-1].device_id == "ApplDN4711"


def test_a_device_that_writes_its_names_in_another_case_is_the_same_one() -> None:
    """Its 451, its comebacks and its OPTIONS are joined; lines name it as it wrote itself last."""
    bench = Bench()
    bench.call(device_id=None, user_agent="Mail/1", command="OPTIONS")
    bench.call(user_agent="Mail/1", redirect=True)
    for spelling in ("ANNA", "Anna", "anna"):
        bench.after(6 * MINUTE)
        name, domain = spelling, spelling.lower().replace("anna", "contoso")
        back = bench.call(user_name=name, user_domain=domain, device_id=spelling + "1")
        assert (back.user_name, back.device_id) == (name, spelling + "1")
        back = bench.call(user_name=name, user_domain=domain, device_id="APPLdn4711")
        assert back.device_id == "APPLdn4711"
        bench.call(user_name=name, device_id=None, user_agent="MAIL/1")
    bench.call(user_name="aNNA", device_id=None, user_agent="Mail/1")
    mine = [one for one in bench.changes if one.device_id not in ("ANNA1", "Anna1", "anna1", None)]
    assert [(one.ledger_state, one.user_name, one.user_domain, one.device_id) for one in mine] == [
        ("redirected", "anna", "CONTOSO", "ApplDN4711"),
        ("returned", "ANNA", "contoso", "APPLdn4711"),
        ("stuck", "anna", "contoso", "APPLdn4711"),
    ]
    assert bench.counted() == {"stuck": 1, "seen": 2}, "ANNA1 in three cases, and an app's OPTIONS"


def test_options_of_another_user_or_app_is_another_device() -> None:
    bench = Bench()
    bench.call(user_agent="Apple-iPhone9C4/1602.92")
    bench.call(device_id=None, user_agent="Android/12.0.0-EAS-2.0")
    bench.call(device_id=None, user_name="berta", user_agent="Apple-iPhone9C4/1602.92")
    assert bench.ledger.statistics().devices == 3


def test_what_names_nobody_is_left_out() -> None:
    bench = Bench()
    bench.call(user_name=None)
    bench.call(device_id=None)
    assert bench.ledger.statistics().devices == 0


@pytest.mark.parametrize(
    "nothing",
    [
        {"reason": "unauthenticated", "status_code": 401},
        {"reason": "no_answer", "status_code": 502, "error_type": "upstream_failed"},
        {"reason": "no_answer", "status_code": 400, "error_type": "request_refused"},
        {"reason": "no_answer", "error_type": "client_left"},
    ],
)
def test_what_exchange_did_not_answer_neither_makes_nor_moves_a_device(
    nothing: dict[str, Any],
) -> None:
    bench = Bench()
    bench.call(redirect=True)
    bench.after(MINUTE)
    bench.call(user_name="guess", device_id="X", **nothing)
    assert bench.call(**nothing).ledger_state == "redirected"
    assert bench.counted() == {"redirected": 1}
    bench.after(DAY)
    bench.call(**nothing)
    assert bench.states() == ["seen", "redirected", "quiet"]


def test_names_made_up_at_any_length_do_not_grow_it() -> None:
    bench = Bench(max_devices=200_000)
    bench.ledger.max_texts = 200_000
    for number in range(500):
        name = f"{number}" + "\N{GREEK SMALL LETTER OMEGA}" * 250
        bench.call(device_id=name, device_type=name, user_name=name, user_email=name)
    held = sum(device.texts for device in bench.ledger._devices.values())
    assert held == bench.ledger._texts < 210_000
    assert bench.ledger.statistics().evicted > 400


def test_a_wave_that_falls_silent_settles_in_portions() -> None:
    bench = Bench()
    for number in range(900):
        bench.call(device_id=f"{number}", user_agent=f"{number}", redirect=True)
    bench.now += DAY
    portions = [len(bench.ledger.settle()) for _ in range(3)]
    assert portions == [SETTLED_AT_ONCE, 900 - SETTLED_AT_ONCE, 0]
    assert bench.counted() == {"quiet": 900}


def test_the_least_recently_seen_goes_first_and_is_counted() -> None:
    bench = Bench(max_devices=3)
    for device in ("A", "B", "C", "A", "D"):
        bench.call(device_id=device, redirect=True)
    states = {d: bench.ledger.state(bench_record(bench, d)) for d in "ABCD"}
    assert [d for d, state in states.items() if state is None] == ["B"]
    statistics = bench.ledger.statistics()
    assert (statistics.devices, statistics.evicted) == (3, 1)


def bench_record(bench: Bench, device: str) -> Record:
    return Record(
        timestamp_s=bench.now,
        action="eas.exchange",
        message="",
        user_name="anna",
        user_domain="CONTOSO",
        device_id=device,
    )


def test_devices_made_up_without_end_do_not_grow_it() -> None:
    bench = Bench(max_devices=50)
    for number in range(2000):
        bench.call(device_id=f"{number}", user_agent=f"{number}", redirect=True)
    assert len(bench.ledger._devices) == 50
    assert len(bench.ledger._by_agent) == 50
    assert len(bench.ledger._awaited) <= 101
    assert bench.ledger.statistics().evicted == 1950


EVENTS = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=2 * DAY),
        st.sampled_from(["A", "B", "C", None]),
        st.booleans(),
        st.sampled_from(["mail.contoso.example", "outlook.office365.com", None]),
    ),
    max_size=40,
)


@given(EVENTS)
def test_the_books_balance(events: list[tuple[float, str | None, bool, str | None]]) -> None:
    bench = Bench(max_devices=2)
    for wait, device, redirect, host in events:
        bench.after(wait)
        bench.call(device_id=device, redirect=redirect, url_domain=host, user_agent="x")
        statistics = bench.ledger.statistics()
        assert statistics.devices == len(bench.ledger._devices) <= 2
        assert all(count >= 0 for count in statistics.states.values())
    latest: dict[str | None, str | None] = {}
    for change in bench.changes:
        if change.ledger_previous is None:
            latest.pop(change.device_id, None)
        assert latest.get(change.device_id) in (change.ledger_previous, None)
        assert change.ledger_state != change.ledger_previous


MEASURE = """
import resource
from tests.telemetry.test_ledger import Ledger, _phone
ledger = Ledger(clock=lambda: 0.0, max_devices=200_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(200_000):
    ledger.observe(_phone(number))
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(ledger.statistics().devices, held)
"""


def test_200_000_devices_fit_into_150_mib() -> None:
    """In a process of its own: what the system gave it is what counts."""
    paths = os.pathsep.join([str(ROOT / "addon"), str(ROOT)])
    output = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    devices, held_kib = map(int, output.split())
    assert devices == 200_000
    assert held_kib < 150 * 1024


def _phone(number: int) -> Record:
    return Record(
        timestamp_s=1_700_000_000.0 + number,
        action="eas.redirect",
        message="",
        user_name=f"firstname.lastname{number}",
        user_domain="CONTOSO",
        user_email=f"firstname.lastname{number}@contoso.example",
        device_id=f"ApplDN6{number:08d}X{number:08d}",
        device_type="iPhone",
        client_family="apple_mail",
        user_agent="Apple-iPhone9C4/1602.92",
        url_domain="mail.contoso.example",
        decision="redirect",
        redirect_location=CLOUD,
    )


def test_an_exchange_costs_microseconds() -> None:
    """The figure is 10 µs; ten times that here, since machines that test are busy."""
    ledger = Ledger(clock=lambda: 1_700_000_000.0)
    records = [_phone(number % 5000) for number in range(20_000)]
    for record in records[:5000]:
        ledger.observe(record)
    began = time.process_time()
    for record in records:
        ledger.observe(record)
    cost = (time.process_time() - began) / len(records)

    assert cost < 100e-6
