"""One exchange: an EAS request with what came back, as the policy sees it. Pure values."""

from dataclasses import dataclass

from eas_redirect.activesync.authorization import Credentials, Logon
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Everything a decision may look at, free of mitmproxy and of secrets.

    `logon` is the chosen one (see `authorization.choose_logon`). `called_host` is the name by which
    the client called us: lower case, no port, no trailing dot; None when it named none or several.
    `further_names` are others that lead back here: the TLS server name, the upstream's.
    `client_address` is the device's own address (behind trusted proxies, the forwarded one).
    """

    request: EASRequest
    credentials: Credentials
    logon: Logon | None
    answer: Answer
    called_host: str | None = None
    further_names: tuple[str, ...] = ()
    client_address: str | None = None
