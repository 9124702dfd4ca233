"""What is asked of servers, and what is made of their answers; two servers are made up."""

from collections.abc import Callable
from typing import Any

import pytest

from eas_redirect.directory.entries import (
    DEVICE_ATTRIBUTES,
    DEVICE_CLASS,
    DEVICE_LIST_ATTRIBUTES,
    GUID_ATTRIBUTE,
    RECIPIENT_ATTRIBUTES,
    SID_ATTRIBUTES,
    Entry,
    Partition,
)
from eas_redirect.directory.ldap.faults import Fault, NoSuchObjectError
from eas_redirect.directory.ldap.forest import CENSUS_BYTES, LinkedForest, MapKeeper
from eas_redirect.directory.ldap.links import Role, RootDSE
from eas_redirect.directory.ldap.wire import MAX_ANSWER
from eas_redirect.directory.ldap.workers import Deadline
from eas_redirect.directory.names import lies_in, plain_dn, sid_bytes
from eas_redirect.directory.sight import DomainSight, Sight
from eas_redirect.directory.values import AccountDomain, DeviceLists, DirectorySettings, Watched

ROOT = "DC=contoso,DC=example"
EMEA = f"DC=emea,{ROOT}"
CONFIGURATION = f"CN=Configuration,{ROOT}"
SEEN: dict[str, Any] = {"mailboxes": True, "aliases": True, "principal_names": True}


def entry(dn: str, classes: str, **attributes: str) -> Entry:
    found = {name.lower(): [value] for name, value in attributes.items()}
    return Entry(dn, {"objectclass": classes.split()} | found)


def cross_ref(dn: str, netbios: str, dns: str) -> Entry:
    return entry(
        f"CN={netbios},CN=Partitions,{CONFIGURATION}",
        "crossRef",
        nCName=dn,
        nETBIOSName=netbios,
        dnsRoot=dns,
        systemFlags="3",
    )


def user(name: str, below: str = f"CN=Users,{ROOT}", **more: str) -> Entry:
    return entry(f"CN={name},{below}", "top person user", sAMAccountName=name, **more)


FULL = {"homeMDB": "CN=DB", "mailNickname": "a", "userPrincipalName": "a@contoso.example"}
CONTOSO_REF = cross_ref(ROOT, "CONTOSO", "contoso.example")
EMEA_REF = cross_ref(EMEA, "EMEA", "emea.contoso.example")
SUFFIXES = entry(f"CN=Partitions,{CONFIGURATION}", "crossRefContainer", uPNSuffixes="Mail.Example")
O365 = entry(
    f"CN=O365,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,{CONFIGURATION}",
    "msExchFedSharingRelationship",
    cn="O365",
    msExchFedDomainNames="contoso.mail.example",
)
STRAY = entry(
    f"CN=Old,CN=Microsoft Exchange,CN=Services,{CONFIGURATION}",
    "msExchFedSharingRelationship",
    cn="Old",
)


def trusted(name: str, **attributes: str) -> Entry:
    return entry(
        f"CN={name},CN=System,{ROOT}", "trustedDomain", trustPartner=name, trustDirection="2",
        **attributes,
    )  # fmt: skip


