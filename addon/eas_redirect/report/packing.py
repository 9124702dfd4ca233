"""Packed, oddly encoded and streamed files: what they hold, and as plain UTF-8 on the disk.

DuckDB reads plain, gzip and zstd files by itself; the rest passes through here first. Imports
zstandard, which comes with mitmproxy.
"""

import bz2
import codecs
import gzip
import lzma
import shutil
import zlib
from enum import StrEnum
from io import SEEK_CUR
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

CHUNK = 1 << 20
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # RFC 8878 3.1.2


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
    _ZSTD_FRAME: Packing.ZSTD,
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


def encoding_of(head: bytes) -> Encoding:
    return next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), Encoding.UTF8)


def head_of(path: Path, packing: Packing, size: int) -> bytes:
    """The first bytes of what is inside. Raises ValueError when not even they can be read."""
    with path.open("rb") as file:
        try:
            return _inside(file, packing).read1(size)
        except _DAMAGE as error:
            raise ValueError(
                f"is a {packing} file that breaks off at once. Leave it out."
            ) from error


def unpack(path: Path, packing: Packing, encoding: Encoding, target: Path) -> bool:
    """Write what is inside as plain UTF-8, as far as it goes; whether that was the whole.

    Raises OSError when there is no room to write.
    """
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
    return packing is not Packing.ZSTD or zstd_is_whole(path)


def keep(stream: BinaryIO, target: Path) -> None:
    """A stream as a file, since it is read more than once."""
    with target.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)


def zstd_is_whole(path: Path) -> bool:
    """Whether the frames end where the file ends: readers take a cut one for a short one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            if not _skip_frame(file):
                return False
        return file.tell() == size


def _inside(file: BinaryIO, packing: Packing) -> _Bytes:
    match packing:
        case Packing.GZIP:
            return gzip.GzipFile(fileobj=file)
        case Packing.BZIP2:
            return bz2.BZ2File(file)
        case Packing.XZ:
            return lzma.LZMAFile(file)
        case Packing.ZSTD:
            # Frames one after another, as `cat` of two files makes them.
            return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        case Packing.NONE:
            return file  # type: ignore[return-value]  # opened buffered: it has read1


def _skip_frame(file: BinaryIO) -> bool:
    """Step over one frame by its blocks' sizes (RFC 8878 3.1.1), nothing unpacked. False where no
    frame is; a step past the file's end shows in where it leads."""
    magic = file.read(4)
    if int.from_bytes(magic, "little") in _ZSTD_SKIPPABLE:
        length = file.read(4)
        file.seek(int.from_bytes(length, "little"), SEEK_CUR)
        return len(length) == 4
    flags = file.read(1)
    if magic != _ZSTD_FRAME or not flags:
        return False
    single, checksum = flags[0] & 0x20, flags[0] & 0x04
    dictionary = (0, 1, 2, 4)[flags[0] & 0x03]
    content = (1 if single else 0, 2, 4, 8)[flags[0] >> 6]
    file.seek((0 if single else 1) + dictionary + content, SEEK_CUR)
    last = False
    while not last:
        head = int.from_bytes(block := file.read(3), "little")
        if len(block) < 3:
            return False
        last, repeated = bool(head & 1), head >> 1 & 3 == 1  # one byte stands for all
        file.seek(1 if repeated else head >> 3, SEEK_CUR)
    file.seek(4 if checksum else 0, SEEK_CUR)
    return True
