"""Which server is asked for what, and what becomes of its failures; the sessions are made up."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from eas_redirect.directory.entries import DEVICE_CLASS, Entry
from eas_redirect.directory.ldap.active_directory import ActiveDirectory, account_forest
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault, NoSuchObjectError
from eas_redirect.directory.ldap.links import RootDSE, Session
from eas_redirect.directory.ldap.servers import ServerAddress
from eas_redirect.directory.values import (
    AccountDomain,
    Ambiguous,
    DeviceLists,
    DirectorySettings,
    Found,
    Lookup,
    MovedAnswer,
    NotFound,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)
from tests.directory.ldap.ranges import RangeServer, serving, whole_ranges
from tests.directory.ldap.test_forest import CONTOSO_REF, O365, Server, cross_ref, entry, user
from tests.directory.ldap.test_wire_ranges import entries
from tests.directory.logons import logon

ROOT = "DC=contoso,DC=example"
CONTOSO = Entry(
    f"CN=CONTOSO,CN=Partitions,CN=Configuration,{ROOT}",
    {
        "ncname": [ROOT],
        "netbiosname": ["CONTOSO"],
        "dnsroot": ["contoso.example"],
        "systemflags": ["3"],
    },
)
EMEA = Entry(
    f"CN=EMEA,CN=Partitions,CN=Configuration,{ROOT}",
    {
        "ncname": [f"DC=emea,{ROOT}"],
        "netbiosname": ["EMEA"],
        "dnsroot": ["emea.contoso.example"],
        "systemflags": ["3"],
    },
)
ANNA = Entry(
    f"CN=Anna,{ROOT}",
    {"objectclass": ["user"], "samaccountname": ["anna"], "userprincipalname": ["anna@x.example"]},
)
ANNA_EMEA = Entry(f"CN=Anna,DC=emea,{ROOT}", ANNA.attributes)


class Forest:
    """Servers by name: what each was asked (role, base), and what is wrong with it."""

    def __init__(self, *, is_active_directory: bool = False) -> None:
        self.is_active_directory = is_active_directory
        self.entries = {"crossRef": [CONTOSO], "user": [ANNA]}
        self.asked: list[tuple[str, str]] = []
        self.looked_for: list[tuple[str, str, tuple[str, ...]]] = []
        self.gone: list[Entry] = []  # what is answered to the question who has moved
        self.watched: list[tuple[tuple[str, str | bytes], ...]] = []  # and who was asked about
        self.opened: Counter[str] = Counter()
        self.open_sessions = 0
        self.connect_faults: dict[str, Fault] = {}
        self.ask_faults: dict[str, list[Fault]] = {}
        self.lock = threading.Lock()

    def connect(
        self, address: ServerAddress, patience_s: float, opening: Callable[[Session], None]
    ) -> Session:
        assert 0 < patience_s <= 5
        session = FakeSession(self, str(address))
        opening(session)
        self.opened[str(address)] += 1
        if (fault := self.connect_faults.get(address.host)) is not None:
            raise fault
        with self.lock:
            self.open_sessions += 1
        return session


class FakeSession:
    def __init__(self, forest: Forest, server: str) -> None:
        self.forest = forest
        self.server = server
        self.root_dse = RootDSE(
            default_naming_context=ROOT,
            configuration_naming_context=f"CN=Configuration,{ROOT}",
            naming_contexts=(ROOT, f"CN=Configuration,{ROOT}", f"DC=DomainDnsZones,{ROOT}"),
            is_active_directory=forest.is_active_directory,
        )

    def find(
        self,
        base: str,
        object_class: str | None,
        equals: tuple[str, str | bytes] | None,  # noqa: ARG002 - one user is enough
        attributes: tuple[str, ...],
        patience_s: float,
        *,
        most_bytes: int = 0,  # noqa: ARG002
    ) -> list[Entry]:
        assert "objectClass" in attributes
        assert 0 < patience_s <= 5
        self.forest.asked.append((self.server, base))
        if faults := self.forest.ask_faults.get(self.server.partition(":")[0]):
            raise faults.pop(0)
        if base.startswith("CN=Microsoft Exchange"):
            raise NoSuchObjectError(base)
        return self.forest.entries.get(object_class or "", [])

    def moved(
        self, base: str, any_of: tuple[tuple[str, str | bytes], ...], patience_s: float
    ) -> list[Entry]:
        assert 0 < patience_s <= 5
        self.forest.asked.append((self.server, base))
        self.forest.watched.append(any_of)
        if faults := self.forest.ask_faults.get(self.server.partition(":")[0]):
            raise faults.pop(0)
        return self.forest.gone

    def shows(
        self,
        base: str,
        attributes: tuple[str, ...],
        accepts: Callable[[Entry], bool],
        patience_s: float,
    ) -> bool:
        assert 0 < patience_s <= 5
        self.forest.looked_for.append((self.server, base, attributes))
        return any(map(accepts, self.forest.entries["user"]))

    def interrupt(self) -> None: ...

    def close(self) -> None:
        with self.forest.lock:
            self.forest.open_sessions -= 1


@contextmanager
def directory_of(
    forest: Forest,
    *servers: str,
    cool_down_s: float = 60.0,
    default_domain: str | None = None,
    search_base: str | None = None,
) -> Iterator[ActiveDirectory]:
    settings = DirectorySettings(
        servers=servers, pool_size=1, default_domain=default_domain, search_base=search_base
    )
    directory = ActiveDirectory(settings, connect=forest.connect, cool_down_s=cool_down_s)
    try:
        yield directory
    finally:
        directory.close()
        assert forest.open_sessions == 0, "no connection is left behind"


async def ask(directory: ActiveDirectory, text: str = "CONTOSO\\anna") -> Lookup:
    return (await directory.recipient(logon(text))).lookup


def disconnected() -> Fault:
    return Fault("disconnected", "the server closed the connection")


async def test_one_connection_serves_users_and_configuration_of_a_controller() -> None:
    forest = Forest()
    with directory_of(forest, "ldaps://dc1") as directory:
        assert isinstance(await ask(directory), Found)
        assert (await directory.relationships()).relationships == ()
    assert forest.opened == {"dc1:636": 1}
    assert forest.asked == [
        ("dc1:636", f"CN=Partitions,CN=Configuration,{ROOT}"),
        ("dc1:636", f"CN=Partitions,CN=Configuration,{ROOT}"),
        ("dc1:636", f"CN=System,{ROOT}"),
        ("dc1:636", ROOT.lower()),
        ("dc1:636", f"CN=Microsoft Exchange,CN=Services,CN=Configuration,{ROOT}"),
        # With the relationships, what can be vouched for is read again.
        ("dc1:636", f"CN=Partitions,CN=Configuration,{ROOT}"),
        ("dc1:636", f"CN=Partitions,CN=Configuration,{ROOT}"),
        ("dc1:636", f"CN=System,{ROOT}"),
    ]
    assert forest.looked_for[0] == (
        "dc1:636",
        ROOT.lower(),
        ("homeMDB", "mailNickname", "userPrincipalName"),
    )


@pytest.mark.parametrize(
    ("servers", "users", "configuration"),
    [
        (["ldaps://gc:3269"], "gc:3269", "gc:636"),
        (["ldap://gc:3268"], "gc:3268", "gc:389"),
        (["ldaps://dc1", "ldaps://gc:3269"], "gc:3269", "dc1:636"),
    ],
)
async def test_users_come_from_a_catalogue_and_the_configuration_from_a_controller(
    servers: list[str], users: str, configuration: str
) -> None:
    forest = Forest()
    with directory_of(forest, *servers) as directory:
        await ask(directory, "anna")
        await ask(directory)
        await directory.relationships()
    assert {(server, base) for server, base in forest.asked if server == users} == {
        (users, ""),
        (users, ROOT.lower()),
    }
    assert {server for server, base in forest.asked if "Configuration" in base} == {configuration}


async def test_a_catalogue_s_answer_for_the_domain_below_is_not_the_domain_s() -> None:
    forest = Forest()
    forest.entries = {"crossRef": [CONTOSO, EMEA], "user": [ANNA, ANNA_EMEA]}
    with directory_of(forest, "ldaps://gc:3269") as directory:
        contoso, emea = await ask(directory), await ask(directory, "EMEA\\anna")
        bare = await ask(directory, "anna")
    assert isinstance(contoso, Found)
    assert contoso.recipient.dn == ANNA.dn
    assert isinstance(emea, Found)
    assert emea.recipient.dn == ANNA_EMEA.dn
    assert isinstance(bare, Ambiguous)


@pytest.mark.parametrize(
    ("server", "kind"), [("ldaps://dc1", Ambiguous), ("ldaps://gc:3269", Found)]
)
async def test_a_bare_name_needs_the_whole_forest(server: str, kind: type[Lookup]) -> None:
    """A controller of one domain of several cannot know that nobody else has the name."""
    forest = Forest()
    forest.entries = {"crossRef": [CONTOSO, EMEA], "user": [ANNA]}
    with directory_of(forest, server) as directory:
        answer = await directory.recipient(logon("anna"))
        assert isinstance(answer.lookup, kind)
    if kind is Ambiguous:
        assert "set exchange.default_domain" in answer.steps[-1]
    with directory_of(forest, server, default_domain="CONTOSO") as directory:
        assert isinstance(await ask(directory, "anna"), Found)


@pytest.mark.parametrize(
    ("server", "search_base", "domains", "kind"),
    [
        # A domain controller has nothing of the domains below its own, whatever the base.
        ("ldaps://dc1", ROOT, [CONTOSO, EMEA], Ambiguous),
        ("ldaps://dc1", ROOT, [CONTOSO], Found),
        ("ldaps://dc1", f"OU=Staff, {ROOT}", [CONTOSO], Ambiguous),
        ("ldaps://gc:3269", ROOT, [CONTOSO, EMEA], Found),
        ("ldaps://gc:3269", f"OU=Staff,{ROOT}", [CONTOSO, EMEA], Ambiguous),
        ("ldaps://gc:3269", f"DC=Emea, {ROOT}", [EMEA], Found),
        ("ldaps://gc:3269", f"DC=emea,{ROOT}", [CONTOSO, EMEA], Ambiguous),
    ],
)
async def test_a_search_base_does_not_make_the_forest_smaller(
    server: str, search_base: str, domains: list[Entry], kind: type[Lookup]
) -> None:
    forest = Forest(is_active_directory=True)
    forest.entries = {"crossRef": domains, "user": [ANNA]}
    with directory_of(forest, server, search_base=search_base) as directory:
        assert isinstance(await ask(directory, "anna"), kind)


async def test_another_directory_holds_what_is_below_its_base() -> None:
    forest = Forest()
    forest.entries = {"crossRef": [CONTOSO, EMEA], "user": [ANNA]}
    with directory_of(forest, "ldaps://dc1", search_base=ROOT) as directory:
        assert isinstance(await ask(directory, "anna"), Found)


async def test_the_next_server_answers_when_the_first_fails() -> None:
    forest = Forest()
    with directory_of(forest, "ldaps://dc1", "ldaps://dc2") as directory:
        await ask(directory)
        forest.ask_faults["dc1"] = [Fault("timeout", "late")]
        answer = await directory.recipient(logon("CONTOSO\\anna"))
        assert isinstance(answer.lookup, Found)
        assert answer.server == "dc2:636"
        await ask(directory)
    assert forest.opened == {"dc1:636": 1, "dc2:636": 1}


async def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    forest = Forest()
    with directory_of(forest, "ldaps://dc1", "ldaps://dc2") as directory:
        await ask(directory)
        forest.ask_faults["dc1"] = [disconnected()]
        answer = await directory.recipient(logon("CONTOSO\\anna"))
        assert isinstance(answer.lookup, Found)
        assert answer.server == "dc1:636", "it was the connection, not the server"
        forest.ask_faults["dc1"] = [disconnected(), disconnected()]
        answer = await directory.recipient(logon("CONTOSO\\anna"))
        assert answer.server == "dc2:636", "a new connection that breaks is the server's fault"


async def test_a_refused_account_is_not_tried_at_every_server() -> None:
    forest = Forest()
    refused = Fault("invalid_credentials", "wrong password", "account")
    forest.connect_faults = {"dc1": refused, "dc2": refused}
    with directory_of(forest, "ldaps://dc1", "ldaps://dc2") as directory:
        for _ in range(5):
            lookup = await ask(directory)
            assert isinstance(lookup, Unavailable)
            assert lookup.message == "dc1:636: wrong password"
    assert forest.opened == {"dc1:636": 1}


async def test_a_question_that_no_server_can_answer_ends_with_the_first() -> None:
    forest = Forest()
    with directory_of(forest, "ldaps://dc1", "ldaps://dc2") as directory:
        await ask(directory)
        forest.ask_faults["dc1"] = [Fault("referral", "not here", "question")]
        lookup = await ask(directory)
        assert isinstance(lookup, Unavailable)
        assert lookup.error_type == "referral"
        assert isinstance(await ask(directory), Found)
    assert forest.opened == {"dc1:636": 1}


async def test_a_server_that_is_back_is_found_in_the_background() -> None:
    forest = Forest()
    forest.connect_faults["dc1"] = Fault("connection_refused", "refused")
    with directory_of(forest, "ldaps://dc1", cool_down_s=0.01) as directory:
        assert isinstance(await ask(directory), Unavailable)
        forest.connect_faults.clear()
        for _ in range(3000):
            if isinstance(await ask(directory), Found):
                break
            await asyncio.sleep(0.01)
        assert isinstance(await ask(directory), Found)


async def test_a_user_s_question_needs_nobody_who_has_the_configuration() -> None:
    """Once the map of domains was read; it is read again with the relationships alone."""
    forest = Forest()
    with directory_of(forest, "ldaps://gc:3269", "ldaps://dc1") as directory:
        assert isinstance(await ask(directory), Found)
        forest.ask_faults["dc1"] = [Fault("timeout", "late")] * 9
        forest.connect_faults["dc1"] = Fault("timeout", "late")
        forest.asked.clear()
        for _ in range(20):
            assert isinstance(await ask(directory), Found)
        assert await ask(directory, "FABRIKAM\\anna") == NotFound()
        assert {server for server, _ in forest.asked} == {"gc:3269"}
        assert isinstance((await directory.relationships()).relationships, Unavailable)
        assert isinstance(await ask(directory), Found)


async def test_a_closed_directory_says_so() -> None:
    forest = Forest()
    with directory_of(forest, "ldaps://dc1") as directory:
        await ask(directory)
        directory.close()
        lookup = await ask(directory)
    assert isinstance(lookup, Unavailable)
    assert lookup.error_type == "closed"


# -- each question as a directory is asked it -----------------------------------------------------

ANNA_DN = f"CN=anna,CN=Users,{ROOT}"
TARGET = {"targetAddress": "SMTP:anna@m.example", "mailNickname": "anna"}
LATE = Unavailable(error_type="timeout", message="dc1:636: late")


@contextmanager
def asking(server: Server, **settings: Any) -> Iterator[ActiveDirectory]:
    """A directory whose only server is this one."""
    made = DirectorySettings(servers=("ldaps://dc1",), pool_size=1, **settings)
    directory = ActiveDirectory(made, connect=lambda *_: server)
    try:
        yield directory
    finally:
        directory.close()


def contoso(*more: Entry) -> Server:
    return Server(CONTOSO_REF, user("anna", **TARGET), user("bert", homeMDB="CN=DB"), O365, *more)


async def test_an_answer_says_where_it_comes_from() -> None:
    server = contoso()
    with asking(server) as directory:
        answer = await directory.recipient(logon("CONTOSO\\anna"))
        assert isinstance(answer.lookup, Found)
        assert answer.lookup.recipient.dn == ANNA_DN
        assert (answer.source, answer.server) == ("ldap", "dc1:636")
        assert answer.steps
        assert 0 < (answer.duration_ms or 0) < 60_000
        known = await directory.relationships()
        assert isinstance(known.relationships, tuple)
        assert (known.source, known.server, len(known.relationships)) == ("ldap", "dc1:636", 1)
        users = tuple(Watched(dn=dn) for dn in (ANNA_DN, f"CN=bert,CN=Users,{ROOT}"))
        moved = await directory.moved([*users, *users])
        assert moved == MovedAnswer(moved=users[:1], source="ldap", server="dc1:636")


async def test_whoever_lives_here_is_told_to_a_rehearsal() -> None:
    device = entry(f"CN=1,CN=ExchangeActiveSyncDevices,{ANNA_DN}", DEVICE_CLASS)
    with asking(contoso(device)) as directory:
        everyone = await directory.everyone()
        assert isinstance(everyone, tuple)
        assert [one.sam_account_name for one in everyone] == ["anna", "bert"]
        devices = await directory.devices(ANNA_DN)
        assert isinstance(devices, tuple)
        assert [one.dn for one in devices] == [device.dn]
        assert await directory.device_lists(ANNA_DN) == DeviceLists()


async def test_no_question_raises_for_a_directory_that_is_away() -> None:
    server = Server()
    server.fault = Fault("timeout", "late", "question")
    with asking(server) as directory:
        assert (await directory.recipient(logon("anna"))).lookup == LATE
        known = await directory.relationships()
        assert known == RelationshipsAnswer(relationships=LATE, source="ldap")
        moved = await directory.moved([Watched(dn=ANNA_DN)])
        assert moved == MovedAnswer(moved=LATE, source="ldap")
        assert await directory.everyone() == LATE
        assert await directory.devices(ANNA_DN) == LATE
        assert await directory.device_lists(ANNA_DN) == LATE
        for name in ("anna", ANNA_DN):
            assert directory.meant_by(name) == LATE


def test_whom_an_administrator_means() -> None:
    machine = entry(f"CN=PC1,{ROOT}", "user computer", sAMAccountName="PC1$")
    server = contoso(machine)
    with asking(server, default_domain="CONTOSO") as directory:
        for name in ("CONTOSO\\anna", "anna", ANNA_DN, ANNA_DN.lower()):
            found = directory.meant_by(name)
            assert isinstance(found, Found), name
            assert found.recipient.dn == ANNA_DN
        for name in (machine.dn, f"CN=Nobody,{ROOT}", "CONTOSO\\nobody", "", "\\"):
            assert directory.meant_by(name) == NotFound(), name
        server.fault = Fault("timeout", "late")
        assert directory.meant_by("anna") == LATE
        server.fault = None
        assert directory.meant_by("anna") == LATE, "it rests, and nobody is asked"


# -- users of other forests -----------------------------------------------------------------------

SID = "S-1-5-21-1-2-3-1104"
LINKED = user("linked", msExchMasterAccountSid=SID, **TARGET)
FABRIKAM = AccountDomain(name="fabrikam", servers=("ldap://dc.fabrikam.example",))


async def test_users_of_an_account_forest_are_found_by_their_sid() -> None:
    theirs = Server(cross_ref(ROOT, "FABRIKAM", "fabrikam.example"), user("anna", objectSid=SID))
    ours = contoso(LINKED)
    settings = DirectorySettings(servers=("ldaps://dc1",), account_domains=(FABRIKAM,))
    accounts = ActiveDirectory(account_forest(settings, FABRIKAM), connect=lambda *_: theirs)
    directory = ActiveDirectory(
        settings, connect=lambda *_: ours, account_forests={"fabrikam": accounts}
    )
    try:
        for text, dn in (("FABRIKAM\\anna", LINKED.dn), ("CONTOSO\\anna", ANNA_DN)):
            answers = [(await directory.recipient(logon(text))).lookup]
            answers.append(await asyncio.to_thread(directory.meant_by, text))
            for lookup in answers:
                assert isinstance(lookup, Found), text
                assert lookup.recipient.dn == dn
    finally:
        directory.close()
    closed = (await accounts.recipient(logon("FABRIKAM\\anna"))).lookup
    assert isinstance(closed, Unavailable)
    assert closed.error_type == "closed"


async def test_users_of_the_same_name_need_no_other_forest() -> None:
    same = AccountDomain(name="fabrikam")
    server = contoso(user("clara", msExchMasterAccountSid=SID, **TARGET))
    with asking(server, account_domains=(same,)) as directory:
        for text in ("FABRIKAM\\clara", "CONTOSO\\clara"):
            assert isinstance((await directory.recipient(logon(text))).lookup, Found), text


async def test_an_account_forest_that_is_away_makes_its_users_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    away = AccountDomain(name="fabrikam", servers=(f"ldap://127.0.0.1:{port}",))
    with asking(contoso(), account_domains=(away,), bind="anonymous") as directory:
        lookup = (await directory.recipient(logon("FABRIKAM\\anna"))).lookup
        assert isinstance(lookup, Unavailable)
        assert lookup.error_type == "connection_refused"
        assert isinstance((await directory.recipient(logon("CONTOSO\\anna"))).lookup, Found)


def test_an_account_forest_is_asked_by_the_same_account_for_sids() -> None:
    settings = DirectorySettings(
        servers=("ldaps://dc1",),
        bind_user="eas@contoso.example",
        password_env="EAS_TEST_PASSWORD",
        search_base=ROOT,
        configuration_base=f"CN=Configuration,{ROOT}",
        account_domains=(FABRIKAM,),
        default_domain="CONTOSO",
    )
    assert account_forest(settings, FABRIKAM) == DirectorySettings(
        servers=FABRIKAM.servers,
        bind_user="eas@contoso.example",
        password_env="EAS_TEST_PASSWORD",
        tells_sids=True,
    )


# -- the account that asks ------------------------------------------------------------------------


async def test_credentials_are_its_own_or_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that was refused to somebody else is not tried here."""
    monkeypatch.setenv("EAS_TEST_PASSWORD", "bind-Passw0rd-of-the-proxy")
    server = RangeServer(entries(1, 1), whole_ranges(1500))
    with serving(server):
        settings = DirectorySettings(
            servers=(server.url,), bind_user="eas@x", password_env="EAS_TEST_PASSWORD"
        )
        shared = BindCredentials(settings)
        shared.refused(shared.password(), Fault("account_locked", "locked", "account"))
        for credentials, expected in ((None, Found), (shared, Unavailable)):
            directory = ActiveDirectory(settings, credentials)
            try:
                lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
            finally:
                directory.close()
            assert isinstance(lookup, expected), lookup
