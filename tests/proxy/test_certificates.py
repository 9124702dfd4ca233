"""Each cause of a failed handshake has its sentence; an unknown one has none."""

import pytest

from eas_redirect.proxy.certificates import tls_advice

AGREE = "The remote server and mitmproxy cannot agree on a TLS version to use."
VERIFY = "Certificate verify failed: "
ALERT = "OpenSSL Error([('SSL routines', '', 'ssl/tls alert handshake failure')])"


@pytest.mark.parametrize(
    ("error", "minimum", "said"),
    [
        (AGREE, "TLS1_2", "proxy.upstream_tls_min = '1.0'"),
        (AGREE, "TLS1", "HAProxy or stunnel"),
        (ALERT, "TLS1_2", "proxy.upstream_tls_min = '1.0'"),
        (ALERT, "UNBOUNDED", "SSLv3, RC4 or 3DES"),
        ("connection closed", "TLS1", "HAProxy or stunnel"),
        (
            "Certificate verify failed: self-signed certificate",
            "TLS1_2",
            "proxy.upstream_ca to a file",
        ),
        ("Certificate verify failed: CA md too weak", "TLS1_2", "proxy.upstream_tls_min = '1.0'"),
        (f"{VERIFY}CA signature digest algorithm too weak", "TLS1_2", "proxy.upstream_tls_min"),
        (f"{VERIFY}EE certificate key too weak", "TLS1_2", "proxy.upstream_tls_min = '1.0'"),
        ("Certificate verify failed: hostname mismatch", "TLS1_2", "not for the name"),
        ("Certificate verify failed: IP address mismatch", "TLS1_2", "not for the name"),
        ("Certificate verify failed: certificate has expired", "TLS1_2", "renewed"),
        ("[('SSL routines', '', 'unsafe legacy renegotiation disabled')]", "TLS1", "RFC 5746"),
    ],
)
def test_a_cause_has_its_advice(error: str, minimum: str, said: str) -> None:
    advice = tls_advice(error, minimum)
    assert advice is not None
    assert said in advice


@pytest.mark.parametrize("error", ["", "out of memory"])
def test_what_is_unknown_is_left_to_mitmproxys_own_words(error: str) -> None:
    assert tls_advice(error, "TLS1_2") is None
