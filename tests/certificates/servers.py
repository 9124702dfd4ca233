"""TLS servers with every fault that a certificate can have, made on the spot."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from eas_redirect.certificates.trouble import Peer
from tests.integration.rawserver import RawServer, answering

ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NOW = datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A self-signed certificate, or one that `issuer` signed."""

    names: tuple[str, ...] = ("localhost",)
    common_name: str = "ex07"
    bits: int = 2048
    begins: datetime = field(default_factory=lambda: NOW - timedelta(days=1))
    ends: datetime = field(default_factory=lambda: NOW + timedelta(days=90))

    def write(self, directory: Path, issuer: "Authority | None" = None) -> Path:
        """Key and certificate in one PEM file."""
        directory.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(65537, self.bits)
        subject = named(self.common_name)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
        )
        if self.names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(n) for n in self.names])
            builder = builder.add_extension(alternative, critical=False)
        certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        path = directory / "server.pem"
        path.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        return path


class Authority:
    """An authority of its own; its file holds its certificate alone."""

    def __init__(self, directory: Path, name: str = "Contoso CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = named(name)
        self.file, self.key_file = directory / "ca.pem", directory / "ca-key.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=400))
            .not_valid_after(NOW + timedelta(days=400))
            .add_extension(constraints, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.key_file.write_bytes(_pem(self.key))
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


@contextmanager
def serving(
    file: Path, version: ssl.TLSVersion | None = None, *, port: int = 0
) -> Iterator[RawServer]:
    """An Exchange that answers every request, over TLS with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    context.load_cert_chain(file)
    with RawServer(answering(ANSWER), tls=context, port=port) as server:
        yield server


def peer(server: RawServer, ca_file: Path | None = None, *, old: bool = False) -> Peer:
    return Peer(host="localhost", port=server.port, ca_file=ca_file, old=old)
