"""What strangers send is bounded in bytes wherever it is kept: caches, ledger, page, metrics.

A new cache does not pass without a row here: what its longest key is, or why no stranger fills it.
"""

import base64
import functools
import importlib
import pkgutil
import tracemalloc
from collections.abc import Callable

import pytest

import eas_redirect
from eas_redirect.activesync.authorization import MAX_LOGON, identify, read_authorization
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.host_name import MAX_HOST, MAX_LABEL, same_host
from eas_redirect.activesync.request import MAX_USUAL, MAX_VALUE, is_eas_path, read_request
from eas_redirect.activesync.response import SHORT_BODY, Answer, Evidence
from eas_redirect.judging.callers import MAX_AUTHORITY, bare_host
from eas_redirect.policy.decision import Pass, screen
from eas_redirect.telemetry import clients, w3c
from eas_redirect.telemetry.ledger import Ledger
from eas_redirect.telemetry.metrics import Metrics
from eas_redirect.telemetry.record import MAX_TEXT, Record
from eas_redirect.telemetry.status import LastDecisions

MIB = 2**20
WIDE = "\N{GOTHIC LETTER AHSA}"  # four bytes in memory


def padded(number: int, length: int, sign: str = WIDE) -> str:
    return f"{number}".ljust(length, sign)


def long_host(number: int) -> str:
    labels = [padded(number, MAX_LABEL, "a"), *[padded(n, MAX_LABEL, "b") for n in range(3)]]
    return ".".join(labels)[:MAX_HOST].rstrip(".")


def long_query(number: int) -> str:
    return f"Cmd=Sync&DeviceId={padded(number, MAX_VALUE, 'd')}&DeviceType=".ljust(MAX_USUAL, "t")


def no_mailbox(number: int) -> bytes:
    """Bodies that are read: ever other lengths of an unknown element beside the Status."""
    text = str(number).encode().ljust(SHORT_BODY - 17, b"x")
    return (
        bytes.fromhex("03016a000007564c03") + b"177\x00" + b"\x01\x4d\x03" + text + b"\x00\x01\x01"
    )


FILLED: dict[str, Callable[[int], tuple[object, ...]]] = {
    "activesync.authorization._split": lambda n: (padded(n, MAX_LOGON),),
    "activesync.host_name._compared": lambda n: (padded(n, MAX_HOST + 1),),
    "activesync.host_name.normalize_host": lambda n: (long_host(n),),
    "activesync.request._read_line": lambda n: ("POST", long_query(n)[:508], (), False),
    "activesync.response._global_status": lambda n: ("FolderSync", no_mailbox(n)),
    "judging.callers._bare_host": lambda n: (padded(n, MAX_AUTHORITY, "h"),),
    "telemetry.clients._identified": lambda n: (padded(n, 512), padded(n, 512)),
    "telemetry.w3c._read_request": lambda n: ("POST", "/x", long_query(n)[:509]),
    "telemetry.w3c._usual_logon": lambda n: (padded(n, 512, "u"), padded(n, MAX_VALUE)),
}
"""Filled by strangers: the longest key that its callers let in."""

OUR_OWN = {
    "activesync.wbxml.leaf": "pages and tokens: 32,768 at most",
    "activesync.wbxml.tag_name": "pages and tokens: 16,384 at most",
    "directory.names._domain_below": "ends of DNs, which the directory's administrators write",
    "engine.quick._wanted": "names of headers that code asks for",
    "policy.target._named_host": "URLs of relationships and of the configuration, to MAX_URL",
    "policy.relationship._smtp_domain": "addresses in the directory",
    "policy.target._host_of": "URLs of relationships in the directory",
    "telemetry.clients.client_families": "one table",
    "telemetry.clients.words": "of one table",
    "telemetry.html_pages._digest": "our own files",
    "telemetry.html_pages._environment": "one",
    "telemetry.html_pages.asset": "our own files",
    "telemetry.ledger._host_of": "locations that we gave",
    "telemetry.record.account_id": "DNs in the directory",
    "telemetry.record._second": "four numbers",
}
"""Filled by nobody else, and why."""


def caches() -> dict[str, object]:
    """Every `lru_cache` and `cache` of the package, by the name of the function in it."""
    found: dict[str, object] = {}
    for module in pkgutil.walk_packages(eas_redirect.__path__, "eas_redirect."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, functools._lru_cache_wrapper):
                inside = value.__wrapped__
                name = f"{inside.__module__}.{inside.__name__}"
                if name.startswith("eas_redirect."):
                    found[name.removeprefix("eas_redirect.")] = value
    return found


CACHES = caches()


def test_every_cache_is_listed() -> None:
    unlisted = sorted(CACHES.keys() - FILLED.keys() - OUR_OWN.keys())
    assert not unlisted, f"say in tests/test_bounds.py what bounds them in bytes: {unlisted}"


