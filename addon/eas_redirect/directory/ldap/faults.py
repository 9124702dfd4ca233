"""Why a directory could not be asked, and what to do about it. Pure; standard library only."""

import re
from typing import Literal

from eas_redirect.directory.values import Unavailable

type Scope = Literal["server", "account", "question"]


class Fault(Exception):  # noqa: N818 - the word sets it apart from our errors
    """One failed attempt; never leaves the directory: there it becomes `Unavailable`.

    `scope` tells whom it concerns: this `server` (another one may answer), the `account` (every
    server would refuse it), or the `question` (the server works and cannot answer this).
    """

    def __init__(self, error_type: str, message: str, scope: Scope = "server") -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.scope = scope

    def at(self, server: str) -> "Fault":
        """The same, with the server's name in front."""
        return Fault(self.error_type, f"{server}: {self.message}", self.scope)

    def copied(self) -> "Fault":
        """A copy to keep or to raise again. An exception that is raised repeatedly collects the
        frames of every time."""
        return Fault(self.error_type, self.message, self.scope)

    def as_unavailable(self) -> Unavailable:
        return Unavailable(error_type=self.error_type, message=self.message)


class NoSuchObjectError(Fault):
    """The base of a search does not exist, or may not be seen."""

    def __init__(self, base: str) -> None:
        place = base or "the empty base of a global catalogue"
        message = f"{place} does not exist or may not be read: check directory.search_base"
        super().__init__("no_such_object", message, "question")


# Sub-codes that Active Directory puts into a refused bind ("data 52e"), from the Win32 error codes
# (MS-ERREF 2.2) in hexadecimal: error type, what is wrong, what to do.
_SUB_CODES = {
    "525": ("invalid_credentials", "no such user", "check directory.bind_user"),
    "52e": (
        "invalid_credentials",
        "the user name or the password is wrong",
        r"check directory.bind_user (user@domain, DOMAIN\user or a DN) and the password's file or"
        " variable",
    ),
    "52f": ("account_restricted", "account restrictions", "check the account's restrictions"),
    "530": ("account_restricted", "no logon at this hour", "check the account's logon hours"),
    "531": (
        "account_restricted",
        "no logon from this machine",
        "check the account's list of workstations",
    ),
    "532": ("password_expired", "the password has expired", "set a new one for the account"),
    "533": ("account_disabled", "the account is disabled", "enable it"),
    "534": ("account_restricted", "the logon type is not granted", "check the user rights"),
    "568": ("account_restricted", "too many context identifiers", "check the account's groups"),
    "701": ("account_expired", "the account has expired", "extend it"),
    "773": (
        "password_must_change",
        "the password must be changed at the first logon",
        "set a password that need not be changed",
    ),
    "775": ("account_locked", "the account is locked", "unlock it and look for who locks it"),
}
_BUSY = frozenset({"busy", "unavailable", "timeLimitExceeded", "adminLimitExceeded"})
_SUB_CODE = re.compile(r"\bdata ([0-9a-f]{3,8})\b", re.IGNORECASE)
# ERROR_NOT_AUTHENTICATED (MS-ERREF 2.2) of Windows, and Samba's words.
_BIND_FIRST = ("000004DC", "without authentication")
# The server works and says no: another one would say the same.
_ABOUT_THE_QUESTION = frozenset({"insufficientAccessRights", "sizeLimitExceeded"})
_CHANNEL_BINDING = "80090346"  # SEC_E_BAD_BINDINGS (MS-ERREF 2.1)


def refused_bind(description: str, diagnostics: str) -> Fault:
    """From a bind's result: its name (RFC 4511 4.1.9) and the server's own text."""
    if description in _BUSY:
        return Fault("server_busy", f"the server cannot serve now ({description})")
    if _CHANNEL_BINDING in diagnostics:
        return Fault(
            "channel_binding",
            "the server requires channel binding, which Kerberos binds do not have here: "
            'use directory.bind = "simple" over ldaps://',
            "account",
        )
    if description in ("strongerAuthRequired", "confidentialityRequired"):
        return Fault(
            "signing_required",
            "the server takes no simple bind without TLS, and no Kerberos bind without signing: "
            'use ldaps:// or directory.start_tls with directory.bind = "simple"',
            "account",
        )
    code = _SUB_CODE.search(diagnostics)
    if code and (known := _SUB_CODES.get(code[1].lower())):
        error_type, what, advice = known
        return Fault(
            error_type, f"the bind was refused: {what} (data {code[1]}): {advice}", "account"
        )
    if description == "invalidCredentials":
        return Fault(
            "invalid_credentials",
            "the bind was refused: check directory.bind_user and the password's file or variable",
            "account",
        )
    return Fault("bind_refused", f"the bind was refused ({description})", "account")


def refused_search(description: str, diagnostics: str) -> Fault:
    """From the result of a search that is not success and not noSuchObject."""
    if description == "operationsError" and any(text in diagnostics for text in _BIND_FIRST):
        message = 'the server answers no anonymous questions: set directory.bind to "simple"'
        return Fault("bind_required", message, "account")
    if description == "referral":
        message = (
            "the server does not hold that domain: name a global catalogue (port 3269) in "
            "directory.servers"
        )
        return Fault("referral", message, "question")
    message = f"the search was refused ({description})"
    return Fault(
        "search_refused", message, "question" if description in _ABOUT_THE_QUESTION else "server"
    )
