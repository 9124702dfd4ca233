"""`/ready` over real TLS, one process and two workers: what makes it say no, and yes again."""

import http.client
import json
import resource
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests.benchmarks.usage import usage
from tests.certificates.servers import NOW, Authority, Made, serving
from tests.integration.device import PATH, basic
from tests.integration.old_server import BERT, PASSWORD
from tests.integration.processes import free_port
from tests.integration.rawserver import RawServer, Wire, answering
from tests.integration.running import Running, begun, run, wait_until

pytestmark = pytest.mark.integration

ONE, TWO = (), ("--workers", "2")


@contextmanager
def running(tmp_path: Path, url: str, ca: Path | None, *arguments: str) -> Iterator[Running]:
    """Serving, whether it is ready or not."""
    options = {"ssl_verify_upstream_trusted_ca": str(ca)} if ca else {}
    with run(tmp_path / "run", url, *arguments, options=options, ready=False) as proxy:
        begun(proxy)
        yield proxy


def ask(port: int, device: str = "D1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    target = f"{PATH}?Cmd=FolderSync&User=bert&DeviceId={device}&DeviceType=Phone"
    try:
        connection.request("POST", target, b"", {"Authorization": basic(BERT, PASSWORD)})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def why(proxy: Running, page: str = "/ready") -> str:
    """What it says against itself; empty when it is ready."""
    status, text = proxy.page(page)
    said = json.loads(text)
    assert (status == 200) is (said["status"] == "ready")
    return "" if status == 200 else "; ".join(said["why"])


def until(proxy: Running, words: str, *, page: str = "/ready") -> None:
    wait_until(lambda: words in why(proxy, page), f"{words!r} from {page}")


def until_ready(proxy: Running) -> None:
    wait_until(lambda: not why(proxy), "ready")


@pytest.mark.parametrize("workers", [ONE, TWO], ids=["one process", "two workers"])
def test_exchange_comes_back_with_a_certificate_that_is_not_believed(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    """As when it was renewed, or the pin is another's: the phones' own exchanges show it."""
    good, renewed = Made().write(tmp_path / "good"), Made().write(tmp_path / "renewed")
    port = free_port()
    with running(tmp_path, f"https://localhost:{port}", good, *workers) as proxy:
        with serving(good, port=port):
            until_ready(proxy)
            assert ask(proxy.port) == 401
        with serving(renewed, port=port):
            assert ask(proxy.port) in (502, 503)
            until(proxy, "its certificate was renewed")
            until(proxy, "its certificate was renewed", page="/ready?for=mail")
            assert proxy.page("/health")[0] == 200
            assert proxy.samples()["eas_ready"] == 0
            for number in range(8):
                assert ask(proxy.port, f"D{number}") in (502, 503)
            said = proxy.log.count("its certificate was renewed")
            assert said <= max(1, len(workers)), "once for each worker"
            assert "Server TLS handshake failed" not in proxy.log
        with serving(good, port=port):
            until_ready(proxy)
            assert "Exchange answers again" in proxy.log
            assert ask(proxy.port) == 401
        assert "Traceback" not in proxy.log


@pytest.mark.parametrize(
    ("made", "trust", "words"),
    [
        (Made(ends=NOW), "itself", "expired on"),
        (Made(names=("mail.contoso.example",)), "itself", "is for mail.contoso.example"),
        (Made(), "another", "holds another: “Fabrikam CA”"),
        (Made(), "nothing", "which this system does not trust"),
    ],
    ids=["expired", "other name", "wrong CA", "no CA"],
)
def test_a_start_towards_an_exchange_that_is_not_believed(
    made: Made, trust: str, words: str, tmp_path: Path
) -> None:
    """The proxy says so before any phone has called."""
    file = made.write(tmp_path / "server")
    ca = {"itself": file, "another": Authority(tmp_path, "Fabrikam CA").file, "nothing": None}
    with (
        serving(file) as server,
        running(tmp_path, f"https://localhost:{server.port}", ca[trust]) as proxy,
    ):
        until(proxy, words)
        assert ask(proxy.port) in (502, 503)
        assert words in proxy.log
        assert "Traceback" not in proxy.log


def test_http_to_a_tls_port(tmp_path: Path) -> None:
    with (
        serving(Made().write(tmp_path / "server")) as server,
        running(tmp_path, f"http://localhost:{server.port}", None) as proxy,
    ):
        until(proxy, f"write https://localhost:{server.port}")


def test_https_to_an_http_port(tmp_path: Path) -> None:
    with (
        RawServer(lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        running(tmp_path, f"https://localhost:{server.port}", None) as proxy,
    ):
        until(proxy, "is not a TLS port: it speaks plain HTTP")


@pytest.mark.parametrize("workers", [ONE, TWO], ids=["one process", "two workers"])
def test_exchange_that_takes_connections_and_answers_nobody(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    port = free_port()
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with running(tmp_path, f"http://127.0.0.1:{port}", None, *workers) as proxy:
        with RawServer(answering(answer), port=port):
            until_ready(proxy)
        with RawServer(Wire.close, port=port):
            for turn in range(12):  # enough for three in a row at one of two workers
                ask(proxy.port, f"D{turn % 2}")
            until(proxy, "it closed the connection without an answer")
        with RawServer(answering(answer), port=port):
            until_ready(proxy)


def test_without_descriptors_it_says_no_and_recovers(tmp_path: Path) -> None:
    """Connections that only stand there take them all but a few."""
    file = Made().write(tmp_path / "server")
    with (
        serving(file) as server,
        running(tmp_path, f"https://localhost:{server.port}", file) as proxy,
        ExitStack() as held,
    ):
        until_ready(proxy)
        limit = usage(proxy.process.pid).descriptors + 40
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        for _ in range(30):
            held.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
        until(proxy, "file descriptors")
        until(proxy, "file descriptors", page="/ready?for=mail")
        held.close()
        until_ready(proxy)


def test_the_name_that_the_certificate_must_bear(tmp_path: Path) -> None:
    """Exchange by an internal name, its certificate for the public one; a phone without TLS, as
    behind a front, names no server."""
    file = Made(names=("mail.contoso.example",)).write(tmp_path / "server")
    with serving(file) as server:
        url = f"https://localhost:{server.port}"
        with running(tmp_path / "without", url, file) as proxy:
            assert ask(proxy.port) in (502, 503)
            until(proxy, "proxy.upstream_name")
        config = '\n[proxy]\nupstream_name = "mail.contoso.example"\n'
        options = {"ssl_verify_upstream_trusted_ca": str(file)}
        with run(tmp_path / "with", url, config=config, options=options) as proxy:
            assert ask(proxy.port) == 401


@pytest.mark.parametrize("workers", [ONE, TWO], ids=["one process", "two workers"])
@pytest.mark.parametrize("content", ["nothing of the kind", "PKCS#7"])
def test_a_ca_file_that_cannot_be_read_stops_the_start(
    content: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    authority = x509.load_pem_x509_certificate(Authority(tmp_path / "ca").file.read_bytes())
    bundle = pkcs7.serialize_certificates([authority], Encoding.DER)
    file.write_bytes(bundle if content == "PKCS#7" else content.encode())
    words = ("--upstream-ca", str(file), *workers)
    with run(tmp_path / "run", "https://localhost:9", *words, ready=False) as proxy:
        assert proxy.process.wait(60) == 2
        assert f"{file} is " in proxy.log
        assert ("PKCS#7 bundle" if content == "PKCS#7" else "no certificate") in proxy.log
        assert "Traceback" not in proxy.log


def test_a_ca_file_in_der(tmp_path: Path) -> None:
    file = Made().write(tmp_path / "server")
    der = tmp_path / "ca.cer"
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    der.write_bytes(certificate.public_bytes(Encoding.DER))
    with serving(file) as server:
        words = ("--upstream-ca", str(der))
        with run(tmp_path / "run", f"https://localhost:{server.port}", *words) as proxy:
            assert ask(proxy.port) == 401


@pytest.mark.parametrize("workers", [ONE, TWO], ids=["one process", "two workers"])
def test_a_renewed_ca_file(workers: tuple[str, ...], tmp_path: Path) -> None:
    """A wrong one is refused while the old one does; the right one is taken, at a SIGHUP, or by
    itself when the old one does no longer."""
    first, second = Made().write(tmp_path / "first"), Made().write(tmp_path / "second")
    pin, port = tmp_path / "pin.pem", free_port()
    shutil.copy(first, pin)
    words = ("--upstream-ca", str(pin), *workers)
    with run(tmp_path / "run", f"https://localhost:{port}", *words, ready=False) as proxy:
        begun(proxy)
        with serving(first, port=port):
            until_ready(proxy)
            for content in (second.read_text("ascii"), "nonsense"):
                pin.write_text(content)
                kept = proxy.log.count("stay")
                proxy.signal(signal.SIGHUP)
                each = max(1, len(workers))
                wait_until(lambda n=kept + each: proxy.log.count("stay") >= n, "the refusal")
                assert [ask(proxy.port) for _ in range(8)] == [401] * 8
                assert not why(proxy)
        with serving(second, port=port):
            until_fails(proxy)
            shutil.copy(second, pin)
            until_ready(proxy)
            assert [ask(proxy.port) for _ in range(8)] == [401] * 8


def until_fails(proxy: Running) -> None:
    """At every worker."""
    wait_until(lambda: {ask(proxy.port) for _ in range(8)} <= {502, 503} and why(proxy), "no")
