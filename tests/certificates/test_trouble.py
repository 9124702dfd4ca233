"""Each fault of TLS with Exchange is told by its own cause and its own cure."""

import ssl
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from eas_redirect.certificates.trouble import Peer, Trouble, diagnose
from tests.certificates.servers import NOW, Authority, Made, peer, serving
from tests.integration.processes import free_port
from tests.integration.rawserver import RawServer, Wire
from tests.support import require

TIMEOUT_S = 10.0

type Trust = Callable[[Path, Path], Path | None]  # the server's file, the folder → the CA file


def itself(server: Path, _: Path) -> Path:
    return server


def nothing(_: Path, __: Path) -> None:
    return None


def another_authority(_: Path, folder: Path) -> Path:
    return Authority(folder / "other", "Fabrikam CA").file


def the_one_before(_: Path, folder: Path) -> Path:
    return Made().write(folder / "before")


@pytest.mark.parametrize(
    ("made", "trust", "kind", "finding", "advice"),
    [
        (Made(ends=NOW - timedelta(hours=1)), itself, "expired", "expired on 20", "renew it"),
        (Made(begins=NOW + timedelta(days=2)), itself, "not_yet_valid", "is not valid before",
         "clocks"),
        (Made(names=("mail.contoso.example",)), itself, "other_name",
         "is for mail.contoso.example, not for localhost",
         "proxy.upstream_name to the name that it bears, such as mail.contoso.example"),
        (Made(bits=1024), itself, "weak_key", "RSA with 1024 bits",
         'proxy.upstream_tls_min = "1.0"'),
        (Made(), nothing, "unknown_ca", "signed by itself, which this system does not trust",
         "set proxy.upstream_ca"),
        (Made(), another_authority, "unknown_ca", "holds another: “Fabrikam CA”",
         "put the certificate of who signed it into that file"),
        (Made(), the_one_before, "unknown_ca", "its certificate was renewed",
         "compare the fingerprint"),
    ],
    ids=["expired", "not yet valid", "other name", "weak key", "unknown", "wrong file", "renewed"],
)  # fmt: skip
def test_certificates(
    made: Made, trust: Trust, kind: str, finding: str, advice: str, tmp_path: Path
) -> None:
    file = made.write(tmp_path / "server")
    with serving(file) as server:
        found = diagnose(peer(server, trust(file, tmp_path)), TIMEOUT_S)
    assert found is not None
    assert found.kind == kind
    assert finding in found.finding
    assert advice in found.advice


def test_a_weak_signature(tmp_path: Path) -> None:
    require("openssl")
    authority = Authority(tmp_path / "ca")
    file = Made().write(tmp_path / "server", authority)
    sha1 = file.with_name("sha1.pem")
    # cryptography no longer signs so.
    for words in (
        ["x509", "-x509toreq", "-in", file, "-signkey", file, "-out", tmp_path / "request"],
        ["x509", "-req", "-sha1", "-in", tmp_path / "request", "-CA", authority.file,
         "-CAkey", authority.key_file, "-extfile", "-", "-out", sha1],
    ):  # fmt: skip
        extension = b"subjectAltName=DNS:localhost\n"
        subprocess.run(["openssl", *map(str, words)], check=True, input=extension)
    key = file.read_text("ascii").partition("-----BEGIN CERTIFICATE")[0]
    sha1.write_text(key + sha1.read_text("ascii"), "ascii")
    with serving(sha1) as server:
        found = diagnose(peer(server, authority.file), TIMEOUT_S)
        assert found is not None
        assert found.kind == "weak_signature"
        assert "signed with SHA1" in found.finding
        assert diagnose(peer(server, authority.file, old=True), TIMEOUT_S) is None


def test_who_signed_it_is_named(tmp_path: Path) -> None:
    file = Made().write(tmp_path / "server", Authority(tmp_path / "ca"))
    with serving(file) as server:
        found = diagnose(peer(server), TIMEOUT_S)
    assert found is not None
    assert "signed by “Contoso CA”" in found.finding


@pytest.mark.parametrize("trusted", ["authority", "the server's own"])
def test_a_good_one_has_no_trouble(trusted: str, tmp_path: Path) -> None:
    """A file may hold the authority, or the server's own certificate although another signed it."""
    authority = Authority(tmp_path / "ca")
    file = Made().write(tmp_path / "server", authority)
    with serving(file) as server:
        ca_file = authority.file if trusted == "authority" else file
        assert diagnose(peer(server, ca_file), TIMEOUT_S) is None
        named = replace(peer(server, ca_file), names=("mail.contoso.example", "localhost"))
        assert diagnose(named, TIMEOUT_S) is None, "any of its names is good"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_version(version: ssl.TLSVersion, tmp_path: Path) -> None:
    file = Made().write(tmp_path)
    with warnings.catch_warnings(action="ignore"), serving(file, version) as server:
        found = diagnose(peer(server, file), TIMEOUT_S)
        assert found is not None
        assert found.kind == "old_version"
        assert f"it speaks {version.name.replace('_', '.')}" in found.finding
        assert 'proxy.upstream_tls_min = "1.0"' in found.advice
        assert diagnose(peer(server, file, old=True), TIMEOUT_S) is None


def first_bytes(data: bytes) -> Callable[[Wire], None]:
    return lambda wire: wire.send(data)


@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "no_tls",
         "is not a TLS port: it speaks plain HTTP"),
        (b"220 mail ESMTP\r\n", "no_tls", "what it sends is no TLS"),
        (bytes.fromhex("15 0300 0002 0228"), "no_common_version", "SSLv3, RC4 or 3DES"),
    ],
    ids=["http", "smtp", "SSL 3 alone"],
)  # fmt: skip
def test_no_tls_port(sent: bytes, kind: str, words: str) -> None:
    with RawServer(first_bytes(sent)) as server:
        found = diagnose(Peer(host="127.0.0.1", port=server.port), TIMEOUT_S)
    assert found is not None
    assert found.kind == kind
    assert words in found.finding
    assert found.advice


def test_http_on_a_tls_port(tmp_path: Path) -> None:
    with serving(Made().write(tmp_path)) as server:
        found = diagnose(replace(peer(server), tls=False), TIMEOUT_S)
    assert found is not None
    assert str(found) == (
        f"localhost:{server.port} is a TLS port, and it is called by http: "
        f"write https://localhost:{server.port}"
    )


def test_http_on_an_http_port() -> None:
    with RawServer(first_bytes(b"HTTP/1.1 401 Unauthorized\r\n\r\n")) as server:
        peer = Peer(host="127.0.0.1", port=server.port, tls=False)
        assert diagnose(peer, TIMEOUT_S) is None


def test_a_file_that_is_none(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("nothing", "utf-8")
    found = diagnose(Peer(host="127.0.0.1", port=1, ca_file=wrong), TIMEOUT_S)
    assert found is not None
    assert found.kind == "ca_file"


@pytest.mark.parametrize(
    ("host", "words"), [("127.0.0.1", "refused"), ("nobody.invalid", "is not known here")]
)
def test_nobody_there(host: str, words: str) -> None:
    found = diagnose(Peer(host=host, port=free_port()), TIMEOUT_S)
    assert isinstance(found, Trouble)
    assert found.kind == "unreachable"
    assert words in found.finding
