"""Wireshark's decoder and ours see the same tags in the same order."""

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.wbxml import Document, Element, element, parse, write
from tests.activesync.vectors import VECTORS
from tests.cli.running import run
from tests.cli.test_redact_command import mail, provision, sent_mail
from tests.support import ROOT, require

pytestmark = pytest.mark.integration

TAG = re.compile(r"\| T +(\d+) +\| +Known Tag 0x([0-9A-Fa-f]{2}) +\(\.([C.])\)", re.ASCII)
TEXT = re.compile(r"STR_I \(Inline string\) +\| +'(.*)'\Z")


def pages() -> Iterator[bytes]:
    """A document for each code page, with all of its tags."""
    for page, tags in TAGS.items():
        root, *others = tags
        children = tuple(Element(page, token, ("1",)) for token in others)
        yield write(Document(Element(page, root, children)))


def nested() -> bytes:
    """Pages change on the way in and on the way out; elements are empty, hollow, unknown."""
    inner = element(
        17, "Body", element(17, "Data", b"opaque"), Element(17, 0x3F), element(17, "Type")
    )
    middle = element(2, "Flag", inner, Element(2, 0x3B, hollow=True), element(22, "Sender", "x"))
    return write(Document(element(0, "Sync", element(0, "Add", middle), element(0, "Status", "1"))))


MESSAGES = [*VECTORS.values(), *pages(), mail(), provision(), sent_mail(), nested()]


OPAQUE = element(7, "FolderSync", element(7, "Status", "123"), element(7, "Unknown-3F", b"\0\xff"))


def exchange(number: int, query: str, answer: bytes, *, answered: bool = True) -> Iterator[bytes]:
    """A request and its answer, in a stream of their own."""
    asked = (
        f"POST /Microsoft-Server-ActiveSync?{query} HTTP/1.1\r\nHost: mail.contoso.example\r\n"
        "Authorization: Basic Q09OVE9TT1xhbm5hOnB3\r\nMS-ASProtocolVersion: 14.1\r\n"
        "Content-Type: application/vnd.ms-sync.wbxml\r\nContent-Length: 13\r\n\r\n"
    ).encode() + VECTORS["FolderSync"][:13]
    port = 20_000 + number
    for source, target, data in ((port, 80, asked), (80, port, answer))[: 1 + answered]:
        tcp = struct.pack(">HHII", source, target, 1, 1 if source == port else 1 + len(asked))
        tcp += struct.pack(">BBHHH", 5 << 4, 0x18, 65535, 0, 0) + data
        ends = bytes([127, 0, 0, 1]) * 2
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0)
        yield ip + ends + tcp


def packet(number: int, body: bytes) -> bytes:
    """An HTTP answer in one TCP segment. Checksums are left out; tshark does not ask for them."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
    http = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    tcp = struct.pack(">HHIIBBHHH", 80, 10000 + number, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + http
    ends = bytes([127, 0, 0, 1]) * 2
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0) + ends + tcp


def write_pcap(path: Path, bodies: list[bytes]) -> None:
    raw_ip = 101  # LINKTYPE_RAW
    write_packets(path, [packet(number, body) for number, body in enumerate(bodies)], raw_ip)


def write_packets(path: Path, packets: list[bytes], link: int = 101) -> None:
    """A second between one and the next."""
    found = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for number, data in enumerate(packets):
        found += struct.pack("<IIII", number, 0, len(data), len(data)) + data
    path.write_bytes(found)


@pytest.fixture(scope="module")
def dissected(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What tshark prints about each message, line by line."""
    require("tshark")
    path = tmp_path_factory.mktemp("tshark") / "messages.pcap"
    write_pcap(path, MESSAGES)
    ran = subprocess.run(
        ["tshark", "-r", str(path), "-V", "-O", "wbxml"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    frames = re.split(r"^Frame \d+:", ran.stdout.decode("utf-8", "replace"), flags=re.MULTILINE)
    return [frame.splitlines() for frame in frames[1:]]


def walk(root: Element) -> Iterator[Element]:
    yield root
    for child in root.elements:
        yield from walk(child)


def test_tags_and_pages_in_order(dissected: list[list[str]]) -> None:
    assert len(dissected) == len(MESSAGES)
    for body, lines in zip(MESSAGES, dissected, strict=True):
        theirs = [
            (int(found[1]), int(found[2], 16), found[3] == "C")
            for line in lines
            if (found := TAG.search(line))
        ]
        ours = [(e.page, e.token, bool(e.children or e.hollow)) for e in walk(parse(body).root)]
        assert ours == theirs


def test_strings_in_order(dissected: list[list[str]]) -> None:
    for body, lines in zip(MESSAGES, dissected, strict=True):
        theirs = [found[1] for line in lines if (found := TEXT.search(line))]
        assert [
            c for e in walk(parse(body).root) for c in e.children if isinstance(c, str)
        ] == theirs


@pytest.fixture
def phones(tmp_path: Path) -> Path:
    """Two devices: one is told UserHasNoMailbox, one gets a 403, a 451 and once no answer."""
    require("tshark")
    body = write(Document(OPAQUE))
    head = f"Content-Type: application/vnd.ms-sync.wbxml\r\nContent-Length: {len(body)}\r\n\r\n"
    moved = f"HTTP/1.1 200 OK\r\n{head}".encode() + body
    empty = b"\r\nContent-Length: 0\r\n\r\n"
    one, two = (f"Cmd=FolderSync&User=anna&DeviceId={d}&DeviceType=iPhone" for d in ("A1", "B1"))
    write_packets(
        tmp_path / "phones.pcap",
        [
            *exchange(1, one.replace("A1", "ApplDEVICE1"), moved),
            *exchange(2, two, b"HTTP/1.1 403 Forbidden" + empty),
            *exchange(3, two, b"HTTP/1.1 451 Redirect\r\nX-MS-Location: https://x.example" + empty),
            *exchange(4, two, b"", answered=False),
        ],
    )
    return tmp_path / "phones.pcap"


def tshark(*arguments: str) -> str:
    ran = subprocess.run(["tshark", *arguments], capture_output=True, check=True, timeout=120)
    return ran.stdout.decode("utf-8", "replace")


def test_the_display_filters_of_the_docs(phones: Path) -> None:
    page = (ROOT / "docs" / "debugging.md").read_text("utf-8")
    table = page[page.index("| display filter |") :]
    filters = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)[:6]
    shown = [len(tshark("-r", str(phones), "-Y", text).splitlines()) for text in filters]
    assert shown == [4, 1, 1, 1, 5, 0]


def test_what_tshark_exports_comes_back_to_explain(phones: Path) -> None:
    arguments = ("-Y", "http", "-T", "json", "-x", "--no-duplicate-keys", "-j", "frame tcp http")
    exported = phones.with_suffix(".json")
    exported.write_text(tshark("-r", str(phones), *arguments), "utf-8")
    told = run("explain", str(exported))
    assert (told.code, told.err) == (1, "")
    assert "ApplDEVICE1 (iPhone, apple_mail), 1 exchange" in told.out
    assert "123 UserHasNoMailbox  1.0 s  certain" in told.out
    assert "B1 (iPhone, apple_mail), 3 exchanges" in told.out
    assert [code for code in (" 403 ", " 451 ") if code not in told.out] == []
    assert "was not answered" in told.out
