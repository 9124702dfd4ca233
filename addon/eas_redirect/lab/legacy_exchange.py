"""A legacy Exchange stand-in: answers EAS as Exchange 2007 to 2016 do.

Sources: MS-ASHTTP 2.2.1.1 (requests) and 2.2.2.1 (answers), MS-ASCMD 2.2.1 (commands and their root
elements) and 2.2.2 (common status codes), MS-ASWBXML 2.1.2.1 (code pages). It holds no mail: a user
with a mailbox has the default folders and nothing in them.
"""

import asyncio
import base64
import binascii
import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from eas_redirect.activesync.request import EASRequest, is_eas_path, read_request
from eas_redirect.activesync.wbxml import (
    WBXML_TYPE,
    Document,
    Element,
    Node,
    WBXMLError,
    element,
    parse,
    write,
)
from eas_redirect.autodiscover.phone_request import (
    NotForPhones,
    is_autodiscover,
    read_phone_request,
)
from eas_redirect.lab.autodiscovery import (
    INVALID_REQUEST,
    XML_TYPE,
    redirect_answer,
    settings_answer,
)
from eas_redirect.lab.http_server import HeaderFields, Reply, Request


class Treatment(StrEnum):
    """What Exchange does with an account's EAS requests."""

    MAILBOX = "mailbox"  # the mailbox is here: ordinary answers
    MOVED = "moved"  # UserHasNoMailbox, in the form that version and command call for
    LEAVING = "leaving"  # the mailbox is here until a Ping or Sync has waited; MOVED from then on
    UNTOLD = "untold"  # the same, but nothing tells a Ping that waits; MOVED after `leave`
    BLOCKED = "blocked"  # refused with a 403 that has nothing to do with mailboxes
    NEEDS_POLICY = "needs_policy"  # provisioning comes first: 142 in band, or 449
    BUSY = "busy"  # 503, as in the minutes after a move
    NATIVE_REDIRECT = "native_redirect"  # Exchange sends a 451 by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class LabAccount:
    """One account. It logs on as `DOMAIN\\name`, as its user principal name, or as `name`."""

    name: str
    domain: str = "CONTOSO"
    user_principal_name: str
    password: str
    behaviour: Treatment = Treatment.MAILBOX
    gzip: bool = False  # this account's answers come compressed, if the client accepts that
    sent_back: bool = False  # where the mailbox went, they believe it to be here
    new_address: str | None = None  # to which mail goes, where the mailbox has moved

    @property
    def logons(self) -> tuple[str, ...]:
        spellings = (f"{self.domain}\\{self.name}", self.user_principal_name, self.name)
        return tuple(spelling.lower() for spelling in spellings)


