"""`--keep`: what a person needs to point curl or a phone at the running lab, and the waiting."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from eas_redirect.lab.http_server import Server
from eas_redirect.lab.personas import DOMAIN, HOST, PASSWORD, PERSONAS
from eas_redirect.lab.phone import PATH
from eas_redirect.lab.phone_page import PhonePage
from eas_redirect.lab.placement import HTTP
from eas_redirect.lab.runner import Lab

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