class Server:
    """A `Session` over some entries that finds as a server does, and writes down what it is asked.
    Of a base without an object it says noSuchObject, as a domain controller does."""

    def __init__(self, *entries: Entry, root: RootDSE | None = None) -> None:
        self.entries = list(entries)
        self.root_dse = root or RootDSE(
            default_naming_context=ROOT,
            configuration_naming_context=CONFIGURATION,
            naming_contexts=(ROOT, CONFIGURATION, f"CN=Schema,{CONFIGURATION}"),
            is_active_directory=True,
        )
        self.asked: list[tuple[str, str | None, tuple[str, str | bytes] | None]] = []
        self.attributes: tuple[str, ...] = ()
        self.most_bytes = 0
        self.shown: list[tuple[str, tuple[str, ...]]] = []
        self.fault: Fault | None = None

    def _below(self, base: str) -> list[Entry]:
        if self.fault is not None:
            raise self.fault
        found = [one for one in self.entries if lies_in(plain_dn(one.dn), plain_dn(base))]
        if not found:
            raise NoSuchObjectError(base)
        return found

    def find(
        self,
        base: str,
        object_class: str | None,
        equals: tuple[str, str | bytes] | None,
        attributes: tuple[str, ...],
        patience_s: float,
        *,
        most_bytes: int = MAX_ANSWER,
    ) -> list[Entry]:
        assert 0 < patience_s <= 5
        self.asked.append((base, object_class, equals))
        self.attributes, self.most_bytes = attributes, most_bytes
        return [
            one
            for one in self._below(base)
            if object_class is None or object_class in one.attributes["objectclass"]
            if equals is None or _has(one, *equals)
        ]

    def moved(
        self, base: str, any_of: tuple[tuple[str, str | bytes], ...], patience_s: float
    ) -> list[Entry]:
        assert 0 < patience_s <= 5
        self.asked.extend((base, None, key) for key in any_of)
        return self._below(base)

    def shows(
        self,
        base: str,
        attributes: tuple[str, ...],
        accepts: Callable[[Entry], bool],
        patience_s: float,
    ) -> bool:
        assert 0 < patience_s <= 5
        self.shown.append((base, attributes))
        names = [name.lower() for name in attributes]
        return any(
            accepts(one)
            for one in self._below(base)
            if "user" in one.attributes["objectclass"]
            if all(name in one.attributes for name in names)
        )

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def _has(one: Entry, name: str, value: str | bytes) -> bool:
    values = one.attributes.get(name.lower(), ())
    return value in ([sid_bytes(text) for text in values] if isinstance(value, bytes) else values)


class Bench:
    """A forest over a server that answers for users and one that answers for the configuration."""

    def __init__(
        self,
        users: Server,
        configuration: Server | None = None,
        *,
        asks_catalogue: bool = False,
        **settings: Any,
    ) -> None:
        self.servers: dict[Role, Server] = {
            "users": users,
            "configuration": configuration or users,
        }
        self.asks_catalogue = asks_catalogue
        self.last_server: str | None = None
        self.settings = DirectorySettings(servers=("ldaps://dc1",), **settings)
        self.maps = MapKeeper()

    def ask(self, role: Role, deadline: Deadline, question: Callable[[Any, float], Any]) -> Any:
        """As `Links.ask`."""
        assert deadline.remaining() > 0
        self.last_server = role
        return question(self.servers[role], 4)

    @property
    def forest(self) -> LinkedForest:
        """For one question."""
        links: Any = self
        return LinkedForest(links, Deadline(1e12), self.settings, self.maps)

    @property
    def sight(self) -> Sight:
        return self.forest.sight()

    @property
    def asked(self) -> list[tuple[str, str | None, tuple[str, str | bytes] | None]]:
        return self.servers["users"].asked


def contoso(*entries: Entry, **how: Any) -> Bench:
    """One domain whose controller shows everything."""
    return Bench(Server(CONTOSO_REF, SUFFIXES, user("anna", **FULL), *entries), **how)


CONTOSO = Partition(nc_name=ROOT.lower(), names=frozenset({"contoso", "contoso.example"}))
SID = "S-1-5-21-1-2-3-1104"


# -- questions about users ------------------------------------------------------------------------


def test_how_users_are_asked_for() -> None:
    bench = contoso()
    [anna] = bench.forest.accounts("sAMAccountName", "anna", None)
    assert (anna.sam_account_name, anna.home_mdb) == ("anna", "CN=DB")
    bench.forest.accounts("userPrincipalName", "x", CONTOSO)
    bench.forest.address_holders("anna@contoso.example")
    bench.forest.linked_to(SID)
    assert bench.forest.linked_to("no SID") == []
    root = ROOT.lower()
    assert bench.asked == [
        (root, "user", ("sAMAccountName", "anna")),
        (root, "user", ("userPrincipalName", "x")),
        (root, None, ("proxyAddresses", "smtp:anna@contoso.example")),
        (root, None, ("msExchMasterAccountSid", sid_bytes(SID))),
    ]
    assert bench.servers["users"].most_bytes == MAX_ANSWER
    assert bench.forest.left_out("anna") == ()


@pytest.mark.parametrize(
    ("settings", "sids"),
    [
        ({}, False),
        ({"tells_sids": True}, True),
        ({"account_domains": (AccountDomain(name="fabrikam.example"),)}, True),
    ],
)
def test_sids_are_asked_for_where_they_are_needed(settings: dict[str, Any], sids: bool) -> None:
    bench = contoso(**settings)
    bench.forest.accounts("sAMAccountName", "anna", None)
    expected = (*RECIPIENT_ATTRIBUTES, GUID_ATTRIBUTE, *(SID_ATTRIBUTES if sids else ()))
    assert bench.servers["users"].attributes == expected