class LabAccounts:
    """The accounts by every spelling of their logon."""

    def __init__(self, accounts: Iterable[LabAccount]) -> None:
        self._by_logon = {logon: account for account in accounts for logon in account.logons}

    def find(self, logon: str) -> LabAccount | None:
        return self._by_logon.get(logon.lower())

    def authenticate(self, authorization: str | None) -> LabAccount | None:
        """The account whose name and password a Basic header holds (RFC 7617)."""
        logon, password = basic_credentials(authorization) or ("", "")
        account = self._by_logon.get(logon.lower())
        return account if account is not None and account.password == password else None


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """User and password of a Basic header, for the server that knows the passwords."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


_PAGE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">\r\n'
    "<html><head><title>{title}</title></head>\r\n"
    "<body><h1>Server Error</h1><h2>{title}</h2></body></html>\r\n"
)


def _page(title: str) -> bytes:
    return _PAGE.format(title=title).encode()


BAD_REQUEST = _page("400 - Bad Request")
UNAUTHORIZED = _page("401 - Unauthorized: Access is denied due to invalid credentials.")
FORBIDDEN = _page("403 - Forbidden: Access is denied.")
NOT_FOUND = _page("404 - File or directory not found.")
NEED_PROVISIONING = _page("449 - Need Provisioning")
NOT_IMPLEMENTED = _page("501 - Not Implemented")
UNAVAILABLE = _page("503 - Service Unavailable")
OWA = _page("Outlook Web App").replace(b"Server Error", b"Outlook Web App")


AIR_SYNC, MOVE, ITEM_ESTIMATE, FOLDERS, MEETING = 0, 5, 6, 7, 8
RESOLVE, VALIDATE, PING, PROVISION, SEARCH = 10, 11, 13, 14, 15
SETTINGS, ITEM_OPERATIONS, COMPOSE = 18, 20, 21

ROOTS: dict[str, int] = {
    "Sync": AIR_SYNC,
    "SendMail": COMPOSE,
    "SmartForward": COMPOSE,
    "SmartReply": COMPOSE,
    "FolderSync": FOLDERS,
    "FolderCreate": FOLDERS,
    "FolderDelete": FOLDERS,
    "FolderUpdate": FOLDERS,
    "MoveItems": MOVE,
    "GetItemEstimate": ITEM_ESTIMATE,
    "MeetingResponse": MEETING,
    "Search": SEARCH,
    "Settings": SETTINGS,
    "Ping": PING,
    "ItemOperations": ITEM_OPERATIONS,
    "Provision": PROVISION,
    "ResolveRecipients": RESOLVE,
    "ValidateCert": VALIDATE,
}
"""The commands whose answers have an XML root, with the code page that the root is in."""

EMPTY_MEANS_DONE = frozenset({"SendMail", "SmartForward", "SmartReply"})
FIRST_KEY, NEXT_KEY = "0", "1"  # SyncKey (MS-ASCMD 2.2.3.181)
SUCCESS = "1"
DEFAULT_FOLDERS = (("2", "Inbox"), ("3", "Drafts"), ("4", "Deleted Items"), ("5", "Sent Items"))
"""FolderHierarchy Type (MS-ASCMD 2.2.3.186.2) and name."""


def status_answer(command: str, status: int) -> bytes:
    """The answer that holds a global Status and nothing else."""
    return write(Document(_root(command, _text(ROOTS[command], "Status", str(status)))))


def ordinary_answer(command: str, request: bytes = b"") -> bytes | None:
    """What a user with an empty mailbox gets; None for a command that is not implemented."""
    if command in EMPTY_MEANS_DONE:
        return b""
    match command:
        case "FolderSync":
            known = NEXT_KEY in texts(request, FOLDERS, "SyncKey")
            return write(Document(_folders(() if known else DEFAULT_FOLDERS)))
        case "Sync":
            return _sync(request)
        case "Provision":
            return write(Document(_policy()))
        case _ if command in ROOTS:
            return status_answer(command, 1)  # To a Ping: the heartbeat expired without changes.
        case _:
            return None


def heartbeat_s(request: bytes) -> float:
    """How long a Ping asks to wait (MS-ASCMD 2.2.3.79.1); 0 if it does not say."""
    interval = next(iter(texts(request, PING, "HeartbeatInterval")), "0")
    return float(interval) if interval.isdecimal() else 0.0


def texts(request: bytes, page: int, name: str) -> list[str]:
    """The texts of all elements with this name in a request's body; none if it is malformed."""
    try:
        root = parse(request).root
    except WBXMLError:
        return []
    return [e.text for e in _walk(root) if (e.page, e.name) == (page, name)]


def _walk(element: Element) -> Iterator[Element]:
    yield element
    for child in element.elements:
        yield from _walk(child)


def _sync(request: bytes) -> bytes:
    """A folder's first Sync gets its key; later ones get an empty body, since nothing changes."""
    keys = texts(request, AIR_SYNC, "SyncKey")
    folders = texts(request, AIR_SYNC, "CollectionId")
    first = [folder for folder, key in zip(folders, keys, strict=False) if key == FIRST_KEY]
    if not first:
        return b""
    collections = [
        element(
            AIR_SYNC,
            "Collection",
            _text(AIR_SYNC, "SyncKey", NEXT_KEY),
            _text(AIR_SYNC, "CollectionId", folder),
            _text(AIR_SYNC, "Status", SUCCESS),
        )
        for folder in first
    ]
    return write(Document(_root("Sync", element(AIR_SYNC, "Collections", *collections))))


def _folders(folders: Sequence[tuple[str, str]]) -> Element:
    added = [
        element(
            FOLDERS,
            "Add",
            _text(FOLDERS, "ServerId", str(number)),
            _text(FOLDERS, "ParentId", "0"),
            _text(FOLDERS, "DisplayName", name),
            _text(FOLDERS, "Type", kind),
        )
        for number, (kind, name) in enumerate(folders, start=1)
    ]
    count = _text(FOLDERS, "Count", str(len(added)))
    return _root(
        "FolderSync",
        _text(FOLDERS, "Status", SUCCESS),
        _text(FOLDERS, "SyncKey", NEXT_KEY),
        element(FOLDERS, "Changes", count, *added),
    )


