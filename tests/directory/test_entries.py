"""Entries → values. Two values where one is used are none; what cannot be read is there."""

import dataclasses

import pytest

from eas_redirect.directory.entries import (
    Entry,
    Partition,
    Trust,
    device,
    device_lists,
    of_one_organization,
    other_forests,
    owner_of_device,
    partition,
    recipient,
    relationship,
    trust,
    unfinished,
    value_range,
)
from eas_redirect.directory.values import (
    AccountDomain,
    DeviceLists,
    DirectoryDevice,
    OrganizationRelationship,
    Recipient,
    Unavailable,
)
from eas_redirect.policy.decision import Pass
from eas_redirect.policy.relationship import target_domain
from eas_redirect.policy.target import Refused, endpoint

TWO = ["SMTP:anna@one.example", "SMTP:anna@two.example"]
FEDERATION = "CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=a"


def test_a_recipient_has_its_attributes_by_their_names() -> None:
    read = recipient(
        Entry(
            "CN=Anna,DC=contoso,DC=example",
            {
                "objectclass": ["top", "person", "User"],
                "userprincipalname": ["anna@contoso.example"],
                "samaccountname": ["anna"],
                "mail": ["a.smith@contoso.example"],
                "displayname": ["Anna Smith"],
                "mailnickname": ["asmith"],
                "targetaddress": ["SMTP:anna@m.example"],
                "proxyaddresses": ["SMTP:a.smith@contoso.example", "smtp:anna@contoso.example"],
                "homemdb": ["CN=DB01"],
                "msexchhomeservername": ["/o=C/cn=EX07"],
                "msexchrecipienttypedetails": ["2147483648"],
                "msexchremoterecipienttype": ["4"],
                "msexchomaadminwirelessenable": ["7"],
                "useraccountcontrol": ["512"],
                "objectguid": ["04030201-0605-0807-090a-0b0c0d0e0f10"],
                "objectsid": ["S-1-5-21-1-2-3-1104"],
                "msexchmasteraccountsid": ["S-1-5-21-4-5-6-1105"],
            },
        )
    )
    assert read == Recipient(
        dn="CN=Anna,DC=contoso,DC=example",
        user_principal_name="anna@contoso.example",
        sam_account_name="anna",
        mail="a.smith@contoso.example",
        display_name="Anna Smith",
        mail_nickname="asmith",
        target_address="SMTP:anna@m.example",
        proxy_addresses=("SMTP:a.smith@contoso.example", "smtp:anna@contoso.example"),
        home_mdb="CN=DB01",
        ms_exch_home_server_name="/o=C/cn=EX07",
        ms_exch_recipient_type_details=2147483648,
        ms_exch_remote_recipient_type=4,
        ms_exch_oma_admin_wireless_enable=7,
        user_account_control=512,
        object_guid="04030201-0605-0807-090a-0b0c0d0e0f10",
        object_sid="S-1-5-21-1-2-3-1104",
        ms_exch_master_account_sid="S-1-5-21-4-5-6-1105",
    )
    assert recipient(Entry("CN=X")) == Recipient(dn="CN=X", is_account=False)


@pytest.mark.parametrize(
    ("attributes", "is_account"),
    [
        ({"objectclass": ["top", "USER"]}, True),
        ({"objectclass": ["user", "Computer"], "samaccountname": ["pc$"]}, False),
        ({"objectclass": ["contact"], "samaccountname": ["x"]}, False),
        ({"objectclass": ["top"], "samaccountname": ["x"]}, False),
        # Exports of chosen attributes.
        ({"samaccountname": ["anna"]}, True),
        ({"userprincipalname": ["anna@contoso.example"]}, True),
        ({"samaccountname": ["pc$"], "userprincipalname": ["pc@contoso.example"]}, False),
        ({"samaccountname": ["staff"], "grouptype": ["2"]}, False),
        ({"mail": ["anna@contoso.example"]}, False),
    ],
)
def test_who_can_log_on(attributes: dict[str, list[str]], is_account: bool) -> None:
    assert recipient(Entry("CN=X", attributes)).is_account is is_account


def test_numbers_that_are_none() -> None:
    odd = recipient(
        Entry("CN=X", {"msexchrecipienttypedetails": ["one"], "msexchremoterecipienttype": ["?"]})
    )
    assert odd.ms_exch_recipient_type_details == -1
    assert odd.ms_exch_remote_recipient_type == 0
    assert odd.has_mailbox, "no bit says that the mailbox is in the cloud"


