"""The lab: a legacy Exchange stand-in, a target, a directory and device personas, all on loopback.

Nothing here decides anything: the proxy in the middle is a real mitmdump with the real addon. The
stand-ins also serve integration tests: `exchange.LegacyExchange` on a `server.Server`.
"""
