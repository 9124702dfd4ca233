"""Which account a logon means, and where not enough can be seen to say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from eas_redirect.directory.entries import Partition
from eas_redirect.directory.logons import AccountAttribute, resolve
from eas_redirect.directory.sight import DomainSight, Portion, Sight
from eas_redirect.directory.values import (
    AccountDomain,
    Ambiguous,
    Found,
    LeftOutObject,
    Lookup,
    NotFound,
    Recipient,
    Unavailable,
)
from tests.directory.logons import logon

CONTOSO = Partition(
    nc_name="dc=contoso,dc=example", names=frozenset({"contoso", "contoso.example"})
)
SEEN = DomainSight(
    nc_name="dc=contoso,dc=example", mailboxes=True, aliases=True, principal_names=True
)
ALL = Sight(source="ldap", domains=(SEEN,), named=True)
SOME = replace(ALL, missing=("dc=emea,dc=contoso,dc=example",))
ANNA = Recipient(
    dn="CN=Anna Smith,DC=contoso,DC=example",
    sam_account_name="anna",
    user_principal_name="anna.smith@contoso.example",
    proxy_addresses=("smtp:smith@contoso.example",),
)


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain with one account; there may be others in the forest."""

    seen: Sight
    accounts_held: tuple[Recipient, ...] = (ANNA,)
    leaves_out: bool = False
    shows_all: bool = False

    def linked_to(self, sid: str) -> Sequence[Recipient]:
        return [one for one in self.accounts_held if one.ms_exch_master_account_sid == sid]

    def left_out(self, _name: str) -> Sequence[LeftOutObject]:
        return ()

    def partitions(self) -> Sequence[Partition]:
        return (CONTOSO,)

    def upn_suffixes(self) -> frozenset[str]:
        return frozenset({"contoso.test"})

    def sight(self) -> Sight:
        return self.seen

    def accounts(
        self, attribute: AccountAttribute, value: str, _domain: Partition | None
    ) -> Sequence[Recipient]:
        names = {"sAMAccountName": "sam_account_name", "userPrincipalName": "user_principal_name"}
        return [one for one in self.accounts_held if getattr(one, names[attribute]) == value]

    def address_holders(self, address: str) -> Sequence[Recipient]:
        return [one for one in self.accounts_held if f"smtp:{address}" in one.proxy_addresses]


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("CONTOSO\\anna", True),  # unique in its domain
        ("anna.smith@contoso.example", True),  # unique in the forest
        ("CONTOSO\\anna.smith@contoso.example", True),
        ("anna", False),
        # Another domain may have somebody whose UPN this is: he would be the one who logged on.
        ("anna@contoso.example", False),
        ("smith@contoso.example", False),
    ],
)
def test_a_name_that_is_not_unique_needs_the_whole_forest(text: str, sure: bool) -> None:
    whole = resolve(logon(text), Domain(ALL), None, [])
    by_address = text.startswith("smith")
    assert whole == Found(recipient=ANNA, by_address=by_address)
    steps: list[str] = []
    found = resolve(logon(text), Domain(SOME), None, steps)
    assert found == (Found(recipient=ANNA) if sure else Ambiguous(dns=(ANNA.dn,)))
    assert ("global catalogue (port 3269)" in steps[-1]) is not sure


def test_a_suffix_of_the_forest_needs_the_whole_forest_too() -> None:
    other = Recipient(dn="CN=Anna,DC=contoso,DC=example", sam_account_name="anna")
    whole, part = Domain(ALL, (other,)), Domain(SOME, (other,))
    assert resolve(logon("anna@contoso.test"), whole, None, []) == Found(recipient=other)
    assert resolve(logon("anna@contoso.test"), part, None, []) == Ambiguous(dns=(other.dn,))


@pytest.mark.parametrize("text", ["nobody", "nobody@contoso.example", "nobody@else.example"])
def test_nobody_is_nobody_wherever_one_looks(text: str) -> None:
    assert resolve(logon(text), Domain(SOME), None, []) == NotFound()


def test_a_default_domain_settles_a_bare_name() -> None:
    found = resolve(logon("anna"), Domain(SOME), "CONTOSO", [])
    assert found == Found(recipient=ANNA)


@pytest.mark.parametrize(
    ("portion", "sure"),
    [
        ("part", {"CONTOSO\\anna", "anna.smith@contoso.example"}),
        # Nobody else of the domain can have the account name, wherever the export began.
        ("one_container", {"CONTOSO\\anna", "anna.smith@contoso.example", "anna"}),
    ],
)
def test_a_base_below_the_root_tells_what_is_unique_by_itself(
    portion: Portion, sure: set[str]
) -> None:
    forest = Domain(replace(ALL, domains=(replace(SEEN, portion=portion),)))
    texts = ["anna", "anna@contoso.example", "smith@contoso.example", *sorted(sure)]
    found = {text for text in texts if isinstance(resolve(logon(text), forest, None, []), Found)}
    assert found == sure


