"""The servers in order of preference, and which are skipped for now. No ldap3 here, no I/O.

A server that failed is skipped for a cool-down and then tried in the background, so no look-up
waits for it. While none works, look-ups fail at once with the last fault.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from eas_redirect.activesync.host_port import HostPort, HostPortError, read_server_url
from eas_redirect.directory.ldap.faults import Fault

COOL_DOWN_S = 5.0
# After a refused bind every server rests this long: the password may be rotated at any moment.
ACCOUNT_COOL_DOWN_S = 1.0

_CATALOGUE_TO_CONTROLLER = {3268: 389, 3269: 636}  # MS-ADTS 3.1.1.3.1.10, 6.1.1.1
_PORTS = {"ldaps": 636, "ldap": 389}  # RFC 4513 3.1.1, RFC 4516 2


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server of `directory.servers`."""

    host: str
    port: int
    tls: bool

    @property
    def is_global_catalogue(self) -> bool:
        return self.port in _CATALOGUE_TO_CONTROLLER

    def controller(self) -> "ServerAddress":
        """The same machine as a domain controller: a global catalogue is always one."""
        return ServerAddress(
            self.host, _CATALOGUE_TO_CONTROLLER.get(self.port, self.port), self.tls
        )

    def __str__(self) -> str:
        return str(HostPort(self.host, self.port))


def parse_server(url: str) -> ServerAddress:
    """`ldaps://dc1.contoso.example`, `ldap://[::1]:3268`; ValueError says what it must be."""
    if not url.lower().startswith(("ldaps://", "ldap://")):
        raise ValueError("must begin with ldaps:// or ldap://, as in ldaps://dc1.contoso.local")
    try:
        found = read_server_url(url, _PORTS)
    except HostPortError as error:
        raise ValueError(f"{error}: write ldaps://host or ldaps://host:port") from None
    host, port = found.address
    return ServerAddress(host.lower(), port, found.scheme == "ldaps")


@dataclass(slots=True)
class _State:
    address: ServerAddress
    fault: Fault | None = None  # None: it works, as far as is known
    rests_until: float = 0.0


class Servers:
    """The servers for one role; thread-safe."""

    def __init__(
        self,
        addresses: tuple[ServerAddress, ...],
        clock: Callable[[], float],
        cool_down_s: float = COOL_DOWN_S,
    ) -> None:
        self._states = [_State(address) for address in addresses]
        self._clock = clock
        self._cool_down_s = cool_down_s
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def choose(self) -> ServerAddress:
        """The first that works; raises the last failure's fault if none does."""
        with self._lock:
            for state in self._states:
                if state.fault is None:
                    return state.address
            raise self._last_fault()

    def working(self, address: ServerAddress) -> bool:
        """Whether it is the first that works; a connection to another one should move."""
        with self._lock:
            first = next((state for state in self._states if state.fault is None), None)
            return first is not None and first.address == address

    def why_none(self) -> Fault | None:
        """The fault to answer with at once if no server works."""
        with self._lock:
            works = any(state.fault is None for state in self._states)
            return None if works else self._last_fault()

    def next_probe(self) -> float | None:
        """When (by the clock) the next server has rested long enough to be tried; None: all
        work."""
        with self._lock:
            return min((s.rests_until for s in self._states if s.fault is not None), default=None)

    def to_probe(self) -> ServerAddress | None:
        """A rested server, which only this caller tries."""
        now = self._clock()
        with self._lock:
            for state in self._states:
                if state.fault is not None and state.rests_until <= now:
                    state.rests_until = now + self._cool_down_s
                    return state.address
            return None

    def failed(self, address: ServerAddress, fault: Fault) -> None:
        account = fault.scope == "account"
        rests_until = self._clock() + (ACCOUNT_COOL_DOWN_S if account else self._cool_down_s)
        with self._lock:
            for state in self._states:
                if account or state.address == address:
                    state.fault, state.rests_until = fault.copied(), rests_until

    def succeeded(self, address: ServerAddress) -> None:
        with self._lock:
            for state in self._states:
                if state.address == address:
                    state.fault = None
                elif state.fault is not None and state.fault.scope == "account":
                    state.fault = None  # the account is good again, for all of them

    def _last_fault(self) -> Fault:
        """The latest failure; there always is one if no server works."""
        rested = [(state.rests_until, state.fault) for state in self._states if state.fault]
        _, fault = max(rested, key=lambda one: one[0])
        return fault.copied()
