"""Which version of a snapshot's file is in force. Standard library only; reads files, so it is not
for the event loop.

A version is adopted when it is complete: it has not changed for a while, it ends as a complete file
does, and nothing in it says otherwise. One that lacks much of the version in force is more likely a
failed export than the truth: it must still be there an hour later, or somebody must accept it.
Until then the version in force stays; if there is none, nobody is looked up.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.ldif import decode, ends_whole
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.snapshot import (
    EmptySnapshotError,
    Snapshot,
    SnapshotError,
    file_bytes,
)
from eas_redirect.directory.values import (
    AccountDomain,
    DirectoryAnswer,
    Lookup,
    MovedAnswer,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)

SETTLE_S = 5.0  # a file that changed within this time may still be being written
AGAIN_S = 3600.0  # between the two readings of a version that has lost much
MOST_LOST = 0.1  # of the recipients
# Names a folder that the workers of one supervisor share, and that ends with it.
SIBLINGS = "EAS_REDIRECT_SIBLINGS"

_MEMORY = "snapshot.json"
_LONGEST = 16 * 1024 * 1024  # bytes of a memory or an acceptance that are read
_SHOWN = 5  # names of what was lost

# Modification time in ns, size, inode, change time in ns: a copy may keep all but the last.
type _Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a version holds, as far as a loss of it matters. `digest`: SHA-256 of the file."""

    digest: str
    recipients: int
    relationships: tuple[str, ...]
    domains: tuple[str, ...]  # naming contexts, and the domains of relationships
    cut: bool = False  # not all domains of a relationship are known

    def lost(self, newer: "Extent") -> str | None:
        """What a newer version has lost, in words; None if it is not much."""
        for what, mine, theirs in (
            ("relationship", self.relationships, newer.relationships),
            ("domain", self.domains, newer.domains),
        ):
            if gone := sorted(set(mine) - set(theirs)):
                names = ", ".join(gone[:_SHOWN]) + (", …" if len(gone) > _SHOWN else "")
                return f"it has lost the {what}{'s' if len(gone) > 1 else ''} {names}"
        if newer.recipients < self.recipients * (1 - MOST_LOST):
            return f"it has only {newer.recipients} recipients of {self.recipients}"
        if newer.cut and not self.cut:
            return "a relationship has lost a part of its domains"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A version that has lost much, and when it was first read (time.time)."""

    digest: str
    first_read_s: float


class SnapshotFile:
    """Follows the file of `directory.snapshot`. Used by one thread at a time. `problem`: why the
    current file is not in force, as a sentence; None while it is."""

    def __init__(
        self,
        path: Path,
        *,
        default_domain: str | None = None,
        no_mailboxes_here: bool = False,
        account_domains: tuple[AccountDomain, ...] = (),
        memory: Path | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`memory` is the folder that siblings share (see `SIBLINGS`)."""
        self.path = path
        self.problem: str | None = None
        self._default_domain = default_domain
        self._no_mailboxes_here = no_mailboxes_here
        self._account_domains = account_domains
        self._memory = memory / _MEMORY if memory is not None else None
        self._clock = clock
        self._sleep = sleep
        self._in_force: Extent | None = None
        self._snapshot: Snapshot | None = None
        self._current: _Signature | None = None  # of the version in force
        self._seen: tuple[_Signature | None, float] = (None, 0.0)  # and since when
        self._judged: _Signature | None = None  # what `problem` is about
        self._pending: _Pending | None = None
        self._acceptance: _Signature | None = None  # of the file that says what was accepted

    def open(self, *, patience_s: float = 0.0) -> Snapshot | None:
        """The version to begin with; None while there is none that may be used (`problem`).

        Waits up to `patience_s` for a file that looks whole and has changed just now. Raises
        SnapshotError for a file that is not a snapshot at all.
        """
        self._recall()
        opened = self._look(strict=True)
        if opened is None and self.problem is None and patience_s and self._looks_whole():
            changed_s = self._seen[0][0] / 1e9 if self._seen[0] is not None else 0.0
            self._sleep(min(patience_s, max(0.0, changed_s + SETTLE_S - self._clock())))
            opened = self._look(strict=True)
        if opened is None and self.problem is None:
            self.problem = f"{self.path}: the snapshot is still being written"
        return opened

    def look(self) -> Snapshot | None:
        """A newer version to adopt, if there is one."""
        newer = self._look(strict=False)
        if self._snapshot is not None:
            if self._current == self._seen[0]:
                self._snapshot.outdated_since = None
            elif self._snapshot.outdated_since is None:
                self._snapshot.outdated_since = time.monotonic()
        return newer

    def _look(self, *, strict: bool) -> Snapshot | None:
        signature, now = _signature(self.path), self._clock()
        if signature != self._seen[0]:
            self._seen = signature, now
        if signature is None:
            self._judged = None
            self.problem = f"{self.path}: the snapshot is gone; put it back"
            return None
        if signature == self._current:
            self.problem = self._pending = None
            return None
        if not self._stands_still(signature, now):
            return None
        if signature == self._judged and not self._may_be_adopted_now():
            return None
        try:
            return self._judge(signature)
        except SnapshotError as error:
            self._judged, self.problem = signature, str(error)
            if strict and not isinstance(error, EmptySnapshotError):
                raise
            return None

    def _stands_still(self, signature: _Signature, now: float) -> bool:
        """A file server's clock may be wrong, so what we have seen ourselves counts too."""
        changed_s = signature[0] / 1e9
        return changed_s <= now - SETTLE_S or now - self._seen[1] >= SETTLE_S

    def _judge(self, signature: _Signature) -> Snapshot | None:
        data = file_bytes(self.path)
        if _signature(self.path) != signature:
            return None
        self._judged = signature
        digest = hashlib.sha256(data).hexdigest()
        if self._snapshot is not None and self._in_force and self._in_force.digest == digest:
            self._current, self.problem, self._pending = signature, None, None
            return None
        snapshot = Snapshot.read(
            data,
            self.path,
            default_domain=self._default_domain,
            no_mailboxes_here=self._no_mailboxes_here,
            account_domains=self._account_domains,
        )
        extent = extent_of(snapshot, digest)
        accepted = digest == accepted_digest(self.path)
        self.problem = self._why_not(snapshot, extent, accepted=accepted)
        if self.problem is not None:
            return None
        self._in_force, self._snapshot, self._current = extent, snapshot, signature
        self._pending = None
        self._remember()
        return snapshot

    def _why_not(self, snapshot: Snapshot, extent: Extent, *, accepted: bool) -> str | None:
        if snapshot.partial is not None:
            return snapshot.partial
        if accepted:
            return None
        if snapshot.unended is not None:
            return snapshot.unended
        lost = self._in_force.lost(extent) if self._in_force is not None else None
        if lost is None:
            return None
        now = self._clock()
        if self._pending is None or self._pending.digest != extent.digest:
            self._pending = _Pending(digest=extent.digest, first_read_s=now)
            self._remember()
        adopted_s = self._pending.first_read_s + AGAIN_S
        if now >= adopted_s:
            return None
        when = time.strftime("%H:%M", time.localtime(adopted_s))
        return (
            f"{self.path}: {lost}, so the snapshot before it stays in force: export it again; if "
            f"it is right, run eas-redirect check --accept-snapshot, or leave it until {when}"
        )

    def _may_be_adopted_now(self) -> bool:
        """Whether an earlier judgement must be repeated."""
        if self._pending is not None and self._clock() >= self._pending.first_read_s + AGAIN_S:
            return True
        accepted = _signature(acceptance(self.path))
        changed, self._acceptance = accepted != self._acceptance, accepted
        return changed

    def _looks_whole(self) -> bool:
        """For a file that has just changed: whether it is worth waiting for."""
        try:
            return ends_whole(decode(file_bytes(self.path)))
        except SnapshotError:
            return False

    def _recall(self) -> None:
        """What siblings have in force. A replacement worker must not adopt what the others hold
        back."""
        if self._memory is None:
            return
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(_bounded(self._memory))
            if known["path"] != str(self.path):
                return
            in_force, pending = known["in_force"], known["pending"]
            if in_force is not None:
                lists = {name: tuple(in_force[name]) for name in ("relationships", "domains")}
                self._in_force = Extent(**(in_force | lists))
            self._pending = _Pending(**pending) if pending is not None else None

    def _remember(self) -> None:
        if self._memory is None:
            return
        known = {
            "path": str(self.path),
            "in_force": asdict(self._in_force) if self._in_force is not None else None,
            "pending": asdict(self._pending) if self._pending is not None else None,
        }
        with contextlib.suppress(OSError):  # each worker then knows for itself alone
            _replace(self._memory, json.dumps(known))


