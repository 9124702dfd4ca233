"""Who a connection has logged on as, where the logon belongs to the connection. Pure.

NTLM names its user once, in its last message (MS-NTHT 1.3): the requests that follow on the same
connection carry no Authorization at all. What is remembered holds for one connection of a client
together with one connection to Exchange, and for requests without an Authorization of their own.
"""

from eas_redirect.activesync.authorization import ConnectionLogon, Credentials, Logon

_BOUND = ("ntlm", "negotiate")  # schemes whose logon Exchange keeps with the connection
_SOMEBODY = ConnectionLogon(None)


class ConnectionLogons:
    """At most one logon for each client connection; keyed by any names of connections.

    A logon that is dropped leaves behind that somebody is logged on: only Exchange, by asking for a
    logon again, says that nobody is.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Logon | None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, client: str, server: str, credentials: Credentials) -> ConnectionLogon | None:
        """For a request that brings no logon: what is known of this pair of connections."""
        known = self._known.get(client)
        if credentials.scheme != "none" or known is None:
            return None
        return ConnectionLogon(known[1]) if known[0] == server else _SOMEBODY

    def answered(self, client: str, server: str, credentials: Credentials, status: int) -> None:
        """Learn from a whole answer: anything but 401 means that Exchange took the logon.

        Another way of logging on, or a refusal, ends what was known: better no name than a wrong
        one.
        """
        if status == 401:
            self._known.pop(client, None)
        elif credentials.scheme in _BOUND:
            self._known[client] = (server, credentials.logon)
        elif credentials.scheme != "none" and client in self._known:
            self.somebody(client)

    def somebody(self, client: str) -> None:
        """Somebody has logged on by this connection, out of our sight."""
        self._known[client] = ("", None)

    def forget(self, client: str) -> None:
        """The connection has ended."""
        self._known.pop(client, None)
