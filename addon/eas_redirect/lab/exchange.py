"""A legacy Exchange stand-in: answers EAS as Exchange 2007 to 2016 do.

Sources: MS-ASHTTP 2.2.1.1 (requests) and 2.2.2.1 (answers), MS-ASCMD 2.2.2 (common status codes).
It holds no mail: a user with a mailbox has the default folders and nothing in them.
"""

import asyncio
import gzip
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from eas_redirect.activesync.request import EASRequest, is_eas_path, read_request
from eas_redirect.lab import pages
from eas_redirect.lab.accounts import Account, Accounts, Behaviour
from eas_redirect.lab.answers import ROOTS, heartbeat_s, ordinary_answer, status_answer
from eas_redirect.lab.message import HeaderFields, Reply, Request

USER_HAS_NO_MAILBOX = 123  # MS-ASCMD 2.2.2
DEVICE_NOT_PROVISIONED = 142
WBXML_TYPE = "application/vnd.ms-sync.wbxml"


@dataclass(frozen=True, slots=True)
class Product:
    """What one Exchange version says about itself."""

    name: str
    server_version: str  # MS-Server-ActiveSync
    protocol_versions: str
    iis: str

    def speaks(self, version: str | None) -> bool:
        return version in self.protocol_versions.split(",")


class Version(Enum):
    """The Exchange versions of the lab."""

    EXCHANGE_2007 = Product(
        "Exchange 2007", "8.3", "1.0,2.0,2.1,2.5,12.0,12.1", "Microsoft-IIS/7.0"
    )
    EXCHANGE_2010 = Product(
        "Exchange 2010", "14.3", "2.0,2.1,2.5,12.0,12.1,14.0,14.1", "Microsoft-IIS/7.5"
    )
    EXCHANGE_2013 = Product(
        "Exchange 2013", "15.0", "2.0,2.1,2.5,12.0,12.1,14.0,14.1", "Microsoft-IIS/8.5"
    )
    EXCHANGE_2016 = Product(
        "Exchange 2016", "15.1", "2.0,2.1,2.5,12.0,12.1,14.0,14.1,16.0,16.1", "Microsoft-IIS/10.0"
    )


