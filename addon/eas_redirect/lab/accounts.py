"""Who has an account at the legacy Exchange stand-in, and how Exchange treats each of them."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    """What Exchange does with an account's EAS requests."""

    MAILBOX = "mailbox"  # the mailbox is here: ordinary answers
    MOVED = "moved"  # UserHasNoMailbox, in the form that version and command call for
    LEAVING = "leaving"  # the mailbox is here until a Ping or Sync has waited; MOVED from then on
    BLOCKED = "blocked"  # refused with a 403 that has nothing to do with mailboxes
    NEEDS_POLICY = "needs_policy"  # provisioning comes first: 142 in band, or 449
    BUSY = "busy"  # 503, as in the minutes after a move
    NATIVE_REDIRECT = "native_redirect"  # Exchange sends a 451 by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account. It logs on as `DOMAIN\\name`, as its user principal name, or as `name`."""

    name: str
    domain: str = "CONTOSO"
    user_principal_name: str
    password: str
    behaviour: Behaviour = Behaviour.MAILBOX
    gzip: bool = False  # this account's answers come compressed, if the client accepts that
    sent_back: bool = False  # where the mailbox went, they believe it to be here

    @property
    def logons(self) -> tuple[str, ...]:
        spellings = (f"{self.domain}\\{self.name}", self.user_principal_name, self.name)
        return tuple(spelling.lower() for spelling in spellings)


class Accounts:
    """The accounts by every spelling of their logon."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_logon = {logon: account for account in accounts for logon in account.logons}

    def authenticate(self, authorization: str | None) -> Account | None:
        """The account whose name and password a Basic header holds (RFC 7617)."""
        logon, password = basic_credentials(authorization) or ("", "")
        account = self._by_logon.get(logon.lower())
        return account if account is not None and account.password == password else None


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """User and password of a Basic header, as the server that owns the passwords reads it."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None
