"""The Exchange stand-in behaves as the versions that it stands for."""

import gzip
import time

import pytest

from eas_redirect.activesync import wbxml
from eas_redirect.activesync.request import read_request
from eas_redirect.activesync.response import Evidence, read_answer
from eas_redirect.lab.http_server import Reply, Request
from eas_redirect.lab.legacy_exchange import (
    ROOTS,
    LabAccount,
    LegacyExchange,
    ProductVersion,
    Treatment,
    heartbeat_s,
    ordinary_answer,
    status_answer,
    texts,
)
from eas_redirect.lab.phone import DeviceRequest, Phone, base64_query, basic
from tests.activesync.vectors import VECTORS


def account(behaviour: Treatment, *, gzip: bool = False) -> LabAccount:
    return LabAccount(
        name="anna",
        user_principal_name="anna@contoso.example",
        password="secret: with a colon",
        behaviour=behaviour,
        gzip=gzip,
    )


def device(logon: str = "anna@contoso.example", password: str | None = None) -> Phone:
    authorization = basic(logon, password or "secret: with a colon")
    return Phone("ABC1", "iPhone", "Apple-iPhone12C1/2202.55", logon, authorization)


async def ask(
    exchange: LegacyExchange,
    asked: DeviceRequest,
    who: Phone | None = None,
    policy_key: int | None = None,
) -> Reply:
    who = who or device()
    return await exchange(Request(asked.method, who.target(asked), who.headers(asked)))


FOLDERS, PING, OPTIONS = (
    DeviceRequest(),
    DeviceRequest("Ping"),
    DeviceRequest("OPTIONS", query="none"),
)


@pytest.mark.parametrize(
    ("version", "asked", "status", "in_band"),
    [
        (ProductVersion.EXCHANGE_2013, DeviceRequest("FolderSync", "14.1"), 200, True),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("Sync", "14.0", "base64"), 200, True),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("SendMail", "14.1"), 200, True),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("GetAttachment", "14.1"), 403, False),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("Nonsense", "14.1"), 403, False),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("FolderSync", "16.1"), 403, False),
        (ProductVersion.EXCHANGE_2013, DeviceRequest("FolderSync", "12.1"), 403, False),
        (ProductVersion.EXCHANGE_2013, OPTIONS, 403, False),
        (ProductVersion.EXCHANGE_2016, DeviceRequest("FolderSync", "16.1"), 200, True),
        (ProductVersion.EXCHANGE_2010, DeviceRequest("Ping", "14.1"), 200, True),
        (ProductVersion.EXCHANGE_2010, DeviceRequest("Ping", "2.5"), 403, False),
        (ProductVersion.EXCHANGE_2007, DeviceRequest("FolderSync", "12.1"), 403, False),
        (ProductVersion.EXCHANGE_2007, DeviceRequest("FolderSync", "14.1"), 403, False),
        (ProductVersion.EXCHANGE_2007, OPTIONS, 403, False),
    ],
)
async def test_no_mailbox_in_the_form_of_version_and_command(
    version: ProductVersion, asked: DeviceRequest, status: int, in_band: bool
) -> None:
    reply = await ask(LegacyExchange([account(Treatment.MOVED)], version=version), asked)
    assert reply.status == status
    who = device()
    request = read_request(asked.method, who.target(asked), who.headers(asked))
    assert isinstance(reply.body, bytes)
    answer = read_answer(request, reply.status, reply.headers, reply.body)
    assert answer.evidence is (Evidence.CERTAIN if in_band else Evidence.WEAK)


@pytest.mark.parametrize("command", ROOTS)
def test_the_answer_123_is_the_known_bytes(command: str) -> None:
    assert status_answer(command, 123) == VECTORS[command]


@pytest.mark.parametrize("command", ROOTS)
async def test_a_mailbox_answers_every_command(command: str) -> None:
    exchange = LegacyExchange([account(Treatment.MAILBOX)])
    reply = await ask(exchange, DeviceRequest(command, "14.1"))
    assert reply.status == 200
    assert reply.body == ordinary_answer(command)
    if reply.body:
        assert isinstance(reply.body, bytes)
        assert wbxml.parse(reply.body).root.name == command


