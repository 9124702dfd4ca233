"""The main job through a real mitmdump: each vector a 451, each reason a journal line."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eas_redirect.policy.reasons import Reason
from eas_redirect.proxy.options import ENGINES
from tests.integration.device import LOCATION, Reply, ask
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.slapd import Slapd, running_slapd
from tests.integration.upstream import Scripted, Upstream, upstream
from tests.support import DATA

pytestmark = pytest.mark.integration

WBXML = {"Content-Type": "application/vnd.ms-sync.wbxml"}
NO_MAILBOX = bytes.fromhex("03016A00000756" + "4C033132330001" + "01")
OK = bytes.fromhex("03016A00000756" + "4C0331000101")
HTML = b"<html><body>You do not have permission.</body></html>"
CONFIG = f"""
mode = "enforce"
[directory]
snapshot = "{DATA / "migration.ldif"}"
[redirect]
allowed_hosts = ["*.office365.com", "*.contoso.example", "?.example.test"]
[redirect.except]
users = ["later@contoso.example"]
"""


@dataclass(frozen=True)
class Case:
    """A row: who asks how, what Exchange answers, why it is passed or redirected."""

    user: str | None
    answer: Scripted
    reason: Reason
    command: str | None = "FolderSync"
    version: str | None = "14.1"
    method: str = "POST"

    @property
    def redirected(self) -> bool:
        return self.reason is Reason.MAILBOX_MOVED


IN_BAND = Scripted(200, WBXML, NO_MAILBOX)
FORBIDDEN = Scripted(403, {"Content-Type": "text/html"}, HTML)


def upn(name: str) -> str:
    return f"{name}@contoso.example"


CASES = {
    "moved": Case(upn("anna"), IN_BAND, Reason.MAILBOX_MOVED),
    "moved down-level": Case("CONTOSO\\anna", IN_BAND, Reason.MAILBOX_MOVED),
    "moved, by a second address": Case(upn("anna.moved"), IN_BAND, Reason.MAILBOX_MOVED),
    "moved, gzip": Case(
        upn("anna"),
        Scripted(200, {**WBXML, "Content-Encoding": "gzip"}, gzip.compress(NO_MAILBOX)),
        Reason.MAILBOX_MOVED,
    ),
    "moved, OPTIONS": Case(
        upn("anna"), FORBIDDEN, Reason.MAILBOX_MOVED, None, None, method="OPTIONS"
    ),
    "moved, 403": Case(upn("anna"), FORBIDDEN, Reason.MAILBOX_MOVED),
    "everyday": Case(upn("bert"), Scripted(200, WBXML, OK), Reason.OTHER_ANSWER),
    "service unavailable": Case(upn("anna"), Scripted(503), Reason.OTHER_ANSWER),
    "native": Case(
        upn("anna"), Scripted(451, {"X-MS-Location": "https://x.test/e"}), Reason.NATIVE_REDIRECT
    ),
    "logon wanted": Case(
        None, Scripted(401, {"WWW-Authenticate": 'Basic realm="x"'}), Reason.UNAUTHENTICATED
    ),
    "nobody": Case(None, IN_BAND, Reason.NO_IDENTITY, "FolderSync"),
    "nobody, 403": Case(None, FORBIDDEN, Reason.LOGON_NOT_PROVEN, "FolderSync"),
    "stranger": Case(upn("stranger"), IN_BAND, Reason.RECIPIENT_NOT_FOUND),
    "shared address": Case(upn("desk"), IN_BAND, Reason.RECIPIENT_AMBIGUOUS),
    "blocked device": Case(upn("bert"), FORBIDDEN, Reason.RECIPIENT_HAS_MAILBOX),
    "no target": Case(upn("nowhere"), IN_BAND, Reason.NO_TARGET_ADDRESS),
    "X.400 target": Case(upn("badaddress"), IN_BAND, Reason.TARGET_ADDRESS_INVALID),
    "unmapped": Case(upn("unmapped"), IN_BAND, Reason.NO_RELATIONSHIP),
    "switched off": Case(upn("off"), IN_BAND, Reason.RELATIONSHIP_DISABLED),
    "claimed twice": Case(upn("twice"), IN_BAND, Reason.RELATIONSHIP_AMBIGUOUS),
    "no URL": Case(upn("nourl"), IN_BAND, Reason.NO_TARGET_OWA_URL),
    "bad URL": Case(upn("badurl"), IN_BAND, Reason.TARGET_OWA_URL_INVALID),
    "elsewhere": Case(upn("elsewhere"), IN_BAND, Reason.TARGET_NOT_ALLOWED),
    "home again": Case(upn("loop"), IN_BAND, Reason.REDIRECT_LOOP),
    "old device": Case(upn("anna"), FORBIDDEN, Reason.PROTOCOL_VERSION_TOO_LOW, version="12.1"),
    "not yet": Case(upn("later"), IN_BAND, Reason.NOT_IN_WAVE),
    "cut short": Case(upn("anna"), Scripted(200, WBXML, NO_MAILBOX[:9]), Reason.MALFORMED_ANSWER),
}
ELSEWHERE_TESTED = {
    Reason.DIRECTORY_UNAVAILABLE,
    Reason.INTERNAL_ERROR,
    Reason.NO_ANSWER,
    Reason.RELATIONSHIP_CONTRADICTORY,
    Reason.AUTODISCOVER_IDENTITY_MISMATCH,
    Reason.AUTODISCOVER_CLIENT_NOT_LISTED,
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Upstream]:
    with upstream({name: case.answer for name, case in CASES.items()}) as running:
        yield running


@pytest.fixture(scope="module", params=ENGINES)
def proxy(
    request: pytest.FixtureRequest, exchange: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mitmdump]:
    """Whatever of mitmproxy is replaced."""
    directory, engine = tmp_path_factory.mktemp("main-job"), {"eas_engine": str(request.param)}
    with mitmdump(directory, reverse(exchange), config=CONFIG, options=engine) as running:
        yield running


def reverse(exchange: Upstream) -> str:
    return f"reverse:http://127.0.0.1:{exchange.port}"


def assert_is_the_451(reply: Reply, location: str = LOCATION) -> None:
    assert (reply.status, reply.phrase, reply.body) == (451, "Redirect", b"")
    names = sorted(name for name, _ in reply.headers)
    assert names == ["cache-control", "content-length", "date", "x-ms-location"]
    assert reply.header("X-MS-Location") == location
    assert reply.header("Cache-Control") == "private"
    assert reply.header("Content-Length") == "0"


def last_line(proxy: Mitmdump, before: int) -> dict[str, object]:
    lines = proxy.exchanges(before + 1)
    assert len(lines) == before + 1, "one line per exchange"
    return lines[-1]


def at(line: dict[str, object], key: str) -> object:
    value: object = line
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def test_every_reason_is_seen_here_or_elsewhere() -> None:
    assert {case.reason for case in CASES.values()} | ELSEWHERE_TESTED == set(Reason)


@pytest.mark.parametrize("name", CASES)
def test_each_case_ends_as_it_must_and_says_why(name: str, proxy: Mitmdump) -> None:
    case, before = CASES[name], proxy.settled()
    user = case.user
    query = "User=" if user is None else None
    reply = ask(
        proxy.port,
        user,
        name,
        command=case.command,
        version=case.version,
        method=case.method,
        target=f"/Microsoft-Server-ActiveSync?Cmd=FolderSync&{query}" if query else None,
    )
    line = last_line(proxy, before)
    assert at(line, "event.reason") == str(case.reason)
    assert at(line, "eas.upstream.status_code") == case.answer.status
    assert at(line, "http.response.status_code") == reply.status
    if case.redirected:
        assert_is_the_451(reply)
        assert at(line, "event.action") == "eas.redirect"
        assert at(line, "eas.decision") == "redirect"
        assert at(line, "eas.redirect.location") == LOCATION
        assert at(line, "eas.directory.relationship") == "Cloud"
        assert at(line, "eas.directory.target_domain") == "contoso.mail.onmicrosoft.example"
        return
    assert (reply.status, reply.body) == (case.answer.status, case.answer.body)
    assert at(line, "eas.decision") == "pass"
    for header, value in case.answer.headers.items():
        assert reply.header(header) == value


def vectors() -> list[tuple[str, bytes]]:
    with (DATA / "vectors.tsv").open(encoding="utf-8", newline="") as table:
        lines = (line for line in table if not line.startswith("#"))
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return [(row["command"], bytes.fromhex(row["bytes"])) for row in rows]


@pytest.mark.parametrize(("command", "body"), vectors(), ids=[name for name, _ in vectors()])
def test_each_in_band_vector_becomes_a_451(
    command: str, body: bytes, proxy: Mitmdump, exchange: Upstream
) -> None:
    exchange.answers[command] = Scripted(200, WBXML, body)
    assert_is_the_451(ask(proxy.port, upn("anna"), command, command=command))


def test_there_are_as_many_vectors_as_commands_with_a_root() -> None:
    assert len(vectors()) == 19


def test_an_old_device_is_redirected_when_the_minimum_is_lowered(
    exchange: Upstream, tmp_path: Path
) -> None:
    config = CONFIG + '[exchange]\nmin_protocol_version = "12.1"\n'
    with mitmdump(tmp_path, reverse(exchange), config=config) as proxy:
        assert_is_the_451(ask(proxy.port, upn("anna"), "old device", version="12.1"))


def test_observe_mode_changes_no_byte_and_says_what_it_would_do(
    exchange: Upstream, tmp_path: Path
) -> None:
    options = {"eas_mode": "observe"}
    with mitmdump(tmp_path, reverse(exchange), config=CONFIG, options=options) as proxy:
        reply = ask(proxy.port, upn("anna"), "moved")
        line = last_line(proxy, 0)
    assert (reply.status, reply.body) == (200, NO_MAILBOX)
    assert at(line, "event.action") == "eas.would_redirect"
    assert at(line, "eas.decision") == "would_redirect"
    assert at(line, "eas.redirect.location") == LOCATION
    assert at(line, "http.response.status_code") == 200


def test_the_same_over_ldaps_against_a_real_server(exchange: Upstream, tmp_path: Path) -> None:
    with running_slapd(tmp_path / "slapd") as slapd:
        config = ldap_config(slapd)
        with mitmdump(tmp_path / "proxy", reverse(exchange), config=config) as proxy:
            assert_is_the_451(ask(proxy.port, upn("anna"), "moved"))
            assert_is_the_451(ask(proxy.port, "CONTOSO\\anna", "moved"))
            assert ask(proxy.port, upn("bert"), "blocked device").status == 403
            line = proxy.exchanges(3)[0]
    assert at(line, "eas.directory.source") == "ldap"
    assert at(line, "eas.directory.cache") == "miss"
    assert at(line, "eas.directory.server") == f"127.0.0.1:{slapd.tls_port}"


def test_a_directory_that_is_down_is_a_warning_and_exchange_s_answer_goes_through(
    exchange: Upstream, tmp_path: Path
) -> None:
    with running_slapd(tmp_path / "slapd") as slapd:
        config = ldap_config(slapd)
    with mitmdump(tmp_path / "proxy", reverse(exchange), config=config) as proxy:
        reply = ask(proxy.port, upn("anna"), "moved")
        line = last_line(proxy, 0)
        proxy.wait_for_log("directory")
    assert (reply.status, reply.body) == (200, NO_MAILBOX)
    assert at(line, "event.reason") == "directory_unavailable"
    assert at(line, "error.type") == "connection_refused"
    assert "bind-Passw0rd" not in proxy.log


def ldap_config(slapd: Slapd) -> str:
    return f"""
mode = "enforce"
[directory]
servers = ["{slapd.ldaps_url}"]
ca_file = "{slapd.ca_file}"
bind_user = "{slapd.bind_user}"
password_file = "{slapd.password_file}"
search_base = "DC=contoso,DC=example"
"""


def test_no_output_holds_a_secret(proxy: Mitmdump) -> None:
    ask(proxy.port, upn("anna"), "moved", headers={"Authorization": "Bearer " + TOKEN})
    written = proxy.log + (proxy.directory / "journal.jsonl").read_text("utf-8")
    assert "anna" in written
    for secret in (DATA / "secrets.txt").read_text("utf-8").splitlines():
        assert secret not in written


TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0LXRva2Vu.c2ln"
