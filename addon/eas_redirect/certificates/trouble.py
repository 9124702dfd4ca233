"""Why TLS with Exchange fails: the true cause, and how to fix it.

`diagnose` connects to the server as often as it takes to tell the causes apart. `check` calls it,
and so does a proxy after a failure. Blocks; imports neither mitmproxy nor ldap3.
"""

import datetime
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from eas_redirect.certificates.handshake import ServerTLS, http_status, look
from eas_redirect.certificates.x509 import (
    CertificateFileError,
    bears,
    certificate_title,
    issuer_title,
    names_of,
    read_trusted,
)

type TroubleKind = Literal[
    "unreachable",
    "ca_file",
    "no_tls",
    "tls",
    "no_common_version",
    "old_version",
    "expired",
    "not_yet_valid",
    "other_name",
    "weak_key",
    "weak_signature",
    "unknown_ca",
    "untrusted",
]

PATIENCE_S = 2.0  # for a server that waits for more of a greeting that it does not understand
PUT_BETWEEN = "put HAProxy or stunnel, built with an OpenSSL that still speaks it, between"
_OLDER = 'allow it: set proxy.upstream_tls_min = "1.0"'
_WEAK_KEYS = frozenset({66, 67})  # X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_CA_KEY_TOO_SMALL
_WEAK_SIGNATURE = 68  # X509_V_ERR_CA_MD_TOO_WEAK
MODERN = frozenset({"TLSv1.2", "TLSv1.3"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The Exchange to call, and what to trust. `names`: its certificate may bear any of them; it
    is asked for the first (SNI). `old`: whether TLS 1.0 and the rules of its time are allowed."""

    host: str
    port: int
    tls: bool = True
    names: Sequence[str] = ()
    ca_file: Path | None = None
    old: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """`finding` is what was seen, `advice` what to do: sentences without a full stop. `seen`:
    what the handshake showed, if it got that far."""

    kind: TroubleKind
    finding: str
    advice: str
    seen: ServerTLS | None = None

    def __str__(self) -> str:
        return f"{self.finding}: {self.advice}"


def diagnose(peer: Peer, timeout_s: float) -> Trouble | None:
    """What keeps TLS (or HTTP without it) from working; None: nothing visible."""
    found = examine(peer, timeout_s)
    return found if isinstance(found, Trouble) else None


def examine(peer: Peer, timeout_s: float) -> ServerTLS | Trouble | None:
    """What its TLS shows, or what is wrong with it; None: it is called without TLS, as it should
    be."""
    trusted: tuple[x509.Certificate, ...] = ()
    address = (peer.host, peer.port)
    try:
        if not peer.tls:
            return _without_tls(peer, timeout_s)
        if peer.ca_file is not None:
            trusted = read_trusted(peer.ca_file)
        name = peer.names[0] if peer.names else peer.host
        seen = look(
            address,
            timeout_s,
            trusted,
            old=peer.old,
            name=name,
            any_name=True,
        )
    except CertificateFileError as error:
        return Trouble(kind="ca_file", finding=str(error), advice="name the right file")
    except ssl.SSLError as error:
        return _no_handshake(peer, timeout_s, error)
    except OSError as error:
        return trouble_of_error(peer, error)
    trouble = trouble_seen(seen, peer, trusted, datetime.datetime.now(datetime.UTC))
    return seen if trouble is None else replace(trouble, seen=seen)


def trouble_seen(
    seen: ServerTLS, peer: Peer, trusted: Sequence[x509.Certificate], now: datetime.datetime
) -> Trouble | None:
    """What is wrong with what a handshake showed. Pure."""
    certificate = seen.certificate
    if certificate is None:
        finding = "its certificate cannot be read"
        return Trouble(kind="untrusted", finding=finding, advice="make it a new one on Exchange")
    if seen.distrust is not None:
        return _distrusted(seen, certificate, peer, trusted, now)
    if seen.version not in MODERN and not peer.old:
        return _old_version(seen)
    names = peer.names or (peer.host,)
    if not any(bears(certificate, name) for name in names):
        return _other_name(certificate, names)
    return None


def trouble_of_error(peer: Peer, error: OSError) -> Trouble:
    words = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        words = f"the name {peer.host} is not known here"
    return Trouble(
        kind="unreachable",
        finding=f"no connection to {peer.host}:{peer.port} ({words})",
        advice="check the name, the port and the firewall",
    )


def _without_tls(peer: Peer, timeout_s: float) -> Trouble | None:
    address = (peer.host, peer.port)
    with socket.create_connection(address, timeout_s):
        pass
    # A TLS port may answer 400 to it, in plain HTTP.
    if http_status(address, timeout_s) not in (None, 400):
        return None
    try:
        look(address, min(timeout_s, PATIENCE_S), old=False, any_name=True)
    except OSError:  # ssl.SSLError among them: as it should be
        return None
    return Trouble(
        kind="tls",
        finding=f"{peer.host}:{peer.port} is a TLS port, and it is called by http",
        advice=f"write https://{peer.host}:{peer.port}",
    )


def _no_handshake(peer: Peer, timeout_s: float, error: ssl.SSLError) -> Trouble:
    if http_status((peer.host, peer.port), timeout_s) is not None:
        return Trouble(
            kind="no_tls",
            finding=f"{peer.host}:{peer.port} is not a TLS port: it speaks plain HTTP",
            advice="name its TLS port, usually 443, or write http:// if the way there is safe",
        )
    reason = (error.reason or "").lower().replace("_", " ")
    if "wrong version number" in reason or "packet length" in reason or "record" in reason:
        return Trouble(
            kind="no_tls",
            finding=f"{peer.host}:{peer.port} is not a TLS port: what it sends is no TLS",
            advice="name its TLS port, usually 443",
        )
    if "unrecognized name" in reason:
        name = peer.names[0] if peer.names else peer.host
        return Trouble(
            kind="other_name",
            finding=f"it does not answer to the name {name}",
            advice="set proxy.upstream_name to a name that it knows",
        )
    if "legacy" in reason:
        return Trouble(
            kind="no_common_version",
            finding="it lacks secure renegotiation (RFC 5746)",
            advice=f"install Windows' update for it, or {PUT_BETWEEN}",
        )
    return Trouble(
        kind="no_common_version",
        finding="no version of TLS and no cipher in common"
        f" ({reason or 'it closes the connection'}); it seems to speak nothing above SSLv3, RC4 or"
        " 3DES",
        advice=PUT_BETWEEN,
    )


def _distrusted(
    seen: ServerTLS,
    certificate: x509.Certificate,
    peer: Peer,
    trusted: Sequence[x509.Certificate],
    now: datetime.datetime,
) -> Trouble:
    """By OpenSSL's code (X509_V_ERR_…), which is the first fault that it found."""
    code = seen.distrust.code if seen.distrust else 0
    match code:
        case 0:
            return _old_version(seen)
        case 10:
            return _expired(certificate, trusted, now)
        case 9:
            return _not_yet_valid(certificate, trusted, now)
        case 18 | 19 | 20 | 21 | 2 | 27:
            return _unknown(certificate, peer.ca_file, trusted)
        case _ if code in _WEAK_KEYS:
            kind: TroubleKind = "weak_key"
            finding = (
                f"its certificate, or one that signed it, has a weak key ({_key(certificate)})"
            )
        case _ if code == _WEAK_SIGNATURE:
            kind = "weak_signature"
            finding = f"its certificate is signed with {_signature(certificate)}, which is weak"
        case _:
            words = seen.distrust.words if seen.distrust else ""
            finding = f"its certificate is not believed: {words}"
            return Trouble(kind="untrusted", finding=finding, advice="correct it on Exchange")
    advice = f"make Exchange a new one, or {_OLDER}, with proxy.upstream_ca set to pin it"
    return Trouble(kind=kind, finding=finding, advice=advice)


def _old_version(seen: ServerTLS) -> Trouble:
    if seen.version in MODERN:
        finding = f"it speaks {seen.version} with old ciphers only"
    else:
        finding = f"it speaks {seen.version} at most"
    return Trouble(kind="old_version", finding=finding, advice=_OLDER)


def _expired(
    certificate: x509.Certificate, trusted: Sequence[x509.Certificate], now: datetime.datetime
) -> Trouble:
    for each in (certificate, *trusted):
        if each.not_valid_after_utc < now:
            return Trouble(
                kind="expired",
                finding=f"{_whose(each, certificate)} expired on {_day(each.not_valid_after_utc)}",
                advice="renew it; pinning does not help",
            )
    finding = "a certificate of its chain has expired"
    return Trouble(kind="expired", finding=finding, advice="renew it; pinning does not help")


def _not_yet_valid(
    certificate: x509.Certificate, trusted: Sequence[x509.Certificate], now: datetime.datetime
) -> Trouble:
    advice = "look at the clocks of Exchange and of this machine"
    for each in (certificate, *trusted):
        if each.not_valid_before_utc > now:
            begins = each.not_valid_before_utc
            finding = f"{_whose(each, certificate)} is not valid before {begins:%Y-%m-%d %H:%M} UTC"
            return Trouble(kind="not_yet_valid", finding=finding, advice=advice)
    finding = "a certificate of its chain is not yet valid"
    return Trouble(kind="not_yet_valid", finding=finding, advice=advice)


def _unknown(
    certificate: x509.Certificate,
    ca_file: Path | None,
    trusted: Sequence[x509.Certificate],
) -> Trouble:
    self_signed = certificate.issuer == certificate.subject
    who = "itself" if self_signed else f"“{issuer_title(certificate)}”"
    if ca_file is None:
        what = "that certificate" if self_signed else "that authority's certificate"
        return Trouble(
            kind="unknown_ca",
            finding=f"its certificate is signed by {who}, which this system does not trust",
            advice=f"set proxy.upstream_ca to {what}",
        )
    held = ", ".join(f"“{certificate_title(each)}”" for each in trusted[:3])
    if any(names_of(each) == names_of(certificate) for each in trusted):
        since = _day(certificate.not_valid_before_utc)
        return Trouble(
            kind="unknown_ca",
            finding=f"its certificate was renewed ({since}): it is not the one in {ca_file}",
            advice="compare the fingerprint on Exchange, then put the new one into that file",
        )
    return Trouble(
        kind="unknown_ca",
        finding=f"its certificate is signed by {who}; {ca_file} holds another: {held}",
        advice="put the certificate of who signed it into that file",
    )


def _other_name(certificate: x509.Certificate, names: Sequence[str]) -> Trouble:
    borne = names_of(certificate)
    held = ", ".join(borne[:5]) or "no name at all"
    first = borne[0] if borne else "its name"
    return Trouble(
        kind="other_name",
        finding=f"its certificate is for {held}, not for {' or '.join(names)}",
        advice=f"set proxy.upstream_name to the name that it bears, such as {first}",
    )


def _whose(certificate: x509.Certificate, leaf: x509.Certificate) -> str:
    whose = "its certificate" if certificate == leaf else "that of its authority"
    return f"{whose} (“{certificate_title(certificate)}”)"


def _day(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            return f"RSA with {key.key_size} bits"
        case dsa.DSAPublicKey():
            return f"DSA with {key.key_size} bits"
        case ec.EllipticCurvePublicKey():
            return f"{key.curve.name}"
        case _:
            return "of a kind that is not known here"


def _signature(certificate: x509.Certificate) -> str:
    algorithm = certificate.signature_hash_algorithm
    return algorithm.name.upper() if algorithm is not None else "an old algorithm"
