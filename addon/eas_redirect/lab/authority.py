"""The lab's own certificate authority and the certificates that it signs, in one directory.

They are made on first use, and again when they are about to expire or lack a required
name. Only one lab at a time uses the directory. Private keys are readable by their owner
only. Uses `cryptography`, which mitmproxy depends on.
"""

import fcntl
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class InUseError(Exception):
    """Somebody else holds the lock."""


@contextmanager
def locked(directory: Path, *, wait: bool) -> Iterator[None]:
    """Hold `directory/lock`, which is made on first use; InUseError if it is held and `wait` is
    False. The system releases it however this process ends."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise InUseError(str(directory)) from error
        yield


CA_NAME = "eas-redirect lab CA"
CA_DAYS = 825
LEAF_DAYS = 397  # Phones refuse server certificates that live longer than 398 days.
RENEW_DAYS = 7

type LabKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate file (key, certificate, CA certificate) and the names that it is for."""

    file: Path
    names: tuple[str, ...]

    def server_context(self) -> ssl.SSLContext:
        """The server side of TLS with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context


class LabCertificates:
    """The lab CA in `directory` and what it signs. Creating the object creates the CA if there
    is none. `for_old_phones`: with RSA keys, for phones without elliptic curves (Android 4, iOS
    6)."""

    def __init__(
        self, directory: Path, *, now: datetime | None = None, for_old_phones: bool = False
    ) -> None:
        self._directory = directory
        self._uses_rsa = for_old_phones
        self._now = now or datetime.now(UTC)
        self.ca_file = directory / "lab-ca.pem"
        self._key_file = directory / "lab-ca-key.pem"
        with locked(directory, wait=True):
            if not self._ca_is_good():
                self._make_ca()

    def issue(self, stem: str, names: Sequence[str]) -> Issued:
        """`<stem>.pem` for these DNS names and IP addresses; kept while it is good."""
        issued = Issued(self._directory / f"{stem}.pem", tuple(names))
        with locked(self._directory, wait=True):
            if not self._is_good(issued):
                self._sign(issued)
        return issued

    def client_context(self) -> ssl.SSLContext:
        """The client side of TLS that trusts this CA and nothing else."""
        return ssl.create_default_context(cafile=self.ca_file)

    def write_mitmproxy_ca(self, confdir: Path) -> None:
        """Let mitmproxy sign with the lab CA: `mitmproxy-ca.pem` in its configuration directory."""
        confdir.mkdir(parents=True, exist_ok=True)
        both = self._key_file.read_bytes() + self.ca_file.read_bytes()
        _write_private(confdir / "mitmproxy-ca.pem", both)

    def _ca_is_good(self) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = self._load_key(self._key_file)
        except (OSError, ValueError):
            return False
        return self._is_current(certificate) and certificate.public_key() == key.public_key()

    def _is_good(self, issued: Issued) -> bool:
        """Whether the file holds a current certificate for these names, signed by this CA."""
        try:
            certificate = x509.load_pem_x509_certificate(issued.file.read_bytes())
            certificate.verify_directly_issued_by(self._ca())
            self._load_key(issued.file)
        except Exception:  # cryptography raises many types; all mean: make it again
            return False
        return self._is_current(certificate) and _names_of(certificate) == set(issued.names)

    def _is_current(self, certificate: x509.Certificate) -> bool:
        renew_at = certificate.not_valid_after_utc - timedelta(days=RENEW_DAYS)
        return certificate.not_valid_before_utc <= self._now < renew_at

    def _ca(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.ca_file.read_bytes())

    def _make_key(self) -> LabKey:
        if self._uses_rsa:
            return rsa.generate_private_key(65537, 2048)
        return ec.generate_private_key(ec.SECP256R1())

    def _load_key(self, file: Path) -> LabKey:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if isinstance(key, rsa.RSAPrivateKey if self._uses_rsa else ec.EllipticCurvePrivateKey):
            return key
        raise ValueError(f"{file} holds a key of another kind")

    def _make_ca(self) -> None:
        key = self._make_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            self._builder(subject, subject, key, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(identifier, critical=False)
        )
        certificate = builder.sign(key, hashes.SHA256())
        _write_private(self._key_file, _pem(key))
        _write(self.ca_file, certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, issued: Issued) -> None:
        ca, ca_key = self._ca(), self._load_key(self._key_file)
        key = self._make_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issued.names[0])])
        names = x509.SubjectAlternativeName([_general_name(name) for name in issued.names])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = (
            self._builder(subject, ca.subject, key, LEAF_DAYS)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False, rsa_exchange=self._uses_rsa), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
        )
        certificate = builder.sign(ca_key, hashes.SHA256())
        chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (certificate, ca))
        _write_private(issued.file, _pem(key) + chain)

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: LabKey,
        days: int,
    ) -> x509.CertificateBuilder:
        """Valid from an hour ago: phone clocks are not exact."""
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(hours=1))
            .not_valid_after(self._now + timedelta(days=days))
        )


def _key_usage(*, ca: bool, rsa_exchange: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=rsa_exchange,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_of(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def _pem(key: LabKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step, so that a lab started at the same time never reads half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(temporary).chmod(mode)
    Path(temporary).replace(file)


def _write_private(file: Path, content: bytes) -> None:
    _write(file, content, 0o600)
