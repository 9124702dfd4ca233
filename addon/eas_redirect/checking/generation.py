"""Which versions of ActiveSync the legacy Exchange speaks, by what it says of itself.

Exchange 2007 and older end at 12.1. Below 14.0 KB 2751417 does not expect devices to know the 451,
so they are left alone unless `exchange.min_protocol_version` says otherwise.
"""

import http.client
import re
from collections.abc import Iterator

from eas_redirect.checking.tried import Check, warning
from eas_redirect.telemetry.clients import version

# MS-Server-ActiveSync holds the server's own version: 6.5 is Exchange 2003, 8 is 2007, 14 is 2010.
_CEILINGS = ((7, "2.5", "Exchange 2003"), (14, "12.1", "Exchange 2007"))


def ceiling_of(headers: http.client.HTTPMessage) -> tuple[str, str] | None:
    """The highest version that such a server speaks and its name, where it is below 14.0. None:
    newer, or it does not say."""
    said = headers.get("MS-Server-ActiveSync") or headers.get("X-MS-Server-ActiveSync") or ""
    found = re.match(r"([0-9]{1,3})\.", said.strip())
    if found is None:
        return None
    return next(((top, name) for below, top, name in _CEILINGS if int(found[1]) < below), None)


def judge_generation(
    subject: str, headers: http.client.HTTPMessage, min_protocol_version: str
) -> Iterator[Check]:
    """A warning where the server's devices all speak less than what is redirected."""
    found = ceiling_of(headers)
    if found is None or version(found[0]) >= version(min_protocol_version):
        return
    ceiling, name = found
    yield warning(
        subject,
        f"this is {name}, whose devices speak {ceiling} at most: with"
        f" exchange.min_protocol_version = {min_protocol_version} nothing but their OPTIONS is"
        " redirected",
        f'Write exchange.min_protocol_version = "{ceiling}" to redirect them too; docs/why.md says'
        " which clients are known to follow.",
    )
