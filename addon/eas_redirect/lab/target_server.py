"""Where moved mailboxes went: an Exchange Online-like stand-in that remembers who arrived.

Exchange Online takes no passwords (`modern_hosts`): it answers Basic with 401 and asks for a token.
Other organizations' Exchange servers take Basic as ever.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass

from eas_redirect.activesync.request import is_eas_path, read_request
from eas_redirect.activesync.wbxml import WBXML_TYPE
from eas_redirect.autodiscover.phone_request import (
    NotForPhones,
    is_autodiscover,
    read_phone_request,
)
from eas_redirect.lab import legacy_exchange
from eas_redirect.lab.autodiscovery import INVALID_REQUEST, XML_TYPE, settings_answer
from eas_redirect.lab.http_server import Reply, Request
from eas_redirect.lab.legacy_exchange import LabAccounts, ordinary_answer

VERSIONS = "2.0,2.1,2.5,12.0,12.1,14.0,14.1,16.0,16.1"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who arrived, the name that was called, and the answer."""

    user: str
    host: str
    command: str
    status: int


class TargetServer:
    """The handler for a `Server`. `arrivals` grows with each EAS request that has a user. `back`
    is where it redirects accounts that it believes to be elsewhere (`sent_back`)."""

    def __init__(
        self, accounts: LabAccounts, modern_hosts: Iterable[str] = (), back: str | None = None
    ) -> None:
        self._accounts = accounts
        self._modern_hosts = frozenset(modern_hosts := tuple(modern_hosts))
        self._named = next(iter(modern_hosts), "")  # the server that Autodiscover tells
        self._back = back
        self.arrivals: list[Newcomer] = []

    async def __call__(self, request: Request) -> Reply:
        if is_autodiscover(request.method, request.target):
            return self._discover(request)
        if not is_eas_path(request.target):
            return Reply(404, (("Content-Type", "text/html"),), legacy_exchange.NOT_FOUND)
        host = (request.header("Host") or "").partition(":")[0].lower()
        eas = read_request(request.method, request.target, request.headers)
        command = "OPTIONS" if eas.method == "OPTIONS" else eas.command or "unknown"
        user = self._user(request, host)
        reply = self._answer(command) if user else self._ask_to_sign_in(host)
        if self._back and self._is_sent_back(request):
            reply = Reply(451, (("Cache-Control", "private"), ("X-MS-Location", self._back)))
        if request.header("Authorization"):
            self.arrivals.append(Newcomer(user or "", host, command, reply.status))
        return reply

    def _discover(self, request: Request) -> Reply:
        """As an old Exchange's Redirect sends phones here."""
        host = (request.header("Host") or "").partition(":")[0].lower()
        asked = read_phone_request(request.body, request.header("Content-Type") or "")
        if self._user(request, host) is None:
            return self._ask_to_sign_in(host)
        if isinstance(asked, NotForPhones):
            return Reply(200, (("Content-Type", XML_TYPE),), INVALID_REQUEST)
        url = f"https://{self._named}/Microsoft-Server-ActiveSync"
        body = settings_answer(asked.email_address, url)
        return Reply(200, (("Content-Type", XML_TYPE),), body)

    def _user(self, request: Request, host: str) -> str | None:
        authorization = request.header("Authorization")
        if host in self._modern_hosts:
            return token_user(authorization)
        account = self._accounts.authenticate(authorization)
        return account.user_principal_name if account else None

    def _is_sent_back(self, request: Request) -> bool:
        account = self._accounts.authenticate(request.header("Authorization"))
        return account is not None and account.sent_back

    def _answer(self, command: str) -> Reply:
        if command == "OPTIONS":
            return Reply(200, (("MS-ASProtocolVersions", VERSIONS),))
        body = ordinary_answer(command)
        if body is None:
            return Reply(501, (("Content-Type", "text/html"),), legacy_exchange.NOT_IMPLEMENTED)
        return Reply(200, (("Content-Type", WBXML_TYPE),) if body else (), body)

    def _ask_to_sign_in(self, host: str) -> Reply:
        modern = host in self._modern_hosts
        challenge = "Bearer" if modern else f'Basic realm="{host}"'
        headers = (("WWW-Authenticate", challenge), ("Content-Type", "text/html"))
        return Reply(401, headers, legacy_exchange.UNAUTHORIZED)


def make_token(user_principal_name: str) -> str:
    """A lab token: an unsigned JWT, good for nothing else (RFC 7519, section 6)."""
    parts = ({"alg": "none", "typ": "JWT"}, {"upn": user_principal_name})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    return ".".join(part.rstrip("=") for part in encoded) + "."


def token_user(authorization: str | None) -> str | None:
    """The user of a lab token in a Bearer header (RFC 6750)."""
    scheme, _, token = (authorization or "").partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    user = claims.get("upn") if isinstance(claims, dict) else None
    return user if isinstance(user, str) else None
