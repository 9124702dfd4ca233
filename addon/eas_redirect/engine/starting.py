"""When mitmproxy's start is over: once it has looked for errors that were logged meanwhile.

Until then any ERROR, be it about one client's request, ends the process.
"""

import asyncio
import logging

from mitmproxy import ctx
from mitmproxy.addons.errorcheck import ErrorCheck

_LOOK_S = 0.01


def is_checked() -> bool:
    """Whether an error that is logged now ends the start."""
    check = ctx.master.addons.get("errorcheck")
    return isinstance(check, ErrorCheck) and check.logger in logging.getLogger().handlers


async def over(patience_s: float) -> bool:
    """Wait until that is over; False when it takes longer than `patience_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while is_checked():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True
