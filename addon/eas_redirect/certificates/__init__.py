"""Certificates: the files, the names that they are for, and why TLS with a server fails.

Begin with `x509.py` (what an administrator hands in) and `handshake.py` (what a server shows);
`trouble.py` says what is wrong.
"""
