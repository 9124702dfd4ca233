"""A bound connection to one server: `LDAPSession`. ldap3 connects, secures and binds.

Only this module imports ldap3, and no ldap3 object leaves it. It does not rely on ldap3's defaults:
one SYNC connection per thread, nothing read at connect, no referral followed, every wait bounded,
certificates verified by Python. It searches nothing: `wire.py` does.
"""

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace

import ldap3
from ldap3.core.exceptions import (
    LDAPException,
    LDAPExtensionError,
    LDAPOperationResult,
    LDAPPackageUnavailableError,
)
from ldap3.core.results import (
    RESULT_ADMIN_LIMIT_EXCEEDED,
    RESULT_CODES,
    RESULT_NO_SUCH_OBJECT,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_SUCCESS,
    RESULT_TIME_LIMIT_EXCEEDED,
)

from eas_redirect.directory.entries import MOVE_ATTRIBUTES, Entry
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import (
    Fault,
    NoSuchObjectError,
    refused_bind,
    refused_search,
)
from eas_redirect.directory.ldap.links import RootDSE
from eas_redirect.directory.ldap.servers import ServerAddress
from eas_redirect.directory.ldap.wire import (
    MAX_ANSWER,
    Done,
    Search,
    Searches,
    TooLongError,
    WireError,
)
from eas_redirect.directory.values import DirectorySettings

_PAGE = 500  # entries; a domain controller gives at most 1000 (MS-ADTS 3.1.1.3.4.6, MaxPageSize)
# Whether anything shows an attribute is looked for in so many entries, for so many seconds.
_LOOKED_AT, _LOOK_S = 10_000, 2
MAX_BIND = 262_144  # bytes of all that comes until a bind is answered; a Kerberos ticket has 64 KiB
_MOST_OF_WATCHED = 16_384  # bytes of an answer about one user, who has a few short attributes
_CUT_SHORT = (
    RESULT_TIME_LIMIT_EXCEEDED,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_ADMIN_LIMIT_EXCEEDED,
)
_ROOT_ATTRIBUTES = (
    "defaultNamingContext",
    "configurationNamingContext",
    "namingContexts",
    "supportedCapabilities",
    "currentTime",
)
_ACTIVE_DIRECTORY = (
    "1.2.840.113556.1.4.800"  # LDAP_CAP_ACTIVE_DIRECTORY_OID (MS-ADTS 3.1.1.3.4.3.1)
)


class VerifiedTls(ldap3.Tls):
    """TLS as Python verifies it: chain, dates, and the server's DNS name or IP address.

    ldap3's own check knows no IP addresses.
    """

    def __init__(
        self, settings: DirectorySettings, host: str, patience: Callable[[], float]
    ) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE)
        self._context = tls_context(settings)
        self._host = host
        self._patience = patience
        self.fault: Fault | None = None

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:
        connection.socket.settimeout(self._patience())
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket, server_hostname=self._host, do_handshake_on_connect=do_handshake
            )
        except ssl.SSLCertVerificationError as error:
            self.fault = Fault(
                "certificate",
                f"the server's certificate is refused ({error.verify_message.rstrip('.')}): set "
                "directory.ca_file to the CA that issued it, and use a name that it bears",
            )
            raise


