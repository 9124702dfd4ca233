"""A server's TLS as seen from here: version, certificate, and whether it is trusted.

It uses Python's own TLS, so that `check` needs no mitmproxy. Blocks; imports neither mitmproxy
nor ldap3.
"""

import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509

from eas_redirect.certificates.x509 import pem


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """OpenSSL's verdict about a certificate: its code (X509_V_ERR_…) and its words."""

    code: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """`distrust` says why the certificate was not trusted, None if it was."""

    version: str
    certificate: x509.Certificate | None  # None: it cannot be read
    distrust: Distrust | None = None
    is_old: bool = False  # believed, or seen at all, only by the rules of TLS 1.0


def look(
    address: tuple[str, int],
    timeout_s: float,
    trusted: Sequence[x509.Certificate] = (),
    *,
    old: bool,
    name: str | None = None,
    any_name: bool = False,
) -> ServerTLS:
    """One handshake, with whatever the server speaks. Raises OSError (ssl.SSLError among them).

    `old`: also trust a certificate by the rules of its time, as mitmproxy does when it is told to
    speak TLS 1.0. An untrusted certificate is still shown: the last handshake verifies nothing, and
    nothing is sent over it. `name` is the name to ask for, if it is not the host; with `any_name`
    the caller compares the names.
    """
    name = name or address[0]
    context = believing(trusted)
    context.check_hostname = not any_name
    seen, distrust = _believed(address, timeout_s, context, name)
    if seen is not None:
        return seen
    if old:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        _allow_old_ciphers(context)
        seen, distrust = _believed(address, timeout_s, context, name)
        if seen is not None:
            return replace(seen, is_old=True)
    unverified = _handshake(address, timeout_s, any_tls(), name)
    too_old = Distrust(code=0, words="its TLS is too old to be verified here")
    return replace(unverified, distrust=distrust or too_old)


def believing(trusted: Sequence[x509.Certificate]) -> ssl.SSLContext:
    """What the proxy trusts: a chain that ends at any of these, including the server's own
    certificate; without any, at one that the system trusts. Old servers' certificates lack
    extensions that RFC 5280 4.2 requires."""
    context = ssl.create_default_context(cadata=pem(trusted).decode() or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def any_tls() -> ssl.SSLContext:
    """Old servers speak TLS 1.0 with ciphers and keys that OpenSSL refuses by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    _allow_old_ciphers(context)
    return context


def http_status(address: tuple[str, int], timeout_s: float) -> int | None:
    """The status of an answer to plain HTTP; None without one, as at a port for TLS only."""
    try:
        with socket.create_connection(address, timeout_s) as plain:
            plain.settimeout(timeout_s)
            plain.sendall(b"OPTIONS / HTTP/1.1\r\nHost: " + address[0].encode("idna") + b"\r\n\r\n")
            words = plain.recv(64).split(b" ")
    except (OSError, UnicodeError):
        return None
    said = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return int(words[1]) if said else None


def _believed(
    address: tuple[str, int], timeout_s: float, context: ssl.SSLContext, name: str
) -> tuple[ServerTLS | None, Distrust | None]:
    """The handshake, or why the certificate is not trusted, if it got that far."""
    try:
        return _handshake(address, timeout_s, context, name), None
    except ssl.SSLCertVerificationError as error:
        return None, Distrust(code=error.verify_code, words=error.verify_message)
    except ssl.SSLError:
        return None, None


def _allow_old_ciphers(context: ssl.SSLContext) -> None:
    """Old keys and signatures too: OpenSSL's security level covers both."""
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")


def _handshake(
    address: tuple[str, int], timeout_s: float, context: ssl.SSLContext, name: str
) -> ServerTLS:
    with (
        socket.create_connection(address, timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        return ServerTLS(
            version=secured.version() or "unknown", certificate=_read(secured.getpeercert(True))
        )


def _read(der: bytes | None) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der or b"")
    except ValueError:
        return None