class LegacyExchange:
    """The handler for a `server.Server`.

    `longest_ping_s` bounds the Pings of accounts with a mailbox: 0 answers at once, for tests.
    `wait_s` is how long a Ping or a Sync of a `LEAVING` account hangs before it ends;
    `error_delay_s` how long error answers are held (Exchange 2013: 20 s by default).
    `diagnostics` writes X-MS-Diagnostics, as an administrator can ask Exchange 2013 to do.
    `location` is where Exchange itself redirects `NATIVE_REDIRECT` accounts.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        version: Version = Version.EXCHANGE_2013,
        host: str = "mail.contoso.example",
        longest_ping_s: float = 0.0,
        wait_s: float = 1.0,
        error_delay_s: float = 0.0,
        diagnostics: bool = False,
        location: str = "https://eas.fabrikam.example/Microsoft-Server-ActiveSync",
    ) -> None:
        self._accounts = Accounts(accounts)
        self._product = version.value
        self._host = host
        self._longest_ping_s = longest_ping_s
        self._wait_s = wait_s
        self._error_delay_s = error_delay_s
        self._diagnostics = diagnostics
        self._location = location
        self._gone: set[str] = set()  # LEAVING accounts whose mailbox has left

    async def __call__(self, request: Request) -> Reply:
        if not is_eas_path(request.target):
            return self._web_page(request)
        account = self._accounts.authenticate(request.header("Authorization"))
        if account is None:
            return self._refuse_logon()
        eas = read_request(request.method, request.target, request.headers)
        reply = await self._answer(account, eas, request.body)
        return self._compress(request, account, reply)

    async def _answer(self, account: Account, eas: EASRequest, body: bytes) -> Reply:
        if account.behaviour is Behaviour.LEAVING and account.name not in self._gone:
            return await self._answer_until_gone(account, eas, body)
        reply = self._behave(account, eas, body)
        if eas.command == "Ping" and account.behaviour is Behaviour.MAILBOX:
            await asyncio.sleep(min(heartbeat_s(body), self._longest_ping_s))
        if reply.status >= 400 or account.behaviour in (Behaviour.MOVED, Behaviour.LEAVING):
            await asyncio.sleep(self._error_delay_s)
        return reply

    async def _answer_until_gone(self, account: Account, eas: EASRequest, body: bytes) -> Reply:
        """A hanging Ping or Sync ends with 123 when the mailbox goes away."""
        if eas.command not in ("Ping", "Sync"):
            return self._ordinary(eas, body)
        await asyncio.sleep(self._wait_s)
        self._gone.add(account.name)
        return self._no_mailbox(eas)

    def _behave(self, account: Account, eas: EASRequest, body: bytes) -> Reply:
        match account.behaviour:
            case Behaviour.MAILBOX:
                return self._ordinary(eas, body)
            case Behaviour.MOVED | Behaviour.LEAVING:
                return self._no_mailbox(eas)
            case Behaviour.BLOCKED:
                return self._error(403, pages.FORBIDDEN)
            case Behaviour.NEEDS_POLICY:
                return self._needs_policy(eas, body)
            case Behaviour.BUSY:
                return self._error(503, pages.UNAVAILABLE)
            case Behaviour.NATIVE_REDIRECT:
                return self._redirect()

    def _ordinary(self, eas: EASRequest, body: bytes) -> Reply:
        if eas.method == "OPTIONS":
            return Reply(200, (*self._headers(), *self._versions()))
        if not self._product.speaks(eas.protocol_version):
            return self._error(400, pages.BAD_REQUEST)
        answer = ordinary_answer(eas.command or "", body)
        if answer is None:
            return self._error(501, pages.NOT_IMPLEMENTED)
        return self._wbxml(answer) if answer else Reply(200, self._headers())

    def _no_mailbox(self, eas: EASRequest) -> Reply:
        """In band at 14.0 and newer for a command with an XML root; else 403."""
        if self._in_band(eas):
            return self._wbxml(status_answer(eas.command or "", USER_HAS_NO_MAILBOX))
        reply = self._error(403, pages.FORBIDDEN)
        if self._diagnostics:
            note = ("X-MS-Diagnostics", "UserHasNoMailbox")
            reply = replace(reply, headers=(*reply.headers, note))
        return reply

    def _needs_policy(self, eas: EASRequest, body: bytes) -> Reply:
        if eas.has_policy_key or eas.method == "OPTIONS" or eas.command == "Provision":
            return self._ordinary(eas, body)
        if self._in_band(eas):
            return self._wbxml(status_answer(eas.command or "", DEVICE_NOT_PROVISIONED))
        return self._error(449, pages.NEED_PROVISIONING)

    def _in_band(self, eas: EASRequest) -> bool:
        recent = eas.protocol_version in ("14.0", "14.1", "16.0", "16.1")
        known = self._product.speaks(eas.protocol_version)
        return eas.method == "POST" and recent and known and eas.command in ROOTS

    def _redirect(self) -> Reply:
        location = ("X-MS-Location", self._location)
        return Reply(451, (("Cache-Control", "private"), location, *self._headers()))

    def _refuse_logon(self) -> Reply:
        challenge = ("WWW-Authenticate", f'Basic realm="{self._host}"')
        html = ("Content-Type", "text/html")
        return Reply(401, (html, challenge, *self._headers()), pages.UNAUTHORIZED)

    def _web_page(self, request: Request) -> Reply:
        """What is not EAS: Outlook on the web, in one page."""
        found = request.path.lower().startswith("/owa")
        headers = (("Content-Type", "text/html"), *self._headers())
        return Reply(200 if found else 404, headers, pages.OWA if found else pages.NOT_FOUND)

    def _error(self, status: int, page: bytes) -> Reply:
        headers = (("Cache-Control", "private"), ("Content-Type", "text/html"), *self._headers())
        return Reply(status, headers, page)

    def _wbxml(self, body: bytes) -> Reply:
        headers = (("Cache-Control", "private"), ("Content-Type", WBXML_TYPE), *self._headers())
        return Reply(200, headers, body)

    def _headers(self) -> HeaderFields:
        return (
            ("Server", self._product.iis),
            ("MS-Server-ActiveSync", self._product.server_version),
            ("X-Powered-By", "ASP.NET"),
        )

    def _versions(self) -> HeaderFields:
        commands = ",".join((*ROOTS, "GetAttachment"))
        return (
            ("MS-ASProtocolVersions", self._product.protocol_versions),
            ("MS-ASProtocolCommands", commands),
        )

    @staticmethod
    def _compress(request: Request, account: Account, reply: Reply) -> Reply:
        accepts = "gzip" in (request.header("Accept-Encoding") or "").lower()
        if not (account.gzip and accepts and reply.body and isinstance(reply.body, bytes)):
            return reply
        encoding = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return replace(reply, headers=(*reply.headers, *encoding), body=gzip.compress(reply.body))