def test_another_domain_s_container_does_not_tell_who_is_alone() -> None:
    other = replace(SEEN, nc_name="dc=emea,dc=contoso,dc=example", portion="one_container")
    forest = Domain(replace(ALL, domains=(SEEN, other)))
    assert resolve(logon("anna"), forest, None, []) == Ambiguous(dns=(ANNA.dn,))


@pytest.mark.parametrize("text", ["anna@contoso.example", "smith@contoso.example"])
def test_where_no_principal_name_shows_an_address_tells_nobody(text: str) -> None:
    """Another account, whose principal name is hidden, may be the one who logs on so."""
    account = replace(ANNA, user_principal_name=None)
    forest = Domain(replace(ALL, domains=(replace(SEEN, principal_names=False),)), (account,))
    found = resolve(logon(text), forest, None, [])
    assert isinstance(found, Unavailable)
    assert found.error_type == "principal_names_not_visible"
    assert "let the account read userPrincipalName" in found.message
    assert resolve(logon("CONTOSO\\anna"), forest, None, []) == Found(recipient=account)


def test_a_principal_name_behind_a_domain_is_one_account_or_none() -> None:
    """`CONTOSO\\s@x`: one account is called so, another has it as its principal name."""
    odd = Recipient(dn="CN=Odd,DC=contoso,DC=example", sam_account_name="anna@contoso.example")
    named = replace(ANNA, user_principal_name="anna@contoso.example")
    text = "CONTOSO\\anna@contoso.example"
    assert resolve(logon(text), Domain(ALL, (odd,)), None, []) == Found(recipient=odd)
    assert resolve(logon(text), Domain(ALL, (named,)), None, []) == Found(recipient=named)
    both = Domain(ALL, (odd, named))
    assert resolve(logon(text), both, None, []) == Ambiguous(dns=(odd.dn, named.dn))
    same = replace(odd, user_principal_name="anna@contoso.example")
    assert resolve(logon(text), Domain(ALL, (same,)), None, []) == Found(recipient=same)


@pytest.mark.parametrize(
    ("address", "trusts", "found"),
    [
        ("smith@contoso.example", (), True),
        ("smith@contoso.example", ("fabrikam.example",), True),  # a domain of this forest
        ("smith@contoso.test", ("fabrikam.example",), True),  # one of its suffixes
        ("smith@fabrikam.example", (), True),
        ("smith@fabrikam.example", ("fabrikam.example",), False),
        # The users of a trusted forest may log on with any suffix that it has.
        ("smith@tailspin.example", ("fabrikam.example",), False),
    ],
)
def test_an_address_is_no_logon_of_another_forest(
    address: str, trusts: tuple[str, ...], found: bool
) -> None:
    holder = replace(ANNA, proxy_addresses=(f"smtp:{address}",))
    forest = Domain(replace(ALL, trusts=trusts), (holder,))
    expected = Found(recipient=holder, by_address=True) if found else NotFound()
    assert resolve(logon(address), forest, None, []) == expected


MOVED = replace(ANNA, target_address="SMTP:anna@cloud.example", mail_nickname="anna")
LOCAL = replace(MOVED, home_mdb="CN=DB01")
HIDDEN = replace(ALL, domains=(replace(SEEN, mailboxes=False),))
ELSEWHERE = replace(
    HIDDEN, domains=(*HIDDEN.domains, replace(SEEN, nc_name="dc=emea,dc=contoso,dc=example"))
)


@pytest.mark.parametrize(
    ("account", "sight", "unseen"),
    [
        (MOVED, ALL, None),
        (MOVED, HIDDEN, "mailboxes_not_visible"),
        (MOVED, replace(HIDDEN, no_mailboxes_here=True), None),
        (LOCAL, HIDDEN, None),  # what is there needs no vouching
        (replace(MOVED, target_address=None), HIDDEN, None),  # nothing follows from it
        # It says by itself that it is a remote mailbox. That alone does not do.
        (replace(MOVED, ms_exch_recipient_type_details=1 << 31), HIDDEN, "mailboxes_not_visible"),
        (MOVED, ELSEWHERE, "mailboxes_not_visible"),
        (replace(MOVED, ms_exch_recipient_type_details=1 << 31), ELSEWHERE, None),
        (replace(MOVED, ms_exch_recipient_type_details=128), ELSEWHERE, "mailboxes_not_visible"),
        (replace(MOVED, mail_nickname=None), ALL, None),  # then it is no recipient: the policy's
        (
            replace(MOVED, mail_nickname=None),
            replace(ALL, domains=(replace(SEEN, aliases=False),)),
            "aliases_not_visible",
        ),
        (MOVED, replace(ALL, domains=()), "mailboxes_not_visible"),
    ],
)
def test_an_absent_mailbox_needs_visible_ones(
    account: Recipient, sight: Sight, unseen: str | None
) -> None:
    steps: list[str] = []
    found = resolve(logon("CONTOSO\\anna"), Domain(sight, (account,)), None, steps)
    assert isinstance(found, Found)
    assert found.recipient == account
    assert (found.unseen.error_type if found.unseen else None) == unseen
    assert found.unseen is None or found.unseen.message in steps