def test_a_type_that_cannot_be_read_or_is_several_is_no_mailbox_elsewhere() -> None:
    remote, local = "2147483648", "1"
    for values in (["one"], ["0x1"], [""], [remote, "one"], [remote, local], [local, remote]):
        found = recipient(Entry("CN=X", {"msexchrecipienttypedetails": values}))
        assert found.has_mailbox, values
        assert not found.says_remote, values
    for values in ([remote], [remote, remote], []):
        found = recipient(Entry("CN=X", {"msexchrecipienttypedetails": values}))
        assert not found.has_mailbox, values


def test_two_target_addresses_are_none_that_can_be_used() -> None:
    """Active Directory keeps one; an LDIF file, or another directory, may hold several."""
    for values in (TWO, TWO[::-1], ["X500:/o=c", *TWO], [TWO[0], "X500:/o=c/cn=anna"]):
        found = recipient(Entry("CN=Anna", {"targetaddress": values}))
        assert isinstance(target_domain(found, None), Pass), values
    same = recipient(Entry("CN=Anna", {"targetaddress": [TWO[0], TWO[0]]}))
    assert target_domain(same, None) == "one.example"
    assert recipient(Entry("CN=Anna")).target_address is None


def test_a_mailbox_that_cannot_be_read_is_a_mailbox() -> None:
    found = recipient(Entry("CN=Anna", {"homemdb": ["CN=DB\\xff"]}))
    assert found.has_mailbox


def test_a_sign_of_a_mailbox_that_came_without_a_value_is_one() -> None:
    for name in ("homemdb", "msexchhomeservername"):
        assert recipient(Entry("CN=Anna", {name: []})).has_mailbox, name
        assert recipient(Entry("CN=Anna", {name: [""]})).has_mailbox, name


def test_a_relationship_has_its_attributes_by_the_names_of_the_cmdlet() -> None:
    entry = Entry(
        f"CN=O365\\, main,{FEDERATION}",
        {
            "cn": ["To the cloud"],
            "msexchfeddomainnames": [
                "Contoso.mail.example",
                " m\u00fcnchen.example ",
                "contoso.mail.example",
                "No Domain",
            ],
            "msexchfedisenabled": ["FALSE"],
            "msexchfedtargetowaurl": ["https://outlook.office.com/owa"],
            "msexchfedtargetapplicationuri": ["outlook.com"],
            "msexchfedtargetautodiscoverepr": ["https://a.example/autodiscover"],
            "msexchfedtargetsharingepr": ["https://a.example/ews"],
        },
        {"msexchfeddomainnames": 4, "proxyaddresses": 1},
    )
    read = relationship(entry)
    assert read == OrganizationRelationship(
        name="To the cloud",
        domain_names=("contoso.mail.example", "xn--mnchen-3ya.example", "no domain"),
        target_owa_url="https://outlook.office.com/owa",
        enabled=False,
        dn=entry.dn,
        target_application_uri="outlook.com",
        target_autodiscover_epr="https://a.example/autodiscover",
        target_sharing_epr="https://a.example/ews",
        domains_unknown=read.domains_unknown,
    )
    assert "4 domain names" in (read.domains_unknown or "")
    del entry.attributes["cn"]
    assert relationship(entry).name == "O365, main"
    assert relationship(dataclasses.replace(entry, cut={})).domains_unknown is None


def test_two_target_owa_urls_are_none_that_can_be_used() -> None:
    urls = ["https://one.example/owa", "https://two.example/owa"]
    for values in (urls, urls[::-1]):
        found = relationship(Entry("CN=R", {"msexchfedtargetowaurl": values}))
        assert isinstance(endpoint(found.target_owa_url or ""), Refused)


@pytest.mark.parametrize(
    ("values", "enabled"),
    [([], True), (["TRUE"], True), ([" true "], True), (["FALSE"], False), (["1"], False),
     (["TRUE", "FALSE"], False)],
)  # fmt: skip
def test_a_relationship_is_enabled_when_nothing_says_otherwise(
    values: list[str], enabled: bool
) -> None:
    assert relationship(Entry("CN=R", {"msexchfedisenabled": values})).enabled is enabled


