"""The page for phones: the CA in three forms that say the same, and a QR code."""

import plistlib
import re
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from eas_redirect.lab.authority import CA_NAME, LabCertificates
from eas_redirect.lab.http_server import Reply, Request, Server
from eas_redirect.lab.keep import PhonePage, apple_profile, qr_svg, qr_text
from tests.browser import complaints, open_browser
from tests.support import require

URL = "http://192.0.2.1:8000/"


@pytest.fixture
def ca_pem(tmp_path: Path) -> str:
    return LabCertificates(tmp_path).ca_file.read_text("ascii")


async def get(ca_pem: str, path: str) -> Reply:
    page = PhonePage(ca_pem, "mail.contoso.example:8443", lambda: URL)
    return await page(Request("GET", path, ()))


async def test_the_page_leads_to_everything(ca_pem: str) -> None:
    reply = await get(ca_pem, "/")
    assert isinstance(reply.body, bytes)
    text = reply.body.decode()
    assert "mail.contoso.example:8443" in text
    assert "{" not in text.partition("</style>")[2]
    for path in ("/lab-ca.pem", "/lab-ca.cer", "/lab-ca.mobileconfig", "/qr.svg"):
        assert f'="{path}"' in text
        assert (await get(ca_pem, path)).status == 200


async def test_what_is_shown_is_text(ca_pem: str) -> None:
    page = PhonePage(ca_pem, "<b>'mail", lambda: URL)
    body = (await page(Request("GET", "/", ()))).body
    assert isinstance(body, bytes)
    assert b"<dd>&lt;b&gt;&#39;mail</dd>" in body


async def test_the_ca_is_the_same_in_each_form(ca_pem: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(ca_pem)
    assert (await get(ca_pem, "/lab-ca.pem")).body == ca_pem.encode()
    assert (await get(ca_pem, "/lab-ca.cer")).body == der
    body = (await get(ca_pem, "/lab-ca.mobileconfig")).body
    assert isinstance(body, bytes)
    profile = plistlib.loads(body)
    (payload,) = profile["PayloadContent"]
    assert payload["PayloadContent"] == der
    assert x509.load_der_x509_certificate(der).subject.rfc4514_string() == f"CN={CA_NAME}"
    assert b"PRIVATE" not in body


def test_a_profile_has_what_apple_requires_and_replaces_itself(ca_pem: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(ca_pem)
    profile = plistlib.loads(apple_profile(der))
    payloads = [profile, *profile["PayloadContent"]]
    assert [p["PayloadType"] for p in payloads] == ["Configuration", "com.apple.security.root"]
    required = ("PayloadVersion", "PayloadIdentifier", "PayloadUUID", "PayloadDisplayName")
    assert all(key in payload for payload in payloads for key in required)
    assert payloads[0]["PayloadUUID"] != payloads[1]["PayloadUUID"]
    assert apple_profile(der) == apple_profile(der)


async def test_other_paths_are_not_found(ca_pem: str) -> None:
    assert (await get(ca_pem, "/lab-ca-key.pem")).status == 404
    assert (await get(ca_pem, "/../lab-ca-key.pem")).status == 404


def scanned(picture: Path) -> str:
    """What another program reads from a picture (Debian: zbar-tools)."""
    require("zbarimg")
    command = ["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout.strip()


@pytest.mark.parametrize("url", [URL, "http://[2001:db8::45]:65535/", "http://10.45.1.1/"])
def test_the_code_in_a_terminal_leads_to_the_page(tmp_path: Path, url: str) -> None:
    lines = (qr_text(url) or "").splitlines()
    shown = [re.fullmatch("\x1b\\[97;40m([█▀▄ ]+)\x1b\\[0m", line) for line in lines]
    rows = [
        b"".join((b"\xff" if sign in lit else b"\0") * 6 for sign in line[1]) * 6
        for line in shown
        if line is not None
        for lit in ("█▀", "█▄")  # a line of text is two rows of the code
    ]
    assert len(rows) == 2 * len(lines)
    width = len(rows[0]) // 6
    picture = tmp_path / "code.pgm"
    picture.write_bytes(b"P5 %d %d 255\n" % (width, 6 * len(rows)) + b"".join(rows))
    assert scanned(picture) == url


@pytest.mark.parametrize("background", ["white", "black", "gray"])
def test_the_code_on_the_page_leads_to_the_page(
    tmp_path: Path, ca_pem: str, background: str
) -> None:
    with ExitStack() as stack:
        page = PhonePage(ca_pem, "mail.contoso.example", lambda: running.url)
        running = Server(page, host="127.0.0.1", port=0).start()
        stack.callback(running.stop)
        browser = stack.enter_context(open_browser(tmp_path / "profile"))
        browser.get(running.url)
        browser.execute_script(f"document.body.style.background = '{background}'")
        picture = tmp_path / "page.png"
        assert browser.save_screenshot(str(picture))
        assert scanned(picture) == running.url
        assert complaints(browser) == []


async def test_without_segno_there_is_no_code(ca_pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (qr_svg(URL) or b"").startswith(b"<?xml")
    monkeypatch.setitem(sys.modules, "segno", None)
    assert (qr_svg(URL), qr_text(URL)) == (None, None)
    assert (await get(ca_pem, "/qr.svg")).status == 404
    page = (await get(ca_pem, "/")).body
    assert isinstance(page, bytes)
    assert b"<img" not in page
