"""Files for targets that read files."""

import os
import tempfile
from functools import cache
from pathlib import Path


@cache
def directory() -> Path:
    """Removed when the process ends."""
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="eas-fuzz-")


def written(data: bytes, name: str) -> Path:
    path = directory() / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    return path