def test_relationships_of_one_organization() -> None:
    def of(dn: str, unknown: str | None = None) -> OrganizationRelationship:
        return OrganizationRelationship(name="R", domain_names=(), dn=dn, domains_unknown=unknown)

    here, cased = of(f"CN=R,{FEDERATION}"), of(f"CN=S, {FEDERATION.upper()}")
    comma = of(f"CN=R\\,S,{FEDERATION}")
    unread = of("", "malformed")  # it may stand anywhere
    strays = (
        of(f"CN=R,CN=Sub,{FEDERATION}"),
        of(FEDERATION),
        of("CN=R,CN=Federation,DC=a"),
        of(f"CN=R,{FEDERATION.replace('CN=Federation', 'CN=Sharing')}"),
        of("CN=R,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Other,DC=a"),
        of("CN=R,CN=Federation,CN=Contoso,CN=Exchange,CN=Services,DC=a"),
        of("CN=R,DC=a", "malformed"),
    )
    known, stray_dns = of_one_organization((unread, *strays, here, cased, comma))
    assert known == (here, cased, comma, unread)
    assert stray_dns == tuple(one.dn for one in strays)
    for nowhere in (of(""), dataclasses.replace(here, dn=None)):
        assert of_one_organization([nowhere]) == ((), ("R",)), "without a DN it has a name"
    other = of(f"CN=R,{FEDERATION.replace('Contoso', 'Fabrikam')}")
    refused, stray_dns = of_one_organization((here, strays[0], other))
    assert isinstance(refused, Unavailable)
    assert refused.error_type == "several_organizations"
    assert "cn=contoso," in refused.message
    assert "cn=fabrikam," in refused.message
    assert stray_dns == (strays[0].dn,)


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ({"netbiosname": ["CONTOSO"], "dnsroot": ["Contoso.Example"], "systemflags": ["3"]},
         {"contoso", "contoso.example"}),
        ({"netbiosname": ["CONTOSO"]}, {"contoso"}),  # what may not be read looks absent
        ({"netbiosname": ["CONTOSO"], "systemflags": ["7"]}, {"contoso"}),
        ({"netbiosname": ["CONTOSO"], "systemflags": ["1"]}, None),  # an application partition
        ({"netbiosname": ["CONTOSO"], "systemflags": ["2"]}, None),
        ({"netbiosname": ["CONTOSO"], "systemflags": ["0"]}, None),
        ({"dnsroot": ["contoso.example"], "systemflags": ["3"]}, None),
        ({"netbiosname": ["CONTOSO"], "ncname": []}, None),
    ],
)  # fmt: skip
def test_which_cross_ref_is_a_domain(
    attributes: dict[str, list[str]], names: set[str] | None
) -> None:
    read = partition(Entry("CN=C", {"ncname": ["DC=Contoso,DC=Example"]} | attributes))
    expected = None
    if names is not None:
        expected = Partition(nc_name="dc=contoso,dc=example", names=frozenset(names))
    assert read == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"trustpartner": ["Fabrikam.Example"], "flatname": ["FABRIKAM"]},
         ("fabrikam.example", False, {"fabrikam.example", "fabrikam"})),
        ({}, ("tailspin", False, {"tailspin"})),
        ({"trustpartner": ["f.example"], "trustattributes": ["32"]},
         ("f.example", True, {"f.example"})),
        ({"trustpartner": ["f.example"], "trustattributes": ["8"]},
         ("f.example", False, {"f.example"})),
        # Users of the other domain log on here where the trust is outbound: 2, or 3 for both.
        *(({"trustpartner": ["f.example"], "trustdirection": [direction]},
           ("f.example", False, {"f.example"}) if there else None)
          for direction, there in (("0", False), ("1", False), ("2", True), ("3", True),
                                   ("?", True))),
    ],
)  # fmt: skip
def test_whose_users_log_on_here(
    attributes: dict[str, list[str]], expected: tuple[str, bool, set[str]] | None
) -> None:
    read = trust(Entry("CN=Tailspin,CN=System,DC=a", attributes))
    assert read == (
        expected
        and Trust(name=expected[0], within_forest=expected[1], names=frozenset(expected[2]))
    )


def test_a_trust_without_any_name_is_none() -> None:
    assert trust(Entry("")) is None


