"""TLS under ldap3, verified by Python; for `ldap_session.py` alone."""

import ssl
from collections.abc import Callable

import ldap3

from eas_redirect.directory.faults import Fault
from eas_redirect.directory.tls import tls_context
from eas_redirect.directory.values import DirectorySettings


class VerifiedTls(ldap3.Tls):
    """TLS as Python verifies it: chain, dates, and the server's DNS name or IP address.

    ldap3's own check knows no IP addresses.
    """

    def __init__(
        self, settings: DirectorySettings, host: str, patience: Callable[[], float]
    ) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE)
        self._context = tls_context(settings)
        self._host = host
        self._patience = patience
        self.fault: Fault | None = None

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:
        connection.socket.settimeout(self._patience())
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket, server_hostname=self._host, do_handshake_on_connect=do_handshake
            )
        except ssl.SSLCertVerificationError as error:
            self.fault = Fault(
                "certificate",
                f"the server's certificate is refused ({error.verify_message.rstrip('.')}): set "
                "directory.ca_file to the CA that issued it, and use a name that it bears",
            )
            raise
