"""Old servers over TLS: reached by pinning, verified all the same, or said to be out of reach."""

import ssl
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eas_redirect.activesync.host_port import HostPort, ServerURL
from eas_redirect.checking.legacy_server import check_upstream
from eas_redirect.lab.authority import Issued, LabCertificates
from tests.integration.messages import ANNA, BERT, CONFIG, FOLDER_SYNC, LOCATION, NO_MAILBOX, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, answering, connected
from tests.support import require

pytestmark = pytest.mark.integration

PHONES_NAME = "mail.contoso.example"
FATAL_HANDSHAKE_FAILURE = bytes.fromhex("15 0300 0002 0228")  # an alert of SSLv3 (RFC 6101 5.4)


@dataclass(frozen=True)
class Certificate:
    """Self-signed with SHA-1, as Exchange 2007 made its own."""

    file: Path
    key: Path

    def server(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """A server that speaks this version of TLS and no other, with ciphers of its time."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.file, self.key)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return made(tmp_path_factory.mktemp("pinned"))


def made(
    directory: Path, name: str = "IP:127.0.0.1", common_name: str = "ex2007.contoso.example"
) -> Certificate:
    require("openssl")
    certificate = Certificate(directory / "server.pem", directory / "key.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha1", "-nodes", "-days", "30"]
    words += ["-subj", f"/CN={common_name}"]
    words += ["-addext", f"subjectAltName={name}"] if name else []
    words += ["-keyout", str(certificate.key), "-out", str(certificate.file)]
    subprocess.run(words, check=True, capture_output=True)
    return certificate


@pytest.fixture(params=[ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["TLS 1.0", "TLS 1.1"])
def old(certificate: Certificate, request: pytest.FixtureRequest) -> Iterator[RawServer]:
    with RawServer(answering(NO_MAILBOX), tls=certificate.server(request.param)) as server:
        yield server


def pinned(certificate: Certificate, minimum: str = "TLS1") -> dict[str, str]:
    return {
        "tls_version_server_min": minimum,
        "ssl_verify_upstream_trusted_ca": str(certificate.file),
    }


def first_answer(proxy: Mitmdump, logon: bytes = ANNA) -> bytes:
    with connected(proxy.port) as client:
        client.send(post(FOLDER_SYNC, logon))
        return client.read_answer()


def test_tls_1_0_and_sha_1_are_reached_by_pinning(
    old: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    mode = f"reverse:https://127.0.0.1:{old.port}"
    with mitmdump(tmp_path, mode, config=CONFIG, options=pinned(certificate)) as proxy:
        assert first_answer(proxy, BERT) == NO_MAILBOX
        assert LOCATION in first_answer(proxy)


def test_another_certificate_is_not_taken_for_the_pinned_one(
    old: RawServer, tmp_path: Path
) -> None:
    """Verification stays on: somebody in between with a certificate of the same name is refused."""
    other = made(tmp_path)
    mode = f"reverse:https://127.0.0.1:{old.port}"
    with mitmdump(tmp_path / "proxy", mode, config=CONFIG, options=pinned(other)) as proxy:
        assert first_answer(proxy).startswith(b"HTTP/1.1 503 ")
        proxy.wait_for_log("its certificate was renewed")
        proxy.wait_for_log("compare the fingerprint on Exchange")
    assert all(b"Authorization" not in wire.received for wire in old.wires)


def test_the_pinned_certificate_under_another_name_is_refused(
    certificate: Certificate, tmp_path: Path
) -> None:
    tls = certificate.server(ssl.TLSVersion.TLSv1)
    with RawServer(answering(NO_MAILBOX), tls=tls) as server:
        mode = f"reverse:https://localhost:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=pinned(certificate)) as proxy:
            assert first_answer(proxy).startswith(b"HTTP/1.1 503 ")
            proxy.wait_for_log("127.0.0.1, not for localhost: set proxy.upstream_name")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """What phones see, under another name than the old server's."""
    certificates = LabCertificates(tmp_path_factory.mktemp("front"))
    return certificates.issue("mail", [PHONES_NAME])


def answer_over_tls(proxy: Mitmdump) -> bytes:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with connected(proxy.port, trusting, PHONES_NAME) as client:
        client.send(post(FOLDER_SYNC, ANNA))
        return client.read_answer()


@pytest.mark.parametrize(
    ("name", "same", "served"),
    [
        ("IP:127.0.0.1", True, True),
        (f"DNS:{PHONES_NAME}", True, True),
        ("DNS:ex07.contoso.local", True, False),
        ("IP:127.0.0.1", False, False),
    ],
    ids=["the upstream's", "the phones'", "neither", "not pinned"],
)
def test_the_certificate_bears_the_upstreams_name_or_the_phones(
    name: str, same: bool, served: bool, front: Issued, tmp_path: Path
) -> None:
    theirs = made(tmp_path, name)
    tls = theirs.server(ssl.TLSVersion.TLSv1_2)
    (tmp_path / "pin").mkdir()
    options = pinned(theirs if same else made(tmp_path / "pin", name))
    words = ("--certs", f"{PHONES_NAME}={front.file}")
    with RawServer(answering(NO_MAILBOX), tls=tls) as server:
        mode = f"reverse:https://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=options, arguments=words) as proxy:
            answer = answer_over_tls(proxy)
            assert answer.startswith(b"HTTP/1.1 451 " if served else b"HTTP/1.1 503 ")
            if not served:
                proxy.wait_for_log("its certificate is for" if same else "certificate was renewed")
    assert served or all(b"Authorization" not in wire.received for wire in server.wires)


@pytest.mark.parametrize("option", [True, False])
def test_a_phone_that_speaks_only_tls_1_0(
    option: bool, front: Issued, old: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    """docs/reference.md, "Old servers"."""
    phone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    phone.check_hostname, phone.verify_mode = False, ssl.CERT_NONE
    phone.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        phone.minimum_version = phone.maximum_version = ssl.TLSVersion.TLSv1
    options = pinned(certificate) | ({"tls_version_client_min": "TLS1"} if option else {})
    words = ("--certs", f"{PHONES_NAME}={front.file}")
    mode = f"reverse:https://127.0.0.1:{old.port}"
    with mitmdump(tmp_path, mode, config=CONFIG, options=options, arguments=words) as proxy:
        if option:
            with connected(proxy.port, phone, PHONES_NAME) as client:
                client.send(post(FOLDER_SYNC, ANNA))
                assert LOCATION in client.read_answer()
        else:
            with pytest.raises(ssl.SSLError), connected(proxy.port, phone, PHONES_NAME):
                pass
            proxy.wait_for_log("Client and mitmproxy cannot agree on a TLS version")


def test_a_certificate_with_a_common_name_alone_is_reached(tmp_path: Path) -> None:
    """As IIS 6 made them, and many an authority of a company."""
    theirs = made(tmp_path, "", common_name="localhost")
    with RawServer(answering(NO_MAILBOX), tls=theirs.server(ssl.TLSVersion.TLSv1)) as server:
        mode = f"reverse:https://localhost:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=pinned(theirs)) as proxy:
            assert LOCATION in first_answer(proxy)


@pytest.mark.parametrize("common_name", ["localhost", "other.contoso.example"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2])
def test_check_believes_what_mitmproxy_believes(
    version: ssl.TLSVersion, common_name: str, tmp_path: Path
) -> None:
    theirs = made(tmp_path, "", common_name=common_name)
    with RawServer(answering(NO_MAILBOX), tls=theirs.server(version)) as server:
        url = ServerURL(scheme="https", address=HostPort("localhost", server.port))
        checks = list(check_upstream(url, 20, str(theirs.file)))
        allowed = list(check_upstream(url, 20, str(theirs.file), old=True))
    refused = [check for check in checks if "not for localhost" in check.finding]
    assert bool(refused) is (common_name != "localhost")
    # Without the key no phone reaches it.
    assert checks[0].state == ("failed" if version is ssl.TLSVersion.TLSv1 else "good")
    assert (allowed[0].state, allowed[0].subject) == ("good", "upstream localhost TLS")


def test_without_the_option_it_is_said_what_to_set(
    old: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    options = pinned(certificate, minimum="TLS1_2")
    mode = f"reverse:https://127.0.0.1:{old.port}"
    with mitmdump(tmp_path, mode, config=CONFIG, options=options) as proxy:
        for _ in range(3):
            assert first_answer(proxy).startswith(b"HTTP/1.1 503 ")
        proxy.wait_for_log('proxy.upstream_tls_min = "1.0"')
        assert proxy.log.count('proxy.upstream_tls_min = "1.0"') == 1, "said once"


def test_the_files_own_key_reaches_it_and_mitmproxys_option_wins(
    old: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    mode = f"reverse:https://127.0.0.1:{old.port}"
    keys = f'[proxy]\nupstream_ca = "{certificate.file}"\nupstream_tls_min = "1.0"\n'
    for minimum in (None, "TLS1_2"):
        options = {"tls_version_server_min": minimum} if minimum else {}
        folder = tmp_path / str(minimum)
        folder.mkdir()
        with mitmdump(folder, mode, config=CONFIG + keys, options=options) as proxy:
            said = first_answer(proxy)
        assert (LOCATION in said) == (minimum is None), minimum


def test_a_server_out_of_reach_is_named_with_what_to_put_between(
    certificate: Certificate, tmp_path: Path
) -> None:
    def script(wire: Wire) -> None:
        wire.read_exactly(50)
        wire.send(FATAL_HANDSHAKE_FAILURE)

    with RawServer(script) as server:
        mode = f"reverse:https://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=pinned(certificate)) as proxy:
            assert first_answer(proxy).startswith(b"HTTP/1.1 503 ")
            proxy.wait_for_log("it seems to speak nothing above SSLv3, RC4 or 3DES")
            proxy.wait_for_log("put HAProxy or stunnel")
            (line,) = proxy.exchanges(1)
    assert "handshake" in str(line["error"])
