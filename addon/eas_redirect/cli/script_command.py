"""`eas-redirect script`: prints the path of the file that mitmdump loads."""

from eas_redirect.cli.common import USAGE, fail
from eas_redirect.shim import find_shim


def script() -> None:
    """Print the path of the script that `mitmdump -s` loads.

    \b
    mitmdump -s "$(eas-redirect script)" --set eas_config=eas-redirect.toml
    """  # \b keeps a line as it is
    path = find_shim()
    if path is None:
        fail("The script is missing beside the package; install eas-redirect again.", USAGE)
    print(path)