def _policy() -> Element:
    """A policy that asks for nothing (MS-ASPROV 2.2.2)."""
    policy = element(
        PROVISION,
        "Policy",
        _text(PROVISION, "PolicyType", "MS-EAS-Provisioning-WBXML"),
        _text(PROVISION, "Status", SUCCESS),
        _text(PROVISION, "PolicyKey", "1307199584"),
        element(PROVISION, "Data", element(PROVISION, "EASProvisionDoc")),
    )
    status = _text(PROVISION, "Status", SUCCESS)
    return _root("Provision", status, element(PROVISION, "Policies", policy))


def _root(command: str, *children: Node) -> Element:
    return element(ROOTS[command], command, *children)


def _text(page: int, name: str, text: str) -> Element:
    return element(page, name, text)


LONGEST_PING_S = 3540.0  # MS-ASCMD 2.2.3.79.1
USER_HAS_NO_MAILBOX = 123  # MS-ASCMD 2.2.2
DEVICE_NOT_PROVISIONED = 142


@dataclass(frozen=True, slots=True)
class Product:
    """What one Exchange version says about itself."""

    name: str
    server_version: str  # MS-Server-ActiveSync
    protocol_versions: str
    iis: str

    def speaks(self, version: str | None) -> bool:
        return version in self.protocol_versions.split(",")


