"""The certificate that phones see: its file, and what phones will not like about it.

Imports neither mitmproxy nor ldap3.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from eas_redirect.certificates.x509 import (
    CertificateFileError,
    bears,
    certificate_title,
    is_pkcs12,
    issuer_title,
    names_of,
    read_bytes,
)

SOON_DAYS = 21  # a certificate that ends within three weeks is worth a line
LONGEST_DAYS = 398  # Apple devices refuse longer lives since September 2020
SHORTEST_KEY = 2048  # bits of RSA
_FROM_PKCS12 = "write it as PEM: openssl pkcs12 -in FILE -nodes -out mail.pem (docs/exchange.md)"
_BOTH = "it needs the private key and the certificate with its chain, one after the other, in PEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a file holds: the server's own certificate first, with its key."""

    path: Path
    certificates: tuple[x509.Certificate, ...]

    @property
    def own(self) -> x509.Certificate:
        return self.certificates[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRemark:
    """`grave`: phones refuse it as it is. The sentences have no full stop."""

    finding: str
    advice: str
    grave: bool = False

    def __str__(self) -> str:
        return f"{self.finding}: {self.advice}"


def read_front(path: Path, passphrase: str | None = None) -> Front:
    """Raises CertificateFileError, with what to do, if no server could use it."""
    content = read_bytes(path)
    if is_pkcs12(content):
        raise CertificateFileError(f"{path} is a PKCS#12 file (.pfx): {_FROM_PKCS12}")
    if b"PRIVATE KEY-----" not in content or b"-----BEGIN CERTIFICATE-----" not in content:
        raise CertificateFileError(f"{path}: {_BOTH}")
    try:
        certificates = tuple(x509.load_pem_x509_certificates(content))
    except ValueError as error:
        raise CertificateFileError(f"{path}: a certificate in it is damaged: {error}") from None
    begin = content.index(b"-----BEGIN", max(0, content.index(b"PRIVATE KEY-----") - 30))
    try:
        key = load_pem_private_key(content[begin:], passphrase.encode() if passphrase else None)
    except TypeError:
        advice = "decrypt it: openssl pkey -in FILE; a service has nobody to type a passphrase"
        raise CertificateFileError(f"{path}: its private key is encrypted: {advice}") from None
    except ValueError:
        raise CertificateFileError(f"{path}: its private key is damaged") from None
    fits = [number for number, each in enumerate(certificates) if _fits(each, key.public_key())]
    if not fits:
        raise CertificateFileError(
            f"{path}: the private key does not fit the certificate of"
            f" {certificate_title(certificates[0])}: take the key with which that certificate was"
            " requested"
        )
    if fits[0] != 0:
        raise CertificateFileError(
            f"{path}: the certificate of {certificate_title(certificates[fits[0]])}, which the key"
            " fits, must be the first one in the file: put the others behind it"
        )
    return Front(path=path, certificates=certificates)


def judge_front(
    front: Front, names: Sequence[str], now: datetime.datetime
) -> Iterator[FrontRemark]:
    """What phones will reject. `names`: those by which they call. Pure."""
    own = front.own
    yield from _dates(own, now)
    if issuer_title(own) == "mitmproxy":
        yield FrontRemark(
            grave=True,
            finding="it is one that mitmproxy made, which no phone trusts",
            advice="take the one for the name that phones call, from a public authority",
        )
    elif own.issuer == own.subject:
        yield FrontRemark(
            grave=True,
            finding="it is self-signed, so that phones refuse it",
            advice="take one from an authority that they trust",
        )
    else:
        yield from _chain(front)
    missing = [name for name in names if not bears(own, name)]
    if missing:
        yield FrontRemark(
            grave=True,
            finding=f"it is for {', '.join(names_of(own)[:5])}, not for {', '.join(missing)}",
            advice="take one with every name that phones call, or correct exchange.host_names",
        )
    yield from _age(own)


def _dates(own: x509.Certificate, now: datetime.datetime) -> Iterator[FrontRemark]:
    begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
    if begins > now:
        finding = f"it is not valid before {begins:%Y-%m-%d %H:%M} UTC"
        yield FrontRemark(grave=True, finding=finding, advice="look at the clock of this machine")
    elif ends < now:
        yield FrontRemark(grave=True, finding=f"it ended on {ends:%Y-%m-%d}", advice="renew it")
    elif (days := (ends - now).days) <= SOON_DAYS:
        yield FrontRemark(finding=f"it ends on {ends:%Y-%m-%d}, in {days} days", advice="renew it")


def _chain(front: Front) -> Iterator[FrontRemark]:
    signer = issuer_title(front.own)
    if len(front.certificates) == 1:
        yield FrontRemark(
            finding=f"the file has no chain: the certificate of “{signer}” is missing",
            advice="put the intermediate certificates behind it, since Android does not fetch them",
        )
        return
    for lower, upper in zip(front.certificates, front.certificates[1:], strict=False):
        if lower.issuer != upper.subject:
            yield FrontRemark(
                finding=f"its chain is torn: behind “{certificate_title(lower)}” belongs the"
                f" certificate of “{issuer_title(lower)}”, not “{certificate_title(upper)}”",
                advice="put each certificate behind the one that it signed",
            )
            return


def _age(own: x509.Certificate) -> Iterator[FrontRemark]:
    """What only some phones reject."""
    days = (own.not_valid_after_utc - own.not_valid_before_utc).days
    if days > LONGEST_DAYS:
        finding = f"it lives {days} days, and Apple devices take {LONGEST_DAYS} at most"
        yield FrontRemark(finding=finding, advice="take one that lives a year")
    key = own.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_KEY:
        finding = f"its key has {key.key_size} bits, which phones refuse"
        yield FrontRemark(grave=True, finding=finding, advice=f"take {SHORTEST_KEY} bits or P-256")


def _fits(certificate: x509.Certificate, key: object) -> bool:
    return certificate.public_key() == key
