"""What the proxy will need, tried before it is needed: files, directory, servers, targets, users.
Each trial is a `Check` with a state and what helps.

Begin with `everything.py`, which has them in their order, and `tried.py`, the form of one.
"""
