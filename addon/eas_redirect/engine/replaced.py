"""How much of mitmproxy is replaced: applies the option `eas_engine`, and undoes it.

| | fixes | dispatch, values | events |
| --- | --- | --- | --- |
| `full`: what `run` takes | yes | yes | yes |
| `safe`: elsewhere | yes | yes | |
| `off` | yes | | |
| `stock`: what `run --stock` takes | | | |
"""

import importlib
import logging
from typing import Literal

from mitmproxy.addonmanager import AddonManager

from eas_redirect.engine import quick
from eas_redirect.proxy.options import Engine
from eas_redirect.proxy.part import Part, is_in_place

# What happens without the fixes of HTTP/1.
WITHOUT_FIXES = (
    "an interim answer of Exchange's (100, 102, 103) hangs its client",
    "a request or an answer with trailers hangs both of its connections",
    "an answer that ends before its request does, such as a 401 to a large upload, hangs the client"
    " until it has sent everything",
    "what follows a 101 at once is cut, and one before the request's end ends the exchange",
    "a client that closes its sending half behind its request gets no answer",
    "`Expect: 100-continue` is answered by mitmproxy, not by Exchange",
    "a 204 with a transfer coding, and a header whose name is no token, become a 502",
    "a head, a chunk's first line or trailers without end are kept in memory",
    "connections that Exchange closed when idle stay open towards the client",
    "error pages name mitmproxy and the address of Exchange; a device gets 502 where it is away",
    "the log can quote heads that could not be read, with the passwords in them",
)

logger = logging.getLogger(__name__)

type PartState = Literal["in place", "left out", "does not fit"]

ADVICE = "Install a version that fits: pip install 'mitmproxy>=12.2.2,!=12.2.3,<12.4'."

_WHERE = {
    "fixes": ("eas_redirect.fixes.http1", "FIXES"),
    "dispatch": ("eas_redirect.engine.quick", "DISPATCH"),
    "values": ("eas_redirect.engine.quick", "VALUES"),
    "events": ("eas_redirect.engine.quick", "EVENTS"),
}
_WANTED: dict[Engine, tuple[str, ...]] = {
    "full": ("fixes", "dispatch", "values", "events"),
    "safe": ("fixes", "dispatch", "values"),
    "off": ("fixes",),
    "stock": (),
}


def replace(engine: Engine, addons: AddonManager) -> dict[str, PartState]:
    """Put in place what this engine wants and what fits, and restore the rest. Returns each part's
    state by its name."""
    states: dict[str, PartState] = {}
    for name in _WHERE:
        if name not in _WANTED[engine]:
            _put_back(name, addons)
            states[name] = "left out"
        else:
            states[name] = "in place" if _put(name, addons) else "does not fit"
    return states


def unfit(engine: Engine) -> tuple[str, ...]:
    """The parts that this engine wants and that are not known to fit the installed mitmproxy."""
    parts = {name: _part(name) for name in _WANTED[engine]}
    return tuple(
        name for name, part in parts.items() if part is None or part.digest() not in part.known
    )


def put_back(addons: AddonManager) -> None:
    """Restore everything, so that mitmproxy is as it was."""
    for name in _WHERE:
        _put_back(name, addons)


_IN_WORDS: dict[Engine, str] = {
    "full": "its HTTP/1 fixed, its hooks and connections quicker",
    "safe": "its HTTP/1 fixed, its hooks quicker",
    "off": "its HTTP/1 fixed",
    "stock": "nothing of it replaced",
}


def say(engine: Engine, states: dict[str, PartState]) -> None:
    """For the log of the start."""
    logger.info("eas-redirect: mitmproxy as it is used here: %s (%s)", _IN_WORDS[engine], engine)
    left_out = [name for name, state in states.items() if state == "does not fit"]
    if left_out:
        logger.warning(
            "eas-redirect: this mitmproxy is not one that these parts were made for: %s. They are "
            "left out. %s",
            *(", ".join(left_out), ADVICE),
        )
    if states["fixes"] != "in place":
        lost = "".join(f"\n  - {each}" for each in WITHOUT_FIXES)
        logger.warning(
            "eas-redirect: without its fixes of HTTP/1 mitmproxy has these faults:%s", lost
        )


def _part(name: str) -> Part | None:
    """None if a later mitmproxy has moved a name that the part relies on."""
    module, attribute = _WHERE[name]
    try:
        part = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return None
    return part if isinstance(part, Part) else None


def _put(name: str, addons: AddonManager) -> bool:
    part = _part(name)
    if part is None or (name == "events" and not is_in_place("dispatch")):
        return False
    if name == "dispatch" and not (part.digest() in part.known and quick.remember(addons)):
        return False
    return part.put()


def _put_back(name: str, addons: AddonManager) -> None:
    if name == "dispatch":
        quick.forget(addons)
    part = _part(name)
    if part is not None:
        part.put_back()