@pytest.mark.parametrize(
    ("behaviour", "asked", "status"),
    [
        (Treatment.BLOCKED, FOLDERS, 403),
        (Treatment.BUSY, FOLDERS, 503),
        (Treatment.NATIVE_REDIRECT, FOLDERS, 451),
        (Treatment.NEEDS_POLICY, FOLDERS, 200),
        (Treatment.NEEDS_POLICY, DeviceRequest(version="12.1"), 449),
        (Treatment.NEEDS_POLICY, DeviceRequest("Provision"), 200),
        (Treatment.MAILBOX, OPTIONS, 200),
        (Treatment.MAILBOX, DeviceRequest("GetHierarchy"), 501),
        (Treatment.MAILBOX, DeviceRequest(version="16.1"), 400),
    ],
)
async def test_other_answers(behaviour: Treatment, asked: DeviceRequest, status: int) -> None:
    reply = await ask(LegacyExchange([account(behaviour)]), asked)
    assert reply.status == status
    assert (reply.header("X-MS-Location") is not None) == (status == 451)


async def test_a_policy_key_opens_the_mailbox() -> None:
    exchange = LegacyExchange([account(Treatment.NEEDS_POLICY)])
    before = await ask(exchange, FOLDERS)
    assert before.body == status_answer("FolderSync", 142)
    after = await ask(exchange, DeviceRequest(policy_key=1307199584))
    assert after.body == ordinary_answer("FolderSync")


async def test_a_mailbox_that_leaves_ends_the_ping_and_is_gone() -> None:
    exchange = LegacyExchange([account(Treatment.LEAVING)], wait_s=0.2)
    assert (await ask(exchange, FOLDERS)).body == ordinary_answer("FolderSync")
    started = time.monotonic()
    assert (await ask(exchange, PING)).body == status_answer("Ping", 123)
    assert time.monotonic() - started >= 0.2
    assert (await ask(exchange, FOLDERS)).body == status_answer("FolderSync", 123)


def request_body(root: wbxml.Element) -> bytes:
    return wbxml.write(wbxml.Document(root))


async def post(exchange: LegacyExchange, command: str, root: wbxml.Element) -> wbxml.Element | None:
    """The root of the answer to a request with a body; None for an empty answer."""
    asked, who = DeviceRequest(command), device()
    body = request_body(root)
    reply = await exchange(Request("POST", who.target(asked), who.headers(asked), body))
    assert reply.status == 200
    assert isinstance(reply.body, bytes)
    return wbxml.parse(reply.body).root if reply.body else None


@pytest.mark.parametrize(("key", "count"), [("0", "4"), ("1", "0")])
async def test_folders_come_once(key: str, count: str) -> None:
    exchange = LegacyExchange([account(Treatment.MAILBOX)])
    asked = wbxml.element(7, "FolderSync", wbxml.element(7, "SyncKey", key))
    answer = await post(exchange, "FolderSync", asked)
    assert answer is not None
    assert texts(request_body(answer), 7, "Count") == [count]


@pytest.mark.parametrize(("key", "given"), [("0", ["1"]), ("1", None)])
async def test_a_folder_gets_its_first_key_and_then_hears_of_no_changes(
    key: str, given: list[str] | None
) -> None:
    collection = wbxml.element(
        0, "Collection", wbxml.element(0, "SyncKey", key), wbxml.element(0, "CollectionId", "5")
    )
    asked = wbxml.element(0, "Sync", wbxml.element(0, "Collections", collection))
    answer = await post(LegacyExchange([account(Treatment.MAILBOX)]), "Sync", asked)
    assert (answer and texts(request_body(answer), 0, "SyncKey")) == given
    assert (answer and texts(request_body(answer), 0, "CollectionId")) == (given and ["5"])