@pytest.mark.parametrize(
    ("root", "how", "domain", "bases"),
    [
        ({}, {}, None, [ROOT.lower()]),
        ({}, {}, CONTOSO, [ROOT.lower()]),
        ({}, {"asks_catalogue": True}, None, [""]),
        ({}, {"asks_catalogue": True}, CONTOSO, [ROOT.lower()]),
        ({}, {"search_base": ""}, CONTOSO, [""]),
        ({}, {"search_base": f"OU=Staff,{ROOT}", "asks_catalogue": True}, CONTOSO,
         [f"OU=Staff,{ROOT}"]),
        # The domain itself first, and each once; what lies in another one is found in it.
        ({"default_naming_context": EMEA,
          "naming_contexts": (CONFIGURATION, f"DC=DomainDnsZones,{EMEA}",
                              f"DC=ForestDnsZones,{ROOT}", EMEA, "DC=other,DC=test",
                              f"DC=child,{EMEA}", "OU=x,DC=third,DC=test", "")},
         {}, None, [EMEA.lower(), "dc=other,dc=test"]),
    ],
)  # fmt: skip
def test_where_users_are_looked_for(
    root: dict[str, Any], how: dict[str, Any], domain: Partition | None, bases: list[str]
) -> None:
    known = {"default_naming_context": ROOT, "naming_contexts": (ROOT, CONFIGURATION)} | root
    places = (ROOT, EMEA, "DC=other,DC=test", f"OU=Staff,{ROOT}")
    server = Server(*(user("anna", below=place) for place in places), root=RootDSE(**known))
    bench = Bench(server, **how)
    bench.forest.accounts("sAMAccountName", "anna", domain)
    assert [base for base, _, _ in bench.asked] == bases


@pytest.mark.parametrize("contexts", [(), (CONFIGURATION,), (f"DC=ForestDnsZones,{ROOT}",)])
def test_a_server_without_a_domain_of_its_own(contexts: tuple[str, ...]) -> None:
    bench = Bench(Server(root=RootDSE(naming_contexts=contexts)))
    with pytest.raises(Fault, match=r"set directory\.search_base") as caught:
        bench.forest.accounts("sAMAccountName", "anna", None)
    assert (caught.value.error_type, caught.value.scope) == ("no_naming_context", "question")


# -- the forest -----------------------------------------------------------------------------------


def test_what_the_configuration_tells() -> None:
    bench = contoso()
    assert bench.forest.partitions() == (CONTOSO,)
    assert bench.forest.upn_suffixes() == {"mail.example"}
    seen = DomainSight(nc_name=ROOT.lower(), **SEEN)
    assert bench.sight == Sight(source="ldap", domains=(seen,), named=True)
    assert bench.sight.sees_everybody()


def test_the_map_is_read_once_and_again_with_the_relationships() -> None:
    bench = contoso(O365)
    for _ in range(3):
        bench.forest.partitions()
        assert bench.sight is bench.sight, "worked out once for each server"
    assert [name for _, name, _ in bench.asked].count("crossRef") == 1
    bench.servers["users"].entries.append(EMEA_REF)
    before = bench.sight
    answer = bench.forest.relationships()
    assert bench.sight == answer.sight
    assert (before.missing, bench.sight.missing) == ((), (EMEA.lower(),))


def test_relationships_come_with_what_can_be_vouched_for() -> None:
    bench = contoso(O365, STRAY)
    answer = bench.forest.relationships()
    assert isinstance(answer.relationships, tuple)
    [one] = answer.relationships
    assert (one.name, one.domain_names) == ("O365", ("contoso.mail.example",))
    assert (answer.source, answer.server) == ("ldap", "configuration")
    assert answer.sight is not None
    assert answer.sight.strays == (STRAY.dn,)
    assert bench.sight.strays == (), "they count for nothing in a look-up"


def test_relationships_are_told_though_nobody_answers_for_users() -> None:
    users, configuration = Server(), Server(O365, CONTOSO_REF)
    users.fault = Fault("timeout", "late")
    answer = Bench(users, configuration).forest.relationships()
    assert isinstance(answer.relationships, tuple)
    assert [one.name for one in answer.relationships] == ["O365"]
    assert answer.sight is None


