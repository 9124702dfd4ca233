"""`--keep`: what a person needs to point curl or a phone at the running lab, and the wait."""

import io
import plistlib
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eas_redirect.lab.authority import CA_NAME
from eas_redirect.lab.http_server import Reply, Request, Server
from eas_redirect.lab.personas import DOMAIN, HOST, PASSWORD, PERSONAS
from eas_redirect.lab.phone import PATH
from eas_redirect.lab.placement import HTTP
from eas_redirect.lab.runner import Lab
from eas_redirect.telemetry.html_pages import render_page

# A page for phones: the lab's CA as a file and as an Apple profile, and the page's own QR code.
#
# It is plain http on purpose: a phone that does not trust the CA yet must be able to fetch it.

_IDENTIFIER = "example.eas-redirect.lab"
_QUIET_ZONE = 4  # modules around the code (ISO/IEC 18004 6.3.8)
_WHITE_ON_BLACK, _RESET = "\x1b[97;40m", "\x1b[0m"


class PhonePage:
    """The handler for a `Server`. `server` is what a phone is to enter as its server."""

    def __init__(self, ca_pem: str, server: str, url: Callable[[], str]) -> None:
        self._ca_pem = ca_pem
        self._server = server
        self._url = url

    async def __call__(self, request: Request) -> Reply:
        match request.path:
            case "/":
                return _reply("text/html; charset=utf-8", self._page().encode())
            case "/lab-ca.pem":
                return _reply("application/x-pem-file", self._ca_pem.encode())
            case "/lab-ca.cer":
                return _reply("application/x-x509-ca-cert", self._der())
            case "/lab-ca.mobileconfig":
                return _reply("application/x-apple-aspen-config", apple_profile(self._der()))
            case "/qr.svg" if (picture := qr_svg(self._url())) is not None:
                return _reply("image/svg+xml", picture)
            case _:
                return Reply(404, (("Content-Type", "text/plain"),), b"There is no such page.\n")

    def _der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self._ca_pem)

    def _page(self) -> str:
        values = {"server": self._server, "domain": DOMAIN, "password": PASSWORD}
        return render_page("phone_page.html", values | {"picture": bool(qr_svg(self._url()))})


def _reply(media_type: str, body: bytes) -> Reply:
    return Reply(200, (("Content-Type", media_type), ("Cache-Control", "no-store")), body)


def apple_profile(ca_der: bytes) -> bytes:
    """A configuration profile that installs the CA (Apple: Certificate Root payload).

    Its UUIDs follow from the certificate, so that installing it again replaces it.
    """
    certificate = {
        "PayloadType": "com.apple.security.root",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{_IDENTIFIER}.ca",
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_OID, ca_der.hex())).upper(),
        "PayloadDisplayName": CA_NAME,
        "PayloadCertificateFileName": "lab-ca.cer",
        "PayloadContent": ca_der,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": _IDENTIFIER,
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_URL, ca_der.hex())).upper(),
        "PayloadDisplayName": CA_NAME,
        "PayloadDescription": "For phones in a lab. Remove it when you are done.",
        "PayloadContent": [certificate],
    }
    return plistlib.dumps(profile)


def qr_svg(text: str) -> bytes | None:
    """A QR code as a picture, readable on any background; None without the optional `segno`."""
    try:
        import segno  # noqa: PLC0415 - optional
    except ImportError:
        return None
    picture = io.BytesIO()
    segno.make(text).save(picture, kind="svg", scale=6, border=_QUIET_ZONE, light="white")
    return picture.getvalue()


def qr_text(text: str) -> str | None:
    """The same for a terminal, whatever its colours: not every phone reads a negative."""
    try:
        import segno  # noqa: PLC0415 - optional
    except ImportError:
        return None
    lines = io.StringIO()
    segno.make(text).terminal(lines, compact=True, border=_QUIET_ZONE)
    code = lines.getvalue().rstrip("\n").split("\n")
    return "".join(f"{_WHITE_ON_BLACK}{line}{_RESET}\n" for line in code)


POLL_S = 0.25


class PartEndedError(Exception):
    """A part of the lab ended by itself; the message says which, and what it wrote last."""


def wait(lab: Lab) -> None:
    """Until Ctrl-C (or what the command line turns into it); PartEndedError when a part ends."""
    try:
        while not lab.proxy.child.ended:
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return
    last = "\n".join(lab.proxy.child.output().strip().splitlines()[-5:])
    raise PartEndedError(f"{lab.proxy.child.name} has ended, and with it the lab:\n{last}")


def is_for_phones(lab: Lab, host: str) -> bool:
    """Whether a phone outside this machine can reach the page."""
    return lab.has_door if lab.site.transparent else host != "localhost"


@contextmanager
def phone_page(lab: Lab, host: str) -> Iterator[str]:
    """The page for phones is up; its URL. `host` is what clients call the proxy."""
    address, port = lab.site.page
    called = _in_url(address if lab.site.transparent else host)
    ca_pem = lab.certificates.ca_file.read_text("ascii")
    server = HOST if lab.site.transparent else f"{_in_url(host)}:{lab.proxy.address[1]}"
    page = PhonePage(ca_pem, server, lambda: url)
    with lab.site.at_proxy():
        running = Server(page, host=address, port=port).start()
    url = f"http://{called}/" if running.port == HTTP else f"http://{called}:{running.port}/"
    try:
        yield url
    finally:
        running.stop()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def instructions(lab: Lab, host: str, page: str) -> str:
    """URL, people, password, CA file and a line to paste. `host` is what clients call."""
    site, ca = lab.site, lab.certificates.ca_file
    url, there, shell = f"https://{_in_url(host)}:{lab.proxy.address[1]}{PATH}", "", ""
    if site.transparent:
        url, there = f"https://{HOST}{PATH}", f"--resolve {HOST}:443:{site.exchange[0]} "
        shell = f"{' '.join(site.phone_shell)} "
    user = f"--user anna@{DOMAIN}:{PASSWORD}"
    names = ", ".join(persona.name for persona in PERSONAS)
    return f"""\
The lab keeps running. Point a phone or curl at it; Ctrl-C ends everything.

  Server      {url}
  People      {names},
              as anna@{DOMAIN} or CONTOSO\\anna
  Password    {PASSWORD} (everybody's)
  CA to trust {ca}, for phones {page}
  Journal     {lab.journal}

Anna's mailbox has moved. This asks as her phone would, and is answered 451:

  {shell}curl --include --silent --cacert {ca} {there}{user} \\
    --request POST --header 'MS-ASProtocolVersion: 14.1' \\
    '{url}?Cmd=FolderSync&User=anna&DeviceId=CURL01&DeviceType=curl'
"""