@pytest.mark.parametrize("name", sorted(FILLED.keys() & CACHES.keys()))
def test_a_cache_full_of_the_longest_keys_is_small(name: str) -> None:
    cache = CACHES[name]
    assert isinstance(cache, functools._lru_cache_wrapper)
    most = cache.cache_info().maxsize
    assert most is not None
    cache.cache_clear()

    def fill() -> None:
        for number in range(most):
            cache(*FILLED[name](number))

    held = held_by(fill)
    assert cache.cache_info().currsize == most, "the longest keys are kept"
    cache.cache_clear()
    assert held < 48 * MIB if "w3c" in name else held < 24 * MIB  # a report's own process has more


def held_by(work: Callable[[], None]) -> int:
    """Bytes that are still held when the work is done and its result thrown away."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


LONG = 100_000
EAS = "/Microsoft-Server-ActiveSync"


def basic(number: int) -> str:
    return "Basic " + base64.b64encode(f"{padded(number, LONG, 'u')}:x".encode()).decode()


@pytest.mark.parametrize(
    "read",
    [
        lambda n: read_request("POST", f"{EAS}?Cmd=Sync&User={padded(n, LONG, 'u')}", ()),
        lambda n: read_request("POST", f"{EAS}?Cmd={padded(n, LONG, 'c')}", ()),
        lambda n: read_authorization(basic(n)),
        lambda n: read_authorization(f"{padded(n, LONG, 's')} x"),
        lambda n: same_host(padded(n, LONG, "h"), padded(n, LONG, "i")),
        lambda n: bare_host(padded(n, LONG, "h")),
        lambda n: clients.client_of(padded(n, LONG), padded(n, LONG)),
        lambda n: w3c._request("POST", EAS, padded(n, LONG, "q")),
        lambda n: w3c._logon(padded(n, LONG, "u"), None),
    ],
    ids=["user", "command", "basic", "scheme", "host", "Host", "agent", "log", "log user"],
)
def test_whatever_is_longer_is_not_kept(read: Callable[[int], object]) -> None:
    read(0)

    def read_many() -> None:
        for number in range(1, 200):
            read(number)

    assert held_by(read_many) < 1 * MIB


@pytest.mark.parametrize(
    ("query", "logon"),
    [
        (f"Cmd=Sync&User=anna&DeviceId={'d' * 513}&DeviceType=Phone", "anna"),
        (f"Cmd=Sync&User=anna&DeviceId=D&DeviceType={'t' * 513}", "anna"),
        (f"Cmd=Sync&User={'u' * 257}&DeviceId=D&DeviceType=Phone", "anna"),
        ("Cmd=Sync&User=anna&DeviceId=D&DeviceType=Phone", "u" * 257),
        ("Cmd=Sync&User=anna&DeviceId=D&DeviceType=Phone", f"{'d' * 250}\\\\annaanna"),
        (f"Cmd={'c' * 513}&User=anna&DeviceId=D&DeviceType=Phone", "anna"),
    ],
    ids=["device id", "device type", "user", "logon", "domain", "command"],
)
def test_what_is_over_its_limit_decides_nothing(query: str, logon: str) -> None:
    request = read_request("POST", f"{EAS}?{query}", ())
    credentials = read_authorization("Basic " + base64.b64encode(f"{logon}:x".encode()).decode())
    answer = Answer(status_code=200, evidence=Evidence.CERTAIN)
    exchange = Exchange(
        request=request,
        credentials=credentials,
        identity=identify(request, credentials),
        answer=answer,
        called_names=("mail.contoso.example",),
    )
    passed = screen(exchange)
    assert isinstance(passed, Pass)
    assert passed.reason == "no_identity"


def test_a_path_over_its_limit_is_not_that_of_eas() -> None:
    assert is_eas_path(EAS)
    assert not is_eas_path(f"/{'/' * 512}{EAS}")


def test_a_host_over_its_limit_is_no_name() -> None:
    """And whoever is called by no single name is redirected nowhere (`redirect_loop`)."""
    assert bare_host(f"{'h' * 508}.example") is None
    assert bare_host("MAIL.contoso.example.:443") == "mail.contoso.example"


def test_600_requests_with_900_kb_of_user_agent_cost_nothing() -> None:
    """What every sink of a record keeps."""
    ledger = Ledger(clock=lambda: 1.0)
    last, metrics = LastDecisions(lambda record: record), Metrics()

    def call(number: int) -> None:
        agent = padded(number, 900_000, "a")[:MAX_TEXT]
        record = Record(
            timestamp_s=1.0,
            action="eas.exchange",
            message="",
            user_name=f"user{number}",
            user_agent=agent,
            client_family=clients.client_family(agent, None),
            reason="no_identity",
            decision="pass",
            command=padded(number, 900_000, "c")[:MAX_TEXT],
        )
        for sink in (ledger.observe, last.observe, metrics.observe):
            sink(record)

    def call_many() -> None:
        for number in range(600):
            call(number)

    assert held_by(call_many) < 4 * MIB
