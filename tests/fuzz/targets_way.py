"""The whole way of an exchange, without mitmproxy: wire in, journal line out."""

import asyncio
import gzip
import json
from functools import cache

from eas_redirect.activesync.authorization import identify, read_authorization
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import Headers, read_request
from eas_redirect.activesync.response import Evidence, read_answer
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import CacheSettings
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Policy, Redirect
from eas_redirect.policy.reasons import Reason
from eas_redirect.telemetry.ledger import Ledger
from eas_redirect.telemetry.record import FIELD_NAMES, WireFacts, exchange_record, journal_line
from tests.fuzz.target import target
from tests.fuzz.targets_activesync import ANSWER_TYPE, TARGET_TOKENS, WBXML_TOKENS, vectors
from tests.support import DATA

ALLOWED = "outlook.office365.com"
SECRET = "Basic YW5uYUBjb250b3NvLmV4YW1wbGU6aHVudGVyMi1CYXNpYy1QYXNzdzByZA=="
TARGETS = (
    b"/Microsoft-Server-ActiveSync?Cmd=FolderSync&User=anna&DeviceId=D1&DeviceType=Phone",
    b"/Microsoft-Server-ActiveSync?jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l",
)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _judge() -> Judge:
    directory = CachedDirectory(Snapshot.load(DATA / "migration.ldif"), CacheSettings())
    policy = Policy(allowed_hosts=(ALLOWED,))
    return Judge(policy=policy, directory=directory, mode="enforce")


@cache
def _ledger() -> Ledger:
    return Ledger(lambda: 0.0, max_devices=100)


def exchanges() -> list[bytes]:
    """Status, version, then target, Authorization, header and body, each on a line of its own."""
    return [
        b"\n".join((head, TARGETS[n % 2], SECRET.encode(), b"X-MS-Diagnostics: ok", body))
        for n, body in enumerate([*vectors(), gzip.compress(vectors()[0])])
        for head in (b"200 14.1", b"403 14.1", b"403 12.1", b"451 14.1")
    ]


@target(
    seeds=exchanges,
    tokens=(
        *TARGET_TOKENS,
        *WBXML_TOKENS,
        b"UserHasNoMailbox",
        b"403",
        b"\n",
        b"anna@contoso.example",
    ),
)
def fuzz_way(data: bytes) -> None:
    """Whatever comes over the wire has a verdict and one valid journal line that holds only known
    keys and no secret; a redirect leads to the one allowed host and rests on evidence."""
    head, target_, authorization, header, body = (data.split(b"\n", 4) + [b""] * 5)[:5]
    words = head.decode("latin-1").split(" ")
    status = int(words[0]) if words[0].isdecimal() and len(words[0]) == 3 else 200
    version = ("MS-ASProtocolVersion", words[-1])
    request = read_request("POST", target_.decode("utf-8", "surrogateescape"), (version,))
    credentials = read_authorization(authorization.decode("utf-8", "surrogateescape"))
    name, _, value = header.decode("utf-8", "surrogateescape").partition(": ")
    headers: Headers = (ANSWER_TYPE, (name, value))
    exchange = Exchange(
        request=request,
        credentials=credentials,
        identity=identify(request, credentials),
        answer=read_answer(request, status, headers, body),
        called_names=("mail.contoso.example",),
        challenged=True,
    )
    judgement = _loop().run_until_complete(_judge().judge(exchange))
    assert judgement.verdict.reason is not Reason.INTERNAL_ERROR, judgement.error_message
    if isinstance(judgement.verdict, Redirect):
        assert exchange.answer.evidence is not Evidence.NONE
        assert judgement.verdict.location == f"https://{ALLOWED}/Microsoft-Server-ActiveSync"
    record = exchange_record(judgement, WireFacts(started_s=1.0, ended_s=2.0, user_agent=value))
    _ledger().observe(record)
    line = journal_line(record)
    assert line.count(b"\n") == 1
    assert set(_keys(json.loads(line))) <= set(FIELD_NAMES)
    assert b"hunter2" not in line


def _keys(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    inner = ((f"{prefix}.{key}" if prefix else key, found) for key, found in value.items())
    return [name for key, found in inner for name in _keys(found, key)]
