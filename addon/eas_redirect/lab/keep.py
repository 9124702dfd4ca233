"""`--keep`: what a person needs to point curl or a phone at the running lab, and the waiting."""

import time

from eas_redirect.lab.client import PATH
from eas_redirect.lab.personas import DOMAIN, PASSWORD, PERSONAS
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


def instructions(lab: Lab, host: str) -> str:
    """URL, people, password, CA file and two lines to paste. `host` is what clients call."""
    url = f"https://{host}:{lab.proxy.address[1]}{PATH}"
    ca = lab.certificates.ca_file
    curl = f"curl --include --silent --cacert {ca} --user anna@{DOMAIN}:{PASSWORD}"
    names = ", ".join(persona.name for persona in PERSONAS)
    return f"""\
The lab keeps running. Point a phone or curl at it; Ctrl-C ends everything.

  Server      {url}
  People      {names},
              as anna@{DOMAIN} or CONTOSO\\anna
  Password    {PASSWORD} (everybody's)
  CA to trust {ca}
  Journal     {lab.journal}

Anna's mailbox has moved. This asks as her phone would, and is answered 451:

  {curl} \\
    --request POST --header 'MS-ASProtocolVersion: 14.1' \\
    '{url}?Cmd=FolderSync&User=anna&DeviceId=CURL01&DeviceType=curl'
"""
