"""Runs mitmproxy itself: with only what this job needs, stopped gracefully, in several processes.

Begin with `command_line.py` (what `run` hands to mitmdump) and `proxy_process.py` (one proxy);
`supervisor.py` keeps several of them.
"""
