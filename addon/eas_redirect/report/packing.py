"""Packed, oddly encoded and streamed files: recognized, and written to the disk as plain UTF-8.

DuckDB reads plain, gzip and zstd files by itself; the rest passes through here first.
"""

import bz2
import codecs
import gzip
import lzma
import mmap
import shutil
import sys
import zlib
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

# Any text file, a row a line, packed or not; no byte has a meaning but the line's end. Read as
# Latin-1, which knows every byte: lines that are not UTF-8 would be left out in silence.
READ_TEXT = """read_csv($path, header = false, columns = {'line': 'VARCHAR'}, delim = chr(1),
  quote = '', escape = '', auto_detect = false, strict_mode = false, ignore_errors = true,
  encoding = 'latin-1', compression = $compression)"""


def literal(path: Path) -> str:
    """DuckDB reads a path as a glob; this names exactly one file."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))


if sys.version_info >= (3, 14):
    import compression.zstd as zstd
else:
    import backports.zstd as zstd  # the same module, for the versions of Python before it

CHUNK = 1 << 20
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstd.ZstdError)


class Packing(StrEnum):
    """How a file is packed; the first three are DuckDB's words too."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


class Encoding(StrEnum):
    """How text is written, by its first bytes. Excel and Notepad begin with a byte order mark."""

    UTF8 = "utf-8"
    UTF8_MARKED = "utf-8-sig"
    UTF16 = "utf-16"


_MAGIC = {
    b"\x1f\x8b": Packing.GZIP,
    b"\x28\xb5\x2f\xfd": Packing.ZSTD,
    b"BZh": Packing.BZIP2,
    b"\xfd7zXZ\x00": Packing.XZ,
}
_MARKS = {
    codecs.BOM_UTF8: Encoding.UTF8_MARKED,
    codecs.BOM_UTF16_LE: Encoding.UTF16,
    codecs.BOM_UTF16_BE: Encoding.UTF16,
}


class _Bytes(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def packing_of(head: bytes) -> Packing:
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), Packing.NONE)


def text_encoding(head: bytes) -> Encoding:
    return next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), Encoding.UTF8)


def head_of(path: Path, packing: Packing, size: int) -> bytes:
    """The first bytes of the content. Raises ValueError if not even they can be read."""
    with path.open("rb") as file:
        try:
            return _inside(file, packing).read1(size)
        except _DAMAGE as error:
            raise ValueError(
                f"is a {packing} file that breaks off at once. Leave it out."
            ) from error


def unpack(
    path: Path, packing: Packing, encoding: Encoding, target: Path, limit: int | None = None
) -> bool:
    """Write the content as plain UTF-8, as far as it goes, or up to just beyond the limit in
    bytes; returns whether that was all. Raises OSError if there is no room to write."""
    decode = codecs.getincrementaldecoder(encoding)("replace").decode
    with path.open("rb") as file, target.open("wb") as plain:
        source = _inside(file, packing)
        while True:
            try:
                chunk = source.read1(CHUNK)
            except _DAMAGE:
                return False
            if not chunk:
                break
            plain.write(chunk if encoding is Encoding.UTF8 else decode(chunk).encode())
            if limit is not None and plain.tell() > limit:
                return False
    return True


def keep(stream: BinaryIO, target: Path) -> None:
    """Save a stream as a file, because it is read more than once."""
    with target.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)


def zstd_is_whole(path: Path) -> bool:
    """Whether the last frame ends where the file ends. DuckDB reads a truncated file as a
    shorter one. The library skips from block to block without unpacking, so the size does not
    matter."""
    if not path.stat().st_size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        start = 0
        while start < len(content):
            with content[start:] as rest:
                try:
                    start += zstd.get_frame_size(rest)
                except zstd.ZstdError:
                    return False
    return True


def _inside(file: BinaryIO, packing: Packing) -> _Bytes:
    match packing:
        case Packing.GZIP:
            return gzip.GzipFile(fileobj=file)
        case Packing.BZIP2:
            return bz2.BZ2File(file)
        case Packing.XZ:
            return lzma.LZMAFile(file)
        case Packing.ZSTD:
            return zstd.ZstdFile(file)
        case Packing.NONE:
            return file  # type: ignore[return-value]  # opened buffered: it has read1
