"""`eas-redirect check`: tries everything that the proxy will need, before it needs it: files,
directory, servers, targets, users. Each result is a `Check` with a state and advice.

Begin with `everything.py`, which runs them in order, and `tried.py`, which defines `Check`.
"""
