"""A phone's way without a proxy between: to Exchange, after a 451 to the target, and what fails."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Reply, Request, Server
from eas_redirect.lab.legacy_exchange import LabAccounts
from eas_redirect.lab.personas import CLOUD, HOST, PERSONAS
from eas_redirect.lab.phone import PATH, Route
from eas_redirect.lab.target_server import TargetServer
from eas_redirect.lab.walk import MAX_HOPS, knock, walk, walk_all

ANNA = next(persona for persona in PERSONAS if persona.name == "anna")


class Redirecting:
    """Every request is answered 451 to `location`; what came is remembered."""

    def __init__(self, location: str | None) -> None:
        self.location = location
        self.asked: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(f"{request.method} {request.target}")
        location = () if self.location is None else (("X-MS-Location", self.location),)
        return Reply(451, location)


@pytest.fixture
def exchange() -> Redirecting:
    return Redirecting(f"https://{CLOUD}{PATH}")


@pytest.fixture
def network(tmp_path: Path, exchange: Redirecting) -> Iterator[Route]:
    authority = LabCertificates(tmp_path)
    here = authority.issue("here", (HOST,)).server_context()
    there = authority.issue("there", (CLOUD,)).server_context()
    target = TargetServer(LabAccounts([ANNA.account]), modern_hosts=(CLOUD,))
    with (
        Server(exchange, tls=here, host="127.0.0.1", port=0) as old,
        Server(target, tls=there, host="127.0.0.1", port=0) as new,
    ):
        addresses = {HOST: ("127.0.0.1", old.port), CLOUD: ("127.0.0.1", new.port)}
        yield Route(addresses, authority.client_context())


def test_a_451_is_followed_and_the_target_wants_a_token(network: Route) -> None:
    done = walk(ANNA, network)
    assert [got.status for got in done.got] == [451] * len(ANNA.asks)
    assert done.arrived is not None
    assert done.arrived.status == 200
    assert done.problem is None
    assert len(done.ports) == 1


def test_who_does_not_follow_stays(network: Route) -> None:
    assert walk(replace(ANNA, follows=False), network).arrived is None


def test_a_phone_gives_up_after_a_few_hops(network: Route, exchange: Redirecting) -> None:
    exchange.location = f"https://{HOST}{PATH}"
    done = walk(ANNA, network)
    assert len(done.got) == len(ANNA.asks) + MAX_HOPS
    assert done.arrived is None


@pytest.mark.parametrize("location", [None, "nowhere"])
def test_a_451_that_leads_nowhere(
    network: Route, exchange: Redirecting, location: str | None
) -> None:
    exchange.location = location
    done = walk(ANNA, network)
    assert done.arrived is None
    assert (done.problem is None) is (location is None)


def test_a_target_that_is_away_is_a_sentence(network: Route) -> None:
    away = Route({HOST: network.addresses[HOST], CLOUD: ("127.0.0.1", 1)}, network.tls)
    done = walk(ANNA, away)
    assert done.got
    assert (done.problem or "").startswith("ConnectionRefusedError: ")


def test_everybody_walks_at_once_and_the_order_stays(network: Route) -> None:
    people = [replace(ANNA, name=f"anna{n}") for n in range(5)]
    assert [done.persona.name for done in walk_all(people, network)] == [p.name for p in people]


def test_a_knock_brings_no_logon(network: Route, exchange: Redirecting) -> None:
    knock(network)
    assert exchange.asked == [f"OPTIONS {PATH}"]