def tls_context(settings: DirectorySettings) -> ssl.SSLContext:
    """Created at each connect, so that a renewed CA file needs no restart. Raises `Fault`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        message = f"directory.ca_file ({settings.ca_file}) cannot be used ({reason})"
        raise Fault("certificate", message, "account") from None
    context.sslsocket_class = _BoundedSSLSocket
    # Certificates of domain CAs of that age lack extensions that RFC 5280 4.2 wants; chain, dates
    # and name are verified anyway.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _BoundedSocket(socket.socket):
    """Limits what can be received before and during a bind. ldap3 waits for the end of a message
    of any length (4 GiB, RFC 4511 5.1), and for as many messages as a server likes."""

    left: int | None = MAX_BIND  # bytes; None: no bound, once searches count for themselves

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return _counted(self, super().recv(bufsize, flags))


class _BoundedSSLSocket(ssl.SSLSocket):
    """The same inside TLS."""

    left: int | None = MAX_BIND

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return _counted(self, super().recv(buflen, flags))


type _Socket = _BoundedSocket | _BoundedSSLSocket
type _AnySocket = socket.socket


def _counted(receiving: _Socket, data: bytes) -> bytes:
    if receiving.left is not None:
        receiving.left -= len(data)
        if receiving.left < 0:
            raise TooLongError
    return data


class _Connection(ldap3.Connection):
    """Closes every socket that it abandons. ldap3 forgets those whose connect or handshake
    failed, such as all but the last address of a name. Each is bounded."""

    @property
    def socket(self) -> _Socket | None:
        return self._socket

    @socket.setter
    def socket(self, new: _AnySocket | None) -> None:
        if new is not None and not isinstance(new, _BoundedSocket | _BoundedSSLSocket):
            new = _BoundedSocket(fileno=new.detach())  # it is new, and nothing is set yet
        old: _Socket | None = getattr(self, "_socket", None)
        self._socket = new
        if old is not None and old is not new:
            old.close()  # one that TLS has taken over holds nothing any more


class LDAPSession:
    """A `links.Session`. Only the thread that opened it uses it, except for `interrupt`."""

    def __init__(
        self, address: ServerAddress, settings: DirectorySettings, credentials: BindCredentials
    ) -> None:
        self._address = address
        self._settings = settings
        self._credentials = credentials
        self._connection: ldap3.Connection | None = None
        self._ends = math.inf  # of time.monotonic: when the step at hand has to be done
        self._most_bytes = MAX_ANSWER  # that the step at hand may still receive
        self._searches = Searches()
        self.root_dse = RootDSE()

    def open(self, patience_s: float) -> None:
        """Connect, secure, bind and read the rootDSE, all within `patience_s`."""
        self._begin(patience_s)
        password = self._password()
        tls = VerifiedTls(self._settings, self._address.host, self._connect_patience)
        self._connection = connection = self._make(tls, password)
        try:
            connection.open()
            if self._settings.start_tls and not self._address.tls:
                connection.start_tls()
            self._bind(connection, password)
            if connection.socket is not None:
                connection.socket.left = None
            self.root_dse = self._read_root_dse()
        except BaseException as error:
            self.close()
            if tls.fault is not None:
                raise tls.fault from None
            if isinstance(error, Fault) or not isinstance(error, Exception):
                raise
            raise connect_fault(error) from None

    def find(
        self,
        base: str,
        object_class: str | None,
        equals: tuple[str, str | bytes] | None,
        attributes: tuple[str, ...],
        patience_s: float,
        *,
        most_bytes: int = MAX_ANSWER,
    ) -> list[Entry]:
        self._begin(patience_s, most_bytes)
        is_a = (("objectClass", object_class),) if object_class is not None else ()
        wanted = (*is_a, equals) if equals is not None else is_a
        entries: list[Entry] = []
        # Without pages where a value is asked for, which a few objects have at most.
        page = None if equals else (_PAGE, b"")
        while True:
            found, cookie = self._search(
                Search(base=base, equals=wanted, attributes=attributes, page=page)
            )
            entries.extend(self._completed(entry) if entry.cut else entry for entry in found)
            if not cookie:
                return entries
            page = (_PAGE, cookie)

    def moved(
        self,
        base: str,
        any_of: tuple[tuple[str, str | bytes], ...],
        patience_s: float,
    ) -> list[Entry]:
        self._begin(patience_s, _MOST_OF_WATCHED * max(1, len(any_of)))
        search = Search(
            base=base,
            any_of=any_of,
            present=("targetAddress",),
            absent=("homeMDB",),
            attributes=MOVE_ATTRIBUTES,
        )
        return self._search(search)[0]

    def _completed(self, entry: Entry) -> Entry:
        """With the missing values, asked for range after range (MS-ADTS 3.1.1.3.1.3.3)."""
        for name, came in entry.cut.items():
            first: int | None = came
            while first is not None:
                ranged = f"{name};range={first}-*"
                found, _ = self._search(Search(base=entry.dn, scope="base", attributes=(ranged,)))
                values = found[0].values(name) if found else ()
                then = found[0].cut.get(name) if found else None
                if not values or (then is not None and then <= first):
                    message = f"the server gave only the first {first} values of {name}"
                    raise Fault("range_refused", message, "question")
                entry.attributes[name].extend(values)
                first = then
        return Entry(entry.dn, entry.attributes)

    def shows(
        self,
        base: str,
        attributes: tuple[str, ...],
        accepts: Callable[[Entry], bool],
        patience_s: float,
    ) -> bool:
        """Looks at only some entries, and not for long: if none has them, there may be very many
        to look through."""
        self._begin(patience_s)
        page, looked_at = (1, b""), 0
        while looked_at < _LOOKED_AT:
            search = Search(
                base=base,
                equals=(("objectClass", "user"),),
                present=attributes,
                attributes=attributes,
                page=page,
                time_limit_s=_LOOK_S,
            )
            entries, done = self._ask(search)
            if done.code not in (RESULT_SUCCESS, *_CUT_SHORT):
                raise _refused(search, done)
            if any(map(accepts, entries)):
                return True
            if not done.cookie:
                return False
            page, looked_at = (_PAGE, done.cookie), looked_at + len(entries)
        return False

    def holds(self, base: str, patience_s: float) -> bool:
        """Whether a readable object has this DN."""
        self._begin(patience_s)
        try:
            return bool(self._search(Search(base=base, scope="base", attributes=("1.1",)))[0])
        except NoSuchObjectError:
            return False

    def tls(self) -> tuple[str | None, bytes | None]:
        """The version and the server's certificate; None without TLS."""
        current = self._connection.socket if self._connection is not None else None
        if not isinstance(current, ssl.SSLSocket):
            return None, None
        return current.version(), current.getpeercert(binary_form=True)

    def interrupt(self) -> None:
        """Shut the connection down while another thread reads it: the read ends, and the socket
        stays that thread's. Not `SSLSocket.shutdown`, which takes the TLS state away from the
        reader."""
        connection = self._connection
        current = connection.socket if connection is not None else None
        if isinstance(current, socket.socket):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(current, socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            opened = connection.socket
            with contextlib.suppress(LDAPException, OSError, AttributeError):
                connection.unbind()
            if isinstance(opened, socket.socket):
                opened.close()  # ldap3 forgets one whose connect or handshake failed

    def _password(self) -> str | None:
        return self._credentials.password() if self._settings.bind == "simple" else None

    def _make(self, tls: VerifiedTls, password: str | None) -> ldap3.Connection:
        patience_s = self._remaining()
        server = ldap3.Server(
            self._address.host,
            port=self._address.port,
            use_ssl=self._address.tls,
            get_info=ldap3.NONE,  # else the whole schema comes at each connect
            mode=ldap3.IP_V4_PREFERRED,  # every address of the name in turn; else the first alone
            tls=tls,
        )
        if not (addresses := server.address_info):
            raise Fault("host_not_found", "its name cannot be resolved: check DNS")
        server.connect_timeout = self._connect_patience() / len(addresses)
        kerberos = self._settings.bind == "kerberos"
        return _Connection(
            server,
            user=self._settings.bind_user if password is not None else None,
            password=password,
            auto_bind=ldap3.AUTO_BIND_NONE,
            authentication=ldap3.SASL if kerberos else None,  # else by whether there is a user
            sasl_mechanism=ldap3.KERBEROS if kerberos else None,
            client_strategy=ldap3.SYNC,
            auto_referrals=False,  # a followed referral takes the password wherever it points
            read_only=True,
            raise_exceptions=True,
            receive_timeout=max(1, math.ceil(patience_s)),  # ldap3 takes whole seconds
        )

    def _bind(self, connection: ldap3.Connection, password: str | None) -> None:
        if password is None:
            self._bind_now(connection)
            return
        with self._credentials.trying(password, self._remaining()):
            try:
                self._bind_now(connection)
            except Fault as fault:
                if fault.scope == "account":
                    self._credentials.refused(password, fault)
                raise
            finally:
                connection.password = connection.request = None  # ldap3 keeps it in both
            self._credentials.accepted(password)

    def _bind_now(self, connection: ldap3.Connection) -> None:
        self._limit_wait(connection)
        try:
            connection.bind()
        except LDAPOperationResult as error:
            raise kerberos_fault(error.__context__) or refused_bind(
                str(error.description), str(error.message)
            ) from None
        except Exception as error:
            if (kerberos := kerberos_fault(error)) is not None:
                raise kerberos from None
            raise

    def _read_root_dse(self) -> RootDSE:
        found, _ = self._search(Search(base="", scope="base", attributes=_ROOT_ATTRIBUTES))
        root = found[0] if found else Entry("")
        return RootDSE(
            default_naming_context=root.first("defaultnamingcontext"),
            configuration_naming_context=root.first("configurationnamingcontext"),
            naming_contexts=root.values("namingcontexts"),
            is_active_directory=_ACTIVE_DIRECTORY in root.values("supportedcapabilities"),
            current_time=root.first("currenttime"),
        )

    def _begin(self, patience_s: float, most_bytes: int = MAX_ANSWER) -> None:
        """A step that may take that long and receive that much."""
        self._ends, self._most_bytes = time.monotonic() + patience_s, most_bytes

    def _search(self, search: Search) -> tuple[list[Entry], bytes]:
        """The entries of one page, and the cookie for the next."""
        entries, done = self._ask(search)
        if done.code != RESULT_SUCCESS:  # a referral among them, which does not mean "nobody"
            raise _refused(search, done)
        return entries, done.cookie

    def _ask(self, search: Search) -> tuple[list[Entry], Done]:
        if self._connection is None:
            raise Fault("disconnected", "the connection has been closed")
        limited = replace(search, most_bytes=self._most_bytes)
        try:
            answer = self._searches.ask(self._connection.socket, limited, self._remaining)
        except (OSError, WireError) as error:
            raise lost_fault(error) from None
        self._most_bytes -= self._searches.received
        return answer

    def _limit_wait(self, connection: ldap3.Connection) -> None:
        """Finer than ldap3's whole seconds. A closed connection shows at the next use."""
        with contextlib.suppress(OSError, AttributeError):
            connection.socket.settimeout(self._remaining())

    def _connect_patience(self) -> float:
        """For the TCP connect, and for the TLS handshake after it."""
        return min(self._settings.connect_timeout_s, self._remaining())

    def _remaining(self) -> float:
        """Seconds left for the current step; never zero, which would mean not to wait at all."""
        return max(0.001, self._ends - time.monotonic())


def _refused(search: Search, done: Done) -> Fault:
    if done.code == RESULT_NO_SUCH_OBJECT:
        return NoSuchObjectError(search.base)
    name = RESULT_CODES.get(done.code, f"result {done.code}")
    return refused_search(name, done.diagnostics)


def lost_fault(error: Exception) -> Fault:
    if isinstance(error, TimeoutError):
        return Fault("timeout", "the server did not answer in time: is it overloaded or hanging?")
    if isinstance(error, TooLongError):
        return Fault(
            "answer_too_long", "the server sent more than anybody asked for: is it broken?"
        )
    if isinstance(error, LDAPException | OSError):
        return Fault("disconnected", "the server closed the connection")
    return Fault("protocol", "the server sent what is no LDAP: is it a directory's port?")


def connect_fault(error: Exception) -> Fault:
    """What an exception between the TCP connect and the rootDSE means, in words."""
    match _first_cause(error):
        case LDAPPackageUnavailableError():
            message = "Kerberos needs the gssapi package: install eas-redirect[kerberos]"
            return Fault("kerberos", message, "account")
        case TimeoutError():
            return Fault("timeout", "no answer to the connection in time: is it up and reachable?")
        case ConnectionRefusedError():
            message = "the connection was refused: is the port in directory.servers right?"
            return Fault("connection_refused", message)
        case ssl.SSLError():
            return Fault("tls", "the TLS handshake failed: is it a TLS port?")
        case LDAPExtensionError() | LDAPOperationResult():
            return Fault("tls", "the server offers no StartTLS: use ldaps://")
        case OSError() as cause if cause.errno is not None:
            return Fault("connection_failed", f"no connection ({cause.strerror})")
        case LDAPException() | OSError():
            message = "the server closed the connection: does the port speak what the URL says?"
            return Fault("disconnected", message)
        case cause:
            return lost_fault(cause)


def kerberos_fault(error: BaseException | None) -> Fault | None:
    """GSSAPI's errors are not ldap3's, and their classes exist only with the extra."""
    if not type(error).__module__.startswith("gssapi."):
        return None
    message = f"the Kerberos bind failed ({error}): check the ticket (klist) and the DNS names"
    return Fault("kerberos", message, "account")


def _first_cause(error: Exception) -> Exception:
    """The first failure, if ldap3 tried several addresses of one name."""
    history = error.args[1] if len(error.args) > 1 else None
    first = history[0][0] if isinstance(history, list) and history else error
    return first if isinstance(first, Exception) else error
