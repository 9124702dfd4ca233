"""Journals in, figures out: the report, its page, its tables, and the rehearsal of a wave.

The only room that imports DuckDB. Imports nothing of mitmproxy, ldap3 or the command line.
"""
