"""One thread's connections: which server, when to change it, when to give up. No ldap3 here.

It asks a global catalogue about users, if one is configured, and always a domain controller about
the configuration partition. If both are the same servers, one connection serves both.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eas_redirect.directory.entries import Entry
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.servers import ServerAddress, Servers
from eas_redirect.directory.ldap.wire import MAX_ANSWER
from eas_redirect.directory.ldap.workers import Deadline

type Role = Literal["users", "configuration"]

IDLE_S = 600.0  # a domain controller closes idle connections after 900 s (MS-ADTS 3.1.1.3.4.6)
_FIRST_SHARE = 0.4  # of the whole time limit, for a server when another one could still be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class RootDSE:
    """What a server says about itself (MS-ADTS 3.1.1.3.2); DNs as they came."""

    default_naming_context: str | None = None
    configuration_naming_context: str | None = None
    naming_contexts: tuple[str, ...] = ()
    is_active_directory: bool = False  # else a domain's contexts may lie in its parent's
    current_time: str | None = None  # generalized time (RFC 4517 3.3.13)


class Session(Protocol):
    """A bound connection to one server. Every method raises `Fault`, and nothing else."""

    root_dse: RootDSE

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
        """Entries below `base` of this class (None: any) with this attribute and value, each with
        all of its values."""
        ...

    def moved(
        self,
        base: str,
        any_of: tuple[tuple[str, str | bytes], ...],
        patience_s: float,
    ) -> list[Entry]:
        """Entries below `base` with one of these attributes and values, with a targetAddress and
        no visible homeMDB; each with MOVE_ATTRIBUTES."""
        ...

    def shows(
        self,
        base: str,
        attributes: tuple[str, ...],
        accepts: Callable[[Entry], bool],
        patience_s: float,
    ) -> bool:
        """Whether a user below `base` who has all these attributes is accepted."""
        ...

    def interrupt(self) -> None:
        """End a blocked read; from another thread."""
        ...

    def close(self) -> None: ...


class Connect(Protocol):
    """Opens and binds a session; `opening` receives it before it can block."""

    def __call__(
        self, address: ServerAddress, patience_s: float, opening: Callable[[Session], None]
    ) -> Session: ...


@dataclass(slots=True)
class _Link:
    address: ServerAddress
    session: Session
    used_at: float
    asked: bool = field(default=False)  # an answer came over it: it may have gone stale since


class Links:
    """The tool of one worker thread."""

    def __init__(
        self,
        servers: dict[Role, Servers],
        connect: Connect,
        lookup_timeout_s: float,
        *,
        asks_catalogue: bool,
    ) -> None:
        self._servers = servers
        self._connect = connect
        self._lookup_timeout_s = lookup_timeout_s
        self.asks_catalogue = asks_catalogue
        self._links: dict[int, _Link] = {}  # by the identity of the role's servers
        self._waiting: Session | None = None  # what the thread may be blocked in
        self._lock = threading.Lock()
        self.last_server: str | None = None

    def ask[R](self, role: Role, deadline: Deadline, question: Callable[[Session, float], R]) -> R:
        """Put a question to the first server that answers it, within the deadline."""
        servers = self._servers[role]
        while True:
            link = self._link(servers, deadline)
            self.last_server = str(link.address)
            try:
                answer = self._blocked(link, question, self._patience(servers, deadline))
            except Fault as fault:
                self._after(fault.at(str(link.address)), link, servers, deadline)
            else:
                link.used_at, link.asked = time.monotonic(), True
                return answer

    def probe(self, role: Role, address: ServerAddress, deadline: Deadline) -> None:
        """Try a rested server, so that no look-up pays for it; the connection is not kept."""
        servers = self._servers[role]
        patience_s = self._patience(servers, deadline)
        try:
            self._open(address, patience_s).close()
        except Fault as fault:
            servers.failed(address, fault.at(str(address)))
        else:
            servers.succeeded(address)

    def interrupt(self) -> None:
        with self._lock:
            if self._waiting is not None:
                self._waiting.interrupt()

    def close(self) -> None:
        for link in self._links.values():
            link.session.close()
        self._links.clear()

    def _link(self, servers: Servers, deadline: Deadline) -> _Link:
        """The kept connection if it is still the right one, otherwise a new one."""
        link = self._links.get(id(servers))
        if link is not None:
            idle = time.monotonic() - link.used_at
            if idle < IDLE_S and servers.working(link.address):
                return link
            self._drop(link, servers)
        while True:
            address = servers.choose()
            patience_s = self._patience(servers, deadline)  # where none is left, no server's fault
            try:
                session = self._open(address, patience_s)
            except Fault as error:
                fault = _told_late(error.at(str(address)), deadline)
                servers.failed(address, fault)
                self._give_up_if_late(fault, deadline)
                if fault.scope == "account":
                    raise fault from None
            else:
                servers.succeeded(address)
                link = self._links[id(servers)] = _Link(address, session, time.monotonic())
                return link

    def _after(self, fault: Fault, link: _Link, servers: Servers, deadline: Deadline) -> None:
        """Decide what a failed question means; returns if it may be asked again."""
        if fault.scope == "question":
            raise fault
        self._drop(link, servers)
        fault = _told_late(fault, deadline)
        if not (link.asked and fault.error_type == "disconnected"):
            servers.failed(link.address, fault)
        # Else the server may only have closed a connection that was idle.
        self._give_up_if_late(fault, deadline)

    def _give_up_if_late(self, fault: Fault, deadline: Deadline) -> None:
        if deadline.remaining() == 0.0:
            raise fault

    def _patience(self, servers: Servers, deadline: Deadline) -> float:
        """How long the next step may take, leaving time for another server if there is one."""
        remaining = deadline.remaining()
        if remaining == 0.0:
            raise Fault("timeout", "the time for one look-up is over", "question")
        share = self._lookup_timeout_s * (_FIRST_SHARE if len(servers) > 1 else 1.0)
        return min(remaining, share)

    def _open(self, address: ServerAddress, patience_s: float) -> Session:
        try:
            return self._connect(address, patience_s, self._wait_for)
        finally:
            self._wait_for(None)

    def _blocked[R](
        self, link: _Link, question: Callable[[Session, float], R], patience_s: float
    ) -> R:
        self._wait_for(link.session)
        try:
            return question(link.session, patience_s)
        finally:
            self._wait_for(None)

    def _wait_for(self, session: Session | None) -> None:
        with self._lock:
            self._waiting = session

    def _drop(self, link: _Link, servers: Servers) -> None:
        self._links.pop(id(servers), None)
        link.session.close()


def _told_late(fault: Fault, deadline: Deadline) -> Fault:
    """A connection that was shut down because nobody waited any more counts as too slow, not as
    closed."""
    if fault.scope == "server" and deadline.remaining() == 0.0:
        return Fault("timeout", f"{fault.message} (the time for one look-up is over)")
    return fault
