"""When `/ready` says no because of Exchange, and when it says yes again."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from eas_redirect.certificates.trouble import Peer
from eas_redirect.service import upstream
from eas_redirect.service.upstream import Answered, NoAnswer, Upstream, UpstreamOutcome
from eas_redirect.telemetry.record import Record
from tests.integration.processes import free_port
from tests.telemetry.test_metrics import EXCHANGE

FAILED = replace(
    EXCHANGE, upstream_status_code=None, error_type="upstream_failed", error_message="gone"
)


@dataclass
class World:
    """An Exchange that is asked on a clock that is turned by hand."""

    outcome: UpstreamOutcome = field(default_factory=lambda: NoAnswer(why="refused"))
    now_s: float = 1000.0
    asked: list[float] = field(default_factory=list)
    sleeping: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, _timeout_s: float) -> UpstreamOutcome:
        self.asked.append(self.now_s)
        return self.outcome

    async def sleep(self, seconds: float) -> None:
        self.wake.clear()
        self.sleeping.set()
        await self.wake.wait()
        self.now_s += seconds

    async def pass_time(self) -> None:
        """Until the next request of our own has had its outcome."""
        async with asyncio.timeout(20):
            await self.sleeping.wait()
        self.sleeping.clear()
        self.wake.set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0.001)
            if self.sleeping.is_set():
                return

    async def look(self, seen: Upstream) -> None:
        """As a page does, but only until it is known that Exchange has not answered."""
        looking, failed = (asyncio.ensure_future(c) for c in (seen.look(), self.sleeping.wait()))
        async with asyncio.timeout(20):
            await asyncio.wait({looking, failed}, return_when=asyncio.FIRST_COMPLETED)
        looking.cancel()
        failed.cancel()

    def made(self) -> Upstream:
        peer = Peer(host="127.0.0.1", port=free_port(), tls=False)
        return Upstream(lambda: peer, self.ask, clock=lambda: self.now_s, sleep=self.sleep)


@pytest.fixture(autouse=True)
def _nobody_diagnoses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true cause is another module's."""
    monkeypatch.setattr(upstream, "diagnose", lambda _peer, _timeout_s: None)


def fails(seen: Upstream, *devices: str) -> None:
    for device in devices:
        seen.observe(replace(FAILED, device_id=device))


async def test_the_last_three_count_however_many_came_before() -> None:
    seen = World().made()
    seen.observe(EXCHANGE)
    fails(seen, *"AAAAA")
    assert seen.line().reachable
    fails(seen, "B")
    assert not seen.line().reachable
    seen.close()


async def test_what_failed_before_exchange_answered_us_is_over() -> None:
    world = World(outcome=Answered(status=401))
    seen = world.made()
    fails(seen, "A", "B")
    await seen.look()
    world.now_s += upstream.RETRY_S
    fails(seen, "C")
    assert seen.line().reachable
    seen.close()


async def test_a_doubt_takes_the_place_of_no_cause_that_is_known() -> None:
    world = World()
    seen = world.made()
    await world.look(seen)
    seen.doubt("odd")
    assert seen.line().problem == "refused"
    seen.close()


async def test_three_failures_in_a_row_from_two_clients() -> None:
    world = World()
    seen = world.made()
    seen.observe(EXCHANGE)
    fails(seen, "A", "A")
    assert seen.line().reachable
    fails(seen, "B")
    assert not seen.line().reachable
    assert seen.line().problem == "the last 3 exchanges failed: gone"
    await world.settle()
    assert seen.line().problem == "refused", "then a request of our own says why"
    seen.close()


@pytest.mark.parametrize(
    "exchanges",
    [
        [replace(FAILED, device_id="A")] * 4,
        [replace(FAILED, device_id=d) for d in ("ApplA", "APPLA", "appla", "ApplA")],
        [replace(FAILED, device_id="A"), replace(FAILED, device_id="B"), EXCHANGE] * 2,
        [replace(FAILED, device_id=d, error_type="client_left") for d in "ABC"],
    ],
    ids=["one client", "one client in any case", "not in a row", "clients that left"],
)
async def test_what_says_nothing_about_exchange(exchanges: Sequence[Record]) -> None:
    seen = World().made()
    seen.observe(EXCHANGE)
    for exchange in exchanges:
        seen.observe(exchange)
    assert seen.line().reachable