@pytest.mark.parametrize(
    ("root", "settings", "base"),
    [
        (CONFIGURATION, {}, CONFIGURATION),
        (CONFIGURATION, {"configuration_base": "CN=Configuration,DC=x"}, "CN=Configuration,DC=x"),
        (None, {"configuration_base": "CN=Configuration,DC=x"}, "CN=Configuration,DC=x"),
        (None, {}, None),
    ],
)
def test_where_the_configuration_is(
    root: str | None, settings: dict[str, Any], base: str | None
) -> None:
    names = RootDSE(default_naming_context=ROOT, configuration_naming_context=root)
    bench = Bench(Server(root=names), **settings)
    if base is None:
        with pytest.raises(Fault, match=r"set directory\.configuration_base") as caught:
            bench.forest.relationships()
        assert (caught.value.error_type, caught.value.scope) == ("no_naming_context", "question")
        return
    assert bench.forest.relationships().relationships == ()
    assert bench.asked[0][0] == f"CN=Microsoft Exchange,CN=Services,{base}"
    assert {asked for asked, _, _ in bench.asked} == {
        f"CN=Microsoft Exchange,CN=Services,{base}",
        f"CN=Partitions,{base}",
        f"CN=System,{ROOT}",
    }


def test_without_crossrefs_a_domain_is_told_by_the_server_alone() -> None:
    bench = Bench(Server(user("anna", **FULL)))
    [domain] = bench.forest.partitions()
    assert domain == Partition(nc_name=ROOT.lower(), names=frozenset({"contoso.example"}))
    assert not bench.sight.named
    assert not bench.sight.sees_everybody()


def test_trusts_tell_of_other_forests_and_of_further_domains_of_this_one() -> None:
    bench = contoso(
        trusted("fabrikam.example", flatName="FABRIKAM"),
        trusted("woodgrove.example"),
        trusted("b.contoso.example", trustAttributes="32"),
        trusted("a.contoso.example", trustAttributes="32"),
        trusted("contoso.example", trustAttributes="32"),
        account_domains=(AccountDomain(name="fabrikam"),),
        no_mailboxes_here=True,
    )
    sight = bench.sight
    assert sight.trusts == ("fabrikam.example", "woodgrove.example")
    assert sight.strangers == ("woodgrove.example",)
    assert sight.missing == ("dc=a,dc=contoso,dc=example", "dc=b,dc=contoso,dc=example")
    assert sight.no_mailboxes_here


# -- what can be seen of a domain -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "signs"),
    [
        ({}, set()),
        (FULL, set(SEEN)),
        ({"homeMDB": "CN=DB"}, {"mailboxes"}),
        ({"msExchHomeServerName": "/o=X/cn=EX"}, {"mailboxes"}),
        ({"mailNickname": "a"}, {"aliases"}),
        ({"userPrincipalName": "a@x.example"}, {"principal_names"}),
        ({"homeMDB": "", "mailNickname": "", "userPrincipalName": ""}, set()),
        ({"homeMDB": "", "mailNickname": "a", "userPrincipalName": "a@x.example"},
         {"aliases", "principal_names"}),
    ],
)  # fmt: skip
def test_one_object_shows_that_an_attribute_can_be_read(
    shown: dict[str, str], signs: set[str]
) -> None:
    [domain] = Bench(Server(CONTOSO_REF, user("anna", **shown))).sight.domains
    seen: dict[str, Any] = dict.fromkeys(signs, True)
    assert domain == DomainSight(nc_name=ROOT.lower(), **seen)


def test_signs_may_come_from_different_objects() -> None:
    users = [user(name, **{name: FULL[name]}) for name in FULL]
    server = Server(CONTOSO_REF, *users)
    [domain] = Bench(server).sight.domains
    assert domain == DomainSight(nc_name=ROOT.lower(), **SEEN)
    assert {base for base, _ in server.shown} == {ROOT.lower()}, "no container of its own"


def test_a_controller_of_a_domain_that_was_not_looked_through_vouches_for_nothing() -> None:
    """Another one was asked when the map was read."""
    refs = Server(CONTOSO_REF, EMEA_REF)
    bench = Bench(Server(user("anna", **FULL)), refs)
    assert bench.sight.domains == (DomainSight(nc_name=ROOT.lower(), **SEEN),)
    bench.servers["users"] = Server(root=RootDSE(default_naming_context=EMEA))
    assert bench.sight.domains == (DomainSight(nc_name=EMEA.lower()),)


