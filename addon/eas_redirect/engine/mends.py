"""The mends of mitmproxy, put in place when the mitmproxy that is installed is one they fit."""

import importlib
import logging

logger = logging.getLogger(__name__)


def mend() -> bool:
    """Put the mends of `http1.py` in place; False, with a warning, when they do not fit.

    They stand on private names, which a later mitmproxy may move. The main job needs none of them.
    """
    try:
        importlib.import_module("eas_redirect.engine.http1").mend()
    except (ImportError, AttributeError) as error:
        logger.warning(
            "eas-redirect: this mitmproxy is newer than what its HTTP/1 mends were made for (%s). "
            "Interim answers, trailers and early answers cross as mitmproxy has them.",
            error,
        )
        return False
    return True