class HeldBack:
    """A `Directory` while no snapshot is in force: it knows nothing about anybody."""

    source: DirectorySource = "snapshot"

    def __init__(self, why: Callable[[], str | None]) -> None:
        self._why = why

    async def recipient(self, logon: Logon) -> DirectoryAnswer:  # noqa: ARG002 - whoever it is
        return DirectoryAnswer(lookup=self._unavailable(), source=self.source)

    def meant_by(self, name: str) -> Lookup:  # noqa: ARG002 - whoever it is
        return self._unavailable()

    async def relationships(self) -> RelationshipsAnswer:
        return RelationshipsAnswer(relationships=self._unavailable(), source=self.source)

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:  # noqa: ARG002 - whoever it is
        return MovedAnswer(moved=self._unavailable(), source=self.source)

    def close(self) -> None:
        """Nothing is held open."""

    def _unavailable(self) -> Unavailable:
        message = self._why() or "the snapshot is about to be read"
        return Unavailable(error_type="snapshot_held_back", message=message)


def acceptance(snapshot: Path) -> Path:
    """The file beside a snapshot that says which version somebody has accepted."""
    return snapshot.with_name(f"{snapshot.name}.accepted")


def accepted_digest(snapshot: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        return _bounded(acceptance(snapshot)).partition("\n")[0].strip()
    return None


def is_accepted(snapshot: Path) -> bool:
    """Whether somebody has said that this very version is right."""
    return accepted_digest(snapshot) == hashlib.sha256(file_bytes(snapshot)).hexdigest()


def accept(snapshot: Path) -> None:
    """Record that this very version is right, whatever it has lost. Raises OSError and
    SnapshotError."""
    digest = hashlib.sha256(file_bytes(snapshot)).hexdigest()
    _replace(acceptance(snapshot), f"{digest}\n")


def extent_of(snapshot: Snapshot, digest: str) -> Extent:
    relationships, domains = snapshot.holds()
    return Extent(
        digest=digest,
        recipients=len(snapshot),
        relationships=relationships,
        domains=domains,
        cut=bool(snapshot.cut),
    )


def _bounded(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_LONGEST)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text, "utf-8")
    new.replace(path)


def _signature(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
