"""A server that gives attributes of many values in ranges, as Active Directory does (MS-ADTS
3.1.1.3.1.3.3), over a real socket."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from eas_redirect.directory.ldap.wire import whole_length
from tests.directory.ldap.test_wire import done_of, entry_of, message, tlv

ROOT = "DC=contoso,DC=example"
CONFIGURATION = f"CN=Configuration,{ROOT}"

type _Part = tuple[int, bytes]  # tag and content
type Attributes = dict[str, list[bytes]]
# What is left of an attribute's values from an index on: the name with its range, and they.
type Ranging = Callable[[str, list[bytes], int], tuple[str, list[bytes]] | None]


def whole_ranges(most: int) -> Ranging:
    def give(name: str, values: list[bytes], first: int) -> tuple[str, list[bytes]] | None:
        part = values[first : first + most]
        if not part:
            return None
        end = "*" if first + most >= len(values) else str(first + len(part) - 1)
        return f"{name};range={first}-{end}", part

    return give


@dataclass(slots=True)
class RangeServer:
    """`entries` by DN. `asked`: the attributes of each search, with their ranges."""

    entries: dict[str, Attributes]
    ranging: Ranging
    most: int = 1500
    port: int = 0
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    endless: bytes | None = None  # sent over and over in place of an answer about users
    sent: int = 0

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        received = bytearray()
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                received += data
                while (length := whole_length(received)) is not None and len(received) >= length:
                    self._answer(connection, bytes(received[:length]))
                    del received[:length]

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        [(_, whole)] = parts_of(data)
        (_, signed), (operation, content), *_ = parts_of(whole)
        number = int.from_bytes(signed)
        match operation:
            case 0x60:  # a bind (RFC 4511 4.2)
                done = (tlv(0x0A, b"\0"), tlv(0x04), tlv(0x04))
                connection.sendall(message(number, tlv(0x61, *done), wide=True))
            case 0x63:  # a search (RFC 4511 4.5)
                self._search(connection, number, parts_of(content))
            case _:
                pass  # unbind

    def _search(self, connection: socket.socket, number: int, request: list[_Part]) -> None:
        base, scope, condition = request[0][1].decode(), request[1][1][0], request[6]
        wanted = tuple(name.decode() for _, name in parts_of(request[7][1]))
        self.asked.append((base, wanted))
        if self.endless is not None and "sAMAccountName" in wanted:
            while True:
                connection.sendall(message(number, self.endless, wide=True))
                self.sent += len(self.endless)
        for dn, attributes in self.entries.items():
            is_base, below = dn.lower() == base.lower(), dn.lower().endswith(base.lower())
            if not (is_base or (scope and below)):
                continue
            if scope and not _matches(attributes, condition):
                continue
            shown = dict(filter(None, (self._shown(name, attributes) for name in wanted)))
            connection.sendall(message(number, entry_of(dn, shown, wide=True), wide=True))
        connection.sendall(message(number, done_of(0), wide=True))

    def _shown(self, wanted: str, attributes: Attributes) -> tuple[str, list[bytes]] | None:
        name, _, option = wanted.partition(";range=")
        values = next((v for n, v in attributes.items() if n.lower() == name.lower()), [])
        first = int(option.partition("-")[0]) if option else 0
        if not values:
            return None
        if not option and len(values) <= self.most:
            return name, values
        return self.ranging(name, values, first)


def _matches(attributes: Attributes, condition: _Part) -> bool:
    """`(&(a=b)(c=d))`, `(a=b)` and `(a=*)`."""
    kind, content = condition
    if kind == 0xA0:
        return all(_matches(attributes, each) for each in parts_of(content))
    if kind == 0x87:
        return any(name.lower() == content.decode().lower() for name in attributes)
    (_, name), (_, value) = parts_of(content)
    found = (v for n, vs in attributes.items() if n.lower() == name.decode().lower() for v in vs)
    return any(each.lower() == value.lower() for each in found)


def parts_of(data: bytes) -> list[_Part]:
    found, at = [], 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[at + 2 : start])
        found.append((data[at], data[start : start + size]))
        at = start + size
    return found


@contextmanager
def serving(server: RangeServer) -> Iterator[RangeServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
