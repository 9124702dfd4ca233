"""One exchange: an EAS request with what came back, as the policy sees it. Pure values."""

from dataclasses import dataclass

from eas_redirect.activesync.authorization import Credentials, Identity, Logon
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Everything a decision may look at, free of any proxy's own values and of secrets.

    `identity` is who asks (see `authorization.identify`). `called_names` are the names by which the
    client called us: of the request, and of trusted proxies in front; lower case, no port, no
    trailing dot; none when the request names several. `further_names` are others that lead back
    here: the TLS server name, the upstream's. `client_address` is the device's own address (behind
    trusted proxies, the forwarded one). `challenged`: the server is known to ask for a logon where
    a request brings none, so that what it answers otherwise is about a logon that it has checked.
    `is_autodiscover`: the request asks Autodiscover, before the device has chosen a server.
    """

    request: EASRequest
    credentials: Credentials
    identity: Identity
    answer: Answer
    called_names: tuple[str, ...] = ()
    further_names: tuple[str, ...] = ()
    client_address: str | None = None
    challenged: bool = False
    is_autodiscover: bool = False

    @property
    def logon(self) -> Logon | None:
        """Whoever is named, for records to show; `identity` says whether it may be relied on."""
        return self.identity.logon
