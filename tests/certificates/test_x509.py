"""What administrators name as a CA file: read, or told what it is."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from eas_redirect.certificates.x509 import CertificateFileError, pem, read_trusted
from eas_redirect.lab.authority import LabCertificates
from tests.support import require


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LabCertificates(tmp_path_factory.mktemp("ca")).ca_file


@pytest.fixture(scope="module")
def certificate(ca: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.read_bytes())


def file_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    return path


def test_every_form_of_it_is_read(ca: Path, certificate: x509.Certificate, tmp_path: Path) -> None:
    text = ca.read_bytes()
    forms = {
        "PEM": text,
        "DER": certificate.public_bytes(Encoding.DER),
        "with words around": b"Bag Attributes\n  friendlyName: x\n" + text + b"\nbye\n",
        "UTF-16, as PowerShell writes": text.decode().encode("utf-16"),
        "CRLF": text.replace(b"\n", b"\r\n"),
        "a byte order mark": b"\xef\xbb\xbf" + text,
    }
    for form, content in forms.items():
        assert read_trusted(file_of(tmp_path, content)) == (certificate,), form
    assert read_trusted(file_of(tmp_path, text + text)) == (certificate, certificate)
    assert read_trusted(file_of(tmp_path, pem((certificate,)))) == (certificate,)


def test_what_it_is_instead(ca: Path, certificate: x509.Certificate, tmp_path: Path) -> None:
    bundle = [certificate]
    forms = {
        "empty": b" \n",
        "PKCS#7 bundle (.p7b)": pkcs7.serialize_certificates(bundle, Encoding.DER),
        "-inform PEM": pkcs7.serialize_certificates(bundle, Encoding.PEM),
        "private key": ca.with_name("lab-ca-key.pem").read_bytes(),
        "no certificate": b"<html>Not found</html>",
        "damaged": ca.read_bytes().replace(b"MII", b"MIX"),
        "request for a certificate": b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n",
    }
    for words, content in forms.items():
        with pytest.raises(CertificateFileError, match=r"ca\.pem") as caught:
            read_trusted(file_of(tmp_path, content))
        assert words in str(caught.value)
        assert base64.b64encode(content)[:40].decode() not in str(caught.value)


@pytest.mark.parametrize("password", ["", "secret"])
def test_a_pfx(tmp_path: Path, password: str) -> None:
    require("openssl")
    issued = LabCertificates(tmp_path).issue("ex07", ["ex07"])
    out = tmp_path / "ca.pfx"
    words = ["openssl", "pkcs12", "-export", "-in", str(issued.file), "-out", str(out)]
    subprocess.run([*words, "-passout", f"pass:{password}"], check=True, capture_output=True)
    with pytest.raises(CertificateFileError, match=r"PKCS#12 file \(.pfx\)"):
        read_trusted(out)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match="No such file"):
        read_trusted(tmp_path / "none.pem")
    with pytest.raises(CertificateFileError, match="directory"):
        read_trusted(tmp_path)
    with pytest.raises(CertificateFileError, match="larger than 4 MiB"):
        read_trusted(Path("/dev/zero"))
