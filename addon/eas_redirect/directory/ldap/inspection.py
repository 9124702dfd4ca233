"""One server on its own, for `check`. No ldap3 here."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.links import RootDSE
from eas_redirect.directory.ldap.servers import parse_server
from eas_redirect.directory.ldap.session import LDAPSession
from eas_redirect.directory.values import DirectorySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What one server showed about itself. `certificate` is DER; None without TLS."""

    root_dse: RootDSE
    duration_ms: float
    absent: tuple[str, ...] = ()  # the keys of the configuration whose DN is not there
    tls_version: str | None = None
    certificate: bytes | None = None

    @property
    def current_time(self) -> datetime | None:
        """The server's clock, from a text such as `20260131120000.0Z`."""
        digits = (self.root_dse.current_time or "")[:14]
        try:
            return datetime.strptime(f"{digits}+0000", "%Y%m%d%H%M%S%z")
        except ValueError:
            return None


def inspect(url: str, settings: DirectorySettings, credentials: BindCredentials) -> Inspection:
    """Connect, secure and bind to one server, once. Blocks; raises `Fault`."""
    began = time.perf_counter()
    session = LDAPSession(parse_server(url), settings, credentials)
    session.open(settings.lookup_timeout_s)
    try:
        tls_version, certificate = session.tls()
        absent = tuple(_absent(session, settings))
    finally:
        session.close()
    return Inspection(
        root_dse=session.root_dse,
        absent=absent,
        duration_ms=(time.perf_counter() - began) * 1000,
        tls_version=tls_version,
        certificate=certificate,
    )


def _absent(session: LDAPSession, settings: DirectorySettings) -> Iterator[str]:
    """An account that must not look is told at the bind, and is not asked here."""
    for key in ("search_base", "configuration_base"):
        base: str | None = getattr(settings, key)
        if base and settings.bind != "anonymous" and not _holds(session, base, settings):
            yield key


def _holds(session: LDAPSession, base: str, settings: DirectorySettings) -> bool:
    try:
        return session.holds(base, settings.lookup_timeout_s)
    except Fault as fault:
        if fault.scope == "question":  # a referral to the server that has it
            return False
        raise
