"""Certificates read again while the proxy runs, for the connections to come."""

import logging
import ssl
from pathlib import Path

from mitmproxy import ctx

logger = logging.getLogger(__name__)


def renew() -> None:
    """Read the files of the option `certs` again, all of them or, when one is bad, none.

    mitmproxy forgets its certificates before it reads the new ones, so they are tried first.
    """
    for specification in ctx.options.certs:
        path = specification.partition("=")[2] or specification
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                Path(path).expanduser(), password=ctx.options.cert_passphrase or ""
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            logger.error("eas-redirect: the old certificates stay: %s: %s", path, error)
            return
    if ctx.options.certs:
        ctx.options.update(certs=ctx.options.certs)
        logger.info("eas-redirect: the certificates were read again")
