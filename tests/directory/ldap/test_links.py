"""One thread's connections: kept, moved, given up; the sessions and the clock are made up."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap import links as links_module
from eas_redirect.directory.ldap import workers as workers_module
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.links import IDLE_S, Links, Role, RootDSE, Session
from eas_redirect.directory.ldap.servers import ServerAddress, Servers
from eas_redirect.directory.ldap.workers import Deadline
from tests.directory.fakes import Clock

DC1, DC2 = ServerAddress("dc1", 636, True), ServerAddress("dc2", 636, True)
LIMIT_S = 10.0
GONE = Fault("disconnected", "the server closed the connection")
SLOW = Fault("timeout", "late")
NOT_HERE = Fault("referral", "not here", "question")
REFUSED = Fault("invalid_credentials", "wrong password", "account")


class Connection:
    """A `Session` that tells nothing, and counts."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.root_dse = RootDSE()
        self.interrupted = 0
        self.closed = 0

    def find(self, *_: object, **__: object) -> list[Entry]:
        return []

    def moved(self, *_: object) -> list[Entry]:
        return []

    def shows(self, *_: object) -> bool:
        return False

    def interrupt(self) -> None:
        self.interrupted += 1

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A thread's links to dc1 and dc2. `refuses`: faults of connecting, one after the other;
    `during_connect` is what happens while a connect blocks."""

    def __init__(self, clock: Clock, *addresses: ServerAddress) -> None:
        self.clock = clock
        self.servers = Servers(addresses, clock)
        self.roles: dict[Role, Servers] = {"users": self.servers, "configuration": self.servers}
        self.opened: list[Connection] = []
        self.patience: list[float] = []
        self.refuses: list[Fault] = []
        self.during_connect: Callable[[], object] = lambda: None
        self.links = Links(self.roles, self.connect, LIMIT_S, asks_catalogue=False)

    def connect(
        self, address: ServerAddress, patience_s: float, opening: Callable[[Session], None]
    ) -> Session:
        self.patience.append(patience_s)
        connection = Connection(address.host)
        self.opened.append(connection)
        opening(connection)
        self.during_connect()
        if self.refuses:
            raise self.refuses.pop(0)
        return connection

    def deadline(self, in_s: float = LIMIT_S) -> Deadline:
        return Deadline(self.clock.now + in_s)

    def ask(
        self,
        *faults: Fault,
        role: Role = "users",
        deadline: Deadline | None = None,
        during: Callable[[], object] = lambda: None,
    ) -> str:
        """Which server answered, after these faults of the question."""
        left = list(faults)

        def question(session: Session, patience_s: float) -> str:
            assert isinstance(session, Connection)
            self.patience.append(patience_s)
            during()
            if left:
                raise left.pop(0)
            return session.server

        return self.links.ask(role, deadline or self.deadline(), question)

    def fails(self, *faults: Fault, **how: Any) -> tuple[str, str, str]:
        with pytest.raises(Fault) as caught:
            self.ask(*faults, **how)
        fault = caught.value
        return fault.error_type, fault.message, fault.scope

    @property
    def closed(self) -> Counter[str]:
        return Counter(one.server for one in self.opened for _ in range(one.closed))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (links_module, workers_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def bench(clock: Clock) -> Bench:
    return Bench(clock, DC1, DC2)


def test_a_connection_is_kept_until_it_has_been_idle_for_long(bench: Bench) -> None:
    bench.ask()
    for _ in range(3):  # each answer restarts the time
        bench.clock.now += IDLE_S - 1
        assert bench.ask() == "dc1"
    assert len(bench.opened) == 1
    bench.clock.now += IDLE_S
    assert bench.ask() == "dc1"
    assert [one.closed for one in bench.opened] == [1, 0]


def test_roles_of_the_same_servers_share_a_connection_and_others_do_not(bench: Bench) -> None:
    bench.ask(role="users")
    bench.ask(role="configuration")
    assert len(bench.opened) == 1
    bench.roles["configuration"] = Servers((DC2,), bench.clock)
    assert bench.ask(role="configuration") == "dc2"
    assert bench.links.last_server == "dc2:636"
    assert bench.ask(role="users") == "dc1"
    assert bench.links.last_server == "dc1:636"
    assert len(bench.opened) == 2
    for _ in range(2):
        bench.links.close()
    assert bench.closed == {"dc1": 1, "dc2": 1}, "once each"


def test_it_moves_back_to_the_first_server_that_works(bench: Bench) -> None:
    bench.servers.failed(DC1, SLOW)
    assert bench.ask() == "dc2"
    bench.servers.succeeded(DC1)
    assert bench.ask() == "dc1"
    assert bench.closed == {"dc2": 1}
    bench.servers.failed(DC1, SLOW)  # as another thread has seen
    assert bench.ask() == "dc2"
    assert bench.closed == {"dc2": 1, "dc1": 1}


@pytest.mark.parametrize(
    ("addresses", "left_s", "patience_s"),
    [
        ((DC1,), LIMIT_S, LIMIT_S),
        ((DC1,), 3.0, 3.0),
        ((DC1, DC2), LIMIT_S, 4.0),  # another server may still be asked
        ((DC1, DC2), 3.0, 3.0),
    ],
)
def test_a_step_leaves_time_for_another_server(
    clock: Clock, addresses: tuple[ServerAddress, ...], left_s: float, patience_s: float
) -> None:
    bench = Bench(clock, *addresses)
    bench.ask(deadline=bench.deadline(left_s))
    assert bench.patience == [patience_s, patience_s], "of the connect, of the question"


def test_when_the_time_is_over_nobody_is_asked_or_blamed(bench: Bench) -> None:
    late = "the time for one look-up is over"
    assert bench.fails(deadline=bench.deadline(0)) == ("timeout", late, "question")
    assert bench.servers.working(DC1)
    assert bench.opened == []
    bench.ask()
    abandoned = bench.deadline()
    abandoned.abandon()
    assert bench.fails(deadline=abandoned) == ("timeout", f"dc1:636: {late}", "question")
    assert bench.ask() == "dc1"
    assert len(bench.opened) == 1


def test_a_question_that_the_server_refuses_costs_no_connection(bench: Bench) -> None:
    assert bench.fails(NOT_HERE) == ("referral", "dc1:636: not here", "question")
    assert bench.ask() == "dc1"
    assert len(bench.opened) == 1


def test_the_next_server_answers_where_one_fails(bench: Bench) -> None:
    assert bench.ask(SLOW) == "dc2"
    assert bench.closed == {"dc1": 1}
    bench.clock.now += 1
    assert bench.ask() == "dc2"
    why = bench.fails(SLOW)
    assert why == ("timeout", "dc2:636: late", "server"), "none is left"
    assert bench.fails() == why, "said at once"
    assert len(bench.opened) == 2


def test_a_server_that_cannot_be_reached_is_left_for_the_next_one(bench: Bench) -> None:
    bench.refuses = [Fault("connection_refused", "refused")]
    assert bench.ask() == "dc2"
    assert not bench.servers.working(DC1)
    bench.links.close()
    assert bench.ask() == "dc2", "it rests"


def test_a_server_that_has_let_somebody_in_works(bench: Bench) -> None:
    """Whatever another thread has seen meanwhile."""
    bench.during_connect = lambda: bench.servers.failed(DC1, REFUSED)
    assert bench.ask() == "dc1"
    assert bench.servers.working(DC1)


def test_a_refused_account_is_tried_at_no_other_server(bench: Bench) -> None:
    bench.refuses = [REFUSED]
    refused = ("invalid_credentials", "dc1:636: wrong password", "account")
    assert bench.fails() == refused
    assert bench.fails() == refused
    assert len(bench.opened) == 1
    bench.servers.succeeded(DC1)
    assert bench.fails(REFUSED) == refused, "said to the question, too"
    assert [one.server for one in bench.opened] == ["dc1", "dc1"]


def test_only_a_connection_that_has_been_idle_may_have_been_closed(bench: Bench) -> None:
    assert bench.ask(GONE) == "dc2", "a new connection that breaks is the server's fault"
    bench.servers.succeeded(DC1)
    assert bench.ask() == "dc1"
    assert bench.ask(GONE) == "dc1", "it was the connection, and a new one is made"
    assert bench.servers.working(DC1)
    assert bench.ask(SLOW) == "dc2", "that it is slow is the server's fault all the same"


def test_a_broken_connection_is_made_again_once(bench: Bench) -> None:
    bench.ask()
    assert bench.ask(GONE, GONE) == "dc2"
    assert [one.server for one in bench.opened] == ["dc1", "dc1", "dc2"]


def test_what_ends_because_nobody_waits_any_more_was_too_slow(bench: Bench) -> None:
    """Who gives up shuts the connection down; that is not the server's word."""
    slow = ("timeout", "dc1:636: the server closed the connection (the time for one look-up"
            " is over)", "server")  # fmt: skip
    for when in ("during the question", "during the connect"):
        deadline = bench.deadline()
        if when == "during the question":
            bench.ask()
            assert bench.fails(GONE, deadline=deadline, during=deadline.abandon) == slow
        else:
            bench.during_connect = deadline.abandon
            bench.refuses = [GONE]
            assert bench.fails(deadline=deadline) == slow
        assert not bench.servers.working(DC1), "it rests, whatever it would have said"
        assert [one.server for one in bench.opened if one.server != "dc1"] == []
        bench.servers.succeeded(DC1)


