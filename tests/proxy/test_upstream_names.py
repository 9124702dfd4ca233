"""Exchange's certificate is good by either of its names, or by the configured one alone."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import connection, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons
from OpenSSL import SSL, crypto

from eas_redirect.proxy import upstream_names
from eas_redirect.proxy.upstream_names import SAID_BY_US, accept_both
from tests.certificates.servers import Made

MISMATCH, IP_MISMATCH, EXPIRED, SELF_SIGNED = 62, 64, 10, 18  # X509_V_ERR_…


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[taddons.context]:
    config = TlsConfig()
    with taddons.context(config) as context:
        context.configure(config, confdir=str(tmp_path))
        yield context


def asked(bench: taddons.context, mode: str = "reverse:https://ex07.contoso.local") -> tls.TlsData:
    client = connection.Client(
        peername=("127.0.0.1", 1),
        sockname=("127.0.0.1", 2),
        timestamp_start=0.0,
        proxy_mode=ProxyMode.parse(mode),
    )
    client.sni = "mail.contoso.example"
    server = connection.Server(address=("ex07.contoso.local", 443))
    server.sni = "mail.contoso.example"
    context = Context(client, bench.options)
    context.server = server
    return tls.TlsData(server, context)


@pytest.mark.parametrize(
    ("good", "error", "ok", "expected"),
    [
        (("ex07.contoso.local",), MISMATCH, 0, True),
        (("mail.contoso.example", "ex07.contoso.local"), MISMATCH, 0, True),
        (("mail.contoso.example",), MISMATCH, 0, False),
        (("192.0.2.1",), IP_MISMATCH, 0, False),
        ((), MISMATCH, 0, False),
        (("ex07.contoso.local",), EXPIRED, 0, False),
        (("ex07.contoso.local",), SELF_SIGNED, 0, False),
        ((), 0, 1, True),
    ],
    ids=["its name", "either", "another", "an address", "none", "expired", "unknown", "good"],
)
def test_a_name_mends_a_name_and_nothing_else(
    good: tuple[str, ...], error: int, ok: int, expected: bool, tmp_path: Path
) -> None:
    file = Made(names=("ex07.contoso.local",)).write(tmp_path)
    found = x509.load_pem_x509_certificate(file.read_bytes())
    shown = crypto.X509.from_cryptography(found)
    connection_ = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    assert upstream_names._verified(good, connection_, shown, error, 0, ok) is expected


def test_the_configured_name_is_the_one_that_the_server_is_asked_for(
    bench: taddons.context,
) -> None:
    data = asked(bench)
    accept_both(data, "ex07.fabrikam.example")
    assert data.conn.sni == "ex07.fabrikam.example"
    assert data.ssl_conn is not None
    assert data.ssl_conn.get_servername() == b"ex07.fabrikam.example"
    assert data.ssl_conn.get_context().get_verify_mode() == SSL.VERIFY_PEER


def test_without_one_the_phones_name_is_asked_for(bench: taddons.context) -> None:
    data = asked(bench)
    accept_both(data, None, ("mail.fabrikam.example",))
    assert data.ssl_conn is not None
    assert data.ssl_conn.get_servername() == b"mail.contoso.example"


@pytest.mark.parametrize("why", ["no reverse proxy", "prepared by another"])
def test_what_is_not_ours_to_prepare_is_left_alone(bench: taddons.context, why: str) -> None:
    data = asked(bench, "regular" if why == "no reverse proxy" else "reverse:https://a.example")
    mine = None
    if why == "prepared by another":
        mine = data.ssl_conn = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    accept_both(data, "ex07.contoso.local")
    assert data.ssl_conn is mine
    assert data.conn.sni == "mail.contoso.example"


def test_ssl_insecure_stays_insecure(
    bench: taddons.context, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.options.ssl_insecure = True
    taught: list[SSL.Context] = []
    monkeypatch.setattr(upstream_names, "_teach", taught.append)
    accept_both(asked(bench), "ex07.contoso.local")
    assert taught == []


def test_the_failed_handshake_of_each_phone_is_no_line() -> None:
    log = logging.getLogger("mitmproxy.proxy.server")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    SAID_BY_US.install()
    try:
        log.warning("Server TLS handshake failed. Certificate verify failed: expired")
        log.warning("Client TLS handshake failed. The client disconnected")
    finally:
        SAID_BY_US.remove()
    log.warning("Server TLS handshake failed. again")
    log.removeHandler(handler)
    assert [text.split(".")[0] for text in seen] == [
        "Client TLS handshake failed",
        "Server TLS handshake failed",
    ]


def test_a_context_that_is_asked_again_is_taught_once(
    bench: taddons.context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy keeps one for all handshakes; loading the system's file takes milliseconds."""
    loaded: list[object] = []
    monkeypatch.setattr(crypto.X509Store, "load_locations", lambda *words: loaded.append(words))
    data = asked(bench)
    accept_both(data)
    assert data.ssl_conn is not None
    context = data.ssl_conn.get_context()
    before = len(loaded)
    upstream_names._teach(context)
    assert len(loaded) == before
