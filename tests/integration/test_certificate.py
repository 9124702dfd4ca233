"""A renewed certificate is used after SIGHUP, without a restart; a broken one changes nothing."""

import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from eas_redirect.lab.certificates import Issued, LabCertificates
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
        used.write_text("-----BEGIN NONSENSE-----\n")
        running.signal(signal.SIGHUP)
        wait_until(lambda: "the old certificates stay" in running.log, "the refusal")
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