class ProductVersion(Enum):
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
    `on_wait` is told the name of an UNTOLD account whose Ping begins to wait.
    `wait_s` is how long a Ping or a Sync of a `LEAVING` account hangs before it ends;
    `error_delay_s` how long error answers are held (Exchange 2013: 20 s by default).
    `diagnostics` writes X-MS-Diagnostics, as an administrator can ask Exchange 2013 to do.
    `location` is where Exchange itself redirects `NATIVE_REDIRECT` accounts.
    """

    def __init__(
        self,
        accounts: Iterable[LabAccount],
        *,
        version: ProductVersion = ProductVersion.EXCHANGE_2013,
        host: str = "mail.contoso.example",
        longest_ping_s: float = 0.0,
        wait_s: float = 1.0,
        error_delay_s: float = 0.0,
        diagnostics: bool = False,
        location: str = "https://eas.fabrikam.example/Microsoft-Server-ActiveSync",
        on_wait: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._accounts = LabAccounts(accounts)
        self._product = version.value
        self._host = host
        self._longest_ping_s = longest_ping_s
        self._wait_s = wait_s
        self._error_delay_s = error_delay_s
        self._diagnostics = diagnostics
        self._location = location
        self._on_wait = on_wait
        self._gone: set[str] = set()  # LEAVING and UNTOLD accounts whose mailbox has left

    def leave(self, name: str) -> None:
        """The mailbox of an UNTOLD account goes away. Thread-safe."""
        self._gone.add(name)

    async def __call__(self, request: Request) -> Reply:
        if is_autodiscover(request.method, request.target):
            return self._discover(request)
        if not is_eas_path(request.target):
            return self._web_page(request)
        account = self._accounts.authenticate(request.header("Authorization"))
        if account is None:
            return self._refuse_logon()
        eas = read_request(request.method, request.target, request.headers)
        reply = await self._answer(account, eas, request.body)
        return self._compress(request, account, reply)

    async def _answer(self, account: LabAccount, eas: EASRequest, body: bytes) -> Reply:
        is_here = account.name not in self._gone
        if account.behaviour in (Treatment.LEAVING, Treatment.UNTOLD) and is_here:
            return await self._answer_until_gone(account, eas, body)
        reply = self._behave(account, eas, body)
        if eas.command == "Ping" and account.behaviour is Treatment.MAILBOX:
            await asyncio.sleep(min(heartbeat_s(body), self._longest_ping_s))
        if reply.status >= 400 or self._has_moved(account):
            await asyncio.sleep(self._error_delay_s)
        return reply

    async def _answer_until_gone(self, account: LabAccount, eas: EASRequest, body: bytes) -> Reply:
        """A hanging Ping or Sync ends with 123 when the mailbox goes away, except UNTOLD ones."""
        if eas.command not in ("Ping", "Sync"):
            return self._ordinary(eas, body)
        if account.behaviour is Treatment.UNTOLD:
            self._on_wait(account.name)
            await asyncio.sleep(min(heartbeat_s(body) or LONGEST_PING_S, self._longest_ping_s))
            return self._ordinary(eas, body)
        await asyncio.sleep(self._wait_s)
        self._gone.add(account.name)
        return self._no_mailbox(eas)

    @staticmethod
    def _has_moved(account: LabAccount) -> bool:
        return account.behaviour in (Treatment.MOVED, Treatment.LEAVING, Treatment.UNTOLD)

    def _behave(self, account: LabAccount, eas: EASRequest, body: bytes) -> Reply:
        match account.behaviour:
            case Treatment.MAILBOX:
                return self._ordinary(eas, body)
            case Treatment.MOVED | Treatment.LEAVING | Treatment.UNTOLD:
                return self._no_mailbox(eas)
            case Treatment.BLOCKED:
                return self._error(403, FORBIDDEN)
            case Treatment.NEEDS_POLICY:
                return self._needs_policy(eas, body)
            case Treatment.BUSY:
                return self._error(503, UNAVAILABLE)
            case Treatment.NATIVE_REDIRECT:
                return self._redirect()

    def _ordinary(self, eas: EASRequest, body: bytes) -> Reply:
        if eas.method == "OPTIONS":
            return Reply(200, (*self._headers(), *self._versions()))
        if not self._product.speaks(eas.protocol_version):
            return self._error(400, BAD_REQUEST)
        answer = ordinary_answer(eas.command or "", body)
        if answer is None:
            return self._error(501, NOT_IMPLEMENTED)
        return self._wbxml(answer) if answer else Reply(200, self._headers())

    def _no_mailbox(self, eas: EASRequest) -> Reply:
        """In band at 14.0 and newer for a command with an XML root; else 403."""
        if self._in_band(eas):
            return self._wbxml(status_answer(eas.command or "", USER_HAS_NO_MAILBOX))
        reply = self._error(403, FORBIDDEN)
        if self._diagnostics:
            note = ("X-MS-Diagnostics", "UserHasNoMailbox")
            reply = replace(reply, headers=(*reply.headers, note))
        return reply

    def _needs_policy(self, eas: EASRequest, body: bytes) -> Reply:
        if eas.has_policy_key or eas.method == "OPTIONS" or eas.command == "Provision":
            return self._ordinary(eas, body)
        if self._in_band(eas):
            return self._wbxml(status_answer(eas.command or "", DEVICE_NOT_PROVISIONED))
        return self._error(449, NEED_PROVISIONING)

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
        return Reply(401, (html, challenge, *self._headers()), UNAUTHORIZED)

    def _web_page(self, request: Request) -> Reply:
        """What is not EAS: Outlook on the web, in one page."""
        found = request.path.lower().startswith("/owa")
        headers = (("Content-Type", "text/html"), *self._headers())
        return Reply(200 if found else 404, headers, OWA if found else NOT_FOUND)

    def _discover(self, request: Request) -> Reply:
        """Autodiscover's answer is about the address that is asked for."""
        if self._accounts.authenticate(request.header("Authorization")) is None:
            return self._refuse_logon()
        headers = (("Cache-Control", "private"), ("Content-Type", XML_TYPE), *self._headers())
        asked = read_phone_request(request.body, request.header("Content-Type") or "")
        if isinstance(asked, NotForPhones):
            return Reply(200, headers, INVALID_REQUEST)
        address = asked.email_address
        account = self._accounts.find(address)
        new = account.new_address if account is not None else None
        here = f"https://{self._host}/Microsoft-Server-ActiveSync"
        body = redirect_answer(address, new) if new else settings_answer(address, here)
        return Reply(200, headers, body)

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
    def _compress(request: Request, account: LabAccount, reply: Reply) -> Reply:
        accepts = "gzip" in (request.header("Accept-Encoding") or "").lower()
        if not (account.gzip and accepts and reply.body and isinstance(reply.body, bytes)):
            return reply
        encoding = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return replace(reply, headers=(*reply.headers, *encoding), body=gzip.compress(reply.body))
