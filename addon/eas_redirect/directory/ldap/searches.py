"""Searches put over a connection, one after the other; for `ldap_session.py`. No ldap3 here."""

import math
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.wire import (
    Done,
    Search,
    read_message,
    search_request,
    whole_length,
)

_CHUNK = 65_536  # bytes of a read


class Searches:
    """Of one connection. Used by one thread; of no use any more after an exception."""

    def __init__(self) -> None:
        self._message_ids = count(1)  # ldap3's own, of the bind, are answered by then
        self._received = bytearray()

    def ask(
        self, connection: socket.socket, search: Search, remaining: Callable[[], float]
    ) -> tuple[list[Entry], Done]:
        """The entries, and how the search ended. Raises OSError and WireError.

        `remaining` says how many seconds may pass from now on, never zero.
        """
        message_id = next(self._message_ids)
        limit_s = math.ceil(remaining())
        limited = replace(search, time_limit_s=min(search.time_limit_s or limit_s, limit_s))
        connection.settimeout(remaining())
        connection.sendall(search_request(message_id, limited))
        entries: list[Entry] = []
        while True:
            message = read_message(self._receive(connection, remaining))
            if message.message_id == 0:  # a notice of disconnection (RFC 4511 4.4.1)
                raise ConnectionAbortedError
            if message.message_id == message_id:
                match message.content:
                    case Done() as done:
                        return entries, done
                    case Entry() as entry:
                        entries.append(entry)
                    case None:
                        pass

    def _receive(self, connection: socket.socket, remaining: Callable[[], float]) -> bytes:
        """The next whole message. What came after it is kept."""
        received = self._received
        while (length := whole_length(received)) is None or len(received) < length:
            connection.settimeout(remaining())
            if not (data := connection.recv(_CHUNK)):
                raise ConnectionAbortedError
            received += data
        message = bytes(received[:length])
        del received[:length]
        return message
