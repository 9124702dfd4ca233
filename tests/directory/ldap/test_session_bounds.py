"""A server that talks without an end before it has let anybody in: bounded in bytes, and told."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.session import MAX_BIND
from eas_redirect.directory.values import DirectorySettings, Unavailable
from eas_redirect.lab.authority import LabCertificates
from tests.directory.ldap.ranges import RangeServer, serving, whole_ranges
from tests.directory.ldap.test_wire import message, tlv
from tests.directory.ldap.test_wire_ranges import entries
from tests.directory.logons import logon

BUFFERS = 16 * 1024**2  # of the two ends of a connection on loopback, at most
LONG = b"\x30\x84\x7f\xff\xff\xff" + bytes(65530)  # a message of 2 GiB begins
OTHERS = message(9, tlv(0x61, tlv(0x0A, b"\0"), tlv(0x04), tlv(0x04)), wide=True) * 1000
# It is answered, and the answer holds a word too long.
WORDY = message(1, tlv(0x61, tlv(0x0A, b"\0"), tlv(0x04), tlv(0x04, b"x" * 2 * MAX_BIND)))


class Flood:
    """Sends `data` for ever to whoever asks for anything."""

    def __init__(self, data: bytes, context: ssl.SSLContext | None = None) -> None:
        self.data = data
        self.context = context
        self.sent = 0
        self.port = 0

    def serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection = (
                self.context.wrap_socket(plain, server_side=True) if self.context else plain
            )
            with connection:
                connection.recv(65536)
                while self.sent < 64 * 1024**2:
                    connection.sendall(self.data)
                    self.sent += len(self.data)


@contextmanager
def flooding(flood: Flood) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flood.port = listener.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=flood.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize(
    ("data", "error_types"),
    [
        (LONG, {"answer_too_long"}),
        (OTHERS, {"answer_too_long", "disconnected", "tls"}),  # ldap3 gives up by itself
        (WORDY, {"answer_too_long"}),
    ],
    ids=["no end", "for others", "wordy"],
)
@pytest.mark.parametrize("way", ["plain", "StartTLS", "TLS"])
async def test_a_flood_before_the_bind_is_answered(
    data: bytes, error_types: set[str], way: str, tmp_path: Path
) -> None:
    context, ca_file = None, None
    if way == "TLS":
        authority = LabCertificates(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.issue("dc", ("127.0.0.1",)).file)
        ca_file = str(authority.ca_file)
    flood = Flood(data, context)
    with flooding(flood):
        scheme = "ldaps" if way == "TLS" else "ldap"
        directory = ActiveDirectory(
            DirectorySettings(
                servers=(f"{scheme}://127.0.0.1:{flood.port}",),
                bind="anonymous",
                start_tls=way == "StartTLS",
                ca_file=ca_file,
                lookup_timeout_s=20,
            )
        )
        try:
            lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
        finally:
            directory.close()
    assert isinstance(lookup, Unavailable)
    assert lookup.error_type in error_types, lookup
    assert flood.sent <= MAX_BIND + BUFFERS


async def test_searches_count_for_themselves() -> None:
    """A connection that has been used for long has received more than a bind may."""
    server = RangeServer(entries(1, 20_000), whole_ranges(1500))
    with serving(server):
        directory = ActiveDirectory(DirectorySettings(servers=(server.url,), bind="anonymous"))
        try:
            for _ in range(2):
                lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
                assert not isinstance(lookup, Unavailable), lookup
        finally:
            directory.close()
