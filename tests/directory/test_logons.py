"""Which account a logon means, where not all of the forest can be seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from eas_redirect.directory.entries import Partition
from eas_redirect.directory.logons import AccountAttribute, resolve
from eas_redirect.directory.values import Ambiguous, Found, LeftOutObject, NotFound, Recipient
from tests.directory.logons import logon

CONTOSO = Partition(
    nc_name="dc=contoso,dc=example", names=frozenset({"contoso", "contoso.example"})
)
ANNA = Recipient(
    dn="CN=Anna Smith,DC=contoso,DC=example",
    sam_account_name="anna",
    user_principal_name="anna.smith@contoso.example",
    proxy_addresses=("smtp:smith@contoso.example",),
)


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain with one account; there may be others in the forest."""

    is_all: bool
    account: Recipient = ANNA

    def left_out(self, _name: str) -> Sequence[LeftOutObject]:
        return ()

    def partitions(self) -> Sequence[Partition]:
        return (CONTOSO,)

    def upn_suffixes(self) -> frozenset[str]:
        return frozenset({"contoso.test"})

    def sees_all_domains(self) -> bool:
        return self.is_all

    def accounts(
        self, attribute: AccountAttribute, value: str, _domain: Partition | None
    ) -> Sequence[Recipient]:
        names = {
            "sAMAccountName": self.account.sam_account_name,
            "userPrincipalName": self.account.user_principal_name,
        }
        return (self.account,) if names[attribute] == value else ()

    def address_holders(self, address: str) -> Sequence[Recipient]:
        return (self.account,) if f"smtp:{address}" in self.account.proxy_addresses else ()


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
    assert resolve(logon(text), Domain(is_all=True), None, []) == Found(recipient=ANNA)
    steps: list[str] = []
    found = resolve(logon(text), Domain(is_all=False), None, steps)
    assert found == (Found(recipient=ANNA) if sure else Ambiguous(dns=(ANNA.dn,)))
    assert ("global catalogue (port 3269)" in steps[-1]) is not sure


def test_a_suffix_of_the_forest_needs_the_whole_forest_too() -> None:
    other = Recipient(dn="CN=Anna,DC=contoso,DC=example", sam_account_name="anna")
    whole, part = Domain(is_all=True, account=other), Domain(is_all=False, account=other)
    assert resolve(logon("anna@contoso.test"), whole, None, []) == Found(recipient=other)
    assert resolve(logon("anna@contoso.test"), part, None, []) == Ambiguous(dns=(other.dn,))


@pytest.mark.parametrize("text", ["nobody", "nobody@contoso.example", "nobody@else.example"])
def test_nobody_is_nobody_wherever_one_looks(text: str) -> None:
    assert resolve(logon(text), Domain(is_all=False), None, []) == NotFound()


def test_a_default_domain_settles_a_bare_name() -> None:
    found = resolve(logon("anna"), Domain(is_all=False), "CONTOSO", [])
    assert found == Found(recipient=ANNA)
