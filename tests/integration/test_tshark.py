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
from tests.cli.test_redact import mail, provision, sent_mail
from tests.support import require

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


def packet(number: int, body: bytes) -> bytes:
    """An HTTP answer in one TCP segment. Checksums are left out; tshark does not ask for them."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
    http = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    tcp = struct.pack(">HHIIBBHHH", 80, 10000 + number, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + http
    ends = bytes([127, 0, 0, 1]) * 2
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0) + ends + tcp


def write_pcap(path: Path, bodies: list[bytes]) -> None:
    raw_ip = 101  # LINKTYPE_RAW
    found = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, raw_ip)
    for number, body in enumerate(bodies):
        data = packet(number, body)
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
