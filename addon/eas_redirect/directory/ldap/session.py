"""A bound connection to one server: `LDAPSession`. ldap3 connects, secures and binds.

Only this module and its neighbours `ldap_faults.py` and `ldap_tls.py` import ldap3, and no ldap3
object leaves them. Used so as not to trust its defaults: one SYNC connection per thread, nothing
read at connect, no referral followed, every wait bounded, certificates verified by Python. It
searches nothing: `ldap_searches.py` does.
"""

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Callable

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPOperationResult
from ldap3.core.results import (
    RESULT_ADMIN_LIMIT_EXCEEDED,
    RESULT_CODES,
    RESULT_NO_SUCH_OBJECT,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_SUCCESS,
    RESULT_TIME_LIMIT_EXCEEDED,
)

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.faults import Fault, NoSuchObjectError, refused_bind, refused_search
from eas_redirect.directory.ldap.credentials import Credentials
from eas_redirect.directory.ldap.faults import connect_fault, kerberos_fault, lost_fault
from eas_redirect.directory.ldap.links import RootDSE
from eas_redirect.directory.ldap.searches import Searches
from eas_redirect.directory.ldap.servers import Address
from eas_redirect.directory.ldap.tls import VerifiedTls
from eas_redirect.directory.ldap.wire import Done, Search, WireError
from eas_redirect.directory.values import DirectorySettings

_PAGE = 500  # entries; a domain controller gives at most 1000 (MS-ADTS 3.1.1.3.4.6, MaxPageSize)
# Whether anything shows an attribute is looked for in so many entries, for so many seconds.
_LOOKED_AT, _LOOK_S = 10_000, 2
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


class LDAPSession:
    """A `links.Session`. Only the thread that opened it uses it, but for `interrupt`."""

    def __init__(
        self, address: Address, settings: DirectorySettings, credentials: Credentials
    ) -> None:
        self._address = address
        self._settings = settings
        self._credentials = credentials
        self._connection: ldap3.Connection | None = None
        self._ends = math.inf  # of time.monotonic: when the step at hand has to be done
        self._searches = Searches()
        self.root_dse = RootDSE()

    def open(self, patience_s: float) -> None:
        """Connects, secures, binds and reads the rootDSE, all of it within `patience_s`."""
        self._ends = time.monotonic() + patience_s
        password = self._password()
        tls = VerifiedTls(self._settings, self._address.host, self._connect_patience)
        self._connection = connection = self._make(tls, password)
        try:
            connection.open(read_server_info=False)
            if self._settings.start_tls and not self._address.tls:
                connection.start_tls(read_server_info=False)
            self._bind(connection, password)
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
    ) -> list[Entry]:
        self._ends = time.monotonic() + patience_s
        is_a = (("objectClass", object_class),) if object_class is not None else ()
        wanted = (*is_a, equals) if equals is not None else is_a
        entries: list[Entry] = []
        # Without pages where a value is asked for, which a few objects have at most.
        page = None if equals else (_PAGE, b"")
        while True:
            found, cookie = self._search(
                Search(base=base, equals=wanted, attributes=attributes, page=page)
            )
            entries.extend(found)
            if not cookie:
                return entries
            page = (_PAGE, cookie)

    def shows(
        self,
        base: str,
        attributes: tuple[str, ...],
        accepts: Callable[[Entry], bool],
        patience_s: float,
    ) -> bool:
        """Looks at some entries only, and not for long: where none has them, there may be very many
        to look through."""
        self._ends = time.monotonic() + patience_s
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
        """Whether there is an object of this DN that may be read."""
        self._ends = time.monotonic() + patience_s
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
        """Shuts the connection down under whoever reads it: his read ends, the socket stays his.

        Not `SSLSocket.shutdown`, which takes the TLS state away from the reader.
        """
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
        return ldap3.Connection(
            server,
            user=self._settings.bind_user if password is not None else None,
            password=password,
            auto_bind=ldap3.AUTO_BIND_NONE,
            authentication=ldap3.SASL if kerberos else None,  # else by whether there is a user
            sasl_mechanism=ldap3.KERBEROS if kerberos else None,
            client_strategy=ldap3.SYNC,
            auto_referrals=False,  # a followed referral takes the password wherever it points
            check_names=False,
            read_only=True,
            raise_exceptions=True,
            return_empty_attributes=False,
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
                connection.password = None
            self._credentials.accepted(password)

    def _bind_now(self, connection: ldap3.Connection) -> None:
        self._limit_wait(connection)
        try:
            connection.bind(read_server_info=False)
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

    def _search(self, search: Search) -> tuple[list[Entry], bytes]:
        """The entries of one page, and the cookie of the next one."""
        entries, done = self._ask(search)
        if done.code != RESULT_SUCCESS:  # a referral among them, which is no answer of "nobody"
            raise _refused(search, done)
        return entries, done.cookie

    def _ask(self, search: Search) -> tuple[list[Entry], Done]:
        if self._connection is None:
            raise Fault("disconnected", "the connection has been closed")
        try:
            return self._searches.ask(self._connection.socket, search, self._remaining)
        except (OSError, WireError) as error:
            raise lost_fault(error) from None

    def _limit_wait(self, connection: ldap3.Connection) -> None:
        """Finer than ldap3's whole seconds. A connection that is gone tells at the next use."""
        with contextlib.suppress(OSError, AttributeError):
            connection.socket.settimeout(self._remaining())

    def _connect_patience(self) -> float:
        """For the TCP connect, and for the TLS handshake after it."""
        return min(self._settings.connect_timeout_s, self._remaining())

    def _remaining(self) -> float:
        """Seconds of the step at hand, never zero, which would mean not to wait at all."""
        return max(0.001, self._ends - time.monotonic())


def _refused(search: Search, done: Done) -> Fault:
    if done.code == RESULT_NO_SUCH_OBJECT:
        return NoSuchObjectError(search.base)
    name = RESULT_CODES.get(done.code, f"result {done.code}")
    return refused_search(name, done.diagnostics)
