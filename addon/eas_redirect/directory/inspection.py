"""One server seen by itself, for `check`. No ldap3 here."""

import time
from dataclasses import dataclass
from datetime import datetime

from eas_redirect.directory.active_directory import LDAPSession
from eas_redirect.directory.credentials import Credentials
from eas_redirect.directory.links import RootDSE
from eas_redirect.directory.servers import parse_address
from eas_redirect.directory.values import DirectorySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What one server showed of itself. `certificate` is DER; None without TLS."""

    root_dse: RootDSE
    duration_ms: float
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


def inspect(url: str, settings: DirectorySettings) -> Inspection:
    """Connects, secures and binds to one server, once. Blocks; raises `Fault`."""
    began = time.perf_counter()
    session = LDAPSession(parse_address(url), settings, Credentials(settings))
    session.open(settings.lookup_timeout_s)
    try:
        tls_version, certificate = session.tls()
    finally:
        session.close()
    return Inspection(
        root_dse=session.root_dse,
        duration_ms=(time.perf_counter() - began) * 1000,
        tls_version=tls_version,
        certificate=certificate,
    )
