"""Which server is asked: in order, a failed one rests, a rested one is tried once."""

import traceback

import pytest

from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.servers import (
    ACCOUNT_COOL_DOWN_S,
    COOL_DOWN_S,
    ServerAddress,
    Servers,
    parse_server,
)
from tests.directory.fakes import Clock

DC1, DC2 = ServerAddress("dc1", 636, True), ServerAddress("dc2", 636, True)
DOWN = Fault("connection_refused", "refused")
WRONG = Fault("invalid_credentials", "wrong password", "account")


@pytest.mark.parametrize(
    ("url", "address", "text"),
    [
        ("ldaps://dc1.contoso.example", ServerAddress("dc1.contoso.example", 636, True), None),
        ("ldap://DC1", ServerAddress("dc1", 389, False), "dc1:389"),
        ("LDAPS://dc1:3269/", ServerAddress("dc1", 3269, True), "dc1:3269"),
        ("ldap://[::1]:3268", ServerAddress("::1", 3268, False), "[::1]:3268"),
    ],
)
def test_urls(url: str, address: ServerAddress, text: str | None) -> None:
    assert parse_server(url) == address
    assert text is None or str(address) == text


@pytest.mark.parametrize(
    "url",
    [
        *("", "dc1", "http://dc1", "ldaps://", "ldaps://dc1:x", "ldaps://dc1:99999"),
        *("ldaps://user:secret@dc1", "ldap://dc1/DC=contoso", "ldap://[::1"),
    ],
)
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at below
        parse_server(url)
    assert "secret" not in str(caught.value)
    assert "ldaps://" in str(caught.value), "what to write instead"


def test_a_global_catalogue_is_a_domain_controller_too() -> None:
    assert parse_server("ldaps://dc1:3269").controller() == ServerAddress("dc1", 636, True)
    assert parse_server("ldap://dc1:3268").controller() == ServerAddress("dc1", 389, False)
    assert not parse_server("ldaps://dc1").is_global_catalogue


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(clock: Clock) -> Servers:
    return Servers((DC1, DC2), clock)


def test_in_order_and_the_failed_one_rests(servers: Servers, clock: Clock) -> None:
    assert servers.choose() == DC1
    assert servers.next_probe() is None
    servers.failed(DC1, DOWN)
    assert servers.choose() == DC2
    assert servers.next_probe() == clock.now + COOL_DOWN_S
    assert servers.to_probe() is None
    clock.now += COOL_DOWN_S
    assert servers.choose() == DC2, "nobody's question tries a rested server"
    assert servers.to_probe() == DC1
    assert servers.to_probe() is None, "one try at a time"
    servers.succeeded(DC1)
    assert servers.choose() == DC1
    assert servers.working(DC1)
    assert not servers.working(DC2), "who is connected to the second moves back to the first"


def why_none(servers: Servers) -> str | None:
    fault = servers.why_none()
    return fault.message if fault else None


def test_a_fault_that_is_told_often_does_not_grow(servers: Servers) -> None:
    """Raised again, an exception keeps the frames of every time."""
    for address in (DC1, DC2):
        servers.failed(address, DOWN)
    told = []
    for _ in range(3):
        with pytest.raises(Fault) as caught:
            servers.choose()
        told.append(caught.value)
    assert len(set(map(id, told))) == 3
    assert len({len(traceback.extract_tb(fault.__traceback__)) for fault in told}) == 1


def test_none_left_is_said_at_once(servers: Servers, clock: Clock) -> None:
    servers.failed(DC1, DOWN)
    assert servers.why_none() is None
    servers.failed(DC2, DOWN)
    assert why_none(servers) == DOWN.message
    assert not servers.working(DC1)
    with pytest.raises(Fault):
        servers.choose()
    clock.now += COOL_DOWN_S
    assert why_none(servers) == DOWN.message, "a rested server is not yet one that works"
    assert [servers.to_probe(), servers.to_probe(), servers.to_probe()] == [DC1, DC2, None]
    servers.succeeded(DC2)
    assert servers.choose() == DC2
    assert servers.why_none() is None


def test_a_refused_account_concerns_every_server(servers: Servers, clock: Clock) -> None:
    servers.failed(DC1, WRONG)
    assert why_none(servers) == WRONG.message
    clock.now += ACCOUNT_COOL_DOWN_S
    assert servers.to_probe() == DC1
    servers.succeeded(DC1)
    assert servers.why_none() is None
    servers.failed(DC1, DOWN)
    assert servers.choose() == DC2, "the account is good again for the second server too"
