"""TLS of a server seen from here: version, certificate, its dates, whether it is trusted."""

import contextlib
import datetime
import socket
import ssl
from dataclasses import dataclass, replace

from cryptography import x509

from eas_redirect.checking.values import Check, failed, good, warning

SOON_DAYS = 21  # a certificate that ends within three weeks is worth a line

type Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`distrust` says why the certificate was not believed, None when it was."""

    version: str
    certificate: bytes  # DER
    distrust: str | None = None
    is_old: bool = False  # believed, or seen at all, only by the rules of TLS 1.0


def look(address: Address, timeout_s: float, ca_file: str | None = None, *, old: bool) -> Seen:
    """One handshake, with whatever the server speaks. Raises OSError (ssl.SSLError among them).

    `old`: a certificate is believed by the rules of its time, too, as mitmproxy does when it is
    told to speak TLS 1.0. One that is not believed is still shown: the last handshake verifies
    nothing, and nothing is sent over it.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    seen, distrust = _believed(address, timeout_s, context)
    if seen is not None:
        return seen
    if old:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        _allow_old_ciphers(context)
        seen, distrust = _believed(address, timeout_s, context)
        if seen is not None:
            return replace(seen, is_old=True)
    return replace(
        _handshake(address, timeout_s, any_tls()),
        distrust=distrust or "its TLS is too old to be verified here",
    )


def _believed(
    address: Address, timeout_s: float, context: ssl.SSLContext
) -> tuple[Seen | None, str | None]:
    """The handshake, or why the certificate is not believed, if it came to that."""
    try:
        return _handshake(address, timeout_s, context), None
    except ssl.SSLCertVerificationError as error:
        return None, error.verify_message
    except ssl.SSLError:
        return None, None


def any_tls() -> ssl.SSLContext:
    """Old servers speak TLS 1.0 with ciphers and keys that OpenSSL refuses by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    _allow_old_ciphers(context)
    return context


def _allow_old_ciphers(context: ssl.SSLContext) -> None:
    """And old keys and signatures, which OpenSSL weighs by the same level."""
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")


def _handshake(address: Address, timeout_s: float, context: ssl.SSLContext) -> Seen:
    with (
        socket.create_connection(address, timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as secured,
    ):
        return Seen(
            version=secured.version() or "unknown", certificate=secured.getpeercert(True) or b""
        )


def judge_dates(subject: str, certificate: bytes, now: datetime.datetime) -> Check:
    """How long the certificate is good for."""
    try:
        ends = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return warning(subject, "its certificate cannot be read")
    day = f"{ends:%Y-%m-%d}"
    days = (ends - now).days
    if ends < now:
        return failed(subject, f"its certificate ended on {day}", "Renew it.")
    if days <= SOON_DAYS:
        return warning(subject, f"its certificate ends on {day}, in {days} days", "Renew it.")
    return good(subject, f"its certificate is good until {day}")
