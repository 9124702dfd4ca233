"""`--old-tls`: an Exchange that speaks TLS 1.0 alone, with a pinned certificate signed by SHA-1."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.haproxy.carrying import carried
from tests.integration.messages import ANNA, CONFIG, FOLDER_SYNC, LOCATION, NO_MAILBOX, post
from tests.integration.rawserver import RawServer, answering, connected
from tests.integration.test_old_servers import Certificate, made
from tests.support import require

pytestmark = pytest.mark.integration


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    require("haproxy")
    return made(tmp_path, "DNS:localhost")


@pytest.fixture
def server(certificate: Certificate) -> Iterator[RawServer]:
    context = certificate.server(ssl.TLSVersion.TLSv1)
    with RawServer(answering(NO_MAILBOX), context) as running:
        yield running


def answer(server: RawServer, tmp_path: Path, proxy: str, *words: str) -> bytes:
    where = f"https://localhost:{server.port}"
    with (
        carried(tmp_path / "both", where, CONFIG, words, proxy=proxy) as running,
        connected(running.port) as client,
    ):
        client.send(post(FOLDER_SYNC, ANNA))
        return client.read_answer()


@pytest.mark.parametrize("words", [("--old-tls",), ()], ids=["allowed", "not allowed"])
def test_tls_1_0_is_reached_by_the_option_alone(
    words: tuple[str, ...], server: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    said = answer(server, tmp_path, f'upstream_ca = "{certificate.file}"\n', *words)
    if words:
        assert LOCATION in said
    else:
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 30" in said


def test_another_certificate_or_another_name_is_refused(
    server: RawServer, certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = made(tmp_path / "other", "DNS:localhost")
    proxies = (
        f'upstream_ca = "{other.file}"\n',
        f'upstream_ca = "{certificate.file}"\nupstream_name = "mail.contoso.example"\n',
    )
    for number, proxy in enumerate(proxies):
        said = answer(server, tmp_path / str(number), proxy, "--old-tls")
        assert said.startswith(b"HTTP/1.1 503 ")
    assert all(b"Authorization" not in wire.received for wire in server.wires)