SID = "S-1-5-21-1-2-3-1104"
LINKED = replace(MOVED, ms_exch_master_account_sid=SID, user_account_control=0x202)
SAME_NAME = (AccountDomain(name="FABRIKAM"), AccountDomain(name="fabrikam.example"))
BY_SID = (AccountDomain(name="FABRIKAM", servers=("ldaps://dc1.fabrikam.example",)),)
THERE = Recipient(dn="CN=Anna,DC=fabrikam,DC=example", sam_account_name="a.smith", object_sid=SID)


@pytest.mark.parametrize(
    ("text", "account", "domains", "found"),
    [
        ("FABRIKAM\\anna", LINKED, SAME_NAME, Found(recipient=LINKED)),
        ("fabrikam\\anna", LINKED, SAME_NAME, Found(recipient=LINKED)),
        ("anna@fabrikam.example", LINKED, SAME_NAME, Found(recipient=LINKED)),
        ("FABRIKAM\\bert", LINKED, SAME_NAME, NotFound()),
        # Never by a guess.
        ("FABRIKAM\\anna", LINKED, (), NotFound()),
        ("TAILSPIN\\anna", LINKED, SAME_NAME, NotFound()),
        # Somebody of this forest, who logs on for himself.
        ("FABRIKAM\\anna", MOVED, SAME_NAME, NotFound()),
        # A name of this forest, and a UPN that somebody has here.
        ("CONTOSO\\anna", LINKED, (AccountDomain(name="CONTOSO"),), Found(recipient=LINKED)),
        (
            "anna@fabrikam.example",
            replace(MOVED, user_principal_name="anna@fabrikam.example"),
            SAME_NAME,
            Found(recipient=replace(MOVED, user_principal_name="anna@fabrikam.example")),
        ),
    ],
)
def test_a_linked_mailbox_by_the_same_name(
    text: str, account: Recipient, domains: tuple[AccountDomain, ...], found: Lookup
) -> None:
    forest = Domain(ALL, (account,))
    assert resolve(logon(text), forest, None, [], domains) == found


def test_the_same_name_needs_the_whole_forest() -> None:
    found = resolve(logon("FABRIKAM\\anna"), Domain(SOME, (LINKED,)), None, [], SAME_NAME)
    assert found == Ambiguous(dns=(LINKED.dn,))


DOWN = Unavailable(error_type="timeout", message="late")


@pytest.mark.parametrize(
    ("account", "found"),
    [
        (Found(recipient=THERE), Found(recipient=LINKED)),
        (Found(recipient=replace(THERE, object_sid="S-1-5-21-1-2-3-1105")), NotFound()),
        (Found(recipient=THERE, by_address=True), NotFound()),
        (NotFound(), NotFound()),
        (Ambiguous(dns=("A", "B")), Ambiguous(dns=("A", "B"))),
        (DOWN, DOWN),
    ],
)
def test_a_linked_mailbox_by_the_sid_of_its_account(account: Lookup, found: Lookup) -> None:
    """The account has another name there, and the name that it has there is another's here."""
    namesake = replace(MOVED, dn="CN=X,DC=contoso,DC=example", sam_account_name="a.smith")
    forest = Domain(ALL, (LINKED, namesake))
    text = "FABRIKAM\\a.smith"
    assert resolve(logon(text), forest, None, [], BY_SID, account) == found


@pytest.mark.parametrize(
    ("account", "error_type"),
    [
        (None, "account_domain_not_asked"),
        (Found(recipient=replace(THERE, object_sid=None)), "sid_not_visible"),
    ],
)
def test_without_a_sid_nothing_is_guessed(account: Lookup | None, error_type: str) -> None:
    forest = Domain(ALL, (LINKED,))
    found = resolve(logon("FABRIKAM\\anna"), forest, None, [], BY_SID, account)
    assert isinstance(found, Unavailable)
    assert found.error_type == error_type


def test_two_that_stand_for_one_account_are_ambiguous() -> None:
    other = replace(LINKED, dn="CN=Other,DC=contoso,DC=example")
    forest = Domain(ALL, (LINKED, other))
    account = Found(recipient=THERE)
    found = resolve(logon("FABRIKAM\\anna"), forest, None, [], BY_SID, account)
    assert found == Ambiguous(dns=(LINKED.dn, other.dn))
