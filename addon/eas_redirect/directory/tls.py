"""How a server's certificate is verified. Standard library only."""

import ssl

from eas_redirect.directory.faults import Fault
from eas_redirect.directory.values import DirectorySettings


def tls_context(settings: DirectorySettings) -> ssl.SSLContext:
    """Read anew at each connect, so that a renewed CA file needs no restart. Raises `Fault`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        message = f"directory.ca_file ({settings.ca_file}) cannot be used ({reason})"
        raise Fault("certificate", message, "account") from None
    # Certificates of domain CAs of that age lack extensions that RFC 5280 4.2 wants; chain, dates
    # and name are verified all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
