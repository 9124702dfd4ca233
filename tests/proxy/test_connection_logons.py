"""Connection-bound logons: remembered for one pair of connections, and forgotten in every doubt."""

import pytest

from eas_redirect.activesync.authorization import Credentials, Logon, Scheme
from eas_redirect.proxy.connection_logons import ConnectionLogons

ANNA = Logon(text="CONTOSO\\anna", user="anna", domain="CONTOSO", format="down_level")
BERT = Logon(text="CONTOSO\\bert", user="bert", domain="CONTOSO", format="down_level")
NOTHING = Credentials(scheme="none")
LAST_MESSAGE = Credentials(scheme="ntlm", logon=ANNA)


@pytest.fixture
def logons() -> ConnectionLogons:
    """Anna has logged on: client connection c, upstream connection s."""
    logons = ConnectionLogons()
    logons.answered("c", "s", LAST_MESSAGE, 200)
    return logons


def test_a_request_without_authorization_is_the_one_who_logged_on(logons: ConnectionLogons) -> None:
    assert logons.recall("c", "s", NOTHING) == ANNA
    logons.answered("c", "s", NOTHING, 200)
    logons.answered("c", "s", NOTHING, 403)
    assert logons.recall("c", "s", NOTHING) == ANNA


def test_bare_ntlm_under_the_name_of_negotiate_counts() -> None:
    logons = ConnectionLogons()
    logons.answered("c", "s", Credentials(scheme="negotiate", logon=ANNA), 200)
    assert logons.recall("c", "s", NOTHING) == ANNA


@pytest.mark.parametrize(("client", "server"), [("other", "s"), ("c", "new"), ("new", "other")])
def test_it_holds_for_this_pair_of_connections_only(
    logons: ConnectionLogons, client: str, server: str
) -> None:
    assert logons.recall(client, server, NOTHING) is None


@pytest.mark.parametrize("scheme", ["basic", "ntlm", "negotiate", "bearer", "other"])
def test_a_request_with_its_own_authorization_is_never_given_another_name(
    logons: ConnectionLogons, scheme: Scheme
) -> None:
    assert logons.recall("c", "s", Credentials(scheme=scheme)) is None


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        (NOTHING, 401),
        (LAST_MESSAGE, 401),
        (Credentials(scheme="negotiate"), 200),
        (Credentials(scheme="basic", logon=BERT), 200),
        (Credentials(scheme="ntlm", problem="cut short"), 200),
    ],
)
def test_doubt_forgets(logons: ConnectionLogons, credentials: Credentials, status: int) -> None:
    logons.answered("c", "s", credentials, status)
    assert logons.recall("c", "s", NOTHING) is None
    assert len(logons) == 0


def test_a_new_logon_takes_the_place_of_the_old(logons: ConnectionLogons) -> None:
    logons.answered("c", "s", Credentials(scheme="ntlm", logon=BERT), 200)
    assert logons.recall("c", "s", NOTHING) == BERT


def test_a_client_that_leaves_is_forgotten(logons: ConnectionLogons) -> None:
    logons.forget("c")
    logons.forget("c")
    assert logons.recall("c", "s", NOTHING) is None