@pytest.mark.parametrize(
    ("clients", "reachable"),
    [
        ([("A", "192.0.2.1", "10.0.0.1"), ("A", "192.0.2.2", "10.0.0.2"), ("A", None, None)], True),
        ([("A", None, "10.0.0.1"), ("B", None, "10.0.0.1"), ("B", None, "10.0.0.1")], False),
        ([(None, "192.0.2.1", "10.0.0.1"), (None, "192.0.2.1", "10.0.0.2")] * 2, True),
        ([(None, "192.0.2.1", "10.0.0.1"), (None, "192.0.2.2", "10.0.0.1")] * 2, False),
        ([(None, None, "10.0.0.1"), (None, None, "10.0.0.2")] * 2, False),
        ([(None, None, None)] * 3, True),
    ],
)
async def test_a_client_is_its_device_or_else_the_address_that_is_known(
    clients: Sequence[tuple[str | None, str | None, str | None]], reachable: bool
) -> None:
    seen = World().made()
    seen.observe(EXCHANGE)
    for device, forwarded, address in clients:
        seen.observe(
            replace(
                FAILED,
                device_id=device,
                forwarded_ip=forwarded,
                client_address=address,
                error_message=None,
            )
        )
    problem = None if reachable else "the last 3 exchanges failed: no answer"
    assert (seen.line().reachable, seen.line().problem) == (reachable, problem)
    seen.close()


@pytest.mark.parametrize(
    ("outcome", "tls", "cause", "problem"),
    [
        (NoAnswer(why="refused"), False, None, "refused"),
        (NoAnswer(why="refused"), False, "Correct the name.", "Correct the name."),
        (Answered(status=400), False, "Say https.", "Say https."),
        (Answered(status=400), False, None, None),
        (Answered(status=400), True, "Say https.", None),
        (Answered(status=401), False, "Say https.", None),
    ],
)
async def test_the_true_cause_is_told_where_the_answer_does_not_help_a_phone(
    outcome: UpstreamOutcome,
    tls: bool,
    cause: str | None,
    problem: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream, "diagnose", lambda _peer, _timeout_s: cause)
    world = World(outcome=outcome)
    peer = Peer(host="127.0.0.1", port=9, tls=tls)
    seen = Upstream(lambda: peer, world.ask, clock=lambda: world.now_s, sleep=world.sleep)
    await world.look(seen)
    assert seen.line().problem == problem
    seen.close()


async def test_when_it_was_seen_and_until_when_its_certificate_is_good() -> None:
    end, later = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    world = World(outcome=Answered(status=401, expires=end))
    seen = world.made()
    await seen.look()
    world.now_s += 7
    assert (seen.line().age_s, seen.expires) == (7, end)
    world.now_s += upstream.SEEN_S
    world.outcome = Answered(status=401)
    await seen.look()
    assert (seen.line().age_s, seen.expires) == (0, end), "plain HTTP shows none"
    seen.shown(later)
    assert seen.expires == later


