"""Which account a logon means, and where not enough can be seen to say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.entries import Partition
from eas_redirect.directory.logons import (
    AccountAttribute,
    account_domain,
    domains_of_objects,
    resolve,
)
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
UNREAD = LeftOutObject(dn="CN=Unread,DC=contoso,DC=example", why="a.ldif:7: malformed")


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain with one account; there may be others in the forest."""

    seen: Sight
    accounts_held: tuple[Recipient, ...] = (ANNA,)
    leaves_out: bool = False
    shows_all: bool = False
    unread: tuple[str, ...] = ()  # names of an object that could not be read

    def linked_to(self, sid: str) -> Sequence[Recipient]:
        return [one for one in self.accounts_held if one.ms_exch_master_account_sid == sid]

    def left_out(self, name: str) -> Sequence[LeftOutObject]:
        return [UNREAD] if name in self.unread else ()

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
        (
            replace(MOVED, mail_nickname=None),
            replace(ALL, domains=(replace(SEEN, aliases=False, mailboxes=False),)),
            "mailboxes_not_visible",  # the graver one
        ),
        (replace(MOVED, mail_nickname=None), replace(HIDDEN, no_mailboxes_here=True), None),
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
        ("CONTOSO\\anna", MOVED, (AccountDomain(name="CONTOSO"),), Found(recipient=MOVED)),
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
    assert "FABRIKAM" in found.message


def test_two_that_stand_for_one_account_are_ambiguous() -> None:
    other = replace(LINKED, dn="CN=Other,DC=contoso,DC=example")
    forest = Domain(ALL, (LINKED, other))
    account = Found(recipient=THERE)
    found = resolve(logon("FABRIKAM\\anna"), forest, None, [], BY_SID, account)
    assert found == Ambiguous(dns=(LINKED.dn, other.dn))


def test_who_is_no_account_does_not_log_on() -> None:
    group = replace(ANNA, is_account=False)
    for text in ("CONTOSO\\anna", "anna", "anna.smith@contoso.example", "anna@contoso.example"):
        assert resolve(logon(text), Domain(ALL, (group,)), None, []) == NotFound(), text
    linked = Domain(ALL, (replace(LINKED, is_account=False),))
    there = Found(recipient=THERE)
    assert resolve(logon("FABRIKAM\\a"), linked, None, [], BY_SID, there) == NotFound()


def test_an_address_of_two_is_ambiguous_wherever_it_belongs() -> None:
    address = ("smtp:smith@tailspin.example",)
    both = tuple(replace(ANNA, dn=f"CN={name}", proxy_addresses=address) for name in "AB")
    forest = Domain(replace(ALL, trusts=("fabrikam.example",)), both)
    found = resolve(logon("smith@tailspin.example"), forest, None, [])
    assert found == Ambiguous(dns=("CN=A", "CN=B"))


def test_a_name_here_that_looks_like_one_of_another_domain() -> None:
    """`FABRIKAM\\anna` is no principal name, whoever has one that reads so."""
    other = replace(MOVED, dn="CN=X", sam_account_name="x", user_principal_name="anna@FABRIKAM")
    forest = Domain(ALL, (LINKED, other))
    found = resolve(logon("FABRIKAM\\anna"), forest, None, [], SAME_NAME)
    assert found == Found(recipient=LINKED)


def test_a_domain_that_must_not_become_a_question_is_refused() -> None:
    steps: list[str] = []
    text = "CONTO\0SO\\anna"
    odd = Logon(text=text, user="anna", domain="CONTO\0SO", format="down_level")
    assert resolve(odd, Domain(ALL), None, steps) == NotFound()
    assert steps == ["refused: the name is empty, too long or holds control characters"]


def test_hidden_principal_names_are_told_before_hidden_accounts() -> None:
    """And of the domains those alone that hide them."""
    other = replace(SEEN, nc_name="dc=emea,dc=contoso,dc=example", principal_names=False)
    forest = Domain(replace(SOME, domains=(SEEN, other)))
    steps: list[str] = []
    found = resolve(logon("smith@contoso.example"), forest, None, steps)
    assert isinstance(found, Unavailable)
    assert found.error_type == "principal_names_not_visible"
    assert "of emea.contoso.example shows" in found.message
    assert steps[-1] == found.message


