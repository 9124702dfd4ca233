"""Finds the script that mitmdump loads: `redirect.py`. Standard library only."""

from pathlib import Path


def find_shim() -> Path | None:
    """Inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    candidates = (package / "redirect.py", package.parent / "redirect.py")
    return next((path for path in candidates if path.is_file()), None)