async def test_a_ping_waits_as_long_as_it_asks_within_bounds() -> None:
    exchange = LegacyExchange([account(Treatment.MAILBOX)], longest_ping_s=0.2)
    started = time.monotonic()
    heartbeat = wbxml.element(13, "HeartbeatInterval", "3540")
    await post(exchange, "Ping", wbxml.element(13, "Ping", heartbeat))
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("body", [b"", b"\x03\x01", b"nonsense"])
def test_a_body_that_cannot_be_read_asks_for_nothing(body: bytes) -> None:
    assert heartbeat_s(body) == 0
    assert ordinary_answer("Sync", body) == b""


async def test_error_answers_can_be_held() -> None:
    exchange = LegacyExchange([account(Treatment.MOVED)], error_delay_s=0.2)
    started = time.monotonic()
    await ask(exchange, FOLDERS)
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    ("logon", "password", "status"),
    [
        ("anna@contoso.example", None, 200),
        ("CONTOSO\\anna", None, 200),
        ("contoso\\ANNA", None, 200),
        ("anna", None, 200),
        ("anna", "wrong", 401),
        ("nobody", None, 401),
    ],
)
async def test_who_may_log_on(logon: str, password: str | None, status: int) -> None:
    exchange = LegacyExchange([account(Treatment.MAILBOX)])
    reply = await ask(exchange, FOLDERS, device(logon, password))
    assert reply.status == status


@pytest.mark.parametrize("value", [None, "", "Basic", "Basic !", "Basic YQ==", "Bearer abc"])
async def test_without_readable_credentials_it_is_401(value: str | None) -> None:
    headers = () if value is None else (("Authorization", value),)
    exchange = LegacyExchange([account(Treatment.MAILBOX)])
    reply = await exchange(Request("OPTIONS", "/Microsoft-Server-ActiveSync", headers))
    assert reply.status == 401
    assert reply.header("WWW-Authenticate") == 'Basic realm="mail.contoso.example"'
    assert reply.header("MS-Server-ActiveSync") == "15.0"


async def test_gzip_only_for_clients_that_accept_it() -> None:
    exchange = LegacyExchange([account(Treatment.MOVED, gzip=True)])
    who = device()
    accepted = await ask(exchange, FOLDERS, who)
    assert isinstance(accepted.body, bytes)
    assert accepted.header("Content-Encoding") == "gzip"
    assert gzip.decompress(accepted.body) == VECTORS["FolderSync"]
    headers = tuple(h for h in who.headers(FOLDERS) if h[0] != "Accept-Encoding")
    plain = await exchange(Request("POST", who.target(FOLDERS), headers))
    assert plain.body == VECTORS["FolderSync"]


async def test_diagnostics_on_request() -> None:
    exchange = LegacyExchange([account(Treatment.MOVED)], diagnostics=True)
    reply = await ask(exchange, OPTIONS)
    assert reply.header("X-MS-Diagnostics") == "UserHasNoMailbox"


async def test_options_tells_what_the_version_speaks() -> None:
    versions = {}
    for version in ProductVersion:
        exchange = LegacyExchange([account(Treatment.MAILBOX)], version=version)
        reply = await ask(exchange, OPTIONS)
        versions[version.value.name] = (reply.header("MS-ASProtocolVersions") or "").split(",")[-1]
    assert versions == {
        "Exchange 2007": "12.1",
        "Exchange 2010": "14.1",
        "Exchange 2013": "14.1",
        "Exchange 2016": "16.1",
    }


@pytest.mark.parametrize(("path", "status"), [("/owa/", 200), ("/nothing", 404)])
async def test_what_is_not_eas_is_a_web_page(path: str, status: int) -> None:
    reply = await LegacyExchange([])(Request("GET", path, ()))
    assert (reply.status, reply.header("Content-Type")) == (status, "text/html")


def test_a_base64_query_says_what_the_device_said() -> None:
    asked = DeviceRequest("Sync", "14.1", "base64", policy_key=3)
    request = read_request(
        "POST", f"/Microsoft-Server-ActiveSync?{base64_query(device(), asked)}", ()
    )
    assert request.problem is None
    said = (request.command, request.protocol_version, request.device_id, request.device_type)
    assert said == ("Sync", "14.1", "ABC1", "iPhone")
    assert (request.user, request.has_policy_key) == ("anna@contoso.example", True)
