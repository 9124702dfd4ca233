"""Whether a certificate is one for a host."""

from pathlib import Path

import pytest
from cryptography import x509

from eas_redirect.certificates.x509 import bears
from eas_redirect.lab.authority import LabCertificates
from tests.integration.test_old_servers import made


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (["ex07.contoso.local"], "ex07.contoso.local", True),
        (["EX07.Contoso.local"], "ex07.contoso.LOCAL", True),
        (["other.contoso.local", "ex07"], "ex07", True),
        (["ex07.contoso.local"], "ex07.contoso.local.", True),
        (["ex07.contoso.local"], "ex07", False),
        (["ex07.contoso.local"], "x.ex07.contoso.local", False),
        (["*.contoso.local"], "ex07.contoso.local", True),
        (["*.contoso.local"], "x.ex07.contoso.local", False),
        (["*.contoso.local"], "contoso.local", False),
        (["*.contoso.local"], ".contoso.local", False),
        (["*.local"], "ex07.local", False),
        (["*"], "ex07", False),
        (["ex*.contoso.local"], "ex07.contoso.local", False),
        (["10.0.0.7"], "10.0.0.7", True),
        (["10.0.0.7"], "10.0.0.8", False),
        (["::1"], "0:0::1", True),
        (["ex07.contoso.local"], "10.0.0.7", False),
    ],
)
def test_names(names: list[str], host: str, expected: bool, tmp_path: Path) -> None:
    issued = LabCertificates(tmp_path).issue("server", names)
    certificate = x509.load_pem_x509_certificate(issued.file.read_bytes())
    assert bears(certificate, host) is expected


@pytest.mark.parametrize(
    ("alternative", "host", "expected"),
    [
        ("", "ex2007.contoso.example", True),
        ("", "EX2007.contoso.example", True),
        ("", "other.contoso.example", False),
        ("", "127.0.0.1", False),
        ("DNS:other.contoso.example", "ex2007.contoso.example", False),
    ],
)
def test_a_common_name_counts_where_there_is_no_alternative(
    alternative: str, host: str, expected: bool, tmp_path: Path
) -> None:
    certificate = x509.load_pem_x509_certificate(made(tmp_path, alternative).file.read_bytes())
    assert bears(certificate, host) is expected
