"""Connection-bound logons: remembered for one pair of connections, nobody's in every doubt."""

import pytest

from eas_redirect.activesync.authorization import ConnectionLogon, Credentials, Logon, Scheme
from eas_redirect.judging.callers import ConnectionLogons

ANNA = Logon(text="CONTOSO\\anna", user="anna", domain="CONTOSO", format="down_level")
BERT = Logon(text="CONTOSO\\bert", user="bert", domain="CONTOSO", format="down_level")
SOMEBODY = ConnectionLogon(None)
NOTHING = Credentials(scheme="none")
LAST_MESSAGE = Credentials(scheme="ntlm", logon=ANNA)


@pytest.fixture
def logons() -> ConnectionLogons:
    """Anna has logged on: client connection c, upstream connection s."""
    logons = ConnectionLogons()
    logons.answered("c", "s", LAST_MESSAGE, 200)
    return logons


def test_a_request_without_authorization_is_the_one_who_logged_on(logons: ConnectionLogons) -> None:
    assert logons.recall("c", "s", NOTHING) == ConnectionLogon(ANNA)
    logons.answered("c", "s", NOTHING, 200)
    logons.answered("c", "s", NOTHING, 403)
    assert logons.recall("c", "s", NOTHING) == ConnectionLogon(ANNA)


def test_bare_ntlm_under_the_name_of_negotiate_counts() -> None:
    logons = ConnectionLogons()
    logons.answered("c", "s", Credentials(scheme="negotiate", logon=ANNA), 200)
    assert logons.recall("c", "s", NOTHING) == ConnectionLogon(ANNA)


@pytest.mark.parametrize(
    ("client", "server", "known"),
    [("other", "s", None), ("c", "new", SOMEBODY), ("new", "other", None)],
)
def test_it_holds_for_this_pair_of_connections_only(
    logons: ConnectionLogons, client: str, server: str, known: ConnectionLogon | None
) -> None:
    assert logons.recall(client, server, NOTHING) == known


@pytest.mark.parametrize("scheme", ["basic", "ntlm", "negotiate", "bearer", "other"])
def test_a_request_with_its_own_authorization_is_never_given_another_name(
    logons: ConnectionLogons, scheme: Scheme
) -> None:
    assert logons.recall("c", "s", Credentials(scheme=scheme)) is None


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(scheme="negotiate"),
        Credentials(scheme="basic", logon=BERT),
        Credentials(scheme="bearer"),
        Credentials(scheme="other"),
        Credentials(scheme="ntlm", problem="cut short"),
    ],
)
def test_a_logon_that_is_dropped_leaves_somebody(
    logons: ConnectionLogons, credentials: Credentials
) -> None:
    logons.answered("c", "s", credentials, 200)
    assert logons.recall("c", "s", NOTHING) == SOMEBODY


@pytest.mark.parametrize("credentials", [NOTHING, LAST_MESSAGE, Credentials(scheme="negotiate")])
def test_when_exchange_asks_anew_nobody_is_logged_on(
    logons: ConnectionLogons, credentials: Credentials
) -> None:
    logons.answered("c", "s", credentials, 401)
    assert logons.recall("c", "s", NOTHING) is None
    assert len(logons) == 0


def test_a_logon_out_of_sight_is_somebody_s(logons: ConnectionLogons) -> None:
    for client in ("c", "another"):
        logons.somebody(client)
        assert logons.recall(client, "s", NOTHING) == SOMEBODY


def test_a_logon_for_one_request_binds_no_connection() -> None:
    logons = ConnectionLogons()
    logons.answered("c", "s", Credentials(scheme="basic", logon=ANNA), 200)
    assert logons.recall("c", "s", NOTHING) is None
    assert len(logons) == 0


def test_a_new_logon_takes_the_place_of_the_old(logons: ConnectionLogons) -> None:
    logons.answered("c", "s", Credentials(scheme="ntlm", logon=BERT), 200)
    assert logons.recall("c", "s", NOTHING) == ConnectionLogon(BERT)


def test_a_client_that_leaves_is_forgotten(logons: ConnectionLogons) -> None:
    logons.forget("c")
    logons.forget("c")
    assert logons.recall("c", "s", NOTHING) is None
