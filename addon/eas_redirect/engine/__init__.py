"""mitmproxy itself: run with only what this job needs, stopped gracefully, multiplied.

Begin with `command_line.py` (what `run` hands to mitmdump) and `proxy_process.py` (one proxy);
`supervisor.py` keeps several of them.
"""
