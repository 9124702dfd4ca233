"""`eas-redirect script`: where the file is that mitmdump loads."""

from pathlib import Path

from eas_redirect.cli.common import USAGE, fail


def script() -> None:
    """Print the path of the script that `mitmdump -s` loads.

    \b
    mitmdump -s "$(eas-redirect script)" --set eas_config=eas-redirect.toml
    """  # \b keeps a line as it is
    path = find()
    if path is None:
        fail("The script is missing beside the package; install eas-redirect again.", USAGE)
    print(path)


def find() -> Path | None:
    """Inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    candidates = (package / "redirect.py", package.parent / "redirect.py")
    return next((path for path in candidates if path.is_file()), None)