def test_the_forests_beside_this_one() -> None:
    def to(name: str, flat: str, within: bool = False) -> Trust:
        return Trust(name=name, within_forest=within, names=frozenset({name, flat}))

    trusts = [
        to("tailspin.example", "tailspin"),
        to("fabrikam.example", "fabrikam"),
        to("fabrikam.example", "fabrikam"),
        to("emea.contoso.example", "emea", True),
    ]
    assert other_forests(trusts) == ("fabrikam.example", "tailspin.example")
    for name in ("FABRIKAM", "fabrikam.example"):
        known = [AccountDomain(name=name)]
        assert other_forests(trusts, besides=known) == ("tailspin.example",)


def test_a_device_in_exchange_s_own_words() -> None:
    dn = "CN=iPhone\u00a7A,CN=ExchangeActiveSyncDevices,CN=Anna,DC=contoso,DC=example"
    read = device(
        Entry(
            dn,
            {
                "msexchdeviceid": ["A"],
                "msexchdevicetype": ["iPhone"],
                "msexchdeviceuseragent": ["Apple-iPhone/1"],
                "msexchdevicemodel": ["iPhone 6"],
                "msexchdeviceos": ["iOS 12.1"],
                "msexchdeviceeasversion": ["14.1"],
                "msexchdeviceaccessstate": ["3"],
                "msexchdeviceaccessstatereason": ["2"],
            },
        )
    )
    assert read == DirectoryDevice(
        dn=dn,
        device_id="A",
        device_type="iPhone",
        user_agent="Apple-iPhone/1",
        model="iPhone 6",
        os="iOS 12.1",
        protocol_version="14.1",
        access="quarantined",
        approved_alone=True,
    )
    other = {"msexchdeviceaccessstate": ["9"], "msexchdeviceaccessstatereason": ["1"]}
    assert device(Entry(dn, other)) == device(Entry(dn)) == DirectoryDevice(dn=dn)
    assert owner_of_device(dn) == "cn=anna,dc=contoso,dc=example"
    assert owner_of_device("CN=A,CN=Anna,DC=contoso,DC=example") is None


def test_the_device_lists_of_a_user() -> None:
    entry = Entry(
        "CN=Anna",
        {
            "msexchmobilealloweddeviceids": ["A", "B"],
            "msexchmobileblockeddeviceids": ["C"],
            "preferredlanguage": ["de-DE"],
        },
    )
    assert device_lists(entry) == DeviceLists(allowed=("A", "B"), blocked=("C",), language="de-DE")
    assert device_lists(Entry("CN=Anna")) == DeviceLists()


@pytest.mark.parametrize(
    ("name", "came"),
    [
        ("proxyAddresses", None),
        ("proxyAddresses;range=0-1499", (0, 1499)),
        ("proxyAddresses;Range=1500-*", (1500, None)),
        ("proxyAddresses;range=0-9;lang-en", (0, 9)),
        ("proxyAddresses;lang-en;range=0-9", (0, 9)),
        ("proxyAddresses;range=0-", None),
        ("proxyAddresses;range=0-9x", None),
        ("proxyAddresses;range=0-1234567890", None),
    ],
)
def test_a_part_of_many_values(name: str, came: tuple[int, int | None] | None) -> None:
    assert value_range(name) == came


@pytest.mark.parametrize(
    ("ranges", "cut"),
    [
        ([], {}),
        ([("a", 0, 4)], {"a": 5}),
        ([("a", 0, None)], {}),
        ([("a", 5, None), ("a", 0, 4)], {}),
        ([("a", 6, None), ("a", 0, 4)], {"a": 5}),
        ([("a", 6, 9), ("a", 0, 4)], {"a": 5}),
        ([("a", 0, 9), ("a", 2, 4)], {"a": 10}),  # the second tells less than the first
        ([("a", 1, None)], {"a": 0}),
        ([("a", 0, None), ("a", 3, 4)], {}),
        ([("x", 0, 4), ("b", 0, 1), ("a", 0, None)], {"b": 2}),  # nobody wants x
    ],
)
def test_lists_that_do_not_reach_their_end(
    ranges: list[tuple[str, int, int | None]], cut: dict[str, int]
) -> None:
    assert unfinished(ranges, {"a", "b"}) == cut
