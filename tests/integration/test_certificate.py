"""A renewed certificate is used after SIGHUP, without a restart; a broken one changes nothing."""

import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from eas_redirect.lab.authority import Issued, LabCertificates
from tests.integration.messages import CONFIG
from tests.integration.mitmdump import mitmdump
from tests.integration.running import run, wait_until
from tests.integration.waiting import waiting_exchange

pytestmark = pytest.mark.integration


def certificate_of(port: int, name: str | None = "mail.contoso.example") -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 20) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def der(issued: Issued) -> bytes:
    text = issued.file.read_text("ascii")
    begin = text.index("-----BEGIN CERTIFICATE")
    end = text.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----\n")
    return ssl.PEM_cert_to_DER_cert(text[begin:end])


@pytest.mark.parametrize(("by_name", "shown"), [(False, True), (True, False)])
def test_a_phone_that_names_no_server_is_shown_it(
    by_name: bool, shown: bool, tmp_path: Path
) -> None:
    """Without SNI (RFC 6066 3), as old phones come; certs/README.md has both ways."""
    issued = LabCertificates(tmp_path / "lab").issue("mail", ["mail.contoso.example"])
    words = ("--certs", f"{'mail.contoso.example=' if by_name else ''}{issued.file}")
    mode = "reverse:https://127.0.0.1:9"
    with mitmdump(tmp_path, mode, config=CONFIG, arguments=words) as proxy:
        assert certificate_of(proxy.port) == der(issued)
        assert (certificate_of(proxy.port, None) == der(issued)) is shown


def test_renewal(tmp_path: Path) -> None:
    makers = [LabCertificates(tmp_path / name) for name in ("old", "new")]
    old, new = (maker.issue("mail", ["mail.contoso.example"]) for maker in makers)
    used = tmp_path / "mail.pem"
    shutil.copy(old.file, used)
    with (
        waiting_exchange() as exchange,
        run(tmp_path / "run", exchange.url, "--cert", str(used)) as running,
    ):
        assert certificate_of(running.port) == der(old)
        assert running.samples()["eas_certificate_expiry_timestamp_seconds"] > 0
        mark = "-----BEGIN CERTIFICATE-----"
        parts = [issued.file.read_text("ascii").partition(mark) for issued in (old, new)]
        for number, (content, words) in enumerate(
            (
                ("-----BEGIN NONSENSE-----\n", "it needs the private key and the certificate"),
                (parts[0][0] + mark + parts[1][2], "the private key does not fit"),
            ),
            start=1,
        ):
            used.write_text(content)
            running.signal(signal.SIGHUP)
            wait_until(
                lambda count=number: running.log.count("the old certificates stay") == count,
                "the refusal",
            )
            assert words in running.log
            assert certificate_of(running.port) == der(old)
        shutil.copy(new.file, used)
        running.signal(signal.SIGHUP)
        wait_until(lambda: certificate_of(running.port) == der(new), "the new certificate")
        assert "Traceback" not in running.log


def test_renewal_by_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """As certbot and mounted Secrets renew."""
    makers = [LabCertificates(tmp_path / name) for name in ("old", "new")]
    old, new = (maker.issue("mail", ["mail.contoso.example"]) for maker in makers)
    link = tmp_path / "mail.pem"
    link.symlink_to(old.file)
    with (
        waiting_exchange() as exchange,
        run(tmp_path / "run", exchange.url, "--cert", str(link)) as running,
    ):
        assert certificate_of(running.port) == der(old)
        link.unlink()
        link.symlink_to(new.file)
        running.signal(signal.SIGHUP)
        wait_until(lambda: certificate_of(running.port) == der(new), "the new certificate")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_certificate_whose_key_does_not_fit_stops_the_start(workers: str, tmp_path: Path) -> None:
    one, other = (LabCertificates(tmp_path / n).issue("mail", ["mail"]).file for n in "ab")
    mark = "-----BEGIN CERTIFICATE-----"
    mixed = tmp_path / "mixed.pem"
    mixed.write_text(
        one.read_text().partition(mark)[0] + mark + other.read_text().partition(mark)[2]
    )
    words = ("--cert", str(mixed), "--workers", workers)
    with run(tmp_path / "run", "http://127.0.0.1:9", *words, ready=False) as running:
        assert running.process.wait(60) == 2
        assert "the private key does not fit the certificate of mail" in running.log
        assert "Traceback" not in running.log


def test_what_phones_will_not_like_is_said_at_the_start(tmp_path: Path) -> None:
    issued = LabCertificates(tmp_path / "lab").issue("mail", ["mail.fabrikam.example"])
    config = '[exchange]\nhost_names = ["mail.contoso.example"]\n'
    with (
        waiting_exchange() as exchange,
        run(tmp_path / "run", exchange.url, "--cert", str(issued.file), config=config) as running,
    ):
        assert "for mail.fabrikam.example, not for mail.contoso.example" in running.log


def test_a_phone_that_is_shown_mitmproxys_own(tmp_path: Path) -> None:
    with waiting_exchange() as exchange, run(tmp_path / "run", exchange.url) as running:
        assert "a certificate that mitmproxy made" not in running.log
        for _ in range(3):
            certificate_of(running.port)
        wait_until(lambda: "a certificate that mitmproxy made" in running.log, "the warning")
        assert running.log.count("a certificate that mitmproxy made") == 1
