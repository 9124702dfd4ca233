"""Fixes for mitmproxy's HTTP/1, each with its reason. A fix that does not fit the installed
mitmproxy is left out; `engine/replaced.py` says what happens then.

Begin with `http1.py`, which lists the fixes; `proxy/part.py` puts them in place.
"""
