"""What is changed in mitmproxy, put in place where the one that is installed is one it fits."""

import importlib
import logging

from mitmproxy.addonmanager import AddonManager

logger = logging.getLogger(__name__)


def mend() -> bool:
    """Put the mends of `http1.py` in place; False, with a warning, when they do not fit.

    They stand on private names, which a later mitmproxy may move. The main job needs none of them.
    """
    try:
        importlib.import_module("eas_redirect.fixes.http1").mend()
    except (ImportError, AttributeError) as error:
        logger.warning(
            "eas-redirect: this mitmproxy is newer than what its HTTP/1 mends were made for (%s). "
            "Interim answers, trailers and early answers cross as mitmproxy has them.",
            error,
        )
        return False
    return True


def quicken(addons: AddonManager) -> bool:
    """Make mitmproxy quicker with `quick.py`; False where it does not fit, and nothing is lost."""
    try:
        fits = importlib.import_module("eas_redirect.engine.quick").quicken(addons)
    except (ImportError, AttributeError):
        fits = False
    if not fits:
        logger.info("eas-redirect: this mitmproxy is newer than what could be made quicker in it.")
    return bool(fits)
