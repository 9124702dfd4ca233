"""Targets for what phones and Exchange send of Autodiscover."""

import asyncio
import json
from base64 import b64encode
from functools import cache

from mitmproxy.contentviews import Metadata

from eas_redirect.activesync.authorization import read_authorization
from eas_redirect.autodiscover.answer import (
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
    read_discovery_answer,
    write_settings,
)
from eas_redirect.autodiscover.document import MAX_BYTES
from eas_redirect.autodiscover.phone_request import PhoneRequest, read_phone_request
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import CacheSettings
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.decision import Pass, Policy
from eas_redirect.policy.discovery import discovery
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import DiscoveryPolicy
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact_body import redacted_xml
from eas_redirect.telemetry.record import WireFacts, exchange_record, journal_line
from eas_redirect.view.contentview import AutodiscoverContentview
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    LOCATION,
    OUTLOOK_ANSWER,
    OUTLOOK_REQUEST,
    USER,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.fuzz.target import target
from tests.support import DATA

VIEW = AutodiscoverContentview()
ALLOWED = "outlook.office365.com"
SEPARATOR = b"\n--\n"
TOKENS = (
    b"<!DOCTYPE a>",
    b"&#0;",
    b"&amp;",
    b"<![CDATA[",
    b"]]>",
    b'xmlns="',
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'encoding="utf-16"',
    b"<Redirect>",
    b"</Action>",
)


@target(
    seeds=lambda: [
        text.encode() for text in (request(), OUTLOOK_REQUEST, DOCTYPE + request("&x;"))
    ],
    tokens=TOKENS,
)
def fuzz_autodiscover_request(data: bytes) -> None:
    """Any bytes are a phone's question with one printable address, or not for phones."""
    read = read_phone_request(data)
    if isinstance(read, PhoneRequest):
        assert read.email_address.isprintable()
        assert len(data) <= MAX_BYTES


@target(
    seeds=lambda: [
        text.encode()
        for text in (
            answer(USER + redirect()),
            answer(USER + settings()),
            answer(USER + error()),
            FRAMEWORK_ERROR,
            OUTLOOK_ANSWER,
        )
    ],
    tokens=TOKENS,
)
def fuzz_autodiscover_answer(data: bytes) -> None:
    """Any bytes are evidence or none; whoever is named in them can be written again, and what is
    written is Settings, which are no evidence."""
    read = read_discovery_answer(200, "text/xml", "", data)
    if isinstance(read, RedirectAddress):
        assert read.address.strip() == read.address != ""
        ours = read_discovery_answer(200, "text/xml", "", write_settings(LOCATION, read.user))
        assert not isinstance(ours, RedirectAddress)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _judge() -> Judge:
    directory = CachedDirectory(Snapshot.load(DATA / "migration.ldif"), CacheSettings())
    told = DiscoveryPolicy(phones="listed", listed=("Android",), weak=True)
    policy = Policy(allowed_hosts=(ALLOWED,), discovery=told)
    return Judge(policy=policy, directory=directory, mode="enforce")


def questions() -> list[bytes]:
    """Status and logon, then the question, then the answer, set apart by lines of hyphens."""
    moved = redirect("anna@contoso.mail.onmicrosoft.example")
    said = (moved, error(), settings(), redirect("anna@other.example"))
    logons = ("anna@contoso.example", "anna", "CONTOSO\\anna", "bert@contoso.example", "")
    asked = [request(name).encode() for name in ("anna@contoso.example", "anna")]
    asked.append(request("anna").encode("utf-16"))
    return [
        SEPARATOR.join((f"{status} {logon}".encode(), question, answer(USER + action).encode()))
        for status in (200, 403)
        for logon in logons
        for question in asked
        for action in said
    ]


@target(seeds=questions, tokens=(*TOKENS, SEPARATOR, b"403 ", b"anna@contoso.example"))
def fuzz_autodiscover_way(data: bytes) -> None:
    """Whatever a phone asks and Exchange says has a verdict and one valid journal line without an
    address of the bodies; settings lead to the one allowed host, rest on evidence, and are told to
    the one user whom the logon and the address name."""
    head, asked, said = (data.split(SEPARATOR, 2) + [b""] * 3)[:3]
    status, _, logon = head.decode("utf-8", "replace").partition(" ")
    credentials = read_authorization(f"Basic {b64encode(logon.encode() + b':hunter2').decode()}")
    question, code = read_phone_request(asked), 403 if status == "403" else 200
    found = discovery(
        question,
        read_discovery_answer(code, "text/xml", "", said),
        status_code=code,
        credentials=credentials,
        user_agent="Android/14-EAS-2.0",
        device_names=("mail.contoso.example",),
        challenged=True,
    )
    judgement = _loop().run_until_complete(_judge().discover(found))
    assert judgement.verdict.reason is not Reason.INTERNAL_ERROR, judgement.error_message
    told = judgement.settings
    assert (told is None) is isinstance(judgement.verdict, Pass)
    if told is not None:
        assert isinstance(question, PhoneRequest)
        assert isinstance(found.said, RedirectAddress | NoMailboxHere)
        assert credentials.logon is not None
        assert {_who(credentials.logon.text), _who(question.email_address)} == {"anna"}
        assert f"<Url>https://{ALLOWED}/Microsoft-Server-ActiveSync</Url>".encode() in told
        assert isinstance(read_discovery_answer(200, "text/xml", "", told), OtherAnswer)
        assert len(told) < 8192
    line = journal_line(exchange_record(judgement, WireFacts(started_s=1.0, ended_s=2.0)))
    assert line.count(b"\n") == 1
    assert "hunter2" not in json.dumps(json.loads(line))


def _who(name: str) -> str:
    """The account of a name of the directory that is used here."""
    bare = name.casefold().rpartition("\\")[2].removeprefix("smtp:").partition("@")[0]
    return bare.partition(".")[0]


def bodies() -> list[bytes]:
    return [body for both in questions()[:12] for body in both.split(SEPARATOR)[1:]]


@target(seeds=bodies, tokens=TOKENS, per_byte=4096)
def fuzz_autodiscover_redaction(data: bytes) -> None:
    """Any body, redacted, says what it said: the same kind of question and of answer. Nothing that
    was taken out is left in it."""
    names = Pseudonyms(b"k" * 32)
    clean = redacted_xml(data, "text/xml", names)
    assert type(read_discovery_answer(200, "text/xml", "", clean)) is type(
        read_discovery_answer(200, "text/xml", "", data)
    )
    assert not isinstance(read_phone_request(data), PhoneRequest) or isinstance(
        read_phone_request(clean), PhoneRequest
    )
    codec = "utf-16" if clean[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    assert not names.taken.holds(clean.decode(codec, "replace"))


@target(seeds=bodies, tokens=TOKENS, per_byte_us=10, per_byte=4096)
def fuzz_autodiscover_view(data: bytes) -> None:
    """Any body is shown as text that a terminal does not obey."""
    text = VIEW.prettify(data, Metadata(content_type="text/xml"))
    assert all(c.isprintable() or c in "\t\n" for c in text)
