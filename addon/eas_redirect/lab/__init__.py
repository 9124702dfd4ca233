"""The lab: a legacy Exchange stand-in, a target, a directory and device personas, all on loopback.
Nothing here decides anything: the proxy in the middle is the real one, with the real addon.

Begin with `runner.py`, the whole as one context, and `walk.py`, a persona's way through it. Tests
use the stand-ins as well: `legacy_exchange.py` on an `http_server.py`.
"""
