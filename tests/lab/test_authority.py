"""One at a time: refused at once, or waited for."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from eas_redirect.lab.authority import CA_DAYS, LEAF_DAYS, InUseError, LabCertificates, locked


def test_a_second_one_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "work", wait=False),
        pytest.raises(InUseError),
        locked(tmp_path / "work", wait=False),
    ):
        pass
    with locked(tmp_path / "work", wait=False):
        pass


def test_labs_that_start_together_share_one_authority(tmp_path: Path) -> None:
    issued = []

    def make() -> None:
        lab = LabCertificates(tmp_path)
        issued.append((lab.ca_file.read_bytes(), lab.issue("front", ["a.example"]).file))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(issued) == 8
    assert len({ca for ca, _ in issued}) == 1
    assert issued[0][1].read_bytes().endswith(issued[0][0])


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A TLS handshake over a socket pair; raises what the client raises."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join(10)


def test_clients_that_trust_the_ca_accept_its_certificates(tmp_path: Path) -> None:
    lab = LabCertificates(tmp_path)
    issued = lab.issue("front", ["mail.contoso.example", "127.0.0.1"])
    for name in issued.names:
        _handshake(issued.server_context(), lab.client_context(), name)


@pytest.mark.parametrize("trusts", ["another CA", "the system"])
def test_clients_that_do_not_trust_the_ca_refuse(tmp_path: Path, trusts: str) -> None:
    issued = LabCertificates(tmp_path / "lab").issue("front", ["mail.contoso.example"])
    other = LabCertificates(tmp_path / "other").client_context()
    client = other if trusts == "another CA" else ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(issued.server_context(), client, "mail.contoso.example")


def test_a_certificate_is_for_its_names_only(tmp_path: Path) -> None:
    lab = LabCertificates(tmp_path)
    issued = lab.issue("front", ["mail.contoso.example"])
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(issued.server_context(), lab.client_context(), "mail.fabrikam.example")


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    lab = LabCertificates(tmp_path)
    lab.issue("front", ["mail.contoso.example"])
    lab.write_mitmproxy_ca(tmp_path / "confdir")
    holding_keys = [f for f in tmp_path.rglob("*.pem") if b"PRIVATE KEY" in f.read_bytes()]
    assert {f.name for f in holding_keys} == {"lab-ca-key.pem", "front.pem", "mitmproxy-ca.pem"}
    assert {stat.S_IMODE(f.stat().st_mode) for f in holding_keys} == {0o600}


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    first = LabCertificates(tmp_path).issue("front", ["mail.contoso.example"]).file.read_bytes()
    ca = (tmp_path / "lab-ca.pem").read_bytes()
    again = LabCertificates(tmp_path).issue("front", ["mail.contoso.example"]).file.read_bytes()
    assert (again, (tmp_path / "lab-ca.pem").read_bytes()) == (first, ca)


@pytest.mark.parametrize(
    ("days", "renewed"),
    [
        (LEAF_DAYS - 30, set()),
        (LEAF_DAYS - 1, {"front.pem"}),
        (CA_DAYS - 1, {"lab-ca.pem", "front.pem"}),
        (-2, {"lab-ca.pem", "front.pem"}),
    ],
)
def test_what_expires_soon_or_is_not_valid_yet_is_made_anew(
    tmp_path: Path, days: int, renewed: set[str]
) -> None:
    LabCertificates(tmp_path).issue("front", ["mail.contoso.example"])
    before = {name: (tmp_path / name).read_bytes() for name in ("lab-ca.pem", "front.pem")}
    later = datetime.now(UTC) + timedelta(days=days)
    LabCertificates(tmp_path, now=later).issue("front", ["mail.contoso.example"])
    assert {
        name for name, old in before.items() if (tmp_path / name).read_bytes() != old
    } == renewed


def test_other_names_need_another_certificate(tmp_path: Path) -> None:
    lab = LabCertificates(tmp_path)
    first = lab.issue("front", ["mail.contoso.example"]).file.read_bytes()
    assert lab.issue("front", ["mail.contoso.example", "10.0.0.1"]).file.read_bytes() != first


@pytest.mark.parametrize("damage", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\n"])
@pytest.mark.parametrize("file", ["lab-ca.pem", "lab-ca-key.pem", "front.pem"])
def test_damaged_files_are_made_anew(tmp_path: Path, file: str, damage: bytes) -> None:
    LabCertificates(tmp_path).issue("front", ["mail.contoso.example"])
    (tmp_path / file).write_bytes(damage)
    lab = LabCertificates(tmp_path)
    issued = lab.issue("front", ["mail.contoso.example"])
    _handshake(issued.server_context(), lab.client_context(), "mail.contoso.example")


def test_for_old_phones_everything_is_rsa_and_stays(tmp_path: Path) -> None:
    LabCertificates(tmp_path)
    old = LabCertificates(tmp_path, for_old_phones=True)
    issued = old.issue("front", ["a.example"]).file.read_bytes()
    certificates = x509.load_pem_x509_certificates(issued)
    assert [isinstance(one.public_key(), rsa.RSAPublicKey) for one in certificates] == [True, True]
    again = LabCertificates(tmp_path, for_old_phones=True)
    assert again.issue("front", ["a.example"]).file.read_bytes() == issued
