"""What a directory can vouch for, from the objects that it shows."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from eas_redirect.directory.sight import DomainSight, Portion, Remark, Sight, Witness

CORP, EMEA = "dc=corp,dc=example", "dc=emea,dc=corp,dc=example"
ALL = {"homemdb": ["CN=DB"], "mailnickname": ["a"], "userprincipalname": ["a@corp.example"]}
PLAIN = {"samaccountname": ["krbtgt"]}  # an account without mail, as every domain has some
SEEN = DomainSight(nc_name=CORP, mailboxes=True, aliases=True, principal_names=True)
WHOLE = Sight(source="snapshot", domains=(SEEN,), named=True)


def witnessed(*dns: str, bases: tuple[tuple[str, str], ...] = ()) -> Sight:
    witness = Witness()
    for dn in dns:
        witness.see(dn, ALL)
        witness.see(dn, PLAIN)
    return witness.sight([CORP], bases=bases)


def kinds(sight: Sight) -> list[str]:
    return [remark.kind for remark in sight.remarks()]


def test_where_everything_shows_there_is_nothing_to_say() -> None:
    assert WHOLE.remarks() == ()
    assert WHOLE.sees_everybody()
    assert WHOLE.sees_principal_names
    assert WHOLE.sees_aliases(CORP)
    assert not WHOLE.sees_aliases(EMEA)
    assert WHOLE.sees_mailboxes(CORP, says_remote=False)
    assert not WHOLE.sees_mailboxes(EMEA, says_remote=False)
    assert WHOLE.sees_mailboxes(EMEA, says_remote=True)


def test_who_sees_nothing_vouches_for_nothing() -> None:
    for sight in (
        Sight(source="ldap", named=True),
        replace(WHOLE, named=False),
        replace(WHOLE, missing=(EMEA,)),
        replace(WHOLE, unread=True),
    ):
        assert not sight.sees_everybody(), sight
        assert not sight.sees_everybody(CORP), sight
    assert not Sight(source="ldap", named=True).sees_principal_names


@pytest.mark.parametrize(
    ("dns", "portion"),
    [
        (["CN=A,CN=Users,DC=corp,DC=example"], "whole"),
        (["CN=A,OU=Staff,DC=corp,DC=example"], "one_container"),
        (["CN=A,OU=X,OU=Staff,DC=corp,DC=example"] * 2, "one_container"),
        (["CN=A,OU=X,OU=Staff,DC=corp,DC=example", "CN=B,OU=Y,OU=STAFF,dc=corp,dc=example"],
         "one_container"),
        (["CN=A,OU=Staff,DC=corp,DC=example", "CN=A,OU=Temps,DC=corp,DC=example"], "whole"),
        (["CN=A,OU=Staff,DC=corp,DC=example", "CN=A,CN=Users,DC=corp,DC=example"], "whole"),
        (["CN=A,DC=corp,DC=example"], "one_container"),
        ([r"CN=A\,DC=x,OU=Staff,DC=corp,DC=example"], "one_container"),
        (["CN=A, OU=Staff, DC=corp, DC=example"], "one_container"),
        (["CN=A,OU=Staff,DC=corp,DC=example", "CN=B, OU=Staff, DC=corp, DC=example"],
         "one_container"),
    ],
)  # fmt: skip
def test_where_an_export_began_shows_in_its_containers(dns: list[str], portion: Portion) -> None:
    sight = witnessed(*dns)
    assert [(d.nc_name, d.portion) for d in sight.domains] == [(CORP, portion)]
    assert sight.sees_everybody() is (portion == "whole")
    assert sight.sees_everybody(CORP)


@pytest.mark.parametrize(
    "attribute",
    ["mail", "mailnickname", "targetaddress", "proxyaddresses", "homemdb", "msexchhomeservername"],
)
def test_an_export_without_a_plain_account_was_for_mail_recipients(attribute: str) -> None:
    witness = Witness()
    for container in ("OU=Staff", "CN=Users"):
        witness.see(f"CN=A,{container},DC=corp,DC=example", ALL)
        witness.see(f"CN=B,{container},DC=corp,DC=example", PLAIN | {attribute: ["x"]})
    sight = witness.sight([CORP])
    assert [domain.portion for domain in sight.domains] == ["recipients"]
    assert not sight.sees_everybody()
    assert sight.sees_everybody(CORP), "an account name is unique in its domain"
    assert not sight.sees_everybody(EMEA)
    assert "only mail recipients can be seen" in sight.remarks()[0].message
    witness.see("CN=krbtgt,CN=Users,DC=corp,DC=example", PLAIN)
    assert witness.sight([CORP]).sees_everybody()


@pytest.mark.parametrize(
    ("bases", "portion"),
    [
        ((("DC=corp,DC=example", "subtree"),), "whole"),
        ((("dc=Corp, dc=Example", "sub"),), "whole"),
        ((("", "subtree"),), "whole"),  # of a global catalogue
        ((("OU=Staff,DC=corp,DC=example", "subtree"),), "part"),
        ((("DC=corp,DC=example", "oneLevel"),), "part"),
        ((("OU=Staff,DC=corp,DC=example", "subtree"), ("DC=corp,DC=example", "subtree")), "whole"),
        ((("CN=Users,DC=corp,DC=example", "subtree"),), "part"),
        ((("DC=other,DC=test", "subtree"),), "whole"),  # tells nothing: CN=Users does
        ((("CN=Services,CN=Configuration,DC=corp,DC=example", "subtree"),), "whole"),  # nor this
    ],
)
def test_where_a_search_began_is_believed(
    bases: tuple[tuple[str, str], ...], portion: Portion
) -> None:
    sight = witnessed("CN=A,CN=Users,DC=corp,DC=example", bases=bases)
    assert [d.portion for d in sight.domains] == [portion]
    assert sight.sees_everybody() is sight.sees_everybody(CORP) is (portion == "whole")


def test_one_container_of_mail_recipients_alone_is_one_container() -> None:
    witness = Witness()
    witness.see("CN=A,OU=Staff,DC=corp,DC=example", ALL)
    assert [d.portion for d in witness.sight([CORP]).domains] == ["one_container"]


def test_an_object_without_a_name_to_log_on_by_is_no_plain_account() -> None:
    witness = Witness()
    for container in ("OU=Staff", "CN=Users"):
        witness.see(f"CN=A,{container},DC=corp,DC=example", ALL)
        witness.see(f"CN=B,{container},DC=corp,DC=example", {"displayname": ["B"]})
    assert [d.portion for d in witness.sight([CORP]).domains] == ["recipients"]


def test_the_order_of_the_objects_says_nothing() -> None:
    """Nothing is overlooked because the rest has been seen before."""
    for order in permutations([PLAIN, *({name: values} for name, values in ALL.items())]):
        witness = Witness()
        for attributes in order:
            witness.see("CN=A,CN=Users,DC=corp,DC=example", attributes)
        assert witness.sight([CORP]).domains == (SEEN,), order


def test_what_else_a_file_tells_is_handed_on() -> None:
    told: dict[str, Any] = {
        "trusts": ("fabrikam.example",),
        "strangers": ("fabrikam.example",),
        "strays": ("CN=O365,OU=Old",),
        "unread": True,
        "no_mailboxes_here": True,
    }
    sight = Witness().sight([CORP], **told)
    assert {name: getattr(sight, name) for name in told} == told


def test_the_root_of_a_domain_shows_where_an_export_began() -> None:
    witness = Witness()
    witness.see_root("DC=corp,DC=example")
    witness.see("CN=A,OU=Staff,DC=corp,DC=example", ALL)
    assert [d.portion for d in witness.sight([CORP]).domains] == ["whole"]


@pytest.mark.parametrize(
    ("attributes", "mailboxes", "aliases", "principal_names"),
    [
        ({}, False, False, False),
        ({"homemdb": ["CN=DB"]}, True, False, False),
        ({"msexchhomeservername": ["/o=X/cn=EX"]}, True, False, False),
        ({"homemdb": [""], "mailnickname": [""], "userprincipalname": []}, False, False, False),
        ({"homemdb": ["", "CN=DB"]}, True, False, False),
        ({"mailnickname": ["a"], "userprincipalname": ["a@b"]}, False, True, True),
    ],
)
def test_one_value_shows_that_an_attribute_can_be_read(
    attributes: dict[str, list[str]], mailboxes: bool, aliases: bool, principal_names: bool
) -> None:
    witness = Witness()
    witness.see("CN=A,CN=Users,DC=corp,DC=example", PLAIN)
    witness.see("CN=B,CN=Users,DC=corp,DC=example", attributes)
    assert witness.sight([CORP]).domains == (
        DomainSight(
            nc_name=CORP, mailboxes=mailboxes, aliases=aliases, principal_names=principal_names
        ),
    )


def test_the_configuration_is_no_part_of_a_domain() -> None:
    """Recipients stand in it too, such as the system attendant, with a homeMDB."""
    witness = Witness()
    witness.see("CN=System,CN=Services,CN=Configuration,DC=corp,DC=example", ALL)
    assert witness.sight([CORP]).missing == (CORP,)


def test_objects_of_a_domain_that_nothing_names_make_the_names_uncertain() -> None:
    witness = Witness()
    witness.see("CN=A,CN=Users,DC=emea,DC=corp,DC=example", ALL)
    assert not witness.sight([CORP]).named
    assert not witness.sight([]).named
    assert witness.sight([EMEA]).named
    assert not Witness().sight([]).named, "a file without anybody"


def test_domains_are_told_apart_however_their_names_are_written() -> None:
    witness = Witness()
    for dn in (
        "CN=A, OU=Staff, DC=corp, DC=example",
        "CN=B, OU=Staff, DC=emea, DC=corp, DC=example",
    ):
        witness.see(dn, ALL)
    assert witness.domains == (CORP, EMEA)


def test_a_domain_of_which_nothing_shows_is_missing() -> None:
    witness = Witness()
    witness.see("CN=A,CN=Users,DC=corp,DC=example", ALL)
    assert witness.sight([CORP, EMEA]).missing == (EMEA,)
    assert witness.sight([CORP], siblings=[EMEA]).missing == (EMEA,)


@pytest.mark.parametrize(
    ("sight", "kind", "says", "blind"),
    [
        (
            replace(WHOLE, domains=(replace(SEEN, mailboxes=False),)),
            "mailboxes_not_visible",
            "nothing is known of mailboxes, and nobody is redirected: export homeMDB",
            True,
        ),
        (
            replace(WHOLE, source="ldap", domains=(replace(SEEN, mailboxes=False),)),
            "mailboxes_not_visible",
            "let the account read homeMDB and msExchHomeServerName",
            True,
        ),
        (
            replace(WHOLE, domains=(SEEN, replace(SEEN, nc_name=EMEA, mailboxes=False))),
            "mailboxes_not_visible",
            "not one user of emea.corp.example shows homeMDB",
            False,
        ),
        (Sight(source="ldap"), "mailboxes_not_visible", "directory.no_mailboxes_here = true", True),
        (
            replace(WHOLE, domains=(replace(SEEN, aliases=False),)),
            "aliases_not_visible",
            "export mailNickname",
            True,
        ),
        (
            replace(WHOLE, domains=(replace(SEEN, principal_names=False),)),
            "principal_names_not_visible",
            "export userPrincipalName",
            False,
        ),
        (
            replace(WHOLE, named=False),
            "not_all_accounts_visible",
            "export CN=Partitions",
            False,
        ),
        (
            replace(WHOLE, named=False, source="ldap"),
            "not_all_accounts_visible",
            "let the account read CN=Partitions",
            False,
        ),
        (
            replace(WHOLE, missing=(EMEA,)),
            "not_all_accounts_visible",
            "nothing can be seen of emea.corp.example",
            False,
        ),
        (
            replace(WHOLE, missing=(EMEA,), source="ldap"),
            "not_all_accounts_visible",
            "global catalogue (port 3269)",
            False,
        ),
        (
            replace(WHOLE, domains=(replace(SEEN, portion="part"),)),
            "not_all_accounts_visible",
            "only a part can be seen of corp.example",
            False,
        ),
        (
            replace(WHOLE, domains=(replace(SEEN, portion="one_container"),)),
            "not_all_accounts_visible",
            "stand in one container",
            False,
        ),
        (
            replace(WHOLE, domains=(replace(SEEN, nc_name="o=corp", portion="part"),)),
            "not_all_accounts_visible",
            "only a part can be seen of o=corp",
            False,
        ),
        (
            replace(WHOLE, domains=(SEEN, replace(SEEN, nc_name=EMEA, portion="part"))),
            "not_all_accounts_visible",
            "only a part can be seen of emea.corp.example, so",
            False,
        ),
        (
            replace(
                WHOLE,
                domains=(
                    replace(SEEN, portion="recipients"),
                    replace(SEEN, nc_name=EMEA, portion="part"),
                ),
            ),
            "not_all_accounts_visible",
            "only a part can be seen of emea.corp.example, so",
            False,
        ),
        (replace(WHOLE, unread=True), "not_all_accounts_visible", "was left out", False),
        (
            replace(WHOLE, trusts=("fabrikam.example",), strangers=("fabrikam.example",)),
            "trusted_domains",
            "directory.account_domains",
            False,
        ),
        (
            replace(WHOLE, strays=("CN=O365,OU=Old",)),
            "relationships_elsewhere",
            "CN=O365,OU=Old",
            False,
        ),
    ],
)
def test_what_cannot_be_seen_is_said_with_what_to_do(
    sight: Sight, kind: str, says: str, blind: bool
) -> None:
    assert kinds(sight) == [kind]
    (remark,) = sight.remarks()
    assert says in remark.message
    assert remark.blind is blind
    assert isinstance(remark, Remark)


def test_where_nobody_is_left_mailboxes_need_not_show() -> None:
    sight = replace(WHOLE, domains=(replace(SEEN, mailboxes=False),), no_mailboxes_here=True)
    assert kinds(sight) == []
    assert sight.sees_mailboxes(CORP, says_remote=False)
    assert kinds(replace(WHOLE, no_mailboxes_here=True)) == ["mailboxes_left"]
