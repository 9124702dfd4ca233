"""A part of mitmproxy that is replaced, if its source is the one that the replacement was written
for.

Replacements rely on private names, and on what their callers do with them. A digest of the sources
covers both; a mitmproxy with another digest is left as it is.
"""

import hashlib
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

type Replacement = tuple[Any, str, Callable[..., object]]  # of what, which name, with what

_MISSING = object()
_in_place: set[str] = set()


def is_in_place(name: str) -> bool:
    """Whether the part of this name is in place."""
    return name in _in_place


class Part:
    """Replacements that are put in place together, and put back together."""

    def __init__(
        self,
        name: str,
        replacements: Sequence[Replacement],
        *,
        stands_on: Sequence[Any],
        known: Collection[str],
    ) -> None:
        """`stands_on`: the functions and modules that the digests in `known` cover."""
        self.name = name
        self.known = known
        self.stands_on = tuple(stands_on)
        self._replacements = tuple(replacements)
        self._originals = tuple(
            (owner, name, vars(owner).get(name, _MISSING)) for owner, name, _ in replacements
        )

    def put(self) -> bool:
        """Put the part in place if it fits; whether it is in place now. A second call changes
        nothing."""
        if not is_in_place(self.name) and self.digest() in self.known:
            for owner, name, replacement in self._replacements:
                setattr(owner, name, replacement)
            _in_place.add(self.name)
        return is_in_place(self.name)

    def put_back(self) -> None:
        """Restore the original without a trace. A second call changes nothing."""
        for owner, name, original in self._originals:
            if original is not _MISSING:
                setattr(owner, name, original)
            elif name in vars(owner):
                delattr(owner, name)
        _in_place.discard(self.name)

    def digest(self) -> str:
        """Of the sources that it relies on; empty if they cannot be read."""
        try:
            sources = "".join(inspect.getsource(each) for each in self.stands_on)
        except (OSError, TypeError):
            return ""
        return hashlib.sha256(sources.encode()).hexdigest()[:16]
