"""Which files to read: paths and globs in, `Source` values out. Reads a few bytes of each."""

import glob
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from eas_redirect.report.packing import (
    Encoding,
    Packing,
    head_of,
    keep,
    packing_of,
    text_encoding,
)

STANDARD_INPUT = "-"
_MAGIC = 8  # bytes
_HEAD = 4096  # bytes
_JOURNAL_LINE = b'\n{"@timestamp":'
_EAS_STEM = b"/microsoft-server-activesync"
_DIRECTIVE = re.compile(rb"(?:[^\r\n{]{0,400}?[:-])??#[A-Z][A-Za-z-]+:")
_DATED = re.compile(rb"(?:[^\r\n{]{0,400}?[:-])??[0-9]{4}-[0-9]{2}-[0-9]{2}[ \t][0-9:.]{8,}[ \t]")
_ARRAY = re.compile(rb"\[\s*\{")
_OUR_LOG = b"#Software: eas-redirect"
_NOT_READ = frozenset({".html"})  # of a folder: pages like those that `report` writes


class InputKind(StrEnum):
    """What a file holds."""

    JOURNAL = "journal"
    IIS = "iis"
    EXCERPT = "excerpt"  # lines of an IIS log without its head
    TWIN = "twin"  # the journal once more, in W3C form (`journal.iis_path`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file to read. `size` in bytes, as it is on the disk; `name` as it was given; `head`
    holds the first bytes of the content: no two journals begin alike unless one is a copy."""

    path: Path
    name: str
    kind: InputKind
    packing: Packing
    encoding: Encoding
    size: int
    head: bytes


class SourceError(Exception):
    """What was requested cannot be read at all; each sentence says what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def open_sources(patterns: Iterable[str]) -> Iterator[tuple[Source, ...]]:
    """As `find_sources`, with pipes and the standard input (`-`) kept in files meanwhile."""
    with TemporaryDirectory(prefix="eas-report-") as folder:
        yield find_sources(patterns, Path(folder))


def find_sources(patterns: Iterable[str], streams: Path | None = None) -> tuple[Source, ...]:
    """The files behind paths and globs, each once, by name. Raises SourceError.

    `streams` is a folder for content that cannot be read twice; without one, such a source is
    refused.
    """
    found: dict[Path, Source] = {}
    problems: list[str] = []
    for pattern in dict.fromkeys(patterns):
        paths = expand(pattern)
        if not paths:
            what = "holds no files" if Path(pattern).is_dir() else "no such file"
            problems.append(f"{pattern}: {what}. Name a journal, an IIS log or a glob.")
        for path in paths:
            try:
                source = _source(_kept(path, streams), str(path))
                found[source.path.resolve()] = source
            except (OSError, ValueError) as error:
                problems.append(f"{path}: {_reason(error)}")
    if problems:
        raise SourceError(problems)
    return tuple(sorted(found.values(), key=lambda source: source.name))


def expand(pattern: str) -> list[Path]:
    """The files of a folder or a glob; not every shell expands globs."""
    path = Path(pattern)
    if pattern == STANDARD_INPUT:
        return [path]
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and p.suffix not in _NOT_READ)
    if path.exists():
        return [path]
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute ones
    return sorted(path for name in names if (path := Path(name)).is_file())


def _kept(path: Path, streams: Path | None) -> Path:
    """The path, or the file that a stream was saved to."""
    named = str(path) == STANDARD_INPUT
    if not named and path.is_file():
        return path
    if streams is None:
        raise ValueError("is a stream. Write it to a file first.")
    target = streams / f"stream{len(list(streams.iterdir()))}"
    if named:
        keep(sys.stdin.buffer, target)
    else:
        with path.open("rb") as stream:
            keep(stream, target)
    return target


def _source(path: Path, name: str) -> Source:
    with path.open("rb") as file:
        packing = packing_of(magic := file.read(_MAGIC))
    if magic.startswith(b"PK\x03\x04"):
        raise ValueError("is packed with zip. Unpack it, or pack it with gzip or zstd.")
    head = head_of(path, packing, _HEAD)
    return Source(
        path=path,
        name=name,
        kind=_kind(head),
        packing=packing,
        encoding=text_encoding(head),
        size=path.stat().st_size,
        head=head,
    )


def _kind(head: bytes) -> InputKind:
    """IIS writes directives first (W3C Extended Log File Format); an excerpt may have none."""
    begin = head.decode(text_encoding(head), "replace").encode().lstrip()
    if begin.startswith(_OUR_LOG):
        return InputKind.TWIN
    if _DIRECTIVE.match(begin):
        return InputKind.IIS
    if is_array(begin):
        return InputKind.JOURNAL  # of no lines: `store.py` says so
    # A container's log has what its programs say between the lines of the journal.
    if begin.startswith(b"{") or _JOURNAL_LINE in begin:
        return InputKind.JOURNAL
    excerpt = _EAS_STEM in begin.lower() or _DATED.match(begin)
    return InputKind.EXCERPT if excerpt else InputKind.JOURNAL


def is_array(head: bytes) -> bool:
    """Whether it is one JSON array of records, as many programs export them."""
    return _ARRAY.match(head) is not None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror}). See to its rights."
    return str(error)
