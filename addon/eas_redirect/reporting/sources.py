"""Which files to read: paths and globs in, `Source` values out. Reads a few bytes of each.

Imports the standard library only.
"""

import glob
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_OTHER_PACKING = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
_HEAD = 512  # bytes


class Kind(StrEnum):
    """What a file holds."""

    JOURNAL = "journal"
    IIS = "iis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file to read. `size` in bytes, as it lies on the disk."""

    path: Path
    kind: Kind
    compression: str  # none, gzip, zstd: DuckDB's words
    size: int


class SourceError(Exception):
    """What was asked for cannot be read at all; each sentence says what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def find_sources(patterns: Iterable[str]) -> tuple[Source, ...]:
    """The files behind paths and globs, each once, by name. Raises SourceError."""
    found: dict[Path, Source] = {}
    problems: list[str] = []
    for pattern in patterns:
        paths = _expand(pattern)
        if not paths:
            problems.append(f"{pattern}: no such file. Name a journal, an IIS log or a glob.")
        for path in paths:
            try:
                found[path.resolve()] = _source(path)
            except (OSError, ValueError) as error:
                problems.append(f"{path}: {_reason(error)}")
    if problems:
        raise SourceError(problems)
    return tuple(sorted(found.values(), key=lambda source: str(source.path)))


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.exists():
        return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute ones
    return sorted(path for name in names if (path := Path(name)).is_file())


def _source(path: Path) -> Source:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    compression = "gzip" if head.startswith(_GZIP) else "none"
    if head.startswith(_ZSTD):
        compression = "zstd"
    if compression == "gzip":
        head = _unpacked_head(path)
    for magic, name in _OTHER_PACKING.items():
        if head.startswith(magic):
            raise ValueError(f"is packed with {name}. Unpack it, or pack it with gzip or zstd.")
    if head.startswith(_UTF16):
        raise ValueError("is UTF-16, as PowerShell writes it. Save it as UTF-8.")
    return Source(
        path=path, kind=_kind(path, head), compression=compression, size=path.stat().st_size
    )


def _unpacked_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD)
    except (EOFError, OSError) as error:
        raise ValueError("is a gzip file that breaks off at once. Leave it out.") from error


def _kind(path: Path, head: bytes) -> Kind:
    """IIS writes directives first (W3C Extended Log File Format); a packed head cannot be seen,
    and then the usual name tells."""
    if head.startswith(_ZSTD):
        name = path.name.lower()
        return Kind.IIS if ".log" in name and ".json" not in name else Kind.JOURNAL
    return Kind.IIS if head.removeprefix(b"\xef\xbb\xbf").startswith(b"#") else Kind.JOURNAL


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror}). See to its rights."
    return str(error)
