"""mitmproxy's side: exchanges under way, open waits, flows as values, certificates, options.

Begin with `exchanges.py`, which follows an exchange and is the only one to change an answer;
`flows.py` makes plain values of a flow. The hooks that call them are `EASRedirect`'s, the addon
itself.
"""
