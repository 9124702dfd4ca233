"""The main test of this room: what one carrier redirects the other redirects, for the same reason.

The same requests and answers go through mitmproxy with the addon and through HAProxy with the judge
beside it. OTHER_REASONS and PASSED_HERE name all in which the two may differ, with the reason.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.haproxy.carrying import Carried, carried
from tests.integration.device import basic
from tests.integration.messages import ANNA, BERT, at, head
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected
from tests.integration.test_main_job import CASES, CONFIG, Case, vectors
from tests.integration.test_main_job import NO_MAILBOX as BODY
from tests.support import DATA, require

pytestmark = pytest.mark.integration

TYPE = b"Content-Type: application/vnd.ms-sync.wbxml"
EAS = b"/Microsoft-Server-ActiveSync"
FULL = EAS + b"?Cmd=FolderSync&User=anna%40contoso.example&DeviceId=D1&DeviceType=Phone"

# Reasons that only the record tells apart; what the phone gets is the same.
OTHER_REASONS = {
    "malformed_answer": "Lua asks only where 1, 2 and 3 stand in a body; what it does not ask about"
    " is no UserHasNoMailbox, and nobody reads what else is wrong with it",
}
# Rows in which HAProxy's side redirects nobody although the other does.
PASSED_HERE = {
    "five versions": "of a header that stands more than four times HAProxy hands over four lines,"
    " and what the others say is not known",
    "five versions, 403": "the same",
}


@dataclass(frozen=True)
class Row:
    """A request and what Exchange answers to it, as bytes."""

    request: bytes
    answer: bytes
    closes: bool = False  # the answer ends with the connection


def request(
    *headers: bytes,
    target: bytes = FULL,
    method: bytes = b"POST",
    version: bytes | None = b"14.1",
) -> bytes:
    said = [] if version is None else [b"MS-ASProtocolVersion: " + version]
    length = b"Content-Length: 0"
    return head(method + b" " + target + b" HTTP/1.1", *said, *headers, length)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK", length: bool = True) -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def from_case(case: Case) -> Row:
    user = [] if case.user is None else [b"Authorization: " + basic(case.user).encode()]
    query = f"?Cmd={case.command or 'FolderSync'}&DeviceId=D1&DeviceType=Phone".encode()
    sent = request(
        *user,
        target=EAS + query,
        method=case.method.encode(),
        version=None if case.version is None else case.version.encode(),
    )
    fields = [f"{n}: {v}".encode() for n, v in case.answer.headers.items()]
    status = f"{case.answer.status} Said".encode()
    return Row(sent, answer(case.answer.body, *fields, status=status))


def from_table() -> Iterator[tuple[str, Row]]:
    """The table of answers and what they prove."""
    with (DATA / "answers.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader((t for t in table if not t.startswith("#")), delimiter="\t"))
    for number, row in enumerate(rows):
        if row["body"] == "unread":
            continue
        body = b"" if row["body"] == "-" else bytes.fromhex(row["body"])
        named = (
            row["headers"].replace("W", TYPE.decode(), 1)
            if row["headers"][:1] == "W"
            else ("" if row["headers"] == "-" else row["headers"])
        )
        fields = [h.strip().encode() for h in named.split(" | ") if h.strip()]
        sized = any(f.lower().startswith(b"content-length") for f in fields)
        if sized or int(row["code"]) in (204, 304):
            continue
        target = EAS if row["command"] == "-" else EAS + f"?Cmd={row['command']}".encode()
        version = None if row["version"] == "-" else row["version"].encode()
        sent = request(ANNA, target=target, method=row["method"].encode(), version=version)
        said = answer(body, *fields, status=row["code"].encode() + b" Said")
        if row["method"] == "HEAD":
            continue
        yield f"answers.tsv {number}: {row['what it is']}", Row(sent, said)


def spelled() -> Iterator[tuple[str, Row]]:
    """One answer in every form that HTTP has for it, and look-alikes."""
    said = BODY
    long = bytes.fromhex("03016A00000756") + bytes.fromhex("4C03313233000101")
    asked = request(ANNA)
    padded = bytes.fromhex("03016A0000074D") + b"\x03" + b"x" * 60000 + b"\x00\x01"
    forms = {
        "length": answer(said, TYPE),
        "chunked": answer(chunked(said), TYPE, b"Transfer-Encoding: chunked", length=False),
        "chunked by byte": answer(
            chunked(*(said[i : i + 1] for i in range(len(said)))),
            *(TYPE, b"Transfer-Encoding: chunked"),
            length=False,
        ),
        "gzip": answer(gzip.compress(said), TYPE, b"Content-Encoding: gzip"),
        "deflate": answer(zlib.compress(said), TYPE, b"Content-Encoding: deflate"),
        "gzip, chunked": answer(
            chunked(gzip.compress(said)),
            *(TYPE, b"Content-Encoding: gzip", b"Transfer-Encoding: chunked"),
            length=False,
        ),
        "brotli that is none": answer(said, TYPE, b"Content-Encoding: br"),
        "two types": answer(said, TYPE, b"Content-Type: text/html"),
        "another type": answer(said, b"Content-Type: text/html"),
        "no type": answer(said),
        "60 KB without it": answer(padded, TYPE),
        "over 64 KiB": answer(said + b"x" * 70000, TYPE),
        "diagnostics, empty": answer(b"", b"X-MS-Diagnostics: 1;reason=UserHasNoMailbox"),
        "diagnostics, 403": answer(
            b"no", b"X-MS-Diagnostics: 1;reason=UserHasNoMailbox", status=b"403 Forbidden"
        ),
        "diagnostics with a body": answer(
            b"\x03\x01j\x00hello", TYPE, b"X-MS-Diagnostics: 1;reason=UserHasNoMailbox"
        ),
        "an error that is not weak": answer(b"", status=b"500 Oops"),
        "a redirect of its own": answer(
            b"", b"X-MS-Location: https://other.example.test/x", status=b"451 Redirect"
        ),
        "123 in a mail": answer(padded[:-3] + b"123\x00\x01\x01", TYPE),
        "trailing bytes": answer(long + b"\x00", TYPE),
    }
    for name, given in forms.items():
        yield name, Row(asked, given)
    yield "until close", Row(asked, answer(said, TYPE, length=False), closes=True)
    requests = {
        "two logons": request(ANNA, BERT),
        "the same logon twice": request(ANNA, ANNA),
        "an empty logon": request(b"Authorization:"),
        "Bearer": request(b"Authorization: Bearer x.y.z"),
        "no logon": request(),
        "two versions": request(ANNA, b"MS-ASProtocolVersion: 12.1"),
        "five versions": request(ANNA, *[b"MS-ASProtocolVersion: 14.1"] * 4),
        "absolute form": request(ANNA, target=b"http://mail.contoso.example" + FULL),
        "absolute form of another": request(ANNA, target=b"http://outlook.office365.com" + FULL),
        "slashes": request(ANNA, target=b"/" + FULL),
        "small letters": request(ANNA, target=FULL.lower()),
        "percent": request(ANNA, target=FULL.replace(b"M", b"%4D", 1)),
        "default.eas": request(ANNA, target=FULL.replace(b"?", b"/default.eas?")),
        "beside the path": request(ANNA, target=FULL.replace(b"?", b"/else?")),
        "above the path": request(ANNA, target=b"/owa" + FULL),
        "a slash that is encoded": request(ANNA, target=FULL.replace(b"?", b"%2F?")),
        "another path": request(ANNA, target=b"/owa/"),
        "GET": request(ANNA, method=b"GET"),
        "PUT": request(ANNA, method=b"PUT"),
        "a method that HAProxy does not know": request(ANNA, method=b"LOCK"),
        "a method in small letters": request(ANNA, method=b"post"),
        "a method in small letters, old": request(ANNA, method=b"post", version=b"12.1"),
        "OPTIONS in small letters": request(ANNA, method=b"Options"),
        "base64 query": request(ANNA, target=EAS + b"?jQkJBAZEZXZpY2UABVBob25l"),
        "claims an address": request(ANNA, b"X-Forwarded-For: 10.0.0.1"),
    }
    for name, asks in requests.items():
        yield name, Row(asks, answer(said, TYPE))
        yield f"{name}, 403", Row(asks, answer(b"no", status=b"403 Forbidden"))
        yield f"{name}, 500", Row(asks, answer(b"", status=b"500 Oops"))


def rows() -> dict[str, Row]:
    found = {f"case: {name}": from_case(case) for name, case in CASES.items()}
    for command, body in vectors():
        target = EAS + f"?Cmd={command}".encode()
        row = Row(request(ANNA, target=target), answer(body, TYPE))
        found[f"vector: {command}"] = row
    found |= dict(from_table())
    found |= dict(spelled())
    return found


ROWS = rows()
NAME = b"X-Row: "


class Exchange:
    """Answers each request with the answer of the row that it names."""

    def __init__(self, all_rows: Mapping[str, Row]) -> None:
        self._rows = list(all_rows.values())

    def serve(self, wire: Wire) -> None:
        while True:
            asked = wire.read_request()
            number = int(asked.lower().partition(NAME.lower())[2].partition(b"\r\n")[0])
            wire.send(self._rows[number].answer)
            if self._rows[number].closes:
                return


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    require("haproxy")
    with RawServer(Exchange(ROWS).serve) as running:
        yield running


@pytest.fixture(scope="module")
def by_haproxy(
    server: RawServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Outcome"]]:
    directory = tmp_path_factory.mktemp("haproxy")
    with carried(directory, f"http://127.0.0.1:{server.port}", CONFIG) as running:
        yield outcomes(running, ROWS)


@pytest.fixture(scope="module")
def by_mitmproxy(
    server: RawServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Outcome"]]:
    directory = tmp_path_factory.mktemp("mitmproxy")
    mode = f"reverse:http://127.0.0.1:{server.port}"
    with mitmdump(directory, mode, config=CONFIG) as running:
        yield outcomes(running, ROWS)


@dataclass(frozen=True)
class Outcome:
    """What the phone got, and why; no reason where no journal has a line."""

    status: int
    location: bytes | None
    body: bytes
    reason: str | None


def outcomes(running: Carried | Mitmdump, rows: Mapping[str, Row]) -> dict[str, Outcome]:
    """Every row on a connection of its own, told apart in the journals by their User-Agent."""
    replies: dict[str, bytes] = {}
    for number, (name, row) in enumerate(rows.items()):
        named = NAME + b"%d\r\nUser-Agent: row-%d\r\n" % (number, number)
        sent = row.request.replace(b"\r\n", b"\r\n" + named, 1)
        with connected(running.port) as client:
            client.send(sent)
            while (reply := client.read_answer()).startswith(b"HTTP/1.1 100 "):
                pass
            replies[name] = reply
    lines = running.exchanges(len(rows) - 3)
    said = {str(at(line, "user_agent.original")): line for line in lines}
    found = {}
    for number, (name, reply) in enumerate(replies.items()):
        start, _, body = reply.partition(b"\r\n\r\n")
        location = [f for f in start.split(b"\r\n") if f.lower().startswith(b"x-ms-location:")]
        line = said.get(f"row-{number}")
        found[name] = Outcome(
            status=int(reply.split(b" ")[1]),
            location=location[0].partition(b": ")[2] if location else None,
            body=body,
            reason=None if line is None else str(at(line, "event.reason")),
        )
    return found


@pytest.mark.parametrize("name", ROWS)
def test_both_carriers_do_the_same_for_the_same_reason(
    name: str, by_haproxy: dict[str, Outcome], by_mitmproxy: dict[str, Outcome]
) -> None:
    ours, theirs = by_haproxy[name], by_mitmproxy[name]
    if name in PASSED_HERE:
        assert (ours.status, theirs.status) == (int(ROWS[name].answer.split()[1]), 451)
        return
    assert (ours.status, ours.location) == (theirs.status, theirs.location)
    if b"Transfer-Encoding" not in ROWS[name].answer:
        assert ours.body == theirs.body
    if theirs.reason in OTHER_REASONS and ours.reason == "other_answer":
        return
    assert ours.reason == theirs.reason


def test_the_table_is_worth_something(by_haproxy: dict[str, Outcome]) -> None:
    redirected = [name for name, outcome in by_haproxy.items() if outcome.status == 451]
    assert len(redirected) > 60
    assert len(ROWS) - len(redirected) > 60
