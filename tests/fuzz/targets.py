"""Every target. Importing the modules below registers theirs."""

from tests.fuzz import (
    targets_activesync,
    targets_autodiscover,
    targets_captures,
    targets_debugging,
    targets_directory,
    targets_files,
    targets_http1,
    targets_journals,
    targets_way,
)
from tests.fuzz.target import TARGETS, Target

_MODULES = (
    targets_activesync,
    targets_autodiscover,
    targets_debugging,
    targets_captures,
    targets_directory,
    targets_files,
    targets_http1,
    targets_journals,
    targets_way,
)


def load() -> dict[str, Target]:
    """The targets by name, in the order of the modules."""
    return dict(TARGETS)
