"""The cache between the addon and a directory; see `CachedDirectory`."""

import time
from collections.abc import Callable

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.values import (
    CacheSettings,
    CacheStatistics,
    Directory,
    DirectoryAnswer,
    DriftListener,
    RelationshipsAnswer,
    Source,
)


class CachedDirectory:
    """A directory's answers with their lives; one question at a time per user.

    Unavailable is never cached. `recipient(..., fresh=True)` is for weak evidence: a cached answer
    may say no, but only an answer asked now may say that a mailbox is elsewhere, and a stale one is
    never given. With `fresh=False` a stale answer is served within `stale_s` while the directory
    is unavailable. Everything runs on the event loop of the caller; the clock is handed in.
    """

    source: Source

    def __init__(
        self,
        directory: Directory,
        settings: CacheSettings,
        *,
        on_drift: DriftListener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    async def recipient(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer:
        raise NotImplementedError

    async def relationships(self) -> RelationshipsAnswer:
        """The last good copy at once when there is one; else asked now."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin reading the relationships in the background (needs a running event loop)."""
        raise NotImplementedError

    def statistics(self) -> CacheStatistics:
        raise NotImplementedError

    def clear(self) -> None:
        """Forget every recipient; relationships are read again, the last good copy kept."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
