"""TLS of a server seen from here: what it shows is shown, believed or not."""

import ssl
import warnings
from pathlib import Path

import pytest

from eas_redirect.certificates.handshake import believing, http_status, look
from eas_redirect.certificates.x509 import names_of, read_trusted
from tests.certificates.servers import ANSWER, Authority, Made, serving
from tests.integration.processes import free_port
from tests.integration.rawserver import RawServer, answering

TIMEOUT_S = 10.0


def test_a_certificate_that_is_believed(tmp_path: Path) -> None:
    file = Made().write(tmp_path, Authority(tmp_path / "ca"))
    with serving(file) as server:
        address = ("localhost", server.port)
        for trusted in (tmp_path / "ca" / "ca.pem", file):  # who signed it, or itself
            seen = look(address, TIMEOUT_S, read_trusted(trusted), old=False)
            assert seen.distrust is None
            assert seen.version == "TLSv1.3"
            assert not seen.is_old


def test_one_that_is_not_believed_is_shown_with_why(tmp_path: Path) -> None:
    file = Made(names=("mail.contoso.example",)).write(tmp_path)
    with serving(file) as server:
        address = ("localhost", server.port)
        unknown = look(address, TIMEOUT_S, old=False)
        named = look(address, TIMEOUT_S, read_trusted(file), old=False)
        any_name = look(address, TIMEOUT_S, read_trusted(file), old=False, any_name=True)
        asked_for = look(
            address, TIMEOUT_S, read_trusted(file), old=False, name="mail.contoso.example"
        )
    assert unknown.certificate is not None
    assert names_of(unknown.certificate) == ("mail.contoso.example",)
    assert unknown.distrust is not None
    assert unknown.distrust.code == 18  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    assert named.distrust is not None
    assert named.distrust.code == 62  # X509_V_ERR_HOSTNAME_MISMATCH
    assert (any_name.distrust, asked_for.distrust) == (None, None)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_believed_only_by_its_own_rules(tmp_path: Path) -> None:
    file = Made().write(tmp_path)
    with (
        warnings.catch_warnings(action="ignore"),
        serving(file, ssl.TLSVersion.TLSv1) as server,
    ):
        address = ("localhost", server.port)
        today = look(address, TIMEOUT_S, read_trusted(file), old=False)
        then = look(address, TIMEOUT_S, read_trusted(file), old=True)
        stranger = look(address, TIMEOUT_S, old=True)
    assert (today.version, then.version) == ("TLSv1", "TLSv1")
    assert today.distrust is not None
    assert "too old" in today.distrust.words
    assert (then.distrust, then.is_old) == (None, True)
    assert stranger.distrust is not None, "old rules do not make a stranger known"


def test_without_files_the_system_is_believed() -> None:
    theirs, system = believing(()), ssl.create_default_context()
    assert theirs.verify_mode is ssl.CERT_REQUIRED
    assert theirs.check_hostname
    assert theirs.cert_store_stats() == system.cert_store_stats()


def test_what_plain_http_is_answered(tmp_path: Path) -> None:
    with RawServer(answering(ANSWER)) as plain:
        assert http_status(("localhost", plain.port), TIMEOUT_S) == 401
    with RawServer(answering(b"220 mail ESMTP\r\n")) as other:
        assert http_status(("localhost", other.port), TIMEOUT_S) is None
    with serving(Made().write(tmp_path)) as secure:
        assert http_status(("localhost", secure.port), TIMEOUT_S) is None
    assert http_status(("localhost", free_port()), TIMEOUT_S) is None
    assert http_status((f"{'x' * 64}.example", 80), TIMEOUT_S) is None, "no name of DNS"


def test_nobody_there_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="refused"):
        look(("localhost", free_port()), TIMEOUT_S, old=False)