@pytest.mark.parametrize("place", ["CN=Users", "CN=Microsoft Exchange System Objects"])
def test_exchange_s_own_mailboxes_show_where_nearly_everybody_has_moved(place: str) -> None:
    """Looking through all of them for one mailbox ends before it is found."""

    class Large(Server):
        def shows(
            self,
            base: str,
            attributes: tuple[str, ...],
            accepts: Callable[[Entry], bool],
            patience_s: float,
        ) -> bool:
            found = Server.shows(self, base, attributes, accepts, patience_s)
            return found and ("homeMDB" not in attributes or base.startswith("CN="))

    server = Large(CONTOSO_REF, user("SystemMailbox", below=f"{place},{ROOT}", **FULL))
    for search_base in (None, ROOT, f"DC=Contoso, {ROOT.partition(',')[2]}"):
        [domain] = Bench(server, search_base=search_base).sight.domains
        assert domain == DomainSight(nc_name=ROOT.lower(), **SEEN)
    [part] = Bench(server, search_base=f"{place},{ROOT}").sight.domains
    assert part.portion == "part"


def test_exchange_s_own_mailboxes_are_not_looked_for_outside_the_search_base() -> None:
    server = Server(
        CONTOSO_REF,
        user("bert", below=f"OU=Staff,{ROOT}"),
        user("SystemMailbox", **FULL),
    )
    [domain] = Bench(server, search_base=f"OU=Staff,{ROOT}").sight.domains
    assert domain == DomainSight(nc_name=ROOT.lower(), portion="part")
    assert {base for base, _ in server.shown} == {f"OU=Staff,{ROOT}"}


def test_a_catalogue_shows_each_domain_by_its_own_objects() -> None:
    refs = Server(CONTOSO_REF, EMEA_REF)
    for domain, other in ((ROOT, EMEA), (EMEA, ROOT)):
        users = Server(user("anna", below=f"CN=Users,{domain}", **FULL), user("b", below=other))
        for search_base in (None, ROOT, ""):
            bench = Bench(users, refs, asks_catalogue=True, search_base=search_base)
            seen = {one.nc_name: one for one in bench.sight.domains}
            assert seen == {
                domain.lower(): DomainSight(nc_name=domain.lower(), **SEEN),
                other.lower(): DomainSight(nc_name=other.lower()),
            }
            assert bench.sight.missing == ()
            assert bench.sight.sees_everybody()
        roots = {base for base, _ in users.shown if base.startswith("dc=")}
        assert roots == {ROOT.lower(), EMEA.lower()}, "each from its root"
        assert ROOT not in [base for base, _ in users.shown]


@pytest.mark.parametrize(
    ("how", "reach", "missing"),
    [
        ({}, [(ROOT, "whole")], [EMEA]),
        ({"search_base": ROOT}, [(ROOT, "whole")], [EMEA]),
        ({"search_base": f"OU=Staff, {ROOT}"}, [(ROOT, "part")], [EMEA]),
        ({"search_base": EMEA}, [(ROOT, "part")], [EMEA]),
        ({"search_base": "DC=other,DC=test"}, [], [ROOT, EMEA]),
        ({"asks_catalogue": True}, [(ROOT, "whole"), (EMEA, "whole")], []),
        ({"asks_catalogue": True, "search_base": EMEA}, [(ROOT, "part"), (EMEA, "whole")], []),
        ({"asks_catalogue": True, "search_base": f"OU=Staff,{EMEA}"},
         [(ROOT, "part"), (EMEA, "part")], []),
    ],
)  # fmt: skip
def test_how_much_of_each_domain_is_reached(
    how: dict[str, Any], reach: list[tuple[str, str]], missing: list[str]
) -> None:
    sight = Bench(Server(), Server(CONTOSO_REF, EMEA_REF), **how).sight
    assert [(d.nc_name, d.portion) for d in sight.domains] == [(n.lower(), p) for n, p in reach]
    assert sight.missing == tuple(name.lower() for name in missing)


# -- single objects, and all of them --------------------------------------------------------------