def test_a_refused_account_is_told_as_such_however_late(bench: Bench) -> None:
    deadline = bench.deadline()
    bench.during_connect = deadline.abandon
    bench.refuses = [REFUSED]
    assert bench.fails(deadline=deadline)[0] == "invalid_credentials"


def test_a_rested_server_is_tried_and_not_connected_to(bench: Bench) -> None:
    for address in (DC1, DC2):
        bench.servers.failed(address, SLOW)
    bench.clock.now += 1
    bench.refuses = [Fault("connection_refused", "refused")]
    bench.links.probe("users", DC1, bench.deadline())
    with pytest.raises(Fault, match="dc1:636: refused"):
        bench.servers.choose()
    with pytest.raises(Fault, match="is over"):
        bench.links.probe("users", DC1, bench.deadline(0))
    with pytest.raises(Fault, match="dc1:636: refused"):  # there was no time to try it
        bench.servers.choose()
    bench.links.probe("users", DC2, bench.deadline())
    assert bench.servers.choose() == DC2
    assert bench.closed == {"dc2": 1}
    assert bench.patience == [4.0, 4.0]


def test_whatever_the_thread_waits_in_is_interrupted(bench: Bench) -> None:
    bench.links.interrupt()  # it waits in nothing
    bench.during_connect = bench.links.interrupt
    bench.ask(during=bench.links.interrupt)
    bench.links.interrupt()
    assert [one.interrupted for one in bench.opened] == [2], "its connect, its question"
    bench.fails(NOT_HERE)
    bench.links.interrupt()
    bench.refuses = [SLOW]
    bench.links.probe("users", DC1, bench.deadline())
    bench.links.interrupt()
    assert [one.interrupted for one in bench.opened] == [2, 1]
