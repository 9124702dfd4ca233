"""Values of a body as a person reads them: which are text, what the others are, and what a mail
says.

Bounded in time. Imports the standard library only.

The view shows a MIME value as it is, so that editing preserves it. What cannot be read that way
(RFC 2047 words in headers, text in base64 or quoted-printable) is shown decoded next to it. The
time of Python's own parser grows with the depth of a mail; this one looks at few parts and few
levels.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from eas_redirect.activesync.wbxml import WBXML_TYPE

MAX_HEAD = 16 * 1024  # characters of a part that are searched for the end of its headers
MAX_PARTS = 16  # of one multipart, and
MAX_DEPTH = 3  # of multiparts in each other
MAX_TEXT = 4096  # characters of a decoded text that are told
_TOLD = ("from", "to", "cc", "subject")
MAX_WORDS = 500  # characters of a header whose encoded words are decoded
_HEADER = re.compile(r"^([!-9;-~]{1,76}):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)  # RFC 5322 2.2
_PARAMETER = re.compile(
    r';[ \t\n]*([a-z-]{1,20})=(?:"([^"\n]{0,200})"|([^;\s"]{1,200}))', re.IGNORECASE
)
_BLANK = re.compile(r"\n[ \t]*\n")
_FIRST = 16  # bytes that are shown
_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"\x78\x9f\x3e\x22", "application/ms-tnef"),
    (b"\x03\x01\x6a\x00", WBXML_TYPE),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"\x30\x82", "DER (a certificate, a signature)"),
)
MAX_ODD = 500  # control characters that are marked in a string, of any length
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff]")  # never in a text
_ASCII = bytes((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D))


def is_text(text: str) -> bool:
    """Whether data looks like text: one control character in a hundred is a slip, more mean
    data. NUL is never text."""
    odd = len(_CONTROLS.findall(text))
    return not odd or ("\0" not in text and odd * 100 <= len(text))


def shows_as_text(text: str) -> bool:
    """Whether a string on the wire is shown as one: always, unless it is all control characters."""
    return "\0" not in text and len(_CONTROLS.findall(text)) <= max(MAX_ODD, len(text) // 100)


def latin_text(data: bytes) -> str:
    """Bytes that are not UTF-8 as a text of an older character set, or as what is not text: such
    sets hold ASCII mostly."""
    ascii_bytes = len(data) - len(data.translate(None, _ASCII))
    return data.decode("latin-1") if ascii_bytes * 4 >= len(data) * 3 else "\0"


def has_crlf_only(text: str) -> bool:
    """Whether every line ends in CR LF, and there is at least one."""
    pairs = text.count("\r\n")
    return pairs > 0 and pairs == text.count("\n") == text.count("\r")


def comment(text: str) -> str:
    """Text that cannot end the XML comment around it, without terminal control characters."""
    shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
    return re.sub("-(?=-|$)", "- ", shown)


def described(data: bytes) -> str:
    """Type and size, for a comment."""
    kind = next((name for magic, name in _TYPES if data.startswith(magic)), "no text")
    return f"{kind}, {len(data)} {'byte' if len(data) == 1 else 'bytes'}"


def beginning(data: bytes) -> str:
    return data[:_FIRST].hex(" ") + (" …" if len(data) > _FIRST else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    headers: dict[str, str]  # the first of each name, unfolded
    body: str

    @property
    def kind(self) -> str:
        """RFC 2045 5.2: text/plain is the default."""
        said = self.headers.get("content-type", "text/plain").partition(";")[0]
        return said.strip().lower()

    @property
    def encoding(self) -> str:
        return self.headers.get("content-transfer-encoding", "7bit").strip().lower()

    def parameter(self, name: str) -> str | None:
        found = _PARAMETER.findall(self.headers.get("content-type", ""))
        return next((quoted or bare for key, quoted, bare in found if key.lower() == name), None)


def mail_as_read(text: str) -> list[str]:
    """The decoded parts of a MIME text, one line each; empty for anything else."""
    whole = _part(text.replace("\r\n", "\n"))
    if whole is None or not {"from", "to", "subject", "content-type"} & whole.headers.keys():
        return []
    lines = [
        f"{name.title()}: {decoded}"
        for name in _TOLD
        if (value := whole.headers.get(name)) and (decoded := _words(value)) != value[:MAX_WORDS]
    ]
    for part in _leaves(whole, 0):
        lines += _text_lines(part)
    return lines


def _part(text: str) -> _Part | None:
    if not _HEADER.match(text):
        return None
    end = _BLANK.search(text, 0, MAX_HEAD)
    head = text[: end.start()] if end else text[:MAX_HEAD]
    headers: dict[str, str] = {}
    for name, value in _HEADER.findall(head):
        headers.setdefault(name.lower(), " ".join(value.split()))
    return _Part(headers=headers, body=text[end.end() :] if end else "")


def _leaves(part: _Part, depth: int) -> Iterator[_Part]:
    boundary = part.parameter("boundary")
    if not part.kind.startswith("multipart/") or not boundary:
        yield part
        return
    if depth == MAX_DEPTH:
        return
    # RFC 2046 5.1.1: what stands before the first delimiter and behind the last is not a part.
    inner = f"\n{part.body}".split(f"\n--{boundary}", MAX_PARTS + 1)[1 : MAX_PARTS + 1]
    for piece in inner:
        if piece.startswith("--"):
            return
        body = piece.partition("\n")[2]
        if (found := _part(body)) is not None:
            yield from _leaves(found, depth + 1)


def _text_lines(part: _Part) -> list[str]:
    """The decoded text; for an attachment its type, name and size."""
    if not part.kind.startswith("text/"):
        name = part.parameter("name")
        named = f" {_words(name)!r}" if name else ""
        return [f"{part.kind}{named}, {part.encoding}, {len(part.body)} characters"]
    if part.encoding not in ("base64", "quoted-printable"):
        return []
    raw = _decoded(part)
    try:
        text = raw.decode(part.parameter("charset") or "utf-8", "replace")
    except LookupError:
        text = raw.decode("utf-8", "replace")
    cut = [f"({len(text)} characters)"] if len(text) > MAX_TEXT else []
    title = f"{part.kind}, {part.encoding}, decoded:"
    return [title, *text[:MAX_TEXT].splitlines(), *cut]


def _decoded(part: _Part) -> bytes:
    raw = part.body[: 4 * MAX_TEXT].encode("utf-8", "replace")
    if part.encoding == "quoted-printable":
        return quopri.decodestring(raw)
    raw = b"".join(raw.split())
    try:
        return base64.b64decode(raw[: len(raw) // 4 * 4])
    except binascii.Error:
        return b""


def _words(value: str) -> str:
    """RFC 2047. The time of Python's own reader grows with the square of the length."""
    value = value[:MAX_WORDS]
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (HeaderParseError, LookupError, ValueError):
        return value
