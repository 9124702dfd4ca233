"""What exceptions of ldap3, of sockets and of TLS mean; for `ldap_session.py` alone."""

import ssl

from ldap3.core.exceptions import (
    LDAPException,
    LDAPExtensionError,
    LDAPOperationResult,
    LDAPPackageUnavailableError,
)

from eas_redirect.directory.faults import Fault


def lost_fault(error: Exception) -> Fault:
    if isinstance(error, TimeoutError):
        return Fault("timeout", "the server did not answer in time: is it overloaded or hanging?")
    if isinstance(error, LDAPException | OSError):
        return Fault("disconnected", "the server closed the connection")
    return Fault("protocol", "the server sent what is no LDAP: is it a directory's port?")


def connect_fault(error: Exception) -> Fault:
    """What an exception between the TCP connect and the rootDSE means, in words."""
    match _first_cause(error):
        case LDAPPackageUnavailableError():
            message = "Kerberos needs the gssapi package: install eas-redirect[kerberos]"
            return Fault("kerberos", message, "account")
        case TimeoutError():
            return Fault("timeout", "no answer to the connection in time: is it up and reachable?")
        case ConnectionRefusedError():
            message = "the connection was refused: is the port in directory.servers right?"
            return Fault("connection_refused", message)
        case ssl.SSLError():
            return Fault("tls", "the TLS handshake failed: is it a TLS port?")
        case LDAPExtensionError() | LDAPOperationResult():
            return Fault("tls", "the server offers no StartTLS: use ldaps://")
        case OSError() as cause if cause.errno is not None:
            return Fault("connection_failed", f"no connection ({cause.strerror})")
        case LDAPException() | OSError():
            message = "the server closed the connection: does the port speak what the URL says?"
            return Fault("disconnected", message)
        case cause:
            return lost_fault(cause)


def kerberos_fault(error: BaseException | None) -> Fault | None:
    """Errors of GSSAPI are none of ldap3's, and their classes come with the extra only."""
    if error is None or not type(error).__module__.startswith("gssapi."):
        return None
    message = f"the Kerberos bind failed ({error}): check the ticket (klist) and the DNS names"
    return Fault("kerberos", message, "account")


def _first_cause(error: Exception) -> Exception:
    """The first failure where ldap3 tried several addresses of one name."""
    history = error.args[1] if len(error.args) > 1 else None
    first = history[0][0] if isinstance(history, list) and history else error
    return first if isinstance(first, Exception) else error
