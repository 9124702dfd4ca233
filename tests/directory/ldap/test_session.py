"""One bound connection, over real sockets: who binds how, what is asked page by page, and what each
failure is called."""

import contextlib
import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import (
    LDAPExtensionError,
    LDAPOperationResult,
    LDAPPackageUnavailableError,
    LDAPSocketOpenError,
)

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault, NoSuchObjectError
from eas_redirect.directory.ldap.links import RootDSE
from eas_redirect.directory.ldap.servers import ServerAddress
from eas_redirect.directory.ldap.session import (
    LDAPSession,
    connect_fault,
    kerberos_fault,
    lost_fault,
    tls_context,
)
from eas_redirect.directory.ldap.wire import TooLongError, WireError, whole_length
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
from tests.directory.ldap.test_wire import done_of, entry_of, message, paged, tlv
from tests.directory.ldap.test_wire_ranges import entries

SECRET = "bind-Passw0rd-of-the-proxy"
USER = "eas@contoso.example"
PAGED = b"1.2.840.113556.1.4.319"
START_TLS = b"1.3.6.1.4.1.1466.20037"  # RFC 4511 4.14.1
SOON_S = 30.0

type Page = tuple[int, bytes]  # how many entries, and the cookie of the page before


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as it came: its base, its time limit, its filter, its page."""

    base: str
    time_limit_s: int
    condition: bytes
    page: Page | None


@dataclass(slots=True)
class Controller(RangeServer):
    """`pages` are the answers to searches below the root, one after the other."""

    bind_code: int = 0
    bind_words: str = ""
    refers_to: str = ""
    context: ssl.SSLContext | None = None
    tls_at_once: bool = False
    silent: bool = False
    thinks_s: float = 0
    connections: int = 0
    start_tls: int = 0
    binds: list[tuple[bool, bytes]] = field(default_factory=list)  # inside TLS?
    unbound: threading.Event = field(default_factory=threading.Event)
    pages: list[tuple[list[str], bytes, int]] = field(default_factory=list)  # DNs, cookie, code
    searches: list[Asked] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        received = bytearray()
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_ones:
            open_ones.enter_context(connection)
            if self.context is not None and self.tls_at_once:
                connection = self.context.wrap_socket(connection, server_side=True)
                open_ones.enter_context(connection)
            while data := connection.recv(65536):
                received += b"" if self.silent else data
                while (length := whole_length(received)) is not None and len(received) >= length:
                    request = bytes(received[:length])
                    del received[:length]
                    if START_TLS in request:
                        connection = self._secured(connection, request)
                        open_ones.enter_context(connection)
                    else:
                        self._answer(connection, request)

    def _secured(self, connection: socket.socket, request: bytes) -> socket.socket:
        self.start_tls += 1
        [(_, whole)] = parts_of(request)
        code = 0 if self.context is not None else 10 if self.refers_to else 2  # protocolError
        threading.Event().wait(self.thinks_s)
        referral = [tlv(0xA3, tlv(0x04, self.refers_to.encode()))] if self.refers_to else []
        answer = tlv(0x78, tlv(0x0A, bytes([code])), tlv(0x04), tlv(0x04), *referral)
        connection.sendall(message(parts_of(whole)[0][1][-1], answer))
        if self.context is None:
            return connection
        return self.context.wrap_socket(connection, server_side=True)

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        [(_, whole)] = parts_of(data)
        (_, number), (operation, content), *controls = parts_of(whole)
        if operation == 0x60:
            self.binds.append((isinstance(connection, ssl.SSLSocket), content))
            words = tlv(0x04, self.bind_words.encode())
            referral = [tlv(0xA3, tlv(0x04, self.refers_to.encode()))] if self.refers_to else []
            done = tlv(0x61, tlv(0x0A, bytes([self.bind_code])), tlv(0x04), words, *referral)
            connection.sendall(message(number[-1], done, wide=True))
        elif operation == 0x42:
            self.unbound.set()
        elif operation == 0x63 and parts_of(content)[0][1] and self.pages:
            self._page(connection, number[-1], parts_of(content), parts_of(controls[0][1]))
        else:
            RangeServer._answer(self, connection, data)

    def _page(
        self,
        connection: socket.socket,
        number: int,
        request: list[tuple[int, bytes]],
        controls: list[tuple[int, bytes]],
    ) -> None:
        page: Page | None = None
        for _, control in controls:
            if (parts := parts_of(control))[0][1] == PAGED:
                [(_, value)] = parts_of(parts[-1][1])
                (_, size), (_, cookie) = parts_of(value)
                page = int.from_bytes(size), cookie
        self.searches.append(
            Asked(request[0][1].decode(), int.from_bytes(request[4][1]), request[6][1], page)
        )
        dns, cookie, code = self.pages.pop(0)
        for dn in dns:
            connection.sendall(message(number, entry_of(dn, {"cn": [b"x"]}, wide=True), wide=True))
        connection.sendall(message(number, done_of(code), *([paged(cookie)] if cookie else [])))


def controller(**how: Any) -> Controller:
    known = entries(1, 1)
    known[""]["currentTime"] = [b"20261128120000.0Z"]
    return Controller(known, whole_ranges(1500), **how)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DirectorySettings]:
    monkeypatch.setenv("EAS_TEST_PASSWORD", SECRET)

    def make(**changes: Any) -> DirectorySettings:
        known = {"bind_user": USER, "password_env": "EAS_TEST_PASSWORD"} | changes
        return DirectorySettings(servers=(), **known)

    return make


type Settings = Callable[..., DirectorySettings]


@contextmanager
def opened(
    server: Controller,
    made: DirectorySettings,
    credentials: BindCredentials | None = None,
    patience_s: float = SOON_S,
) -> Iterator[LDAPSession]:
    with serving(server):
        address = ServerAddress("127.0.0.1", server.port, server.tls_at_once)
        session = LDAPSession(address, made, credentials or BindCredentials(made))
        try:
            session.open(patience_s)
            yield session
        finally:
            session.close()


def refused(server: Controller, made: DirectorySettings, *more: Any, **how: Any) -> Fault:
    with pytest.raises(Fault) as caught, opened(server, made, *more, **how):
        pass
    return caught.value


# -- binding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "name", "secret"), [("simple", USER, SECRET), ("anonymous", "", "")]
)
def test_who_asks_is_said_once(settings: Settings, bind: str, name: str, secret: str) -> None:
    server, made = controller(), settings(bind=bind)
    credentials = BindCredentials(made)
    with opened(server, made, credentials) as session:
        assert session.root_dse == RootDSE(
            default_naming_context=ROOT,
            configuration_naming_context=CONFIGURATION,
            naming_contexts=(ROOT, CONFIGURATION),
            is_active_directory=True,
            current_time="20261128120000.0Z",
        )
        assert session.tls() == (None, None)
        assert SECRET not in repr(vars(session._connection)), "it is kept nowhere"
        session.close()
        assert server.unbound.wait(SOON_S)
        with pytest.raises(Fault, match="the connection has been closed"):
            session.find(ROOT, None, None, (), 1)
        session.interrupt()
    [(_, request)] = server.binds
    assert parts_of(request) == [(0x02, b"\3"), (0x04, name.encode()), (0x80, secret.encode())]
    assert server.connections == 1
    if bind == "simple":  # the password is proven: nobody waits for whoever tries it
        with credentials.trying(SECRET, 1), ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: credentials.trying(SECRET, 0.01).__enter__()).result(SOON_S)


def test_a_refused_password_is_not_sent_again(settings: Settings) -> None:
    server = controller(bind_code=49, bind_words="80090308: LdapErr: data 52e, v2580")
    made = settings()
    credentials = BindCredentials(made)
    for _ in range(2):
        fault = refused(server, made, credentials)
        assert (fault.error_type, fault.scope) == ("invalid_credentials", "account")
        assert "(data 52e)" in fault.message
    assert len(server.binds) == server.connections == 1


def test_kerberos_needs_its_package(settings: Settings) -> None:
    """Or a ticket, where there is the package: then only the end of the bind is sent.

    An empty mechanism ends a bind that was begun (RFC 4513 section 5.2.1.2)."""
    server = controller()
    fault = refused(server, settings(bind="kerberos"))
    assert (fault.error_type, fault.scope) == ("kerberos", "account")
    ended = [[(0x02, b"\3"), (0x04, b""), (0xA3, b"\4\0")]] if find_spec("gssapi") else []
    assert [parts_of(request) for _, request in server.binds] == ended


def test_what_gssapi_raises_is_told_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*_: object, **__: object) -> None:
        raise GSSError("no ticket")

    def bind_with_a_result(*_: object, **__: object) -> None:
        try:
            raise GSSError("no ticket")
        except GSSError:
            raise LDAPOperationResult from None

    for way in (bind, bind_with_a_result):
        monkeypatch.setattr(ldap3.Connection, "bind", way)
        fault = refused(controller(), settings(bind="anonymous"))
        assert (fault.error_type, fault.scope) == ("kerberos", "account")


def test_a_password_is_sent_nowhere_else(settings: Settings) -> None:
    """Whatever the server refers to (RFC 4511 4.1.10)."""
    other = controller()
    with serving(other):
        for start_tls, binds in ((False, 1), (True, 0)):
            server = controller(bind_code=10, refers_to=f"{other.url}/{ROOT}")
            refused(server, settings(start_tls=start_tls))
            assert len(server.binds) == binds
    assert other.connections == 0


def test_what_ends_the_program_is_no_fault(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BindCredentials, "trying", interrupted)
    server = controller()
    with pytest.raises(KeyboardInterrupt), opened(server, settings()):
        pass
    assert server.unbound.wait(SOON_S)


def test_a_busy_server_says_nothing_of_the_password(settings: Settings) -> None:
    server, made = controller(bind_code=51), settings()
    credentials = BindCredentials(made)
    assert refused(server, made, credentials).error_type == "server_busy"
    server.bind_code = 0
    with opened(server, made, credentials):
        assert len(server.binds) == 2


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LabCertificates:
    return LabCertificates(tmp_path_factory.mktemp("certificates"))


def tls(authority: LabCertificates, name: str = "127.0.0.1", **how: Any) -> Controller:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue(name, (name,)).file)
    return controller(context=context, **how)


@pytest.mark.parametrize("at_once", [True, False], ids=["ldaps", "StartTLS"])
def test_a_password_is_sent_inside_tls(
    settings: Settings, authority: LabCertificates, at_once: bool
) -> None:
    server = tls(authority, tls_at_once=at_once)
    made = settings(start_tls=True, ca_file=str(authority.ca_file))
    with opened(server, made) as session:
        version, certificate = session.tls()
        assert (version or "").startswith("TLSv1.")
        assert certificate
    assert [inside for inside, _ in server.binds] == [True]
    assert server.start_tls == (0 if at_once else 1)


def test_an_answer_to_start_tls_may_take_longer_than_a_connect(
    settings: Settings, authority: LabCertificates
) -> None:
    server = tls(authority)
    server.thinks_s = 1.0
    made = settings(start_tls=True, ca_file=str(authority.ca_file), connect_timeout_s=0.9)
    with opened(server, made) as session:
        assert session.tls()[1]


def test_without_start_tls_nothing_is_secured_later(settings: Settings) -> None:
    server = controller()
    with opened(server, settings()):
        assert server.start_tls == 0


def test_a_server_without_start_tls_gets_no_password(settings: Settings) -> None:
    server = controller()
    fault = refused(server, settings(start_tls=True))
    assert (fault.error_type, fault.scope) == ("tls", "server")
    assert "offers no StartTLS: use ldaps://" in fault.message
    assert server.binds == []


@pytest.mark.parametrize("at_once", [True, False], ids=["ldaps", "StartTLS"])
@pytest.mark.parametrize("wrong", ["CA", "name"])
def test_a_certificate_that_proves_nothing_gets_no_password(
    settings: Settings, authority: LabCertificates, tmp_path: Path, wrong: str, at_once: bool
) -> None:
    name = "127.0.0.1" if wrong == "CA" else "dc.contoso.example"
    server = tls(authority, name, tls_at_once=at_once)
    trusted = LabCertificates(tmp_path) if wrong == "CA" else authority
    made = settings(start_tls=not at_once, ca_file=str(trusted.ca_file))
    fault = refused(server, made)
    assert (fault.error_type, fault.scope) == ("certificate", "server")
    assert fault.message.startswith("the server's certificate is refused (")
    assert server.binds == []
    with opened(server, settings(start_tls=not at_once, verify=False)) as session:
        assert session.tls()[1], "whoever says so goes without"


def test_a_file_of_cas_that_cannot_be_used(settings: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for file, why in ((empty, "no certificate in it"), (tmp_path / "none", "No such file")):
        server = controller()
        fault = refused(server, settings(ca_file=str(file)))
        assert (fault.error_type, fault.scope) == ("certificate", "account")
        assert fault.message.startswith(f"directory.ca_file ({file}) cannot be used ({why}")
        assert server.connections == 0


def test_what_is_verified(settings: Settings) -> None:
    context = tls_context(settings())
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    context = tls_context(settings(verify=False))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


# -- searches -------------------------------------------------------------------------------------

A, B, C = (f"CN={name},{ROOT}" for name in "abc")


def test_entries_come_page_by_page(settings: Settings) -> None:
    server = controller(pages=[([A], b"one", 0), ([B], b"two", 0), ([C], b"", 0)])
    with opened(server, settings()) as session:
        found = session.find(ROOT, "user", None, ("cn",), SOON_S)
    assert found == [Entry(dn, {"cn": ["x"]}) for dn in (A, B, C)]
    assert [asked.page for asked in server.searches] == [(500, b""), (500, b"one"), (500, b"two")]
    assert {asked.base for asked in server.searches} == {ROOT}
    assert {asked.condition for asked in server.searches} == {
        tlv(0x04, b"objectClass") + tlv(0x04, b"user")
    }


@pytest.mark.parametrize("object_class", [None, "user"])
def test_one_value_needs_no_pages(settings: Settings, object_class: str | None) -> None:
    server = controller(pages=[([A], b"", 0)])
    with opened(server, settings()) as session:
        session.find(ROOT, object_class, ("sAMAccountName", "anna"), ("cn",), SOON_S)
    [asked] = server.searches
    assert asked.page is None
    equal = tlv(0x04, b"sAMAccountName") + tlv(0x04, b"anna")
    is_user = tlv(0x04, b"objectClass") + tlv(0x04, b"user")
    both = tlv(0xA3, is_user) + tlv(0xA3, equal)
    assert asked.condition == (equal if object_class is None else both)


def test_a_page_that_fails_leaves_no_half_of_an_answer(settings: Settings) -> None:
    for code, error_type in ((4, "search_refused"), (10, "referral"), (32, "no_such_object")):
        server = controller(pages=[([A], b"one", 0), ([B], b"", code)])
        with opened(server, settings()) as session, pytest.raises(Fault) as caught:
            session.find(ROOT, "user", None, ("cn",), SOON_S)
        assert caught.value.error_type == error_type


def test_a_result_without_a_name_is_told_by_its_number(settings: Settings) -> None:
    server = controller(pages=[([], b"", 99)])
    with (
        opened(server, settings()) as session,
        pytest.raises(Fault, match=r"the search was refused \(result 99\)"),
    ):
        session.find(ROOT, "user", None, ("cn",), SOON_S)


def yes(_entry: Entry) -> bool:
    return True


def no(_entry: Entry) -> bool:
    return False


@pytest.mark.parametrize(
    ("pages", "accepts", "shows", "asked"),
    [
        ([([A], b"", 0)], yes, True, 1),
        ([([A], b"", 0)], no, False, 1),
        ([([], b"", 0)], yes, False, 1),
        ([([A], b"more", 0), ([B], b"more", 0)], yes, True, 1),
        ([([A], b"more", 0), ([B, C], b"", 0)], lambda entry: entry.dn == C, True, 2),
        ([([A], b"more", 0), ([B], b"more", 0), ([C], b"", 0)], no, False, 3),
        # It took too long to look through all: what came by then counts.
        ([([], b"", 3)], yes, False, 1),
        ([([A], b"", 3)], yes, True, 1),
        ([([A], b"", 4)], yes, True, 1),
        ([([A], b"", 11)], yes, True, 1),
        # Where nobody of 10,000 shows it, nobody is taken to.
        (
            [
                ([A] * 5000, b"more", 0),
                ([A] * 4999, b"more", 0),
                ([A], b"more", 0),
                ([A], b"more", 0),
            ],
            no,
            False,
            3,
        ),
    ],
)
def test_whether_anybody_shows_an_attribute(
    settings: Settings,
    pages: list[tuple[list[str], bytes, int]],
    accepts: Callable[[Entry], bool],
    shows: bool,
    asked: int,
) -> None:
    server = controller(pages=list(pages))
    with opened(server, settings()) as session:
        assert session.shows(ROOT, ("cn", "mail"), accepts, SOON_S) is shows
    assert len(server.searches) == asked
    sizes = [(1, b""), (500, b"more"), (500, b"more")]
    assert [one.page for one in server.searches] == sizes[:asked]
    assert {one.time_limit_s for one in server.searches} == {2}
    is_user = tlv(0x04, b"objectClass") + tlv(0x04, b"user")
    wanted = tlv(0xA3, is_user) + tlv(0x87, b"cn") + tlv(0x87, b"mail")
    assert {one.condition for one in server.searches} == {wanted}


def test_a_look_ends_after_so_many_entries(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eas_redirect.directory.ldap.session._LOOKED_AT", 3)
    server = controller(pages=[([A], b"more", 0), ([A] * 2, b"more", 0), ([A], b"", 0)])
    with opened(server, settings()) as session:
        assert not session.shows(ROOT, ("cn",), lambda _: False, SOON_S)
    assert len(server.searches) == 2


def test_a_look_that_is_refused_is_a_fault(settings: Settings) -> None:
    for code, kind in ((50, Fault), (32, NoSuchObjectError)):
        server = controller(pages=[([A], b"", code)])
        with opened(server, settings()) as session, pytest.raises(kind):
            session.shows(ROOT, ("cn",), yes, SOON_S)


def test_each_step_has_its_own_time_and_bytes(settings: Settings) -> None:
    """Of one that took long or much the next one is no shorter."""
    much = ([A] * 30, b"", 0)
    server = controller(pages=[*[much] * 6, ([A], b"", 0)])
    with opened(server, settings()) as session:

        def find() -> int:
            return len(session.find(ROOT, "user", None, ("cn",), SOON_S, most_bytes=3000))

        assert find() == find() == 30
        assert session.holds(ROOT, SOON_S)
        assert find() == 30
        assert session.shows(ROOT, ("cn",), yes, SOON_S)
        assert find() == 30
        with pytest.raises(Fault) as caught:
            session.find(ROOT, "user", None, ("cn",), SOON_S, most_bytes=30)
    assert caught.value.error_type == "answer_too_long"


def test_all_pages_of_an_answer_together_may_have_so_many_bytes(settings: Settings) -> None:
    server = controller(pages=[([A] * 30, b"more", 0), ([A] * 30, b"", 0)])
    with opened(server, settings()) as session, pytest.raises(Fault) as caught:
        session.find(ROOT, "user", None, ("cn",), SOON_S, most_bytes=3000)
    assert caught.value.error_type == "answer_too_long"


def test_an_answer_about_users_who_wait_has_so_many_bytes_for_each(settings: Settings) -> None:
    long = [f"CN={'x' * 950},{ROOT}"] * 20
    anna, bert = ("distinguishedName", "CN=anna"), ("distinguishedName", "CN=bert")
    server = controller(pages=[(long, b"", 0), (long, b"", 0)])
    with opened(server, settings()) as session:
        assert len(session.moved(ROOT, (anna, bert), SOON_S)) == 20
        with pytest.raises(Fault) as caught:
            session.moved(ROOT, (anna,), SOON_S)
        assert caught.value.error_type == "answer_too_long"
    both, one = (asked.condition for asked in server.searches)
    assert b"CN=anna" in both
    assert b"CN=bert" in both
    assert b"CN=anna" in one
    assert b"CN=bert" not in one
    assert {asked.base for asked in server.searches} == {ROOT}


def test_a_base_that_is_not_there_is_not_held(settings: Settings) -> None:
    server = controller(pages=[([], b"", 32), ([], b"", 0), ([A], b"", 0)])
    with opened(server, settings()) as session:
        assert [session.holds(A, SOON_S) for _ in range(3)] == [False, False, True]


# -- waits ----------------------------------------------------------------------------------------


def test_whoever_waits_is_interrupted(settings: Settings, authority: LabCertificates) -> None:
    for server in (controller(), tls(authority, tls_at_once=True)):
        with opened(server, settings(ca_file=str(authority.ca_file))) as session:
            server.silent = True
            timer = threading.Timer(0.05, session.interrupt)
            timer.start()
            with pytest.raises(Fault) as caught:
                session.find(ROOT, None, None, (), SOON_S)
            assert caught.value.error_type == "disconnected"
            timer.join()


def test_a_server_that_says_nothing_is_not_waited_for(settings: Settings) -> None:
    """At the handshake, at StartTLS, at the bind and at a question."""
    handshake = controller(silent=True, tls_at_once=True)
    for server, made, patience_s in (
        (handshake, settings(connect_timeout_s=0.05), SOON_S),
        (controller(silent=True), settings(start_tls=True), 0.05),
        (controller(silent=True), settings(), 0.05),
    ):
        began = time.monotonic()
        assert refused(server, made, patience_s=patience_s).error_type == "timeout"
        assert time.monotonic() - began < SOON_S / 3
    server = controller()
    with opened(server, settings()) as session:
        server.silent = True
        with pytest.raises(Fault, match="did not answer in time"):
            session.find(ROOT, None, None, (), 0.05)


def test_no_socket_is_left_behind(settings: Settings, authority: LabCertificates) -> None:
    """Of a name with several addresses ldap3 forgets those that failed."""
    server = tls(authority, "dc.contoso.example", tls_at_once=True)
    refused(server, settings(ca_file=str(authority.ca_file)))
    refused(controller(silent=True), settings(), patience_s=0.05)
    gc.collect()  # an open one is a ResourceWarning, which is an error here


# -- what failures are called ---------------------------------------------------------------------


def listener_saying(words: bytes) -> tuple[socket.socket, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(words)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    return listener, thread


@pytest.mark.parametrize(
    ("use_tls", "words", "error_type", "says"),
    [
        (True, b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls", "is it a TLS port?"),
        (False, b"", "disconnected", "does the port speak what the URL says?"),
    ],
)
def test_a_port_that_speaks_something_else(
    settings: Settings, use_tls: bool, words: bytes, error_type: str, says: str
) -> None:
    listener, thread = listener_saying(words)
    with listener:
        made = settings()
        address = ServerAddress("127.0.0.1", listener.getsockname()[1], use_tls)
        with pytest.raises(Fault) as caught:
            LDAPSession(address, made, BindCredentials(made)).open(SOON_S)
        thread.join(SOON_S)
    assert caught.value.error_type == error_type
    assert says in caught.value.message


def test_nobody_listens(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ServerAddress("127.0.0.1", listener.getsockname()[1], False)
    made = settings()
    with pytest.raises(Fault, match=r"is the port in directory\.servers right") as caught:
        LDAPSession(address, made, BindCredentials(made)).open(SOON_S)
    assert (caught.value.error_type, caught.value.scope) == ("connection_refused", "server")


def test_a_name_that_nobody_knows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    made = settings()
    session = LDAPSession(ServerAddress("dc.invalid", 389, False), made, BindCredentials(made))
    with pytest.raises(Fault, match="cannot be resolved: check DNS") as caught:
        session.open(SOON_S)
    assert caught.value.error_type == "host_not_found"


class GSSError(Exception):
    """As the gssapi package raises it."""


GSSError.__module__ = "gssapi.raw.misc"


@pytest.mark.parametrize(
    ("error", "error_type", "scope"),
    [
        (LDAPPackageUnavailableError("gssapi"), "kerberos", "account"),
        (TimeoutError(), "timeout", "server"),
        (ConnectionRefusedError(111, "refused"), "connection_refused", "server"),
        (ssl.SSLError(1, "wrong version number"), "tls", "server"),
        (LDAPExtensionError("no"), "tls", "server"),
        (LDAPOperationResult(), "tls", "server"),
        (OSError(113, "No route to host"), "connection_failed", "server"),
        (OSError("socket"), "disconnected", "server"),
        (LDAPSocketOpenError("no history"), "disconnected", "server"),
        (LDAPSocketOpenError("failed", []), "disconnected", "server"),
        (LDAPSocketOpenError("failed", [(TimeoutError(), 1), (OSError(113, "x"), 1)]), "timeout",
         "server"),
        (LDAPSocketOpenError("failed", [("in words", 1)]), "disconnected", "server"),
        (LDAPSocketOpenError("failed", 5), "disconnected", "server"),
        (TooLongError(), "answer_too_long", "server"),
        (WireError("x"), "protocol", "server"),
        (ValueError("x"), "protocol", "server"),
    ],
    ids=repr,
)  # fmt: skip
def test_why_nobody_could_connect(error: Exception, error_type: str, scope: str) -> None:
    fault = connect_fault(error)
    assert (fault.error_type, fault.scope) == (error_type, scope)


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (TimeoutError(), "timeout"),
        (TooLongError(), "answer_too_long"),
        (ConnectionAbortedError(), "disconnected"),
        (LDAPSocketOpenError("x"), "disconnected"),
        (WireError("x"), "protocol"),
    ],
    ids=repr,
)
def test_why_a_connection_was_lost(error: Exception, error_type: str) -> None:
    fault = lost_fault(error)
    assert (fault.error_type, fault.scope) == (error_type, "server")


def test_what_kerberos_says() -> None:
    fault = kerberos_fault(GSSError("no ticket"))
    assert fault is not None
    assert (fault.error_type, fault.scope) == ("kerberos", "account")
    assert "(no ticket): check the ticket (klist)" in fault.message
    assert kerberos_fault(ValueError()) is None
    assert kerberos_fault(None) is None
