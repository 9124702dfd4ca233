"""What `check` sees of one server: its rootDSE, its clock, its certificate, and which bases are not
there."""

import socket
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.inspection import Inspection, inspect
from eas_redirect.directory.ldap.links import RootDSE
from eas_redirect.directory.values import DirectorySettings
from eas_redirect.lab.authority import LabCertificates
from tests.directory.ldap.ranges import (
    CONFIGURATION,
    ROOT,
    RangeServer,
    parts_of,
    serving,
    whole_ranges,
)
from tests.directory.ldap.test_wire import done_of, message
from tests.directory.ldap.test_wire_ranges import entries

UNBIND = 0x42  # RFC 4511 4.3


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("20260131120000.0Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("20260131120000Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026", None),
        ("", None),
        (None, None),
    ],
)
def test_the_clock_of_a_server(text: str | None, clock: datetime | None) -> None:
    seen = Inspection(root_dse=RootDSE(current_time=text), duration_ms=1.0)
    assert seen.current_time == clock


@dataclass(slots=True)
class Controller(RangeServer):
    """Has these `bases`, and ends a search of another one as `refuses` says."""

    bases: tuple[str, ...] = ("",)
    refuses: int = 32  # noSuchObject
    context: ssl.SSLContext | None = None
    operations: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def serve(self, connection: socket.socket) -> None:
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True)
        RangeServer.serve(self, connection)
        self.ended.set()

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        [(_, whole)] = parts_of(data)
        self.operations.append(parts_of(whole)[1][0])
        RangeServer._answer(self, connection, data)

    def _search(
        self, connection: socket.socket, number: int, request: list[tuple[int, bytes]]
    ) -> None:
        base = request[0][1].decode()
        if base in self.bases:
            RangeServer._search(self, connection, number, request)
        else:
            connection.sendall(message(number, done_of(self.refuses)))


def controller(*bases: str, refuses: int = 32) -> Controller:
    known = entries(1, 1)
    known[ROOT] = {"objectClass": [b"domain"]}
    return Controller(known, whole_ranges(1500), bases=("", *bases), refuses=refuses)


def inspected(
    server: Controller, monkeypatch: pytest.MonkeyPatch, **changes: str | None
) -> Inspection:
    monkeypatch.setenv("EAS_TEST_PASSWORD", "bind-Passw0rd-of-the-proxy")
    settings = DirectorySettings(
        servers=(),
        bind_user="eas@contoso.example",
        password_env="EAS_TEST_PASSWORD",
        search_base=changes.get("search_base"),
        configuration_base=changes.get("configuration_base"),
        ca_file=changes.get("ca_file"),
        bind="anonymous" if "anonymous" in changes else "simple",
    )
    with serving(server):
        url = server.url if server.context is None else f"ldaps://127.0.0.1:{server.port}"
        return inspect(url, settings, BindCredentials(settings))


def test_what_a_server_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    server = controller()
    seen = inspected(server, monkeypatch)
    assert seen.root_dse.default_naming_context == ROOT
    assert seen.root_dse.configuration_naming_context == CONFIGURATION
    assert seen.root_dse.is_active_directory
    assert 0 < seen.duration_ms < 60_000
    assert (seen.absent, seen.tls_version, seen.certificate) == ((), None, None)
    assert server.ended.wait(10)
    assert server.operations[-1] == UNBIND


def test_a_certificate_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = LabCertificates(tmp_path)
    certificate = authority.issue("dc", ("127.0.0.1",)).file
    server = controller()
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(certificate)
    seen = inspected(server, monkeypatch, ca_file=str(authority.ca_file))
    assert (seen.tls_version or "").startswith("TLSv1.")
    first = certificate.read_text("ascii").partition("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert("-----BEGIN" + (first[0] + first[1]).rpartition("-----BEGIN")[2])
    assert seen.certificate == der


@pytest.mark.parametrize(
    ("bases", "refuses", "configured", "absent"),
    [
        ((ROOT, CONFIGURATION), 32, {}, ()),
        ((ROOT, CONFIGURATION), 32, {"search_base": ROOT}, ()),
        ((), 32, {"search_base": ROOT}, ("search_base",)),
        ((), 32, {"search_base": ""}, ()),  # all of it
        ((ROOT,), 32, {"search_base": ROOT, "configuration_base": CONFIGURATION},
         ("configuration_base",)),
        ((), 10, {"search_base": ROOT}, ("search_base",)),  # another server has it
        ((), 50, {"search_base": ROOT}, ("search_base",)),  # this account may not look
        ((), 32, {"search_base": ROOT, "anonymous": ""}, ()),  # told at the bind, not here
        # Some servers answer without the entry.
        ((f"OU=Gone,{ROOT}",), 32, {"search_base": f"OU=Gone,{ROOT}"}, ("search_base",)),
    ],
)  # fmt: skip
def test_which_bases_are_not_there(
    bases: tuple[str, ...],
    refuses: int,
    configured: dict[str, str],
    absent: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = inspected(controller(*bases, refuses=refuses), monkeypatch, **configured)
    assert seen.absent == absent


def test_a_server_that_cannot_look_now_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    server = controller(refuses=51)
    with pytest.raises(Fault, match="busy"):
        inspected(server, monkeypatch, search_base=ROOT)
    assert server.ended.wait(10)
    assert server.operations[-1] == UNBIND
