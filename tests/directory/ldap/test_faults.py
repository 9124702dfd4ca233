"""What servers say when they refuse, in words that tell what to do."""

import pytest

from eas_redirect.directory.ldap.faults import (
    Fault,
    NoSuchObjectError,
    refused_bind,
    refused_search,
)

AD = "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {}, v2580"


@pytest.mark.parametrize(
    ("code", "error_type", "says"),
    [
        ("52e", "invalid_credentials", "user name or the password is wrong (data 52e)"),
        ("525", "invalid_credentials", "no such user"),
        ("530", "account_restricted", "no logon at this hour"),
        ("531", "account_restricted", "no logon from this machine"),
        ("532", "password_expired", "the password has expired (data 532)"),
        ("533", "account_disabled", "disabled (data 533)"),
        ("701", "account_expired", "the account has expired"),
        ("773", "password_must_change", "must be changed"),
        ("775", "account_locked", "locked (data 775)"),
        ("999", "invalid_credentials", "check directory.bind_user"),
    ],
)
def test_the_sub_code_of_a_refused_bind(code: str, error_type: str, says: str) -> None:
    fault = refused_bind("invalidCredentials", AD.format(code))
    assert (fault.error_type, fault.scope) == (error_type, "account")
    assert says in fault.message


@pytest.mark.parametrize(
    ("description", "diagnostics", "error_type", "scope"),
    [
        ("strongerAuthRequired", "", "signing_required", "account"),
        ("confidentialityRequired", "", "signing_required", "account"),
        ("invalidCredentials", "80090346: LdapErr: data 80090346", "channel_binding", "account"),
        ("strongerAuthRequired", "80090346: LdapErr", "channel_binding", "account"),
        ("invalidCredentials", "", "invalid_credentials", "account"),
        ("inappropriateAuthentication", "", "bind_refused", "account"),
        ("busy", "", "server_busy", "server"),
        ("unavailable", "", "server_busy", "server"),
    ],
)
def test_other_refusals_of_a_bind(
    description: str, diagnostics: str, error_type: str, scope: str
) -> None:
    fault = refused_bind(description, diagnostics)
    assert (fault.error_type, fault.scope) == (error_type, scope)


@pytest.mark.parametrize(
    ("description", "diagnostics", "error_type", "scope"),
    [
        ("operationsError", "000004DC: LdapErr", "bind_required", "account"),
        ("operationsError", "", "search_refused", "server"),
        ("busy", "000004DC: LdapErr", "search_refused", "server"),
        ("referral", "", "referral", "question"),
        ("insufficientAccessRights", "", "search_refused", "question"),
        ("busy", "", "search_refused", "server"),
    ],
)
def test_refusals_of_a_search(
    description: str, diagnostics: str, error_type: str, scope: str
) -> None:
    fault = refused_search(description, diagnostics)
    assert (fault.error_type, fault.scope) == (error_type, scope)


def test_a_fault_is_told_with_its_server() -> None:
    told = Fault("timeout", "no answer").at("dc1.contoso.example:636").as_unavailable()
    assert told.error_type == "timeout"
    assert told.message == "dc1.contoso.example:636: no answer"


@pytest.mark.parametrize(
    ("base", "says"),
    [("DC=a", "DC=a does not exist"), ("", "the empty base of a global catalogue does not exist")],
)
def test_a_base_that_is_not_there_is_named(base: str, says: str) -> None:
    assert NoSuchObjectError(base).message.startswith(says)
