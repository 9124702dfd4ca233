"""Certificates: files of them, the names they are for, and why TLS with a server fails."""