def test_everyone_is_every_account_and_may_take_many_bytes() -> None:
    machine = entry(f"CN=PC1,{ROOT}", "user computer", sAMAccountName="PC1$")
    contact = entry(f"CN=Contact,{ROOT}", "contact")
    bench = contoso(user("bert"), machine, contact)
    assert [one.sam_account_name for one in bench.forest.everyone()] == ["anna", "bert"]
    assert bench.asked == [(ROOT.lower(), "user", None)]
    assert bench.servers["users"].most_bytes == CENSUS_BYTES


def test_the_account_of_a_dn() -> None:
    machine = entry(f"CN=PC1,{ROOT}", "user computer")
    bench = contoso(user("bert", below=f"CN=anna,CN=Users,{ROOT}"), machine)
    found = bench.forest.account_at(f"cn=Anna, cn=users,{ROOT}")
    assert found is not None
    assert found.dn == f"CN=anna,CN=Users,{ROOT}"
    assert bench.asked == [(f"cn=Anna, cn=users,{ROOT}", "user", None)]
    assert bench.servers["users"].attributes == RECIPIENT_ATTRIBUTES
    for dn in (machine.dn, f"CN=Nobody,{ROOT}", f"CN=Users,{ROOT}"):
        assert bench.forest.account_at(dn) is None


def test_the_devices_of_a_user() -> None:
    anna = f"CN=anna,CN=Users,{ROOT}"
    device = entry(
        f"CN=iPhone§ABC,CN=ExchangeActiveSyncDevices,{anna}", DEVICE_CLASS, msExchDeviceID="ABC"
    )
    bench = contoso(device)
    [found] = bench.forest.devices(anna)
    assert found.device_id == "ABC"
    assert bench.asked == [(anna, DEVICE_CLASS, None)]
    assert bench.servers["users"].attributes == DEVICE_ATTRIBUTES
    assert bench.forest.devices(f"CN=Nobody,{ROOT}") == ()


def test_the_lists_of_a_user_are_its_own() -> None:
    anna = f"CN=anna,CN=Users,{ROOT}"
    lists = {"preferredLanguage": "de-DE", DEVICE_LIST_ATTRIBUTES[0]: "ABC"}
    bench = Bench(Server(user("other", below=anna, **lists), user("anna", **lists)))
    found = bench.forest.device_lists(anna)
    assert found == DeviceLists(allowed=("ABC",), language="de-DE")
    assert bench.asked == [(anna, "user", None)]
    assert bench.servers["users"].attributes == DEVICE_LIST_ATTRIBUTES
    assert bench.forest.device_lists(f"CN=Users,{ROOT}") == DeviceLists()
    assert bench.forest.device_lists(f"CN=Nobody,{ROOT}") == DeviceLists()


def test_who_has_moved_is_asked_by_what_tells_an_object() -> None:
    guid = "01234567-89ab-cdef-0123-456789abcdef"
    known = Watched(dn=f"CN=A,{ROOT}", object_guid=guid)
    others = Watched(dn=f"CN=B,{ROOT}"), Watched(dn=f"CN=C,{ROOT}", object_guid="no GUID")
    for is_active_directory, attribute in ((True, "distinguishedName"), (False, "entryDN")):
        root = RootDSE(
            default_naming_context=ROOT,
            configuration_naming_context=CONFIGURATION,
            is_active_directory=is_active_directory,
        )
        bench = Bench(Server(CONTOSO_REF, user("anna", **FULL), root=root))
        bench.forest.partitions()
        bench.asked.clear()
        assert bench.forest.moved([known, *others]) == ()
        assert bench.asked == [
            (ROOT.lower(), None, ("objectGUID", bytes.fromhex("67452301ab89efcd0123456789abcdef"))),
            (ROOT.lower(), None, (attribute, f"CN=B,{ROOT}")),
            (ROOT.lower(), None, (attribute, f"CN=C,{ROOT}")),
        ]
        bench.asked.clear()
        assert bench.forest.moved([]) == ()
        assert bench.asked == []


def test_who_has_moved_is_told() -> None:
    target = {"targetAddress": "SMTP:b@m.example", "mailNickname": "b"}
    bench = contoso(user("bert", **target), user("cora", **target, homeMDB="CN=DB"))
    bert, cora = (Watched(dn=f"CN={name},CN=Users,{ROOT}") for name in ("bert", "cora"))
    assert bench.forest.moved([cora, bert]) == (bert,)
