"""What `mitmdump -s addon/redirect.py` loads: the addon from the package next to this file.

mitmproxy runs a script as a module without a package, so this file only hands over.
"""

import sys
from pathlib import Path

_here = str(Path(__file__).resolve().parent)
if (Path(_here) / "eas_redirect").is_dir() and _here not in sys.path:
    sys.path.insert(0, _here)

from eas_redirect.addon import EASRedirect  # noqa: E402 - the path comes first

addons = [EASRedirect()]