@pytest.mark.parametrize("name", ["anna.smith", "anna.smith@contoso.example"])
def test_an_object_that_could_not_be_read_may_be_the_one(name: str) -> None:
    asked = logon("anna.smith@contoso.example")
    steps: list[str] = []
    forest = Domain(ALL, leaves_out=True, unread=(name,))
    found = resolve(asked, forest, None, steps)
    assert found == Ambiguous(dns=(ANNA.dn, UNREAD.dn), left_out=UNREAD.why)
    assert UNREAD.why in steps[-1]
    nobody = replace(forest, accounts_held=())
    assert resolve(asked, nobody, None, []) == Ambiguous(dns=(UNREAD.dn,), left_out=UNREAD.why)
    two = replace(forest, accounts_held=(ANNA, replace(ANNA, dn="CN=B")))
    steps.clear()
    assert resolve(asked, two, None, steps) == Ambiguous(dns=(ANNA.dn, "CN=B")), "as it is anyway"
    assert steps[0].endswith(": 2 objects")
    other = replace(forest, unread=("anna.smith@else.example",))
    assert resolve(asked, other, None, []) == Found(recipient=ANNA)


@pytest.mark.parametrize(
    ("text", "forest", "domains", "account", "told"),
    [
        ("smith@contoso.example", Domain(ALL), (), None,
         ["userPrincipalName=smith@contoso.example: 0 objects",
          "sAMAccountName=smith in dc=contoso,dc=example: 0 objects",
          "proxyAddresses=smtp:smith@contoso.example: 1 object"]),
        ("smith@tailspin.example",
         Domain(replace(ALL, trusts=("fabrikam.example",)),
                (replace(ANNA, proxy_addresses=("smtp:smith@tailspin.example",)),)), (), None,
         ["userPrincipalName=", "proxyAddresses=",
          "tailspin.example is not a domain of this forest"]),
        ("TAILSPIN\\anna", Domain(ALL), (), None,
         ["no domain of the forest is called TAILSPIN (known: contoso, contoso.example)"]),
        ("TAILSPIN\\anna", Domain(replace(ALL, named=False)), (), None,
         ["no domain of the forest is called TAILSPIN", "no crossRef object tells"]),
        ("FABRIKAM\\anna", Domain(ALL, (MOVED,)), SAME_NAME, None,
         ["FABRIKAM is one of directory.account_domains", "sAMAccountName=anna: 1 object",
          f"{ANNA.dn} is no linked mailbox"]),
        ("FABRIKAM\\anna", Domain(ALL, (LINKED,)), BY_SID, Found(recipient=THERE),
         ["FABRIKAM is one of directory.account_domains",
          f"there it is {THERE.dn}; msExchMasterAccountSid={SID}: 1 object"]),
        ("FABRIKAM\\anna", Domain(ALL, (LINKED,)), BY_SID, NotFound(),
         ["FABRIKAM is one of directory.account_domains",
          "the account domain knows nobody by this logon"]),
    ],
)  # fmt: skip
def test_each_question_is_told_in_words(
    text: str,
    forest: Domain,
    domains: tuple[AccountDomain, ...],
    account: Lookup | None,
    told: list[str],
) -> None:
    steps: list[str] = []
    resolve(logon(text), forest, None, steps, domains, account)
    assert len(steps) == len(told), steps
    for step, begins in zip(steps, told, strict=True):
        assert step.startswith(begins)


def test_a_forest_that_shows_no_domain_knows_none() -> None:
    steps: list[str] = []
    resolve(logon("CONTOSO\\anna"), Nameless(ALL), None, steps)
    assert "(known: none)" in steps[0]


class Nameless(Domain):
    def partitions(self) -> Sequence[Partition]:
        return ()


def test_domains_as_far_as_objects_tell() -> None:
    dns = ["CN=A,DC=fabrikam,DC=example", "CN=B,DC=Contoso,DC=example", "CN=C,O=Nowhere",
           "CN=D,DC=contoso,DC=example"]  # fmt: skip
    assert domains_of_objects(dns) == (
        Partition(nc_name="dc=contoso,dc=example", names=frozenset({"contoso.example"})),
        Partition(nc_name="dc=fabrikam,dc=example", names=frozenset({"fabrikam.example"})),
    )


def test_a_logon_without_a_domain_names_no_account_domain() -> None:
    assert account_domain(logon("anna"), SAME_NAME) is None
    assert account_domain(logon("fabrikam\\anna"), SAME_NAME) == SAME_NAME[0]
