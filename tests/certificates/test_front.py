"""The file of the certificate that phones see: refused when no server could show it, remarked on
when phones will not like it."""

import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from eas_redirect.certificates.front import judge_front, read_front
from eas_redirect.certificates.x509 import CertificateFileError
from eas_redirect.lab.authority import LabCertificates
from tests.certificates.servers import NOW, Authority, Made
from tests.support import require

NAME = "mail.contoso.example"


def parts(path: Path) -> tuple[str, str]:
    """Key and certificate."""
    key, mark, certificate = path.read_text("ascii").partition("-----BEGIN CERTIFICATE-----")
    return key, mark + certificate


def written(tmp_path: Path, *texts: str) -> Path:
    path = tmp_path / "front.pem"
    path.write_text("".join(texts), "ascii")
    return path


def remarks(path: Path, names: Sequence[str] = (NAME,)) -> list[str]:
    return [str(remark) for remark in judge_front(read_front(path), names, NOW)]


def test_a_good_one(tmp_path: Path) -> None:
    issued = LabCertificates(tmp_path).issue("mail", [NAME])
    assert remarks(issued.file) == []
    key, chain = parts(issued.file)
    assert remarks(written(tmp_path, chain, key)) == [], "in either order"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            Made(names=(NAME,), begins=NOW - timedelta(days=90), ends=NOW - timedelta(days=3)),
            "it ended on",
        ),
        (Made(names=(NAME,), ends=NOW + timedelta(days=9, hours=1)), "in 9 days: renew it"),
        (Made(names=(NAME,), begins=NOW + timedelta(days=1)), "it is not valid before"),
        (Made(names=("other.example", NAME)), None),
        (Made(names=("other.example",)), f"it is for other.example, not for {NAME}"),
        (Made(names=(NAME,), ends=NOW + timedelta(days=900)), "Apple devices take 398 at most"),
        (Made(names=(NAME,), bits=1024), "its key has 1024 bits"),
    ],
)
def test_what_phones_do_not_like(made: Made, words: str | None, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    path = made.write(tmp_path, authority)
    chained = written(tmp_path, path.read_text("ascii"), authority.file.read_text("ascii"))
    found = remarks(chained)
    assert len(found) == (0 if words is None else 1)
    assert words is None or words in found[0]


def test_without_a_chain_or_with_a_wrong_one(tmp_path: Path) -> None:
    path = Made(names=(NAME,)).write(tmp_path, Authority(tmp_path / "ca"))
    [remark] = remarks(path)
    assert "the certificate of “Contoso CA” is missing" in remark
    other = Authority(tmp_path / "other", "Fabrikam CA").file.read_text("ascii")
    [remark] = remarks(written(tmp_path, path.read_text("ascii"), other))
    assert "belongs the certificate of “Contoso CA”, not “Fabrikam CA”" in remark


def test_self_signed_and_mitmproxys_own(tmp_path: Path) -> None:
    [remark] = remarks(Made(names=(NAME,)).write(tmp_path / "self"))
    assert "self-signed" in remark
    mitmproxy = Authority(tmp_path / "mitmproxy", "mitmproxy")
    [remark] = remarks(Made(names=(NAME,)).write(tmp_path / "made", mitmproxy))
    assert "one that mitmproxy made, which no phone trusts" in remark


def test_a_key_that_does_not_fit(tmp_path: Path) -> None:
    one, other = (Made(names=(n,)).write(tmp_path / n) for n in (NAME, "other.example"))
    with pytest.raises(CertificateFileError, match="private key does not fit the certificate of"):
        read_front(written(tmp_path, parts(one)[0], parts(other)[1]))
    with pytest.raises(CertificateFileError, match="must be the first one in the file"):
        read_front(written(tmp_path, parts(one)[0], parts(other)[1], parts(one)[1]))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("-----BEGIN CERTIFICATE-----\n",), "needs the private key and the certificate"),
        (("-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n",), "damaged"),
        (("",), "needs the private key"),
    ],
)
def test_what_is_none(texts: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match=words):
        read_front(written(tmp_path, *texts))
    with pytest.raises(CertificateFileError, match="No such file"):
        read_front(tmp_path / "missing.pem")


def test_a_pkcs12_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    issued = LabCertificates(tmp_path).issue("mail", [NAME]).file
    key = load_pem_private_key(issued.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(parts(issued)[1].encode())
    for secret in (NoEncryption(), BestAvailableEncryption(b"secret")):
        path = tmp_path / "mail.pfx"
        path.write_bytes(serialize_key_and_certificates(None, key, certificate, None, secret))
        with pytest.raises(CertificateFileError, match=r"is a PKCS#12 .* as PEM: openssl"):
            read_front(path)


def test_an_encrypted_key(tmp_path: Path) -> None:
    require("openssl")
    key, certificate = parts(LabCertificates(tmp_path).issue("mail", [NAME]).file)
    words = ["openssl", "pkey", "-aes256", "-passout", "pass:secret"]
    done = subprocess.run(words, input=key, capture_output=True, text=True, check=True)
    path = written(tmp_path, done.stdout, certificate)
    with pytest.raises(CertificateFileError, match="openssl pkey -in FILE"):
        read_front(path)
    assert read_front(path, "secret").own
    with pytest.raises(CertificateFileError, match="damaged"):
        read_front(path, "wrong")
