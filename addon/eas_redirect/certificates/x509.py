"""Certificates as administrators have them: files in PEM, DER or neither, and the names they bear.

Imports neither mitmproxy nor ldap3.
"""

import contextlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12


def bears(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is for this host: `*` may stand for a name's first label, and the
    common name counts if there is no alternative name (RFC 6125 6.4), as in many old
    certificates."""
    names, addresses = _alternatives(certificate)
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in addresses
    names = names or set(_common_names(certificate))
    wanted = host.lower().removesuffix(".")
    first, _, rest = wanted.partition(".")
    return wanted in names or bool(first and "." in rest and f"*.{rest}" in names)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every name that counts, sorted, as text."""
    names, addresses = _alternatives(certificate)
    return tuple(sorted(names or _common_names(certificate)) + sorted(map(str, addresses)))


def certificate_title(certificate: x509.Certificate) -> str:
    """How people know a certificate: by its common name, or else by its first other name."""
    return next(iter((*_common_names(certificate, as_written=True), *names_of(certificate))), "?")


def issuer_title(certificate: x509.Certificate) -> str:
    """The common name of the issuer, or else its whole distinguished name."""
    common = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else certificate.issuer.rfc4514_string()


def _common_names(certificate: x509.Certificate, *, as_written: bool = False) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(each.value) if as_written else str(each.value).lower() for each in found]


def _alternatives(certificate: x509.Certificate) -> tuple[set[str], set[object]]:
    """Names in lower case, and addresses. An unreadable extension names nobody."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(), set()
    except ValueError:
        return {""}, set()
    names = {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    return names, set(found.get_values_for_type(x509.IPAddress))


LARGEST = 4 * 1024 * 1024  # bytes; the store of a whole system has a quarter of that

_BEGIN = b"-----BEGIN "
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_REQUEST = "a request for a certificate, which an authority has yet to sign"
_PEM_KINDS = (
    (b"PKCS7", "a PKCS#7 bundle"),
    (b"CERTIFICATE REQUEST", _REQUEST),
    (b"PRIVATE KEY", "a private key without a certificate"),
    (b"PUBLIC KEY", "a public key without a certificate"),
    (b"X509 CRL", "a list of revoked certificates"),
)


class CertificateFileError(ValueError):
    """The file cannot be used; the message names it, says what it is, and what to do."""


def read_trusted(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a file, PEM or DER; at least one. Raises CertificateFileError."""
    content = read_bytes(path)
    if content.startswith(_UTF16):
        content = _from_utf16(content)
    try:
        if b"-----BEGIN CERTIFICATE-----" in content or b"-----BEGIN TRUSTED CERT" in content:
            return tuple(x509.load_pem_x509_certificates(content))
        if _BEGIN not in content:
            return (x509.load_der_x509_certificate(content),)
    except ValueError as error:
        if _BEGIN in content:
            raise CertificateFileError(f"{path}: a certificate in it is damaged: {error}") from None
    raise CertificateFileError(f"{path} is {_what_it_is(content)}")


def read_bytes(path: Path) -> bytes:
    """Raises CertificateFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise CertificateFileError(f"{path}: {error.strerror or error}") from error
    if len(content) > LARGEST:
        raise CertificateFileError(f"{path} is no file of certificates: it is larger than 4 MiB")
    return content


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """In the form that OpenSSL reads."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _from_utf16(content: bytes) -> bytes:
    """PowerShell's `>` writes such text."""
    try:
        return content.decode("utf-16").encode("ascii", "replace")
    except UnicodeDecodeError:
        return content


def _what_it_is(content: bytes) -> str:
    """Completes the sentence "FILE is …", with what to do."""
    if not content.strip():
        return "empty; write the certificate into it, in PEM or DER"
    for sign, kind in _PEM_KINDS:
        if sign + b"-----" in content:
            if sign == b"PKCS7":
                return f"{kind}; take the certificates out: {_pkcs7_command('PEM')}"
            return f"{kind}; name a file with the certificate, in PEM or DER"
    if _is_pkcs7(content):
        return f"a PKCS#7 bundle (.p7b); take the certificates out: {_pkcs7_command('DER')}"
    if is_pkcs12(content):
        return (
            "a PKCS#12 file (.pfx), which holds a private key; take the certificate out: "
            "openssl pkcs12 -in FILE -nokeys -out ca.pem"
        )
    return "no certificate; export one as “Base-64 encoded X.509 (.CER)” or in DER"


def _pkcs7_command(form: str) -> str:
    return f"openssl pkcs7 -print_certs -inform {form} -in FILE -out ca.pem"


def _is_pkcs7(content: bytes) -> bool:
    try:
        return bool(pkcs7.load_der_pkcs7_certificates(content))
    except Exception:
        return False


def is_pkcs12(content: bytes) -> bool:
    """Whether it is a .pfx, with or without a password."""
    try:
        pkcs12.load_pkcs12(content, None)
    except ValueError as error:
        # Only a file of that form asks for its password.
        return "password" in str(error).lower()
    except Exception:
        return False
    return True