async def test_a_fault_of_ours_does_not_end_the_asking(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    async def broken(_timeout_s: float) -> UpstreamOutcome:
        if len(world.asked) < 1:
            world.asked.append(world.now_s)
            raise RuntimeError("broken")
        return Answered(status=401)

    peer = Peer(host="127.0.0.1", port=9, tls=False)
    seen = Upstream(lambda: peer, broken, clock=lambda: world.now_s, sleep=world.sleep)
    await world.look(seen)
    assert seen.line().problem == "an internal error (RuntimeError); see the log"
    assert "Traceback" in caplog.text
    await world.pass_time()
    assert seen.line().reachable
    error = seen.line().error
    assert error is not None
    assert error.until_s is not None, "it is over, and still shown"


async def test_each_cause_is_told_once_until_it_answers_and_not_without_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    seen = world.made()
    for outage in range(2):
        world.outcome = NoAnswer(why="cause 0")
        seen.doubt("odd")
        for number in range(20):
            world.outcome = NoAnswer(why=f"cause {number}")
            await (world.pass_time() if outage or number else world.settle())
        world.outcome = Answered(status=401)
        await world.pass_time()
        assert seen.line().reachable
        told = [r for r in caplog.records if "Exchange cannot be reached" in r.getMessage()]
        assert len(told) == upstream.MOST_TOLD * (outage + 1)
    world.now_s += upstream.RETRY_S
    seen.doubt("unrecognized name")
    await world.settle()
    assert caplog.text.count("Exchange answers all the same: unrecognized name") == 1


async def test_closed_it_asks_no_more() -> None:
    World().made().close()
    world = World()
    seen = world.made()
    seen.doubt("x")
    await world.settle()
    seen.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_it_may_be_closed_after_its_event_loop() -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the task ends with the loop
    world = World()
    seen = world.made()

    async def begin() -> None:
        seen.doubt("x")
        await world.settle()

    loop.run_until_complete(begin())
    loop.close()
    seen.close()


async def test_it_depends_on_our_own_request_until_the_first_that_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    seen = world.made()
    seen.observe(EXCHANGE)
    seen.doubt("Certificate verify failed")
    await world.settle()
    seen.observe(EXCHANGE)  # an old connection that lives on is not enough
    assert not seen.line().reachable
    await world.pass_time()
    await world.pass_time()
    assert world.asked == [1000.0, 1005.0, 1010.0], "every five seconds"
    assert not seen.line().reachable
    world.outcome = Answered(status=503)
    await world.pass_time()
    assert seen.line().reachable
    assert seen.line().problem is None
    assert caplog.text.count("Exchange cannot be reached: refused") == 1
    assert caplog.text.count("Exchange answers again") == 1


async def test_a_stranger_whose_handshakes_fail_does_not_engage_the_by_pass() -> None:
    """Whoever calls by an odd name makes Exchange refuse it."""
    world = World(outcome=Answered(status=401))
    seen = world.made()
    seen.doubt("unrecognized name")
    assert not seen.line().reachable
    await world.settle()
    assert seen.line().reachable, "it answers us"
    seen.doubt("unrecognized name")
    assert seen.line().reachable, "and has just done so"
    await world.pass_time()
    assert world.asked == [1000.0, 1005.0], "no oftener for any number of strangers"
    world.outcome = NoAnswer(why="expired")
    world.now_s += 5
    seen.doubt("expired")
    assert not seen.line().reachable
    seen.close()


async def test_a_fresh_proxy_asks_before_anybody_sends_it_traffic() -> None:
    world = World(outcome=Answered(status=401))
    seen = world.made()
    assert not seen.line().reachable
    await seen.look()
    assert seen.line().reachable
    await seen.look()
    assert len(world.asked) == 1
    world.now_s += upstream.SEEN_S
    await seen.look()
    assert len(world.asked) == 2


async def test_a_fresh_proxy_that_cannot_reach_it_goes_on_asking() -> None:
    world = World()
    seen = world.made()
    await world.look(seen)
    assert seen.line().problem == "refused"
    world.outcome = Answered(status=401)
    await world.pass_time()
    assert seen.line().reachable


async def test_it_is_not_asked_again_before_its_time() -> None:
    """Half a second is left of the pause between two requests of our own."""
    world = World(outcome=Answered(status=401))
    seen = world.made()
    await seen.look()
    world.now_s += upstream.RETRY_S - 0.5
    seen.doubt("expired")
    await world.pass_time()
    await world.settle()
    assert world.asked == [1000.0, 1000.0 + upstream.RETRY_S]
    seen.close()


@pytest.mark.parametrize(("status", "problem"), [(400, "speaks TLS"), (401, None)])
async def test_what_a_tls_port_says_to_plain_http_is_no_answer_of_exchange(
    monkeypatch: pytest.MonkeyPatch, status: int, problem: str | None
) -> None:
    monkeypatch.setattr(upstream, "diagnose", lambda _peer, _timeout_s: "speaks TLS")
    world = World(outcome=Answered(status=status))
    seen = world.made()
    await world.look(seen)
    assert (seen.line().reachable, seen.line().problem) == (problem is None, problem)
    seen.close()


async def test_nobody_waits_for_a_slow_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "LOOK_S", 0.01)

    async def never(_timeout_s: float) -> UpstreamOutcome:
        await asyncio.Event().wait()
        raise AssertionError

    seen = Upstream(lambda: Peer(host="x", port=1), never)
    await asyncio.wait_for(seen.look(), 5)
    assert not seen.line().reachable
    seen.close()


async def test_nobody_waits_where_the_answer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of our own goes on meanwhile, or sleeps until it is repeated."""
    answered = asyncio.Event()
    peers: list[Peer | None] = [Peer(host="127.0.0.1", port=9)]

    async def slow(_timeout_s: float) -> UpstreamOutcome:
        await answered.wait()
        return NoAnswer(why="refused")

    monkeypatch.setattr(upstream, "LOOK_S", 0.01)
    world = World()
    seen = Upstream(lambda: peers[0], slow, clock=lambda: world.now_s, sleep=world.sleep)
    await seen.look()
    monkeypatch.setattr(upstream, "LOOK_S", 3600)
    peers.insert(0, None)  # another configuration has none
    await asyncio.wait_for(seen.look(), 2)
    assert seen.line().reachable
    del peers[0]
    answered.set()
    await world.settle()
    await asyncio.wait_for(seen.look(), 2)
    assert seen.line().problem == "refused"
    seen.close()


async def test_without_one_upstream_there_is_nothing_to_ask() -> None:
    world = World()
    seen = Upstream(lambda: None, world.ask)
    await seen.look()
    seen.doubt("x")
    assert seen.line().reachable
    assert world.asked == []
