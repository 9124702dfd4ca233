"""What many tests need: missing programs skip here and fail in CI."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"


def require(*programs: str) -> None:
    """Skip the test when a program is missing; in CI (`CI=true`) that is a failure."""
    missing = [p for p in programs if shutil.which(p, path=_search_path()) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")


def unavailable(reason: str) -> None:
    """Skip with a reason; in CI a test that cannot run has failed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must be able to run this: {reason}")
    pytest.skip(reason)


def _search_path() -> str:
    """Servers live in sbin, which is not on everybody's PATH."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])
