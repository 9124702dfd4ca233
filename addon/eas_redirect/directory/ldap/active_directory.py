"""Active Directory over LDAP as a `Directory`. No ldap3 here: `ldap_session.py` has it."""

from collections.abc import Callable
from dataclasses import replace

from eas_redirect.directory.ldap.credentials import Credentials
from eas_redirect.directory.ldap.links import Session
from eas_redirect.directory.ldap.pooled import PooledDirectory
from eas_redirect.directory.ldap.servers import COOL_DOWN_S, Address
from eas_redirect.directory.ldap.session import LDAPSession
from eas_redirect.directory.values import AccountDomain, DirectorySettings


class ActiveDirectory(PooledDirectory):
    """A forest's domain controllers and global catalogues as a `Directory`."""

    def __init__(
        self,
        settings: DirectorySettings,
        credentials: Credentials | None = None,
        *,
        cool_down_s: float = COOL_DOWN_S,
    ) -> None:
        """Raises ValueError for a URL in `servers` that is none. Connects to nothing yet.

        `credentials`, when handed in, are shared with others that bind by the same settings.
        """
        known = credentials or Credentials(settings)

        def connect(
            address: Address, patience_s: float, opening: Callable[[Session], None]
        ) -> Session:
            session = LDAPSession(address, settings, known)
            opening(session)
            session.open(patience_s)
            return session

        super().__init__(
            settings,
            connect,
            cool_down_s=cool_down_s,
            account_forests={
                domain.name: ActiveDirectory(
                    _of_accounts(settings, domain), cool_down_s=cool_down_s
                )
                for domain in settings.account_domains
                if domain.servers
            },
        )


def _of_accounts(settings: DirectorySettings, domain: AccountDomain) -> DirectorySettings:
    """The same account asks another forest's own controllers, which have no Exchange."""
    return replace(
        settings,
        servers=domain.servers,
        search_base=None,
        configuration_base=None,
        default_domain=None,
        account_domains=(),
        tells_sids=True,
    )
