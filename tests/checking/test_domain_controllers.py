"""What `check` says of a directory that shows mailboxes in one place and hides them in another."""

import pytest

from eas_redirect.checking.domain_controllers import check_accounts
from eas_redirect.directory.sight import DomainSight, Sight
from eas_redirect.directory.values import Recipient, Unavailable

ROOT = "DC=contoso,DC=example"
HIDDEN = f"OU=Hidden,{ROOT}"


def account(name: str, container: str = HIDDEN, **attributes: object) -> Recipient:
    known: dict[str, object] = {"dn": f"CN={name},{container}", "mail_nickname": "x"}
    return Recipient(**(known | attributes))  # type: ignore[arg-type]  # its own fields


def sight(*, mailboxes: bool = True, no_mailboxes_here: bool = False) -> Sight:
    domain = DomainSight(nc_name=ROOT.lower(), mailboxes=mailboxes, aliases=True)
    return Sight(source="ldap", domains=(domain,), no_mailboxes_here=no_mailboxes_here)


STAFF = account("bert", f"OU=Staff,{ROOT}", home_mdb="CN=DB01")
ODD = (account("anna"), account("Smith\\, Nina", HIDDEN.upper()))


def test_accounts_whose_mailboxes_may_be_hidden_are_told() -> None:
    [check] = check_accounts((STAFF, *ODD), sight())
    assert check.state == "warning"
    assert check.finding.startswith("2 users have a mailNickname, and show neither a mailbox nor")
    assert f"in 1 containers in which nobody shows a mailbox; first {ODD[0].dn}" in check.finding
    assert "homeMDB and msExchHomeServerName" in (check.advice or "")


@pytest.mark.parametrize(
    "beside",
    [
        account("bert", home_mdb="CN=DB01"),
        account("bert", ms_exch_home_server_name=""),
        account("bert", ms_exch_recipient_type_details=1),
    ],
    ids=["homeMDB", "msExchHomeServerName", "msExchRecipientTypeDetails"],
)
def test_where_somebody_shows_a_mailbox_nothing_is_hidden(beside: Recipient) -> None:
    assert list(check_accounts((*ODD, beside), sight())) == []


def test_who_has_moved_or_has_no_alias_is_not_odd() -> None:
    found = (
        account("anna", target_address="SMTP:anna@cloud.example"),
        account("zoe", target_address=""),
        account("krbtgt", mail_nickname=None),
        account("guest", mail_nickname=""),
    )
    assert list(check_accounts((STAFF, *found), sight())) == []


def test_a_domain_that_shows_no_mailbox_at_all_is_told_elsewhere() -> None:
    assert list(check_accounts(ODD, sight(mailboxes=False))) == []
    [check] = check_accounts(ODD, sight(mailboxes=False, no_mailboxes_here=True))
    assert check.state == "warning", "somebody says that nobody is left, and it does not look so"


def test_a_directory_that_does_not_give_all_accounts() -> None:
    away = Unavailable(error_type="timeout", message="no answer within 5 s")
    [check] = check_accounts(away, sight())
    assert check.state == "skipped"
    assert "no answer within 5 s" in check.finding
    assert list(check_accounts(away, None)) == []
