"""Who a connection has logged on as, where the logon belongs to the connection. Pure.

NTLM names its user once, in its last message (MS-NTHT 1.3): the requests that follow on the same
connection carry no Authorization at all. What is remembered holds for one connection of a client
together with one connection to Exchange, and for requests without an Authorization of their own.
"""

from eas_redirect.activesync.authorization import Credentials, Logon

_BOUND = ("ntlm", "negotiate")  # schemes whose logon Exchange keeps with the connection


class ConnectionLogons:
    """At most one logon for each client connection; keyed by mitmproxy's connection ids."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Logon]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, client: str, server: str, credentials: Credentials) -> Logon | None:
        """The logon of a request that brings none, if this pair of connections has one."""
        known = self._known.get(client)
        if credentials.scheme != "none" or known is None or known[0] != server:
            return None
        return known[1]

    def answered(self, client: str, server: str, credentials: Credentials, status: int) -> None:
        """Learn from a whole answer: anything but 401 means that Exchange took the logon.

        Another way of logging on, or a refusal, ends what was known: better no name than a wrong
        one.
        """
        if credentials.scheme == "none" and status != 401:
            return
        self._known.pop(client, None)
        if credentials.scheme in _BOUND and credentials.logon and status != 401:
            self._known[client] = (server, credentials.logon)

    def forget(self, client: str) -> None:
        self._known.pop(client, None)
