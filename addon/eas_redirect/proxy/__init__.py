"""mitmproxy's side: exchanges under way, flows as values, logons of connections, options.

Begin with `exchanges.py`, which follows an exchange and alone changes an answer; `flows.py` makes
plain values of a flow. The hooks that call them are `EASRedirect`'s, the addon itself.
"""
