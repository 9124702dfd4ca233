"""Certificates: files of them, the names they are for, and why TLS with a server fails.

Begin with `x509.py` (what an administrator hands in) and `handshake.py` (what a server shows);
`trouble.py` has the sentences about what is wrong.
"""
